"""What a search saved: its trials against those of the full grid that would have decided as much. Pure.

A grid has the same number of repetitions at every ratio, for all workloads, and is fixed beforehand: so the one that is
compared with has as many as the state needs that was hardest to decide, at the noise that was found and with Student's
interval, which is narrower than that of a search (`statistics.sequential.grid`). Whoever plans a grid does not know
that number, and takes more, or decides less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from pliant.statistics.verdict import Verdict
from pliant.trial import Trial


@dataclass(frozen=True)
class Saved:
    """Trials and machine-hours (hosts times hours) of a search, and of a grid of so many repetitions."""

    trials: int
    machine_hours: float
    grid_repetitions: int
    grid_trials: int
    grid_machine_hours: float

    @property
    def share(self) -> float:
        """The part of the grid's machine-hours that were saved; negative if the search took more."""
        return 1 - self.machine_hours / self.grid_machine_hours

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"share": self.share}


def saved(trials: Sequence[Trial], verdicts: Sequence[Verdict], hosts: Mapping[float, int]) -> Saved | None:
    """The search that `verdicts` are of, with all that it ran; None if it decided nothing, or never saw a ratio."""
    needed = [row.grid for verdict in verdicts for row in verdict.ratios if row.grid is not None]
    workloads = dict.fromkeys(verdict.workload for verdict in verdicts)
    mine = [trial for trial in trials if trial.workload in workloads]
    counted = [trial for trial in mine if trial.counted]  # a grid would stop those that were stopped here
    lasting = {
        (workload, ratio): [t.duration_s for t in counted if (t.workload, t.ratio) == (workload, ratio)]
        for workload in workloads
        for ratio in hosts
    }
    if not needed or not all(lasting.values()):
        return None
    each_s = sum(hosts[ratio] * mean(durations) for (_, ratio), durations in lasting.items())
    spent_s = sum(hosts.get(trial.ratio, trial.hosts) * trial.duration_s for trial in mine)
    repetitions = max(needed)
    if not each_s:
        return None
    return Saved(len(mine), spent_s / 3600, repetitions, repetitions * len(lasting), repetitions * each_s / 3600)
