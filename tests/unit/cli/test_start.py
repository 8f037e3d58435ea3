"""What starting costs, by what is imported, and that every command takes the options that all have."""

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cli.app import COMMANDS, build

ROOT = Path(__file__).parents[3]
HEAVY = {"cyclopts", "rich", "asyncio", "litestar", "uvicorn", "asyncpg", "psycopg", "psycopg_pool", "kubernetes",
         "websockets", "prometheus_client", "hypothesis", "db", "worker", "app.replica.main"}  # fmt: skip
SERVERS = HEAVY - {"cyclopts", "rich", "asyncio"}
PARSER = {"cyclopts", "rich", "attrs"}
FOR_ONE_CALL = {"asyncio", "wcwidth", "websockets", "subprocess", "logging", "importlib.metadata"} | HEAVY | PARSER
WITHOUT_FORM = {
    "api", "api types", "spawner", "worker",  # they serve, or print what is not data of ado
    "completion", "complete", "help", "mask",
}  # fmt: skip


def imported(*arguments, modules=HEAVY):
    """Run a command in a fresh interpreter; return which of these modules it imported."""
    code = (
        "import sys, json, contextlib, io\n"
        f"sys.argv[1:] = {list(arguments)!r}\n"
        "from cli.__main__ import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main()\n"
        f"print(json.dumps([name for name in {sorted(modules)!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout))


@pytest.mark.parametrize("arguments", [["--help"], [], ["-h"]])
def test_the_help_imports_no_slow_module(arguments):
    assert imported(*arguments) == set()


def test_the_version_imports_no_parser_and_is_the_parsers(capsys):
    assert imported("--version") == set()
    build()(["--version"])
    command = [sys.executable, "-P", "-m", "cli", "--version"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert printed == capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--version"], ["tasks", "list", "--url", "http://127.0.0.1:9"], ["run", "--help"]]
)
def test_a_command_imports_no_module_of_the_server(arguments):
    assert imported(*arguments) & SERVERS == set()


def test_a_run_without_a_server_needs_no_package_of_the_server():
    assert imported("run", "--agent", "shell", "--check", "true", "true") & SERVERS == {"worker"}


def test_where_only_the_client_is_installed_a_command_says_what_it_needs(tmp_path):
    """It names the command that installs the part; what needs none of it works."""
    missing = ("acp", "uvloop", "asyncpg", "litestar", "psycopg", "uvicorn", "kubernetes", "yaml")
    code = (
        "import sys, json, contextlib, io\n"
        f"sys.modules.update(dict.fromkeys({missing!r}))\n"  # as if they were not there
        "from cli.__main__ import main\n"
        "def run(*arguments):\n"
        "    sys.argv[1:] = arguments\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.suppress(SystemExit):\n"
        "        main()\n"
        "    return said.getvalue().splitlines()[:1]\n"
        "print(json.dumps([run(*words.split()) for words in sys.argv[1:]]))"
    )
    commands = ["db check", "db migrate", "db prune --older-than 1d", "token list", "api", "up", "spawner", "api types"]
    env = os.environ | {"ADO_HOME": str(tmp_path), "ADO_DSN": "postgresql://u:secret@h/d", "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-P", "-c", code, *commands, "support-bundle"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path, env=env)
    *told, bundle = json.loads(done.stdout.splitlines()[-1])
    assert told == [["ado: this needs the server part of ado, which is not installed here"]] * len(commands)
    assert bundle == []
    assert list(tmp_path.glob("ado-support-*.tar.gz"))


@pytest.fixture
def server():
    """A server that answers each call with an empty list; to calls that want another answer it is no ado server."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{"result": {"data": {"items": [], "taskId": "task-1"}}}'
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "arguments", [["tasks"], ["tasks", "list", "-o", "json"], ["kv", "list", "--task", "1"]], ids=" ".join
)
def test_a_command_of_one_call_imports_neither_the_parser_nor_asyncio(arguments, server):
    assert imported(*arguments, "--url", server, modules=FOR_ONE_CALL) == set()


@pytest.mark.parametrize(
    "arguments", [["attach", "1"], ["logs", "1", "-f"], ["run", "--remote", "x"], ["inbox"]], ids=" ".join
)
def test_a_plain_command_line_needs_no_cyclopts(arguments, server):
    assert imported(*arguments, "--url", server, modules=PARSER) == set()


def commands(app, path=()):
    """Yield every command that can be run, with its path."""
    if app.default_command:
        yield " ".join(path), app
    for name in app:
        if not name.startswith("-"):
            yield from commands(app[name], (*path, name))


def test_every_command_accepts_the_output_option():
    found = {path: app for path, app in commands(build()) if path}
    assert {path.split()[0] for path in found} == set(COMMANDS)
    options = {path: {name for argument in app.assemble_argument_collection() for name in argument.names}
               for path, app in found.items()}  # fmt: skip
    assert {path for path, names in options.items() if not {"--output", "-o"} <= names} == WITHOUT_FORM


def test_a_pods_worker_starts_without_the_parser_of_options(tmp_path):
    code = (
        "import gc, sys, worker.main\n"
        "worker.main.run = lambda settings, lifeline: (\n"
        "    int('cyclopts' in sys.modules) + 10 * (settings.url == ('u',)) + 100 * gc.isenabled()\n"
        ")\n"
        "sys.argv[1:] = ['worker']\n"
        "from cli.__main__ import main\n"
        "main()\n"
    )
    env = {"ADO_URL": "u", "ADO_TOKEN_FILE": str(tmp_path), "PATH": "/bin:/usr/bin"}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=env, timeout=60, check=False)
    assert done.returncode == 110


def test_garbage_is_collected_while_a_command_runs():
    code = (
        "import gc, sys, cli.commands.mask\n"
        "cli.commands.mask.mask = lambda value, /: gc.isenabled()\n"
        "cli.commands.mask.mask.__annotations__ = {'value': str}\n"
        "sys.argv[1:] = ['mask', 'x']\n"
        "from cli.__main__ import main\n"
        "main()\n"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], timeout=60, check=False).returncode == 1
