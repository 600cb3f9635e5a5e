"""Whether the machine itself ran out while a trial ran, so that the trial says nothing about the file system. Pure.

It is judged by the samples of `pliant.telemetry`, whose windows it uses.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pliant.nodeset import fold
from pliant.telemetry import WINDOW_S, Active, Hosts, Promise, Samples, Windows, saturation

STEAL = 0.10
"""Part of the CPU time asked for (busy or stolen) that the hypervisor may take while hosts are held back by their CPU:
a program becomes slower by as much then, and studies tolerate losses of about 10 %. What is limited by a NIC or a disk
does not: writing at 64.3 to 64.6 MiB/s, held by the NIC, was not touched by 2 to 13 % of steal. Less than this is in
the noise of trials, which intervals pay for."""
_STEAL_FLOOR_S = 0.1
"""... and less than ten of its clock's ticks in a trial are noise."""
SWAP_BYTES = 2**20
"""What may be swapped in and out during a trial: a megabyte costs milliseconds, hosts that swap move far more."""
EXHAUSTED = 0.05
"""Part of the active time in which the machine may have no idle CPU while a host lacks its budget; see `STEAL`."""
_IDLE = 0.02
_TICK_S = 0.01
"""The machine has no idle CPU if less than this part of it, and one clock tick, is idle in a window."""
_WANTS = 0.10
"""A host that uses less than this part of its CPU is taken to want no more of it."""
_GOT = 0.5
"""A host whose quota ran out in this part of the periods got it there: it was held back by it, not by the machine."""
_GAP = 5
"""So many samples that should have come and did not: the machine stood still, and nobody can vouch for that time."""


def invalid_reason(samples: Samples, windows: Windows, placement: Hosts, promise: Promise, machine_cores: int) -> str:
    """Why a trial says nothing about the file system, in a sentence; "" if there is no reason.

    The machine stood still (no samples), its hypervisor took its CPU, it swapped, or it had no idle CPU while a host
    that wanted more had not got what it was promised. That the machine is busy because its hosts all use their quota
    is as it should be: they got their budget.

    Where a host is neither idle nor at its quota nothing says whether it wanted more, so with no idle CPU left it is
    taken to have waited. Not seen are: a CPU that is taken for less than half a second; threads that wait for one CPU
    while another is idle; a disk of the machine that is slower than the sum of its hosts' disks; memory bandwidth.
    """
    for phase, (begin_s, end_s) in windows.items():
        gap_s = _gap_s(samples, begin_s, end_s)
        if gap_s > _GAP * samples.every_s:
            return f"the machine did not let telemetry run: no sample for {gap_s:.1f} s of phase {phase}"
    found = [Active.of(samples, placement, *window) for window in windows.values()]
    phases = [phase for phase in found if phase is not None]
    return (
        _stolen(samples, phases, placement, promise)
        or _swapped(samples, phases)
        or _exhausted(samples, phases, placement, promise, machine_cores)
    )


def starved(samples: Samples, windows: Windows) -> str:
    """Which nodes wanted a CPU and got none for a second or more, longest first, in a sentence; "" if none did.

    That is no fault of the machine: on a host with many busy nodes and little CPU a turn can be so long in coming.
    """
    long = {}
    for name in samples.columns:
        if name.startswith("node/") and name.endswith("/starved_s"):
            total = samples.total(name)
            inside = [np.interp(window, samples.time_s, total) for window in windows.values()]
            seconds = sum(float(end - begin) for begin, end in inside) if len(samples.time_s) else 0.0
            if seconds >= 1:
                long[name.split("/")[1]] = seconds
    if not long:
        return ""
    worst = max(long, key=lambda node: long[node])
    others = f" (and {fold(sorted(long.keys() - {worst}))} for less)" if len(long) > 1 else ""
    return f"{worst} wanted a CPU and got none for {long[worst]:.0f} s{others}"


def _gap_s(samples: Samples, begin_s: float, end_s: float) -> float:
    """The longest time in a phase without a sample."""
    inside = samples.time_s[(samples.time_s > begin_s) & (samples.time_s < end_s)]
    return float(np.diff(np.concatenate(([begin_s], inside, [end_s]))).max())


def _stolen(samples: Samples, phases: Sequence[Active], placement: Hosts, promise: Promise) -> str:
    busy = samples.total(*(f"machine/{kind}_s" for kind in ("user", "nice", "system", "irq", "softirq")))
    steal = samples.total("machine/steal_s")
    stolen_s = asked_s = felt_s = 0.0
    for phase in phases:
        taken_s = phase.amount(steal)
        stolen_s += taken_s
        asked_s += taken_s + phase.amount(busy)
        felt_s += taken_s * max((_held_back(samples, phase, host, promise) for host in placement), default=1.0)
    if felt_s < _STEAL_FLOOR_S or felt_s <= STEAL * asked_s:
        return ""
    return f"the hypervisor took {100 * stolen_s / asked_s:.0f} % of the CPU time that the machine asked for"


def _held_back(samples: Samples, phase: Active, host: str, promise: Promise) -> float:
    """For which part of a phase a host was held back by its CPU; without a limit it may have been so all the time."""
    if promise.cores is None:
        return 1.0
    used = samples.total(f"host/{host}/cpu_s")
    return phase.share(saturation(samples, phase, host, "cpu", used, promise))


def _swapped(samples: Samples, phases: Sequence[Active]) -> str:
    swapped = samples.total("machine/swapped_in_bytes", "machine/swapped_out_bytes")
    size = sum(phase.amount(swapped) for phase in phases)
    return f"the machine swapped {size / 2**20:.0f} MiB" if size > SWAP_BYTES else ""


def _exhausted(
    samples: Samples, phases: Sequence[Active], placement: Hosts, promise: Promise, machine_cores: int
) -> str:
    if promise.cores is None:
        return ""
    idle = samples.total("machine/idle_s", "machine/iowait_s")
    short: dict[str, float] = {}
    lacking_s = active_s = 0.0
    for phase in phases:
        lengths = np.diff(phase.edges_s)
        width = np.minimum(np.maximum(lengths, WINDOW_S), phase.end_s - phase.begin_s)
        none_idle = phase.rates(idle, WINDOW_S) < _IDLE * machine_cores + _TICK_S / width
        lacking = np.zeros(len(lengths), dtype=bool)
        for host in placement:
            used = samples.total(f"host/{host}/cpu_s")
            wants = phase.rates(used, WINDOW_S) >= _WANTS * promise.cores
            got = saturation(samples, phase, host, "cpu", used, promise) >= _GOT
            lacks = none_idle & wants & ~got
            short[host] = short.get(host, 0.0) + float(lengths[lacks].sum())
            lacking |= lacks
        lacking_s += float(lengths[lacking].sum())
        active_s += float(lengths.sum())
    if lacking_s <= EXHAUSTED * active_s:
        return ""
    worst = max(short, key=lambda host: short[host])
    cores = f"{promise.cores:g} core{'' if promise.cores == 1 else 's'}"
    return (
        f"the machine had no idle CPU for {100 * lacking_s / active_s:.0f} % of the time in which not all hosts got "
        f"their {cores}, {worst} least of all"
    )
