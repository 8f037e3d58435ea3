"""An agent that means harm, in the sandbox of a worker: what it reaches, what it leaves, and what still works."""

import json
import os
import re
import subprocess
import textwrap
from pathlib import Path

import pytest
from support.program import processes_with, until

from worker.sandbox import cgroup

pytestmark = pytest.mark.timeout(180)

REACH = r"""
import ctypes, glob, json, os, socket, sys
found = {}
def attempt(name, do):
    try: found[name] = do()
    except Exception as error: found[name] = f"!{type(error).__name__}: {error}"
def read(path): return open(path, errors="replace").read(300)
def write(path): open(path, "w").write("x"); return "written"
def above(fd):
    names = os.listdir(fd)
    outer = os.open("../../..", os.O_RDONLY, dir_fd=fd)
    return [names, os.listdir(outer)]
attempt("processes", lambda: [read(f"/proc/{pid}/cmdline") for pid in os.listdir("/proc") if pid.isdigit()])
attempt("keeper_environment", lambda: read("/proc/1/environ"))
attempt("keeper_memory", lambda: open("/proc/1/mem", "rb").read(1) and "read")
attempt("keeper_descriptors", lambda: [os.readlink(f"/proc/1/fd/{fd}") for fd in os.listdir("/proc/1/fd")])
attempt("keeper_root", lambda: os.listdir("/proc/1/root"))
attempt("ptrace", lambda: "attached" if ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0 else "")
attempt("directories", lambda: [fd for fd in os.listdir("/proc/self/fd") if os.path.isdir(f"/proc/self/fd/{fd}")
                                and not os.path.realpath(f"/proc/self/fd/{fd}").startswith("/proc")])
attempt("siblings", lambda: glob.glob(os.path.dirname(os.path.dirname(os.getcwd())) + "/*"))
for name, path in json.loads(sys.argv[1]).items():
    attempt(name, lambda: os.listdir(path) if os.path.isdir(path) else read(path))
for path in ("/x", "/etc/x", "/usr/x", "/sys/fs/cgroup/x", "/proc/sys/kernel/hostname", sys.prefix + "/x"):
    attempt("write " + path, lambda: write(path))
def connect(path):
    with socket.socket(socket.AF_UNIX) as s: s.connect(path)
    return "connected"
attempt("socket", lambda: connect(json.loads(sys.argv[1])["socket"]))
attempt("mount", lambda: "mounted" if ctypes.CDLL(None).mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 else "")
print(json.dumps(found))
"""


def add_enclosed_worker(cluster):
    """Add a worker with the sandbox, two slots and a secret; return its process."""
    env = {"ADO_SANDBOX": "bubblewrap", "ADO_SECRETS": "KEY", "KEY": "secret-of-main"}
    worker = cluster.add_worker("main", "--slots", "2", env=env)
    until(lambda: label(cluster, "main") == "bubblewrap", "the worker")
    return worker


@pytest.fixture(scope="module")
def enclosed(shared_cluster):
    """The module's cluster, with a worker that encloses its jobs and that every test leaves alive."""
    add_enclosed_worker(shared_cluster)
    return shared_cluster


def label(cluster, worker):
    found = cluster.sql("select labels ->> 'sandbox' from ado.worker_status where worker_id = %s", worker)
    return found[0][0] if found else None


def run(cluster, command, *more, **options):
    return cluster.ado("run", "--remote", "--agent", "shell", *more, "--", command, **options)


def python(code, *arguments):
    """Return the command that runs a program in a job: its file is the job's own."""
    words = " ".join(f"'{argument}'" for argument in arguments)
    return f"cat > program.py <<'END'\n{textwrap.dedent(code)}\nEND\nexec python3 program.py {words}"


def detached(cluster, command, *more):
    """Start a task and return its id once it says ``ready``."""
    name = run(cluster, command, "--detach", "-o", "name", *more, check=0).stdout.decode().strip()
    until(lambda: b"ready" in cluster.ado("logs", name).stdout, "the job")
    return name


@pytest.mark.sandbox
def test_a_job_reaches_nothing_of_its_worker_and_of_other_jobs(enclosed):
    victim = detached(enclosed, "echo VICTIM > mine; echo ready; sleep 600", "--env", "KEY2=VICTIM")
    listening = enclosed.home / "socket"
    with listening_at(listening):
        places = {
            "home": str(enclosed.home), "token": str(enclosed.home / "admin-token"), "socket": str(listening),
            "sibling": str(enclosed.home / "work" / f"{victim}-0" / "job" / "mine"), "homes": "/home", "run": "/run",
            "shadow": "/etc/shadow",
        }  # fmt: skip
        done = run(enclosed, python(REACH, json.dumps(places)), check=0)
    found = json.loads(done.stdout)
    assert len(found["processes"]) == 2  # the keeper and itself: exec left no shell
    assert all("victim" not in line.lower() and "cli" not in line for line in found["processes"])
    for name in (
        "keeper_environment",
        "keeper_memory",
        "keeper_descriptors",
        "keeper_root",
        "token",
        "sibling",
        "homes",
        "shadow",
        "run",
        "socket",
    ):
        assert str(found[name]).startswith("!"), (name, found[name])
    assert set(found["home"]) <= {"work"}  # the way to its own directories
    assert found["ptrace"] == found["mount"] == ""
    assert found["directories"] == []
    assert {name.rpartition("/")[2] for name in found["siblings"]} <= {done_job(done)}
    for name, outcome in found.items():
        assert not name.startswith("write ") or outcome.startswith("!"), (name, outcome)
    assert "secret-of-main" not in done.stdout.decode()
    enclosed.ado("cancel", victim, check=0)


