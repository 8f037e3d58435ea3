"""The support bundle helps, holds no secret in any likely form, and needs no server or database."""

import base64
import gzip
import json
import os
import stat
import subprocess
import sys
import tarfile
from urllib.parse import quote

import pytest

PROMPT = "a-prompt-that-nobody-else-may-read"
VALUE = "value/of+an=environment&1234"
KEY = base64.b64encode(bytes(range(32))).decode()
PASSWORD = "pass/word+of@the:database"
LOGGED = "logged-secret/1+2=3"


def contents(path):
    with tarfile.open(path) as archive:
        return {member.name.removeprefix("ado-support/"): archive.extractfile(member).read() for member in archive}


def encoded(secret):
    """Return the texts in which a secret may stand in a log, each with the part that must not be in a bundle."""
    raw = secret.encode()
    yield raw, raw
    yield (quoted := quote(secret, safe="").encode()), quoted
    yield raw.hex().encode(), raw.hex().encode()
    for before in (b"", b"x", b"xy"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(before + raw)
            yield whole, whole[4:-4]


def bundled(home, *arguments, env=None):
    path = home / "bundle.tar.gz"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", "support-bundle", "--to", str(path), *arguments],
        env=env, capture_output=True, check=False, timeout=120, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    return path, done.stdout


def test_the_support_bundle_explains_waiting_jobs_and_holds_no_secret(cluster, home):
    cluster.ado(
        "run", "--remote", "--detach", "--agent", "codex", "--wait-for-agent", "--env", f"DEPLOY={VALUE}", PROMPT,
        check=0,
    )  # fmt: skip
    secrets = [cluster.token, VALUE, KEY, PASSWORD, LOGGED, PROMPT]
    forms = b" ".join(text for secret in [cluster.token, KEY, PASSWORD, LOGGED] for text, _ in encoded(secret))
    (home / "plane.log").write_bytes(b"leaked: " + forms + b" postgresql://ado:hunter2@pg/ado Bearer abc.def\n")
    env = {
        **cluster.client_env(),
        "ADO_DSN": f"{cluster.dsn}&password={quote(PASSWORD, safe='')}",
        "ADO_DATA_KEY": KEY,
        "MY_API_KEY": LOGGED,
        "ADO_POOL_SIZE": "7",
    }
    path, _ = bundled(home, env=env)
    found = contents(path)
    assert set(found) == {
        "README.txt", "versions.json", "settings.json", "control-plane.log", "doctor.json", "status.json",
        "pending.json", "database.json",
    }  # fmt: skip
    whole = b"\n".join(found.values()) + gzip.decompress(path.read_bytes())
    for secret in secrets:
        for _, form in encoded(secret):
            assert form not in whole, (secret, form)
    assert b"hunter2" not in whole
    assert b"abc.def" not in whole
    assert json.loads(found["settings.json"])["ADO_POOL_SIZE"] == "7"
    assert json.loads(found["settings.json"])["ADO_DATA_KEY"] == "(set)"
    (task,) = json.loads(found["pending.json"])
    assert "codex" in task["why"]
    database = json.loads(found["database.json"])
    assert database["schema_version"][0]["version"] > 0
    assert {row["table"] for row in database["table_sizes"]} > {"tasks", "jobs"}
    assert database["waiting_jobs"][0]["unmet"] == "no_live_worker"
    assert "leaked: " in found["control-plane.log"].decode()


@pytest.mark.parametrize(
    "extra", [{}, {"ADO_DSN": "postgresql://ado@127.0.0.1:1/ado"}, {"ADO_URL": "http://127.0.0.1:1"}]
)
def test_the_support_bundle_works_without_server_and_database(tmp_path, extra):
    env = {name: value for name, value in os.environ.items() if not name.startswith("ADO_")}
    path, said = bundled(tmp_path, env={**env, "ADO_HOME": str(tmp_path), **extra})
    found = contents(path)
    assert {"README.txt", "versions.json", "settings.json"} <= set(found)
    for name in ("database.json", "pending.json", "status.json", "control-plane.log"):
        assert name not in found
        assert f"{name}: " in found["README.txt"].decode()
        assert f"missing: {name}: " in said.decode()


def test_the_support_bundle_overwrites_no_file(tmp_path):
    (tmp_path / "there").write_text("mine")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", "support-bundle", "--to", str(tmp_path / "there")],
        env={**os.environ, "ADO_HOME": str(tmp_path)}, capture_output=True, check=False, timeout=120, cwd="/",
    )  # fmt: skip
    assert done.returncode == 2
    assert (tmp_path / "there").read_text() == "mine"
