"""How long many nodes take to come, to change hosts and to go, and what they cost while they do nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pliant.cluster.cluster import uninterrupted
from pliant.machine.deployment import Deployment, HostFigures
from pliant.machine.process import CommandFailed

from .figures import Figure, Rule
from .machine import FAILURES, Bench, available_bytes, bring_up, made, namespace_s, python, request, short

HOST = HostFigures(cores=0.2, nic_bit_s=100e6, disk_byte_s=50e6, memory_bytes=1 << 30)

HOW = """`Deployment.up` and `limit(True)` (limits of CPU and NIC on every host) by the clock; then every node to the
next host by `Deployment.refold`; then `Deployment.remove`. Nodes have no disks. Memory: `MemAvailable` after `echo 3
> /proc/sys/vm/drop_caches`, before and after, by node; hosts, bridges and pliant's own processes are in it.
Namespaces: how long `unshare --net true` takes right after, since the kernel makes none while it removes others."""

TARGETS: dict[tuple[str, int], tuple[Rule, float]] = {
    ("up", 256): ("at most", 2.0),
    ("removed", 256): ("at most", 3.0),
}
_NONE: tuple[Rule, float | None] = ("", None)


def run(bench: Bench) -> None:
    """Figures for a growing number of nodes."""
    with bench.part("scale", HOW):
        for nodes in (8, 64) if bench.quick else (8, 64, 256, 1000):
            shapes = {min(nodes, 16)} | ({nodes} if nodes <= 256 else set())
            for hosts in sorted(shapes):
                _shape(bench, nodes, hosts)


def _shape(bench: Bench, nodes: int, hosts: int) -> None:
    name = f"{nodes} nodes, {hosts} hosts"
    found: dict[str, list[float]] = {}
    failed = ""
    try:
        for number in range(max(3, bench.repeats)):
            bench.quiet()
            bench.say(f"scale: {name}, {number + 1}")
            for what, value in once(nodes, hosts, memory=True).items():
                found.setdefault(what, []).append(value)
    except FAILURES as error:
        failed = short(error)
    for what in ("up", "refolded", "removed", "namespaces gone"):
        rule, target = TARGETS.get((what, nodes), _NONE)
        values = tuple(found.get(what, ()))
        bench.add(Figure("scale", f"{name}: {what}", "s", values, rule, target, failed=failed))
    if nodes >= 64:  # with fewer the noise of a machine's memory is larger than they are
        values = tuple(found.get("memory", ()))
        bench.add(Figure("scale", f"{name}: memory of an idle node", "KiB", values, "at most", 1024.0, failed=failed))


def once(nodes: int, hosts: int, *, memory: bool = False) -> dict[str, float]:
    """Seconds for each step from nothing to nothing; with `memory` also the KiB that an idle node takes."""
    found = {}
    before = available_bytes() if memory else 0
    with made(HOST) as deployment:
        placement = {f"n{n}": (n - 1) % hosts + 1 for n in range(1, nodes + 1)}
        begin = time.monotonic()
        bring_up(deployment, [request(n) for n in range(1, nodes + 1)], placement, hosts)
        found["up"] = time.monotonic() - begin
        if memory:
            found["memory"] = (before - available_bytes()) / nodes / 1024
        if hosts > 1:
            begin = time.monotonic()
            deployment.refold({node: host % hosts + 1 for node, host in placement.items()})
            found["refolded"] = time.monotonic() - begin
        with uninterrupted():
            begin = time.monotonic()
            deployment.remove()
            found["removed"] = time.monotonic() - begin
    found["namespaces gone"] = namespace_s()
    return found


# Refolding nodes that work

_RECEIVE = """
import os, socket
server = socket.create_server(("", 5001))
connection, _ = server.accept()
buffer, total = bytearray(1 << 16), 0
count = os.open("/received", os.O_WRONLY | os.O_CREAT)
while got := connection.recv_into(buffer):
    total += got
    os.pwrite(count, b"%020d" % total, 0)
"""
_SEND = """
import socket, sys, time
while True:
    try:
        connection = socket.create_connection((sys.argv[1], 5001), 5)
        break
    except OSError:
        time.sleep(0.05)
while True:
    connection.sendall(bytes(10000))
    time.sleep(0.05)
"""
_SLEEP = ["sleep", "infinity"]

REFOLD_HOW = """Nodes, each with two processes: a sleeping one, and one end of a TCP stream (10 kB 20 times a second)
to another node, so half as many streams as nodes. All nodes change hosts at once by `Deployment.refold`, between one
node a host, two, eight, and all on one. After each, every stream has to have moved more bytes, on the connection that
it had from the beginning."""


def run_refold(bench: Bench) -> None:
    """How long refolding takes while nodes work."""
    nodes = 64
    with bench.part("refold", REFOLD_HOW), made(HOST) as deployment:
        names = [f"n{number}" for number in range(1, nodes + 1)]
        foldings = {f"{ratio} a host": {n: at // ratio + 1 for at, n in enumerate(names)} for ratio in (1, 2, 8, nodes)}
        apart = foldings["1 a host"]
        bench.quiet()
        bring_up(deployment, [request(number) for number in range(1, nodes + 1)], apart, nodes)
        _start_streams(deployment, names)
        _streams_go_on(deployment, names)
        values: dict[str, list[float]] = {name: [] for name in foldings}
        for _ in range(max(3, bench.repeats)):
            for name in ("2 a host", "8 a host", f"{nodes} a host", "1 a host"):
                begin = time.monotonic()
                deployment.refold(foldings[name])
                values[name].append(time.monotonic() - begin)
                _streams_go_on(deployment, names)
        for name, took in values.items():
            bench.add(Figure("refold", f"{nodes} nodes to {name}, streams go on", "s", tuple(took), "at most", 0.2))


def _start_streams(deployment: Deployment, names: Sequence[str]) -> None:
    log = deployment.journal.directory / "streams.log"
    for receiver, sender in zip(names[::2], names[1::2], strict=True):
        deployment.popen(receiver, python(_RECEIVE), log)
        deployment.popen(sender, python(_SEND, receiver), log)
        for node in (receiver, sender):
            deployment.popen(node, _SLEEP, log)


def _streams_go_on(deployment: Deployment, names: Sequence[str], patience_s: float = 30.0) -> None:
    """Wait until every stream has moved more than it had; raises CommandFailed."""
    before = {name: _received(deployment, name) for name in names[::2]}
    until = time.monotonic() + patience_s
    while still := [name for name, count in before.items() if _received(deployment, name) <= count]:
        if time.monotonic() > until:
            said = (deployment.journal.directory / "streams.log").read_text()
            raise CommandFailed(["streams"], 1, "", said or "a stream does not go on", still[0])
        time.sleep(0.05)


def _received(deployment: Deployment, node: str) -> int:
    """What a receiver has written of itself, read from the node's own files on the machine."""
    files = list((deployment.journal.directory / "nodes" / node).rglob("received"))
    return int(files[0].read_text() or 0) if files else 0
