"""What a person does in the dashboard: answers, cancels, retries, drains, makes a task; by keyboard as well."""

import contextlib
import json
import re
import threading

import pytest
from playwright.sync_api import expect
from support.program import until
from support.repositories import Checkout

from app.rpc.client import HttpClient
from cli.dashboard import WEB

PAGES = ("/inbox", "/tasks", "/schedules", "/workers", "/health", "/new")
ASK = 'echo "the answer is $(ado ask "Deploy <b>now</b>?" --option yes --option "no, wait")"'


def test_a_question_is_answered_in_the_inbox(browsing, cluster, picture):
    name = browsing.create(ASK)
    page = browsing.open("/inbox")
    question = page.get_by_role("region", name=re.compile("^Question "))
    expect(question).to_contain_text("Deploy <b>now</b>?")
    picture(page, "inbox")
    question.get_by_role("button", name="no, wait").click()
    expect(question).to_have_count(0)
    page.get_by_role("link", name=re.compile(f"^{name}")).click()
    expect(page.get_by_label("Output", exact=True)).to_contain_text("the answer is no, wait")


def test_a_question_is_answered_where_its_task_is_watched(browsing):
    name = browsing.create(ASK)
    page = browsing.open(f"/tasks/{name}")
    page.get_by_role("button", name="yes", exact=True).click()
    expect(page.get_by_label("Output", exact=True)).to_contain_text("the answer is yes")
    expect(page.locator(".question")).to_have_count(0)


@contextlib.contextmanager
def beating(cluster, heartbeat):
    """Keep the lease of a worker that is only its calls."""
    ended = threading.Event()

    def beat():
        with contextlib.closing(HttpClient(cluster.urls, cluster.token)) as client:
            while not ended.wait(0.5):
                client.mutate("workers.heartbeat", heartbeat)

    thread = threading.Thread(target=beat, name="heartbeats of a test")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def test_a_permission_shows_its_change_and_is_given_for_the_whole_task(browsing, cluster, picture):
    """The test is the worker, so that no agent of a model's service is needed."""
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(contextlib.closing(HttpClient(cluster.urls, cluster.token)))
        worker = {"workerId": "asker"}
        offers = {"capabilities": ["shell", "asks:people"], "slots": 1, "instance": "i"}
        worker["session"] = client.mutate("workers.register", worker | offers)["session"]
        name = browsing.create("true", requires=["asks:people"])
        (job,) = client.mutate("workers.claim", worker | {"waitSeconds": 10})["jobs"]
        held = {"jobId": job["jobId"], "attempt": job["attempt"]}
        attempt = {"workerId": "asker"} | held
        stack.enter_context(beating(cluster, worker | {"jobs": [held]}))
        edit = {"file_path": "<b>calc.py", "old_string": "a - b\n", "new_string": "a + b\n"}
        asked = {"kind": "permission", "key": "1", "text": "use Edit: <b>calc.py", "tool": "Edit", "input": edit}
        client.mutate("workers.ask", attempt | asked)
        limit = {"kind": "budget", "key": "budget:turns:0", "text": "May it use another 3 turns?"}
        raising = [{"id": "raise", "label": "Raise the limit"}, {"id": "stop", "label": "Stop the job"}]
        client.mutate("workers.ask", attempt | limit | {"options": raising})
        page = browsing.open("/inbox")
        permission = page.locator(".question", has_text="Permission").filter(has_text=name)
        expect(permission.locator(".gone")).to_contain_text("a - b")
        expect(permission.locator(".new")).to_contain_text("a + b")
        expect(permission.locator("figcaption")).to_have_text("<b>calc.py")
        picture(page, "permission")
        permission.get_by_label("Words to the agent with the answer").fill("go on")
        permission.get_by_label("always for Edit in this task").check()
        permission.get_by_role("button", name="Allow").click()
        expect(permission).to_have_count(0)
        page.locator(".question", has_text="Budget").get_by_role("button", name="Raise the limit").click()
        expect(page.locator(".question").filter(has_text=name)).to_have_count(0)
        answered = client.query("questions.list", {"taskId": name, "state": "all"})["items"]
        assert [question["answer"].get("choice") for question in answered] == ["allow", "raise"]
        assert answered[0]["answer"]["text"] == "go on"
        assert [question.get("remember") for question in answered] == ["task", None]
        client.mutate("workers.finish", attempt | {"outcome": "succeeded", "exitCode": 0})


