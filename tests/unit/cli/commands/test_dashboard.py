"""Whether ``ado open`` can open a browser."""

import pytest

from cli.commands.dashboard import has_browser


@pytest.mark.parametrize(
    ("environ", "platform", "there"),
    [
        ({"DISPLAY": ":0"}, "linux", True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
        ({"BROWSER": "/usr/bin/my-browser"}, "linux", True),
        ({}, "linux", False),
        ({"DISPLAY": "", "BROWSER": ""}, "linux", False),
        ({"SSH_CONNECTION": "1 2 3 4"}, "linux", False),
        ({"SSH_CONNECTION": "1 2 3 4", "DISPLAY": "localhost:10.0"}, "linux", True),
        ({}, "darwin", True),
        ({"SSH_CONNECTION": "1 2 3 4"}, "darwin", False),
        ({}, "win32", True),
    ],
)
def test_a_browser_is_opened_where_the_person_sees_it(environ, platform, there):
    assert has_browser(environ, platform) is there
