"""Colours and other attributes of text (SGR), tracked as a terminal does."""

from __future__ import annotations

import re
from functools import lru_cache

RESET = "\x1b[0m"
_SEQUENCE = re.compile(r"\x1b\[([0-9;:]*)m")
_CONCEAL = 8
_EXTENDED = {38: "foreground", 48: "background", 58: "underline colour"}
_PARTS = {"5": 3, "2": 5}
"""Number of parameters of a colour: of the palette, or as red, green and blue."""
_SET = {1: "bold", 2: "faint", 3: "italic", 4: "underline", 5: "blink", 6: "blink", 7: "inverse", 9: "struck",
        21: "underline", 53: "overlined"}  # fmt: skip
_UNSET = {22: ("bold", "faint"), 23: ("italic",), 24: ("underline",), 25: ("blink",), 27: ("inverse",),
          29: ("struck",), 39: ("foreground",), 49: ("background",), 55: ("overlined",),
          59: ("underline colour",)}  # fmt: skip


class Attributes:
    """The current attributes of text."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}

    def __str__(self) -> str:
        """Return the sequence that sets them after a reset; empty when there are none."""
        return f"\x1b[{';'.join(self._held.values())}m" if self._held else ""

    def __bool__(self) -> bool:
        return bool(self._held)

    def copy(self) -> Attributes:
        """Return attributes of the same values."""
        made = Attributes()
        made._held.update(self._held)
        return made

    def read(self, text: str) -> None:
        """Apply the sequences in a text."""
        if "\x1b" in text:
            for match in _SEQUENCE.finditer(text):
                self.change(match[1])

    def change(self, parameters: str) -> None:
        """Apply the parameters of one sequence."""
        for number, whole in _split(parameters):
            if number == 0:
                self._held.clear()
            elif number in _EXTENDED:
                self._held[_EXTENDED[number]] = whole
            elif 30 <= number <= 37 or 90 <= number <= 97:
                self._held["foreground"] = whole
            elif 40 <= number <= 47 or 100 <= number <= 107:
                self._held["background"] = whole
            elif number in _UNSET or whole == "4:0":
                for name in _UNSET.get(number, ("underline",)):
                    self._held.pop(name, None)
            elif number in _SET:
                self._held[_SET[number]] = whole


@lru_cache
def conceals(parameters: str) -> bool:
    """Whether a sequence makes text invisible; a colour of the palette may be number 8."""
    return any(number == _CONCEAL for number, _ in _split(parameters))


def _split(parameters: str) -> list[tuple[int, str]]:
    """Return each attribute: its number, and all of its parameters. An incomplete colour is left out."""
    parts, attributes, index = parameters.split(";"), [], 0
    while index < len(parts):
        first, colon, _ = parts[index].partition(":")
        number, size = int(first or 0), 1
        if number in _EXTENDED and not colon:
            size = _PARTS.get("".join(parts[index + 1 : index + 2]).lstrip("0"), 2)
        whole = parts[index : index + size]
        if len(whole) == size and not (number in _EXTENDED and not colon and size == 2):
            attributes.append((number, ";".join(whole)))
        index += size
    return attributes