def test_a_task_is_cancelled_and_retried(browsing, tmp_path):
    tmp_path.chmod(0o777)
    again = tmp_path / "again"
    name = browsing.create(f"if [ -e {again} ]; then echo second; else touch {again}; echo first; sleep 600; fi")
    page = browsing.open(f"/tasks/{name}")
    log = page.get_by_label("Output", exact=True)
    expect(log).to_contain_text("first")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.locator(".task-head")).to_contain_text("cancelled")
    page.get_by_role("button", name="Retry").click()
    expect(log).to_contain_text("second")
    expect(page.locator(".task-head")).to_contain_text("succeeded")


def test_several_tasks_are_cancelled_together(browsing, cluster):
    names = [browsing.create("sleep 600", requires=["nobody:has"], labels={"together": "yes"}) for _ in range(3)]
    page = browsing.open("/tasks?label=together%3Dyes")
    expect(page.locator(".task-row")).to_have_count(3)
    page.get_by_label("Choose all on this page").check()
    page.get_by_role("toolbar").get_by_role("button", name="Cancel").click()
    expect(page.locator(".task-row", has_text="cancelled")).to_have_count(3)
    assert {cluster.task(name)["status"] for name in names} == {"cancelled"}
    browsing.create("true", labels={"together": "<i>no</i>"})
    page.goto(cluster.urls[0] + "/tasks?agent=shell")
    page.get_by_label("Group by").select_option("together")
    group = page.locator("tbody", has=page.get_by_role("link", name="together=yes", exact=True))
    expect(group.locator(".task-row")).to_have_count(3)
    expect(page.locator("tr.group", has_text="together=<i>no</i>")).to_contain_text("1 task")
    expect(page.locator("tr.group").last).to_contain_text("without together")
    page.get_by_label("Agent", exact=True).select_option("codex")
    expect(page.get_by_text("No task matches")).to_be_visible()


def test_the_failing_job_of_fifty_is_found_read_and_retried(browsing, cluster, tmp_path, picture):
    tmp_path.chmod(0o777)
    marks = {name: tmp_path / name for name in ("done", "again")}
    script = (
        f"[ $ADO_JOB_INDEX = 37 ] && [ ! -e {marks['again']} ] && {{ echo 'no such host: db'; exit 7; }}; "
        f"[ $ADO_JOB_INDEX = 4 ] && exit 9; echo job $ADO_JOB_INDEX >> {marks['done']}"
    )
    name = browsing.create(script, workers=50, labels={"size": "fifty"})
    page = browsing.open("/tasks?label=size%3Dfifty")
    expect(page.locator(".task-row .status")).to_have_text(re.compile("failed"), timeout=60_000)
    page.get_by_role("link", name=re.compile(name)).click()
    failures = page.get_by_role("region", name="Failed jobs")
    expect(failures).to_contain_text("2 of 50 jobs failed")
    expect(page.get_by_role("button", name="Retry 2 jobs")).to_be_visible()
    expect(failures.get_by_role("listitem")).to_have_count(2)
    expect(failures.get_by_role("listitem").filter(has_text="job 37")).to_contain_text("exit code 7")
    failures.get_by_role("link", name="job 37").click()
    log = page.get_by_label("Output", exact=True)
    expect(log).to_contain_text("no such host: db")
    picture(page, "failures")
    page.keyboard.press("e")
    expect(page).to_have_url(re.compile("#job=4$"))
    marks["again"].touch()
    failures.get_by_role("button", name="Retry job 37").click()
    expect(failures).to_contain_text("1 of 50 jobs failed")
    expect(page.locator(".title-row .status")).to_have_text(re.compile("failed"))
    jobs = cluster.task(name)["jobs"]
    assert {job["job"]: job["attempt"] for job in jobs if job["attempt"] > 1} == {37: 2}
    assert len(marks["done"].read_text().splitlines()) == 49


