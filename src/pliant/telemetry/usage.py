"""What each host and node used while a trial ran: read, summed up, and judged. Pure; the numbers are `sampler`'s.

* `read` parses the sampler's text; `usage` says what each host used of what it was promised, in each phase;
* `limiting` says which resource limits a ratio, of which hosts, and which roles used it.

What it cannot see: anything shorter than its windows (half a second; a second for disks), what the kernel does in
nobody's name, and why a node waits when nothing is saturated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pliant.telemetry.samples import MEMORY, RESOURCES, SAMPLED, Floats, Hosts, Promise, Samples, Windows

SATURATED = {"cpu": 0.95, "nic_up": 0.95, "nic_down": 0.95, "disk_read": 0.80, "disk_write": 0.80}
"""Part of the promise from which on a resource is saturated, over `_window_s`.

A host with always more to do gets, measured over 0.6 s on kernel 6.18, 0.97 to 1.03 of its CPU quota and 0.98 to 1.03
of its NIC. blk-throttle lets whole requests pass in slices of 100 ms, so that a disk that is always wanted gets 0.84
to 1.0 of its rate.

For shorter times the kernel tells of CPU and NIC itself. A quota's period in which the quota did not suffice counts as
saturated, however much was used in others: nodes that wait for each other's answers are held back by it without ever
using all of it. So does half of the time to the sample before and to the one after a moment at which packets waited in
the NIC's queue. For a disk nothing tells.
"""
WINDOW_S = 0.5
_DISK_WINDOW_S = 1.0
_DISK_WINDOW_BYTES = 16 * 2**20
"""A use is averaged over such a time around each interval between two samples. A quota is given out in periods of 10
ms or more, a NIC's bucket holds 128 KiB or more, and a disk's requests pass in lumps of up to 8 MiB: the share of a
single interval of 0.2 s is up to a quarter off."""

_ACTIVE = 0.05
"""A phase's active time is from the first to the last interval with this part of its highest rate of traffic ..."""
TRAFFIC_BYTE_S = 20_000.0
"""... of nodes' links and disks, if it is so much or more on average (keep-alives and a file system's initialisation in
the background are less; twenty small files a second are more); else with that part of its highest CPU use."""

FEWEST = 2
"""Intervals between samples that a phase must be as long as to be judged: in less there may be no sample at all, and
what was used would be that of what was before and after it."""


# What was used


@dataclass(frozen=True)
class ResourceUse:
    """`mean` of the promise that was used in the active time; share of it that was `saturated`; roles' shares."""

    mean: float
    saturated: float
    roles: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class HostUsage:
    """What a host used in a phase.

    `resources` has those of RESOURCES that were promised. A role's share of a host's CPU is that of its nodes' groups,
    of the disk that of its nodes' disks. Of the NIC it is that of its nodes' links, which carry what goes to other
    nodes of the host as well. `drops` are packets that the queues of its NIC had no room for.
    """

    resources: Mapping[str, ResourceUse]
    memory_peak_bytes: int
    throttled_s: float
    drops: int


@dataclass(frozen=True)
class PhaseUsage:
    """What hosts used in a phase, of whose `duration_s` they were active for `active_s`."""

    duration_s: float
    active_s: float
    hosts: Mapping[str, HostUsage]


