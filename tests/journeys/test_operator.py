"""The first day of an operator: a database, replicas, workers and users by hand, then what goes wrong."""

import pytest
from support.ports import reserved_port
from support.postgres import system_bindirs
from support.program import processes_with, until
from support.shell import Shell


@pytest.fixture
def shell(home, dsn):
    with reserved_port() as port, Shell(home, ADO_HOME=str(home / "state")) as made:
        made.run(f"PATH=$PATH:{':'.join(map(str, system_bindirs()))}")
        made.run(f"export ADO_DSN='{dsn}' PORT={port}")
        yield made
        made.run("kill $(jobs -p); wait")
    until(lambda: not processes_with(str(home)), "every process of the home to be gone")


def test_the_first_day_of_an_operator(shell):
    shell.run("ado db migrate")
    shell.run("ado db check")
    shell.run("ado token create --role admin --to admin")
    shell.run("ado token create --role worker --worker build-1 --to build-1")
    shell.run("ls -l admin build-1", "-rw-------")
    shell.run("ado api --port $PORT >api.log 2>&1 &\nuntil curl -fso ready localhost:$PORT/readyz; do sleep 0.1; done")
    shell.start("ado login http://localhost:$PORT")
    shell.sees("token: ")
    shell.type(f"{(shell.home / 'admin').read_text()}\n")
    assert "ado_" not in shell.finish("is used from now on")
    shell.run(
        "ado worker --url http://localhost:$PORT --token-file build-1 --id build-1 --capability shell >w.log 2>&1 &\n"
        "until ado workers status | grep build-1; do sleep 0.1; done",
        "build-1",
    )
    shell.run("ado run --remote --agent shell 'echo hello'", "hello")
    shell.run("ado users add anna --role developer")
    shell.run("ado token create --user anna --name laptop --to anna")
    shell.run("ado users list", "anna", "developer")
    shell.run("ADO_TOKEN=$(cat anna) ADO_URL=http://localhost:$PORT ado whoami", "anna")
    shell.run("ado audit", "users.add")
    shell.run('curl -fs -H "authorization: Bearer $(cat admin)" localhost:$PORT/metrics | head -3', wide=True)
    shell.run('psql "$ADO_DSN" -c "select worker_id, state from ado.worker_status"', "build-1", "idle")
    shell.run("ado doctor", "1 idle")
    # a worker dies in the middle of a job
    shell.run("ado run --remote --agent shell --detach -o name 'sleep 600'", "task-2")
    shell.run("until ado workers status | grep busy; do sleep 0.1; done", "1 busy")
    shell.run("kill -9 %2; wait %2 2>killed", code=137)
    shell.run("until ado workers status | grep -E 'suspect|dead'; do sleep 0.5; done", wide=True)  # bash reports %2
    shell.run("ado doctor", "1 suspect, and no spawner runs", code=1)
    shell.run("ado explain task-2", "build-1 was heard of")
    shell.run("ado cancel task-2")
    shell.run("ado db prune --older-than 30", "unit", code=2)
    shell.run("ado db prune --older-than 30d")
