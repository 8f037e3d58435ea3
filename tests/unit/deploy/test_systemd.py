"""The units of ``deploy/systemd``: systemd takes them, they are confined, and what they name is there."""

import os
import re
import shutil
import subprocess

import pytest
from support.units import DIRECTORY, FILES, command, environment, options

from app.settings import AppSettings
from app.spawner.settings import SpawnerSettings
from cli.app import build
from worker.settings import WorkerSettings

INSTANCES = {"ado-api@.service": "7421", "ado-worker@.service": "build-1"}
SERVICES = {file.name: file.read_text() for file in FILES if file.suffix == ".service"}
LARGEST_EXPOSURE = {"ado-worker@.service": 40, "ado-spawner.service": 40}
"""Of a hundred, by systemd's own measure; 15 for all others."""
BREAK_BUBBLEWRAP = ("ProtectKernelTunables", "ProtectKernelLogs", "ProtectHostname", "ProcSubset")
BREAK_BUILDS = (
    "MemoryDenyWriteExecute",
    "LockPersonality",
    "SystemCallArchitectures",
    "RestrictSUIDSGID",
    "PrivateDevices",
    "ProtectClock",
)
RUN_JOBS = ("ado-worker@.service", "ado-spawner.service")


def instance(name):
    return name.replace("@.", f"@{INSTANCES[name]}.") if name in INSTANCES else name


@pytest.fixture
def machine(tmp_path):
    """A root directory with systemd's own units, ours, and programs where the units say."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze: apt install systemd")
    shutil.copytree("/usr/lib/systemd/system", tmp_path / "usr/lib/systemd/system", symlinks=True)
    for program in ("opt/ado/bin/ado", "bin/sh"):
        place = tmp_path / program
        place.parent.mkdir(parents=True)
        place.write_text("")
        place.chmod(0o755)
    shutil.copytree(DIRECTORY, tmp_path / "etc/systemd/system")
    return tmp_path


def analyze(machine, *arguments):
    done = subprocess.run(
        ["systemd-analyze", f"--root={machine}", "--no-pager", *arguments],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "SYSTEMD_COLORS": "0"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def verify(machine):
    names = [instance(file.name) for file in FILES]
    return analyze(machine, "verify", "--man=no", "--generators=no", "--recursive-errors=one", *names)


def test_systemd_accepts_every_unit_without_a_warning(machine):
    assert verify(machine) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("RestartSec=2", "RestartSeconds=2", "Unknown key"),
        ("ExecStart=/opt/ado/bin/ado", "ExecStart=/opt/ado/bin/adoo", "is not executable"),
    ],
)
def test_systemd_reports_a_broken_unit(machine, old, new, said):
    unit = machine / "etc/systemd/system/ado-api@.service"
    unit.write_text(unit.read_text().replace(old, new))
    assert said in verify(machine)[1]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_confined_by_systemds_own_measure(machine, name):
    largest = LARGEST_EXPOSURE.get(name, 15)
    code, said = analyze(machine, "security", "--offline=true", f"--threshold={largest}", instance(name))
    assert code == 0, said
    assert analyze(machine, "security", "--offline=true", "--threshold=5", instance(name))[0] != 0


@pytest.mark.parametrize("name", RUN_JOBS)
def test_a_unit_that_runs_jobs_keeps_what_jobs_need(name):
    found = options(SERVICES[name])
    assert not found.keys() & {*BREAK_BUBBLEWRAP, *BREAK_BUILDS}
    assert found["RestrictNamespaces"] == ["user mnt pid ipc uts net"]
    assert "AF_NETLINK" in found["RestrictAddressFamilies"][0]
    (denied,) = found["SystemCallFilter"]
    assert denied.startswith("~")
    assert not set(denied[1:].split()) & {"@mount", "@privileged", "@process", "@debug", "@sandbox"}
    assert found["OOMPolicy"] == ["continue"]
    assert found["KillMode"] == ["mixed"]


def test_the_unit_explains_each_option_that_it_leaves_out():
    said = " ".join(re.findall(r"^#(.*)$", SERVICES["ado-worker@.service"], re.MULTILINE))
    assert [name for name in (*BREAK_BUBBLEWRAP, *BREAK_BUILDS) if f"{name}=" not in said] == []


@pytest.mark.parametrize("name", SERVICES)
def test_commands_and_settings_of_a_service_exist(name):
    kind = {"ado-api@.service": AppSettings, "ado-worker@.service": WorkerSettings}.get(name, SpawnerSettings)
    known = {f"ADO_{field.upper()}" for field in kind.__dataclass_fields__}
    assert environment(SERVICES[name]).keys() <= known | {"HOME"}
    program, *arguments = command(SERVICES[name], INSTANCES.get(name, ""))
    if program == "/opt/ado/bin/ado":
        build().parse_args(arguments, exit_on_error=False, print_error=False)


def seconds(text):
    return int(text) * 3600 if text.endswith("h") else int(text)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("ado-api@.service", AppSettings(dsn="postgresql://").drain_seconds),
        ("ado-worker@.service", WorkerSettings().stop_seconds + WorkerSettings().grace_seconds),
        ("ado-spawner.service", SpawnerSettings(dsn="postgresql://").worker_stop_seconds),
    ],
)
def test_a_service_has_enough_time_to_stop(name, needed):
    assert seconds(options(SERVICES[name])["TimeoutStopSec"][0]) >= needed + 5


@pytest.mark.sandbox
@pytest.mark.skipif(os.geteuid() != 0, reason="the mounts that systemd makes need root")
@pytest.mark.parametrize(
    ("mounts", "works"),
    [
        ("mount -o remount,bind,ro / && mount -t proc -o hidepid=invisible proc /proc", True),
        ("mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys", False),
        ("mount --bind /dev/null /proc/kmsg", False),
    ],
    ids=["ProtectSystem, ProtectProc", "ProtectKernelTunables", "ProtectKernelLogs"],
)
def test_bubblewrap_works_only_with_the_mounts_of_the_worker_unit(mounts, works):
    inside = "bwrap --unshare-user --unshare-pid --cap-drop ALL --dev /dev --proc /proc --ro-bind /usr /usr"
    inside += " --symlink usr/bin /bin --symlink usr/lib /lib --ro-bind-try /lib64 /lib64 /bin/true"
    user = "setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs --bounding-set=-all"
    script = f"{mounts} || exit 99; exec {user} {inside}"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode != 99, done.stderr
    assert (done.returncode == 0) == works, done.stderr
