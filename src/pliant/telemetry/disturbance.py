"""What the machine did to the operations of a trial, other than what was asked of it. Pure.

A trial on a machine with neighbours is not worthless: it counts as far as what the machine did to it is known, or is
too little to matter. Of each operation, and so of each metric, it is judged by the samples of `telemetry.usage`:

* **What enters the analysis** (`covariates`, for `statistics.levels`), for the part of the operation in which CPU could
  limit it, which is all but what a NIC or a disk did: the CPU time that was withheld from hosts, and how much work a
  second of it was worth. Withheld is the larger one of two. One is the share of what was asked for that the hypervisor
  took (steal): mostly as it wakes a CPU that sleeps, so that those wait who have little to do and do it often. The
  other is the part of the time in which hosts' CPUs were not there for them, for a hypervisor or a program of higher
  priority, as the metronome's late beats tell (`pliant.machine.metronome`).
* **What does not, and is added up** (`Disturbance.lost`): the part of an operation's time, at most, that was lost as
  the machine stood still, swapped, or without a metronome had no idle CPU for a host that wanted it. If a metric can
  have moved by more than the study can bear, it is refused.

Not seen are: threads that wait for one CPU while another is idle; a disk of the machine that is slower than the sum of
its hosts' disks; memory bandwidth.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pliant.telemetry.samples import SAMPLED, Hosts, Promise, Samples, Windows
from pliant.telemetry.usage import WINDOW_S, Active, saturation
from pliant.trial import Trial
from pliant.workloads.model import Metric

BEARABLE = 0.5
"""Part of the indifference zone by which a metric may have been moved by what is not known of its trial: it and the
noise of two trials, which is mostly larger, leave the zone's other half."""
LEAST_BEARABLE = 0.01
"""... and so much in any case: with less nothing would ever be valid where there is no zone."""
MOST_WITHHELD = 0.25
"""Part of the CPU time that may be withheld while CPU limits: what is beyond it was not simulated, and what is left of
such an operation is mostly the machine's."""
SWAP_BYTE_S = 20e6
"""What a machine swaps at, at the least, in bytes/s: pages of 4 KiB, each of which a disk takes 0.2 ms for."""
RETRANSMIT_S = 0.2
"""What a packet that is lost costs whoever waits for it, at the least (TCP_RTO_MIN, include/net/tcp.h of Linux)."""
_NEIGHBOURS = 0.02
"""What was taken, as a median over metrics, from which on neighbours are worth a word."""
_IDLE = 0.02
_TICK_S = 0.01
"""The machine has no idle CPU if less than this part of it, and one clock tick, is idle in a window."""
_FULL = 0.90
"""A CPU of whose time hosts had this part, or it was withheld from them, has no more for them: the metronome and the
kernel use some for themselves."""
_WANTS = 0.10
"""A host that uses less than this part of its CPU is taken to want no more of it."""
_GOT = 0.5
"""A host whose quota ran out in this part of the periods got it there: it was held back by it, not by the machine."""
_GAP = 5
"""So many samples that should have come and did not: the machine stood still, and nobody can vouch for that time."""

_BUSY = tuple(f"machine/{kind}_s" for kind in ("user", "nice", "system", "irq", "softirq"))

_Floats = NDArray[np.float64]
KINDS = ("withheld", "work")
"""The covariates: logs by which the CPU time that hosts had, and the work that it was worth, fell short."""
SLOPES = (2.0, 0.5)
"""The size of the slopes of each, in logs to a log, before any trial is seen: standard deviations, about 0. Of steal
0.9 to 3.4 were measured with GlusterFS, where CPU limited it: a request passes several nodes, each of which may have to
wait. Work tells more loosely: a probe of fixed work explained a third of how the work of a CPU second varied."""


