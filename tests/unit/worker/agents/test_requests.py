"""The answers of people, as an agent gets them."""

import pytest

from worker.agents.requests import AgentQuestion, PersonsAnswer, use_of


@pytest.mark.parametrize(
    ("answer", "allows", "words"),
    [
        (PersonsAnswer("allow"), True, "A person refused it."),
        (PersonsAnswer("deny", by="anna"), False, "anna refused it."),
        (PersonsAnswer("deny", "no", "anna"), False, "no"),
        (PersonsAnswer(text="allow"), False, "allow"),
        (PersonsAnswer(unanswered="closed"), False, "Nobody could decide: closed"),
    ],
)
def test_only_the_choice_allow_allows(answer, allows, words):
    assert (answer.allows, answer.refusal) == (allows, words)


def test_a_tool_without_a_title_is_named_alone():
    assert use_of("k", "Bash", "", {}).text == "use Bash"


def test_a_question_about_a_tool_names_files_of_the_job_by_their_relative_path():
    command = "cp /jobs/j/a.txt /jobs/j/b/c.txt /jobs/other"
    assert use_of("k", "Bash", command, {}).within("/jobs/j").text == "use Bash: cp a.txt b/c.txt /jobs/other"
    assert use_of("k", "Read", "/elsewhere/jobs/x", {}).within("/jobs/j").text == "use Read: /elsewhere/jobs/x"


def test_an_agents_own_question_keeps_its_words():
    assert AgentQuestion("k", "text", "is /jobs/j/a right?").within("/jobs/j").text == "is /jobs/j/a right?"