def test_what_waits_for_which_task_is_shown_on_both(browsing):
    first = browsing.create("true", requires=["nobody:has"])
    second = browsing.create("echo <b>second</b>", after=[first])
    page = browsing.open(f"/tasks/{second}")
    expect(page.locator(".task-head")).to_contain_text(re.compile(f"Starts after:.*{first}.*queued"))
    page.get_by_role("link", name=first, exact=True).click()
    page.get_by_role("tab", name="Details").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("Tasks that start after this one")
    expect(page.get_by_role("tabpanel").get_by_role("link", name=re.compile(second))).to_contain_text("<b>second</b>")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(page.get_by_role("tabpanel")).not_to_contain_text("Tasks that start after this one")


def test_a_message_reaches_the_agent(browsing, tmp_path):
    tmp_path.chmod(0o777)
    go_on = tmp_path / "go-on"
    steps = [{"say": "waiting"}, {"until": str(go_on)}]
    name = browsing.create("\n".join(map(json.dumps, steps)), agent="scripted")
    page = browsing.open(f"/tasks/{name}")
    log = page.get_by_label("Output", exact=True)
    expect(log).to_contain_text("waiting")
    page.keyboard.press("m")
    page.keyboard.type("hello <i>agent</i>")
    page.keyboard.press("Control+Enter")
    expect(log).to_contain_text("message by")
    expect(page.get_by_label("Message to the agent")).to_have_value("")
    go_on.touch()
    expect(log).to_contain_text("the agent has taken the message")
    expect(page.locator(".task-head")).to_contain_text("succeeded")
    assert log.inner_text().count("message by") == 1


def test_a_task_is_paused_and_resumed(browsing):
    name = browsing.create('{"say": "begun"}\n{"sleep": 600}', agent="scripted")
    page = browsing.open(f"/tasks/{name}")
    expect(page.get_by_label("Output", exact=True)).to_contain_text("begun")
    state = page.locator(".title-row .status")
    page.keyboard.press("p")
    page.keyboard.type("lunch <b>first</b>")
    page.keyboard.press("Enter")
    expect(state).to_have_text(re.compile("paused"))
    page.get_by_role("button", name="Resume").click()
    page.get_by_label("Words to the agent, if any").fill("hurry")
    page.get_by_role("button", name="Resume now").click()
    expect(state).to_have_text(re.compile("running"))
    page.get_by_role("tab", name="Timeline").click()
    expect(page.locator(".time-line")).to_contain_text("lunch <b>first</b>")
    expect(page.locator(".time-line")).to_contain_text("hurry")
    page.get_by_role("button", name="Cancel", exact=True).click()
    expect(state).to_have_text(re.compile("cancelled"))


def test_workers_pods_and_ranges_are_shown_and_changed(browsing, cluster, picture):
    cluster.add_worker("w-drained")
    name = browsing.create("true", requires=["nobody:has"])
    cluster.sql(
        "insert into ado.pods (name, decision, namespace, task_id, job, state, reason, reason_since, message) values"
        f" ('pod-<b>', 1, 'n', {name.removeprefix('task-')}, 0, 'placed', 'image_pull', now(), 'no <i>image</i>')"
        " returning name"
    )
    cluster.sql("insert into ado.autoscale values ('gpu', 1, 4, 1, 60) returning capability")
    page = browsing.open("/workers")
    pod = page.get_by_role("list", name="Pods that jobs wait for").get_by_role("listitem").first
    expect(pod).to_contain_text(re.compile(r"pod-<b>.*image pull.*no <i>image</i>", re.DOTALL))
    ranges = page.get_by_role("list", name="Ranges of workers")
    expect(ranges).to_contain_text("0 of 1 to 4")
    ranges.get_by_role("button", name="Change the range of gpu").click()
    ranges.get_by_label("to").fill("6")
    ranges.get_by_role("button", name="Save").click()
    expect(ranges).to_contain_text("0 of 1 to 6")
    row = page.get_by_role("row", name=re.compile("w-drained"))
    expect(row).to_contain_text("idle")
    picture(page, "workers")
    row.get_by_role("button", name="Drain w-drained").click()
    expect(page.get_by_text("w-drained takes no new jobs")).to_be_visible()
    until(lambda: cluster.sql("select state from ado.worker_status where worker_id = 'w-drained'")[0][0] == "stopped")


