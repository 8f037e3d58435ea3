"""``.ado.toml``: defaults for setup and checks, from a repository that may be hostile."""

import os

import pytest

from cli.errors import CliError
from cli.project_file import with_defaults
from cli.run_options import CheckOptions

FULL = 'setup = "npm ci"\ncheck = ["npm test", "npm run lint"]\ncheck-tries = 5\ncheck-timeout = "2m"\n'


def write(tmp_path, text):
    (tmp_path / ".ado.toml").write_text(text)
    return tmp_path


def test_the_file_gives_defaults_which_are_shown(tmp_path, capsys):
    taken = with_defaults(CheckOptions(), write(tmp_path, FULL))
    assert taken == CheckOptions(["npm test", "npm run lint"], 5, "2m", "npm ci")
    assert "setup 'npm ci'" in capsys.readouterr().err


def test_an_option_replaces_what_the_file_says(tmp_path):
    given = CheckOptions(check=["true"], setup="make")
    assert with_defaults(given, write(tmp_path, FULL)) == CheckOptions(["true"], 5, "2m", "make")


def test_one_check_may_be_a_text(tmp_path):
    assert with_defaults(CheckOptions(), write(tmp_path, 'check = "make test"')).check == ["make test"]


def test_without_a_file_the_options_stay(tmp_path, capsys):
    assert with_defaults(CheckOptions(), tmp_path) == CheckOptions()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('setpu = "x"', "no key 'setpu'; did you mean setup?"),
        ("check-tries = 'x'", "Expected `int"),
        ("setup = ", "Invalid value"),
        ("#" * 70_000, "more than"),
        ("\0", ""),
    ],
)
def test_a_wrong_file_is_a_usage_error_that_names_it(tmp_path, text, message):
    with pytest.raises(CliError, match=r"\.ado\.toml") as caught:
        with_defaults(CheckOptions(), write(tmp_path, text))
    assert message in str(caught.value)


def test_a_link_or_a_pipe_is_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text('setup = "hunter2"')
    (tmp_path / ".ado.toml").symlink_to(secret)
    with pytest.raises(CliError) as caught:
        with_defaults(CheckOptions(), tmp_path)
    assert "hunter2" not in str(caught.value)
    (tmp_path / ".ado.toml").unlink()
    os.mkfifo(tmp_path / ".ado.toml")
    with pytest.raises(CliError, match="is not a file"):
        with_defaults(CheckOptions(), tmp_path)
