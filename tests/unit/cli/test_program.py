"""The program itself: help, errors and exit codes without any server."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import forkserver

from cli.app import COMMANDS, build


def ado(*arguments, stdin="", cwd=None, **env):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ADO_")}
    env = {**clean, "NO_COLOR": "1", **env}
    options = {"env": env, "cwd": str(cwd or Path.cwd()), "timeout": 60}
    if done := forkserver.run(arguments, data=stdin.encode() or None, **options):
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        return done
    command = [sys.executable, "-P", "-m", "cli", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, **options)


@pytest.fixture
def alone(tmp_path):
    """An environment with no server anywhere."""
    return {"ADO_HOME": str(tmp_path)}


def squeezed(text):
    """Return a text's words: line breaks depend on the width."""
    return " ".join(text.split())


def test_the_quick_help_is_the_real_one(capsys):
    quick = ado("--help")
    build()(["--help"])
    assert squeezed(quick.stdout) == squeezed(capsys.readouterr().out)
    assert ado().stdout == quick.stdout


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself(command, capsys):
    assert build()([command, "--help"]) is None
    assert capsys.readouterr().out.startswith(("Usage", "ado"))


def test_an_unknown_command_names_the_nearest(alone):
    done = ado("tokn", **alone)
    assert done.returncode == 2
    assert "did you mean token?" in done.stderr


def test_without_a_server_the_next_step_is_named(alone):
    done = ado("tasks", "list", **alone)
    assert done.returncode == 2
    assert re.match(r"ado: no server .*\nado: ado up", done.stderr)


def test_an_error_is_json_with_the_option_for_json(alone):
    done = ado("tasks", "list", "-o", "json", **alone)
    assert json.loads(done.stderr)["error"]["exitCode"] == 2


def test_words_of_a_prompt_do_not_select_json(alone):
    done = ado("run", "--detach", "explain -o json to me", **alone)
    assert done.stderr.startswith("ado: --detach")
    assert json.loads(ado("run", "--detach", "x", "--output=jsonl", **alone).stderr)["error"]["exitCode"] == 2


def test_a_server_that_does_not_answer_is_infrastructure(alone):
    done = ado("tasks", "list", ADO_URL="http://127.0.0.1:9", ADO_TOKEN="x", **alone)
    assert done.returncode == 125
    assert "no ado server answers" in done.stderr


def test_local_mode_runs_the_agent_and_returns_its_exit_code(alone, tmp_path):
    done = ado("run", "--agent", "shell", "echo $PWD; echo no >&2; exit 3", cwd=tmp_path, **alone)
    assert (done.stdout, done.stderr, done.returncode) == (f"{tmp_path}\n", "no\n", 3)


def test_local_mode_without_an_ai_agent_names_the_available_ones(alone):
    done = ado("run", "fix the tests", PATH="/nowhere", **alone)
    assert done.returncode == 127
    assert "offered: scripted, shell" in done.stderr
    assert "ado doctor --agents" in done.stderr


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--detach"], "--detach needs --remote"),
        (["--fail-fast"], "--fail-fast needs --remote"),
        (["--retries", "2"], "--retries needs --remote"),
        (["--wait-for-agent"], "--wait-for-agent needs --remote"),
        (["--memory", "1G", "--no-repo"], "--no-repo and --memory need --remote"),
        (["--node-selector", "a=b"], "--node-selector needs --remote"),
        (["--url", "http://x", "-o", "name"], "--url and --output need --remote"),
    ],
)
def test_local_mode_refuses_options_that_need_a_server(options, named, alone):
    done = ado("run", *options, "--agent", "shell", "true", **alone)
    assert (done.returncode, done.stderr) == (2, f"ado: {named}\nado: add --remote\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--timeout", "0.2s", "sleep 60"], 124, "timed out after 0.2 s (--timeout); give it longer with --timeout"),
        (["kill -9 $$"], 137, "ended by signal 9"),
    ],
)
def test_local_mode_explains_the_end_of_a_killed_command(arguments, code, said, alone):
    done = ado("run", "--agent", "shell", *arguments, **alone)
    assert (done.returncode, done.stderr) == (code, f"ado: {said}\n")


