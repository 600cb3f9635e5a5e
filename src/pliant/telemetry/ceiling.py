"""Whether what an operation came to is the ceiling of nodes' own kernels, and not the file system's. Pure.

In a kernel that is a process (`machine.uml`) a system call takes some 50 us where it takes less than one otherwise,
and all else that it does for one request is as much slower. So where its CPU time limits an operation, and that is
worth few system calls for each request, a rate says how fast such kernels are. What moves much data with each request
spends its time on the data: that is slower than on hardware too, but in proportion to the host's CPU.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pliant.telemetry.samples import Hosts, Promise, Samples, Windows
from pliant.telemetry.usage import FEWEST, Active
from pliant.workloads.model import Metric

FEW_CALLS = 100
"""System calls' worth of CPU time, of all nodes' own kernels together, up to which a request is theirs. Over NFS a stat
takes 18 to 26, a creation 64 to 86, a transfer of 4 KiB 4 to 11, one of 1 MiB 480 to 1,080 (docs/emulation.md)."""
BUSY = 0.5
"""Part of its time for which such a kernel works, or is held back, from which on it is what limits an operation."""
_RATES = {"op/s": 1.0, "kIOPS": 1e3}
_BANDWIDTHS = {"MiB/s": 2**20, "GiB/s": 2**30}


@dataclass(frozen=True)
class Kernels:
    """Nodes with kernels of their own: `call_s` is the CPU time of a system call there, `ranks` how many processes of a
    workload ask at the same time."""

    nodes: Collection[str]
    call_s: float
    ranks: int


def reached(
    samples: Samples,
    windows: Windows,
    placement: Hosts,
    promise: Promise,
    kernels: Kernels,
    values: Mapping[Metric, float],
) -> dict[str, str]:
    """Metric -> why its value is the ceiling of nodes' own kernels, in a sentence; those whose is not are left out.

    `values` are what the metrics came to. One of whose operation too little is known is left out as well.
    """
    found = {}
    lengths_s = {each: end - begin for each, (begin, end) in windows.items()}
    long = {each: length_s for each, length_s in lengths_s.items() if length_s >= FEWEST * samples.every_s}
    for metric in values:
        name = metric.one_of(long)
        active = Active.of(samples, placement, *windows[name]) if name is not None else None
        requests = 0.0 if name is None else _requests(name, windows, values)
        if active is None or not requests or active.end_s <= active.begin_s:
            continue
        length_s = active.end_s - active.begin_s
        used_s = {
            host: {node: active.amount(samples.total(f"node/{node}/cpu_s")) for node in nodes if node in kernels.nodes}
            for host, nodes in placement.items()
        }
        whole_s = sum(sum(each.values()) for each in used_s.values())
        calls = whole_s / requests / kernels.call_s
        busy = max(_busy(used_s, promise.cores, length_s), whole_s / (kernels.ranks * length_s))
        if calls <= FEW_CALLS and busy >= BUSY:
            found[metric.name] = (
                f"each request took the CPU time of {max(1, round(calls))} system calls of nodes' own kernels, which "
                f"worked for {min(1.0, busy):.0%} of the time: their ceiling, not the file system's"
            )
    return found


def _busy(used_s: Mapping[str, Mapping[str, float]], cores: float | None, length_s: float) -> float:
    """For which part of the time the busiest kernel, which has one CPU, or all of a host, which has its cores, work."""
    parts = [seconds / length_s for each in used_s.values() for seconds in each.values()]
    if cores:
        parts += [sum(each.values()) / (cores * length_s) for each in used_s.values()]
    return max(parts, default=0.0)


def _requests(name: str, windows: Windows, values: Mapping[Metric, float]) -> float:
    """How many requests all clients made in an operation, or in all that were measured in it together; 0 if that is
    not known: a rate of requests says it, or one of bytes where it is known how many each moves."""
    count = 0.0
    for part in _alone(name, windows):
        begin, end = windows[part]
        rates = [rate for metric, value in values.items() if metric.is_of(part) and (rate := _rate(metric, value))]
        count += max(rates, default=0.0) * (end - begin)
    return count


def _alone(name: str, windows: Windows) -> list[str]:
    """The operations that a phase is made of, where they are told; itself if not."""
    inside = [
        each
        for each, (begin, end) in windows.items()
        if each != name and windows[name][0] <= begin and end <= windows[name][1]
    ]
    return inside or [name]


def _rate(metric: Metric, value: float) -> float:
    if metric.unit in _RATES:
        return value * _RATES[metric.unit]
    size = _BANDWIDTHS.get(metric.unit, 0)
    return value * size / metric.request_bytes if metric.request_bytes else 0.0
