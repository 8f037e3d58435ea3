"""What is shown of the name of a database."""

import pytest

from db.dsn_display import without_password


@pytest.mark.parametrize("dsn", ["postgresql:///postgres?host=/run/x&user=ado", "host=db user=ado", ""])
def test_a_name_without_a_password_is_shown_as_it_is(dsn):
    assert without_password(dsn) == dsn


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://ado:hunter2@db/ado?sslmode=require",
        "postgresql://ado@db/ado?sslmode=require&password=hunter2",
        "postgresql://ado:%68unter2@db/ado?sslmode=require&sslpassword=hunter2",
        "host=db dbname=ado user=ado sslmode=require password='hunter2'",
    ],
)
def test_a_password_is_left_out_and_the_rest_is_shown(dsn):
    shown = without_password(dsn)
    assert "hunter2" not in shown
    assert "%68unter2" not in shown
    assert {"host=db", "user=ado", "dbname=ado", "sslmode=require"} <= set(shown.split())
