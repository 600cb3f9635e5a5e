"""What a cluster needs of its hosts, wherever they come from: the seam between what runs a file system and what makes
nodes.

`Platform` begins a deployment, `Deployment` is one: nodes on hosts. Whatever is above this package knows these two and
the records and errors that are named here, and not how a platform does it. Times are in seconds, of CLOCK_MONOTONIC
where they are moments; hosts are numbered from 1.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pliant.machine.cgroup import CgroupError
from pliant.machine.parts import HostFigures, LiveNode, NodeFile, NodeRequest
from pliant.machine.power import PowerError
from pliant.machine.process import (
    NOT_FOUND,
    CommandFailed,
    CommandStopped,
    Completed,
    Watch,
    environment,
    run,
)
from pliant.machine.sampling import EVERY_S
from pliant.machine.teardown import Gone, TeardownError
from pliant.machine.together import Together

__all__ = [
    "EVERY_S",
    "NOT_FOUND",
    "CgroupError",
    "CommandFailed",
    "CommandStopped",
    "Completed",
    "Daemon",
    "Deployment",
    "Gone",
    "HostFigures",
    "LiveNode",
    "NodeFile",
    "NodeRequest",
    "Platform",
    "PowerError",
    "RemoteShell",
    "TeardownError",
    "Together",
    "Traces",
    "Watch",
    "environment",
    "run",
]


@dataclass(frozen=True)
class RemoteShell:
    """How MPI reaches nodes: the program that it calls as it would call ssh, the interface of the switch, on which
    mpiexec runs, the nodes' network (CIDR, or their interface), and the interface that all of them have in it."""

    program: str
    interface: str
    network: str
    node_interface: str = "eth0"


class Daemon(Protocol):
    """A program that was started in a node and left running."""

    @property
    def returncode(self) -> int | Any:
        """How it ended, as `subprocess.Popen` says it; None as long as that is not known."""

    def poll(self) -> int | None:
        """The same, as it is now."""


class Traces(Protocol):
    """What there was of a deployment, to be looked for once it is removed."""

    @property
    def id(self) -> str:
        """The deployment's."""

    @property
    def sentence(self) -> str:
        """What was looked for and not found, in words."""

    def left(self) -> list[str]:
        """What is still there, in words."""


