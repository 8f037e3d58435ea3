"""``deploy/TEAM.md`` is followed as it is written: a server, two workers and five laptops, each a machine of its own.

The commands are those of the page, extracted from it. Three things are done before, because they need a network or
systemd as the first process: packages and ado are installed (the blocks marked ``apt``; ``caddy`` is another way to do
TLS, and ``agents`` ends with 1 where there is none), Postgres runs as Debian's package starts it, and
``support/systemctl.py`` starts what the units say. What systemd itself makes of the units is tested in
``tests/unit/deploy/test_systemd.py``, and the other balancers in ``tests/interop/test_load_balancer.py``.
"""

import json
import re
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.machines import Network
from support.program import processes_with, until
from support.rendering import DEPLOY

PEOPLE = {"anna": "developer", "ben": "operator", "chris": "developer", "dana": "developer", "eva": "developer"}
NAMES = ("server", "build-1", "build-2", *PEOPLE)
ADDRESSES = {name: f"10.77.0.{number}" for number, name in enumerate(NAMES, start=1)}
CA = "/etc/ado/tls/ca.pem"
NOT_FOLLOWED = ("apt", "caddy", "agents")
UPLOAD = """\
mkdir repository && cd repository
git init -q && git config user.name ben && git config user.email ben@example.com
head -c 9000000 /dev/urandom >large && git add large && git commit -qm large
sha256sum <large && ado run --remote --repo --agent shell 'sha256sum <large'
"""
LONG = "i=0; while :; do i=$((i + 1)); echo line $i; sleep 0.1; done"


