"""Max-min fair sharing of resources among flows, as fluids: nobody gets more while somebody gets less of the same.

Flows that are alike are one class and hosts that are alike another, so that what is solved is as large as the number of
classes, however many nodes there are. With classes of one each it is the full problem.

Progressive filling: Bertsekas & Gallager, "Data Networks", 2nd edition, 1992, section 6.5.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_FULL = 1 + 1e-9
"""Rounding that a resource may be over its capacity by."""


@dataclass(frozen=True)
class Flows:
    """Classes of flows over resources.

    `capacity[k]` is what one resource of class k gives per second, `demand[k, f]` what one flow of class f takes of one
    such resource for each unit that it moves, `many[f]` how many flows of the class there are, and `most[f]` how much a
    flow moves per second where nothing is in its way (units per second; infinite where nothing else holds it back).
    """

    capacity: Floats
    demand: Floats
    many: Floats
    most: Floats


def rates(flows: Flows) -> Floats:
    """What a flow of each class moves per second, in units, max-min fairly.

    Raises ValueError where a flow would be held back by nothing at all.
    """
    demand = flows.demand * flows.many
    left = np.asarray(flows.capacity, dtype=np.float64).copy()
    found = np.zeros(len(flows.many))
    free = flows.many > 0
    level = 0.0
    while free.any():
        wanted = demand[:, free].sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            until = np.where(wanted > 0, left / wanted, np.inf)
        step = min(float(until.min(initial=np.inf)), float(flows.most[free].min()) - level)
        if not np.isfinite(step):
            raise ValueError("nothing holds a flow back: neither a resource nor its own pace")
        level += max(step, 0.0)
        left = left - wanted * max(step, 0.0)
        found[free] = level
        full = (until <= step * _FULL) | (left <= 0)
        held = (demand[full] > 0).any(axis=0) | (flows.most <= level * _FULL)
        if not (free & held).any():  # of rounding alone
            break
        free &= ~held
    return found


def makespan(flows: Flows, work: float) -> float:
    """Seconds until each flow has moved `work` units: whoever ends leaves what it used to the others."""
    left = np.where(flows.many > 0, work, 0.0)
    passed_s = 0.0
    while (left > 0).any():
        going = Flows(flows.capacity, flows.demand, np.where(left > 0, flows.many, 0.0), flows.most)
        pace = rates(going)
        with np.errstate(divide="ignore", invalid="ignore"):
            ends_s = np.where(left > 0, left / pace, np.inf)
        step_s = float(ends_s.min())
        if not np.isfinite(step_s):
            raise ValueError("a flow stands still")
        passed_s += step_s
        left = np.where(ends_s <= step_s * _FULL, 0.0, left - pace * step_s)
    return passed_s
