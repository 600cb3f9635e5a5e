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
    """A trial to be run: a workload's label, a ratio, which repetition it is, from 1, and a file system's label."""

    workload: str
    ratio: float
    repetition: int
    filesystem: str = ""


def schedule(
    workloads: Sequence[str], ratios: Sequence[float], repetitions: int, seed: int, filesystems: Sequence[str] = ("",)
) -> list[Todo]:
    """Every workload at every ratio on every file system, `repetitions` times, in the order in which to run them.

    Within a repetition each file system does its pass; their order is random first, and then turned round each time, so
    that what drifts evenly does not decide between them. In a pass the order of ratios is random, and at each ratio
    that of workloads; all of it is the same for the same seed.
    """
    chance = random.Random(seed)
    turn = chance.sample(list(filesystems), len(filesystems)) if len(filesystems) > 1 else list(filesystems)
    todo = []
    for repetition in range(1, repetitions + 1):
        for filesystem in turn:
            for ratio in chance.sample(list(ratios), len(ratios)):
                order = chance.sample(list(workloads), len(workloads))
                todo += [Todo(workload, ratio, repetition, filesystem) for workload in order]
        turn.reverse()
    return todo
