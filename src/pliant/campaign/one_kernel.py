"""What so many nodes take of the one kernel that they share: of its tables, of the ports of a bridge, of files. Pure.

Each is a number that a machine has for all, far above what its own processes take, and a few hundred nodes on it are
more than anybody thought of. What is exceeded does not fail: connections stall, or programs end with errors that name
something else. So it is looked at before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pliant.study.model import Study

Ask = Callable[[str], tuple[int | None, int]]
"""The limit of the kernel of a sysctl's name, None where there is none, and how much of it is taken."""

PORTS = 1023
"""Links that a bridge of the kernel takes (net/bridge/br_private.h: BR_PORT_BITS is 10, and 0 is none)."""
NEIGHBOURS = "net.ipv4.neigh.default.gc_thresh"
"""Addresses that are known in all network namespaces together (ip-sysctl.rst): beyond 3 no other is let in, and from 2
on those of the last seconds are all that stay."""
_THREADS = 24
"""Processes and threads that a node has, with room for what enters it: a client of MooseFS is one process of 15."""
_FILES_OF_CLIENT, _FILES_BESIDE = 4, 200
"""Pipes and a connection for each client, of who runs a workload's program in all of them; and what else is open."""


@dataclass(frozen=True)
class Crowd:
    """How many nodes share a kernel, of which clients, and the most links of a bridge."""

    nodes: int
    clients: int
    ports: int

    @property
    def known(self) -> int:
        """Addresses that nodes know of each other: each node one at least, and is known by it."""
        return 2 * self.nodes

    @property
    def talk(self) -> int:
        """... and where all clients talk to all servers, servers to each other, and all to who starts MPI jobs."""
        servers = self.nodes - self.clients
        return servers * (2 * self.clients + servers - 1) + 2 * self.clients


def crowd(study: Study) -> Crowd:
    """That of an emulated study: every host is on one switch, and every node of a host on one bridge."""
    most = max(len(nodes) for placement in study.placements.values() for nodes in placement.hosts)
    return Crowd(len(study.nodes), len(study.composition.clients), max(study.most_hosts, most + 1))


def lacking(crowd: Crowd, ask: Ask, files: int) -> Iterator[str]:
    """What is too little for them, in sentences with the remedy; `files` are those that one process may have open."""
    if crowd.ports > PORTS:
        yield (
            f"a bridge of the kernel takes {PORTS} links, and {crowd.ports} would be on one: take fewer nodes, or fold "
            "them to other ratios"
        )
    most, _ = ask(f"{NEIGHBOURS}3")
    if most is not None and crowd.known >= most:
        yield f"{crowd.nodes} nodes know {crowd.known} addresses at least, and this kernel {most}: {_more(crowd)}"
    for name, each, what in (
        ("kernel.pid_max", _THREADS, "processes and threads"),
        ("kernel.threads-max", _THREADS, "processes and threads"),
        ("user.max_net_namespaces", 1, "network namespaces"),
        ("user.max_mnt_namespaces", 1, "mount namespaces"),
        ("user.max_pid_namespaces", 1, "PID namespaces"),
    ):
        most, _ = ask(name)
        if most is not None and (wanted := each * crowd.nodes) > most:
            yield f"{crowd.nodes} nodes have {wanted} {what}, and this kernel {most}: sysctl -w {name}={2 * wanted}"
    if (wanted := _FILES_OF_CLIENT * crowd.clients + _FILES_BESIDE) > files:
        taken = f"{crowd.clients} clients take {wanted} open files of one process"
        yield f"{taken}, which may have {files}: ulimit -n {wanted}"


def tight(crowd: Crowd, ask: Ask) -> Iterator[str]:
    """What may turn out to be too little for them, in sentences with the remedy."""
    most, _ = ask(f"{NEIGHBOURS}3")
    if most is not None and crowd.known < most < crowd.talk:
        yield (
            f"where all clients talk to all servers, {crowd.nodes} nodes know {crowd.talk} addresses, and this kernel "
            f"{most}; beyond that connections stall: {_more(crowd)}"
        )


def _more(crowd: Crowd) -> str:
    return f"sysctl -w {NEIGHBOURS}2={crowd.talk} {NEIGHBOURS}3={2 * crowd.talk}"
