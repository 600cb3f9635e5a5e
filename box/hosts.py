"""Hosts that are namespaces of this machine: each has a name, a network address and an sshd of its own.

They share the machine's files, processes and kernel; /etc/hosts names all of them. They are on one bridge, on which the
machine has an address as well, and go with the processes that hold them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

PORT = 22
_DEADLINE_S = 30.0
_ROOM = {"gc_thresh2": 1 << 16, "gc_thresh3": 1 << 17}
"""Neighbours that the kernel has room for (arp(7)), of all hosts together: by default 1024, where each of many real
hosts has a kernel, and so many of its own."""


class Box:
    """The hosts "node1", "node2", ..., and others by name, while they are there.

    `config` is a file for `ssh -F`, by which they are reached as root with a key of the box's own. Host N has the
    address 10.78.0.N, the machine 10.78.255.254; a second box has 10.79, and so on. `ahead_s` says by how much the
    CLOCK_MONOTONIC of some of them is ahead of the machine's.
    """

    def __init__(
        self, directory: Path, names: Sequence[str], ahead_s: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self.directory, self.names, self.ahead_s = directory, tuple(names), ahead_s
        which = next(n for n in range(100) if not Path(f"/sys/class/net/pliantbox{n}").exists())
        self.bridge, self.network = f"pliantbox{which}", f"10.{78 + which}"
        self.addresses: Mapping[str, str] = {name: f"{self.network}.0.{n}" for n, name in enumerate(self.names, 1)}
        self.config = directory / "ssh_config"
        self.holders: dict[str, subprocess.Popen[bytes]] = {}
        self.daemons: dict[str, list[subprocess.Popen[bytes]]] = {name: [] for name in self.names}
        self.bound: dict[str, list[tuple[Path, str]]] = {}
        """What a host shows at other places, beside /etc/hosts."""
        self._bridged = False
        self._room: dict[Path, str] = {}

    def inside(self, name: str, argv: Sequence[str]) -> list[str]:
        """The same command, run on a host."""
        own = ["--time"] if name in self.ahead_s else []
        return ["nsenter", f"--target={self.holders[name].pid}", "--net", "--uts", "--mount", *own, "--", *argv]

    def run(self, name: str, argv: Sequence[str], *, timeout_s: float = _DEADLINE_S) -> str:
        """Run a command on a host to its end; what it prints. CalledProcessError, TimeoutExpired."""
        done = subprocess.run(
            self.inside(name, argv), check=True, timeout=timeout_s, stdin=subprocess.DEVNULL, capture_output=True
        )
        return done.stdout.decode()

    def start(self, name: str, argv: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        """Start a daemon on a host, in the foreground of its own session; what it says is in `log`."""
        with (self.directory / f"{name}-{log}.log").open("ab") as file:
            process = subprocess.Popen(
                self.inside(name, argv), stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
            )
        self.daemons[name].append(process)
        return process

    def up(self) -> None:
        """Make all hosts and start their sshds."""
        needs("/usr/sbin/sshd", "ssh-keygen", "nsenter", "ip")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        self._keys()
        self._bridged = True
        for name, most in _ROOM.items():
            file = Path("/proc/sys/net/ipv4/neigh/default", name)
            self._room[file] = file.read_text()
            file.write_text(str(max(most, int(self._room[file]))))
        _ip(
            f"link add {self.bridge} type bridge",
            f"addr add {self.network}.255.254/16 dev {self.bridge}",
            f"link set {self.bridge} up",
        )
        for name in self.names:
            self.begin(name)
        for name in self.names:
            self.answers(name)

    def begin(self, name: str) -> None:
        """Switch a host on, for the first time or again; its sshd answers a moment later."""
        own = ["--time", f"--monotonic={self.ahead_s[name]}"] if name in self.ahead_s else []
        self.holders[name] = subprocess.Popen(
            ["unshare", "--net", "--uts", "--mount", "--propagation", "slave", *own, "--", "sleep", "infinity"],
            start_new_session=True,
        )
        number, pid = self.names.index(name) + 1, self.holders[name].pid
        until(partial(_holds, pid), name)
        _ip(
            f"link add {self.bridge}-{number} type veth peer name eth0 address {self._mac(name)} netns {pid}",
            f"link set {self.bridge}-{number} master {self.bridge} up",
        )
        self.run(name, ["hostname", name])
        self.run(name, ["mount", "--bind", str(self.directory / "hosts"), "/etc/hosts"])
        if (own_settings := Path("/root/.bashrc")).exists():  # what this machine's root wants is no matter of a host's
            self.run(name, ["mount", "--bind", "/dev/null", str(own_settings)])
        for what, where in self.bound.get(name, ()):
            self.run(name, ["mount", "--bind", str(what), where])
        self.run(name, ["ip", "link", "set", "lo", "up"])
        self.run(name, ["ip", "addr", "add", f"{self.addresses[name]}/16", "dev", "eth0"])
        self.run(name, ["ip", "link", "set", "eth0", "up"])
        self.start_sshd(name)

    def _mac(self, name: str) -> str:
        """A host's address on the bridge. The same each time, as that of a real host: others remember it for longer
        than a host takes to be back."""
        return f"02:00:{int(self.network.partition('.')[2]):02x}:00:00:{self.names.index(name) + 1:02x}"

    def answers(self, name: str) -> None:
        """Wait until the sshd of a host answers."""
        until(partial(_answers, self.addresses[name]), f"the sshd of {name}")

    def link(self, name: str, state: str) -> None:
        """Unplug a host's cable, or plug it in again: "down" or "up"."""
        _ip(f"link set {self.bridge}-{self.names.index(name) + 1} {state}")

    def start_sshd(self, name: str) -> None:
        """Start the sshd of a host."""
        Path("/run/sshd").mkdir(exist_ok=True)
        self.start(name, ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.directory / "sshd_config")], "sshd")

    def end(self, name: str) -> None:
        """A host is switched off: its network goes first, then everything that runs in its namespaces."""
        number = self.names.index(name) + 1
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip(f"link del {self.bridge}-{number}")
        own = Path(f"/proc/{self.holders[name].pid}/ns/uts")
        with contextlib.suppress(OSError):
            namespace = str(own.readlink())
            deadline = time.monotonic() + _DEADLINE_S
            while (left := _in_namespace(namespace) - {self.holders[name].pid}) and time.monotonic() < deadline:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)
        for process in (*self.daemons[name], self.holders[name]):
            process.kill()
            process.wait()
        self.daemons[name] = []

    def down(self) -> None:
        """Remove all of it."""
        for name in list(self.holders):
            self.end(name)
        self.holders.clear()
        if self._bridged:
            self._bridged = False
            for file, before in self._room.items():
                file.write_text(before)
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(f"link del {self.bridge}")

    def _keys(self) -> None:
        for name in ("host_key", "key"):
            if not (self.directory / name).exists():
                command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / name)]
                subprocess.run(command, check=True, timeout=_DEADLINE_S)
        lines = [f"{address} {name}" for name, address in self.addresses.items()]
        (self.directory / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
        (self.directory / "authorized_keys").write_text((self.directory / "key.pub").read_text())
        (self.directory / "sshd_config").write_text(
            f"Port {PORT}\nHostKey {self.directory}/host_key\nPidFile none\nPasswordAuthentication no\n"
            f"AuthorizedKeysFile {self.directory}/authorized_keys .ssh/authorized_keys\n"
            "StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"
        )
        host_key = (self.directory / "host_key.pub").read_text().strip()
        known = [f"{name},{address} {host_key}\n" for name, address in self.addresses.items()]
        (self.directory / "known_hosts").write_text("".join(known))
        own = [
            f"Host {name}\n  HostName {address}\n  HostKeyAlias {name}\n" for name, address in self.addresses.items()
        ]
        (self.directory / "ssh_config").write_text(
            "".join(own)
            + f"Host *\n  User root\n  Port {PORT}\n  IdentityFile {self.directory}/key\n"
            + f"  UserKnownHostsFile {self.directory}/known_hosts\n  StrictHostKeyChecking yes\n"
            # What is tried first by default takes 80 ms of CPU.
            + "  KexAlgorithms curve25519-sha256\n"
        )


@contextlib.contextmanager
def box(directory: Path, names: Sequence[str], ahead_s: Mapping[str, int] = MappingProxyType({})) -> Iterator[Box]:
    """Hosts that are there during the block; see `Box`."""
    hosts = Box(directory, names, ahead_s)
    try:
        hosts.up()
        yield hosts
    finally:
        hosts.down()


def needs(*programs: str) -> None:
    """RuntimeError if any of the programs is not installed."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    if missing := [program for program in programs if shutil.which(program, path=path) is None]:
        raise RuntimeError(f"not installed: {', '.join(missing)}; `scripts/setup tests` installs what a box needs")


def _ip(*lines: str) -> None:
    subprocess.run(
        ["ip", "-batch", "-"],
        input="\n".join(lines) + "\n",
        text=True,
        check=True,
        timeout=_DEADLINE_S,
        capture_output=True,
    )


def _in_namespace(namespace: str) -> set[int]:
    """The processes in a UTS namespace: "uts:[...]"."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str((entry / "ns/uts").readlink()) == namespace:
                found.add(int(entry.name))
    return found


def _holds(pid: int) -> bool:
    """Whether the process that holds a host's namespaces is in them."""
    return Path(f"/proc/{pid}/comm").read_text().strip() == "sleep"


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((address, PORT), 1) as connection:
        return connection.recv(4) == b"SSH-"
    return False


def until(there: Callable[[], object], what: str) -> None:
    """Wait until something is so; TimeoutError."""
    deadline = time.monotonic() + _DEADLINE_S
    while not there():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} does not begin")
        time.sleep(0.01)
