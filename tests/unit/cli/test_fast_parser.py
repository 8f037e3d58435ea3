"""The fast parser: what it understands is what cyclopts understands, and the rest is left to cyclopts."""

import functools
import inspect

import cyclopts
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import fast_parser
from cli.app import COMMANDS, build, load
from cli.declarations import App

HOSTILE = [
    "", "-", "--", "---", "-x", "-5", "--no-such", "--help", "-h", "--version", "=", "-=", "--=", "none", "null",
    "true", "1", "007", "0x10", "1e3", "1_000", "-0", "²", "٣", "99999999999999999999", "[]", "{}", '["a"]', '{"a": 1}',
    "a=b", "@file", "\x00", "\n", "a b", "é", "list", "show", "set", "text", "json", "jsonl", "ask", "task-1", "12",
]  # fmt: skip
LEFT = {
    "template save": {"--cpu", "--gpu", "--max-cost"},
    "run": {"--cpu", "--gpu", "--max-cost"},
    "users add": {"--cost-per-day"},
    "users set": {"--cost-per-day", "--running", "--queued"},
    "compare": {"--diff"},
    "download": {"--to"},
    "login": {"--ca"},
    "support-bundle": {"--to"},
    "token create": {"--to"},
}
"""Options of fractions, paths, and of numbers or words: they are left to cyclopts."""
OPTIONS = ["--task", "--url", "--all", "--output", "-o", "-f", "--no-all", "--tail", "--empty-label", "--from"]


def each_command():
    """Yield the words that name each command, with its function."""
    for name in COMMANDS:
        command = load(name)
        if not isinstance(command, App):
            yield (name,), command
            continue
        if command.default_function:
            yield (name,), command.default_function
        for subcommand, function in command.functions.items():
            yield (name, subcommand), function


FUNCTIONS = dict(each_command())
tree = functools.cache(build)


def arguments_of(words):
    app = tree()[words[0]]
    app = app[words[1]] if words[1:] and words[1] in app else app
    return app.assemble_argument_collection() if app.default_command else []


def read_by_cyclopts(line):
    """Return the function and the arguments that cyclopts finds in a line, or None if it refuses the line."""
    try:
        command, bound, _ = tree().parse_args(line, exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError:
        return None
    return command, bound.arguments


def read_fast(line):
    call = fast_parser.call_of(line)
    return call and (call.func, inspect.signature(call.func).bind(*call.args, **call.keywords).arguments)


@pytest.mark.parametrize("words", FUNCTIONS, ids=" ".join)
def test_each_option_has_the_names_that_cyclopts_gives_it(words):
    arguments = [argument for argument in arguments_of(words) if not argument.parameter.validator]
    by_cyclopts = {name for argument in arguments for name in argument.names if name.startswith("-")}
    by_cyclopts -= {name for argument in arguments for name in argument.negatives}
    fast = set(fast_parser.signature(FUNCTIONS[words]).options)
    assert by_cyclopts - fast == LEFT.get(" ".join(words), set())
    assert fast <= by_cyclopts


plain = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda word: word[0] not in "-[{"
)
TAKEN = plain | st.sampled_from([word for word in HOSTILE if word[:1] not in ("", "-", "[", "{")])


def fitting(kind):
    """Words that an option or argument takes."""
    if kind is int:
        return st.integers(0, 999_999_999).map(str)
    return st.sampled_from(kind) if isinstance(kind, tuple) else plain


@st.composite
def plain_lines(draw):
    """Make a line that a command takes: arguments side by side, options before or after them."""
    words = draw(st.sampled_from(sorted(FUNCTIONS)))
    takes = fast_parser.signature(FUNCTIONS[words])
    kinds = [argument.kind for argument in takes.arguments]
    kinds = kinds[: draw(st.integers(takes.required, len(kinds)))]
    if takes.rest and len(kinds) == len(takes.arguments):
        kinds += [takes.rest.kind] * draw(st.integers(0, 3))
    parts = [[draw(fitting(kind)) for kind in kinds]]
    chosen = {}
    for name in draw(st.lists(st.sampled_from(sorted(takes.options)), max_size=4)) if takes.options else []:
        option = takes.options[name]
        if option.kind == list[str] or (option.parameter, option.field) not in chosen:
            chosen[option.parameter, option.field] = True
            value = [] if option.kind is bool else [draw(fitting(option.kind))]
            joined = value and name.startswith("--") and draw(st.booleans())
            parts.insert(draw(st.integers(0, len(parts))), [f"{name}={value[0]}"] if joined else [name, *value])
    for name in takes.needed - {parameter for parameter, _ in chosen}:
        option = next(option for option in takes.options.values() if option.parameter == name)
        parts.append([option.names[0], draw(fitting(option.kind))])
    line = [word for part in parts for word in part]
    if len(words) == 1 and line and line[0] in tree()[words[0]]:
        line = []  # it names a subcommand
    return [*words, *line]


@st.composite
def spoilt_lines(draw):
    """Make such a line with some words removed, repeated elsewhere, or replaced by hostile ones."""
    line = draw(plain_lines())
    names = sorted({name for argument in arguments_of(line) for name in argument.names if name[0] == "-"})
    option = st.sampled_from(names or OPTIONS) | st.sampled_from(OPTIONS)
    hostile = st.sampled_from(HOSTILE)
    word = hostile | option | st.tuples(option, hostile).map("=".join)
    for _ in range(draw(st.integers(1, 2))):
        place, length = draw(st.integers(1, len(line))), draw(st.integers(0, 2))
        words = line[place : place + length]
        match draw(st.sampled_from(["remove", "repeat", "replace"])):
            case "remove":
                del line[place : place + length]
            case "repeat":
                other = draw(st.integers(1, len(line)))
                line[other:other] = words
            case "replace":
                line[place : place + length] = [draw(word)]
    return line


@settings(max_examples=150, deadline=None)
@given(plain_lines())
def test_plain_lines_need_no_cyclopts_and_mean_the_same_to_it(line):
    understood = read_fast(line)
    assert understood is not None
    assert read_by_cyclopts(line) == understood


@settings(max_examples=150, deadline=None)
@given(spoilt_lines())
def test_lines_with_hostile_words_mean_the_same_or_are_left_to_cyclopts(line):
    understood = read_fast(line)
    if understood:
        assert read_by_cyclopts(line) == understood


@pytest.mark.parametrize(
    "line",
    [
        ["nothing"],
        ["kv"],
        ["tasks", "all"],
        ["attach"],
        ["attach", "1", "2"],
        ["attach", "--tail", "many", "1"],
        ["attach", "--tail", "-5", "1"],
        ["attach", "1", "--tail"],
        ["attach", "1", "--tail", "1", "--tail", "2"],
        ["attach", "1", "--", "-x"],
        ["tasks", "--all=false"],
        ["tasks", "--no-all"],
        ["tasks", "-o", "yaml"],
        ["tasks", "--help"],
        ["kv", "cas", "key", "value"],
        ["api", "--port", "70000"],
    ],
    ids=" ".join,
)
def test_other_lines_are_left_to_cyclopts(line):
    assert read_fast(line) is None
