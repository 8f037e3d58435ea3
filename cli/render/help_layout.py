"""The layout of ``--help``: names and meanings in two columns, wrapped at words to the terminal's width."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from cyclopts.help import PlainFormatter

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

_LONGEST_NAME = 22
"""HelpFormatter up to which the names of an option stand beside their text, not above it."""
_NO_DEFAULTS = frozenset({"False", "None", "''", ""})


class HelpFormatter(PlainFormatter):
    """Formats the help of every command."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print one part of a command's help."""
        if not panel.entries:
            return
        if panel.title:
            self._print(console, [f"{'Options' if panel.title == 'Parameters' else panel.title}:"])
        rows = [(_names(entry), _meaning(entry)) for entry in panel.entries]
        column = 2 + max(len(names) for names, _ in rows if len(names) <= _LONGEST_NAME or len(rows) == 1)
        for names, meaning in rows:
            self._print(console, _row(names, meaning, column + 2, console.width))
        self._print(console, [""])

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Print what the command does, paragraph by paragraph; one with indented lines is an example and stays."""
        for paragraph in _text(description).rstrip().split("\n\n"):
            if paragraph.strip():
                is_example = "\n  " in paragraph
                lines = (
                    paragraph.split("\n")
                    if is_example
                    else textwrap.wrap(paragraph, console.width, break_on_hyphens=False)
                )
                self._print(console, [*lines, ""])

    @staticmethod
    def _print(console: Console, lines: list[str]) -> None:
        console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def _text(value: Any) -> str:
    """Return the text of a value that the parser of options may have wrapped for rich."""
    text = getattr(value, "primary_renderable", value)
    return str(getattr(text, "plain", text) or "")


def _names(entry: HelpEntry) -> str:
    """Return the names of an option, or an argument's; ``--no-x`` only if the default is neither."""
    names = [*entry.positive_names, *entry.positive_shorts]
    if entry.positional_label:
        names.insert(0, entry.positional_label)
    elif entry.metavar and names:
        names[-1] = f"{names[-1]} {entry.metavar}"
    if entry.default is None and not entry.metavar:
        names += entry.negative_names
    return ", ".join(names)


def _meaning(entry: HelpEntry) -> str:
    parts = [" ".join(_text(entry.description).split())]
    if entry.choices and not all(choice in parts[0] for choice in entry.choices):
        parts.append(f"[{', '.join(entry.choices)}]")
    if entry.default not in (None, *_NO_DEFAULTS):
        parts.append(f"[default: {entry.default}]")
    if entry.required and not entry.positional_label:
        parts.append("[required]")
    return " ".join(filter(None, parts))


def _row(names: str, meaning: str, column: int, width: int) -> list[str]:
    lines = textwrap.wrap(meaning, max(width - column, 20), break_on_hyphens=False) or [""]
    indent = " " * column
    if len(names) + 2 <= column - 2:
        return [f"  {names}".ljust(column) + lines[0], *(indent + line for line in lines[1:])]
    return [f"  {names}", *(indent + line for line in lines)] if meaning else [f"  {names}"]