def test_a_task_is_made_with_a_form_that_shows_its_command(browsing, picture):
    page = browsing.open("/new")
    page.get_by_label("Command").fill('echo "it\'s $ADO_JOB_INDEX"')
    page.get_by_label("Jobs", exact=True).fill("2")
    page.get_by_label("Labels", exact=True).fill("team")
    page.get_by_text("Start, time limits and retries").click()
    page.get_by_label("Start after", exact=True).fill("task-999999")
    page.get_by_role("button", name="Create task").click()
    expect(page.get_by_label("Labels", exact=True)).to_be_focused()
    expect(page.locator("#labels-note")).to_have_text("NAME=VALUE, several by spaces")
    page.get_by_label("Labels", exact=True).fill("team=core")
    page.get_by_role("button", name="Create task").click()
    expect(page.locator("#after-note")).to_contain_text("there is no task 'task-999999'")
    expect(page.get_by_label("Start after", exact=True)).to_be_focused()
    picture(page, "new-wrong")
    page.get_by_label("Start after", exact=True).fill("")
    command = """ado run --remote --workers 2 --agent shell --label team=core 'echo "it'\\''s $ADO_JOB_INDEX"'"""
    expect(page.locator("pre")).to_have_text(command)
    picture(page, "new")
    page.get_by_role("button", name="Create task").click()
    expect(page.get_by_label("Output", exact=True)).to_contain_text("it's 1")
    expect(page.locator(".task-head")).to_contain_text("team=core")
    browsing.said = [text for text in browsing.said if "404" not in text]


def test_a_template_is_saved_run_and_scheduled(browsing, cluster, picture):
    page = browsing.open("/new")
    page.get_by_label("Command").fill("echo hello {who}")
    page.get_by_role("button", name="Save as template…").click()
    page.get_by_label("Name of the template").fill("Greeting")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("cannot be a template's name")
    page.get_by_label("Name of the template").fill("greeting")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Saved: ado run --remote @greeting")).to_be_visible()
    page.reload()
    page.get_by_label("Template").select_option("greeting")
    page.get_by_role("button", name="Create task").click()
    expect(page.get_by_label("{who}")).to_be_focused()
    page.get_by_label("{who}").fill("{you}")
    expect(page.locator("pre")).to_have_text("ado run --remote --var 'who={you}' @greeting")
    picture(page, "new-template")
    page.get_by_role("button", name="Create task").click()
    expect(page.get_by_label("Output", exact=True)).to_contain_text("hello {you}")
    page.keyboard.press("g")
    page.keyboard.press("s")
    page.get_by_role("button", name="Add a schedule").click()
    page.get_by_label("{who}").fill("world")
    page.get_by_label("When").fill("0 3 * * 8")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("alert")).to_be_visible()
    page.get_by_label("When").fill("*/2 * * * * *")
    picture(page, "schedule-new")
    page.get_by_role("button", name="Add", exact=True).click()
    card = page.get_by_role("listitem", name="schedule-")
    expect(card).to_contain_text("@greeting who=world")
    expect(card).to_contain_text("succeeded", timeout=60_000)
    card.get_by_role("button", name="Pause").click()
    expect(card).to_contain_text("paused")
    picture(page, "schedules")
    card.get_by_role("button", name="Remove").click()
    card.get_by_role("button", name="for ever").click()
    expect(page.get_by_text("Nothing is scheduled")).to_be_visible()
    browsing.said = [text for text in browsing.said if "400" not in text]


