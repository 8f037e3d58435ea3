"""Which server a command speaks to, and as whom: flag, environment, context, the embedded control plane."""

import pytest
from support.program import write_token

from cli.commands.context import remove
from cli.control_plane import embedded
from cli.errors import CliError
from cli.remote import connection, contexts
from cli.remote.connection import ServerOptions, check_origin, check_token, choose, origins, task_id
from cli.remote.contexts import ServerContext

A, B, C = "http://a:1", "http://b:1", "http://c:1"


@pytest.fixture(autouse=True)
def remembered(monkeypatch, tmp_path):
    """Two contexts, of which the first is current; nothing else."""
    for name in ("ADO_URL", "ADO_TOKEN", "ADO_TOKEN_FILE", "ADO_CA", "ADO_ATTEMPT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ADO_HOME", str(tmp_path))
    entries = {
        "one": {"urls": [A], "token": "token-a", "agent": "codex"},
        "two": {"urls": [B, C], "token": "token-b", "agent": None},
    }
    contexts.save({"current": "one", "contexts": entries})


@pytest.mark.parametrize(
    ("flags", "env", "expected"),
    [
        ({}, {}, ((A,), "token-a")),
        ({"context": "two"}, {}, ((B, C), "token-b")),
        ({"context": "two"}, {"ADO_URL": C, "ADO_TOKEN": "t"}, ((B, C), "token-b")),
        ({"context": "two", "token": "flag"}, {"ADO_TOKEN": "t"}, ((B, C), "flag")),
        ({}, {"ADO_TOKEN": "t"}, ((A,), "t")),
        ({}, {"ADO_URL": f"{C}, {B}", "ADO_TOKEN": "t"}, ((C, B), "t")),
        ({}, {"ADO_URL": C}, ((C,), "token-b")),
        ({}, {"ADO_URL": "http://elsewhere"}, (("http://elsewhere",), None)),
        ({}, {"ADO_URL": f"{A},http://elsewhere"}, ((A, "http://elsewhere"), None)),
        ({}, {"ADO_URL": f"{A},{B}"}, ((A, B), None)),
        ({"url": B}, {"ADO_URL": C, "ADO_TOKEN": "t"}, ((B,), "t")),
        ({"url": B, "token": "flag"}, {"ADO_URL": C, "ADO_TOKEN": "t"}, ((B,), "flag")),
    ],
)
def test_flags_precede_the_environment_and_that_the_context(monkeypatch, flags, env, expected):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = choose(ServerOptions(**flags))
    assert (found.urls, found.token) == expected


def test_the_agent_of_a_context_is_used():
    assert choose(ServerOptions()) == ServerContext((A,), "token-a", "codex")


def test_an_unknown_context_is_an_error_with_its_next_step():
    with pytest.raises(CliError) as caught:
        choose(ServerOptions(context="three"))
    assert "ado context list" in caught.value.next_step


def test_with_nothing_configured_the_embedded_control_plane_is_used(monkeypatch, tmp_path):
    contexts.save({"current": None, "contexts": {}})
    token = tmp_path / "token"
    token.write_text("token-e\n")
    running = embedded.RunningPlane(("http://127.0.0.1:9",), token, "", "1", 1, [])
    monkeypatch.setattr(embedded, "find", lambda: running)
    assert choose(ServerOptions()) == ServerContext(("http://127.0.0.1:9",), "token-e")
    monkeypatch.setattr(embedded, "find", lambda: None)
    with pytest.raises(CliError, match="no server is configured"):
        choose(ServerOptions())


@pytest.mark.parametrize(
    ("url", "token"),
    [("http://127.0.0.1:9", "token-e"), ("http://127.0.0.1:9,http://elsewhere", None), ("http://127.0.0.1:8", None)],
)
def test_the_token_of_the_embedded_control_plane_is_sent_only_to_its_origins(monkeypatch, tmp_path, url, token):
    write_token(tmp_path / "token", "token-e")
    running = embedded.RunningPlane(("http://127.0.0.1:9",), tmp_path / "token", "", "1", 1, [])
    monkeypatch.setattr(embedded, "find", lambda: running)
    assert choose(ServerOptions(url=url)).token == token


def test_a_forgotten_context_is_neither_listed_nor_current():
    remove("one")
    assert contexts.named(None) is None
    assert contexts.named("two").token == "token-b"
    with pytest.raises(CliError):
        remove("one")


@pytest.mark.parametrize(("text", "name"), [("12", "task-12"), ("task-12", "task-12"), ("task-0", "task-0")])
def test_the_number_of_a_task_is_a_valid_id(text, name):
    assert task_id(text) == name


@pytest.mark.parametrize("text", ["tsk-12", "task12", "TASK-12", "12x", "-12"])
def test_a_mistyped_id_is_answered_with_the_nearest(text):
    with pytest.raises(CliError) as caught:
        task_id(text)
    assert (caught.value.exit_code, "did you mean task-12?" in caught.value.next_step) == (127, True)


def test_a_job_where_a_task_belongs_is_answered_with_the_option_for_jobs():
    with pytest.raises(CliError, match="task-12/3 is a job") as caught:
        task_id("task-12/3")
    assert caught.value.next_step.startswith("name task-12, and the job with --job 3")


@pytest.mark.parametrize("text", ["", "x", "task-", "٣", "task-²"])
def test_an_invalid_id_is_an_unknown_task(text):
    with pytest.raises(CliError, match="there is no task") as caught:
        task_id(text)
    assert caught.value.exit_code == 127


