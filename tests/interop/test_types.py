"""The TypeScript that a replica serves: right calls compile, wrong ones do not, and the page's program runs."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = (HERE.parent.parent / "deploy" / "API.md").read_text()


OMITTED = ("input_lost", "permission")
"""Events for which one of the programs has no case."""


@pytest.fixture(scope="module")
def errors(project, compiled):
    """What the compiler says of each program. It runs once, because it reads the declarations for seconds."""
    calls, render = ((HERE / "types" / name).read_text() for name in ("calls.ts", "render.ts"))
    programs = {
        "calls.ts": calls,
        "render.ts": render,
        "wrong-call.ts": calls.replace("// @ts-expect-error the prompt is required\n", ""),
    }
    for event in OMITTED:
        lines = [line for line in render.splitlines() if f"case '{event}'" not in line]
        programs[f"without-{event}.ts"] = "\n".join(lines)
    for name, text in programs.items():
        (project / name).write_text(text)
    code, out = compiled("--noEmit", *programs)
    assert code != 0
    said = re.findall(r"^(\S+?)\(\d+,\d+\): (.*(?:\n .*)*)", out, re.MULTILINE)
    assert {name for name, _ in said} <= set(programs), out
    return {name: [text for where, text in said if where == name] for name in programs}


def test_right_calls_compile_and_wrong_ones_do_not(errors):
    assert errors["calls.ts"] == []


def test_a_wrong_call_fails_the_compiler(errors):
    """Without this, an ``AppRouter`` that is silently ``any`` would pass."""
    assert any("'prompt' is missing" in error for error in errors["wrong-call.ts"])


def test_nothing_is_of_an_unknown_type(project):
    assert not re.search(r": unknown\b|unknown\[\]", (project / "ado.d.ts").read_text())


def test_a_program_that_renders_every_event_compiles(errors):
    assert errors["render.ts"] == []


@pytest.mark.parametrize("event", OMITTED)
def test_a_program_that_leaves_out_an_event_does_not_compile(errors, event):
    """Without this, events that are silently ``any`` or ``unknown`` would pass."""
    assert any("is not assignable to parameter of type 'never'" in error for error in errors[f"without-{event}.ts"])


def test_a_replica_serves_what_the_command_prints(cluster):
    request = urllib.request.Request(
        f"{cluster.urls[0]}/trpc/ado.d.ts", headers={"authorization": f"Bearer {cluster.token}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        served = answer.read()
    done = subprocess.run([sys.executable, "-m", "cli", "api", "types"], capture_output=True, check=True, timeout=60)
    assert served == done.stdout


def test_the_pages_program_runs_as_written_in_an_empty_project(path_of_a_user, cluster, tmp_path):
    """The commands and the program are the page's, letter by letter."""
    section = PAGE.partition("\n## From TypeScript\n")[2].partition("\n## ")[0]
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    (program,) = re.findall(r"^```ts\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 14
    (tmp_path / "follow.ts").write_text(program)
    cluster.add_worker("w1")
    settings = {"ADO_URL": cluster.urls[1], "ADO_TOKEN": cluster.token, "PATH": path_of_a_user}
    done = subprocess.run(
        ["sh", "-e", "-c", commands], cwd=tmp_path, env={**cluster.env, **settings}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "hello from a worker"


def test_the_calls_of_the_page_over_plain_http_work(cluster):
    section = PAGE.partition("\n## By plain HTTP\n")[2].partition("\n## ")[0]
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    cluster.add_worker("w1")
    settings = {"ADO_URL": cluster.urls[1], "ADO_TOKEN": cluster.token, "PATH": os.environ["PATH"]}

    def called(lines):
        done = subprocess.run(
            ["sh", "-e", "-c", lines], env=settings, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    *functions, create, get, stream = commands.splitlines(keepends=True)
    functions = "".join(functions)
    assert json.loads(called(functions + create))["result"]["data"]["taskId"] == "task-1"
    lines = called(functions + stream).splitlines()
    assert any(line.startswith("data: ") and "hello over HTTP" in line for line in lines)
    assert [line for line in lines if line.startswith("event: ")] == ["event: connected", "event: return"]
    assert json.loads(called(functions + get))["result"]["data"]["status"] == "succeeded"
    (item,) = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    resuming = functions.replace("curl -sSN", f"curl -sSN -H 'Last-Event-Id: {item}'")
    assert "hello over HTTP" not in called(resuming + stream)
    error = json.loads(called(functions + get.replace("task-1", "task-9")))["error"]
    assert {"code", "reason", "hint"} <= set(error["data"])
    assert "event: serialized-error" in called(functions + stream.replace("task-1", "task-9")).splitlines()


def test_the_pages_versions_are_those_that_are_tested():
    pinned = json.loads((HERE / "package.json").read_text())["dependencies"]
    named = re.findall(r"(?<=[ @])((?:@?[a-z]+/)?[a-z]+)@([0-9.]+)", PAGE)
    assert len(named) == 7
    assert {name: pinned[name] for name, _ in named} == dict(named)
