"""The mutants of a file: in Python cosmic-ray's and left-out statements, in SQL one for each condition."""

import ast
import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import TypeGuard

from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

_OPERATORS = (
    *("AddNot", "ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_Delete_USub"),
    *("ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue"),
    *("ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ZeroIterationForLoop"),
    *("ExceptionReplacer", "NumberReplacer"),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Add", "FloorDiv_Mul", "Mod_Add")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_GtE", "LtE_Gt", "Gt_LtE", "GtE_Lt")),
)
_NO_DECISION = re.compile(
    r"_?[A-Z][A-Z_]*\b.* = |[A-Z]\w+ = Annotated|@dataclass|\s*(?:async )?def |\s*\w+: [\w.\[\]]+ = "
)
"""Lines whose mutants are left out: chosen numbers, defaults, and how dataclasses are made."""
_STATEMENT = re.compile(r"^-- name: (\w+)", re.MULTILINE)
_TOKEN = re.compile(r"--[^\n]*|'(?:[^']|'')*'|[()\[\],;]|[a-z_]+|\S", re.MULTILINE)
_OPENS = {"where", "and", "or", "on", "when"}
_CLOSES = {"where", "and", "or", "then", "order", "group", "returning", "limit", "for", "union", "from", "join"}
_CLOSES |= {"left", "cross", "having", "offset", "set", "window", ")", "]", ",", ";"}


@dataclass(frozen=True)
class Mutant:
    """A file's text with one change, and the change as the list of survivors names it."""

    file: str
    change: str
    text: str
    statement: str = ""
    """The statement that is changed; empty for Python."""


def mutants_of(file: str, text: str) -> Iterator[Mutant]:
    """Yield every mutant of a file once."""
    seen = {text}
    for statement, change, mutated in _of_sql(text) if file.endswith(".sql") else _of_python(text):
        if mutated not in seen:
            seen.add(mutated)
            yield Mutant(file, f"{statement}: {change}" if statement else change, mutated, statement)


def _of_python(text: str) -> Iterator[tuple[str, str, str]]:
    for name in _OPERATORS:
        operator = get_operator(f"core/{name}")()
        for occurrence in count():
            mutated = mutate_code(text, operator, occurrence)
            if mutated is None:
                break
            old, new = _changed(text, mutated)
            if not _NO_DECISION.match(old) and _is_python(mutated):
                yield "", f"{old.strip()} → {new.strip()}", mutated

    yield from _left_out(text)


def _left_out(text: str) -> Iterator[tuple[str, str, str]]:
    """Leave out one statement that only has an effect: a call, a raise, or an assignment to a part of an object.

    Others give a name its value, and Python itself notices that a name has none. So it does with the assignments of
    ``__init__``. Log messages stay.
    """
    lines, tree = text.splitlines(keepends=True), ast.parse(text)
    made = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    first_values = {node for function in made for node in function.body if isinstance(node, ast.Assign)}
    for node in ast.walk(tree):
        if node in first_values or not _has_only_an_effect(node):
            continue
        first = lines[node.lineno - 1]
        old = first.strip()
        if not old.startswith("_log."):
            rest = [first[: node.col_offset] + "pass\n", *lines[node.end_lineno or node.lineno :]]
            yield "", f"{old} → pass", "".join(lines[: node.lineno - 1] + rest)


def _has_only_an_effect(node: ast.AST) -> TypeGuard[ast.stmt]:
    match node:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise():
            return True
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]) | ast.Delete():
            return True
        case ast.AugAssign(target=ast.Attribute() | ast.Subscript()):
            return True
    return False


def _is_python(text: str) -> bool:
    try:
        compile(text, "", "exec")
    except SyntaxError:  # of the mark before keyword-only parameters
        return False
    return True


def _changed(text: str, mutated: str) -> tuple[str, str]:
    """Return the first line that differs, before and after."""
    lines = list(difflib.ndiff(text.splitlines(), mutated.splitlines()))
    old = next((line[2:] for line in lines if line.startswith("- ")), "")
    new = next((line[2:] for line in lines if line.startswith("+ ")), "")
    return old, new


def _of_sql(text: str) -> Iterator[tuple[str, str, str]]:
    """Make one condition of a statement hold always, or, where it is one of several choices, never.

    The condition stays in the text, so that the parameters of the statement stay the same.
    """
    for start, end, never in conditions(text):
        name = _STATEMENT.findall(text, 0, start)
        body = text[start:end]
        if not name:
            continue
        changed = f"(false and ({body}))" if never else f"(true or ({body}))"
        yield name[-1], " ".join(body.split()), text[:start] + changed + text[end:]


def conditions(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield start and end of each condition after ``where``, ``and``, ``or`` and ``on``; and whether it is a choice."""
    tokens = [token for token in _TOKEN.finditer(text) if not token[0].startswith("--")]
    for place, token in enumerate(tokens):
        if token[0] not in _OPENS or (token[0] == "and" and _is_of_between(tokens, place)):
            continue
        depth, after = 0, place + 1
        while after < len(tokens) and (depth or not _closes(tokens, after)):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(tokens[after][0], 0)
            after += 1
        if after == place + 1 or after == len(tokens) or tokens[place + 1][0] in ("true", "conflict", "update"):
            continue
        closing = tokens[after][0]
        if token[0] == "when" and closing != "and":
            continue
        yield tokens[place + 1].start(), tokens[after - 1].end(), token[0] == "or" or closing == "or"


def _closes(tokens: list[re.Match[str]], place: int) -> bool:
    word, before = tokens[place][0], tokens[place - 1][0]
    if (word == "from" and before == "distinct") or (word == "and" and _is_of_between(tokens, place)):
        return False
    return word in _CLOSES or (word == "on" and tokens[place + 1][0] == "conflict")


def _is_of_between(tokens: list[re.Match[str]], place: int) -> bool:
    return any(token[0] == "between" for token in tokens[max(0, place - 2) : place])