class Deployment(Protocol):
    """Nodes on hosts. What is done to it once it is up may be done by several threads and processes at the same time.

    Limits of CPU, NIC and disk are off until they are switched on; that of memory is always on.
    """

    id: str
    figures: HostFigures
    hosts: int
    nodes: dict[str, LiveNode]
    placed: dict[str, int]
    """Node -> its host."""
    kept_on: list[tuple[int, ...]]
    """The CPUs of each host, while CPU is limited."""
    limits: frozenset[str]
    down: frozenset[str]
    """Nodes without power: nothing can be run in them."""

    # Making it

    def up(
        self, requests: Sequence[NodeRequest], placement: Mapping[str, int], hosts: int, programs: Sequence[str]
    ) -> None:
        """Make the hosts, `hosts` of them where nodes can move later, and the nodes. `programs` are paths of programs
        that nodes must see, wherever they lie, with what is beside them.

        Raises CommandFailed, OSError; what was made until then is there, for `remove`.
        """

    def renew(self, requests: Sequence[NodeRequest], programs: Sequence[str]) -> Gone:
        """Remove the nodes with all that they wrote, and make them anew, where they are now. TeardownError,
        CommandFailed."""

    def remove(self) -> None:
        """Remove everything of it; raises TeardownError."""

    def traces(self) -> Traces:
        """What there is of it now, to be looked for once it is removed."""

    # Changing it

    @property
    def stands(self) -> bool:
        """Whether nodes are machines on which somebody else has deployed the file system: it is used as it is."""

    @property
    def refolds_live(self) -> bool:
        """Whether nodes can move to other hosts while they run."""

    def refold(self, placement: Mapping[str, int]) -> None:
        """Put each node on the host that `placement` names, live: nothing in it restarts."""

    @property
    def limited(self) -> bool:
        """Whether hosts are limited in any way but memory."""

    def limit(self, on: bool | Collection[str]) -> None:
        """Switch all limits on or off, or on those that are named ("cpu", "nic", "disk") and off the others."""

    def refresh(self) -> None:
        """Take notice of what other processes changed."""

    # Nodes as machines

    def crash(self, node: str) -> None:
        """A node loses its power. Raises PowerError if it is down."""

    def shut_down(self, node: str) -> None:
        """Switch a node off in order. Raises PowerError if it is down."""

    def switch_on(self, node: str) -> None:
        """Switch a node on that is down; its daemons are the caller's to start. Raises PowerError if it is up."""

    def block(self, node: str) -> None:
        """Cut a node off the network. Raises PowerError if it is down."""

    def unblock(self, node: str) -> None:
        """Plug a node in again. Raises PowerError if it is down."""

    # Running programs

    def execute(self, node: str, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Completed:
        """Run a command in a node as root; raises CommandFailed at the deadline."""

    def together(
        self,
        runs: Mapping[str, Sequence[str]],
        *,
        timeout_s: float,
        stdin: str = "",
        extra: Mapping[str, str],
        watch: Watch | None = None,
    ) -> Together:
        """Run a command in each of several nodes, all from the same moment on; `extra` goes into their environment."""

    def popen(self, node: str, argv: Sequence[str], log: Path) -> Daemon:
        """Start a command in a node and leave it running, its output in what `log` says."""

    def start(
        self, node: str, argv: Sequence[str], extra: Mapping[str, str] | None = None, **streams: Any
    ) -> subprocess.Popen[bytes]:
        """Start a command in a node, its streams as in `subprocess.Popen`; the caller waits for it and ends it."""

    def own(self, node: str, module: str) -> list[str]:
        """The beginning of a command that runs a program of the machine layer in a node, by its module's name."""

    def ahead_s(self, node: str) -> tuple[float, float]:
        """How far the clocks of a node's host are ahead of this machine's: that of the day, and CLOCK_MONOTONIC."""

    @property
    def remote_shell(self) -> RemoteShell:
        """How MPI reaches the nodes."""

    def in_fabric(self, argv: Sequence[str]) -> list[str]:
        """The same command, run on the switch: outside every node and host, on an address of their network."""

    def end_marked(self, variable: str, value: str) -> None:
        """Kill what runs anywhere in it with this variable of the environment set to that."""

    # Looking at it

    def telemetry(self, out: Path) -> AbstractContextManager[None]:
        """Sample what hosts and nodes use until the end of the block, into a file for `telemetry.samples`."""

    def call_s(self) -> float:
        """The seconds that a system call takes in a node with a kernel of its own; 0 where there is none. Raises
        CommandFailed."""

    def host_cpu_s(self) -> dict[str, float]:
        """CPU seconds that each host ("host1", ...) has used so far."""

    def node_cpu_s(self) -> dict[str, float]:
        """CPU seconds that each node has used since it is where it is: its programs, its own kernel if it has one."""

    def host_cpu_at(self) -> dict[str, tuple[float, float]]:
        """The same, each with the moment at which it was so, of the host's own CLOCK_MONOTONIC: to tell how much is
        used in a second, wherever the host is."""

    def withheld_s(self) -> dict[int, float]:
        """For how long each CPU that hosts are kept on was withheld from them while it was limited."""

    @property
    def period_s(self) -> float:
        """The period of a host's CPU quota."""

    def out_of_memory(self) -> dict[str, int]:
        """How many processes of each node the kernel has killed as its host's memory ran out."""

    def log(self, node: str, name: str) -> Path:
        """The file for what a daemon of a node says, as this machine has it, or will."""

    def log_files(self, node: str, written: Sequence[str]) -> Iterator[Path]:
        """A node's log files as this machine has them: what pliant keeps of its daemons, and what is in the node's own
        files and directories `written`."""

    # The page cache, which one machine has for all of its hosts

    def drop_caches(self, timeout_s: float = 600.0) -> None:
        """Write back and empty it, when no other study on this machine is in a phase. TimeoutError if one is for too
        long."""

    def undisturbed(self, timeout_s: float = 600.0) -> AbstractContextManager[None]:
        """A time in which no other study on this machine empties it. TimeoutError if that is not to be had."""

    # What is kept with it

    @property
    def directory(self) -> Path:
        """A directory of this machine that goes with it."""

    def keep(self, name: str, text: str) -> None:
        """Keep a text with it for other commands, readable by root alone."""

    def kept(self, name: str) -> str | None:
        """A text that was kept with it; None if there is none."""


class Platform(Protocol):
    """Where hosts come from."""

    @property
    def refolds_live(self) -> bool:
        """Whether nodes can move to other hosts while they run; else each placement is a deployment."""

    @property
    def losses(self) -> int:
        """How often a host could not be reached any more, so far; it may be there again."""

    def new(
        self, figures: HostFigures, *, title: str, modules: Sequence[str] = (), keep: bool = False, run: str = ""
    ) -> Deployment:
        """A deployment that is written down, and of which nothing is made yet.

        `modules` are what the kernel must know of file systems; `keep` says that it outlives this process; `run` is
        the directory of the run that it is for. Raises CgroupError, CommandFailed, OSError.
        """
