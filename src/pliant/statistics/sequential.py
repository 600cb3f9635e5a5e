"""How wide an interval must be: for one look at a fixed number of trials, or for a look after every one. Pure.

Who looks at an interval after every trial, and stops when it pleases, is wrong far more often than the interval says.
`whenever` pays for that: its interval covers the truth at all numbers of trials at once with the probability that it
claims, so that any reason to stop is a good one. It inverts the t-test whose alternative is an effect drawn from a
normal distribution, in units of the noise, with the right Haar measure on level and scale:

* Lai, "On confidence sequences", *Ann. Statist.* 4, 1976: the idea, after Robbins, *Ann. Math. Statist.* 41, 1970;
* Lindon, Ham, Tingley & Bojinov, "Anytime-valid linear models and regression adjusted causal inference in randomized
  experiments", arXiv:2210.08589: for one coefficient of a linear model, which is the form used here;
* Pérez-Ortiz, Lardy, de Heide & Grünwald, "E-statistics, group invariance and anytime-valid testing", *Ann. Statist.*
  52, 2024, and Wang & Ramdas, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown
  variance", arXiv:2310.03722: why Ville's inequality bounds it at all times;
* Howard, Ramdas, McAuliffe & Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", *Ann. Statist.*
  49, 2021: how its width compares.

A search has at most so many trials of a ratio, and intervals that hold for ever are wider than that needs. `until`
spends most of the level on those up to there (`statistics.boundary`) and the rest on those for ever.

That is exact for normal noise of one scale and a known course of the drift; `statistics.levels` estimates both, so what
the two are worth together is simulated: docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.special import ndtr, ndtri, stdtrit

from pliant.statistics.boundary import limited
from pliant.statistics.levels import Difference

PRIOR_SIZE = 0.5
"""How many trials the prior on the effect is worth: intervals are narrowest at some twenty times as many."""
FOR_EVER = 0.1
"""What part of the level goes to intervals that hold at any number of trials, in a search with an end."""
_LARGEST = 700.0
_FARTHEST = 30.0
"""Standard errors: beyond, Student's quantile has no digits left."""

Quantile = Callable[[float, float, float], float]
"""From a level (of both sides), degrees of freedom and a size in trials to standard errors on each side."""


def once(level: float, degrees: float, size: float) -> float:
    """Student's quantile: half the width, in standard errors, that one look may claim; infinite without noise known."""
    return float(stdtrit(degrees, 1 - level / 2)) if degrees > 0 else math.inf


def whenever(level: float, degrees: float, size: float) -> float:
    """The same for a look after every trial; infinite while the noise is hardly known.

    With s = size / (size + PRIOR_SIZE), the effect's own share, the evidence against a true value t standard errors
    away is sqrt(1 - s) [(1 + t²/ν) / (1 + (1 - s) t²/ν)]^((ν + 1) / 2); it is 1 / level at the end of the interval.
    """
    if degrees <= 0:
        return math.inf
    kept = PRIOR_SIZE / (PRIOR_SIZE + size)
    exponent = 2 / (degrees + 1) * -math.log(level * math.sqrt(kept))
    if exponent > _LARGEST:
        return math.inf
    grown = math.exp(exponent)
    return math.sqrt(degrees * (grown - 1) / (1 - kept * grown)) if kept * grown < 1 else math.inf


def until(most: int) -> Quantile:
    """The same for a search that has at most `most` trials of a ratio.

    Of the level `FOR_EVER` goes to `whenever`, and the rest to a boundary that is narrower up to that end: the interval
    is the narrower of the two (a union bound), and so holds at every number of trials, with or without an end.
    """

    def quantile(level: float, degrees: float, size: float) -> float:
        if degrees <= 0:
            return math.inf
        deviations = limited((1 - FOR_EVER) * level, size, most)
        # As rarely crossed with a noise that is estimated: group sequential t-tests, Jennison & Turnbull (2000).
        planned = -float(stdtrit(degrees, ndtr(-deviations))) if deviations < _FARTHEST else math.inf
        return min(planned, whenever(FOR_EVER * level, degrees, size))

    return quantile


def margin(known: Difference, level: float, quantile: Quantile) -> float:
    """Half the width, in logs, of an interval that is wrong with probability `level`; may be infinite.

    What is in doubt does not change from one look to the next, and so needs no more than a normal quantile.
    """
    return math.hypot(quantile(level, known.degrees, known.size) * known.error, ndtri(1 - level / 2) * known.doubt)


def _after(known: Difference, trials: int, base: int, more: int) -> Difference:
    """What would be known after so many more trials here, and of the baseline, if the noise is what it seems."""
    then = 1 / (trials + more) + 1 / (base + more)
    error = known.error * math.sqrt(then / (1 / trials + 1 / base))
    return Difference(known.estimate, error, known.degrees + 2 * more, 1 / then, known.doubt)


def expected(known: Difference, trials: int, base: int, level: float, quantile: Quantile, wanted: float) -> int | None:
    """How many more trials here, and as many of the baseline, make the margin `wanted`; None if `MOST` would not do.

    It takes the noise and the estimate for true.
    """
    few, many = 0, MOST
    while many - few > 1:
        more = (few + many) // 2
        enough = margin(_after(known, trials, base, more), level, quantile) <= wanted
        few, many = (few, more) if enough else (more, many)
    return None if many == MOST else many


def grid(known: Difference, trials: int, base: int, others: int, level: float, wanted: float) -> int | None:
    """How many repetitions of a full grid, judged once, make the margin `wanted`; None if `MOST` would not do.

    Besides the baseline and the ratio itself it has so many `others`, which tell of the noise too.
    """
    spread = 1 / trials + 1 / base
    few, many = 1, MOST
    while many - few > 1:
        each = (few + many) // 2
        error = known.error * math.sqrt(2 / each / spread)
        enough = once(level, (others + 2) * (each - 1), each / 2) * error <= wanted
        few, many = (few, each) if enough else (each, many)
    return None if many == MOST else many


def hope(
    known: Difference, trials: int, base: int, more: int, level: float, quantile: Quantile, zone: tuple[float, float]
) -> float:
    """How likely it is that after so many more trials the estimate is a margin below the zone's end or above its start.

    Predictive power, by which trials without a prospect are ended early (Spiegelhalter, Freedman & Blackburn,
    *Controlled Clinical Trials* 7, 1986): it makes no claim, and so costs nothing in error.
    """
    then = _after(known, trials, base, more)
    half = margin(then, level, quantile)
    if more <= 0 or not math.isfinite(half):
        return 0.0
    spread = math.sqrt(known.error**2 - then.error**2)
    start, end = zone
    return float(ndtr((end - half - known.estimate) / spread) + ndtr((known.estimate - start - half) / spread))


MOST = 1000
"""So many trials more are as good as never."""