@dataclass(frozen=True)
class Usage:
    """What hosts used in each phase of a trial."""

    phases: Mapping[str, PhaseUsage]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, some 300 bytes for each host and phase."""
        return {name: _phase_to_json(phase) for name, phase in self.phases.items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Usage:
        """What `to_json` wrote."""
        return cls({name: _phase_from_json(phase) for name, phase in content.items()})


def _phase_to_json(phase: PhaseUsage) -> dict[str, Any]:
    hosts = {
        name: {
            **{resource: [use.mean, use.saturated, dict(use.roles)] for resource, use in host.resources.items()},
            "memory_peak_bytes": host.memory_peak_bytes,
            "throttled_s": host.throttled_s,
            "drops": host.drops,
        }
        for name, host in phase.hosts.items()
    }
    return {"duration_s": phase.duration_s, "active_s": phase.active_s, "hosts": hosts}


def _phase_from_json(content: Mapping[str, Any]) -> PhaseUsage:
    hosts = {
        name: HostUsage(
            {resource: ResourceUse(*host[resource]) for resource in RESOURCES if resource in host},
            host["memory_peak_bytes"],
            host["throttled_s"],
            host["drops"],
        )
        for name, host in content["hosts"].items()
    }
    return PhaseUsage(content["duration_s"], content["active_s"], hosts)


def usage(samples: Samples, windows: Windows, placement: Hosts, roles: Mapping[str, str], promise: Promise) -> Usage:
    """What the hosts used of what they were promised; `roles` maps each node to its role.

    A phase without two samples, or shorter than two intervals between samples, has no hosts.
    """
    phases = {}
    for name, (begin_s, end_s) in windows.items():
        long = end_s - begin_s >= FEWEST * samples.every_s
        active = Active.of(samples, placement, begin_s, end_s) if long else None
        hosts = {}
        if active is not None:
            hosts = {host: _host(samples, active, host, nodes, roles, promise) for host, nodes in placement.items()}
        active_s = 0.0 if active is None else active.end_s - active.begin_s
        phases[name] = PhaseUsage(round(end_s - begin_s, 3), round(active_s, 3), hosts)
    return Usage(phases)


def without_memory(phases: Iterable[str], hosts: Mapping[str, Mapping[str, float]]) -> Usage:
    """What is known of phases in which hosts had no memory left; `hosts` maps each of them to how many processes of
    each role were killed there."""
    full = {
        host: HostUsage({MEMORY: ResourceUse(1.0, 1.0, shares(killed))}, 0, 0.0, 0) for host, killed in hosts.items()
    }
    return Usage({phase: PhaseUsage(0.0, 0.0, full) for phase in phases})


def _counters(host: str, nodes: Iterable[str]) -> dict[str, tuple[str, Mapping[str, str]]]:
    """Resource -> the column of the host, or "" for the sum of its nodes', and the column of each node."""
    each = {what: {node: f"node/{node}/{what}" for node in nodes} for what in _NODE_COLUMNS.values()}
    own = {"cpu": f"host/{host}/cpu_s", "nic_up": f"host/{host}/up_bytes", "nic_down": f"host/{host}/down_bytes"}
    return {resource: (own.get(resource, ""), each[_NODE_COLUMNS[resource]]) for resource in SAMPLED}


_NODE_COLUMNS = {
    "cpu": "cpu_s",
    "nic_up": "sent_bytes",
    "nic_down": "received_bytes",
    "disk_read": "read_bytes",
    "disk_write": "written_bytes",
}


def _host(
    samples: Samples, active: Active, host: str, nodes: Sequence[str], roles: Mapping[str, str], promise: Promise
) -> HostUsage:
    resources = {}
    for resource, (own, each) in _counters(host, nodes).items():
        rate = _rate(promise, resource)
        parts = saturation(samples, active, host, nodes, resource, promise)
        if rate is None or parts is None:
            continue
        used = samples.total(*([own] if own else each.values()))
        saturated = active.share(parts)
        by_role: dict[str, float] = {}
        for node, column in each.items():
            by_role[roles[node]] = by_role.get(roles[node], 0.0) + active.amount(samples.total(column))
        resources[resource] = ResourceUse(
            round(active.amount(used) / (rate * (active.end_s - active.begin_s)), 4), saturated, shares(by_role)
        )
    return HostUsage(
        resources,
        round(samples.peak(f"host/{host}/memory_bytes", active.begin_s, active.end_s)),
        round(active.amount(samples.total(f"host/{host}/throttled_s")), 3),
        round(active.amount(samples.total(f"host/{host}/up_drops", f"host/{host}/down_drops"))),
    )


def saturation(
    samples: Samples, active: Active, host: str, nodes: Sequence[str], resource: str, promise: Promise
) -> Floats | None:
    """For each interval, the part of it for which a resource of a host was saturated; see SATURATED.

    None if it has no limit, or nothing is known of it.
    """
    rate = _rate(promise, resource)
    own, each = _counters(host, nodes)[resource]
    columns = [own] if own else list(each.values())
    if rate is None or not any(column in samples.columns for column in columns):
        return None
    used = samples.total(*columns)
    window_s = max(_DISK_WINDOW_S, _DISK_WINDOW_BYTES / rate) if resource.startswith("disk") else WINDOW_S
    full = (active.rates(used, window_s) >= SATURATED[resource] * rate).astype(np.float64)
    if resource == "cpu":
        throttled = active.rates(samples.total(f"host/{host}/throttled_periods"), 0.0) * promise.period_s
        return np.maximum(full, np.minimum(1.0, throttled))
    queue = samples.columns.get(f"host/{host}/{resource.removeprefix('nic_')}_backlog_bytes")
    if queue is None:
        return full
    waiting = np.interp(active.edges_s, samples.time_s, (queue > 0).astype(np.float64))
    return np.maximum(full, (waiting[:-1] + waiting[1:]) / 2)


