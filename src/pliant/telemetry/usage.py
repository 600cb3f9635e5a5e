"""What each host and node used while a trial ran: read, summed up, and judged. Pure; the numbers are `sampler`'s.

* `read` parses the sampler's text; `usage` says what each host used of what it was promised, in each phase;
* `limiting` says which resource limits a ratio, of which hosts, and which roles used it.

What it cannot see: anything shorter than its windows (half a second; a second for disks), what the kernel does in
nobody's name, and why a node waits when nothing is saturated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pliant.nodeset import fold

FORMAT = 1
RESOURCES = ("cpu", "nic_up", "nic_down", "disk_read", "disk_write")
NAMES = {
    "cpu": "CPU",
    "nic_up": "NIC-up",
    "nic_down": "NIC-down",
    "disk_read": "disk reads",
    "disk_write": "disk writes",
}

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

LIMITING = 0.20
"""Share of the active time for which a resource has to be saturated to be called limiting: with ever so much more of
it a phase would take at least 1 - share of its time (Amdahl), so below this it explains no loss of 20 %."""

_Floats = NDArray[np.float64]
Windows = Mapping[str, tuple[float, float]]
"""Phase -> when it began and ended, in seconds of CLOCK_MONOTONIC (`time.monotonic`)."""
Hosts = Mapping[str, Sequence[str]]
"""Host ("host1", ...) -> the nodes on it."""


@dataclass(frozen=True)
class Promise:
    """What each host has: CPUs' worth of time, bit/s each way, bytes/s of reads and of writes, bytes. None: no limit.

    `period_s` is that of the CPU quota (`machine.cgroup.period_and_quota_us`).
    """

    cores: float | None
    nic_bit_s: float | None
    disk_byte_s: float | None
    memory_bytes: int | None = None
    period_s: float = 0.010


@dataclass(frozen=True)
class Samples:
    """Telemetry of a deployment: `time_s` of CLOCK_MONOTONIC, and in `columns` a value in s or bytes for each time.

    Columns are named as in `machine.sampling`.
    """

    every_s: float
    time_s: _Floats
    columns: Mapping[str, _Floats]

    def total(self, *names: str) -> _Floats:
        """What some counters have counted together since the first sample; 0 for those that are not there.

        A counter that falls began anew, as a queue's does when limits are switched.
        """
        found = np.zeros(len(self.time_s))
        for values in (self.columns[name] for name in names if name in self.columns):
            steps = np.diff(values)
            found[1:] += np.cumsum(np.where(steps < 0, values[1:], steps))
        return found

    def peak(self, name: str, begin_s: float, end_s: float) -> float:
        """The highest value of a column in that time; 0 if there is none."""
        inside = (self.time_s >= begin_s) & (self.time_s <= end_s)
        values = self.columns.get(name)
        return 0.0 if values is None or not inside.any() else float(values[inside].max())


def read(text: str) -> Samples:
    """The samples in what a sampler wrote, in whatever state that was left: a torn last line is left out.

    Without a complete first line there are no samples. Raises ValueError if the text is of another format.
    """
    header, *lines = text.split("\n")[:-1] or [""]
    try:
        about = json.loads(header)
    except ValueError:
        return Samples(0.0, np.zeros(0), {})
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"telemetry: format {about.get('format') if isinstance(about, dict) else about!r}: not known")
    columns = about["columns"]
    words = (line.split() for line in lines)
    rows = [row for row in words if len(row) == len(columns) and all(map(str.isdecimal, row))]
    values = np.array([[int(word) for word in row] for row in rows], dtype=np.float64).reshape(len(rows), len(columns))
    found = {name: values[:, index] * factor for index, (name, factor) in enumerate(columns)}
    return Samples(float(about["every_s"]), found.pop("time_s"), found)


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


def _counters(host: str, nodes: Iterable[str]) -> dict[str, tuple[str, Mapping[str, str]]]:
    """Resource -> the column of the host, or "" for the sum of its nodes', and the column of each node."""
    each = {what: {node: f"node/{node}/{what}" for node in nodes} for what in _NODE_COLUMNS.values()}
    own = {"cpu": f"host/{host}/cpu_s", "nic_up": f"host/{host}/up_bytes", "nic_down": f"host/{host}/down_bytes"}
    return {resource: (own.get(resource, ""), each[_NODE_COLUMNS[resource]]) for resource in RESOURCES}


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
            round(active.amount(used) / (rate * (active.end_s - active.begin_s)), 4), saturated, _shares(by_role)
        )
    return HostUsage(
        resources,
        round(samples.peak(f"host/{host}/memory_bytes", active.begin_s, active.end_s)),
        round(active.amount(samples.total(f"host/{host}/throttled_s")), 3),
        round(active.amount(samples.total(f"host/{host}/up_drops", f"host/{host}/down_drops"))),
    )


def saturation(
    samples: Samples, active: Active, host: str, nodes: Sequence[str], resource: str, promise: Promise
) -> _Floats | None:
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


