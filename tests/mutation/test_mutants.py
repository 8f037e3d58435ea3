"""The changes that are made to a file."""

from tests.mutation.mutants import mutants_of


def changes(file, text):
    return {mutant.change for mutant in mutants_of(file, text)}


def statements(body):
    return [mutant.text.partition("\n")[2] for mutant in mutants_of("a.sql", f"-- name: a :none\n{body}")]


def test_a_condition_of_python_is_negated_and_its_bounds_are_moved():
    made = changes("a.py", "def f(x):\n    if x < 3:\n        return 1\n")
    assert "if x < 3: → if not x < 3:" in made
    assert "if x < 3: → if x <= 3:" in made
    assert "if x < 3: → if x < 4:" in made


def test_chosen_numbers_and_defaults_are_left_as_they_are():
    assert changes("a.py", "_SECONDS = 3\nLIMIT: int = 4\ndef f(x=3):\n    pass\n") == set()


def test_what_is_no_python_any_more_is_no_change():
    assert changes("a.py", "def f(\n    *,\n    x,\n):\n    return x\n") == set()


def test_a_statement_that_only_has_an_effect_is_left_out_and_a_log_message_is_not():
    text = "def f(x):\n    x.send(\n        1,\n    )\n    x.y += x.z\n    y = x.z\n    _log.info(y)\n    raise y\n"
    left_out = [mutant for mutant in mutants_of("a.py", text) if mutant.change.endswith("→ pass")]
    assert {mutant.change for mutant in left_out} == {"x.send( → pass", "x.y += x.z → pass", "raise y → pass"}
    assert any(mutant.text.startswith("def f(x):\n    pass\n    x.y += x.z\n") for mutant in left_out)


def test_the_first_values_of_an_object_are_not_left_out():
    text = "class A:\n    def __init__(self):\n        self.x = {}\n\n    def f(self):\n        self.x = {}\n"
    assert [mutant.text for mutant in mutants_of("a.py", text)] == [text[:-12] + "pass\n"]


def test_each_condition_of_a_statement_is_made_to_hold_always():
    assert statements("delete from t where a = :a and (b is null or b > 3);") == [
        "delete from t where (true or (a = :a)) and (b is null or b > 3);",
        "delete from t where a = :a and (true or ((b is null or b > 3)));",
        "delete from t where a = :a and (b is null or (false and (b > 3)));",
    ]


def test_the_conditions_of_subqueries_joins_and_choices_are_changed():
    assert statements("select case when a and b then 1 end from t join u on t.x = u.x order by 1;") == [
        "select case when (true or (a)) and b then 1 end from t join u on t.x = u.x order by 1;",
        "select case when a and (true or (b)) then 1 end from t join u on t.x = u.x order by 1;",
        "select case when a and b then 1 end from t join u on (true or (t.x = u.x)) order by 1;",
    ]
    assert len(statements("select from t where a in (select x from u where y) limit 3;")) == 2


def test_what_is_no_condition_stays():
    assert statements("-- where a and b\ninsert into t values ('where x and y') on conflict do nothing;") == []
    assert statements("select from t where a between 1 and 2;") == [
        "select from t where (true or (a between 1 and 2));",
    ]
    assert statements("insert into t select 1 where a on conflict do nothing;") == [
        "insert into t select 1 where (true or (a)) on conflict do nothing;",
    ]
    assert statements("select from t where a is distinct from b;") == [
        "select from t where (true or (a is distinct from b));",
    ]


def test_a_change_of_sql_names_its_statement():
    assert changes("a.sql", "-- name: take :none\ndelete from t\n  where a\n  = 1;") == {"take: a = 1"}
