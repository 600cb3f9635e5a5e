"""What hosts really deliver, measured before a study's first trial: a promise that is not kept makes no folding curve.

Every host is asked for all that it has at the same moment, of one resource after another: that is what was promised,
and a machine that can keep one promise at a time may not keep all of them.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from pliant.errors import FatalError
from pliant.machine import calibrate
from pliant.machine.network import PAYLOAD
from pliant.platforms.interface import Deployment
from pliant.units import format_bit_rate, format_byte_rate

TOLERANCE = 0.05
"""The part of a promise by which what is delivered may differ from it."""
ATTEMPTS = 3
"""How often a resource is measured before a difference is believed: others may have been busy for a moment."""
_LENGTH_S = 1.0
_NIC_BITS = 40e6
"""... or as long as this takes to pass, 5 s at most: of a slow stream single drops would show."""
LATE_S = 0.5
"""For how much longer a process keeps a host's CPU busy than that is looked at from outside, which may begin late."""
_START_S = 0.3
"""Time for the programs to start, and for each node as much again as starting one takes beside the others."""
_START_NODE_S = 0.05
_PATIENCE = (1, 3, 9, 27)
"""... times this, if some started too late."""
_ANY_DISK_BYTE_S = 400e6
"""The rate of a disk of which nothing is known, by which requests are chosen."""
_FILE = ".pliant-calibration"
_STREAMS: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}


@dataclass(frozen=True)
class Delivered:
    """What hosts delivered of one resource ("cpu", "nic", "disk_write", "disk_read"), in `promised`'s unit.

    `hosts` maps a host, or "host1 to host2" for a stream between two, to what was measured.
    """

    resource: str
    promised: float
    hosts: Mapping[str, float]

    @property
    def off(self) -> dict[str, float]:
        """Where it differs by more than TOLERANCE: the difference as a part of the promise, negative if it is less."""
        parts = {host: got / self.promised - 1 for host, got in self.hosts.items()}
        return {host: part for host, part in parts.items() if abs(part) > TOLERANCE}

    @property
    def sentence(self) -> str:
        """In words: "NIC 199 to 201 Mbit/s of 200 Mbit/s"."""
        low, high = min(self.hosts.values()), max(self.hosts.values())
        name, show, _ = _WORDS[self.resource]
        return f"{name} {show(low)} to {show(high)} of {show(self.promised)}"

    @property
    def range(self) -> str:
        """In words, of what nobody promised: "NIC 941 Mbit/s", "CPU 1.00 to 1.02"."""
        name, show, _ = _WORDS[self.resource]
        ends = dict.fromkeys(show(each) for each in (min(self.hosts.values()), max(self.hosts.values())))
        return f"{name.rstrip(',')} {' to '.join(ends)}"

    @property
    def unlike(self) -> str:
        """In words, which host differs most from what is usual."""
        name, show, _ = _WORDS[self.resource]
        host = max(self.off, key=lambda each: abs(self.off[each]))
        return f"{name.rstrip(',')} of {host} is {show(self.hosts[host])}, where {show(self.promised)} is usual"

    @property
    def complaint(self) -> str:
        """What is wrong and what to do about it; for one that is off."""
        name, show, key = _WORDS[self.resource]
        host, part = max(self.off.items(), key=lambda item: abs(item[1]))
        than = f"{abs(part):.0%} {'less' if part < 0 else 'more'} than promised".replace("%", " %")
        others = f", and {len(self.off) - 1} more like it" if len(self.off) > 1 else ""
        remedy = (
            f"end what else runs on this machine, or write less for platform.host.{key}"
            if part < 0
            else "this kernel does not hold the limit"
        )
        return f"{name} of {host}: {show(self.hosts[host])} of {show(self.promised)}, {than}{others}; {remedy}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"hosts": dict(self.hosts)}


def _cores(value: float) -> str:
    return f"{value:.3g} cores"


def _bits(value: float) -> str:
    return format_bit_rate(float(f"{value:.3g}"))


def _bytes(value: float) -> str:
    return format_byte_rate(float(f"{value:.3g}"))


_WORDS: dict[str, tuple[str, Callable[[float], str], str]] = {
    "cpu": ("CPU", _cores, "cores"),
    "nic": ("NIC", _bits, "nic"),
    "disk_write": ("disk, writing,", _bytes, "disk"),
    "disk_read": ("disk, reading,", _bytes, "disk"),
    "work": ("work of a CPU", lambda value: f"{value:.3g} rounds/s", "cores"),
}


