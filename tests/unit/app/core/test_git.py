"""What surrounds every git command, and the names and addresses that leave a machine."""

import io

import pytest

from app.core.git import (
    GitError,
    clean_name,
    host_of,
    listed,
    looks_secret,
    public_url,
    quoted,
    read_header,
    write_header,
)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://user:secret@github.com/a/b.git", "https://github.com/a/b.git"),
        ("https://token@github.com/a/b", "https://github.com/a/b"),
        ("https://github.com:8443/a?token=x#y", "https://github.com:8443/a"),
        ("ssh://git:pw@host.example:22/a", "ssh://git@host.example:22/a"),
        ("git@github.com:a/b.git", "ssh://git@github.com/a/b.git"),
        ("http://github.com/a", None),
        ("file:///srv/a", None),
        ("/srv/a", None),
        ("ext::sh -c evil", None),
        ("git://host/a", None),
        ("", None),
    ],
)
def test_credentials_are_removed_from_an_address_or_it_is_refused(url, public):
    assert public_url(url) == public


def test_a_host_is_compared_as_a_whole():
    assert host_of("https://GitHub.com/a") == "github.com"
    assert host_of("ssh://git@github.com.evil.example/a") == "github.com.evil.example"
    assert host_of("https://github.com@evil.example/a") == "evil.example"


@pytest.mark.parametrize(
    "path", [".env", "a/.env.local", "x.pem", "ssh/ID_RSA", "id_ed25519", ".npmrc", "a/server.key"]
)
def test_names_of_secrets_are_known(path):
    assert looks_secret(path)


@pytest.mark.parametrize("path", [".env.example", "env", "keys.py", "id_rsa.pub", "src/keyboard.c", "pem", ".envrc.md"])
def test_ordinary_names_are_not_secrets(path):
    assert not looks_secret(path)


@pytest.mark.parametrize(
    ("text", "name"), [("feature/x", "feature/x"), ("a b..c", "a-b-c"), ("-x", "x"), ("x.lock", "x-"), ("", "main")]
)
def test_a_branch_name_is_valid_for_git(text, name):
    assert clean_name(text) == name


def test_a_written_header_is_read_back():
    file = io.BytesIO()
    write_header(file, [("a" * 40, "refs/heads/x")], ("b" * 40,))
    file.write(b"PACK")
    file.seek(0)
    header = read_header(file)
    assert (header.prerequisites, header.heads) == (("b" * 40,), (("a" * 40, "refs/heads/x"),))
    assert file.read() == b"PACK"


@pytest.mark.parametrize(
    "data", [b"", b"# v3 git bundle\n", b"# v2 git bundle\n" + b"x" * 100, b"# v2 git bundle\n-\n"]
)
def test_another_header_is_refused(data):
    with pytest.raises(GitError):
        read_header(io.BytesIO(data))


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"a b/\xc3\xbc", "a b/\u00fc"),
        (b"b\xe9.pem", '"b\\351.pem"'),
        (b"a\nb\x1b[2J", '"a\\nb\\033[2J"'),
        (b'"quoted" \\', '"\\"quoted\\" \\\\"'),
        ("\u202egnp.exe", '"\\342\\200\\256gnp.exe"'),
        (b"\xed\xa0\x80", '"\\355\\240\\200"'),
    ],
)
def test_a_path_is_quoted_like_git_quotes_it(path, shown):
    assert quoted(path) == shown
    quoted(path).encode()


def test_many_paths_are_counted():
    assert listed(["a", b"b"]) == "a, b"
    assert listed([str(number) for number in range(12)]) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9 and 2 more"
