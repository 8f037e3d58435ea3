"""A stub of the models' services, for the real agents: no model, but the real wires of three companies.

The scenario is the first segment of the path that an agent calls: ``text`` answers, ``tool`` writes a file and runs a
command before it answers, ``asktool`` runs a command that needs permission, ``twostep`` writes a file, then runs a long
command, and answers whoever comes back or was stopped, ``longtool`` runs a long command, ``brieftool`` one of eight
seconds, ``stall`` falls silent, ``askperson`` asks a person by ``ado ask``, ``midfail`` breaks off, ``401`` and ``429``
refuse, ``429x1`` refuses once, ``limit7x1`` refuses once and says to wait for seven seconds. A credential with
``revoked`` in it is refused until it is restored. The answer tells how many messages of a person the agent sent, which
proves that a session goes on.
"""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.model_wires import WIRES

LONG = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo tick $i; sleep 2; done"
BRIEF = "for i in 1 2 3 4; do echo tick $i; sleep 2; done"
SHELLS = ("Bash", "run_shell_command", "exec_command", "shell_command", "shell", "bash")
WRITERS = ("Write", "write_file", "write")
CREDENTIALS = ("x-api-key", "x-goog-api-key", "authorization")
ASK_PERSON = "ado ask 'Which colour?' --option red --option blue"
ASKED = "env sh -c 'echo hello > asked-note.txt'"
WRITE = "printf 'written by the stub\\n' > stub-note.txt"


def plan(scenario, asked):
    """Return what the model says next: texts and calls of tools."""
    shell = next((name for name in SHELLS if name in asked.tools), None)
    writer = next((name for name in WRITERS if name in asked.tools), None)
    answer = [("text", f"Stub final answer. users={asked.users} prompt={asked.prompt[-60:]!r}")]
    if not asked.tools or shell is None:
        return [("text", "Stub title")]
    note = {"filePath" if writer == "write" else "file_path": "stub-note.txt", "content": "written by the stub\n"}
    write = ("tool", writer, note) if writer else ("tool", shell, shell_input(shell, WRITE))
    steps = {
        "tool": [write, ("tool", shell, shell_input(shell, "echo hello-from-tool"))],
        "twostep": [write, ("tool", shell, shell_input(shell, LONG))],
        "asktool": [("tool", shell, shell_input(shell, ASKED))],
        "longtool": [("tool", shell, shell_input(shell, LONG))],
        "brieftool": [("tool", shell, shell_input(shell, BRIEF))],
        "askperson": [("tool", shell, shell_input(shell, ASK_PERSON))],
    }.get(scenario, [])
    if scenario == "twostep" and re.search("were (interrupted|stopped)", asked.prompt):
        return answer
    return [("text", "Now a step. "), steps[asked.results]] if asked.results < len(steps) else answer


def shell_input(name, command):
    if name == "exec_command":
        return {"cmd": command}
    if name == "shell":
        return {"command": ["bash", "-lc", command]}
    return {"command": command, "description": "stub shell call"}


def command(models, agent, scenario, *more):
    """Return the command that runs a prompt against a scenario of the stub."""
    url = models.url(scenario)
    wish = ["--env", f"ANTHROPIC_BASE_URL={url}", "--env", f"GOOGLE_GEMINI_BASE_URL={url}"]
    wish += ["--env", f"OPENAI_BASE_URL={url}/v1"]
    if agent == "codex":
        wish += ["--model", "stub-model"]
    if agent == "opencode":
        wish += ["--env", f"OPENCODE_CONFIG_CONTENT={opencode_config(url)}"]
    return ["run", "--remote", "--agent", agent, *wish, *more, "use your tools"]


def opencode_config(url):
    """Return settings of opencode with one model, which costs three dollars a million tokens in, and fifteen out."""
    cost, limit = {"input": 3, "output": 15}, {"context": 200_000, "output": 8_000}
    models = {"stub-model": {"name": "Stub", "cost": cost, "limit": limit}}
    provider = {"anthropic": {"options": {"baseURL": f"{url}/v1"}, "models": models}}
    name = "anthropic/stub-model"
    return json.dumps({"model": name, "small_model": name, "provider": provider})


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(200, {})

    def do_GET(self):
        self.answer(200 if "/models" in self.path else 404, {"object": "list", "data": [], "models": []})

    def do_POST(self):
        raw = self.body()
        self.server.note(raw)
        body = json.loads(raw or b"{}")
        scenario, _, rest = self.path.split("?")[0].lstrip("/").partition("/")
        wire = next((wire for wire in WIRES if wire.serves(rest)), None)
        if wire is None:
            self.answer(404, {"error": {"message": "no such path"}})
            return
        asked = wire.read(body)
        if self.is_revoked():
            self.answer(401, wire.refusal(401))
            return
        if self.is_limited(scenario, wire, asked):
            return
        refused = re.fullmatch(r"(\d{3})(?:x(\d+))?", scenario)
        if refused and (refused[2] is None or self.server.count(self.path) <= int(refused[2])):
            self.answer(int(refused[1]), wire.refusal(int(refused[1])), retry_after="1")
            return
        streamed = body.get("stream") or "stream" in rest
        items = plan(scenario, asked)
        if scenario in ("stall", "midfail") and streamed and asked.tools:
            items = [("text", "partial "), ("text", "text ")]
        if not streamed:
            if scenario == "stall":
                self.server.closing.wait(120)
            self.answer(200, wire.whole(items, body))
            return
        self.stream(wire, items, scenario if asked.tools else "text")

    def is_revoked(self):
        given = [str(self.headers[name]) for name in CREDENTIALS]
        return any("revoked" in value and value not in self.server.restored for value in given)

    def is_limited(self, scenario, wire, asked):
        """Refuse for a limit, as the services of these agents say it, if the scenario does; return whether it does."""
        limit = re.fullmatch(r"limit(\d+)x(\d+)", scenario)
        if limit is None or not asked.tools or self.server.count(self.path) > int(limit[2]):
            return False
        seconds = int(limit[1])
        limited = wire.limited(seconds)
        if isinstance(limited, bytes):
            self.send_stream([limited])
        else:
            self.answer(429, limited, retry_after=str(seconds))
        return True

    def stream(self, wire, items, scenario):
        pieces = wire.stream(items, fail=scenario == "midfail", stall=scenario == "stall")
        self.send_stream(pieces, stall=scenario == "stall")

    def send_stream(self, pieces, *, stall=False):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for piece in pieces:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            if stall:
                self.server.closing.wait(120)
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0] or b"0", 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def answer(self, code, value, retry_after=None):
        text = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        if retry_after:
            self.send_header("retry-after", retry_after)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)


class Models(ThreadingHTTPServer):
    """The stub on a port of loopback; a context manager."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.closing = threading.Event()
        self.asked = []
        self.restored = set()
        self._counts = {}
        self._lock = threading.Lock()

    def note(self, body):
        with self._lock:  # an agent asks for several answers at once
            self.asked = [*self.asked[-20:], body]

    def count(self, path):
        with self._lock:
            self._counts[path] = self._counts.get(path, 0) + 1
            return self._counts[path]

    def url(self, scenario):
        return f"http://127.0.0.1:{self.server_address[1]}/{scenario}"

    def handle_error(self, *_):
        pass  # an agent that is killed leaves its connection

    def __enter__(self):
        self._thread = threading.Thread(target=self.serve_forever, name="models", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