def calibrate_hosts(
    deployment: Deployment, disks: Mapping[str, str], said: Callable[[str], None] = lambda what: None
) -> list[Delivered]:
    """Measure every host of a deployment, by one of its nodes, and leave its limits off.

    `disks` maps the nodes that have a disk to where it is mounted; one on each host measures the host's. Takes some ten
    seconds. Raises FatalError, naming the limit, if a host delivers more or less than its promise by more than
    TOLERANCE, ATTEMPTS times.
    """
    nodes = _one_of_each_host(deployment, deployment.nodes)
    disks = {node: disks[node] for node in _one_of_each_host(deployment, disks)}
    measures: dict[str, Callable[[], Delivered]] = {"cpu": lambda: _cpu(deployment, nodes)}
    if len(nodes) > 1:
        measures["nic"] = lambda: _nic(deployment, nodes)
    if disks:
        measures["disk_write"] = lambda: _disk(deployment, disks, "write")
        measures["disk_read"] = lambda: _disk(deployment, disks, "read")
    found = []
    try:
        for resource, measure in measures.items():
            said(f"calibrate: {_WORDS[resource][0].rstrip(',')}")
            deployment.limit([resource.partition("_")[0]])
            for _ in range(ATTEMPTS):
                delivered = measure()
                if not delivered.off:
                    break
            else:
                raise FatalError(f"the emulation does not keep its promise: {delivered.complaint}")
            found.append(delivered)
    finally:
        deployment.limit(False)
        for node, mount in disks.items():
            deployment.execute(node, ["rm", "-f", f"{mount}/{_FILE}"], timeout_s=60)
    return found


def survey_hosts(
    deployment: Deployment, disks: Mapping[str, str], said: Callable[[str], None] = lambda what: None
) -> list[Delivered]:
    """Measure hosts that are what they are, by one node of each, all at once: what each delivers, and as `promised`
    what is usual, the median. `disks` as in `calibrate_hosts`. Raises FatalError if that cannot be measured."""
    nodes = _one_of_each_host(deployment, deployment.nodes)
    disks = {node: disks[node] for node in _one_of_each_host(deployment, disks)}
    measures: dict[str, Callable[[], Mapping[str, float]]] = {
        "work": lambda: _by_host(deployment, _together(deployment, {node: ["work"] for node in nodes}))
    }
    if len(nodes) > 1:
        measures["nic"] = lambda: _streams(deployment, nodes, _LENGTH_S)
    for what in ("write", "read") if disks else ():
        measures[f"disk_{what}"] = lambda what=what: _files(deployment, disks, what, _ANY_DISK_BYTE_S)  # type: ignore[misc]
    found = []
    try:
        for resource, measure in measures.items():
            said(f"look at hosts: {_WORDS[resource][0].rstrip(',')}")
            hosts = measure()
            found.append(Delivered(resource, median(hosts.values()), hosts))
    finally:
        for node, mount in disks.items():
            deployment.execute(node, ["rm", "-f", f"{mount}/{_FILE}"], timeout_s=60)
    return found


def _cpu(deployment: Deployment, nodes: Sequence[str]) -> Delivered:
    """What each host used while a process on it never waits: the daemons of its nodes take their part of it as well."""
    rates: dict[str, float] = {}

    def watch(at: float) -> None:
        time.sleep(max(0.0, at + calibrate.WARM_UP_S - time.time()))
        before = deployment.host_cpu_at()
        time.sleep(_LENGTH_S)
        for host, (at_s, used_s) in deployment.host_cpu_at().items():
            rates[host] = (used_s - before[host][1]) / (at_s - before[host][0])

    # They go on for longer than it is looked at: whoever looks may be late.
    _together(deployment, {}, {node: ["cpu"] for node in nodes}, _LENGTH_S + LATE_S, watch)
    hosts = dict.fromkeys(_host(deployment, node) for node in nodes)
    return Delivered("cpu", deployment.figures.cores, {host: rates[host] for host in hosts})


def _nic(deployment: Deployment, nodes: Sequence[str]) -> Delivered:
    """Streams from each host to the next, so that every host sends and receives; not at the same moment, as
    acknowledgements would take their part of what it sends. What arrives is payload; the promise is the wire's rate."""
    length_s = min(5.0, max(_LENGTH_S, _NIC_BITS / deployment.figures.nic_bit_s))
    return Delivered("nic", deployment.figures.nic_bit_s, _streams(deployment, nodes, length_s))