def test_a_viewer_sees_no_button_that_would_be_refused(browsing, cluster):
    name = browsing.create("sleep 600", requires=["nobody:has"])
    page = browsing.open(f"/tasks/{name}", token=cluster.make_token("viewer"))
    expect(page.locator(".task-head")).to_contain_text("queued")
    for button in ("Cancel", "Retry", "Send"):
        expect(page.get_by_role("button", name=button)).to_have_count(0)
    page.goto(cluster.urls[0] + "/tasks")
    expect(page.locator(".task-row").first).to_be_visible()
    assert page.get_by_role("checkbox", name=re.compile("Choose")).count() == 0


def test_everything_is_reached_by_the_keyboard(browsing):
    name = browsing.create("echo by keyboard")
    page = browsing.open("/inbox")
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("t")
    expect(page.locator(".task-row").first).to_contain_text(name)
    page.keyboard.press("x")
    expect(page.get_by_text("1 task chosen")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Output", exact=True)).to_contain_text("by keyboard")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("c")
    expect(page.get_by_label("Command")).to_be_focused()
    page.keyboard.type("echo made by keyboard")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_label("Output", exact=True)).to_contain_text("made by keyboard")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_finding_of_axe(browsing, scheme, picture):
    name = browsing.create(
        "printf 'red \\033[31mred\\033[0m \\033[2mdim\\033[0m \\033[32mgreen\\n'; echo bad >&2; exit 3"
    )
    page = browsing.open("/tasks", color_scheme=scheme)
    axe = (WEB / "node_modules" / "axe-core" / "axe.min.js").read_text()
    for path in (*PAGES, f"/tasks/{name}", f"/tasks/{name}#tab=details", f"/tasks/{name}#tab=timeline"):
        page.goto(browsing.cluster.urls[0] + path)
        page.reload()
        expect(page.locator("main h1")).to_be_visible()
        expect(page.locator(".loading")).to_have_count(0)
        page.evaluate("document.querySelectorAll('main details').forEach(group => { group.open = true })")
        page.evaluate(axe)
        found = page.evaluate("axe.run().then(result => result.violations)")
        serious = [
            (rule["id"], [node["html"][:200] for node in rule["nodes"][:3]])
            for rule in found
            if rule["impact"] in ("serious", "critical")
        ]
        assert serious == [], path
        picture(page, f"axe-{scheme}{re.sub(r'[^a-z]+', '-', path)}")


def test_a_phone_shows_every_page_without_scrolling_sideways(browsing, cluster, picture):
    name = browsing.create("echo " + "wide" * 100 + "; false", workers=12, labels={"wide": "wide" * 50})
    page = browsing.open("/tasks", viewport={"width": 360, "height": 740})
    for path in (*PAGES, f"/tasks/{name}"):
        page.goto(cluster.urls[0] + path)
        expect(page.locator("main h1")).to_be_visible()
        expect(page.locator(".loading")).to_have_count(0)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        picture(page, f"phone{path.replace('/', '-')}")
    assert page.evaluate("document.querySelector('.log').clientWidth") > 300


def test_the_changes_of_a_result_are_shown_by_file(browsing, cluster, tmp_path, picture):
    checkout = Checkout(tmp_path / "checkout", cluster)
    checkout.commit({"calc.py": "def add(a, b):\n    return a - b\n", "gone": "x\n"})
    checkout.run("sed -i 's/ - / + /' calc.py; rm gone; printf '<b>\\342\\200\\256</b>\\n' > '<i>new'")
    name = cluster.last_task()
    for width, columns in ((1400, 4), (800, 3)):
        page = browsing.open(f"/tasks/{name}#tab=changes", viewport={"width": width, "height": 800})
        file = page.get_by_role("region", name="calc.py")
        expect(file).to_contain_text("return a + b")
        expect(file.locator(".hunk-head td")).to_have_attribute("colspan", str(columns))
        expect(file.locator(".line-removed", has_text="return").first).to_contain_text("return a - b")
        expect(page.get_by_role("navigation", name="Files").get_by_role("link")).to_have_count(3)
        expect(page.get_by_role("region", name="<i>new")).to_contain_text("<b>\\u202e</b>")
        assert page.locator(".diff i, .diff b").count() == 0
        picture(page, f"changes-{width}")
