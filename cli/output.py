"""Output of commands: data goes to stdout, messages for the person go to stderr."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import orjson

from cli import exits
from cli.errors import CliError, usage
from cli.invocation import as_typed
from cli.parameters import Output
from cli.render import layout
from cli.render.layout import wrap
from cli.render.terminal import columns, is_terminal
from cli.render.visible import one_line, visible, visible_json, visible_text


def talk(line: str) -> None:
    """Write a line for the person to stderr; it is not part of the data."""
    with contextlib.suppress(OSError, ValueError):  # stderr is closed or full
        print("\n".join(wrap(visible(one_line(as_typed(line))), room(sys.stderr))), file=sys.stderr, flush=True)


def show_command(command: str) -> None:
    """Write a command for copying to stderr: on one line, however long it is."""
    with contextlib.suppress(OSError, ValueError):
        print(visible(one_line(command)), file=sys.stderr, flush=True)


def talk_json(value: Any) -> None:
    """Write JSON for a program to stderr."""
    with contextlib.suppress(OSError, ValueError):
        print(visible_json(orjson.dumps(value).decode()), file=sys.stderr, flush=True)


def room(stream: IO[str]) -> int | None:
    """Return the columns of a terminal; None for any other stream, where lines are not wrapped."""
    return columns() if is_terminal(stream) else None


def write_line(line: str) -> None:
    """Write a line of text for a person: wrapped at words, with its control characters visible."""
    write_lines([line])


def write_lines(lines: Sequence[str], paint: Callable[[str], str] = str) -> None:
    """Write lines of text for a person; ``paint`` adds ado's own colours, a line's own are made visible."""
    width = room(sys.stdout)
    with _stdout_may_fail():
        for line in lines:
            for part in wrap(visible(one_line(line)), width):
                print(paint(part))
        sys.stdout.flush()


def write_text(text: str) -> None:
    """Write a text that is data, and a line end; on a terminal every character is visible."""
    shown = visible_text(text) if is_terminal(sys.stdout) else text
    write_bytes(shown.encode("utf-8", "replace") + b"\n")


class OutputLost(CliError):
    """stdout cannot be written because the disk is full or it was closed. A reader that ended is a BrokenPipeError."""

    def __init__(self, error: Exception, next_step: str = "free some space, or write somewhere else") -> None:
        self.why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        message = f"the output cannot be written here: {self.why}"
        super().__init__(message, next_step, exits.INFRASTRUCTURE, "output_lost")


@contextlib.contextmanager
def _stdout_may_fail() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:  # ValueError: Python has closed the stream after an earlier failure
        raise OutputLost(error) from error


def write_bytes(data: bytes) -> None:
    """Write data as it is. Raises OutputLost, BrokenPipeError."""
    with _stdout_may_fail():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def write_pieces(pieces: Iterable[tuple[int, bytes]]) -> None:
    """Write data to stdout (1) and lines for the person to stderr (2), in order."""
    for fd, data in pieces:
        if fd == 1:
            write_bytes(data)
        else:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.buffer.write(data)
                sys.stderr.flush()


def write_json(value: Any) -> None:
    """Write one JSON value on a line."""
    data = orjson.dumps(value)
    write_bytes((visible_json(data.decode()).encode() if is_terminal(sys.stdout) else data) + b"\n")


def write_items(
    page: Mapping[str, Any],
    output: Output,
    key: str,
    rows: list[list[str]],
    paint: Callable[[str], str] = str,
    *,
    nothing: str = "",
) -> None:
    """Write a page of items: whole, one a line, their names under ``key``, or as a table.

    In place of a table without items, ``nothing`` says so to a person.
    """
    if output == "json":
        write_json(page)
    elif output == "jsonl":
        for item in page["items"]:
            write_json(item)
    elif output == "name":
        write_lines([item[key] for item in page["items"]])
    elif nothing and not page["items"]:
        talk(f"ado: {nothing}")
    elif rows:
        write_lines(table(rows), paint)


def write_one(value: Mapping[str, Any], output: Output, key: str, lines: Sequence[str] = (), *, note: str = "") -> None:
    """Write one thing: as JSON, its name under ``key``, or lines of text, or only a note about it."""
    if output in ("json", "jsonl"):
        write_json(value)
    elif output == "name":
        write_line(value[key])
    else:
        write_lines(lines)
        if note:
            talk(f"ado: {note}")


def write_note(value: Mapping[str, Any], output: Output, note: str) -> None:
    """Write a fact that has no name of its own: ``note`` says it to a person, and is its name for a program."""
    write_one({**value, "name": note}, output, "name", note=note)


def confirmed(question: str) -> bool:
    """Ask on the terminal; return whether the answer is yes. Raises CliError where nobody can be asked."""
    if not is_terminal(sys.stdin):
        raise usage("this needs a yes and there is no terminal to ask on", "add --yes")
    talk(f"ado: {question} [y/N]")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def shortened(names: Sequence[str], most: int = 5) -> str:
    """Return a list of names in one line, the first few of them where there are many."""
    return ", ".join([*names[:most], *([f"… and {len(names) - most} more"] if len(names) > most else [])])


def table(rows: Sequence[Sequence[str]], stream: IO[str] | None = None) -> list[str]:
    """Align cells in columns that fit where they are written: stdout, if no other stream is given."""
    return layout.table(rows, room(stream or sys.stdout))
