"""Machines for tests: namespaces of network, mounts, processes and host name, joined by a switch.

A machine has directories of its own where a page of the documentation writes (``/etc``, ``/opt``, ``/root``, ``/run``,
``/tmp``, ``/var``), an ado of its own at ``/opt/ado`` as the page installs it, and ``systemctl.py`` in the place of
systemd. All of it is processes and memory: when the first process of a machine is killed, nothing is left.
"""

import functools
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from support.rendering import ROOT

SWITCH = "ip link add name switch type bridge && ip link set switch up && echo ready && exec sleep infinity"
NAMESPACES = ["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
PACKAGES = ("app", "cli", "db", "sql", "worker")
BOOT = """\
set -eu
mount -t tmpfs -o mode=755 machine /srv
mkdir -p /srv/opt/python /srv/opt/deps /srv/opt/ado /srv/bin
cp -a /etc /srv/etc
mount --bind {python} /srv/opt/python
mount --bind {deps} /srv/opt/deps
mount --bind {ado} /srv/opt/ado
mount --bind {root} /srv/opt/ado/src
cp {root}/tests/support/systemctl.py /srv/systemctl.py
printf '#!/bin/sh\\nexec /opt/python/bin/{interpreter} -I /srv/systemctl.py "$@"\\n' >/srv/bin/systemctl
ln -s /opt/ado/bin/ado /srv/bin/ado
chmod 755 /srv/bin/systemctl
mount --rbind /srv/opt /opt
mount --bind /srv/etc /etc
mkdir -p /etc/nginx/conf.d && rm -rf /etc/ado /etc/nginx/conf.d/*
mount -t tmpfs -o mode=711 machine /root
[ -e {python} ] || {{ mkdir -p {python}; mount --bind /opt/python {python}; }} # where it looks for its libraries
mount -t tmpfs -o mode=755 machine /run
mount -t tmpfs -o mode=1777 machine /tmp
for place in lib log backups; do mount -t tmpfs -o mode=755 machine /var/$place; done
mkdir -p /etc/systemd/system /var/lib/nginx /var/log/nginx
install -d -o postgres /run/postgresql /var/lib/postgresql
hostname {name}
echo '127.0.0.1 localhost {name}' >/etc/hosts
echo '10.77.0.1 ado.example.com' >>/etc/hosts
ip link set lo up
echo booted
sleep infinity &
while :; do wait; done
"""
"""The first process, a shell, also takes note of the end of processes whose parents have ended."""
POSTGRES = """\
cd /
bin=$(echo /usr/lib/postgresql/*/bin | cut -d' ' -f1)
data=/var/lib/postgresql/data
runuser -u postgres -- "$bin/initdb" -D "$data" --auth-local=peer --auth-host=scram-sha-256 --no-sync >/dev/null
runuser -u postgres -- "$bin/pg_ctl" -D "$data" -o '-c fsync=off -k /var/run/postgresql' -l "$data/log" start >/dev/null
"""
"""What Debian's package of Postgres does when it is installed: a server that knows the system's users by its socket."""
PATH = "/srv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@functools.cache
def possible():
    """Return whether such machines can be made here: by root, where namespaces and mounts are allowed."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        return False
    script = "mount -t tmpfs machine /srv && ip link add name probe type bridge"
    done = subprocess.run(["unshare", *NAMESPACES, "sh", "-c", script], capture_output=True, check=False, timeout=60)
    return done.returncode == 0


def install(directory):
    """Install ado into a directory that becomes /opt/ado: what the page's commands do by pip, without a network."""
    site = directory / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (directory / "bin").mkdir(parents=True)
    (directory / "src").mkdir()
    for package in PACKAGES:
        shutil.copytree(ROOT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    (site / "deps.pth").write_text("/opt/deps\n")
    (directory / "pyvenv.cfg").write_text("home = /opt/python/bin\n")
    (directory / "bin" / "python").symlink_to(f"/opt/python/bin/{_interpreter()}")
    program = directory / "bin" / "ado"
    program.write_text((ROOT / "cli" / "ado").read_text().replace("#!python", "#!/opt/ado/bin/python", 1))
    for path in [directory, *directory.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755)


def _interpreter():
    return f"python3.{sys.version_info.minor}"


def _start(script):
    """Start the first process of new namespaces; it ends with the thread that starts it."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", *NAMESPACES, "bash", "-c", script]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _inside(process):
    """Return the pid of the first process of the namespaces."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) == 1
    return children[0]


class Machine:
    """One machine."""

    def __init__(self, name, process):
        self.name = name
        self.process = process
        self.pid = _inside(process)
        self._opened = []

    def open(self, script):
        """Start a script without waiting for its end; its output is text."""
        quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._opened.append(subprocess.Popen(self.command(script), stdout=subprocess.PIPE, text=True, **quiet))
        return self._opened[-1]

    def end(self):
        """Wait for what was started, once the machine is gone."""
        for process in self._opened:
            process.wait()
            process.stdout.close()

    def command(self, script):
        """Return the command that runs a script of a shell here, as root in its home."""
        enter = ["nsenter", f"--target={self.pid}", "--all"]
        environment = ["env", "-i", "--chdir=/root", f"PATH={PATH}", "HOME=/root", "USER=root", "LANG=C.UTF-8"]
        return [*enter, *environment, "bash", "-euo", "pipefail", "-c", script]

    def run(self, script, *, check=0, timeout=90):
        """Run a script to its end, and return what it wrote."""
        done = subprocess.run(
            self.command(script), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=timeout
        )
        assert done.returncode == check, (
            f"on {self.name}: {script}\nended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
            f"\n{self.logs() if check == 0 else ''}"
        )
        return done

    def logs(self):
        """Return the ends of what services have written here."""
        script = "tail -n 20 /var/log/ado-* /var/log/nginx/error.log"
        done = subprocess.run(self.command(script), capture_output=True, text=True, check=False, timeout=60)
        return done.stdout[-6000:]

    def write(self, path, text):
        """Write a private file."""
        script = f"umask 077; cat >{shlex.quote(path)}"
        subprocess.run(self.command(script), input=text, text=True, check=True, timeout=60)

    def read(self, path):
        return self.run(f"cat {shlex.quote(path)}").stdout

    def give(self, path, other):
        """Bring a file of /root or elsewhere to another machine's /root."""
        other.write(Path(path).name, self.read(path))


class Network:
    """Machines on one switch; 10.77.0.0/24, the number of each in the order of their names."""

    def __init__(self, directory, names):
        self._processes = []
        self.machines = {}
        ado = Path(directory) / "opt-ado"
        install(ado)
        values = {
            "python": sys.base_prefix, "deps": sysconfig.get_path("purelib"), "ado": ado, "root": ROOT,
            "interpreter": _interpreter(),
        }  # fmt: skip
        quoted = {name: shlex.quote(str(value)) for name, value in values.items()}
        try:
            switch = self._boot(SWITCH)
            booting = {name: self._spawn(BOOT.format(name=name, **quoted)) for name in names}
            self.machines = {name: Machine(name, self._booted(process)) for name, process in booting.items()}
            for number, machine in enumerate(self.machines.values(), start=1):
                self._plug(_inside(switch), machine, number)
            self.machines["server"].run(POSTGRES)
        except BaseException:
            self.close()
            raise

    def _spawn(self, script):
        self._processes.append(_start(script))
        return self._processes[-1]

    def _boot(self, script):
        return self._booted(self._spawn(script))

    @staticmethod
    def _booted(process):
        line = process.stdout.readline()
        assert line in (b"booted\n", b"ready\n"), line + process.stdout.read()
        return process

    @staticmethod
    def _plug(switch, machine, number):
        cable = f"ip link add name port{number} type veth peer name eth0 netns {machine.pid}"
        script = f"{cable} && ip link set port{number} master switch && ip link set port{number} up"
        subprocess.run(["nsenter", f"--target={switch}", "--net", "sh", "-c", script], check=True, timeout=60)
        machine.run(f"ip address add 10.77.0.{number}/24 dev eth0 && ip link set eth0 up")

    def close(self):
        """Kill the first process of every machine, and with it all others; wait until they are gone."""
        for process in self._processes:
            process.kill()  # unshare, whose child is killed with it
        for process in self._processes:
            process.wait()
            process.stdout.read()  # ends when every process that holds it has ended
            process.stdout.close()
        for machine in self.machines.values():
            machine.end()