def test_a_reader_that_ends_and_a_full_disk_under_stderr_change_no_exit_code(alone):
    program = f"{sys.executable} -P -m cli"
    env = {**os.environ, **alone}
    env.pop("PYTHONUNBUFFERED", None)  # with it nothing is left to flush at the end
    reading, writing = os.pipe()
    os.close(reading)
    for line, code in ((f"{program} run --help", 141), (f"{program} nonsense 2>/dev/full", 2)):
        done = subprocess.run(
            ["/bin/sh", "-c", f"exec {line}"], stdout=writing, stderr=subprocess.PIPE, env=env, timeout=60,
            check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (code, b""), line
    os.close(writing)


def test_piped_data_for_several_jobs_is_refused_with_a_message(alone):
    shared = ado("run", "--agent", "shell", "--workers", "2", "wc -c", stdin="data", **alone)
    assert "what is piped in is not handed on: several jobs cannot share it" in shared.stderr
    assert ado("run", "--agent", "shell", "--workers", "2", "--no-stdin", "wc -c", stdin="data", **alone).stderr == ""
    assert ado("run", "--agent", "shell", "--workers", "2", "wc -c", stdin="", **alone).stderr == ""


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_fits_eighty_columns_in_two_columns(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    build()([command, "--help"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert not re.search(r"--empty-|\[default: False\]|object at 0x", shown)
    rest = [line for line in shown.split("Options:\n")[-1].splitlines() if line]
    assert all(re.match(r"  -|  [A-Za-z]| {8}|[A-Z][a-z ]+:$", line) for line in rest if "Options:" in shown)


def test_the_help_groups_commands_by_topic_and_shows_three_examples(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    build()(["--help"])
    shown = capsys.readouterr().out
    assert re.findall(r"^([A-Z].*):$", shown, re.MULTILINE) == [
        "Start here", "Run and watch", "Tasks", "Results", "Workers and servers", "People and tokens",
        "Set-up and help", "Options",
    ]  # fmt: skip
    assert len(re.findall(r"^  ado \S.*", shown, re.MULTILINE)) == 3
    listed = {line.split()[0] for line in shown.splitlines() if re.match(r"  [a-z]", line)} - {"ado", "stdin."}
    assert listed == set(COMMANDS) - {"complete"}


def test_the_help_of_run_groups_its_options_by_topic(capsys):
    build()(["run", "--help"])
    shown = capsys.readouterr().out
    assert re.findall(r"^([A-Z].*):$", shown, re.MULTILINE) == [
        "Arguments", "Options", "Prompt", "Agent", "Where and when jobs start", "Checks",
        "Limits and failures", "Repository", "Resources", "Server",
    ]  # fmt: skip
    assert set(re.findall(r"--no-\w+", shown)) == {"--no-stdin", "--no-repo", "--no-project"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--role", "worker"],
        ["--role", "viewer", "--worker", "w1"],
        ["--role", "viewer", "--capability", "shell"],
        ["--role", "viewer", "--expires", "soon"],
        ["--role", "job"],
    ],
)
def test_an_invalid_token_is_a_usage_error(alone, arguments):
    done = ado("token", "create", *arguments, "--dsn", "postgresql:///never-asked", **alone)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 2)


@pytest.mark.parametrize("dash", [["-F", "-"], ["--file", "-"], ["--file=-"], ["-"]])
def test_a_dash_reads_the_prompt_from_stdin(alone, dash):
    done = ado("run", *dash, "--agent", "shell", stdin="echo from stdin", **alone)
    assert (done.returncode, done.stdout) == (0, "from stdin\n")


def test_help_without_a_topic_lists_the_topics(alone):
    done = ado("help", **alone)
    assert (done.returncode, done.stderr) == (0, "")
    assert "exit-codes" in done.stdout


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["--", "printf", "<%s>", "a b", "c'd", "$HOME", "*"], "<a b><c'd><$HOME><*>"),
        (["printf", "<%s>", "a  b"], "<a  b>"),
        (["--", "printf", "<%s>", "-", "-F", "--help"], "<-><-F><--help>"),
        (["printf '<%s>' $((1 + 2))"], "<3>"),
        (["--", "printf '<%s>' $((1 + 2))"], "<3>"),
    ],
)
def test_one_argument_is_a_command_line_and_several_are_a_vector(words, output, alone):
    assert ado("run", "--agent", "shell", *words, **alone).stdout == output


def test_a_command_that_begins_with_a_dash_is_no_option_of_the_shell(alone):
    path = "/usr/bin:/bin"  # a directory on PATH that may not be read would be the shell's complaint
    done = ado("run", "--agent", "shell", "--", "-x", PATH=path, **alone)
    assert (done.returncode, "-x: not found" in done.stderr) == (127, True)


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_local_mode_refuses_an_empty_prompt_like_a_server(prompt, alone):
    done = ado("run", "--agent", "shell", prompt, **alone)
    assert done.returncode == 2
    assert done.stderr.startswith("ado: the prompt is empty\nado: example: ")


def test_an_unknown_agent_is_refused_with_the_next_step(alone):
    done = ado("run", "--agent", "nosuch", "x", **alone)
    assert done.returncode == 127
    assert re.match(r"ado: there is no agent 'nosuch'; there are: shell, .*\nado: choose one with --agent", done.stderr)
