"""The counters of the whole installation in Prometheus' form."""

from app.metrics.installation import BUCKETS, Counters
from db.counters import CounterTotal


def samples(*figures):
    """Return the value of each sample by its name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in Counters(figures).collect()
        for sample in family.samples
    }


def test_a_histogram_without_figures_is_at_zero():
    found = samples()
    assert found[("ado_task_wait_seconds_bucket", "+Inf")] == found[("ado_task_wait_seconds_count",)] == 0
    assert len([name for name in found if name[0] == "ado_task_run_seconds_bucket"]) == len(BUCKETS)


def test_a_bucket_counts_the_buckets_below_it():
    found = samples(
        CounterTotal("wait", "", "", "", 1.0, 2, 1.5), CounterTotal("wait", "", "", "", float("inf"), 1, 90_000.0)
    )
    wait = {bound: found[("ado_task_wait_seconds_bucket", bound)] for bound in ("0.5", "1.0", "86400.0", "+Inf")}
    assert wait == {"0.5": 0, "1.0": 2, "86400.0": 2, "+Inf": 3}
    assert found[("ado_task_wait_seconds_sum",)] == 90_001.5


def test_ends_tokens_and_dollars_have_their_labels():
    found = samples(
        CounterTotal("finished", "codex", "failed", "timed_out", 0, 4, 0),
        CounterTotal("tokens", "codex", "output", "", 0, 1, 700.0),
        CounterTotal("cost", "codex", "", "", 0, 1, 0.25),
    )
    assert found[("ado_tasks_finished_total", "codex", "failed", "timed_out")] == 4
    assert found[("ado_tokens_total", "codex", "output")] == 700
    assert found[("ado_cost_usd_total", "codex")] == 0.25


def test_an_unknown_kind_of_tokens_is_left_out():
    assert not [name for name in samples(CounterTotal("tokens", "codex", "new", "", 0, 1, 7.0)) if "tokens" in name[0]]