@dataclass(frozen=True)
class Disturbance:
    """Of one operation of a trial; parts of 1.

    `limited` is the part of it in which CPU could limit it. Then, `stolen` is the part of the CPU time that was asked
    for which the hypervisor took, and `withheld` the part of the time in which a host's CPUs were not there for it.
    `second_s` is the CPU time that one probe took, 0 if there was none. `lost` is the part of its time that may have
    been lost otherwise, at most, and `why` in words.
    """

    limited: float
    stolen: float
    withheld: float
    second_s: float
    lost: float
    why: str = ""

    def to_json(self, bearable: float) -> dict[str, Any]:
        """What a trial keeps of it: `Trial.disturbance`, of a metric that may be moved by so much."""
        parts = {name: round(float(getattr(self, name)), 4) for name in ("limited", "stolen", "withheld", "lost")}
        return {**parts, "second_s": round(self.second_s, 8), "refused": self.refused(bearable)}

    def refused(self, bearable: float) -> str:
        """Why its metric does not count, in a sentence; "" if it does."""
        if self.lost > bearable:
            return self.why
        # Of what is asked for on a machine that is nearly idle much is stolen, as each wake-up is; that is no reason.
        part = self.withheld or self.stolen
        if self.limited * part > MOST_WITHHELD:
            return f"the hypervisor, or a program of higher priority, withheld {_percent(part)} of the CPU from hosts"
        return ""


def bearable(zone: float) -> float:
    """By which part of its value a metric may have been moved by what is not known."""
    return max(LEAST_BEARABLE, BEARABLE * zone)


def taken(about: Mapping[str, Any]) -> float:
    """The part of the CPU that an entry of `Trial.disturbance` says was taken, the larger of what two ways see."""
    return float(max(about["stolen"], about["withheld"]))


def usual_second_s(entries: Iterable[Mapping[str, Any]]) -> float:
    """The CPU time that a probe took in the median of such entries; 0 if none has one."""
    return float(median([each["second_s"] for each in entries if each["second_s"]] or [0.0]))


def covariates(trials: Sequence[Trial], metric: str) -> dict[int, tuple[float, ...]]:
    """What disturbed a metric in the trials that count, by their numbers, where it is known.

    Each is in logs that it may well have cost: those of KINDS, in that order, times SLOPES.
    """
    known = {
        trial.number: trial.disturbance[metric]
        for trial in trials
        if trial.counts(metric) and metric in trial.disturbance
    }
    usual = usual_second_s(known.values())
    found = {}
    for number, each in known.items():
        withheld = -math.log1p(-min(taken(each), 0.99))
        work = math.log(each["second_s"] / usual) if each["second_s"] else 0.0
        logs = zip(SLOPES, (withheld, work), strict=True)
        found[number] = tuple(slope * each["limited"] * log for slope, log in logs)
    return found


def neighbours(trials: Sequence[Trial]) -> str:
    """What the machine's neighbours took in trials, and what helps, in a sentence; "" if it is too little to matter."""
    known = [each for trial in trials if trial.counted for each in trial.disturbance.values()]
    if not known or median(taken(each) * each["limited"] for each in known) < _NEIGHBOURS:
        return ""
    parts = sorted(taken(each) for each in known if each["limited"] > 0)
    return (
        f"this machine has neighbours: they took {100 * parts[0]:.0f} to {100 * parts[-1]:.0f} % of its CPU in the "
        f"first {len(trials)} trials; losses allow for it, but a verdict needs more trials. Another hour, or a machine "
        "of its own, needs fewer"
    )


def disturbances(
    samples: Samples, windows: Windows, placement: Hosts, promise: Promise, cores: int
) -> dict[str, Disturbance]:
    """What the machine, of so many cores, did to each operation; those too short for telemetry are left out."""
    found = {}
    for name, (begin_s, end_s) in windows.items():
        phase = Active.of(samples, placement, begin_s, end_s)
        if phase is not None:
            found[name] = _did(_Operation(samples, phase, placement, promise, cores), begin_s, end_s)
        elif end_s - begin_s > _GAP * samples.every_s:
            found[name] = Disturbance(0.0, 0.0, 0.0, 0.0, 1.0, _standing(end_s - begin_s))
    return found


