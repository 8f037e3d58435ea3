"""The real program in a real terminal, read off its screen."""

import json

import pytest
from support.program import until
from support.screen import Terminal

EVIL = r"printf '\033[2J\033]0;owned\007\033[31mred\033[0m safe\n'"


@pytest.fixture
def terminal(shared_cluster):
    opened = []

    def start(*arguments, columns=80, **env):
        made = Terminal(arguments, {**shared_cluster.client_env(), **env}, columns=columns)
        opened.append(made)
        return made

    yield start
    for made in opened:
        made.__exit__()


@pytest.fixture(scope="module")
def working(shared_cluster):
    for number, url in enumerate(shared_cluster.urls):
        shared_cluster.add_worker(f"w{number}", url=url)
    shared_cluster.await_idle("w0", "w1")
    return shared_cluster


def test_lines_of_several_jobs_have_coloured_prefixes_and_a_table_ends_them(working, terminal):
    seen = terminal("run", "--remote", "--workers", "2", "--agent", "shell", "echo job $ADO_JOB_INDEX")
    assert seen.end() == 0
    text = seen.text()
    assert "[0] job 0" in text
    assert "[1] job 1" in text
    assert [line.split()[:1] for line in text.splitlines()[-2:]] == [["0"], ["1"]]
    colours = seen.colours()
    assert colours["[0] job 0"] != colours["[1] job 1"]


ASKED = "echo force=$FORCE_COLOR cli=$CLICOLOR_FORCE."


def test_a_command_is_asked_for_colours_on_a_terminal(working, terminal):
    seen = terminal("run", "--remote", "--agent", "shell", ASKED)
    assert seen.end() == 0
    assert "force=1 cli=1." in seen.text()


def test_a_command_is_not_asked_for_unwanted_colours(working, terminal):
    seen = terminal("run", "--remote", "--agent", "shell", ASKED, NO_COLOR="1")
    assert seen.end() == 0
    assert "force= cli=." in seen.text()


def test_no_color_disables_colours(working, terminal):
    seen = terminal("run", "--remote", "--workers", "2", "--agent", "shell", "echo x", NO_COLOR="1")
    assert seen.end() == 0
    assert "[0] x" in seen.text()
    assert seen.colours() == {}


def test_output_of_an_agent_cannot_control_the_terminal(working, terminal):
    seen = terminal("run", "--remote", "--agent", "shell", EVIL)
    assert seen.end() == 0
    assert "red safe" in seen.text().splitlines()
    assert seen.screen.title == ""
    assert {"red"} in seen.colours().values()
    listed = terminal("tasks", "list")
    assert listed.end() == 0
    assert listed.screen.title == ""


def test_prompts_cannot_control_the_terminal_in_lists(cluster):
    evil = "\x1b]0;owned\x07\x1b[2Jhello"
    cluster.ado("run", "--remote", "--detach", "--agent", "shell", evil, check=0)
    for command in (["tasks", "list"], ["tasks", "show", "1"], ["explain", "1"]):
        with Terminal(command, cluster.client_env()) as seen:
            assert seen.end() == 0
            assert seen.screen.title == ""
            assert "task-1" in seen.text() or "no worker" in seen.text()


def test_at_40_columns_tables_break_at_words_and_output_is_whole(working, terminal):
    long = "x" * 100
    seen = terminal("run", "--remote", "--workers", "2", "--agent", "shell", f"echo {long}", columns=40)
    assert seen.end() == 0
    assert seen.text().replace("\n", "").count(long) == 2
    listed = terminal("workers", "status", columns=40)
    assert listed.end() == 0
    assert max(len(line) for line in listed.text().splitlines()) <= 40
    assert "…" not in listed.text()
    assert {"worker:", "w0", "state:", "idle", "sandbox:"} <= set(listed.text().split())


PROGRESS = (
    r"for i in 1 2 3; do printf '%s0 %%\r' $i; done; until test -e {gate}; do sleep 0.1; done; printf '\033[Kdone\n'"
)


