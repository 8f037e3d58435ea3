"""The entry: arguments in, exit code out; every failure becomes two lines on stderr, or JSON."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from importlib import resources
from typing import Any

_OF_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO})
_LONGEST_MESSAGE = 1000


def main() -> None:
    """Run the command line and end the process with its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - started from a checkout, nothing else has looked
        sys.exit(_old_python())
    from cli import invocation

    invocation.take()
    arguments = sys.argv[1:]
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a character is no reason to fail
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _help() if arguments in ([], ["--help"], ["-h"]) else _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read our output has gone: not an error
        _drop_output()
        code = 141
    except OSError as error:  # the last bytes of the output, written as the process ends
        code = _lost(error)
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _old_python() -> int:
    """Say so before anything is imported that such a Python does not understand."""
    sys.stderr.write("ado: this is Python %s; 3.11 or newer is needed\n" % sys.version.split()[0])  # noqa: UP031
    sys.stderr.write("ado: install it, or name one: PYTHON=/path/to/python3.11 ./ado\n")
    return 125


def _help() -> int:
    """Print the help, before anything that is slow is imported."""
    print(resources.files("cli").joinpath("help.txt").read_text("utf-8"), end="")
    return 0


def _drop_output() -> None:
    """Let what Python still holds for stdout go nowhere: it would be tried again at exit, and fail again."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _open_standard_streams() -> None:
    """Put something in the place of standard streams that were closed, so that no socket or file gets their numbers.

    Reading from a closed stdin finds its end; writing to a closed stdout fails, and is told.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if fd == 2 else os.O_RDONLY)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8")
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _lost(error: OSError) -> int:
    from cli.output import OutputLost

    return _report(OutputLost(error), sys.argv[1:])


def _not_text(arguments: list[str]) -> str | None:
    """Return the first argument that is not UTF-8."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            return argument
    return None


def _run(arguments: list[str]) -> int:
    from app.core.process_hardening import hide_process

    hide_process()  # before anything is read or imported: the environment may hold secrets
    if arguments == ["worker"]:
        return _work(arguments)
    from cli.app import build
    from cli.errors import usage

    if (wrong := _not_text(arguments)) is not None:
        shown = os.fsencode(wrong).decode("utf-8", "backslashreplace")
        return _report(usage(f"an argument is not UTF-8: {shown[:200]}", "give it as UTF-8"), [])
    try:
        result: Any = build()(_with_stdin(arguments))
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, a person gets a sentence
        return _report(_in_words(error), arguments)
    return result if isinstance(result, int) else 0


def _in_words(error: Exception) -> Any:
    """Return a failure as the error that is reported; with ADO_DEBUG set, a mistake of ado's own is raised instead."""
    from cyclopts import CycloptsError

    from app.rpc.client import CallError, Unreachable
    from cli.errors import CliError, translate
    from cli.exits import INFRASTRUCTURE
    from cli.output import OutputLost

    if isinstance(error, CliError):
        return error
    if isinstance(error, CycloptsError):
        from cli.parsing import explain

        return explain(error)
    if isinstance(error, (CallError, Unreachable)):
        return translate(error)
    if os.environ.get("ADO_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.filename is None and error.errno in _OF_WRITING:
        return OutputLost(error)  # written by the parser of options, which prints versions and help itself
    if isinstance(error, OSError):
        from cli.system_errors import refused

        return refused(error)
    message = f"a mistake of ado's own: {type(error).__name__}: {error}"
    return CliError(message, "ADO_DEBUG=1 shows where; please report it", INFRASTRUCTURE, "internal")


def _work(arguments: list[str]) -> int:
    """Run a worker that is told nothing here, as pods do, without importing the parser of options."""
    from cli.errors import CliError
    from cli.worker_process import work

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
    from cli.output import OutputLost, talk, talk_json

    if isinstance(error, OutputLost):
        _drop_output()
    error.message = _cut(error.message)
    if _wants_json(arguments):
        talk_json(error.as_json())
    else:
        for line in (error.message, error.next_step):
            talk(f"ado: {line}")
    return int(error.exit_code)


def _cut(message: str) -> str:
    """Return a message without the middle of what is longer than a screen: it quotes what was typed."""
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[:400]} … {message[-400:]}"


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
