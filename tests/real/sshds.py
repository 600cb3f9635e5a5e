"""Hosts that are reached by ssh: real sshds on addresses of this machine's own, and what ssh reads of them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PORT = 2222


class Sshds:
    """The hosts node1, node2, ...: `config` is for ssh -F; each has a process of its own, by its name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.config = directory / "config"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.known = directory / "known_hosts"
        for name in ("host_key", "key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True)
        (directory / "authorized_keys").write_text((directory / "key.pub").read_text())
        self.known.write_text("")
        self.config.write_text("")

    def start(self, number: int, *lines: str) -> str:
        """Start the sshd of node NUMBER, with more lines of its configuration; its name."""
        name, address = f"node{number}", f"127.0.77.{number}"
        config = self.directory / f"{name}.sshd"
        settings = (
            *lines,  # the first that is said of something holds
            f"ListenAddress {address}:{PORT}",
            f"HostKey {self.directory}/host_key",
            f"AuthorizedKeysFile {self.directory}/authorized_keys",
            "PidFile none",
            "PasswordAuthentication no",
            "StrictModes no",
            "UsePAM no",
        )
        config.write_text("\n".join(settings) + "\n")
        Path("/run/sshd").mkdir(exist_ok=True)
        self.processes[name] = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-f", str(config), "-E", str(self.directory / f"{name}.log")],
            start_new_session=True,
        )
        key = (self.directory / "host_key.pub").read_text()
        with self.known.open("a") as file:
            file.write(f"[{address}]:{PORT} {key}")
        self.configure(name, address)
        _answers(address)
        return name

    def configure(self, name: str, address: str, *lines: str) -> None:
        """Say how ssh reaches a host."""
        settings = (
            *lines,
            f"HostName {address}",
            f"Port {PORT}",
            "User root",
            f"IdentityFile {self.directory}/key",
            f"UserKnownHostsFile {self.known}",
        )
        with self.config.open("a") as file:
            file.write(f"Host {name}\n" + "".join(f"  {line}\n" for line in settings))

    def stop(self, name: str) -> None:
        """End an sshd and its connections, and nothing else that runs on its host: a cable that is cut."""
        process = self.processes.pop(name)
        found = subprocess.run(["pgrep", "--parent", str(process.pid)], capture_output=True, text=True)
        for pid in (process.pid, *map(int, found.stdout.split())):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _answers(address: str) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            with socket.create_connection((address, PORT), 5) as connection:
                assert connection.recv(4) == b"SSH-"
                return
        except ConnectionRefusedError:
            assert time.monotonic() < until, f"the sshd on {address} does not begin"
            time.sleep(0.02)


@contextlib.contextmanager
def sshds(directory: Path) -> Iterator[Sshds]:
    """Hosts that are ended with the block."""
    directory.chmod(0o700)
    hosts = Sshds(directory)
    try:
        yield hosts
    finally:
        for name in list(hosts.processes):
            hosts.stop(name)
