"""A curve read as flat up to a knee, and a straight line from there on, with an interval for the knee. Pure.

    y(f) = a max(1, 1 + b (f / k - 1)),  0 <= b <= 1

is fitted to logarithms by least squares: `a` and `b` for each knee `k` of a grid, and the knee that leaves the least.
With b = 1 the line goes through the origin: a resource that is used up at the knee is shared by more and more nodes,
which is the most that folding can cost. The interval has the knees whose residual is not significantly larger (profile
likelihood; Seber & Wild, *Nonlinear Regression*, 1989, section 5.4; for two lines that meet, Hudson, JASA 61, 1966).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_GRID = 400
_STEEPNESS = np.linspace(0.0, 1.0, 51)
_PARAMETERS = 3
_FLAT = 0.02
"""A line that rises by less than this over the whole curve is no line."""
_TIE = 1e-3
_EXACT = 0.005
"""Costs that differ by less than this part of them are the same, and so are those that come from less than half a
percent of each value: between two ratios at which something was measured many knees may be."""


@dataclass(frozen=True)
class Segmented:
    """`level` up to the knee; from there on it grows by `steepness`, 0 to 1, of what it would in proportion.

    `knee` is None where none is seen: the curve is flat. `low` and `high` are its interval; None where that reaches the
    end of what was measured on that side.
    """

    level: float
    steepness: float
    knee: float | None
    low: float | None
    high: float | None

    def at(self, ratio: float) -> float:
        """The curve at a ratio."""
        beyond = 0.0 if self.knee is None else max(0.0, ratio / self.knee - 1)
        return self.level * (1 + self.steepness * beyond)


def read(ratios: Sequence[float], times: Sequence[float], confidence: float = 0.95) -> Segmented:
    """Read a curve of times, or of anything that grows where a resource gets short, over folding ratios.

    The same ratio may be there several times. Of knees that suit equally well it is the latest, at which the line is
    steepest. ValueError from fewer than four points, or from such as are not positive.
    """
    from scipy.stats import f as fisher  # a third of a second

    at, values = np.asarray(ratios, dtype=np.float64), np.asarray(times, dtype=np.float64)
    if len(at) != len(values) or len(at) <= _PARAMETERS:
        raise ValueError(f"{len(at)} ratios and {len(values)} times are no curve: four points or more")
    if not (np.all(np.isfinite(values)) and np.all(values > 0) and np.all(at > 0)):
        raise ValueError("ratios and times have to be positive")
    logs, first, last = np.log(values), float(at.min()), float(at.max())
    grid = np.linspace(first, last, _GRID, endpoint=False)
    fits = [_fit(at, logs, float(knee)) for knee in grid]
    costs = np.array([cost for _, _, cost in fits])
    best = int(np.flatnonzero(costs <= max(costs.min() * (1 + _TIE), len(at) * _EXACT**2))[-1])
    level, steepness, _ = fits[best]
    free = len(at) - _PARAMETERS
    least, flat = float(costs.min()), float(logs.mean())
    limit = max(least * (1 + float(fisher.ppf(confidence, 1, free)) / free), float(costs[best]))
    by_chance = least * (1 + 2 * float(fisher.ppf(confidence, 2, free)) / free)  # a knee and a steepness more
    if steepness * (last / grid[best] - 1) < _FLAT or float(((logs - flat) ** 2).sum()) <= by_chance:
        return Segmented(float(np.exp(flat)), 0.0, None, None, None)
    inside = grid[costs <= limit + 1e-12]
    low, high = float(inside.min()), float(inside.max())
    ends = (low if low > first else None, high if high < grid[-1] else None)
    return Segmented(float(np.exp(level)), steepness, float(grid[best]), *ends)


def _fit(at: NDArray[np.float64], logs: NDArray[np.float64], knee: float) -> tuple[float, float, float]:
    """The logarithm of the level, the steepness and the sum of squares that are best for a knee: the level that suits a
    steepness is a mean."""
    rest = logs - np.log1p(np.outer(_STEEPNESS, np.maximum(0.0, at / knee - 1)))
    levels = rest.mean(axis=1)
    costs = ((rest - levels[:, None]) ** 2).sum(axis=1)
    best = int(costs.argmin())
    return float(levels[best]), float(_STEEPNESS[best]), float(costs[best])
