"""``ado workers autoscale``."""

from __future__ import annotations

import re
from typing import Annotated, Any

from cli import exits
from cli.declarations import Parameter
from cli.errors import CliError, usage
from cli.option_values import seconds_of
from cli.output import talk, write_items, write_one
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http
from cli.remote.fleet import offered
from cli.remote.listing import workers_status
from cli.render.autoscale import range_sentence


def autoscale(
    of: str | None = None,
    /,
    *,
    capability: str | None = None,
    min: Annotated[int | None, Parameter(negative="")] = None,
    max: Annotated[int | None, Parameter(negative="")] = None,
    target_queue: Annotated[int | None, Parameter(negative="")] = None,
    cooldown: str | None = None,
    remove: Annotated[bool, Parameter(negative="")] = False,
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Keep the number of workers within limits; without an option, list the limits.

    What is left out stays as it is. A new range has no minimum, a target of 1 and a cooldown of 60s.

    Parameters
    ----------
    of
        The capability that the workers offer; without it, the range is about all workers that spawners start.
    capability
        The same.
    min
        How many are kept even when the queue is empty.
    max
        How many there are at most, over all spawners.
    target_queue
        How many queued jobs per worker are left waiting before another worker is started. 0: none.
    cooldown
        For how long there are more than are needed before idle ones are retired, and again after that: 90s, 5m.
    remove
        Remove the range.
    """
    if of is not None and capability not in (None, of):
        raise usage("two capabilities are named", "a range is about one, or about all workers")
    capability = capability if of is None else of
    changes = _changes(min, max, target_queue, cooldown)
    if remove and changes:
        raise usage("--remove takes no limits", "leave out the other options, or leave out --remove")
    client = http(choose(options))
    if remove:
        removed = client.mutate("workers.autoscaleRemove", {"capability": capability or ""})
        _write(removed, options, f"the range for {_name(removed)} is removed")
    elif changes:
        stored = client.mutate("workers.autoscale", {"capability": capability or "", **changes})
        _write(stored, options, range_sentence(stored))
        _hint(client, stored.get("capability"))
    else:
        _list(client, capability, options)


def _changes(min: int | None, max: int | None, target_queue: int | None, cooldown: str | None) -> dict[str, Any]:
    """Return the limits that are given. Raises CliError."""
    seconds = None if cooldown is None else _cooldown(cooldown)
    chosen = {"min": min, "max": max, "targetQueue": target_queue, "cooldownSeconds": seconds}
    return {name: value for name, value in chosen.items() if value is not None}


def _name(range_: dict[str, Any]) -> str:
    return range_.get("capability") or "all workers"


def _write(range_: dict[str, Any], options: ServerOptions, note: str) -> None:
    write_one({**range_, "name": _name(range_)}, options.output, "name", note=note)


def _cooldown(text: str) -> float:
    """Return the seconds of a cooldown; a number without a unit is seconds. Raises CliError."""
    return seconds_of(f"{text}s" if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) else text)


def _hint(client: Any, capability: str | None) -> None:
    if capability and capability not in offered(workers_status(client)):
        talk(f"ado: no worker and no spawner offers {capability} now; the range holds once one does")


def _list(client: Any, capability: str | None, options: ServerOptions) -> None:
    ranges = workers_status(client).get("autoscale", [])
    if capability is not None:
        ranges = [one for one in ranges if one.get("capability") == capability]
        if not ranges:
            raise CliError(
                f"there is no range for {capability!r}",
                f"ado workers autoscale {capability} --max N makes one",
                exits.FAILED,
                "no_such_range",
            )
    rows = [["for", "workers", "min", "max", "target queue", "cooldown"]]
    rows += [_row(one) for one in ranges]
    page = {"items": [{**one, "name": one.get("capability", "")} for one in ranges]}
    nothing = "there are no ranges; ado workers autoscale CAPABILITY --min 0 --max 5 makes one"
    write_items(page, options.output, "name", rows, nothing=nothing)


def _row(one: dict[str, Any]) -> list[str]:
    numbers = [str(one[name]) for name in ("workers", "min", "max", "targetQueue")]
    return [_name(one), *numbers, f"{one['cooldownSeconds']:g}s"]
