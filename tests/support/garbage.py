"""Gives garbage to every command, in a process of its own: ``python -m support.garbage DIRECTORY``.

Each case is a list of arguments and an environment. What a case wrote and its exit code go to stdout, a JSON object a
line. All of it runs in one process, because a process for each of thousands of cases would take minutes.
"""

import contextlib
import fcntl
import gc
import io
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

LONG = "x" * 100_000
BAD = os.fsdecode(b"a\xff\xfe\x01")
VALUES = ["", "-", "--", BAD, LONG, "9" * 400, "-1", "--no-such-option", "\x1b[2J\n\r", "nan", "1e999", "\u202e💥", "0"]
ANSWERS = [b"", b"\xff\x00", b"[]", b"{}", b"[" * 5000, b'{"result":{"data":null}}']
ANSWERS += [b'{"error":{"code":[],"message":7,"data":[]}}', b'{"result":{"data":{"items":[7],"nextCursor":{}}}}']
_SECONDS = 30


class Junk(BaseHTTPRequestHandler):
    """Answers each request with the next piece of junk."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.asked += 1
        body = ANSWERS[self.server.asked % len(ANSWERS)]
        self.send_response((200, 500, 302, 400)[self.server.asked // 3 % 4])
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


def commands(app, path=()):
    """Yield every command that can be run, with its path."""
    if app.default_command:
        yield path, app
    for name in app:
        if not name.startswith("-"):
            yield from commands(app[name], (*path, name))


def parameters(app):
    """Return a command's options, and how many positional arguments it needs."""
    found = [argument for argument in app.assemble_argument_collection() if argument.names and argument.names[0] != "*"]
    options = [name for argument in found for name in argument.names if name.startswith("-")]
    return options, sum(argument.required and not argument.names[0].startswith("-") for argument in found)


def words():
    """Yield the arguments of every case."""
    from cli.app import build

    yield from ([value] for value in VALUES if value and value != "--")
    yield from ([*path, "x", "--no-such"] for path, _ in commands(build()))
    for number, (path, app) in enumerate(commands(build())):
        options, needed = parameters(app)
        usual = ["1"] * needed
        for place, value in enumerate(VALUES):
            yield [*path, value]
            if needed > 1:
                yield [*path, *[value] * needed]
            option = options[(place + number) % len(options)] if options else "--nothing"
            yield [*path, *usual, f"{option}={value}"]
        for place, option in enumerate(options):
            yield [*path, *usual, option]
            yield [*path, *usual, option, VALUES[(number + place) % len(VALUES)]]


def play(arguments, environment):
    """Run one command line in this process; return its exit code and what it said."""
    from cli import __main__ as program

    said = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace", write_through=True)
    out = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace", write_through=True)
    signal.alarm(_SECONDS)
    try:
        with (
            mock.patch.dict(os.environ, environment, clear=True),
            mock.patch.object(sys, "argv", ["ado", *arguments]),
            mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"junk\xff\n"), "utf-8")),
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(out),
            contextlib.suppress(BrokenPipeError),
        ):
            try:
                program.main()
            except SystemExit as error:
                code = error.code
            except BaseException as error:  # a person would see a traceback
                code = f"{type(error).__name__}: {error}"[:500]
    finally:
        signal.alarm(0)
    return code, said.buffer.getvalue().decode()


def environments(directory, url):
    """Return the two environments of garbage on the command line: a server that answers junk, and no home."""
    usual = {"PATH": "/nowhere", "HOME": str(directory), "TERM": "dumb", "ADO_SANDBOX": "none"}
    empty, file = directory / "empty", directory / "file"
    empty.mkdir(mode=0o700)
    file.write_text("not a directory")
    return {
        "junk": {**usual, "ADO_HOME": str(empty), "ADO_URL": url, "ADO_TOKEN": "t", "ADO_DSN": "nonsense"},
        "no home": {**usual, "ADO_HOME": str(file)},
    }


def surroundings(directory, usual):
    """Yield environments and homes that are broken, by name."""
    homes = Path(directory, "homes")
    homes.mkdir()

    def home(name, **files):
        made = homes / name
        made.mkdir(mode=0o700)
        for file, content in files.items():
            (made / file.replace("_", ".")).touch(0o600)
            (made / file.replace("_", ".")).write_bytes(content)
        return str(made)

    for name, content in CONTEXTS.items():
        yield f"contexts: {name}", {"ADO_HOME": home(f"contexts-{name}", contexts_json=content)}
    for name, content in STATES.items():
        made = home(f"state-{name}", plane_json=content, plane_lock=b"")
        fcntl.flock(os.open(f"{made}/plane.lock", os.O_RDWR), fcntl.LOCK_EX)  # as if one ran; held to the end
        yield f"state: {name}", {"ADO_HOME": made}
    for name, text in TOKENS.items():
        file = Path(home(f"token-{name}"), "t")
        if text is not None:
            file.touch(0o600)
            file.write_bytes(text)
        yield f"token file: {name}", {**usual, "ADO_TOKEN": "", "ADO_TOKEN_FILE": str(file)}
    (homes / "dangling").symlink_to(homes / "nowhere" / "at-all")
    (homes / "loop").symlink_to(homes / "loop")
    for value in (homes / "dangling", homes / "loop", *HOMES):
        yield f"home: {str(value)[:40]}", {"ADO_HOME": str(value)}
    for value in URLS:
        yield f"url: {value[:40]}", {**usual, "ADO_URL": value}
    for number, (name, value) in enumerate(VARIABLES):
        yield f"{number} {name}: {value[:40]}", {**usual, name: value}


