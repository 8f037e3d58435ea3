"""Reads the command lines that need no thought, without cyclopts.

It takes what it understands perfectly: known options with plain values, and plain arguments. Everything else, so every
error and every help, is left to cyclopts. For a line that both understand they must mean the same;
``tests/unit/cli/test_fast_parser.py`` compares them.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from cli.app import COMMANDS, load
from cli.declarations import App, Parameter

_MISSING = inspect.Parameter.empty
_INTEGER = re.compile(r"0|[1-9][0-9]{0,8}")  # cyclopts also reads other notations


class _NeedsCyclopts(Exception):
    """This command line is left to cyclopts."""


class _Value(NamedTuple):
    """An argument or option: the parameter that it sets, and what it takes."""

    parameter: str
    kind: Any
    """str, int, bool, a list of texts, or the words of a Literal."""
    names: tuple[str, ...] = ()
    options: type | None = None
    """The dataclass that the parameter takes, of which this option is one field."""
    field: str = ""

    def read(self, word: str) -> Any:
        """Return the value of a word."""
        if word == "" or (self.kind is int and not _INTEGER.fullmatch(word)):
            raise _NeedsCyclopts
        if isinstance(self.kind, tuple) and word not in self.kind:
            raise _NeedsCyclopts
        return int(word) if self.kind is int else word


class _Signature:
    """What a command takes: ``required`` arguments or more, ``rest`` for all further ones, and options.

    ``needed`` are the parameters of options that must be given.
    """

    def __init__(self) -> None:
        self.arguments: list[_Value] = []
        self.required = 0
        self.rest: _Value | None = None
        self.options: dict[str, _Value] = {}
        self.needed: set[str] = set()


def call_of(words: Sequence[str]) -> Callable[[], Any] | None:
    """Return the call that a command line means, or None where cyclopts has to read it."""
    try:
        function, rest = _command(words)
        positional, named = _bind(signature(function), rest)
    except _NeedsCyclopts:
        return None
    return functools.partial(function, *positional, **named)


def _command(words: Sequence[str]) -> tuple[Callable[..., Any], Sequence[str]]:
    if words[0] not in COMMANDS:
        raise _NeedsCyclopts
    command, rest = load(words[0]), words[1:]
    if isinstance(command, App):
        if rest and rest[0] in command.functions:
            return command.functions[rest[0]], rest[1:]
        command = command.default_function
    if not inspect.isfunction(command):
        raise _NeedsCyclopts
    return command, rest


def signature(function: Callable[..., Any]) -> _Signature:
    """Return what a command takes, without the options that are left to cyclopts."""
    takes = _Signature()
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        if parameter.kind is parameter.KEYWORD_ONLY:
            takes.options |= {word: option for option in _options(name, hint) for word in option.names}
            if parameter.default is _MISSING:
                takes.needed.add(name)
            continue
        kind, _ = _read(hint)
        if kind not in (str, int) and not isinstance(kind, tuple):
            raise _NeedsCyclopts
        if parameter.kind is parameter.VAR_POSITIONAL:
            takes.rest = _Value(name, kind)
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            takes.arguments.append(_Value(name, kind))
            takes.required += parameter.default is _MISSING
        else:
            raise _NeedsCyclopts
    return takes


def _options(name: str, hint: Any) -> Iterator[_Value]:
    """Yield the options that set a parameter: one, or one for each field of a dataclass."""
    if not (isinstance(hint, type) and dataclasses.is_dataclass(hint)):
        if option := _option(name, name, hint):
            yield option
        return
    hints = get_type_hints(hint, include_extras=True)
    for field in dataclasses.fields(hint):
        if option := _option(name, field.name, hints[field.name]):
            yield option._replace(options=hint, field=field.name)


def _option(parameter: str, name: str, hint: Any) -> _Value | None:
    """Return an option, or None where it is left to cyclopts."""
    kind, declared = _read(hint)
    if kind is None or declared.validator is not None:
        return None
    names = declared.name or f"--{name.replace('_', '-')}"
    return _Value(parameter, kind, (names,) if isinstance(names, str) else tuple(names))


def _read(hint: Any) -> tuple[Any, Parameter]:
    """Return what an annotation takes and its declaration; None for a type that is left to cyclopts."""
    declared = Parameter()
    while True:
        if get_origin(hint) is Annotated:
            declared = next((item for item in hint.__metadata__ if isinstance(item, Parameter)), declared)
            hint = hint.__origin__
        elif get_origin(hint) in (Union, UnionType):
            kinds = [kind for kind in get_args(hint) if kind is not NoneType]
            if len(kinds) != 1:
                return None, declared
            hint = kinds[0]
        else:
            break
    if hint in (str, int, bool) or hint == list[str]:
        return hint, declared
    if get_origin(hint) is Literal and all(isinstance(word, str) for word in get_args(hint)):
        return get_args(hint), declared
    return None, declared


def _bind(takes: _Signature, words: Sequence[str]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call."""
    arguments: list[str] = []
    given: dict[tuple[str, type | None, str], Any] = {}
    remaining = iter(words)
    ended = False  # an option stood after the arguments
    for word in remaining:
        if not word.startswith("-"):
            if ended:
                raise _NeedsCyclopts
            arguments.append(word)
            continue
        ended = bool(arguments)
        name, equals, text = word.partition("=")
        option = takes.options.get(name)
        if option is None or (equals and not name.startswith("--")):
            raise _NeedsCyclopts
        key = (option.parameter, option.options, option.field)
        if option.kind == list[str]:
            given.setdefault(key, []).append(option.read(_plain(text if equals else next(remaining, ""))))
        elif key in given or (option.kind is bool and equals):
            raise _NeedsCyclopts
        elif option.kind is bool:
            given[key] = True
        else:
            given[key] = option.read(_plain(text if equals else next(remaining, "")))
    return _positional(takes, arguments), _named(takes, given)


def _plain(word: str) -> str:
    if word.startswith(("-", "[", "{")):  # cyclopts may take it for an option, or for JSON
        raise _NeedsCyclopts
    return word


def _positional(takes: _Signature, words: Sequence[str]) -> list[Any]:
    fixed, rest = words[: len(takes.arguments)], words[len(takes.arguments) :]
    if len(fixed) < takes.required or (rest and takes.rest is None):
        raise _NeedsCyclopts
    values = [argument.read(word) for argument, word in zip(takes.arguments, fixed, strict=False)]
    return values + [takes.rest.read(word) for word in rest if takes.rest is not None]


def _named(takes: _Signature, given: dict[tuple[str, type | None, str], Any]) -> dict[str, Any]:
    if takes.needed - {parameter for parameter, _, _ in given}:
        raise _NeedsCyclopts
    named: dict[str, Any] = {}
    grouped: dict[str, tuple[type, dict[str, Any]]] = {}
    for (parameter, options, field), value in given.items():
        if options is None:
            named[parameter] = value
        else:
            grouped.setdefault(parameter, (options, {}))[1][field] = value
    return named | {parameter: options(**members) for parameter, (options, members) in grouped.items()}
