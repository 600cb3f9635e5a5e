"""What hosts drew while trials ran, where the testbed has wattmetres on them, as facts of the run.

The energy that a report compares is modelled all the same: it is that of the hosts that a study is about, and those
with limits are slices of what was measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from pliant.campaign.reservations import Loan
from pliant.schedulers.grid5000 import Grid5000
from pliant.schedulers.grid5000_power import drawn, metered
from pliant.schedulers.interface import SchedulerError
from pliant.trial import Trial

_MOST = 200
"""Of how many trials at most the testbed is asked: the last ones."""


def facts(loan: Loan | None, hosts: Sequence[str], trials: Iterable[Trial], since_s: float) -> dict[str, str]:
    """Name of a fact -> what was measured, by ratio, in the trials that have begun since then. None of hosts of other
    schedulers. `hosts` are the names of the study's, in order: a trial has the first ones."""
    if loan is None or not isinstance(loan.scheduler, Grid5000):
        return {}
    mine = [each for each in trials if each.duration_s > 0 and not each.reused and _began_s(each) >= since_s - 1]
    by_ratio: dict[float, list[Trial]] = {}
    for each in mine[-_MOST:]:
        by_ratio.setdefault(each.ratio, []).append(each)
    found: dict[str, str] = {}
    try:
        for ratio, its in sorted(by_ratio.items()):
            if said := _measured(loan.scheduler, hosts[: its[0].hosts], its):
                found[f"power at ratio {ratio:g}"] = said
    except SchedulerError as error:
        found["power"] = f"the wattmetres were not read: {error}"
    return found


def _measured(scheduler: Grid5000, hosts: Sequence[str], trials: Sequence[Trial]) -> str:
    """Mean watts of each host over trials, in a sentence; "" if no host has a wattmetre with samples."""
    joules, seconds = dict.fromkeys(hosts, 0.0), dict.fromkeys(hosts, 0.0)
    api, site = scheduler.api, scheduler.site
    with_one = metered(api, site, hosts)
    for each in trials:
        begin_s = _began_s(each)
        for host, one in drawn(api, site, hosts, begin_s, begin_s + each.duration_s, with_one).items():
            joules[host] += one.energy_j
            seconds[host] += each.duration_s
    watts = {host.partition(".")[0]: joules[host] / seconds[host] for host in hosts if seconds[host]}
    if not watts:
        return ""
    each_host = ", ".join(f"{name} {value:.0f} W" for name, value in watts.items())
    many = f"{len(trials)} trial{'' if len(trials) == 1 else 's'}"
    return f"{each_host}: measured by wattmetres for {len(watts)} of {len(hosts)} hosts, on average over {many}"


def _began_s(trial: Trial) -> float:
    return datetime.fromisoformat(trial.started_at).timestamp()
