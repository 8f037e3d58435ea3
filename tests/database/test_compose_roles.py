"""The roles that the containers of a team create in their Postgres."""

import re
import shutil
import subprocess

import psycopg
import pytest
from support.rendering import DEPLOY


def test_postgres_gets_the_roles_of_the_run_book(tmp_path, empty_dsn):
    if shutil.which("psql") is None:
        pytest.skip("there is no psql: apt install postgresql-client")
    (tmp_path / "app-password").write_text("it's 1\n")
    text = (DEPLOY / "postgres" / "roles.sh").read_text()
    for role in ("ado_app", "ado_api", "ado_readonly"):  # other tests of this server have roles of these names
        text = re.sub(rf"\b{role}\b", f"compose_{role}", text)
    script = text.replace("/run/secrets", str(tmp_path))
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        info = connection.info
        env = {"PATH": "/usr/bin:/bin", "PGHOST": info.host, "PGPORT": str(info.port), "PGPASSWORD": info.password}
        env |= {"POSTGRES_USER": info.user, "POSTGRES_DB": info.dbname}
        subprocess.run(["sh", "-c", script], env=env, check=True, timeout=60)
        try:
            found = connection.execute(
                "select rolcanlogin, rolconfig, pg_has_role(oid, 'compose_ado_api', 'member')"
                " from pg_roles where rolname = 'compose_ado_app'"
            ).fetchall()
        finally:
            connection.execute("drop role compose_ado_app, compose_ado_api, compose_ado_readonly")
    assert found == [(True, ["log_parameter_max_length=0"], True)]
