"""The program: it runs a command and ends with its exit code. A failure is two lines on stderr, or JSON."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import io
import os
import sys
from collections.abc import Callable
from typing import Any

_WRITE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF, errno.EIO})
_LONGEST_MESSAGE = 1000


def main() -> None:
    """Run the command line and end the process with its exit code."""
    if sys.version_info < (3, 11):  # noqa: UP036 - a checkout has no installer that checks it
        sys.exit(_old_python())
    from cli import invocation

    gc.disable()  # imports make no garbage, and collections would take a tenth of the start
    invocation.take()
    arguments = sys.argv[1:]
    _open_standard_streams()
    for stream in (sys.stdout, sys.stderr):  # a character that the terminal cannot show does not end the command
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _help() if arguments in ([], ["--help"], ["-h"]) else _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has ended: not an error
        _drop_output()
        code = 141
    except OSError as error:  # the last bytes of the output, written as the process ends
        code = _report_lost_output(error)
    except KeyboardInterrupt:
        code = 130
    _drop_messages()
    sys.exit(code)


def _old_python() -> int:
    """Report an old Python before anything is imported that it cannot parse."""
    sys.stderr.write("ado: this is Python %s; 3.11 or newer is needed\n" % sys.version.split()[0])  # noqa: UP031
    sys.stderr.write("ado: install it, or name one: PYTHON=/path/to/python3.11 ./ado\n")
    return 125


def _help() -> int:
    """Print the help, before anything that is slow is imported."""
    from importlib import resources

    print(resources.files("cli").joinpath("help.txt").read_text("utf-8"), end="")
    return 0


def _drop_output() -> None:
    """Discard the rest of stdout: Python would write it again at exit, and fail again."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _drop_messages() -> None:
    """Discard what stderr could not take, on a full disk for example: Python would end with 120 instead of the code."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _open_standard_streams() -> None:
    """Open standard streams that are closed, so that no socket or file gets their descriptors.

    Reading from a closed stdin returns its end; writing to a closed stdout fails and is reported.
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


def _report_lost_output(error: OSError) -> int:
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
        return _run_worker(arguments)
    if (wrong := _not_text(arguments)) is not None:
        from cli.errors import usage

        shown = os.fsencode(wrong).decode("utf-8", "backslashreplace")
        return _report(usage(f"an argument is not UTF-8: {shown[:200]}", "give it as UTF-8"), [])
    try:
        call = _parsed(_with_dash_as_file(arguments))
        _begin_collections()
        result = call()
    except BrokenPipeError:
        raise
    except SystemExit as error:
        if error.code != 1:
            raise
        raise BrokenPipeError from error  # of rich, which prints the help: its reader has ended
    except Exception as error:  # noqa: BLE001 - every error is reported as a sentence
        return _report(_as_cli_error(error), arguments)
    return result if isinstance(result, int) else 0


def _begin_collections() -> None:
    """Collect garbage from now on; what is imported stays, so no collection looks at it."""
    gc.freeze()
    gc.enable()


def _parsed(arguments: list[str]) -> Callable[[], Any]:
    """Return the call that a command line means; cyclopts is imported only if the fast parser leaves the line to it."""
    if arguments == ["--version"]:
        from importlib import metadata

        return functools.partial(print, metadata.version("ado"))
    from cli import fast_parser

    if (call := fast_parser.call_of(arguments)) is not None:
        return call
    from cli.app import build

    return functools.partial(build(), arguments)


def _as_cli_error(error: Exception) -> Any:
    """Return the error that is reported for a failure; with ADO_DEBUG set, an internal error is raised instead."""
    from app.rpc.client import CallError, NoAnswer
    from cli.errors import CliError, translate
    from cli.exits import INFRASTRUCTURE
    from cli.output import OutputLost

    if isinstance(error, CliError):
        return error
    if "cyclopts" in sys.modules:
        from cyclopts import CycloptsError

        from cli.parsing import explain

        if isinstance(error, CycloptsError):
            return explain(error)
    if isinstance(error, (CallError, NoAnswer)):
        return translate(error)
    if os.environ.get("ADO_DEBUG"):
        raise error
    if isinstance(error, OSError) and error.filename is None and error.errno in _WRITE_ERRORS:
        return OutputLost(error)  # written by the parser of options, which prints the help and the version
    if isinstance(error, OSError):
        from cli.errors import refused

        return refused(error)
    message = f"a mistake of ado's own: {type(error).__name__}: {error}"
    return CliError(message, "ADO_DEBUG=1 shows where; please report it", INFRASTRUCTURE, "internal")


def _run_worker(arguments: list[str]) -> int:
    """Run a worker without arguments, as pods do; the parser of options is not imported."""
    from cli.errors import CliError
    from cli.worker_process import work

    _begin_collections()
    try:
        return work()
    except CliError as error:
        return _report(error, arguments)


def _with_dash_as_file(arguments: list[str]) -> list[str]:
    """Return the arguments with the lone dash of ``run`` as ``--file=-``: the parser would take it for an option."""
    rewritten: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--" or arguments[0] != "run":
            return rewritten + arguments[position:]
        if argument != "-":
            rewritten.append(argument)
            continue
        if rewritten[-1] in ("-F", "--file"):
            rewritten.pop()
        rewritten.append("--file=-")
    return rewritten


def _report(error: Any, arguments: list[str]) -> int:
    from cli.output import OutputLost, talk, talk_json

    if isinstance(error, OutputLost):
        _drop_output()
    error.message = _shortened(error.message)
    if _wants_json(arguments):
        talk_json(error.as_json())
    else:
        for line in (error.message, error.next_step):
            talk(f"ado: {line}")
    return int(error.exit_code)


def _shortened(message: str) -> str:
    """Return a message without its middle if it is longer than a screen: it may quote what was typed."""
    return message if len(message) <= _LONGEST_MESSAGE else f"{message[:400]} … {message[-400:]}"


def _wants_json(arguments: list[str]) -> bool:
    """Whether the output option says JSON; such words in a prompt do not count."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("-o", "--output"):
            form = value if equals else "".join(arguments[place + 1 : place + 2])
            return form in ("json", "jsonl")
    return False


if __name__ == "__main__":
    main()
