"""The declared commands as cyclopts needs them. Each attribute of this module is one command of ``app.COMMANDS``.

cyclopts imports a command when it is used, by the path ``cli.cyclopts_tree:NAME``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import cyclopts

from cli.app import COMMANDS, load
from cli.declarations import App, Group, Parameter


def __getattr__(name: str) -> Any:
    if name not in COMMANDS:
        raise AttributeError(name)
    return command(load(name))


def command(declared: Any) -> Any:
    """Return a declared command, or one with subcommands, for cyclopts."""
    if not isinstance(declared, App):
        return _function(declared)
    app = cyclopts.App(name=declared.name, help=declared.help, help_format="plaintext")
    for name, function in declared.functions.items():
        app.command(_function(function), name=name)
    if declared.default_function is not None:
        app.default(_function(declared.default_function))
    return app


@functools.cache
def _function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with cyclopts' declarations beside ado's own in its annotations."""
    hints = get_type_hints(function, include_extras=True)
    function.__annotations__ = {name: _declared(hint) for name, hint in hints.items()}
    return function


@functools.cache
def _options(options: type) -> type:
    """Return a dataclass of options with cyclopts' declarations beside ado's own in its annotations."""
    hints = get_type_hints(options, include_extras=True)
    options.__annotations__ = {name: _declared(hint) for name, hint in hints.items()}
    declared = getattr(options, "__ado_parameter__", None)
    return options if declared is None else _parameter(declared)(options)


def _declared(hint: Any) -> Any:
    """Return the annotation of a parameter as cyclopts needs it."""
    takes = hint.__origin__ if get_origin(hint) is Annotated else hint
    if int in (get_args(takes) or (takes,)):
        return Annotated[_hint(hint), cyclopts.Parameter(converter=_whole_number)]
    return _hint(hint)


def _whole_number(type_hint: Any, tokens: Sequence[cyclopts.Token]) -> Any:
    """Return the value of a parameter that takes a whole number: cyclopts alone rounds a fraction."""
    if "." in tokens[0].value:
        raise cyclopts.CoercionError(token=tokens[0], target_type=type_hint)
    return cyclopts.convert(type_hint, tokens)


def _hint(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        added = (_parameter(item) for item in hint.__metadata__ if isinstance(item, Parameter))
        return Annotated[(_hint(hint.__origin__), *hint.__metadata__, *added)]
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(map(_hint, get_args(hint)))]  # noqa: UP007 - of a number of types that varies
    return _options(hint) if dataclasses.is_dataclass(hint) and isinstance(hint, type) else hint


def _parameter(declared: Parameter) -> cyclopts.Parameter:
    given = {name: value for name, value in declared._asdict().items() if value is not None}
    if isinstance(declared.group, Group):
        given["group"] = _group(declared.group)
    return cyclopts.Parameter(**given)


@functools.cache
def _group(declared: Group) -> cyclopts.Group:
    return cyclopts.Group(declared.title, sort_key=declared.sort_key)
