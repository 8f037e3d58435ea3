"""A replica is killed under an open page; a long log is opened at its end; nothing is lost or doubled."""

import json
import re
import signal

from playwright.sync_api import expect
from support.program import until

COUNT = 'i=0; while [ ! -e {stop} ]; do i=$((i+1)); echo "line $i."; sleep 0.02; done; echo "last line $i"'
SHOWN = """() => [...document.querySelectorAll('.log-text')].map(line => line.textContent.trim())"""


def last_number(page):
    """Return the number of the last line in sight."""
    return max(map(int, re.findall(r"line (\d+)", page.get_by_label("Output", exact=True).inner_text())), default=0)


def collected(page):
    """Scroll through the whole log and return its lines in order."""
    return page.evaluate(
        """async () => {
          const log = document.querySelector('.log'), seen = new Map();
          const frame = () => new Promise(requestAnimationFrame);
          const foot = document.querySelector('.log-foot');
          do {
            log.scrollTop = 0;
            await frame(); await frame();
          } while (/older/.test(foot.textContent));
          for (let top = 0; top <= log.scrollHeight; top += 200) {
            log.scrollTop = top;
            await frame(); await frame();
            for (const line of log.querySelectorAll('.log-text')) {
              const found = /^(?:last )?line (\\d+)/.exec(line.textContent);
              if (found) seen.set(line.textContent.trim(), (seen.get(line.textContent.trim()) ?? 0));
            }
          }
          return [...seen.keys()];
        }"""
    )


def test_a_killed_replica_loses_and_doubles_nothing_on_the_screen(browsing, cluster, tmp_path, picture):
    tmp_path.chmod(0o777)
    stop = tmp_path / "stop"
    name = browsing.create(COUNT.format(stop=stop))
    page = browsing.open(f"/tasks/{name}", replica=1)
    log = page.get_by_label("Output", exact=True)
    until(lambda: last_number(page) > 20, "lines")
    port = cluster.urls[1].rpartition(":")[2]
    cluster.replicas[1].send_signal(signal.SIGKILL)
    cluster.replicas[1].wait(60)
    expect(page.get_by_text("Connection lost, retrying")).to_be_visible()
    picture(page, "cut")
    cluster.replicas[1] = cluster.start("api", "--port", port)
    expect(page.get_by_text("Connection lost, retrying")).to_be_hidden()
    seen = last_number(page)
    until(lambda: last_number(page) > seen + 20, "later lines")
    stop.touch()
    expect(log).to_contain_text("last line")
    lines = collected(page)
    numbers = [int(re.search(r"\d+", line)[0]) for line in lines]
    assert numbers == [*range(1, numbers[-1] + 1), numbers[-1]]
    rows = page.evaluate("[...document.querySelectorAll('.log-text')].map(line => line.textContent.trim())")
    assert len(rows) == len(set(rows))


def test_a_long_log_opens_at_its_end_and_scrolls_back_to_its_beginning(browsing, cluster):
    name = browsing.create("seq -f 'line %.0f.' 1 200000; echo 'last line 200000'")
    page = browsing.open(f"/tasks/{name}")
    expect(page.locator(".task-head")).to_contain_text("succeeded")
    received = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(len(frame))))
    page.reload()
    log = page.get_by_label("Output", exact=True)
    expect(log).to_contain_text("last line 200000")
    assert sum(received) < 1_000_000, "the end alone is loaded"
    loaded = page.evaluate("document.querySelectorAll('.log-line').length")
    assert loaded < 300, "only the lines in sight are in the document"

    def beginning():
        page.evaluate("document.querySelector('.log').scrollTop = 0")
        shown = page.evaluate(SHOWN)
        return "line 1." in shown and shown

    shown = until(beginning, "the beginning of the log")
    first = shown.index("line 1.")
    assert shown[first : first + 3] == ["line 1.", "line 2.", "line 3."]
    page.keyboard.press("f")
    expect(log).to_contain_text("last line 200000")
    page.get_by_label("Find in the log").fill("Line 77777.")
    found = page.get_by_role("region", name="Found in the whole log")
    expect(found.get_by_role("listitem")).to_have_count(1)
    found.get_by_role("link").click()
    expect(log).to_contain_text("line 77777.")


def test_a_link_to_an_event_opens_the_log_there(browsing, cluster):
    name = browsing.create("for i in $(seq 1 60); do echo line $i.; echo note $i. >&2; done")  # each is an event
    page = browsing.open(f"/tasks/{name}")
    expect(page.locator(".task-head")).to_contain_text("succeeded")
    (seq, text) = cluster.sql(
        "select seq, convert_from(data, 'UTF8') from ado.events where task_id = %s and type = 'output'"
        " order by seq offset 10 limit 1",
        int(name.removeprefix("task-")),
    )[0]
    page = browsing.open(f"/tasks/{name}#job=0&seq={seq}")
    expect(page.locator(".log-marked").first).to_have_text(re.compile(re.escape(text.splitlines()[0])))
    expect(page.locator(".log-marked").first).to_be_in_viewport()


def longest_task(trace):
    """Return the most CPU milliseconds that a page took before it let its browser draw or hear anything.

    It is not the time that passed, because other processes may have the cores meanwhile.
    """
    events = json.loads(trace)["traceEvents"]
    pages = {(event["pid"], event["tid"]) for event in events if event.get("args", {}).get("name") == "CrRendererMain"}
    tasks = [event["tdur"] for event in events if "tdur" in event and (event["pid"], event["tid"]) in pages]
    assert len(tasks) > 100
    return max(tasks) / 1000


def test_twenty_thousand_lines_a_second_do_not_freeze_the_page(browser, browsing):
    name = browsing.create(
        "for i in 1 2 3 4 5; do seq -f 'line %.0f of many lines' 1 20000; sleep 0.5; done; echo last line"
    )
    page = browsing.open(f"/tasks/{name}")
    browser.start_tracing(page=page, categories=["toplevel"])
    expect(page.get_by_label("Output", exact=True)).to_contain_text("last line")
    assert longest_task(browser.stop_tracing()) < 1000
