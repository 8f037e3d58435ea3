"""How commands and their options are declared, without importing cyclopts, which takes longer than most commands.

``fast_parser`` reads these declarations itself. ``cyclopts_tree`` turns them into cyclopts' own for the help, for
errors, and for every command line that the fast parser leaves to it. They are no dataclasses, which are slow to make.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, overload

T = TypeVar("T", bound=Callable[..., Any])
C = TypeVar("C", bound=type)
Validator = Callable[[Any, Any], None]
"""Takes a type and a value of it; raises ValueError."""


class Group(NamedTuple):
    """A panel of the help."""

    title: str
    sort_key: int


class Parameter(NamedTuple):
    """What differs from cyclopts' defaults for an argument or option; as a decorator, for those of a dataclass."""

    name: str | Sequence[str] | None = None
    help: str | None = None
    group: Group | str | None = None
    negative: str | Sequence[str] | None = None
    allow_leading_hyphen: bool | None = None
    show: bool | None = None
    show_default: bool | None = None
    validator: Validator | None = None

    def __call__(self, options: C) -> C:
        """Declare a dataclass whose fields are options."""
        options.__ado_parameter__ = self  # type: ignore[attr-defined]
        return options


class App:
    """A command with subcommands."""

    def __init__(self, name: str, help: str) -> None:
        self.name = name
        self.help = help
        self.functions: dict[str, Callable[..., Any]] = {}
        self.default_function: Callable[..., Any] | None = None

    @overload
    def command(self, function: T) -> T: ...
    @overload
    def command(self, *, name: str) -> Callable[[T], T]: ...
    def command(self, function: T | None = None, *, name: str | None = None) -> T | Callable[[T], T]:
        """Add a subcommand, which has the name of its function if no other is given."""
        if function is None:
            return lambda named: self._add(named, name or named.__name__)
        return self._add(function, name or function.__name__)

    def _add(self, function: T, name: str) -> T:
        self.functions[name] = function
        return function

    def default(self, function: T, /) -> T:
        """Set what runs when no subcommand is named."""
        self.default_function = function
        return function


def between(least: int, most: int) -> Validator:
    """Return a validator that refuses numbers outside of a range."""

    def check(type_: Any, value: Any) -> None:
        from cyclopts import validators

        validators.Number(gte=least, lte=most)(type_, value)

    return check
