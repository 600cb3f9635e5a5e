"""Values of which only a bound is known, as their trials were stopped: what they say of the level of a ratio. Pure.

A trial that is stopped, because its loss is shown whatever comes, says how good its metric was at best: its value is
censored (Klein & Moeschberger, *Survival Analysis*, 2003, chapter 3). Where everything of a trial is known but the end,
a model of the noise could guess it (Tobin, *Econometrica* 26, 1958); but what hangs has no noise that a model knows. So
nothing is guessed:

* **A bound stands for its value**, the best case, which is the least loss. The level of values that are capped is no
  worse than that of the true ones, so a loss is *at least* what comes of it: its estimate and the lower end of its
  interval hold, the upper end is open. Such a ratio can break, and never hold.
* **Outliers** are drawn in to a limit (`statistics.levels`). A bound that lies beyond it, on the worse side, is drawn
  in to the same place as the true value would be, wherever that is: a median, and the median of what is about it, do
  not depend on how far away is what is far away. So it is as good as exact, and a single trial that hangs among many
  good ones makes nothing open.
* **Noise.** Bounds are hardly apart from each other, and would make the machine seem quieter than it is. Ratios with
  open values have no part in the fit of the others; and in their own the noise is the larger one of the two, with the
  fewer degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pliant.statistics.levels import Levels

Better = Literal["higher", "lower"]
MedianIs = Literal["exact", "at most", "at least"]


class Value(NamedTuple):
    """The value that a trial, by its number, gave at a ratio; if it is `capped`, how good it was at best.

    `disturbed` is what `statistics.levels` takes for it.
    """

    trial: int
    ratio: float
    value: float
    capped: bool = False
    disturbed: tuple[float, ...] = ()


@dataclass(frozen=True)
class Fit:
    """Levels, and the values in time order that they were fitted to; None if there are no values."""

    values: tuple[Value, ...]
    levels: Levels | None

    def outliers(self, ratio: float) -> tuple[int, ...]:
        """The numbers of the trials at a ratio whose values were drawn in."""
        drawn_in = [] if self.levels is None else [self.values[index] for index in self.levels.outliers]
        return tuple(each.trial for each in drawn_in if each.ratio == ratio)

    def open(self, ratio: float, better: Better) -> bool:
        """Whether any bound at a ratio stays one: it was not drawn in from the worse side."""
        here = [each for each in self.values if each.ratio == ratio]
        middle, sign = np.median([each.value for each in here]), 1 if better == "higher" else -1
        drawn_in = self.outliers(ratio)
        return any(each.capped and not (each.trial in drawn_in and sign * each.value < sign * middle) for each in here)


@dataclass(frozen=True)
class Fits:
    """`sure` is the fit to the ratios whose values are known, or as good as; `capped` that for each of the others."""

    sure: Fit
    capped: Mapping[float, Fit]

    def of(self, ratio: float) -> Fit:
        """The fit that a ratio is judged by."""
        return self.capped.get(ratio, self.sure)

    def at_least(self, ratio: float) -> bool:
        """Whether the loss at a ratio is at least what its levels say, and may be anything above."""
        return ratio in self.capped


def fitted(values: Sequence[Value], better: Better) -> Fits:
    """The levels of all ratios that have values, from those in time order."""
    capped = sorted({each.ratio for each in values if each.capped})
    told = {each.ratio for each in values} - set(capped)
    # Each by itself against those that are known: many that hang would make each other's limit too narrow, or too wide.
    shown = [ratio for ratio in capped if not _fit(values, {*told, ratio}).open(ratio, better)]
    sure = _fit(values, {*told, *shown})
    while open_ := [ratio for ratio in shown if sure.open(ratio, better)]:
        shown = [ratio for ratio in shown if ratio not in open_]
        sure = _fit(values, {*told, *shown})
    beside = sure.levels or Levels([0.0], [1.0])  # a single value tells nothing of the noise, as none does
    open_ = [ratio for ratio in capped if ratio not in shown]
    return Fits(sure, {ratio: _fit(values, {*told, *shown, ratio}, beside) for ratio in open_})


def _fit(values: Sequence[Value], ratios: Collection[float], beside: Levels | None = None) -> Fit:
    """The fit to those of the values that are of these ratios."""
    these = tuple(each for each in values if each.ratio in ratios)
    if not these:
        return Fit((), None)
    disturbed = [each.disturbed for each in these]
    return Fit(these, Levels([each.ratio for each in these], [each.value for each in these], beside, disturbed))


def median(values: Sequence[Value], better: Better) -> tuple[float, MedianIs]:
    """The median of values of one ratio, of which there is one, and whether it is a bound: it would move with them."""
    middle = float(np.median([each.value for each in values]))
    end = -math.inf if better == "higher" else math.inf
    if float(np.median([end if each.capped else each.value for each in values])) == middle:
        return middle, "exact"
    return middle, "at most" if better == "higher" else "at least"