def done_job(done):
    """Return the name of the directory of a task's only job."""
    return re.search(rb"task-\d+", done.stderr)[0].decode() + "-0"


def listening_at(path):
    import socket

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    path.chmod(0o777)
    return listener


LEAVE = r"""
import os, subprocess, sys
marker = sys.argv[1]
sleeper = ["sh", "-c", f": {marker}; while :; do sleep 1; done"]
subprocess.Popen(sleeper, start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3, 64):
            try: os.close(fd)
            except OSError: pass
        os.execvp("sh", ["sh", "-c", f"trap '' TERM HUP; : {marker}; while :; do sleep 1; done"])
    os._exit(0)
subprocess.Popen(["unshare", "-Urpf", *sleeper])
for number in (9, 19, 15):
    os.kill(1, number)
print("ready", flush=True)
subprocess.run(["ado", "kv", "wait", "end", "--timeout", "10m"], check=True)
"""


@pytest.mark.sandbox
@pytest.mark.parametrize("ending", ["itself", "cancel"])
def test_the_end_of_a_job_ends_all_of_its_processes(enclosed, ending):
    marker = f"ado-left-{os.getpid()}-{ending}"
    name = detached(enclosed, python(LEAVE, marker))
    until(lambda: len(processes_with(f": {marker};")) >= 2, "its processes")
    if ending == "itself":
        enclosed.ado("kv", "set", "end", "now", "--task", name, check=0)
    else:
        enclosed.ado("cancel", name, check=0)
    until(lambda: not processes_with(marker), "the end of everything", 60)
    enclosed.ado("wait", name, timeout=60)
    assert enclosed.task(name)["status"] == ("succeeded" if ending == "itself" else "cancelled")


@pytest.mark.sandbox
def test_the_end_of_a_worker_ends_all_processes_of_its_jobs(cluster):
    worker = add_enclosed_worker(cluster)
    marker = f"ado-left-{os.getpid()}-worker"
    detached(cluster, python(LEAVE, marker))
    until(lambda: len(processes_with(f": {marker};")) >= 2, "its processes")
    worker.kill()
    until(lambda: not processes_with(marker), "the end of everything", 60)


@pytest.mark.sandbox
def test_variables_of_a_task_run_no_code_outside_of_the_sandbox(enclosed):
    """LD_PRELOAD and its like would load a job's library into bwrap and into the keeper."""
    name = detached(enclosed, f"echo ready; sleep 600; : {os.getpid()}", "--env", "LD_AUDIT=/of/the/job.so")
    pids = set(processes_with(f"sleep 600; : {os.getpid()}"))
    around = pids & set(processes_with("keeper.py"))
    assert len(around) >= 2  # bwrap and the keeper
    assert [pid for pid in pids if b"LD_AUDIT" in Path(f"/proc/{pid}/environ").read_bytes()] == list(pids - around)
    enclosed.ado("cancel", name, check=0)


@pytest.mark.sandbox
def test_a_job_without_a_network_has_only_loopback(enclosed):
    port = enclosed.urls[0].rpartition(":")[2]
    command = f"""
    cut -d: -f1 /proc/net/dev | tail -n +3; env | grep ADO_URL=
    python3 -c 'import socket; socket.create_connection(("127.0.0.1", {port}), 5)'
    """
    done = run(enclosed, command, "--network", "none")
    assert done.stdout.decode().split() == ["lo", "ADO_URL="]
    assert done.returncode == 1
    assert b"Connection refused" in done.stderr
    assert enclosed.task(re.search(rb"task-\d+", done.stderr)[0].decode())["network"] == "none"


@pytest.mark.sandbox
def test_a_worker_without_the_capability_gets_no_job_without_a_network(cluster):
    cluster.add_worker("plain")
    until(lambda: label(cluster, "plain") == "none", "the worker")
    name = run(cluster, "echo ran", "--network", "none", "--detach", "-o", "name", check=0).stdout.decode().strip()
    run(cluster, "true", check=0)  # claimed after the other one would have been
    assert cluster.task(name)["status"] == "queued"
    assert b"network:none" in cluster.ado("explain", name).stdout
    cluster.add_worker("enclosed", env={"ADO_SANDBOX": "bubblewrap"})
    cluster.ado("wait", name, check=0, timeout=60)
    assert cluster.ado("logs", name).stdout == b"ran\n"


