"""The variables of a template's prompt: ``{name}``.

``{{name}}`` stands for the text ``{name}``. The shell's ``${name}`` is text as it is, and so are braces around anything
but a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PLACE = re.compile(r"(?<![${])(?:\{\{([A-Za-z_][A-Za-z0-9_]{0,63})\}\}|\{([A-Za-z_][A-Za-z0-9_]{0,63})\})", re.ASCII)


class VariablesWrong(ValueError):
    """The values are not those of the prompt's variables."""

    def __init__(self, problem: str, next_step: str) -> None:
        super().__init__(problem)
        self.next_step = next_step


def names(prompt: str) -> list[str]:
    """Return the names of a prompt's variables, each once, as they come."""
    return list(dict.fromkeys(match[2] for match in _PLACE.finditer(prompt) if match[2]))


def fill(prompt: str, values: Mapping[str, str]) -> str:
    """Return the prompt with the values in place; a value is text, and has no variables. Raises VariablesWrong."""
    wanted = names(prompt)
    if missing := [name for name in wanted if name not in values]:
        step = "give it a value: " + " ".join(f"--var {name}=VALUE" for name in missing)
        raise VariablesWrong(f"no value for the variable {', '.join(missing)}", step)
    if unknown := [name for name in values if name not in wanted]:
        step = f"its variables are {', '.join(wanted)}" if wanted else "it has no variables: leave --var out"
        raise VariablesWrong(f"the template has no variable {', '.join(unknown)[:200]}", step)
    return _PLACE.sub(lambda match: values[match[2]] if match[2] else f"{{{match[1]}}}", prompt)
