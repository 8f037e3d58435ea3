"""Messages name the command that was typed, and a part that is missing is installed or named with its command."""

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from cli import extras, invocation
from cli.app import COMMANDS
from cli.errors import CliError


@pytest.fixture
def typed(monkeypatch):
    """Pretend that words were typed; what that sets is put back."""
    for name in ("_typed", "_script", "_installed"):
        monkeypatch.setattr(invocation, name, getattr(invocation, name))

    def pretend(words, **more):
        monkeypatch.setenv("_ADO_COMMAND", words)
        for name, value in more.items():
            monkeypatch.setenv(name, value)
        invocation.take()

    return pretend


def test_every_command_is_known_to_the_messages():
    assert set(invocation.COMMANDS) == set(COMMANDS)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("stop it with: ado down", "stop it with: ./ado down"),
        ("ado down && ado up --detach", "./ado down && ./ado up --detach"),
        ("see ado --help", "see ./ado --help"),
        ("ado: no ado server answers", "ado: no ado server answers"),
        ("is not from an ado server; .ado upward ado updates", "is not from an ado server; .ado upward ado updates"),
        ("/opt/ado run, my-ado run", "/opt/ado run, my-ado run"),
    ],
)
def test_a_message_names_the_command_as_it_was_typed(typed, text, shown):
    assert invocation.as_typed(text) == text
    typed("./ado")
    assert invocation.as_typed(text) == shown


def test_a_program_on_path_is_called_by_its_name(typed, tmp_path, monkeypatch):
    program = tmp_path / "ado"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    typed(str(program))
    assert invocation.as_typed("ado down") == f"{program} down"
    monkeypatch.setenv("PATH", str(tmp_path))
    typed(str(program))
    assert invocation.as_typed("ado down") == "ado down"
    typed("../a b/ado")
    assert invocation.as_typed("ado down") == "'../a b/ado' down"


def test_the_module_is_named_and_its_children_inherit_no_variable(tmp_path):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("ADO_", "_ADO_"))}

    def said(*arguments, **env):
        return subprocess.run(
            [sys.executable, "-P", "-m", "cli", *arguments], env={**clean, "ADO_HOME": str(tmp_path), **env},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    done = said("status")
    assert done.stderr.splitlines()[1] == f"ado: start one with: {Path(sys.executable).name} -m cli up --detach"
    done = said("status", "-o", "json", _ADO_COMMAND="./ado")
    assert json.loads(done.stderr)["error"]["hint"] == "start one with: ./ado up --detach"
    done = said("run", "--agent", "shell", "env", _ADO_COMMAND="./ado", _ADO_SCRIPT="/x/ado", _ADO_INSTALLED="client")
    assert "_ADO" not in done.stdout


@pytest.fixture
def without(monkeypatch):
    """Pretend that a module is not installed."""
    real = extras.find_spec

    def leave_out(*names):
        monkeypatch.setattr(extras, "find_spec", lambda name: None if name in names else real(name))

    return leave_out


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/me/venv", "-m pip install 'ado[server] @ file:///src/ado'"),
        ("/home/me/.local/share/pipx/venvs/ado", "pipx install --force 'ado[server] @ file:///src/ado'"),
        ("/home/me/.local/share/uv/tools/ado", "uv tool install --force 'ado[server] @ file:///src/ado'"),
    ],
)
def test_a_missing_part_is_named_with_the_command_that_installs_it(monkeypatch, without, prefix, command):
    without("litestar")
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(extras, "_source", lambda: " @ file:///src/ado")
    extras.need("worker")
    with pytest.raises(CliError, match="needs the server part of ado") as caught:
        extras.need("server")
    assert caught.value.next_step.endswith(command)
    assert caught.value.exit_code == 125


def test_the_source_of_the_installation_is_read_from_its_record(monkeypatch):
    class Distribution:
        text = '{"url": "https://git.example/ado", "vcs_info": {"vcs": "git", "commit_id": "x"}}'

        def read_text(self, _name):
            return self.text

    monkeypatch.setattr(metadata, "distribution", lambda _name: Distribution())
    assert extras._source() == " @ git+https://git.example/ado"
    Distribution.text = None
    assert extras._source() == ""


def test_a_missing_part_is_installed_by_the_script_once(monkeypatch, without, typed):
    ran = []
    without("kubernetes")
    monkeypatch.setattr(os, "execve", lambda *arguments: ran.append(arguments))
    monkeypatch.setattr(sys, "argv", ["cli", "spawner", "--backend", "kubernetes"])
    typed("./ado", _ADO_SCRIPT="/src/ado")
    with pytest.raises(CliError):
        extras.need("kubernetes")
    ((program, words, env),) = ran
    assert (str(program), words) == ("/src/ado", ["/src/ado", "spawner", "--backend", "kubernetes"])
    assert (env["_ADO_NEEDS"], env["_ADO_COMMAND"]) == ("kubernetes", "./ado")
    typed("./ado", _ADO_SCRIPT="/src/ado", _ADO_INSTALLED="kubernetes")
    with pytest.raises(CliError):
        extras.need("kubernetes")
    assert len(ran) == 1, "what the script has installed and is not there is not installed again"