@pytest.mark.parametrize(
    ("flags", "env", "expected"),
    [
        ({"token_file": "F"}, {"ADO_TOKEN": "t"}, "token-f"),
        ({"token": "flag", "token_file": "F"}, {}, "flag"),
        ({}, {"ADO_TOKEN_FILE": "F"}, "token-f"),
        ({}, {"ADO_TOKEN_FILE": "F", "ADO_TOKEN": "t"}, "t"),
        ({"context": "one"}, {"ADO_TOKEN_FILE": "F"}, "token-a"),
    ],
)
def test_a_token_may_come_from_a_file(monkeypatch, tmp_path, flags, env, expected):
    file = tmp_path / "token"
    write_token(file, "token-f\n")
    for name, value in env.items():
        monkeypatch.setenv(name, str(file) if value == "F" else value)
    found = choose(ServerOptions(**{name: str(file) if value == "F" else value for name, value in flags.items()}))
    assert found.token == expected


@pytest.mark.parametrize("way", ["flag", "variable", "contexts"])
def test_files_with_tokens_that_others_can_read_are_refused(monkeypatch, tmp_path, way):
    file = contexts.config_file() if way == "contexts" else tmp_path / "token"
    if way != "contexts":
        write_token(file, "x")
    file.chmod(0o640)
    if way == "variable":
        monkeypatch.setenv("ADO_TOKEN_FILE", str(file))
    with pytest.raises(CliError, match="other users may read") as caught:
        choose(ServerOptions(token_file=str(file) if way == "flag" else None))
    assert caught.value.next_step == f"chmod 600 {file}"


def test_a_missing_token_file_is_an_error_with_its_next_step(tmp_path):
    with pytest.raises(CliError, match="cannot be read") as caught:
        choose(ServerOptions(token_file=str(tmp_path / "none")))
    assert "--token-file" in caught.value.next_step


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://ado.example:7421", True),
        ("http://192.0.2.1", True),
        ("http://[2001:db8::1]:1", True),
        ("https://ado.example", False),
        ("http://127.0.0.9:1", False),
        ("http://localhost:1", False),
        ("http://[::1]:1", False),
    ],
)
def test_plain_http_to_another_machine_gives_one_warning(capsys, url, warned):
    connection._warn.cache_clear()
    for _ in range(2):
        choose(ServerOptions(url=url, token="t"))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("plain HTTP") == warned


def test_a_job_gets_no_warning_of_plain_http(monkeypatch, capsys):
    connection._warn.cache_clear()
    monkeypatch.setenv("ADO_ATTEMPT", "1")
    choose(ServerOptions(url="http://ado.example", token="t"))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("flags", "env", "expected"),
    [
        ({"ca": "F"}, {"ADO_CA": "V"}, "F"),
        ({}, {"ADO_CA": "V"}, "V"),
        ({}, {}, "C"),
        ({"context": "one"}, {"ADO_CA": "V"}, "C"),
        ({"url": A}, {}, "C"),
        ({"url": "http://elsewhere"}, {}, None),
    ],
)
def test_the_ca_of_a_flag_precedes_the_environment_and_that_the_context(monkeypatch, flags, env, expected):
    content = contexts.load()
    content["contexts"]["one"]["ca"] = "C"
    contexts.save(content)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert choose(ServerOptions(**flags)).ca == expected


def test_a_ca_that_cannot_be_used_is_an_error_with_its_next_step(tmp_path):
    for content in (None, "nonsense"):
        if content:
            (tmp_path / "ca.pem").write_text(content)
        with pytest.raises(CliError, match=r"ca\.pem") as caught:
            choose(ServerOptions(url="https://ado.example", token="t", ca=str(tmp_path / "ca.pem")))
        assert "--ca" in caught.value.next_step


VALID_ORIGINS = [
    "http://127.0.0.1:7421",
    "https://ado.example",
    "http://[2001:db8::1]:1",
    "https://a_b.example/",
    "http://x:1",
]
INVALID_ORIGINS = ["http://[", "ado.example", "ftp://ado.example", "http://", "http://x:99999", "http://x:0",
           "http://x:y", "", "http://a b", "http://x:1/trpc", "http://x?a=b", "http://x#a", "http://me@x",
           "http://\u202e", "http://" + "x" * 300]  # fmt: skip


@pytest.mark.parametrize("url", VALID_ORIGINS)
def test_a_valid_origin_is_unchanged(url):
    check_origin(url)
    assert origins(f" {url} ,") == (url,)


@pytest.mark.parametrize("url", INVALID_ORIGINS)
def test_an_invalid_origin_is_refused_with_an_example(url):
    with pytest.raises(CliError, match="no address of a server") as caught:
        check_origin(url)
    assert "https://ado.example" in caught.value.next_step


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_a_list_without_an_address_is_refused(text):
    with pytest.raises(CliError, match="no address of a server is given"):
        origins(text)


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "tökn", "\x7f", "\udcff"])
def test_a_token_that_no_header_can_carry_is_refused(token):
    with pytest.raises(CliError, match="the token holds"):
        check_token(token)


def test_origin_and_token_are_checked_where_a_server_is_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("ADO_HOME", str(tmp_path))
    with pytest.raises(CliError, match="no address"):
        choose(ServerOptions(url="http://[", token="t"))
    with pytest.raises(CliError, match="the token holds"):
        choose(ServerOptions(url="http://127.0.0.1:9", token="a b"))
