"""Which trial to run next. Pure: the same trials that ended give the same next one, so that a run can be resumed.

Every repetition of the grid is a pass over all ratios in an order of its own, the baseline among them, so that a drift
of the machine falls on folded and unfolded trials alike (randomised complete blocks: Fisher, "The Design of
Experiments", 1935). In the first pass the baseline comes first: a folded trial that takes for ever can only be stopped
in time where it is known how long one takes that is not folded.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from pliant.trial import Trial

Key = tuple[str, str, float, int]
"""What tells a trial from every other of a run: file system, workload, ratio, repetition."""


class Todo(NamedTuple):
    """A trial to be run: a workload's label, a ratio, which repetition it is, from 1, and a file system's label.

    Where several file systems take turns, trials of one `turn` share a deployment.
    """

    workload: str
    ratio: float
    repetition: int
    filesystem: str = ""
    turn: int = 0

    @property
    def key(self) -> Key:
        """See Key."""
        return self.filesystem, self.workload, self.ratio, self.repetition


def key_of(trial: Trial) -> Key:
    """The `Todo.key` that a trial was an attempt at."""
    return trial.filesystem, trial.workload, trial.ratio, trial.repetition


class Search(Protocol):
    """Says which trial is next. `over` is the last attempt at each trial that is over, ended or given up, in order."""

    def next(self, over: Sequence[Trial], spent_s: float = 0.0) -> Todo | None:
        """The next trial after those, or None if nothing is left; `spent_s` is how long the run has taken so far."""

    def left(self, over: Sequence[Trial]) -> Sequence[Todo]:
        """The trials still to come, the next one first, as far as that can be said: what follows may change it."""

    def skipped(self, over: Sequence[Trial]) -> Sequence[Todo]:
        """The next repetition of whatever is neither decided nor needed any more."""


class Within:
    """A search that ends when it has run so many trials, or for so many seconds. Trials that are under way end."""

    def __init__(self, search: Search, trials: int | None, seconds: float | None) -> None:
        self._search, self._trials, self._seconds = search, trials, seconds

    def next(self, over: Sequence[Trial], spent_s: float = 0.0) -> Todo | None:
        """See Search."""
        late = self._seconds is not None and spent_s >= self._seconds
        return None if late or self._room(over) == 0 else self._search.next(over, spent_s)

    def left(self, over: Sequence[Trial]) -> Sequence[Todo]:
        """See Search."""
        return self._search.left(over)[: self._room(over)]

    def skipped(self, over: Sequence[Trial]) -> Sequence[Todo]:
        """See Search."""
        return self._search.skipped(over)

    def _room(self, over: Sequence[Trial]) -> int | None:
        return None if self._trials is None else max(0, self._trials - len(over))


class Schedule:
    """A search that was fixed beforehand: these trials, whatever comes of them."""

    def __init__(self, todo: Sequence[Todo]) -> None:
        self._todo = tuple(todo)

    def next(self, over: Sequence[Trial], spent_s: float = 0.0) -> Todo | None:
        """See Search."""
        return next(iter(self.left(over)), None)

    def left(self, over: Sequence[Trial]) -> Sequence[Todo]:
        """See Search."""
        known = {key_of(trial) for trial in over}
        return [todo for todo in self._todo if todo.key not in known]

    def skipped(self, over: Sequence[Trial]) -> Sequence[Todo]:
        """See Search."""
        return ()


def schedule(
    workloads: Sequence[str],
    ratios: Sequence[float],
    repetitions: int,
    seed: int,
    filesystems: Sequence[str] = ("",),
    stays: bool = False,
) -> list[Todo]:
    """Every workload at every ratio on every file system, `repetitions` times, in the order in which to run them.

    Within a repetition each file system does its pass; their order is random first, and then turned round each time, so
    that what drifts evenly does not decide between them. In a pass the order of ratios is random, and at each ratio
    that of workloads; but in the first pass of each file system the baseline, the smallest ratio, comes first. With
    `stays`, as to change the ratio costs a deployment, a pass begins at the ratio at which the one before it ended,
    where no other file system came between. All of it is the same for the same seed.
    """
    chance = random.Random(seed)
    turn = chance.sample(list(filesystems), len(filesystems)) if len(filesystems) > 1 else list(filesystems)
    todo: list[Todo] = []
    for repetition in range(1, repetitions + 1):
        for filesystem in turn:
            passed = chance.sample(list(ratios), len(ratios))
            if repetition == 1:
                passed.sort(key=lambda ratio: ratio != min(ratios))
            elif stays and len(filesystems) == 1:
                passed.sort(key=lambda ratio: ratio != todo[-1].ratio)
            for ratio in passed:
                order = chance.sample(list(workloads), len(workloads))
                todo += [Todo(workload, ratio, repetition, filesystem, repetition) for workload in order]
        turn.reverse()
    return todo