def by_metric(metrics: Sequence[Metric], known: Mapping[str, Disturbance], windows: Windows) -> dict[str, Disturbance]:
    """That of the operation which yields each metric, where it is known: see `Metric.one_of`."""
    lengths = {name: windows[name][1] - windows[name][0] for name in known}
    found = {metric.name: metric.one_of(lengths) for metric in metrics}
    return {metric: known[name] for metric, name in found.items() if name is not None}


@dataclass(frozen=True)
class _Operation:
    """An operation, whose rates are those of the intervals between samples in its active time."""

    samples: Samples
    active: Active
    hosts: Hosts
    promise: Promise
    cores: int

    @property
    def _none(self) -> _Floats:
        return np.zeros(len(self.lengths_s))

    @cached_property
    def lengths_s(self) -> _Floats:
        return np.diff(self.active.edges_s)

    def rate(self, *columns: str) -> _Floats:
        return self.active.rates(self.samples.total(*columns), WINDOW_S)

    def amount(self, *columns: str) -> float:
        return self.active.amount(self.samples.total(*columns))

    def mean(self, parts: _Floats) -> float:
        return float(self.lengths_s @ parts / self.lengths_s.sum())

    @cached_property
    def used(self) -> Mapping[str, _Floats]:
        """Of each host, in CPUs."""
        return {host: self.rate(f"host/{host}/cpu_s") for host in self.hosts}

    @cached_property
    def kept_on(self) -> Mapping[str, Mapping[str, str]]:
        """Each host's CPUs, and the column that says how late the metronome was there; empty if there was none."""
        found = {}
        for host in self.hosts:
            prefix = f"host/{host}/withheld_"
            found[host] = {name.removeprefix(prefix): name for name in self.samples.columns if name.startswith(prefix)}
        return found if all(found.values()) else {}

    @cached_property
    def late(self) -> Mapping[str, _Floats]:
        """Of each CPU, the part of it that was withheld."""
        return {cpu: self.rate(column) for own in self.kept_on.values() for cpu, column in own.items()}

    @cached_property
    def held_back(self) -> Mapping[str, _Floats]:
        """For which part of each interval each host was held back by its CPU; without a limit it may have been always.

        It is so by its quota, or as it had not got that and its CPUs were all in use: hosts go before what else runs.
        """
        if self.promise.cores is None:
            return dict.fromkeys(self.hosts, self._none + 1)
        found = {host: self._saturated(host, "cpu") for host in self.hosts}
        on = dict(self.late)
        for host, own in self.kept_on.items():
            for cpu in own:
                on[cpu] = on[cpu] + self.used[host] / len(own)
        for host, own in self.kept_on.items():
            full = np.mean([on[cpu] for cpu in own], axis=0) >= _FULL
            found[host] = np.maximum(found[host], full & self._wants(host))
        return found

    @cached_property
    def limited(self) -> _Floats:
        """The part of each interval in which CPU could limit: it held a host back, or no NIC or disk did.

        What waits for answers, one after the other, is slowed down by a CPU that is late, however little it uses.
        """
        others = [self._saturated(host, resource) for host in self.hosts for resource in SAMPLED if resource != "cpu"]
        parts: _Floats = np.max([*self.held_back.values(), 1 - np.max(others, axis=0)], axis=0)
        return parts

    def _saturated(self, host: str, resource: str) -> _Floats:
        parts = saturation(self.samples, self.active, host, self.hosts[host], resource, self.promise)
        return self._none if parts is None else parts

    def _wants(self, host: str) -> NDArray[np.bool_]:
        return self.used[host] >= _WANTS * (self.promise.cores or 0.0)

    @property
    def stolen(self) -> float:
        """The part of the CPU time that the machine asked for which its hypervisor took, while CPU limited."""
        weights = self.lengths_s * self.limited
        stolen_s = float(weights @ self.rate("machine/steal_s"))
        return stolen_s / max(stolen_s + float(weights @ self.rate(*_BUSY)), _TICK_S)

    @property
    def withheld(self) -> float:
        """The part of the time in which a host's CPUs were not there for it, while CPU limited; the worst host's."""
        weights = self.lengths_s * self.limited
        late = [np.mean([self.late[cpu] for cpu in own], axis=0) for own in self.kept_on.values()]
        return max((float(weights @ each / weights.sum()) for each in late), default=0.0) if weights.any() else 0.0

    @property
    def lacking(self) -> tuple[float, str]:
        """Without a metronome: the part of its CPU, at most, that a host lacked as the machine had none idle, and which
        host lacked most.

        That the machine is busy because its hosts all use their quota is as it should be: they got their budget. Where
        a host is neither idle nor at its quota nothing says whether it wanted more, so it is taken to have waited.
        """
        if self.promise.cores is None or self.kept_on:
            return 0.0, ""
        width = np.minimum(np.maximum(self.lengths_s, WINDOW_S), self.active.end_s - self.active.begin_s)
        exhausted = self.rate("machine/idle_s", "machine/iowait_s") < _IDLE * self.cores + _TICK_S / width
        found = []
        for host, parts in self.held_back.items():
            lacks = (exhausted & self._wants(host) & (parts < _GOT)).astype(np.float64)
            found.append((self.mean(lacks * np.clip(1 - self.used[host] / self.promise.cores, 0.0, 1.0)), host))
        return max(found)

    def most(self, what: str) -> tuple[float, str]:
        """The most that a counter of a node counted, and which node's; 0 and "" where no node has it."""
        nodes = [node for names in self.hosts.values() for node in names]
        return max(((self.amount(f"node/{node}/{what}"), node) for node in nodes), default=(0.0, ""))

    @property
    def second_s(self) -> float:
        """The CPU time that one probe took; 0 if there was none."""
        probes = self.amount("machine/probes")
        return self.amount("machine/probe_s") / probes if probes >= 1 else 0.0


