"""Any arguments, variables and files of ado give a message, a next step and a documented exit code."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import garbage

from cli import exits

DOCUMENTED = {0, *(int(code) for code in re.findall(r"^  (\d+) ", exits.TABLE, re.MULTILINE))}
FORBIDDEN = ("Traceback", "a mistake of ado's own", "Error(", "<class")
_LONGEST_LINE = 1000


def wrong(code, said):
    """Return what is wrong with how a command ended."""
    lines = said.splitlines()
    if code not in DOCUMENTED:
        return f"the exit code {code} is not documented"
    if any(word in said for word in FORBIDDEN):
        return "it shows what no user understands"
    if any(len(line) > _LONGEST_LINE for line in lines):
        return "a line is too long"
    if code == 0 or said.startswith('{"error":'):
        return None
    talk = [line for line in lines if line.startswith("ado: ")]
    return None if len(talk) >= 2 and len(talk[-1]) > len("ado: ") else "it names no next step"


@pytest.mark.timeout(600)
def test_every_command_answers_garbage_with_a_message_and_a_next_step(tmp_path):
    tests = str(Path(garbage.__file__).parent.parent)
    code = f"import sys; sys.path.insert(0, {tests!r}); from support import garbage; garbage.main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path)],
        capture_output=True, timeout=540, check=False, start_new_session=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({tuple(case["words"][:2]) for case in cases}) > 100
    findings = [
        (found, case["environment"], [word[:60] for word in case["words"]], case["said"][:300])
        for case in cases
        if case["words"][0] != "doctor" or case["code"] != exits.FAILED  # its findings and their fixes are its data
        if (found := wrong(case["code"], case["said"]))
    ]
    assert not findings, "\n".join(map(str, [len(findings), *findings[:10]]))


@pytest.mark.parametrize(
    ("arguments", "environment", "code"),
    [
        (["tasks", "list"], {"ADO_HOME": "/dev/null"}, 2),
        (["up", "--port", "99999"], {}, 2),
        (["api", "--port", "99999"], {}, 2),
        (["up", "--replicas", "0"], {}, 2),
        (["tasks", "show", "9" * 5000], {"ADO_URL": "http://127.0.0.1:9"}, 127),
        (["tasks", "list", "--url", "http://["], {}, 2),
        (["api"], {"ADO_DSN": "nonsense"}, 125),
        (["spawner"], {"ADO_DSN": "nonsense"}, 125),
        (["worker"], {"ADO_URL": "http://127.0.0.1:9", "ADO_TOKEN_FILE": "/nowhere"}, 2),
        (["db", "prune", "--older-than", "9" * 400], {"ADO_DSN": "postgresql:///x"}, 2),
        (["x" * 100_000], {"LC_ALL": "C"}, 2),
    ],
)
def test_a_separate_process_answers_garbage_the_same_way(arguments, environment, code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", *arguments],
        env={"PATH": os.defpath, "ADO_HOME": str(tmp_path), **environment},
        stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr[:500]
    assert wrong(done.returncode, done.stderr.decode()) is None, done.stderr[:2000]