def _shares(amounts: Mapping[str, float]) -> dict[str, float]:
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

    time_s: _Floats
    begin_s: float
    end_s: float
    edges_s: _Floats

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
    def _between(cls, time_s: _Floats, begin_s: float, end_s: float) -> Active:
        inside = time_s[(time_s > begin_s) & (time_s < end_s)]
        return cls(time_s, begin_s, end_s, np.concatenate(([begin_s], inside, [end_s])))

    def amount(self, total: _Floats) -> float:
        """What a counter counted in the active time; between two samples it is taken to count evenly."""
        begin, end = np.interp([self.begin_s, self.end_s], self.time_s, total)
        return float(end - begin)

    def rates(self, total: _Floats, window_s: float) -> _Floats:
        """For each interval, what a counter counted per second in a window around it that stays in the active time."""
        width = np.minimum(np.maximum(np.diff(self.edges_s), window_s), self.end_s - self.begin_s)
        middle = (self.edges_s[:-1] + self.edges_s[1:]) / 2
        begin = np.clip(middle - width / 2, self.begin_s, np.maximum(self.begin_s, self.end_s - width))
        amounts = np.interp(begin + width, self.time_s, total) - np.interp(begin, self.time_s, total)
        return np.asarray(amounts / width, dtype=np.float64)

    def share(self, parts: _Floats) -> float:
        """Which part of the active time something held, from the part of each interval for which it did."""
        lengths = np.diff(self.edges_s)
        return round(float(lengths @ parts / lengths.sum()), 4)


# What limits


@dataclass(frozen=True)
class Limit:
    """The resource that limits a phase: one of RESOURCES, or "none".

    `share` is the part of the active time in which it was saturated on the one of `hosts` where it was so longest,
    `least` where it was so shortest; `mean` how much of the promise was used there. `roles` are the roles' shares of
    its use on these hosts. `next` is the resource that comes after it, whether it was saturated or not.
    """

    resource: str
    hosts: tuple[str, ...]
    share: float
    least: float
    mean: float
    roles: Mapping[str, float]
    next: Limit | None = None

    @property
    def sentence(self) -> str:
        """In words, without a full stop."""
        if self.resource == "none":
            long = " for long" if self.share > 0 else ""
            text = f"nothing was saturated{long}: latency, locks or a serial program limit it"
            if self.next is not None:
                text += f"; nearest was {self.next.what}, used to {self.next.mean:.0%}"
            return text.replace("%", " %")
        text = f"{self.what}{_by(self.roles)}, saturated {_percents(self.least, self.share)} of the time"
        if self.next is not None and self.next.share >= LIMITING:
            text += f"; then {self.next.what}, {_percents(self.next.least, self.next.share)}"
        return text.replace("%", " %")

    @property
    def what(self) -> str:
        """The resource and its hosts: "CPU of host1 and host2"."""
        hosts = self.hosts if len(self.hosts) <= 3 else (fold(self.hosts),)
        return f"{NAMES[self.resource]} of {_listed(hosts)}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the sentence among them."""
        names = ("resource", "share", "least", "mean", "sentence")
        after = None if self.next is None else self.next.to_json()
        return {
            **{name: getattr(self, name) for name in names},
            "hosts": list(self.hosts),
            "roles": dict(self.roles),
            "next": after,
        }


def limiting(usages: Sequence[Usage], phase: str) -> Limit | None:
    """What limits a phase at one ratio, from the usage of the workload's done trials there; None if none is known.

    It is the resource that was saturated longest on some host: all ranks wait for the slowest. Each share is the mean
    over the trials. Saturated hosts are those where it was so for at least half as long.
    """
    known = [found for found in (usage.phases.get(phase) for usage in usages) if found is not None]
    if not known:
        return None
    limits = [limit for resource in RESOURCES if (limit := _limit(known, resource)) is not None]
    if not limits:
        return None
    limits.sort(key=lambda limit: (round(limit.share, 2), limit.mean), reverse=True)
    first = limits[0]
    if first.share < LIMITING:
        nearest = max(limits, key=lambda limit: limit.mean)
        return Limit("none", (), first.share, 0.0, 0.0, {}, nearest)
    return Limit(
        first.resource,
        first.hosts,
        first.share,
        first.least,
        first.mean,
        first.roles,
        limits[1] if limits[1:] else None,
    )


def _limit(phases: Sequence[PhaseUsage], resource: str) -> Limit | None:
    uses: dict[str, list[ResourceUse]] = {}
    for phase in phases:
        for host, used in phase.hosts.items():
            if resource in used.resources:
                uses.setdefault(host, []).append(used.resources[resource])
    if not uses:
        return None
    share = {host: float(np.mean([use.saturated for use in found])) for host, found in uses.items()}
    mean = {host: float(np.mean([use.mean for use in found])) for host, found in uses.items()}
    most = max(share.values())
    if most > 0:
        hosts = tuple(host for host in uses if share[host] >= most / 2)
    else:
        hosts = (max(mean, key=lambda host: mean[host]),)
    roles: dict[str, float] = {}
    for host in hosts:
        for use in uses[host]:
            for role, part in use.roles.items():
                roles[role] = roles.get(role, 0.0) + part * use.mean
    least = min(share[host] for host in hosts)
    return Limit(resource, hosts, most, least, float(np.mean([mean[host] for host in hosts])), _shares(roles))


def _by(roles: Mapping[str, float]) -> str:
    """ ", by server (71%) and client (29%)", the greatest first; what rounds to nothing is left out."""
    ranked = sorted(roles.items(), key=lambda item: -item[1])
    parts = [f"{role} ({share:.0%})" for role, share in ranked if share >= 0.005]
    return f", by {_listed(parts)}" if parts else ""


def _percents(least: float, most: float) -> str:
    low, high = f"{100 * least:.0f}", f"{100 * most:.0f}"
    return f"{high}%" if most - least < 0.05 or low == high else f"{low} to {high}%"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
