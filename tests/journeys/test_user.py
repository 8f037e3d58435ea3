"""The first day of a person at a laptop, typed command by command in a terminal of 80 columns and 24 lines."""

import pytest
from support.program import processes_with, until
from support.shell import Shell


@pytest.fixture
def shell(home):
    with Shell(home, ADO_HOME=str(home / "state")) as made:  # root would use the machine's
        yield made
        made.run("ado down", seconds=60)
    until(lambda: not processes_with(str(home)), "every process of the home to be gone")


def test_the_first_day_of_a_person_at_a_laptop(shell):
    shell.run("ado --version")
    shell.run("ado --help", "run", "attach", "workers")
    # the first task starts a control plane
    shell.run(
        "ado run --remote --workers 3 --agent shell 'for i in 1 2; do echo \"worker $ADO_JOB_INDEX step $i\"; done'",
        "starting a control plane", "task-1", "[0] worker 0 step 1", "[2] worker 2 step 2", "succeeded",
    )  # fmt: skip
    shell.run("ado run --remote --agent shell 'echo no; exit 7'", "no", code=7)
    shell.run("ado run --remote --agent shell -- printf '%s\\n' 'a b' c", "a b\nc\n")
    # leave, and come back
    shell.start("ado run --remote --agent shell 'echo one; sleep 600'")
    shell.sees("one")
    shell.type("\x03")
    shell.finish("ado attach", code=130)
    shell.run("ado tasks list", "running", "succeeded", "failed")
    shell.run("ado status; ado workers status")
    shell.run("ado explain task-4")
    shell.run("ado cancel task-4")
    shell.run("ado cancel task-4", "cancelled")
    shell.run("ado attach task-4", "one", "was cancelled", code=1)
    shell.run("ado logs task-1 --raw --job 0", "worker 0 step 1\nworker 0 step 2\n")
    # mistakes
    shell.run("ado rnu x", "run", code=2)
    shell.run("ado tasks show task-99", "task-99", code=127)
    shell.run("ado run --remote --agent cluade-code hi", "claude-code", code=127)
    # a repository
    shell.run(
        "git init -q project && cd project && git config user.name a && git config user.email a@example.com\n"
        "echo 'a - b' > calc.py && git add . && git commit -qm start"
    )
    shell.run("ado run --remote --repo --agent shell 'sed -i s/-/+/ calc.py'", "1 file", "ado apply")
    shell.run("ado diff task-5", "+a + b")
    shell.run("ado apply task-5", "1 file")
    shell.run("cat calc.py; cd ..", "a + b")
    shell.run("ado doctor")
    shell.run("ado help exit-codes | head -5")
