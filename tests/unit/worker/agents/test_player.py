"""The agent ``scripted`` says what is wrong with a script, and its help shows every step."""

import json
import re
import subprocess
import sys
from importlib import resources

import pytest

from worker.agents import player

HELP = (resources.files("cli") / "topics" / "agents.txt").read_text()


def played(script):
    done = subprocess.run(
        [sys.executable, "-I", "-S", player.__file__, script], capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("hello", "line 1 is no JSON object"),
        ('{"say": "a"}\n[1]', "line 2 is no JSON object"),
        ('{"sing": "a"}', "step 1 cannot be played: there is no step 'sing', but say, "),
        ('{"sleep": "long"}', "step 1 cannot be played: could not convert"),
        ('{"write": {"path": "/nowhere/at/all", "text": ""}}', "step 1 cannot be played: [Errno 2]"),
        ('{"repeat": 1}', "step 1 cannot be played: 'steps'"),
    ],
)
def test_an_invalid_script_is_reported_in_one_line(script, said):
    code, out, err = played(script)
    assert (code, out) == (1, "")
    assert said in err
    assert err.endswith("; see ado help agents\n")
    assert err.count("\n") == 1


def test_the_help_shows_every_step_as_it_is_written():
    decoder = json.JSONDecoder()
    shown = set()
    for line in re.findall(r"^  (\{.*)$", HELP, re.MULTILINE):
        rest = line
        while rest.startswith("{"):
            step, end = decoder.raw_decode(rest)
            shown |= set(step)
            rest = rest[end:].strip()
    assert shown == {*player.STEPS, "repeat", "steps", "turn"}