def shares(amounts: Mapping[str, float]) -> dict[str, float]:
    """Each role's part of the whole; empty if there is nothing to share."""
    whole = sum(amounts.values())
    return {role: round(amount / whole, 4) for role, amount in amounts.items()} if whole > 0 else {}


def _rate(promise: Promise, resource: str) -> float | None:
    """What a host is promised of a resource, in the unit of its counters per second."""
    if resource == "cpu":
        return promise.cores
    if resource.startswith("nic"):
        return None if promise.nic_bit_s is None else promise.nic_bit_s / 8
    return promise.disk_byte_s


@dataclass(frozen=True)
class Active:
    """The active time of a phase, `begin_s` to `end_s`, and the intervals between samples in it: their `edges_s`."""

    time_s: Floats
    begin_s: float
    end_s: float
    edges_s: Floats

    @classmethod
    def of(cls, samples: Samples, placement: Hosts, begin_s: float, end_s: float) -> Active | None:
        """Without what the cluster has not begun yet (MPI's start) or has ended already; None without two samples.

        A pause in the midst of a phase is a part of it.
        """
        time_s = samples.time_s
        if len(time_s) < 2 or time_s[-1] <= begin_s or time_s[0] >= end_s or end_s <= begin_s:
            return None
        begin_s, end_s = max(begin_s, float(time_s[0])), min(end_s, float(time_s[-1]))
        whole = cls._between(time_s, begin_s, end_s)
        nodes = [node for names in placement.values() for node in names]
        traffic = [f"node/{node}/{what}" for node in nodes for what in ("sent_bytes", "read_bytes", "written_bytes")]
        total = samples.total(*traffic)
        rates = whole.rates(total, 0.0)
        if whole.amount(total) < TRAFFIC_BYTE_S * (end_s - begin_s):
            rates = whole.rates(samples.total(*(f"host/{host}/cpu_s" for host in placement)), 0.0)
        # What is left of an interval at an end has the rate of what was before the phase, or after it.
        lengths = np.diff(whole.edges_s)
        highest = rates[2 * lengths >= lengths.max()].max()
        if highest <= 0:
            return whole
        busy = np.flatnonzero(rates >= _ACTIVE * highest)
        return cls._between(time_s, float(whole.edges_s[busy[0]]), float(whole.edges_s[busy[-1] + 1]))

    @classmethod
    def _between(cls, time_s: Floats, begin_s: float, end_s: float) -> Active:
        inside = time_s[(time_s > begin_s) & (time_s < end_s)]
        return cls(time_s, begin_s, end_s, np.concatenate(([begin_s], inside, [end_s])))

    def amount(self, total: Floats) -> float:
        """What a counter counted in the active time; between two samples it is taken to count evenly."""
        begin, end = np.interp([self.begin_s, self.end_s], self.time_s, total)
        return float(end - begin)

    def rates(self, total: Floats, window_s: float) -> Floats:
        """For each interval, what a counter counted per second in a window around it that stays in the active time."""
        width = np.minimum(np.maximum(np.diff(self.edges_s), window_s), self.end_s - self.begin_s)
        middle = (self.edges_s[:-1] + self.edges_s[1:]) / 2
        begin = np.clip(middle - width / 2, self.begin_s, np.maximum(self.begin_s, self.end_s - width))
        amounts = np.interp(begin + width, self.time_s, total) - np.interp(begin, self.time_s, total)
        return np.asarray(amounts / width, dtype=np.float64)

    def share(self, parts: Floats) -> float:
        """Which part of the active time something held, from the part of each interval for which it did."""
        lengths = np.diff(self.edges_s)
        return round(float(lengths @ parts / lengths.sum()), 4)


# What limits
