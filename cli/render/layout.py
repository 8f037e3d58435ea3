"""Wraps text and tables to a width, without I/O: lines break between words, and no word is cut."""

from __future__ import annotations

from collections.abc import Sequence

from cli.render.visible import one_line, visible

_GAP = "  "
_EXCERPTS = frozenset({"prompt"})
"""Columns that show the beginning of a text: the rest is cut, so that a row stays one line."""
_EXCERPT = 16
"""Smallest useful width of such a column."""
_SHORT = 11
"""Widest cell that is never broken, for example an age."""
_NOTHING = frozenset({"", "-"})


def wrap(line: str, columns: int | None) -> list[str]:
    """Return a line of text as lines that fit, later ones indented; a word that is too long is not broken."""
    if columns is None or width(line) <= columns:
        return [line]
    from wcwidth import wrap as wrapped

    indent = " " * (len(line) - len(line.lstrip(" ")) + 2)
    return wrapped(line, columns, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def table(rows: Sequence[Sequence[str]], columns: int | None) -> list[str]:
    """Align cells in columns; cells that are too wide break at words, and their row takes several lines.

    If the words do not fit either, columns without values are removed, and then each row becomes a text that names its
    columns.
    """
    cells = [[visible(one_line(cell)) for cell in row] for row in rows]
    natural = [max(width(row[place]) for row in cells) for place in range(len(cells[0]))]
    excerpts = [title in _EXCERPTS for title in cells[0]]
    widths = natural if columns is None else _fitted(cells, natural, columns, excerpts)
    if not widths:
        filled = [place for place, values in enumerate(zip(*cells[1:], strict=True)) if set(values) - _NOTHING]
        if 0 < len(filled) < len(cells[0]):
            return table([[row[place] for place in filled] for row in cells], columns)
        named = [_GAP.join(f"{title}: {cell}" for title, cell in zip(cells[0], row, strict=True)) for row in cells[1:]]
        return [line for row in named for line in wrap(row, columns)]
    lines: list[str] = []
    for row in cells:
        parts = [
            [cell] if width(cell) <= room else [_cut(cell, room)] if cut else _wrapped(cell, room)
            for cell, room, cut in zip(row, widths, excerpts, strict=True)
        ]
        for number in range(max(map(len, parts))):
            shown = [part[number] if number < len(part) else "" for part in parts]
            padded = (cell + " " * (room - width(cell)) for cell, room in zip(shown, widths, strict=True))
            lines.append(_GAP.join(padded).rstrip())
    return lines


def width(text: str) -> int:
    """Return the columns of a line of text."""
    if text.isascii() and text.isprintable():  # so in most runs wcwidth is not imported
        return len(text)
    import wcwidth

    return wcwidth.width(text)


def _wrapped(cell: str, columns: int) -> list[str]:
    import wcwidth

    return wcwidth.wrap(cell, columns, break_on_hyphens=False)


def _cut(text: str, columns: int) -> str:
    from wcwidth import clip

    return f"{clip(text, 0, columns - 1).rstrip()}…"


def _least(cell: str) -> int:
    """Return the smallest width of a cell: that of its longest word, or of the whole cell if it is short."""
    return min(max(width(cell), 1), max(_SHORT, *(width(word) for word in cell.split(" ")), 1))


def _fitted(
    cells: Sequence[Sequence[str]],
    natural: Sequence[int],
    columns: int,
    excerpts: Sequence[bool],
) -> list[int]:
    """Return widths that fit, none if the words do not: excerpts shrink first, then the other cells, widest first."""
    widths = list(natural)
    words = [max(_least(row[place]) for row in cells) for place in range(len(widths))]
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - columns
    for least in (
        [min(room, _EXCERPT) if cut else room for cut, room in zip(excerpts, natural, strict=True)],
        [min(room, _EXCERPT) if cut else word for cut, room, word in zip(excerpts, natural, words, strict=True)],
    ):
        while excess > 0 and widths != least:
            place = max((place for place in range(len(widths)) if widths[place] > least[place]), key=widths.__getitem__)
            widths[place] -= 1
            excess -= 1
    return widths if excess <= 0 else []
