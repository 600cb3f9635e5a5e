"""The time of a run: what it has taken, what is left of its budget, and how long it will take, as it goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pliant.statistics.estimate import Estimate
from pliant.statistics.patience import last_moment
from pliant.statistics.search import Todo
from pliant.study.model import Study
from pliant.trial import BUDGET_SPENT, Trial

_TOLD_S = 1.0
"""How often it is told that a trial goes on."""


class GoesOn(NamedTuple):
    """How it is with the trial that is under way: see `engine.Listener.lasts`."""

    lasted_s: float
    expected_s: float | None
    left_s: float


class Timing:
    """The time of a run of a study, on the monotonic clock; interruptions are no part of it.

    `ends_s` says when the hosts have to be given back, in seconds since the epoch, None for never.
    """

    def __init__(self, study: Study, ends_s: Callable[[], float | None] = lambda: None) -> None:
        self._ends_s = ends_s
        about, fold = study.about, study.fold
        stopped = {w.label for w in study.workloads if not w.faults and hasattr(w.driver, "so_far")}
        self.expected = Estimate(stopped, about.trial_timeout, fold.max_loss, fold.zone, fold.baseline)
        self._whole_s = math.inf if about.budget_s is None else about.budget_s
        self._began = self._since = self._told = time.monotonic()
        self._left: Sequence[Todo] = ()
        self._deployments = 0

    def resume(self, spent_s: float) -> None:
        """Count what the run had taken before it was interrupted."""
        self._began -= spent_s

    @property
    def spent_s(self) -> float:
        """What the run has taken."""
        return time.monotonic() - self._began

    @property
    def late(self) -> bool:
        """Whether the run has taken all that it may."""
        return self.spent_s >= self._whole_s or self.lent_s <= 0

    @property
    def lent_s(self) -> float:
        """For how long the hosts may still be worked on."""
        ends_s = self._ends_s()
        return math.inf if ends_s is None else ends_s - time.time()

    def begins(self, left: Sequence[Todo], deployments: int) -> None:
        """A trial begins; these are left after it, and so many deployments."""
        self._since, self._left, self._deployments = time.monotonic(), left, deployments

    def ended(self, trial: Trial, seconds: float | None = None) -> None:
        """A trial has ended; it took what has gone by since it began, or so many seconds. From now on as much is
        expected of the like, unless it was the budget that ended it."""
        if trial.reason != BUDGET_SPENT:
            took_s = time.monotonic() - self._since if seconds is None else seconds
            self.expected.took(which(trial), took_s, trial.counted)

    def until_s(self, trial: Trial) -> float:
        """When a trial under way has to be over for the budget's sake."""
        until = min(self._began + self._whole_s, time.monotonic() + self.lent_s)
        return last_moment(until, self._since, self.expected.trial_s(which(trial)))

    def left_s(self, left: Sequence[Todo], deployments: int) -> float:
        """How long these trials, and so many deployments, will take, or until the budget is spent."""
        return min(self.expected.left_s(left, deployments), max(0.0, self._whole_s - self.spent_s))

    def goes_on(self, trial: Trial) -> GoesOn | None:
        """How it is with a trial under way; None if that was told just now."""
        now = time.monotonic()
        if now - self._told < _TOLD_S:
            return None
        self._told = now
        rest_s, expected_s = self.expected.rest_s(which(trial), now - self._since)
        left_s = rest_s + self.expected.left_s(self._left, self._deployments)
        return GoesOn(now - self._since, expected_s, min(left_s, max(0.0, self._whole_s - self.spent_s)))


def which(trial: Trial) -> tuple[str, str, float]:
    """What trials are alike."""
    return trial.filesystem, trial.workload, trial.ratio