def _did(operation: _Operation, begin_s: float, end_s: float) -> Disturbance:
    gap_s = _gap_s(operation.samples, begin_s, end_s)
    swapped = operation.amount("machine/swapped_in_bytes", "machine/swapped_out_bytes")
    lacking, host = operation.lacking
    dropped = operation.most("lost_packets")
    asleep = operation.most("asleep_s")
    killed = operation.most("own_killed")
    losses = [
        (gap_s / (end_s - begin_s), _standing(gap_s)),
        (swapped / SWAP_BYTE_S / (end_s - begin_s), f"the machine swapped {swapped / 2**20:.0f} MiB"),
        (dropped[0] * RETRANSMIT_S / (end_s - begin_s), f"{dropped[1]}'s own kernel lost {dropped[0]:.0f} packets"),
        (asleep[0] / (end_s - begin_s), f"{asleep[1]}'s own kernel slept for {asleep[0]:.1f} s over what had come"),
        # What it kills is no part of the file system any more; it has as much memory at every ratio.
        (min(1.0, killed[0]), f"{killed[1]}'s own kernel killed processes, its memory used up"),
        (lacking, f"the machine had no idle CPU, and {host} had not got its own: up to {_percent(lacking)} of it"),
    ]
    return Disturbance(
        limited=operation.mean(operation.limited),
        stolen=operation.stolen,
        withheld=operation.withheld,
        second_s=operation.second_s,
        lost=min(1.0, sum(lost for lost, _ in losses)),
        why=max(losses)[1],
    )


def _gap_s(samples: Samples, begin_s: float, end_s: float) -> float:
    """The longest time of an operation without a sample; 0 if no more than a few are missing."""
    inside = samples.time_s[(samples.time_s > begin_s) & (samples.time_s < end_s)]
    longest = float(np.diff(np.concatenate(([begin_s], inside, [end_s]))).max())
    return longest if longest > _GAP * samples.every_s else 0.0


def _standing(gap_s: float) -> str:
    return f"the machine did not let telemetry run: no sample for {gap_s:.1f} s"


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.1 else f"{100 * part:.1f} %"