def _streams(deployment: Deployment, nodes: Sequence[str], length_s: float) -> dict[str, float]:
    """What streams from each of the hosts to the next one carry, in bit/s of the wire: those of every second host at a
    time, and that of an odd last one by itself."""
    ring = [*zip(nodes, [*nodes[1:], nodes[0]], strict=True)]
    even = len(ring) // 2 * 2
    streams = {}
    for each in (ring[:even:2], ring[1:even:2], ring[even:]):
        if not each:
            continue
        sending = {sender: ["send", deployment.nodes[receiver].address] for sender, receiver in each}
        got = _together(deployment, {receiver: ["receive"] for _, receiver in each}, sending, length_s)
        for sender, receiver in each:
            between = f"{_host(deployment, sender)} to {_host(deployment, receiver)}"
            streams[between] = got[receiver] / PAYLOAD
    return streams


def _disk(deployment: Deployment, disks: Mapping[str, str], what: str) -> Delivered:
    rate = deployment.figures.disk_byte_s
    return Delivered(f"disk_{what}", rate, _files(deployment, disks, what, rate))


def _files(deployment: Deployment, disks: Mapping[str, str], what: str, rate: float) -> dict[str, float]:
    """What writing or reading a file on a disk of each host gives, in bytes/s, in requests that suit a rate."""
    return _by_host(
        deployment,
        _together(deployment, {node: [what, f"{mount}/{_FILE}", str(rate)] for node, mount in disks.items()}),
    )


def _by_host(deployment: Deployment, nodes: Mapping[str, float]) -> dict[str, float]:
    return {_host(deployment, node): value for node, value in nodes.items()}


def _one_of_each_host(deployment: Deployment, nodes: Iterable[str]) -> list[str]:
    """The first of these nodes on each host that carries any, in their order: together they ask a host for what it has,
    and not for several times that."""
    first: dict[int, str] = {}
    for node in nodes:
        first.setdefault(deployment.placed[node], node)
    return list(first.values())


def _host(deployment: Deployment, node: str) -> str:
    return f"host{deployment.placed[node]}"


def _together(
    deployment: Deployment,
    programs: Mapping[str, Sequence[str]],
    beside: Mapping[str, Sequence[str]] | None = None,
    length_s: float = _LENGTH_S,
    watch: Callable[[float], None] = lambda at: None,
) -> dict[str, float]:
    """What programs of `machine.calibrate` in nodes print, begun at the same moment; those `beside` do not count.

    `watch` is told of the moment beforehand.
    """
    said = said_by(deployment, {**programs, **(beside or {})}, length_s, watch)
    return {node: float(said[node]) for node in programs}


def said_by(
    deployment: Deployment,
    programs: Mapping[str, Sequence[str]],
    length_s: float,
    watch: Callable[[float], None] = lambda at: None,
) -> dict[str, str]:
    """What programs of `machine.calibrate`, one in each of these nodes, print that begin at the same moment.

    The moment is further away each time one of them started too late for it; `watch` is told of it beforehand.
    """
    jobs = list(programs.items())
    for patience in _PATIENCE:
        lead_s = patience * (_START_S + _START_NODE_S * len(jobs))
        said = _printed(deployment, jobs, lead_s, length_s, watch)
        if calibrate.LATE not in said:
            return dict(zip(programs, said, strict=True))
    raise FatalError(
        f"calibration cannot start {len(jobs)} programs within {lead_s:.0f} s: is this machine overloaded?"
    )


def _printed(
    deployment: Deployment,
    jobs: Sequence[tuple[str, Sequence[str]]],
    lead_s: float,
    length_s: float,
    watch: Callable[[float], None],
) -> list[str]:
    """What each of the programs (node, arguments) prints, begun in so many seconds; LATE from one is enough."""
    at = time.time() + lead_s
    running = []
    for node, (what, *rest) in jobs:
        there = repr(at + deployment.ahead_s(node)[0])
        argv = [*deployment.own(node, "calibrate"), what, there, repr(length_s), *rest]
        running.append((node, deployment.start(node, argv, **_STREAMS)))
    failed, said = "", []
    try:
        watch(at)
        until = at + 20 + 10 * length_s
        for node, process in running:
            try:
                out, _ = process.communicate(timeout=max(1.0, until - time.time()))
            except subprocess.TimeoutExpired:
                raise FatalError(f"calibration did not end on {node}: is this machine overloaded?") from None
            said.append(out.decode(errors="replace").strip())
            if process.returncode != 0:
                failed = failed or f"calibration failed on {node}: {said[-1][-300:]}"
    finally:
        for _, process in running:
            if process.poll() is None:
                process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
    if failed and calibrate.LATE not in said:  # who waits for one that was late fails as well
        raise FatalError(failed)
    return said
