"""The dashboard and the alerts name what replicas really publish, and their expressions hold together."""

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "ado.json").read_text())
RULES = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yaml").read_text())["groups"][0]["rules"]
EXPRESSIONS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPRESSIONS += [rule["expr"] for rule in RULES]
WORDS = {
    "sum", "max", "min", "by", "rate", "increase", "histogram_quantile", "absent", "and", "or", "up", "unless", "on",
}  # fmt: skip
FROM_PROMETHEUS = {"job", "instance", "le"}
PAIRS = {")": "(", "}": "{", "]": "["}


def published(cluster):
    """Return the names that a scrape has, each with its labels' values."""
    cluster.add_worker("w1")
    cluster.ado("run", "--remote", "--agent", "shell", "echo hello", check=0)
    cluster.ado("run", "--remote", "--agent", "shell", "exit 1", check=1)
    spent = [
        ("tokens", "input"),
        ("tokens", "output"),
        ("tokens", "cache_read"),
        ("tokens", "cache_write"),
        ("cost", ""),
    ]
    for measure, kind in spent:
        cluster.sql("insert into ado.metric_notes values (%s, 'codex', %s) returning 1", measure, kind)
    cluster.ado("tasks", "show", "task-99", check=127)
    cluster.ado("workers", "autoscale", "shell", "--min", "0", "--max", "4", check=0)
    found = {}
    for url in cluster.urls:
        request = urllib.request.Request(f"{url}/metrics", headers={"authorization": f"Bearer {cluster.token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            for family in text_string_to_metric_families(answer.read().decode()):
                for sample in family.samples:
                    labels = found.setdefault(sample.name, {})
                    for name, value in sample.labels.items():
                        labels.setdefault(name, set()).add(value)
    return found


def test_every_named_metric_and_label_is_published(cluster):
    found = published(cluster)
    used = set()
    for expression in EXPRESSIONS:
        for name, _, matchers in re.findall(r"\b(ado_\w+)(\{([^}]*)\})?", expression):
            assert name in found, f"{name} of {expression}"
            used.add(name)
            for label, operator, value in re.findall(r'(\w+)(=~|!=|!~|=)"([^"]*)"', matchers):
                known = found[name].get(label, set())
                assert label in FROM_PROMETHEUS or known, f"{label} of {expression}"
                if operator in ("=", "=~") and label not in FROM_PROMETHEUS | {"code"}:
                    assert set(value.split("|")) <= known, f"{value} of {expression}"
        for labels in re.findall(r"\bby \(([^)]*)\)", expression):
            known = set().union(*(found[name] for name in re.findall(r"\bado_\w+", expression)))
            assert set(labels.replace(" ", "").split(",")) <= known | FROM_PROMETHEUS, expression
    unused = {name for name in found if name.startswith("ado_") and not name.endswith("_created")} - used
    assert not {re.sub(r"_(bucket|sum|count)$", "", name) for name in unused} - {
        re.sub(r"_(bucket|sum|count)$", "", name) for name in used
    }


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_balanced_and_uses_known_functions(expression):
    bare = re.sub(r'"[^"]*"', '""', expression)
    open_ = []
    for character in bare:
        if character in "({[":
            open_.append(character)
        elif character in PAIRS:
            assert open_
            assert open_.pop() == PAIRS[character]
    assert not open_
    words = set(re.findall(r"[a-z_]\w*", re.sub(r"\{[^}]*\}|\[\w+\]|(?:by|on) \([^)]*\)", " by ", bare)))
    assert {word for word in words if not word.startswith("ado_")} <= WORDS
    assert not re.search(r"(?<!rate\()(?<!increase\()\bado_\w+_(total|bucket|sum|count)\b", expression)


def test_every_alert_has_a_summary_and_a_next_step():
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names)) >= 8
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}


def test_the_dashboards_panels_do_not_overlap_and_are_described():
    cells = set()
    for panel in DASHBOARD["panels"]:
        assert panel["description"]
        place = panel["gridPos"]
        taken = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken
        cells |= taken
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is in Debian's package prometheus")
def test_promtool_accepts_the_rules_and_they_fire_as_expected():
    prometheus = DEPLOY / "prometheus"
    for arguments in (["check", "rules", "alerts.yaml"], ["test", "rules", "alerts_test.yaml"]):
        done = subprocess.run(
            ["promtool", *arguments], cwd=prometheus, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
