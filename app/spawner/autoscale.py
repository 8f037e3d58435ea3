"""The decision about one range of ``ado workers autoscale``, as a pure function.

More workers are started at once, fewer are kept only after a while: a range remembers since when more workers are ready
than are needed, and the most that were needed meanwhile. When this has lasted for the cooldown, idle workers are
retired down to that number, and the cooldown begins again. So between two decreases there is at least one cooldown.

The cooldown also begins again when workers were lost meanwhile and no more are left than that number. Otherwise a burst
before the loss would keep the rest for ever.

A job that fits on no worker that is there needs none of them: at the maximum, idle workers that cannot run it end, and
make room for one that can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from db.autoscale import AutoscaleRange, SurplusNote
from db.model import Demand


@dataclass(frozen=True, slots=True)
class RangeDecision:
    """What a range allows and asks for now."""

    range: AutoscaleRange
    room: int
    """How many workers may be started."""
    jobs: int
    """How many queued jobs get a worker."""
    minimum: int
    """How many workers are missing from the minimum."""
    excess: int
    """How many are over the maximum, because it was lowered."""
    retire: int
    """How many idle workers are retired, because the cooldown is over."""
    needed: int
    peak: int | None
    """The most workers that were needed since there are more; None: there are not more."""
    restart: bool
    """Whether the cooldown is over and begins again without a retirement."""

    def note(self, *, retired: bool) -> SurplusNote | None:
        """Return what the range has to remember, now that workers were retired or not; None: nothing new."""
        if (retired or self.restart) and self.peak is not None:
            return SurplusNote(self.range.capability, self.needed, restart=True)
        if self.peak == self.range.surplus_peak:
            return None
        return SurplusNote(self.range.capability, self.peak)


def judge(range: AutoscaleRange, queued: int, waiting: int, slots: int = 1) -> RangeDecision:
    """Compare a range with the queue.

    Of the ``queued`` jobs, ``waiting`` fit on no worker that is free or starting. ``slots`` is how many jobs a new
    worker runs.
    """
    staying = range.workers - range.leaving
    room = max(0, range.maximum - range.workers)
    # the fewest workers with which no more than the target wait for each
    wanted = -((range.target_queue * staying - waiting) // (slots + range.target_queue))
    jobs = min(waiting, max(0, min(room, wanted)) * slots)
    needed = max(range.minimum, min(range.ready, range.busy + queued - waiting))
    retire, peak, restart = 0, None, False
    if range.ready > needed:
        peak = needed
        if range.surplus_peak is not None and range.surplus_seconds is not None:
            peak = max(needed, range.surplus_peak)
            if range.surplus_seconds >= range.cooldown_seconds:
                retire = max(0, range.ready - peak)
                restart = not retire
    return RangeDecision(
        range,
        room,
        jobs,
        minimum=max(0, min(room, range.minimum - range.ready)),
        excess=max(0, min(range.ready, staying - range.maximum)),
        retire=retire,
        needed=needed,
        peak=peak,
        restart=restart,
    )


def jobs_of(range: AutoscaleRange, demands: Sequence[Demand]) -> int:
    """Return how many of the jobs a range is about."""
    return sum(demand.jobs for demand in demands if range.covers(demand.needs))


def admit(demands: Sequence[Demand], decisions: Sequence[RangeDecision]) -> list[Demand]:
    """Return the demands with the jobs that get a worker; a job counts for every range that is about it."""
    left = [decision.jobs for decision in decisions]
    admitted = []
    for demand in demands:
        about = [place for place, decision in enumerate(decisions) if decision.range.covers(demand.needs)]
        jobs = min([demand.jobs, *(left[place] for place in about)])
        for place in about:
            left[place] -= jobs
        admitted.append(replace(demand, jobs=jobs))
    return admitted
