"""The dashboard's files: which request gets which file, under which rules for the browser."""

import json

import pytest
from litestar import Litestar

from app.replica.web_pages import dashboard_routes

SCRIPT = b"console.log(1)"


@pytest.fixture
def built(tmp_path):
    (tmp_path / "dist" / "assets").mkdir(parents=True)
    (tmp_path / "dist" / "index.html").write_bytes(b"<!doctype html>")
    for name, body in (("main-1a2b.js", SCRIPT), ("main-1a2b.js.br", b"br"), ("main-1a2b.js.gz", b"gz"),
                       (".env", b"secret"), ("notes.txt", b"notes")):  # fmt: skip
        (tmp_path / "dist" / "assets" / name).write_bytes(body)
    (tmp_path / "secret.js").write_bytes(b"secret")
    return tmp_path / "dist"


async def fetch(built, path, method="GET", **headers):
    """Return status, headers and body of an answer."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "scheme": "http", "http_version": "1.1", "client": None, "server": None,
    }  # fmt: skip
    await Litestar(dashboard_routes(built), openapi_config=None)(scope, receive, send)
    found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize(
    "path", ["/", "/inbox", "/tasks", "/tasks/task-12", "/schedules", "/workers", "/health", "/new", "/tasks/<x>"]
)
async def test_every_page_is_the_same_file_and_is_asked_for_again_each_time(built, path):
    status, headers, body = await fetch(built, path)
    assert (status, body) == (200, b"<!doctype html>")
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["cache-control"] == "no-cache"


async def test_an_asset_is_kept_for_ever(built):
    status, headers, body = await fetch(built, "/assets/main-1a2b.js")
    assert (status, body) == (200, SCRIPT)
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["content-type"] == "text/javascript; charset=utf-8"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip, deflate, br, zstd", "br"), ("gzip", "gzip"), ("br;q=0, GZIP;q=0.5", "gzip"), ("identity", None),
     ("gzip; q=0", None)],
)  # fmt: skip
async def test_a_compressed_copy_goes_to_browsers_that_read_it(built, accepted, encoding):
    _, headers, body = await fetch(built, "/assets/main-1a2b.js", accept_encoding=accepted)
    assert headers.get("content-encoding") == encoding
    assert body == {"br": b"br", "gzip": b"gz", None: SCRIPT}[encoding]
    assert headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("path", ["/", "/assets/main-1a2b.js"])
async def test_a_page_runs_scripts_of_its_own_origin_alone_and_in_no_frame(built, path):
    _, headers, _ = await fetch(built, path)
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy.pop("default-src") == policy.pop("frame-ancestors") == "'none'"
    assert policy.pop("base-uri") == policy.pop("form-action") == "'none'"
    assert set(policy) == {"script-src", "style-src", "img-src", "font-src", "connect-src"}
    assert set(policy.values()) == {"'self'"}
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"


@pytest.mark.parametrize(
    "path",
    ["/assets/", "/assets/none-1.js", "/assets/.env", "/assets/notes.txt", "/assets/../secret.js",
     "/assets/%2e%2e%2fsecret.js",
     "/assets//secret.js", "/assets/main-1a2b.js/x", "/assets/main-1a2b.js.br", "/tasksx", "/healthy",
     "/assets/a\x00.js", "/assets/" + "a" * 5000 + ".js", "/etc/passwd", "//inbox"],
)  # fmt: skip
async def test_nothing_else_is_served_or_remembered(built, path):
    status, headers, body = await fetch(built, path)
    assert status == 404
    assert b"secret" not in body
    assert "max-age" not in headers.get("cache-control", "")


async def test_a_file_is_only_read(built):
    for path in ("/", "/tasks", "/assets/main-1a2b.js"):
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            status, headers, _ = await fetch(built, path, method)
            assert (status, headers["allow"]) == (405, "GET, HEAD")
        status, headers, body = await fetch(built, path, "HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 0


async def test_without_built_files_a_page_says_how_to_build_them(tmp_path):
    status, headers, body = await fetch(tmp_path, "/tasks/task-1")
    assert status == 404
    assert b"npm run build" in body
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert "content-security-policy" in headers
    status, _, body = await fetch(tmp_path, "/assets/main-1a2b.js")
    assert (status, json.loads(body)["error"]["data"]["reason"]) == (404, "no_such_page")
