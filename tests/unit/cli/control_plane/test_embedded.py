"""The state of an embedded control plane that somebody has damaged."""

import fcntl
import json

import pytest

from cli.control_plane import embedded
from cli.errors import CliError


@pytest.mark.parametrize("pid", [0, 1, -1])
def test_a_state_whose_pid_cannot_be_a_control_plane_is_refused_at_once(tmp_path, monkeypatch, pid):
    """A signal to 0 or -1 would go to many processes."""
    monkeypatch.setenv("ADO_HOME", str(tmp_path))
    state = {"urls": ["http://127.0.0.1:9"], "tokenFile": "/x", "dsn": "", "version": "0", "pid": pid, "processes": []}
    (tmp_path / embedded.STATE).write_text(json.dumps(state))
    with (tmp_path / embedded.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        monkeypatch.setattr(embedded.os, "kill", lambda *_: pytest.fail("a signal was sent"))
        with pytest.raises(CliError, match="cannot be read"):
            embedded.stop()
