"""One node in a test script, with the methods of a machine in the NixOS test driver.

Commands are texts for a shell (`sh -c` in the node, as root), since that is what their author wrote. Times are in
seconds; a deadline that is not given is 900 s.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pliant.cluster.cluster import Cluster
from pliant.cluster.steps import execute
from pliant.composition.model import Node
from pliant.errors import PliantError
from pliant.platforms.interface import CommandFailed, environment

TIMEOUT_S = 900.0
_RETRY_S = 0.5
_TIMED_OUT = 124
"""Exit status of a command that did not end in time, as that of timeout(1)."""
_FOR_EVER_S = 1e7
_OPEN = """
import socket, sys
for address in sys.argv[2:]:
    try:
        socket.create_connection((address, int(sys.argv[1])), 2).close()
        sys.exit(0)
    except OSError as error:
        said = error
sys.exit(f"{sys.argv[2]}: {said}")
"""
"""A program that tells whether a port is open at one of some addresses: nodes need not have any for that."""
_UNPACK = """
set -e
target=$2
[ ! -d "$target" ] || target=$target/$1
above=$(dirname -- "$target")
mkdir -p -- "$above"
new=$(mktemp -d -- "$above/.pliant-XXXXXX")
trap 'rm -rf -- "$new"' EXIT
tar --directory "$new" --extract --no-same-owner
cp -a --no-target-directory -- "$new/$1" "$target"
"""
"""Unpacks what was packed under the name $1 as $2, or into $2 where that is a directory, as `cp -r` does."""

_Outcome = tuple[int, str, str]


class Failed(PliantError):
    """What a script asserts is not so."""


class Driven:
    """A node, driven by a script."""

    def __init__(self, cluster: Cluster, node: Node, said: Callable[[str], None]) -> None:
        self._cluster, self._node, self._said = cluster, node, said
        self.name, self.role, self.address = node.name, node.role, node.address

    def __repr__(self) -> str:
        return f"<node {self.name}>"

    def log(self, text: str) -> None:
        """Say something of this node on standard error."""
        self._said(f"{self.name}: {text}")

    # Commands

    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: float | None = TIMEOUT_S
    ) -> tuple[int, str]:
        """Run a command and return its exit status (124 if it did not end in time) and its standard output.

        `check_return` and `check_output` are NixOS's, where they spare waiting; here both are always there.
        """
        status, out, _ = self._run(command, timeout)
        return status, out

    def succeed(self, *commands: str, timeout: float | None = TIMEOUT_S) -> str:
        """Run commands that must succeed, and return what they print. Raises Failed."""
        return "".join(self._must(command, timeout, succeed=True) for command in commands)

    def fail(self, *commands: str, timeout: float | None = TIMEOUT_S) -> str:
        """Run commands that must fail, and return what they print. Raises Failed."""
        return "".join(self._must(command, timeout, succeed=False) for command in commands)

    def wait_until_succeeds(self, command: str, timeout: float = TIMEOUT_S) -> str:
        """Run a command again and again until it succeeds, and return what it prints. Raises Failed."""
        return self._until(f"wait until it succeeds: {command}", timeout, lambda left: self._run(command, left), True)

    def wait_until_fails(self, command: str, timeout: float = TIMEOUT_S) -> str:
        """Run a command again and again until it fails, and return what it prints. Raises Failed."""
        return self._until(f"wait until it fails: {command}", timeout, lambda left: self._run(command, left), False)

    def wait_for_file(self, filename: str, timeout: float = TIMEOUT_S) -> None:
        """Wait until a file is there. Raises Failed."""
        test = f"test -e {shlex.quote(filename)}"
        self._until(f"wait for file {filename}", timeout, lambda left: self._run(test, left), True)

    def wait_for_open_port(self, port: int, addr: str = "localhost", timeout: float = TIMEOUT_S) -> None:
        """Wait until something listens on a TCP port of the node, or of `addr` as the node sees it. Raises Failed."""
        self._until(f"wait for port {port} of {addr}", timeout, lambda left: self._port(addr, port, left), True)

    def wait_for_closed_port(self, port: int, addr: str = "localhost", timeout: float = TIMEOUT_S) -> None:
        """Wait until nothing listens on a TCP port. Raises Failed."""
        what = f"wait until port {port} of {addr} is closed"
        self._until(what, timeout, lambda left: self._port(addr, port, left), False)

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: float = TIMEOUT_S) -> None:
        """Wait until the step of that name, with or without ".service", is ready on this node.

        A name that ends in ".target" is systemd's: it is reached while the node is up. Raises Failed.
        """
        if unit.endswith(".target"):
            self._until(f"wait for {unit}", timeout, lambda left: self._run("true", left), True)
            return
        steps = {step.name: step for step in self._cluster.composition.steps if self.name in step.nodes}
        step = steps.get(unit.removesuffix(".service"))
        if step is None:
            raise Failed(f'{self.name} has no step "{unit}"; its steps are {", ".join(steps)}')
        ready = step.ready.get(self.name)
        if ready is None:  # it was done when the node was started: there is nothing to ask
            self._until(f"wait for {unit}", timeout, lambda left: self._run("true", left), True)
            return

        def ask(left: float) -> _Outcome:
            try:
                execute(self._cluster, self.name, ready, left)
            except CommandFailed as error:
                return 1, "", str(error)
            return 0, "", ""

        self._until(f"wait for {unit}", timeout, ask, True)

    def sleep(self, secs: float) -> None:
        """Wait."""
        time.sleep(secs)

    # Files

    def copy_to(self, source: str | Path, target: str) -> None:
        """Copy a file or a directory of this machine into the node, as `cp -r` would. Raises Failed."""
        origin = Path(source).absolute()
        if not origin.exists():
            raise Failed(f"{origin} is not there, so it cannot be copied to {self.name}")
        self.log(f"copy {origin} to {target}")
        self._must_be_up()
        with tempfile.TemporaryFile() as packed:
            argv = ["tar", "--directory", str(origin.parent), "--create", "--", origin.name]
            _checked(subprocess.Popen(argv, stdout=packed, stderr=subprocess.PIPE, env=environment()), argv, "")
            packed.seek(0)
            self._start(["sh", "-c", _UNPACK, "sh", origin.name, target], stdin=packed)

    def copy_from(self, source: str, target: str | Path = ".") -> None:
        """Copy a file or a directory of the node to this machine, as `cp -r` would. Raises Failed."""
        self.log(f"copy {source} from here to {target}")
        self._must_be_up()
        origin = PurePosixPath(source)
        with tempfile.TemporaryFile() as packed:
            self._start(["tar", "--directory", str(origin.parent), "--create", "--", origin.name], stdout=packed)
            packed.seek(0)
            argv = ["sh", "-c", _UNPACK, "sh", origin.name, str(Path(target).absolute())]
            _checked(subprocess.Popen(argv, stdin=packed, stderr=subprocess.PIPE, env=environment()), argv, "")

    copy_from_host = copy_to
    copy_from_host_via_shell = copy_to

    def copy_from_vm(self, source: str, target_dir: str = "") -> None:
        """NixOS's name for copying something of the node into a directory of this machine, made if it is not there."""
        Path(target_dir or ".").mkdir(parents=True, exist_ok=True)
        self.copy_from(source, target_dir or ".")

    # Power and network

    @property
    def is_up(self) -> bool:
        """Whether the node has power."""
        self._cluster.deployment.refresh()
        return self.name not in self._cluster.deployment.down

    def crash(self) -> None:
        """The node loses its power: its link, its processes, and what its disk had not yet been given are gone."""
        self.log("crash")
        self._cluster.crash(self.name)

    def shutdown(self) -> None:
        """Switch the node off in order."""
        self.log("shut down")
        self._cluster.shut_down(self.name)

    def start(self, allow_reboot: bool = False) -> None:
        """Switch the node on, and start its daemons and mounts; nothing if it is on. `allow_reboot` is NixOS's."""
        if not self.is_up:
            self._cluster.start(self.name, said=lambda step: self.log(f"start: {step}"))

    def block(self) -> None:
        """Cut the node off the network: its link goes down."""
        self.log("block")
        self._cluster.block(self.name)

    def unblock(self) -> None:
        """Plug the node in again."""
        self.log("unblock")
        self._cluster.unblock(self.name)

    # How it is done

    def _must_be_up(self) -> None:
        if not self.is_up:
            raise Failed(f"{self.name} is down; start it first")

    def _run(self, command: str, timeout: float | None) -> _Outcome:
        return self._ask(["sh", "-c", command], timeout)

    def _ask(self, argv: Sequence[str], timeout: float | None) -> _Outcome:
        """Exit status, standard output and standard error of a command in the node."""
        self._must_be_up()
        try:
            done = self._cluster.execute(self.name, argv, timeout_s=_FOR_EVER_S if timeout is None else timeout)
        except CommandFailed as error:
            status = _TIMED_OUT if error.exit_status is None else error.exit_status
            return status, error.stdout, error.stderr or "it did not end in time"
        return done.exit_status, done.stdout, done.stderr

    def _must(self, command: str, timeout: float | None, *, succeed: bool) -> str:
        self.log(f"must {'succeed' if succeed else 'fail'}: {_short(command)}")
        status, out, err = self._run(command, timeout)
        if (status == 0) != succeed:
            how = f"failed with status {status}" if succeed else "succeeded"
            raise Failed(f"{self.name}: `{_short(command)}` {how}{_said(out, err)}")
        return out

    def _port(self, addr: str, port: int, timeout: float) -> _Outcome:
        """Whether a port is open; a daemon may listen on the node's own address alone."""
        where = (addr, self.address) if addr == "localhost" else (addr,)
        return self._ask([sys.executable, "-I", "-S", "-c", _OPEN, str(port), *where], timeout)

    def _until(self, what: str, timeout: float, ask: Callable[[float], _Outcome], succeed: bool) -> str:
        """Ask until the answer is what it should be; what was printed with it. Failed at the deadline."""
        self.log(_short(what))
        began = time.monotonic()
        until = began + timeout
        while True:
            status, out, err = ask(max(1.0, until - time.monotonic()))
            if (status == 0) == succeed:
                if (took := time.monotonic() - began) > 1:
                    self.log(f"{_short(what)}: after {took:.1f} s")
                return out
            if time.monotonic() + _RETRY_S > until:
                raise Failed(f"{self.name}: {_short(what)}: not within {timeout:g} s{_said(out, err)}")
            time.sleep(_RETRY_S)

    def _start(self, argv: list[str], **streams: Any) -> None:
        """Run a command in the node to its end with files for its input or output. Raises Failed."""
        process = self._cluster.deployment.start(self.name, argv, stderr=subprocess.PIPE, **streams)
        _checked(process, argv, f"{self.name}: ")


def _checked(process: subprocess.Popen[bytes], argv: Sequence[str], where: str) -> None:
    """Wait for a copy to end; Failed if it does not, or not well."""
    try:
        _, err = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise Failed(f"{where}`{shlex.join(argv)}` did not end within {TIMEOUT_S:g} s") from None
    if process.returncode != 0:
        raise Failed(f"{where}it cannot be copied{_said('', err.decode(errors='replace'))}")


def _short(command: str) -> str:
    """A command on one line."""
    lines = command.strip().splitlines() or [""]
    return lines[0] + (" ..." if len(lines) > 1 else "")


def _said(out: str, err: str) -> str:
    """The end of what a command said, to be appended to a sentence."""
    said = (err.strip() or out.strip()).splitlines()[-3:]
    return f": {' | '.join(line.strip() for line in said)}" if said else ""
