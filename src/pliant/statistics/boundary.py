"""How far a mean may stray while the number of trials is limited: the boundary of a group sequential test. Pure.

A search has at most so many trials of a ratio. Intervals that hold at any number of trials for ever are wider than that
needs: at the last of 25 by a fifth. Those that hold up to a known end were worked out for clinical trials. Here the
boundary is of the family of Wang & Tsiatis, "Approximately optimal one-parameter boundaries for group sequential
trials", *Biometrics* 43, 1987: at the share f of what will be known in the end, an estimate may be C f^(SHAPE - 1/2)
standard errors away. C follows from the level by the recursive integration of Armitage, McPherson & Rowe, "Repeated
significance tests on accumulating data", *J. R. Stat. Soc. A* 132, 1969. All of it is in Jennison & Turnbull, *Group
Sequential Methods with Applications to Clinical Trials*, 2000.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

SHAPE = 0.4
"""Between that of O'Brien & Fleming (0), which hardly ends early, and that of Pocock (1/2), wide in the end."""
STEP = 0.5
"""The size that one look adds, of `Difference.size`: a trial here and one of the baseline, or more at times."""
END, LAST = 0.6, 0.7
"""Where the boundary ends to fall, and where it ends, in sizes to a trial: a ratio's last trial mostly has half as many
baselines more, and never so many that its size is beyond `LAST`."""
_MOST_LOOKS = 100
"""More looks than these are taken for so many: that makes no difference that could be seen, and takes no time."""
_CELLS = 20
"""Of the grid on which the density is integrated, to a standard deviation of one step."""


def deviations(level: float, sizes: NDArray[np.float64], end: float, shape: float = SHAPE) -> NDArray[np.float64]:
    """The boundary at each look, in standard errors to each side: crossed by chance at any, with probability `level`.

    `sizes` are evenly spaced from their first; past `end` the boundary, in standard errors, stays as it is there.
    """
    family = np.minimum(sizes / end, 1.0) ** (shape - 0.5)

    def excess(scale: float) -> float:
        return crossing(scale * family, sizes) - level / 2

    highest = float(-ndtri(level / 2 / len(sizes)))  # Bonferroni's, which is enough for a boundary that is flat
    return family * float(brentq(excess, 0.1, highest + 1, xtol=1e-4))


def crossing(boundary: NDArray[np.float64], sizes: NDArray[np.float64]) -> float:
    """The probability that the mean, without an effect, is above the boundary, in standard errors, at any look."""
    width = 1 / _CELLS
    reach = 8.0
    steps = sizes / sizes[0]
    low, high = -reach * math.sqrt(steps[-1]), float((boundary * np.sqrt(steps)).max()) + reach
    edges = low + width * np.arange(math.ceil((high - low) / width) + 1)
    half = math.ceil(reach / width)
    moved = np.diff(ndtr(width * (np.arange(-half, half + 2) - 0.5)))
    mass = np.diff(ndtr(edges))
    crossed = 0.0
    for number, (limit, step) in enumerate(zip(boundary, steps, strict=True)):
        if number:
            mass = np.convolve(mass, moved, "same")
        inside = np.clip((limit * math.sqrt(step) - edges[:-1]) / width, 0.0, 1.0)
        crossed += float((mass * (1 - inside)).sum())
        mass = mass * inside
    return crossed


def limited(level: float, size: float, most: int) -> float:
    """The boundary at `size`, in standard errors of a known noise, with `most` trials of a ratio at most.

    Infinite beyond what these can be worth: it is not meant for more.
    """
    sizes, found = _limited(level, most)
    return float(np.interp(size, sizes, found)) if size <= sizes[-1] else math.inf


@lru_cache(maxsize=256)
def _limited(level: float, most: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    step = max(STEP, LAST * most / _MOST_LOOKS)
    sizes = step * np.arange(1, math.ceil(LAST * most / step) + 1, dtype=np.float64)
    return sizes, deviations(level, sizes, END * most)