def test_progress_of_several_jobs_is_shown_in_separate_lines(working, terminal, tmp_path):
    tmp_path.chmod(0o755)
    seen = terminal("run", "--remote", "--workers", "2", "--agent", "shell", PROGRESS.format(gate=tmp_path / "gate"))
    seen.until("[0] 30 %  [1] 30 %")
    (tmp_path / "gate").touch()
    assert seen.end() == 0
    assert {"[0] done", "[1] done"} <= set(seen.text().splitlines())
    assert "%" not in seen.text()


def test_ctrl_c_detaches_and_names_the_command_to_return(working, terminal):
    seen = terminal("run", "--remote", "--agent", "shell", "echo here; sleep 60")
    seen.until("here")
    seen.type("\x03")
    assert seen.end() == 130
    task = working.last_task()
    for command in (f"ado attach {task}", f"ado tasks show {task}", f"ado cancel {task}"):
        assert command in seen.text()
    assert working.task(task)["status"] == "running"
    again = terminal("attach", task)
    again.until("here")
    working.ado("cancel", task, check=0)
    assert again.end() == 1


def test_notify_rings_at_the_end_and_only_if_it_is_asked_for(working, terminal):
    run = ("run", "--remote", "--agent", "shell", "echo x")
    for notify, rung in ((["--notify"], 1), ([], 0)):
        seen = terminal(*run[:2], *notify, *run[2:])
        assert seen.end() == 0
        assert (seen.written.count(b"\a"), seen.written.count(b"succeeded\x1b\\")) == (rung, rung)
    seen = terminal("run", "--agent", "shell", "--notify", "exit 3")
    assert (seen.end(), b"\a\x1b]9;the run here has ended: exit code 3\x1b" in seen.written) == (3, True)


def test_notify_rings_for_a_question_and_for_the_end_of_a_task_that_is_watched(working, terminal, tmp_path):
    go = tmp_path / "go"
    task = working.create_task(f"until [ -e {go} ]; do sleep 0.1; done; ado ask --option yes 'Go on?'")
    until(lambda: working.task(task)["status"] == "running", "the start")
    working.ado("pause", task, check=0)
    until(lambda: working.task(task)["status"] == "paused", "the pause")
    seen = [terminal("attach", task, "--notify"), terminal("wait", task, "--notify")]
    for command in seen:
        command.until("paused")  # it is connected
    go.touch()
    working.ado("resume", task, check=0)
    ((name,),) = until(lambda: working.sql("select question_id from ado.questions where state = 'open'"), "it asks")
    working.ado("answer", f"question-{name}", "yes", check=0)
    for command in seen:
        assert command.end() == 0
        assert [note.split(b"\x1b")[0] for note in command.written.split(b"\a\x1b]9;")[1:]] == [
            f"{task} asks: Go on?".encode(),
            f"{task} succeeded".encode(),
        ]


def test_a_waiting_task_shows_its_reason(working, terminal):
    seen = terminal("run", "--remote", "--wait-for-agent", "--agent", "codex", "fix it")
    assert "waiting: no live worker offers codex" in seen.until("something else")
    seen.type("\x03")
    assert seen.end() == 130


def test_workers_status_watches_in_place(cluster):
    with Terminal(["workers", "status", "--watch"], cluster.client_env()) as seen:
        seen.until("workers: none")
        cluster.add_worker("late")
        text = seen.until("late")
        assert text.count("workers:") == 1
        seen.type("\x03")
        assert seen.end() == 130


def test_login_asks_for_the_token_and_does_not_show_it(shared_cluster, terminal, home):
    env = {"ADO_URL": "", "ADO_TOKEN": "", "ADO_HOME": str(home / "login")}
    seen = terminal("login", shared_cluster.urls[0], **env)
    seen.until("token:")
    seen.type(shared_cluster.token + "\n")
    assert seen.end() == 0
    assert shared_cluster.token not in seen.text()
    listed = terminal("context", "list", "-o", "json", **env)
    assert listed.end() == 0
    (entry,) = json.loads(listed.written.replace(b"\r\n", b""))["items"]
    assert entry == {"name": "default", "urls": [shared_cluster.urls[0]], "current": True}
    used = terminal("tasks", "list", **env)
    assert used.end() == 0
    assert (home / "login" / "contexts.json").stat().st_mode & 0o077 == 0
