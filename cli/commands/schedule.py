"""``ado schedule``: templates that run at times."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from cli.declarations import App, Parameter
from cli.option_values import pairs
from cli.output import talk, write_items, write_one
from cli.remote.connection import NO_OPTIONS, ServerOptions, choose, http
from cli.remote.listing import whole
from cli.remote.saved_templates import named

schedule = App(name="schedule", help="Run templates at times, by cron expressions.")


@schedule.command
def add(
    cron: str,
    template: str,
    /,
    *,
    timezone: str = "UTC",
    var: Annotated[list[str] | None, Parameter(negative="")] = None,
    missed: Literal["once", "skip"] = "once",
    overlap: Literal["skip", "allow", "queue", "cancel"] = "skip",
    options: ServerOptions = NO_OPTIONS,
) -> None:
    """Run a template at times: ado schedule add "0 3 * * 1-5" @nightly --timezone Europe/Prague.

    Parameters
    ----------
    cron
        Minute, hour, day, month and weekday, as cron has them; with six fields the first one is the second.
    template
        The template, as @NAME. It runs as it is at each time, and with your rights.
    timezone
        The time zone of the expression: Europe/Prague.
    var
        NAME=VALUE for a variable of the template; may be used several times.
    missed
        What becomes of times that are missed by more than a minute because no server ran: one run for all, or none.
    overlap
        What becomes of a time while the last task has not ended: it is skipped, it runs beside it, one waits for its
        end, or it cancels it.
    """
    value = {
        "cron": cron,
        "template": named(template),
        "timezone": timezone,
        "variables": pairs(var, "--var"),
        "missed": missed,
        "overlap": overlap,
    }
    added = http(choose(options)).mutate("schedules.add", value)
    if options.output == "text":
        talk(f"ado: {added['scheduleId']} runs @{added['template']} next at {_time(added.get('nextAt'))}")
        talk(f"ado: its tasks: ado tasks list --label schedule={added['scheduleId']}")
    write_one(added, options.output, "scheduleId")


def _time(text: str | None) -> str:
    """Return a time as the clock here shows it."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if text else "-"


@schedule.default
@schedule.command(name="list")
def list_(*, options: ServerOptions = NO_OPTIONS) -> None:
    """List the schedules: when each runs next, how the last run went, and why a time did not run."""
    page = whole(http(choose(options)), "schedules.list")
    rows = [["schedule", "runs", "when", "zone", "state", "next", "last", "runs/skipped/missed", "problem"]]
    rows += [_row(item) for item in page["items"]]
    nothing = 'nothing is scheduled; ado schedule add "0 3 * * *" @NAME schedules a template'
    write_items(page, options.output, "scheduleId", rows, nothing=nothing)


def _row(item: dict[str, Any]) -> list[str]:
    last = f"{_time(item.get('lastAt'))} {item.get('lastTaskId') or ''} {item.get('lastStatus') or ''}".strip()
    state = f"retries {_time(item['retryAt'])}" if item.get("retryAt") else item["state"]
    counts = "/".join(str(item[name]) for name in ("runs", "skippedTimes", "missedTimes"))
    what = " ".join([f"@{item['template']}", *(f"{name}={value}" for name, value in sorted(item["variables"].items()))])
    times = [_time(item.get("nextAt")), last, counts, item.get("problem") or "-"]
    return [item["scheduleId"], what, item["cron"], item["timezone"], state, *times]


@schedule.command
def pause(schedule: str, /, *, options: ServerOptions = NO_OPTIONS) -> None:
    """Pause a schedule; a task that runs goes on."""
    _change("schedules.pause", schedule, "{0} is paused", options)


@schedule.command
def resume(schedule: str, /, *, options: ServerOptions = NO_OPTIONS) -> None:
    """Resume a schedule from its next time on; one that failed is tried again at once."""
    _change("schedules.resume", schedule, "{0} runs next at {1}", options)


@schedule.command
def remove(schedule: str, /, *, options: ServerOptions = NO_OPTIONS) -> None:
    """Remove a schedule; its tasks stay."""
    _change("schedules.remove", schedule, "{0} is removed", options)


def _change(path: str, schedule: str, note: str, options: ServerOptions) -> None:
    changed = http(choose(options)).mutate(path, {"scheduleId": schedule})
    note = note.format(changed["scheduleId"], _time(changed.get("nextAt")))
    write_one(changed, options.output, "scheduleId", note=note)
