"""A replica with a template, called by an operator."""

import pytest
from support.procedures import Real
from support.schedules import ANNA, TASK


@pytest.fixture
def real(dsn):
    """A replica that an operator calls; bob is a developer."""
    made = Real(dsn)
    made.sql("insert into ado.users (name, role) values ('anna', 'operator'), ('bob', 'developer')")
    made.be(ANNA)
    made.call("templates.save", name="hi", task=TASK)
    made.run(made.scheduler.step())  # the first one plans anew
    yield made
    made.close()