def sections():
    """Return the page's blocks by the number of their section: where each is typed, and what."""
    found = {}
    for part in re.split(r"^## ", (DEPLOY / "TEAM.md").read_text(), flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```sh (\S+)\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
        found[part.partition(".")[0]] = [(where, script) for where, script in blocks if where not in NOT_FOLLOWED]
    return found


PAGE = sections()


@pytest.fixture
def machines(home):
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        pytest.skip("the system has no Postgres server: apt install postgresql")
    for program in ("nginx", "curl", "openssl"):
        if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
            pytest.skip(f"there is no {program}: apt install {program}")
    network = Network(home, NAMES)
    try:
        yield network.machines
    finally:
        network.close()
        assert processes_with("/opt/ado/bin/python") == []


def follow(machines, section):
    """Run a section's blocks where they belong; return what each said."""
    return [machines[where].run(script) for where, script in PAGE[section]]


def join(machines):
    """Bring both workers their files; start one by hand, and one as a service. Return the one that runs by hand."""
    (by_hand,) = (script.strip() for where, script in PAGE["6"] if where == "build-1")
    service = [script for where, script in PAGE["6"] if where == "build-2"]
    server = machines["server"]
    tokens, status = (script for where, script in PAGE["6"] if where == "server")
    printed = server.run(tokens).stderr
    for name in ("build-1", "build-2"):
        server.give(f"/root/tokens/{name}.token", machines[name])
        server.give(CA, machines[name])
    assert by_hand in printed.splitlines()
    worker = machines["build-1"].open(by_hand)
    for script in service:
        machines["build-2"].run(script)
    until(lambda: {"build-1", "build-2"} <= workers(server), "both workers", 60)
    assert "build-2" in server.run(status).stdout
    return worker


def workers(server):
    return set(server.run("ado workers status -o name").stdout.split())


def arrive(machines, name):
    """Do what a person does on the first day; return what the commands said."""
    machines["server"].give(f"/root/tokens/{name}.token", machines[name])
    machines["server"].give(CA, machines[name])
    ((where, script),) = PAGE["7"]
    assert where == "laptop"
    return machines[name].run(script.replace("anna", name)).stdout


@pytest.mark.namespaces
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_page_sets_up_a_team_of_five_people(machines):
    server = machines["server"]
    for section in ("1", "2", "3", "4", "5"):
        follow(machines, section)
    worker = join(machines)
    with ThreadPoolExecutor(len(PEOPLE)) as pool:
        said = dict(zip(PEOPLE, pool.map(lambda name: arrive(machines, name), PEOPLE), strict=True))
    for name, text in said.items():
        assert re.search(rf"\b{name}\b.*role {PEOPLE[name]}\b", text)
        assert re.search(r"^hello from build-[12]$", text, re.MULTILINE)
        assert len(re.findall(r"^task-\d+ ", text, re.MULTILINE)) == 1
    check_what_is_reached(machines)
    check_addresses(server)
    first, second = (line.split()[0] for line in machines["ben"].run(UPLOAD, timeout=120).stdout.splitlines()[:2])
    assert first == second
    upgrade_while_somebody_works(machines)
    assert "TABLE DATA ado tasks" in server.run("pg_restore --list /var/backups/ado/*.dump").stdout
    assert worker.poll() is None
    check_agents(machines["build-2"])
    what_comes_later(machines, worker)


def check_agents(machine):
    """Doctor knows what the service knows: a key in its settings, although only root reads the file."""
    (script,) = re.findall(r"^```sh agents\n(.*?)^```$", (DEPLOY / "TEAM.md").read_text(), re.MULTILINE | re.DOTALL)
    machine.write("/srv/bin/claude", "#!/bin/sh\necho '2.1.330 (Claude Code)'\n")
    machine.run("chmod 755 /srv/bin/claude")
    assert "it has no credentials" in machine.run(script, check=1).stdout
    machine.run("echo ANTHROPIC_API_KEY=sk-ant-test >>/etc/ado/worker.env")
    assert "✓  claude-code" in machine.run(script).stdout


def what_comes_later(machines, worker):
    """Somebody leaves, a worker's machine is lost, the certificate is renewed, and the database goes back."""
    server = machines["server"]
    leaves, lost, renewed, restored = (script for _, script in PAGE["10"])
    begun = machines["eva"].run("ado run --remote --detach --agent shell 'sleep 600'").stdout.strip()
    assert re.search(r" eva +tok-\S+ .*tasks\.create +\S+ +ok", server.run(leaves).stdout)
    code = "ado whoami >/dev/null 2>&1 && echo 0 || echo $?"
    until(lambda: machines["eva"].run(code).stdout == "126\n", "her token to be refused", 60)
    until(lambda: "cancelled" in server.run(f"ado tasks show {begun}").stdout, "her task to be cancelled", 60)
    joins_again = server.run(lost).stderr.splitlines()[-1]
    until(lambda: worker.poll() is not None, "the worker to be refused", 60)
    server.give("/root/tokens/build-1.token", machines["build-1"])
    machines["build-1"].open(joins_again)
    until(lambda: re.search(r"^build-1 +idle", server.run("ado workers status").stdout, re.MULTILINE), "build-1", 60)
    before = server.run("openssl x509 -noout -serial -in /etc/ado/tls/server.pem").stdout
    server.run(renewed)
    served = "openssl s_client -connect 127.0.0.1:443 2>/dev/null </dev/null | openssl x509 -noout -serial"
    until(lambda: server.run(served).stdout != before, "the new certificate to be served", 60)
    server.run(restored)
    ready = "curl --silent --fail http://127.0.0.1:7421/readyz >/dev/null && echo ready || true"
    until(lambda: server.run(ready).stdout, "a replica with the restored database", 60)
    assert "disabled" not in server.run("ado users list").stdout
    machines["eva"].run("ado whoami")  # as the page warns, what was ended since the dump is valid again


def check_what_is_reached(machines):
    """Others reach nginx, and neither a replica nor Postgres; a client without the CA trusts no server."""
    connect = "timeout 5 bash -c '</dev/tcp/ado.example.com/{}'"
    machines["eva"].run(connect.format(443))
    limits = machines["server"].run("cat /proc/$(pgrep --oldest --full 'nginx: worker')/limits").stdout
    assert re.search(r"Max open files +16384 ", limits)
    for port in (80, 7421, 7422, 5432):
        machines["eva"].run(connect.format(port), check=1)
    machines["eva"].run("curl --silent https://ado.example.com/readyz", check=60)
    machines["eva"].run("curl --silent --fail --cacert ca.pem https://ado.example.com/readyz")
    machines["build-2"].run("test $(stat -c %a /etc/ado/tokens/build-2) = 600")


def check_addresses(server):
    """The audit has the addresses of the laptops, which the replicas know from nginx alone."""
    entries = json.loads(server.run("ado audit -o json").stdout)["items"]
    seen = {entry["user"]: entry["address"] for entry in entries if entry["procedure"] == "tasks.create"}
    assert sorted(seen.values()) == sorted(ADDRESSES[name] for name in PEOPLE)


def upgrade_while_somebody_works(machines):
    """A dump is made and both replicas are restarted; a stream continues, and no line is lost or doubled."""
    laptop = machines["dana"]
    watching = laptop.open(f"ado run --remote --agent shell {shlex.quote(LONG)}")
    lines = [watching.stdout.readline()]
    follow(machines, "8")
    (_, replicas), (where, worker) = PAGE["9"]
    machines["server"].run(replicas)
    lines += [watching.stdout.readline() for _ in range(3)]
    laptop.run("ado cancel --all --yes")
    lines += watching.stdout.readlines()
    assert watching.wait(60) == 1
    assert lines == [f"line {number}\n" for number in range(1, len(lines) + 1)]
    machines[where].run(worker)
    until(lambda: "build-2" in workers(machines["server"]), "the worker to be back", 60)
