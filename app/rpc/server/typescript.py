"""The TypeScript declaration of a registry: an ``AppRouter`` for unmodified tRPC clients.

It imports only five public types of ``@trpc/server`` (11.4 or newer). Inputs are written in place. Outputs are
interfaces with the names of their Python types. Times are strings, because JSON has no dates.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable
from typing import Any, get_args, get_origin

import msgspec
import orjson
from msgspec import inspect as shapes

from app.rpc.server.procedure import Procedure, Tracked
from app.rpc.server.registry import Registry
from app.rpc.words import words_of

_HEAD = """\
// The API of ado {version}, generated from the server that sent it. Needs @trpc/server 11.4 or newer (types only).
import type {{
  TRPCBuiltRouter,
  TRPCDefaultErrorShape,
  TRPCMutationProcedure,
  TRPCQueryProcedure,
  TRPCSubscriptionProcedure,
}} from '@trpc/server';

/** Any JSON value: what a program or an agent has put there is not the API's to say. */
export type Json = null | boolean | number | string | Json[] | {{ [name: string]: Json }};

/** Why a call was refused; later releases may add words. */
export type Refusal = {refusals};

/** Errors carry a stable reason and the next step beside tRPC's own members. */
export type ErrorShape = TRPCDefaultErrorShape & {{
  data: {{
    reason?: Refusal;
    hint?: string;
    /** The member of the input that is wrong. */
    field?: string;
    limit?: number;
    /** With `version_conflict`: the current one. */
    version?: number;
    /** With `batch_gap` and `input_gap`: where to go on. */
    expected?: number;
    /** With `cursor_ahead`: the last event that there is. */
    lastSeq?: number;
    /** With `token_in_use`: when to try again. */
    retrySeconds?: number;
    /** With `already_answered`: the answer that stands. */
    answer?: {{ choice?: string; text?: string }};
    /** With `internal`: what the server's log has it under. */
    requestId?: string;
  }};
}};

"""
_TAIL = """
export type AppRouter = TRPCBuiltRouter<
  {{ ctx: object; meta: object; errorShape: ErrorShape; transformer: false }},
  {record}
