"""What hosts drew while trials ran, where the testbed has wattmetres on them: facts of the run, and watts by ratio.

Where hosts are what they are, these are in place of the modelled ones. Hosts with limits are slices of what was
measured, and the energy of what they stand for stays modelled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from pliant.campaign.reservations import Loan
from pliant.schedulers.grid5000 import Grid5000
from pliant.schedulers.grid5000_power import drawn, metered
from pliant.schedulers.interface import SchedulerError
from pliant.trial import Trial

_MOST = 200
"""Of how many trials at most the testbed is asked: the last ones."""


@dataclass
class Read:
    """Name of a fact -> what was measured, by ratio; and the mean watts of a host at each ratio."""

    facts: dict[str, str] = field(default_factory=dict)
    watts: dict[float, float] = field(default_factory=dict)


def read(loan: Loan | None, hosts: Sequence[str], trials: Iterable[Trial], since_s: float) -> Read:
    """What was measured in the trials that have begun since then. Nothing of hosts of other schedulers. `hosts` are the
    names of the study's, in order: a trial has the first ones."""
    found = Read()
    if loan is None or not isinstance(loan.scheduler, Grid5000):
        return found
    mine = [each for each in trials if each.duration_s > 0 and not each.reused and _began_s(each) >= since_s - 1]
    by_ratio: dict[float, list[Trial]] = {}
    for each in mine[-_MOST:]:
        by_ratio.setdefault(each.ratio, []).append(each)
    try:
        for ratio, its in sorted(by_ratio.items()):
            if watts := _measured(loan.scheduler, hosts[: its[0].hosts], its):
                found.facts[f"power at ratio {ratio:g}"] = _sentence(watts, its)
                found.watts[ratio] = sum(watts.values()) / len(watts)
    except SchedulerError as error:
        found.facts["power"] = f"the wattmetres were not read: {error}"
    return found


def _measured(scheduler: Grid5000, hosts: Sequence[str], trials: Sequence[Trial]) -> dict[str, float]:
    """Mean watts of each host that has a wattmetre with samples, over trials."""
    joules, seconds = dict.fromkeys(hosts, 0.0), dict.fromkeys(hosts, 0.0)
    api, site = scheduler.api, scheduler.site
    with_one = metered(api, site, hosts)
    for each in trials:
        begin_s = _began_s(each)
        for host, one in drawn(api, site, hosts, begin_s, begin_s + each.duration_s, with_one).items():
            joules[host] += one.energy_j
            seconds[host] += each.duration_s
    return {host.partition(".")[0]: joules[host] / seconds[host] for host in hosts if seconds[host]}


def _sentence(watts: Mapping[str, float], trials: Sequence[Trial]) -> str:
    each_host = ", ".join(f"{name} {value:.0f} W" for name, value in watts.items())
    many = f"{len(trials)} trial{'' if len(trials) == 1 else 's'}"
    return f"{each_host}: measured by wattmetres for {len(watts)} of {trials[0].hosts} hosts, on average over {many}"


def _began_s(trial: Trial) -> float:
    return datetime.fromisoformat(trial.started_at).timestamp()