@pytest.mark.sandbox
def test_ordinary_programs_work_in_the_sandbox(enclosed):
    command = """
    for i in 1 2 3; do echo out $i; echo err $i >&2; done
    echo to-stderr > /dev/stderr
    echo '{"type":"progress","percent":40}' > $ADO_EVENTS
    echo '{"type":"progress","percent":50}' >&$ADO_EVENTS_FD
    ado kv set key 1 >/dev/null && ado kv get key
    printf 'hidden-value-1' | ado mask - && echo hidden-value-1
    touch ~/file "$TMPDIR/file" /tmp/file /var/tmp/file ./file
    ls -d ~ /etc/passwd /dev/null /proc/self/exe >/dev/null
    kill -USR1 $$
    """
    done = run(enclosed, command, "--timeout", "60s")
    assert done.returncode == 128 + 10, done.stderr
    name = re.search(rb"task-\d+", done.stderr)[0].decode()
    events = enclosed.events(name)
    output = [
        (event["stream"], line)
        for event in events
        if event["type"] == "output"
        for line in event["data"].split("\n")
        if line
    ]
    assert output[:6] == [
        (stream, f"{short} {i}") for i in (1, 2, 3) for stream, short in (("stdout", "out"), ("stderr", "err"))
    ]
    assert output[6:] == [("stderr", "to-stderr"), ("stdout", "1"), ("stdout", "***")]
    assert [event["percent"] for event in events if event["type"] == "progress"] == [40, 50]


@pytest.mark.sandbox
def test_a_repository_is_sent_and_its_result_returned(enclosed, tmp_path):
    def git(*words):
        named = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
        return subprocess.run(["git", *named, *words], cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    (tmp_path / "file").write_text("old\n")
    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "Begin")
    command = (
        "git log --format=%s; echo new > file; git commit -qam Change; touch $(cat .git/objects/info/alternates)/x"
    )
    done = run(enclosed, command, "--repo", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, b"Begin\n")
    assert b"Read-only file system" in done.stderr
    enclosed.ado("apply", re.search(rb"task-\d+", done.stderr)[0].decode(), check=0, cwd=tmp_path)
    assert (tmp_path / "file").read_text() == "new\n"


@pytest.mark.sandbox
def test_the_sandbox_is_shown_in_status_and_doctor(enclosed):
    assert b"bubblewrap" in enclosed.ado("workers", "status", check=0).stdout

    def told():
        checks = json.loads(enclosed.ado("doctor", "-o", "json").stdout)["items"]
        return [check["message"] for check in checks if check["name"] == "sandbox"]

    until(lambda: told() == ["bubblewrap on 1"], "the worker, whose heartbeat may be late, to be counted")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give jobs users of their own")
def test_separate_users_isolate_jobs(cluster, tmp_path):
    cluster.add_worker("main", "--slots", "2", env={"ADO_SANDBOX": "uid", "ADO_JOB_UIDS": "60600-60603"})
    until(lambda: label(cluster, "main") == "uid", "the worker")
    marker = f"ado-user-{os.getpid()}"
    victim = detached(cluster, f"echo VICTIM > mine; echo ready; : {marker}; sleep 600", "--env", "KEY2=VICTIM")
    base = cluster.home / "work" / f"{victim}-0"
    (sleeper,) = [pid for pid in processes_with(marker) if Path(f"/proc/{pid}").stat().st_uid != 0]
    group = Path(f"/proc/{sleeper}/cgroup").read_text()
    assert "/ado-" in group or cgroup.delegated() is None
    attack = f"""
    id -u; grep NoNewPrivs /proc/self/status; echo x > own && cat own; echo err > /dev/stderr; cat /dev/stdin
    cat {base}/job/mine; ls {base}/home; cat /proc/{sleeper}/environ; kill -9 {sleeper}; cat {cluster.home}/admin-token
    """
    done = run(cluster, attack)
    user, privileges, own = done.stdout.decode().split("\n")[:3]
    assert int(user) in range(60600, 60604)
    assert int(user) != Path(f"/proc/{sleeper}").stat().st_uid
    assert (privileges.split()[1], own) == ("1", "x")
    assert done.stdout.decode().count("\n") == 3
    assert b"err\n" in done.stderr
    assert done.stderr.count(b"ermission denied") + done.stderr.count(b"not permitted") >= 4
    cluster.ado("cancel", victim, check=0)
    cluster.ado("wait", victim, timeout=60)
    until(lambda: not processes_with(marker), "the end of the job")
    assert Path(os.devnull).stat().st_uid == 0
