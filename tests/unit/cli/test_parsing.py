"""A mistyped command line is answered with what was probably meant and the help of the command that was typed."""

import pytest
from cyclopts import CycloptsError

from cli.app import build
from cli.errors import nearest
from cli.parsing import explain


def said(*arguments):
    with pytest.raises(CycloptsError) as caught:
        build()(list(arguments))
    error = explain(caught.value)
    assert error.exit_code == 2
    return error.message, error.next_step


@pytest.mark.parametrize(
    ("typed", "message", "step"),
    [
        (["rnu", "hi"], "ado has no command 'rnu'; did you mean run?", "see ado --help"),
        (["tasks", "lst"], "did you mean list?; it has list, show,", "see ado tasks --help"),
        (["context", "ues"], "ado context has no command 'ues'; did you mean use?", "see ado context --help"),
        (["logs"], "ado logs needs TASK", "see ado logs --help"),
        (
            ["run", "--label", "-x", "hi"],
            "--label needs a value; one that begins with a dash follows an =: --label=-x",
            "see ado run --help",
        ),
        (["logs", "1", "2"], "ado logs takes no further argument '2'", "see ado logs --help"),
        (
            ["run", "--agnet", "shell", "x"],
            "ado run has no option --agnet; did you mean --agent?",
            "see ado run --help",
        ),
        (["workers", "status", "-o", "jsn"], 'Did you mean "json"?', "see ado workers status --help"),
        (["token", "create", "--role", "viewr"], 'Did you mean "viewer"?', "see ado token create --help"),
        (["run", "--workers", "x", "hi"], "--workers x is not a whole number", "see ado run --help"),
        (["run", "--max-turns", "1.5", "hi"], "--max-turns 1.5 is not a whole number", "see ado run --help"),
        (["run", "--cpu", "x", "hi"], "--cpu x is not a number", "see ado run --help"),
        (["workers", "scale", "x"], "COUNT x is not a whole number", "see ado workers scale --help"),
        (["users", "set", "a", "--running", "x"], "x is not a whole number or none", "see ado users set --help"),
        (["tasks", "task-3"], "did you mean ado tasks show task-3?", "see ado tasks --help"),
        (["ps"], "did you mean tasks list?", "see ado --help"),
        (["rm", "task-1"], "did you mean tasks rm?", "see ado --help"),
        (["-o", "json", "tasks"], "ado has no option -o; the options of a command stand after", "see ado --help"),
    ],
)
def test_an_unknown_option_is_answered_with_the_nearest_and_the_help(typed, message, step):
    found = said(*typed)
    assert message in found[0]
    assert found[1] == step


def test_a_distant_word_gets_no_suggestion():
    assert nearest("zzz", ["run", "attach"]) == ""
    assert nearest("atach", ["run", "attach"]) == "; did you mean attach?"
