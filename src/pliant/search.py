"""Which trial to run next. Pure.

Every repetition is a pass over all ratios in an order of its own, the baseline among them, so that a drift of the
machine falls on folded and unfolded trials alike (randomised complete blocks: Fisher, "The Design of Experiments",
1935).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple


class Todo(NamedTuple):
    """A trial to be run: a workload's label, a ratio, and which repetition of them it is, from 1."""

    workload: str
    ratio: float
    repetition: int


def schedule(workloads: Sequence[str], ratios: Sequence[float], repetitions: int, seed: int) -> list[Todo]:
    """Every workload at every ratio, `repetitions` times, in the order in which to run them.

    Within a repetition the order of ratios is random, and at each ratio that of workloads; the same for the same seed.
    """
    chance = random.Random(seed)
    todo = []
    for repetition in range(1, repetitions + 1):
        for ratio in chance.sample(list(ratios), len(ratios)):
            todo += [Todo(workload, ratio, repetition) for workload in chance.sample(list(workloads), len(workloads))]
    return todo
