"""What a page of the documentation needs of systemctl, where systemd is not the first process.

It starts what a unit says, as the unit's user and with its environment, in the background; the options that confine a
service are tested elsewhere. A service's output is in /var/log/UNIT. It knows no imports of ado's.
"""

import os
import pwd
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

UNITS = Path("/etc/systemd/system")
PIDS = Path("/run/units")
SECONDS = 60.0


def options(text):
    """Return the options of [Service]: a name, and its values in order."""
    found = {}
    part = text.partition("[Service]\n")[2].partition("\n[")[0]
    for name, value in re.findall(r"^(\w+)=(.*)$", part, re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def environment(found):
    made = {}
    for line in found.get("Environment", []):
        made.update(word.split("=", 1) for word in shlex.split(line))
    for name in found.get("EnvironmentFile", []):
        file = Path(name.lstrip("-"))
        if not name.startswith("-") or file.exists():
            lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
            made.update(line.split("=", 1) for line in lines)
    return made


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def stop(unit):
    file = PIDS / unit
    if not file.exists():
        return
    pid = int(file.read_text())
    end = time.monotonic() + SECONDS
    while lives(pid):
        try:
            os.kill(pid, signal.SIGTERM if time.monotonic() < end else signal.SIGKILL)
        except ProcessLookupError:
            break
        for _ in range(100):
            if not lives(pid):
                break
            time.sleep(0.05)
    file.unlink()


def start(unit):
    stem, at, instance = unit.partition("@")
    text = (UNITS / f"{stem}{at}.service").read_text().replace("%i", instance).replace("%%", "%")
    found = options(text)
    user = pwd.getpwnam(found["User"][0])
    for line in found.get("StateDirectory", []):
        for name in line.split():
            place = Path("/var/lib", name)
            place.mkdir(mode=0o700, exist_ok=True)
            os.chown(place, user.pw_uid, user.pw_gid)
    set_by_systemd = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    of_user = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}
    with Path("/var/log", unit).open("ab") as log:
        process = subprocess.Popen(
            shlex.split(found["ExecStart"][0].replace("$$", "$")),
            env={**set_by_systemd, **of_user, **environment(found)},
            user=user.pw_uid, group=user.pw_gid, extra_groups=[], umask=0o077, cwd="/",
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    if found["Type"][0] == "oneshot":
        return process.wait()
    PIDS.mkdir(exist_ok=True)
    (PIDS / unit).write_text(str(process.pid))
    return 0


def main(verb, *words):
    units = [word.removesuffix(".service") for word in words if not word.startswith("-")]
    if verb == "daemon-reload" or (verb == "enable" and "--now" not in words):
        return 0
    for unit in units:
        if unit.endswith(".timer"):
            assert (UNITS / unit).exists()
        elif unit == "nginx":
            pid = Path("/run/nginx.pid")
            subprocess.run(["nginx", *(["-s", "reload"] if pid.exists() else [])], check=True)
            while not (pid.exists() and pid.read_text().strip()):
                time.sleep(0.02)  # nginx goes into the background before it has written its pid
        else:
            if verb in ("stop", "restart"):
                stop(unit)
            if verb != "stop" and (code := start(unit)):
                return code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
