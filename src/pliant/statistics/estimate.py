"""How long what is left of a run will take, from the trials that have ended. Pure: seconds in, seconds out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from statistics import mean

from pliant.statistics.patience import longest_s
from pliant.statistics.search import Todo
from pliant.trial import UNFOLDED

GUESS_S = 15.0
"""What a trial is taken to last until one has ended."""
OVERDUE = 1.5
"""A trial that takes so many times as long as expected is not as those before it: nobody knows when it will end."""

_Which = tuple[str, str, float]
"""File system, workload, ratio."""


class Estimate:
    """What trials took, and what those to come will take.

    `stopped` are the workloads whose folded trials are not waited for when their loss is shown; `timeout_s` is how long
    a workload may take in any case. `baseline` is the ratio that losses are against.
    """

    def __init__(
        self, stopped: Collection[str], timeout_s: float, max_loss: float, zone: float, baseline: float = UNFOLDED
    ) -> None:
        self._baseline = baseline
        self._stopped, self._timeout_s, self._loss = frozenset(stopped), timeout_s, (max_loss, zone)
        self._took: dict[_Which, list[float]] = {}
        self._baselines: dict[tuple[str, str], list[float]] = {}
        self.deployments_s: list[float] = []
        """What deployments took."""

    def took(self, which: _Which, seconds: float, counted: bool = True) -> None:
        """Take notice of a trial that has ended, and whether it counts: only by such a baseline others are stopped."""
        self._took.setdefault(which, []).append(seconds)
        filesystem, workload, ratio = which
        if counted and ratio == self._baseline:
            self._baselines.setdefault((filesystem, workload), []).append(seconds)

    def trial_s(self, which: _Which) -> float | None:
        """What a trial is expected to take; None before one has ended.

        What is known of the same ratio says most. A ratio that was never seen is taken to be as slow as the slowest of
        its workload: folding mostly makes trials longer, and a trial that ends early disappoints nobody.
        """
        if not self._took:
            return None
        same = self._took.get(which)
        filesystem, workload, _ = which
        alike = {each: times for each, times in self._took.items() if each[1] == workload}
        near = {each: times for each, times in alike.items() if each[0] == filesystem} or alike
        if same:
            known = mean(same)
        elif near:
            known = max(mean(times) for times in near.values())
        else:
            known = mean(seconds for times in self._took.values() for seconds in times)
        return min(known, self.most_s(which)) if self._limited(which) else known

    def most_s(self, which: _Which) -> float:
        """After how long a trial is stopped at the latest, about."""
        filesystem, workload, _ = which
        if not self._limited(which):
            return self._timeout_s
        return min(self._timeout_s, longest_s(mean(self._baselines[filesystem, workload]), *self._loss))

    def left_s(self, left: Sequence[Todo], deployments: int = 0) -> float:
        """What these trials, and so many deployments, will take together."""
        total = deployments * (mean(self.deployments_s) if self.deployments_s else 0.0)
        for which, count in Counter((each.filesystem, each.workload, each.ratio) for each in left).items():
            known = self.trial_s(which)
            total += count * (GUESS_S if known is None else known)
        return total

    def rest_s(self, which: _Which, lasted_s: float) -> tuple[float, float | None]:
        """How long a trial that is under way will still take, and what it was expected to take if it is overdue.

        One that is overdue is taken to go on until it is stopped.
        """
        known = self.trial_s(which)
        if known is not None and lasted_s > OVERDUE * known:
            return max(0.0, self.most_s(which) - lasted_s), known
        return max(0.0, (GUESS_S if known is None else known) - lasted_s), None

    def _limited(self, which: _Which) -> bool:
        """Whether a trial is stopped by what the baseline took."""
        filesystem, workload, ratio = which
        return ratio != self._baseline and workload in self._stopped and (filesystem, workload) in self._baselines
