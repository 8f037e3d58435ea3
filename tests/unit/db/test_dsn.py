"""What is shown of the name of a database."""

import pytest

from db.connect import connected
from db.dsn import without_password
from db.errors import DatabaseUnavailable


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


@pytest.mark.parametrize(
    "dsn",
    [
        "mysql://ado:hunter2@db/ado",
        "postgresql://ado:hun%ter2@db/ado",
        "postgresql://ado:x@hunter2@db/ado",
        "postgresql://ado:hunter2/x@db/ado",
        "postgresql://ado@db/ado?pasword=hunter2&hunter2=1",
        "host=db password=x hunter2 dbname=ado",
        "hunter2",
    ],
)
def test_a_dsn_that_cannot_be_read_is_not_quoted(dsn):
    with pytest.raises(DatabaseUnavailable) as caught, connected(dsn):
        pass
    text = f"{caught.value} {caught.value.next_step} {caught.value.__cause__}"
    assert "the DSN cannot be read" in text
    assert "unter2" not in text
    assert "hun%t" not in text
    assert "%40 is @" in text
