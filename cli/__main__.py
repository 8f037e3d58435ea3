"""The entry: arguments in, exit code out; every failure becomes two lines on stderr, or JSON."""

from __future__ import annotations

import io
import os
import sys
from importlib import resources
from typing import Any


def main() -> None:
    """Run the command line and end the process with its exit code."""
    arguments = sys.argv[1:]
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if arguments in ([], ["--help"], ["-h"]):  # answered before anything is imported
        print(resources.files("cli").joinpath("help.txt").read_text("utf-8"), end="")
        sys.exit(0)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone: not an error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    if arguments == ["worker"]:
        return _work(arguments)
    from cyclopts import CycloptsError

    from app.rpc.client import CallError, Unreachable
    from cli.app import build
    from cli.errors import CliError, translate, usage

    try:
        result: Any = build()(_with_stdin(arguments))
    except CycloptsError as error:
        return _report(usage(" ".join(str(error).split())), arguments)
    except (CallError, Unreachable) as error:
        return _report(translate(error), arguments)
    except CliError as error:
        return _report(error, arguments)
    return result if isinstance(result, int) else 0


def _work(arguments: list[str]) -> int:
    """Run a worker that is told nothing here, as pods do, without importing the parser of options."""
    from cli.errors import CliError
    from cli.work import work

    try:
        return work()
    except CliError as error:
        return _report(error, arguments)


def _with_stdin(arguments: list[str]) -> list[str]:
    """Return the arguments with ``run``'s lone dash as an option's value: the parser takes it for an option itself."""
    made: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--" or arguments[0] != "run":
            return made + arguments[position:]
        if argument != "-":
            made.append(argument)
            continue
        if made[-1] in ("-F", "--file"):
            made.pop()
        made.append("--file=-")
    return made


def _report(error: Any, arguments: list[str]) -> int:
    from cli.output import talk

    if _wants_json(arguments):
        import orjson

        talk(orjson.dumps(error.as_json()).decode())
    else:
        for line in (error.message, error.next_step):
            talk(f"ado: {line}")
    return int(error.exit_code)


def _wants_json(arguments: list[str]) -> bool:
    """Whether the option for the form of the output says JSON; a prompt that contains such words does not."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("-o", "--output"):
            form = value if equals else "".join(arguments[place + 1 : place + 2])
            return form in ("json", "jsonl")
    return False


if __name__ == "__main__":
    main()
