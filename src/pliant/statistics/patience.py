"""How long a trial is waited for: what it shows so far and what the baseline gave in, why to stop it out. Pure.

A folded trial whose operation takes so much longer than the baseline's that its loss is shown whatever comes is not
worth waiting for: it may never end. It is stopped, and counts with what it has shown: a bound in place of a value.
What is compared are metrics, not times: with a stonewall, say, a bandwidth does not follow from a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from pliant.trial import BUDGET_SPENT, Trial
from pliant.units import format_duration
from pliant.workloads.model import Metric, SoFar

LOST = 0.8
"""The loss that must be shown of a metric for its trial to be stopped. A value says more than a bound, and to wait for
one costs at most five times what the baseline takes."""
PATIENCE_S = 30.0
"""So long an operation may take in any case. Where the baseline takes a second, five are soon over without anything
being wrong, and to wait for the value costs next to nothing."""
GRACE_S, GRACE = 10.0, 0.1
"""A trial under way when the budget is spent may go on for so long, or for such a part of its expected time if that is
more, if it is expected to end about then: what it took so far would be lost."""


def lost(max_loss: float, zone: float) -> float:
    """The loss from which on a trial is not waited for: LOST, or halfway from the zone's upper end to all of it.

    Where nearly everything is tolerated, LOST would be within what may hold, or so near that a noisy baseline decides.

    >>> lost(0.1, 0.05), lost(0.7, 0.1)
    (0.8, 0.9)
    """
    return max(LOST, round((1 + max_loss + zone) / 2, 6))


def longest_s(baseline_s: float, max_loss: float, zone: float) -> float:
    """How long an operation is waited for that takes `baseline_s` at the baseline.

    >>> longest_s(29.0, 0.1, 0.05), longest_s(2.0, 0.1, 0.05)
    (145.0, 30.0)
    """
    return max(PATIENCE_S, round(baseline_s / (1 - lost(max_loss, zone)), 3))


def last_moment(spent_s: float, began_s: float, expected_s: float | None) -> float:
    """When a trial that began at `began_s` has to be over, if the budget is spent at `spent_s` of the same clock.

    >>> last_moment(100.0, 70.0, 35.0), last_moment(100.0, 70.0, 60.0), last_moment(100.0, 0.0, 45.0)
    (110.0, 100.0, 100.0)
    """
    if expected_s is None:
        return spent_s
    grace_s = max(GRACE_S, GRACE * expected_s)
    return spent_s + grace_s if abs(began_s + expected_s - spent_s) <= grace_s else spent_s


def medians(trials: Iterable[Trial]) -> dict[str, float]:
    """The median of each metric over those of some trials that have it."""
    values: dict[str, list[float]] = {}
    for trial in trials:
        for name, value in trial.metrics.items() if trial.counted else ():
            if math.isfinite(value) and value > 0:
                values.setdefault(name, []).append(value)
    return {name: median(each) for name, each in values.items()}


@dataclass(frozen=True)
class Patience:
    """What decides how long a trial is waited for, besides its timeout.

    `metrics` are its workload's, `baseline` their medians at the baseline, as far as they are known. `folded` says
    whether there may be a loss to be shown: the baseline has none, and what becomes of a trial through faults is a
    result. `until_s` is when it has to be over for the budget's sake, on the monotonic clock.
    """

    metrics: Sequence[Metric] = ()
    baseline: Mapping[str, float] = field(default_factory=dict)
    max_loss: float = 0.1
    zone: float = 0.05
    folded: bool = False
    until_s: float = math.inf

    def enough(self, found: SoFar, now_s: float) -> str:
        """Why a trial is not waited for any longer, in words; "" if it is."""
        late = BUDGET_SPENT if now_s >= self.until_s else ""
        if found.lasted_s < PATIENCE_S or not self.folded:
            return late
        # That of a time is lost to the same part when it is as many times as long.
        factor = 1 / (1 - lost(self.max_loss, self.zone))
        return self._shown(found, factor, factor) or late

    def decided(self, found: SoFar) -> str:
        """How the loss of a trial that was stopped at its timeout is shown all the same, in words; "" if it is not.

        Before there is a baseline nobody knows; then what it shows is kept for when there is one, as far as it shows
        anything: to repeat it would take as long again and say the same.
        """
        if not self.folded:
            return ""
        if not self.baseline and found.bounds:
            return f"nothing is known of the baseline yet{_of(found)}"
        worst = self.max_loss + self.zone
        return self._shown(found, 1 / (1 - worst), 1 + worst)

    def all_lost(self) -> dict[str, float]:
        """How good each metric was at best in a trial that cannot come to its end: as good as one that is stopped.
        Empty where there is no loss to be shown, or nothing to show it against."""
        part = 1 - lost(self.max_loss, self.zone)
        return {
            metric.name: base * part if metric.better == "higher" else base / part
            for metric in self.metrics
            if self.folded and (base := self.baseline.get(metric.name)) is not None
        }

    def _shown(self, found: SoFar, less: float, more: float) -> str:
        """The first bound that is worse than the baseline: `less` times as low, or `more` times as high, in words."""
        for metric in self.metrics:
            bound, base = found.bounds.get(metric.name), self.baseline.get(metric.name)
            if bound is None or base is None:
                continue
            worse = bound * less <= base if metric.better == "higher" else bound >= base * more
            if worse:
                side = "at most" if metric.better == "higher" else "at least"
                name = metric.name.replace("_", " ")
                least = f"{name} is {side} {bound:.3g} {metric.unit}, and {base:.3g} at the baseline"
                return f"its loss is shown: {least}{_of(found)}"
        return ""


def _of(found: SoFar) -> str:
    """What was under way, and for how long."""
    if not found.operation:
        return ""
    return f", after {format_duration(round(found.lasted_s))} of {found.operation.replace('-', ' ')}"
