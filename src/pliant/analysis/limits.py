"""What hosts used in each phase of a workload at each ratio, and what limited it: telemetry of the trials that count.

Those that were stopped are among them: what limited them until then is why it breaks there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from pliant.results.run_info import RunInfo
from pliant.telemetry.limiting import Limit, limiting
from pliant.telemetry.samples import RESOURCES
from pliant.telemetry.usage import PhaseUsage, Usage
from pliant.trial import Trial
from pliant.workloads.model import Metric


@dataclass(frozen=True)
class HostUse:
    """Parts of 1, means over trials: of the promise that a host used, and of the time in which it was `saturated`."""

    used: float
    saturated: float


@dataclass(frozen=True)
class PhaseUse:
    """One phase at one ratio: resource -> host -> what was used of it, and what limited it."""

    hosts: Mapping[str, Mapping[str, HostUse]]
    limit: Limit


@dataclass(frozen=True)
class PhaseLimits:
    """One phase of a workload at each ratio at which telemetry tells of it; `duration_s` is the mean of its trials."""

    workload: str
    phase: str
    duration_s: float
    ratios: Mapping[float, PhaseUse]

    @property
    def resources(self) -> tuple[str, ...]:
        """Those of telemetry's RESOURCES that hosts were promised."""
        return tuple(name for name in RESOURCES if any(name in use.hosts for use in self.ratios.values()))


def phase_limits(info: RunInfo, trials: Sequence[Trial]) -> tuple[PhaseLimits, ...]:
    """Every phase of every workload of which telemetry tells anything, in the order in which they ran."""
    found: list[PhaseLimits] = []
    for workload in info.metrics:
        usages = _usages(info, trials, workload)
        names = dict.fromkeys(name for many in usages.values() for usage in many for name in usage.phases)
        found += [limits for name in names if (limits := _phase(workload, name, usages)).ratios]
    return tuple(found)


def phase_of(metric: Metric, phases: Sequence[PhaseLimits], ratio: float) -> PhaseLimits | None:
    """The one of its workload's phases that yields a metric, of those known at that ratio; None if there is none."""
    own = {phase.phase: phase for phase in phases if ratio in phase.ratios}
    name = metric.one_of({each: phase.duration_s for each, phase in own.items()})
    return None if name is None else own[name]


def _usages(info: RunInfo, trials: Sequence[Trial], workload: str) -> dict[float, list[Usage]]:
    found: dict[float, list[Usage]] = {ratio: [] for ratio in sorted(info.hosts)}
    for trial in trials:
        if trial.workload == workload and trial.counted and trial.usage and trial.ratio in found:
            found[trial.ratio].append(Usage.from_json(trial.usage))
    return found


def _phase(workload: str, name: str, usages: Mapping[float, Sequence[Usage]]) -> PhaseLimits:
    ratios: dict[float, PhaseUse] = {}
    durations_s: list[float] = []
    for ratio, many in usages.items():
        phases = [usage.phases[name] for usage in many if name in usage.phases]
        durations_s += [phase.duration_s for phase in phases]
        limit = limiting(many, name)
        if limit is not None:
            ratios[ratio] = PhaseUse(dict(_hosts(phases)), limit)
    return PhaseLimits(workload, name, mean(durations_s), ratios)


def _hosts(phases: Sequence[PhaseUsage]) -> Iterator[tuple[str, dict[str, HostUse]]]:
    """Each resource, and what every host used of it, as means over the trials."""
    for resource in RESOURCES:
        hosts = {}
        for host in dict.fromkeys(host for phase in phases for host in phase.hosts):
            known = [phase.hosts[host].resources for phase in phases if host in phase.hosts]
            uses = [resources[resource] for resources in known if resource in resources]
            if uses:
                hosts[host] = HostUse(mean(use.mean for use in uses), mean(use.saturated for use in uses))
        if hosts:
            yield resource, hosts