>;
"""
_KINDS = {
    "query": "TRPCQueryProcedure",
    "mutation": "TRPCMutationProcedure",
    "subscription": "TRPCSubscriptionProcedure",
}
_PLAIN: dict[type, str] = {
    shapes.AnyType: "Json",
    shapes.RawType: "Json",
    shapes.NoneType: "null",
    shapes.BoolType: "boolean",
    shapes.IntType: "number",
    shapes.FloatType: "number",
    shapes.StrType: "string",
    shapes.BytesType: "string",
    shapes.DateTimeType: "string",
}


def declaration(registry: Registry, version: str, refusals: Iterable[str]) -> str:
    """Return the text of ``ado.d.ts``; ``refusals`` are the reasons of errors.

    Raises KeyError for a type without a TypeScript form, ValueError when two types have one name.
    """
    writer = _Writer()
    tree: dict[str, Any] = {}
    for path, procedure in registry.procedures.items():
        *parents, name = path.split(".")
        branch = tree
        for parent in parents:
            branch = branch.setdefault(parent, {})
        branch[name] = writer.procedure(procedure)
    record = _record(tree, "  ")
    head = _HEAD.format(version=version, refusals=_open_union(refusals))
    return head + "\n".join(writer.interfaces.values()) + _TAIL.format(record=record)


def _open_union(known: Iterable[str]) -> str:
    """Return the type of a string for which an editor suggests the known words."""
    return " | ".join([*(orjson.dumps(word).decode() for word in known), "(string & {})"])


def _record(tree: dict[str, Any], indent: str) -> str:
    lines = []
    for name, value in tree.items():
        if isinstance(value, dict):
            lines.append(f"{indent}  {name}: {_record(value, indent + '  ')};")
        else:
            comment, text = value
            lines += [f"{indent}  /** {comment} */", f"{indent}  {name}: {text};"]
    return "{\n" + "\n".join(lines) + f"\n{indent}}}"


class _Writer:
    """Writes types; collects the interfaces that outputs name."""

    def __init__(self) -> None:
        self.interfaces: dict[str, str] = {}
        self._named: dict[str, type] = {}

    def procedure(self, procedure: Procedure) -> tuple[str, str]:
        """Return the comment and the type of a procedure."""
        output = self._output(procedure)
        text = f"{_KINDS[procedure.kind]}<{{ input: {self._input(procedure)}; output: {output}; meta: object }}>"
        return _comment(procedure.handler), text

    def _input(self, procedure: Procedure) -> str:
        if procedure.input_type is None:
            return "void"
        info = shapes.type_info(procedure.input_type)
        text = self._text(info, output=False)
        optional = isinstance(info, shapes.StructType) and not any(field.required for field in info.fields)
        return f"{text} | void" if optional else text

    def _output(self, procedure: Procedure) -> str:
        if procedure.kind != "subscription":
            return self._text(shapes.type_info(procedure.output_type), output=True)
        (item,) = get_args(procedure.output_type)
        if get_origin(item) is not Tracked:
            return f"AsyncIterable<{self._text(shapes.type_info(item), output=True)}, void, any>"
        (data,) = get_args(item)
        return f"AsyncIterable<{{ id: string; data: {self._text(shapes.type_info(data), output=True)} }}, void, any>"

    def _text(self, info: shapes.Type, *, output: bool) -> str:  # noqa: PLR0911 - one a kind of type
        if isinstance(info, shapes.Metadata):
            return self._words(info) or self._text(info.type, output=output)
        if isinstance(info, shapes.LiteralType):
            return " | ".join(orjson.dumps(value).decode() for value in info.values)
        if isinstance(info, shapes.UnionType):
            return " | ".join(dict.fromkeys(self._text(member, output=output) for member in info.types))
        if isinstance(info, shapes.CollectionType):
            text = self._text(info.item_type, output=output)
            return f"({text})[]" if " | " in text else f"{text}[]"
        if isinstance(info, shapes.DictType):
            return f"{{ [name: string]: {self._text(info.value_type, output=output)} }}"
        if isinstance(info, shapes.StructType):
            return self._interface(info) if output else f"{{ {' '.join(self._members(info, output=False))} }}"
        return _PLAIN[type(info)]

    def _words(self, info: shapes.Metadata) -> str | None:
        """Return the name of a string with known words, None for another annotation."""
        annotation = words_of(info)
        if annotation is None:
            return None
        name, known = annotation
        comment = "/** Known words; later releases may add some. */"
        self.interfaces[name] = f"{comment}\nexport type {name} = {_open_union(known)};\n"
        return name

    def _interface(self, info: shapes.StructType) -> str:
        name = info.cls.__name__
        if self._named.setdefault(name, info.cls) is not info.cls:
            raise ValueError(f"two types are called {name}")
        if name not in self.interfaces:
            self.interfaces[name] = ""  # reserved, because a type may contain itself
            members = "".join(f"  {member}\n" for member in self._members(info, output=True))
            head = f"/** {_comment(info.cls)} */\nexport"
            if (variants := info.cls.__dict__.get("variants")) is None:
                self.interfaces[name] = f"{head} interface {name} {{\n{members}}}\n"
            else:  # the other members depend on a second tag
                others = self._text(shapes.type_info(variants), output=True)
                self.interfaces[name] = f"{head} type {name} = {{\n{members}}} & ({others});\n"
        return name

    def _members(self, info: shapes.StructType, *, output: bool) -> list[str]:
        members = [f"{info.tag_field}: {orjson.dumps(info.tag).decode()};"] if info.tag_field else []
        omitted = info.cls.__struct_config__.omit_defaults
        for field in info.fields:
            optional = not field.required and (not output or omitted or _is_unset(field))
            kind = _without_null(field.type) if output and omitted and field.default is None else field.type
            members.append(f"{field.encode_name}{'?' if optional else ''}: {self._text(kind, output=output)};")
        return members


def _is_unset(field: shapes.Field) -> bool:
    """Return whether a member's default is UNSET: msgspec shows such an optional member without a default."""
    return field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT


def _without_null(info: shapes.Type) -> shapes.Type:
    """Return the type of a member that is absent where it would be null."""
    if not isinstance(info, shapes.UnionType):
        return info
    return shapes.UnionType(tuple(kind for kind in info.types if not isinstance(kind, shapes.NoneType)))


def _comment(documented: types.FunctionType | type | Any) -> str:
    text = inspect.getdoc(documented) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("*/", "* /").replace("``", "`")
