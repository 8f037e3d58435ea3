"""Tasks in a browser: signing in, the list, and a task's live log."""

import re
import sys

from playwright.sync_api import expect
from support.program import until

LOOP = 'while [ ! -e {stop} ]; do echo "job $ADO_JOB_INDEX beat"; sleep 0.1; done; echo the end'


def test_a_wrong_token_is_refused_and_a_right_one_signs_in(browsing, cluster):
    page = browsing.blank()
    page.goto(cluster.urls[0] + "/tasks")
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("token")
    page.get_by_label("Token").fill(cluster.token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    assert page.evaluate("Object.keys(localStorage).length + document.cookie.length") == 0
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    browsing.said = [text for text in browsing.said if "401" not in text]


def test_a_code_signs_in_once_and_the_address_forgets_it(browsing, cluster):
    name = browsing.create("echo opened")
    address = cluster.ado("open", name, "--no-browser", check=0).stdout.decode().strip()
    page = browsing.blank()
    page.goto(address)
    expect(page.get_by_label("Output", exact=True)).to_contain_text("opened")
    assert page.url == address.partition("#")[0]
    token = page.evaluate("sessionStorage.getItem('ado.token')")
    assert token not in (None, cluster.token)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    until(
        lambda: (
            cluster.sql("select count(*) from ado.tokens where opened_with is not null and revoked_at is null")
            == [(0,)]
        )
    )
    page = browsing.blank()
    page.goto(address)
    expect(page.get_by_role("alert")).to_contain_text("was used before")
    browsing.said = [text for text in browsing.said if "40" not in text]


def test_ado_open_passes_no_code_in_the_arguments_of_a_process(browsing, cluster, tmp_path, monkeypatch):
    name = browsing.create("echo opened")
    opener, told = tmp_path / "opener", tmp_path / "told"
    opener.write_text(f'#!/bin/sh\necho "$@" > {told}.new && mv {told}.new {told}\n')
    opener.chmod(0o700)
    monkeypatch.setitem(cluster.env, "BROWSER", str(opener))
    command = cluster.open("open", name)
    until(told.exists, "the opener")
    address = told.read_text().strip()
    assert "code" not in address
    page = browsing.blank()
    page.goto(address)
    expect(page.get_by_label("Output", exact=True)).to_contain_text("opened")
    assert "code" not in page.url
    out, said = command.communicate(timeout=60)
    assert (command.returncode, out) == (0, b"")
    assert b"in the browser" in said


def test_a_running_task_of_two_jobs_is_watched_live_to_its_end(browsing, cluster, tmp_path, picture):
    tmp_path.chmod(0o755)
    stop = tmp_path / "stop"
    name = browsing.create(LOOP.format(stop=stop), workers=2)
    page = browsing.open("/tasks")
    row = page.locator(".task-row", has_text=name)
    expect(row).to_contain_text("running")
    picture(page, "tasks")
    row.get_by_role("link", name=re.compile(name)).click()
    log = page.get_by_label("Output", exact=True)
    expect(log).to_contain_text("job 0 beat")
    expect(log).to_contain_text("job 1 beat")
    picture(page, "task")
    page.get_by_role("button", name=re.compile("^running 1")).click()
    expect(log).not_to_contain_text("job 0 beat")
    expect(log).to_contain_text("job 1 beat")
    stop.touch()
    expect(log).to_contain_text("the end")
    expect(page.locator(".task-head")).to_contain_text("succeeded")
    expect(page.get_by_text("end of the log")).to_be_visible()


def test_the_jobs_of_a_task_are_compared_and_one_is_picked(browsing, cluster, picture):
    script = "echo $ADO_JOB_INDEX > new; exit $ADO_JOB_INDEX"
    name = browsing.create(script, workers=2, workspace={}, checks={"commands": ["test -s new"]})
    page = browsing.open(f"/tasks/{name}")
    page.get_by_role("tab", name="Compare").click()
    rows = page.locator("#panel tbody tr")
    expect(rows.nth(0)).to_contain_text("shell")
    expect(rows.nth(0)).to_contain_text("passed")
    expect(rows.nth(0)).to_contain_text("+1")
    expect(rows.nth(1)).to_contain_text("failed")
    page.get_by_role("button", name="Pick job 1").click()
    expect(rows.nth(1)).to_contain_text("picked")
    expect(page.locator("#panel")).to_contain_text(f"ado apply {name} --job 1")
    picture(page, "compare")
    page.get_by_role("button", name="Pick job 0").click()
    expect(page.get_by_role("button", name="Pick job 1")).to_be_visible()
    assert cluster.task(name)["pickedJob"] == 0


HOSTILE = b"".join([
    b"\x1b]0;a title\x07\x1b]2;a title\x1b\\", b"\x1b]52;c;c3RvbGVu\x07", b"\x9d52;c;c3RvbGVu\x9c\n",
    b"\x1b]8;;javascript:alert(1)\x07a link\x1b]8;;\x07 \x1b]8;;file:///etc/passwd\x1b\\another\x1b]8;;\x1b\\\n",
    b"nested \x1b]0;\x1b]52;c;c3RvbGVu\x07\x1b[31m\x1b[?1049h\x1bPq\x1b\\red\x1b[0m\n",
    b"bad \xff\xfe\xc3 bytes\n", "turned \u202eright\u200b\u2066 <script>alert(1)</script>\n".encode(),
    b"1%\r50%\r\x1b[Kprogress 100%\n", b"x" * 1_000_000, b"\nthe end\n",
])  # fmt: skip
WRITE = """exec {python} -I -S -c "
import os, time
data = open('{path}', 'rb').read()
for at in range(0, 700, 7):  # tears sequences and characters
    os.write(1, data[at:at + 7])
    time.sleep(0.01)
for at in range(700, len(data), 65536):
    os.write(1, data[at:at + 65536])
" """


def test_output_that_means_harm_does_none_and_is_copied_as_shown_and_downloaded_as_it_came(browsing, tmp_path, picture):
    tmp_path.chmod(0o755)
    (tmp_path / "data").write_bytes(HOSTILE)
    name = browsing.create(WRITE.format(python=sys.executable, path=tmp_path / "data"))
    page = browsing.open(f"/tasks/{name}#job=0&seq=1", permissions=["clipboard-read", "clipboard-write"])
    page.evaluate("navigator.clipboard.writeText('mine')")
    expect(page.get_by_text("end of the log")).to_be_visible(timeout=60_000)
    assert page.title().startswith(name)
    assert page.evaluate("navigator.clipboard.readText()") == "mine"
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert {"a link another", "progress 100%", "the end"} <= set(copied)
    assert [line for line in copied if line.startswith("turned")] == [
        "turned \\u202eright\\u200b\\u2066 <script>alert(1)</script>"
    ]
    assert sum(line.count("x") for line in copied if set(line) == {"x"}) == 1_000_000
    assert page.locator(".log-text a, .log-text script").count() == 0
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Download").click()
    assert downloading.value.path().read_bytes() == HOSTILE
    page.evaluate("document.querySelector('.log').scrollTop = 0")
    picture(page, "hostile")


def test_hostile_output_prompts_and_labels_are_text(browsing):
    said = "<img src=x onerror=alert(1)> \u202e reversed \\033]0;title\\007 \\033]52;c;eA==\\007 seen"
    name = browsing.create(f"printf '{said}'  # \u202e<b>x</b>", labels={"odd": "<i>v</i>"})
    page = browsing.open(f"/tasks/{name}")
    log = page.get_by_label("Output", exact=True)
    expect(log).to_contain_text("<img src=x onerror=alert(1)> \\u202e reversed")
    expect(log).to_contain_text("seen")
    expect(log).not_to_contain_text("title")
    expect(page.get_by_role("heading", name=name)).to_contain_text("\\u202e<b>x</b>")
    assert page.title().startswith(name)
    assert page.locator("img, i, b").count() == 0