CONTEXTS = {
    "empty": b"",
    "binary": b"\xff\x00",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "null": b"null",
    "no urls": b'{"current":"a","contexts":{"a":{"urls":[]}}}',
    "gone": b'{"current":"a","contexts":{}}',
    "numbers": b'{"current":1,"contexts":{"a":{"urls":[1]}}}',
    "no url": b'{"current":"a","contexts":{"a":{"urls":["["]}}}',
    "half a character": b'{"current":"a","contexts":{"a":{"urls":["http://127.0.0.1:9"],"token":"\\ud800"}}}',
}
STATES = {
    "absent": b"",
    "a list": b"[]",
    "empty": b"{}",
    "deep": b"[" * 100_000,
    "binary": b"\xff",
    "numbers": b'{"urls":[1],"tokenFile":1,"dsn":1,"version":1,"pid":"x","processes":1}',
    "no urls": b'{"urls":[],"tokenFile":"/nowhere","dsn":"","version":"","pid":-1,"processes":[]}',
    "no token": b'{"urls":["http://127.0.0.1:9"],"tokenFile":"/nowhere","dsn":"","version":"0","pid":0,"processes":[]}',
}
TOKENS = {
    "absent": None,
    "empty": b"",
    "binary": b"\xff\x00",
    "lines": b"a\r\nX: y\n",
    "long": b"x" * 70_000,
    "of words": "tökn x".encode(),
}
HOMES = ["relative", BAD, "~nobody-here/x", "/dev/null", "/proc", LONG, "x/" * 3000]
URLS = ["http://[", "ftp://x", "http://x:99999", ",", "http://", "x", "http://127.0.0.1:9", BAD, "http://\u202e"]
URLS += ["http://a b", "http://" + "x" * 300, "http://127.0.0.1:0"]
VARIABLES = [
    ("ADO_TOKEN", "a\nb: c"),
    ("ADO_TOKEN", BAD),
    ("ADO_TOKEN", "tökn💥"),
    ("ADO_CA", "/nowhere"),
    ("ADO_CA", __file__),
    ("COLUMNS", "many"),
    ("TERM", LONG),
    ("TMPDIR", "/nowhere"),
    ("SHELL", BAD),
    ("LC_ALL", "xx_XX"),
    ("ADO_FILE_BYTES", "many"),
    ("SSL_CERT_FILE", "/nowhere"),
    ("ADO_ATTEMPT", "x"),
]
SERVERS = ("up", "api", "spawner", "worker")
WAITING = [["up", "--detach"], ["run", "--remote", "--detach", "--agent", "shell", "true"]]
"""What waits for a control plane that is on its way up."""


def usual_words():
    """Yield a command line of each command that could work, but for those that serve."""
    from cli.app import build

    for path, app in commands(build()):
        if path and path[0] not in SERVERS:
            yield [*path, *["1"] * parameters(app)[1]]
    yield ["run", "--remote", "--detach", "--agent", "shell", "true"]
    yield ["tasks", "list", "-o", "json"]


class TooLong(BaseException):
    """A case takes too long; ado does not know this exception, so it is not reported as another error."""


def _too_long(*_):
    raise TooLong(f"it takes longer than {_SECONDS} s")


def hasty(make):
    """Have a client of streams give up soon where it would give up at all."""

    def made(*arguments, first_contact_seconds=None, **options):
        make(*arguments, first_contact_seconds=first_contact_seconds and 0.1, **options)

    return made


def main():
    """Play every case in the environments in turn."""
    from app.rpc.client import socket
    from cli.control_plane import embedded
    from cli.remote import retry

    socket.Client.__init__ = hasty(socket.Client.__init__)
    retry.FIRST_CONTACT_SECONDS = embedded._READY_SECONDS = 0.1
    gc.set_threshold(100_000)  # each case makes thousands of objects of the parser, and none of them is large
    directory = Path(sys.argv[1])
    os.chdir(directory)
    signal.signal(signal.SIGALRM, _too_long)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Junk)
    server.daemon_threads = True
    server.asked = 0
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    places = environments(directory, f"http://127.0.0.1:{server.server_address[1]}")
    cases = [(arguments, list(places)[number % len(places)]) for number, arguments in enumerate(words())]
    lines = list(usual_words())
    for number, (name, environment) in enumerate(surroundings(directory, places["junk"])):
        places[name] = {**places["no home"], "ADO_PG_BINDIR": "/nowhere", **environment}
        waits = name.startswith("state") and not name.endswith(("no urls", "no token"))
        cases += [(arguments, name) for arguments in lines[number % 3 :: 3] if arguments not in WAITING or not waits]
    for arguments, name in cases:
        began = time.monotonic()
        code, said = play(arguments, places[name])
        case = {
            "words": arguments,
            "environment": name,
            "code": code,
            "said": said,
            "seconds": time.monotonic() - began,
        }
        sys.stdout.write(json.dumps(case) + "\n")
    sys.stdout.flush()
    os._exit(0)  # threads of clients may be left


if __name__ == "__main__":
    main()
