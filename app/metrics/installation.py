"""Counters and histograms of the whole installation in Prometheus' form, from figures that the database keeps.

Every replica reports the same figures: take the maximum over instances, not the sum. They begin at zero with the
migration that added them and never go down: pruned and removed tasks stay counted. A task that is retried counts again
when it ends again. Labels take values from closed lists; any other name of an agent or reason becomes ``other``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from app.core.reasons import JOB_REASONS, POD_REASONS
from db.counters import CounterTotal

AGENTS = ("shell", "scripted", "claude-code", "codex", "gemini-cli", "opencode")
REASONS = (*JOB_REASONS, *POD_REASONS)
BUCKETS = (0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, float("inf"))
"""Upper bounds in seconds, as ``ado.metric_bucket`` has them."""
_TOKENS = ("input", "output", "cache_read", "cache_write")


class Counters(Collector):
    """The metric families of one scrape."""

    def __init__(self, figures: Iterable[CounterTotal]) -> None:
        self._by_measure: dict[str, list[CounterTotal]] = defaultdict(list)
        for figure in figures:
            self._by_measure[figure.measure].append(figure)

    def collect(self) -> Iterator[Metric]:
        """Return the metric families; one without a figure is at zero."""
        finished = CounterMetricFamily(
            "ado_tasks_finished",
            "Tasks that ended, by agent, outcome and reason.",
            labels=["agent", "status", "reason"],
        )
        for figure in self._by_measure["finished"]:
            finished.add_metric([figure.agent, figure.kind, figure.reason], figure.count)
        yield finished
        yield self._histogram("ado_task_wait_seconds", "From a task's creation to its first claim.", "wait")
        yield self._histogram("ado_task_run_seconds", "From a task's first claim to its end.", "run")
        tokens = CounterMetricFamily("ado_tokens", "Tokens that agents reported, by kind.", labels=["agent", "kind"])
        for figure in self._by_measure["tokens"]:
            if figure.kind in _TOKENS:
                tokens.add_metric([figure.agent, figure.kind], figure.amount)
        yield tokens
        cost = CounterMetricFamily("ado_cost_usd", "US dollars that agents reported.", labels=["agent"])
        for figure in self._by_measure["cost"]:
            cost.add_metric([figure.agent], figure.amount)
        yield cost

    def _histogram(self, name: str, documentation: str, measure: str) -> HistogramMetricFamily:
        figures = self._by_measure[measure]
        buckets = [
            ("+Inf" if bound == BUCKETS[-1] else str(bound), sum(f.count for f in figures if f.bucket <= bound))
            for bound in BUCKETS
        ]
        family = HistogramMetricFamily(name, documentation)
        family.add_metric([], buckets, sum(figure.amount for figure in figures))
        return family
