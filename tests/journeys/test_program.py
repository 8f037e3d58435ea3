"""The first day of a user who calls ado from programs: a token, plain HTTP, Python. TypeScript: ``tests/interop``."""

import re
from pathlib import Path

import pytest
from support.program import processes_with, until
from support.shell import Shell

GUIDE = (Path(__file__).parents[2] / "app" / "client" / "README.md").read_text()
TASK = '{"prompt": "echo called", "agent": "shell"}'


@pytest.fixture
def shell(home):
    with Shell(home, ADO_HOME=str(home / "state")) as made:
        yield made
        made.run("ado down", seconds=60)
    until(lambda: not processes_with(str(home)), "every process of the home to be gone")


def test_the_first_day_of_a_user_who_calls_ado_from_programs(shell):
    shell.run("ado up --detach")
    shell.run("ado token create --role operator --name script --to token", "operator")
    shell.run("URL='import json, sys; print(json.load(sys.stdin)[\"url\"])'")
    shell.run('export ADO_TOKEN=$(cat token) ADO_URL=$(ado status -o json | python3 -c "$URL")')
    (program,) = re.findall(r"## A first program\n\n```python\n(.*?)```", GUIDE, re.DOTALL)
    (shell.home / "hello.py").write_text(program)
    shell.run("$(dirname $(readlink -f $(which ado)))/python hello.py", "hello from a worker\nsucceeded\n")
    shell.run(
        f"curl -fs $ADO_URL/trpc/tasks.create -H \"authorization: Bearer $ADO_TOKEN\" --json '{TASK}'",
        "task-2",
        wide=True,
    )
    shell.run("ado wait task-2", "succeeded")
    call = 'curl -s -H "authorization: Bearer $ADO_TOKEN" -G $ADO_URL/trpc/tasks.get --data-urlencode'
    shell.run(f'{call} \'input={{"taskId": "task-2"}}\'', '"status":"succeeded"', wide=True)
    shell.run(f'{call} \'input={{"taskId": "task-9"}}\'', '"reason":"no_such_task"', '"hint":', wide=True)
    shell.run("curl -s $ADO_URL/trpc/tasks.list", '"reason":"token_missing"', wide=True)
    shell.run("ado api types | grep 'type AppRouter'", "AppRouter")
    shell.run("ado tasks list -o name", "task-2\ntask-1\n")
