"""The levels of log values at each folding ratio, and how well the difference of two is known. Pure.

The values of one metric, in time order, are taken for

    log value = level of the ratio + drift of the machine + noise of the trial

* **Drift** is a random walk (the local level model: Harvey, *Forecasting, Structural Time Series Models and the Kalman
  Filter*, 1989, chapter 2), so that a folded trial is compared with baselines near it in time as far as the machine
  drifts, and with all of them where it does not: paired differences and plain means are its two ends. How much it
  drifts is weighed by restricted likelihood (Patterson & Thompson, *Biometrika* 58, 1971), got by Henderson's mixed
  model equations (*Biometrics* 31, 1975): several strengths of drift are averaged, and what they disagree about adds to
  the uncertainty (Hoeting, Madigan, Raftery & Volinsky, *Statistical Science* 14, 1999). Whether there is any, the
  likelihood ratio says at the 1 % level, against a mixture of chi-squared with 0 and 1 degrees of freedom (Self &
  Liang, *JASA* 82, 1987).
* **Noise** may differ between ratios: each one's variance is its own, drawn towards that of all as if that were worth
  `PRIOR_DEGREES` more trials (the moderated variance of Smyth, *Stat. Appl. Genet. Mol. Biol.* 3, 2004). Degrees of
  freedom of a difference are Satterthwaite's (*Biometrics Bulletin* 2, 1946).
* **Outliers**, values further than `OUTLIER` robust standard deviations from their ratio's median (the modified z-score
  of Iglewicz & Hoaglin, *How to Detect and Handle Outliers*, 1993; further with few trials, by which that deviation is
  hardly known), are drawn in to that distance (Huber, *Robust Statistics*, 1981), never left out, and told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.special import ndtr, stdtrit

PRIOR_DEGREES = 4.0
"""How many trials of its own outweigh what the noise of all ratios says of one ratio's."""
OUTLIER = 3.5
DRIFT_LEVEL = 0.01
_STEPS: tuple[float, ...] = (0.0, 0.01, 0.05, 0.25, 1.25)
"""Variances of one step of the drift that are tried, in variances of a trial's noise."""
_EFFICIENCY = 0.37
"""Of the median absolute deviation of normal values: so many trials does it make of one."""
_FEWEST = 3
"""Values of a ratio by which one of them can be told to be an outlier."""
_LEAST_SCALE = 1e-4
"""A noise, in logs, below what any program prints: values that were rounded to the same number have some."""

_Floats = NDArray[np.float64]
_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Difference:
    """Of two levels: the estimate in logs, its standard error and degrees of freedom, and what it rests on in trials.

    `size` is that of one sample that would be known as well, were there no drift.
    """

    estimate: float
    error: float
    degrees: float
    size: float


@dataclass(frozen=True)
class Drift:
    """How the machine drifted while a metric was measured: the range in logs, and the p-value that it did not."""

    range: float
    p: float

    @property
    def shown(self) -> bool:
        """Whether chance is an unlikely explanation."""
        return self.p < DRIFT_LEVEL

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; the range as a fraction."""
        return {"range": math.expm1(self.range), "p": self.p, "shown": self.shown}


class Levels:
    """The fit to `values` in time order, each of the ratio `of` the same place; ValueError if there are none.

    `beside` is a fit to those ratios alone whose values tell how noisy the machine is, for values of others that may
    seem quieter than they are. Their noise, and that of all, is then at least its, and no better known; and how far
    outliers are, and how much the machine drifts, is for it to say.
    """

    def __init__(self, of: Sequence[float], values: Sequence[float], beside: Levels | None = None) -> None:
        if not len(values):
            raise ValueError("there are no values")
        self.ratios = tuple(sorted(set(of)))
        place = {ratio: index for index, ratio in enumerate(self.ratios)}
        self._groups: _Ints = np.array([place[ratio] for ratio in of], dtype=np.int64)
        self._n = np.bincount(self._groups, minlength=len(self.ratios))
        raw = np.log(np.asarray(values, dtype=np.float64))
        self._reach: float = _reach(self._groups, self._n, raw) if beside is None else beside._reach
        self.outliers, logs = _drawn_in(self._groups, self._n, raw, self._reach)
        """Which of the values are outliers, by their index."""
        self._fit(logs, beside)

    def _fit(self, logs: _Floats, beside: Levels | None) -> None:
        free = len(logs) - len(self.ratios)
        steps = _STEPS if free > 1 else _STEPS[:1]
        if beside is not None:
            steps = _STEPS[: len(beside._weights)]
        fits = [_solve(self._groups, self._n, logs, np.ones(len(logs)), step) for step in steps]
        best = max(fits, key=lambda fit: fit.likelihood)
        weights = np.exp([fit.likelihood - best.likelihood for fit in fits])
        weights /= weights.sum()
        self._weights: _Floats = weights if beside is None else beside._weights
        weights = self._weights
        self.drift = Drift(float(np.ptp(best.drift)), _p_of_drift(2 * (best.likelihood - fits[0].likelihood)))
        self._degrees = float(free - weights[1:].sum())  # a drift takes one of them
        self._levels: _Floats = weights @ [fit.levels for fit in fits]
        self.deviation = math.nan
        """The noise of one trial, in logs, as all ratios tell; NaN where no ratio has two values."""
        if not free or (beside is not None and math.isnan(beside.deviation)):
            return
        pooled = max(float(weights @ [fit.quadratic for fit in fits]) / free, _LEAST_SCALE**2)
        variance = pooled if beside is None else max(pooled, beside.deviation**2)
        self.deviation = math.sqrt(variance)
        noise = weights @ [np.bincount(self._groups, fit.noise**2, len(self.ratios)) for fit in fits]
        squares = noise * pooled * free / max(float(noise.sum()), _LEAST_SCALE**2 * 1e-3)
        self._own: _Floats = (PRIOR_DEGREES * variance + squares) / (PRIOR_DEGREES + self._n - 1)
        if beside is not None:
            self._degrees = min(self._degrees, beside._degrees)
            quiet = [place for place, ratio in enumerate(self.ratios) if ratio not in beside.ratios]
            self._own[quiet] = np.maximum(self._own[quiet], variance)
        precision = variance / self._own[self._groups]
        fits = [_solve(self._groups, self._n, logs, precision, step) for step in steps]
        self._levels = weights @ [fit.levels for fit in fits]
        apart = np.array([fit.levels for fit in fits]) - self._levels
        least = _LEAST_SCALE**2 if beside is None else variance
        scales = [max(fit.quadratic / free, least) for fit in fits]
        within = sum(w * scale * fit.covariance for w, scale, fit in zip(weights, scales, fits, strict=True))
        self._covariance: _Floats = within + (apart * weights[:, None]).T @ apart

    def trials(self, ratio: float) -> int:
        """How many values there are at a ratio."""
        return int(self._n[self.ratios.index(ratio)]) if ratio in self.ratios else 0

    def lower(self, ratio: float, base: float) -> float:
        """How much lower the logs are at `ratio` than at `base`; KeyError if one has no values."""
        levels = dict(zip(self.ratios, self._levels, strict=True))
        return float(levels[base] - levels[ratio])

    def difference(self, ratio: float, base: float) -> Difference | None:
        """How much lower the logs are at `ratio` than at `base`; without noise known, None."""
        if math.isnan(self.deviation) or ratio not in self.ratios or base not in self.ratios:
            return None
        one, other = self.ratios.index(ratio), self.ratios.index(base)
        covariance = self._covariance
        variance = covariance[one, one] + covariance[other, other] - 2 * covariance[one, other]
        return self._known(self.lower(ratio, base), variance, [one, other])

    def level(self, ratio: float) -> Difference | None:
        """The level at a ratio as a `Difference` from nothing; without noise known, None."""
        if math.isnan(self.deviation) or ratio not in self.ratios:
            return None
        one = self.ratios.index(ratio)
        # Of the machine as it was on the whole: the drift is not to widen what each ratio's own trials say.
        return self._known(float(self._levels[one]), float(self._own[one]) / self._n[one], [one])

    def _known(self, estimate: float, variance: float, involved: Sequence[int]) -> Difference:
        parts = self._own[involved] / self._n[involved]
        shares = parts / parts.sum()
        degrees = np.minimum(PRIOR_DEGREES + self._n[involved] - 1, self._degrees)
        # Satterthwaite's, but for what two moderated variances have in common: they move together as that of all does.
        unsure = float((shares**2 / degrees).sum() + (1 - (shares**2).sum()) / self._degrees)
        size = 1 / float((1 / self._n[involved]).sum())
        return Difference(estimate, math.sqrt(variance), 1 / unsure, size)


@dataclass(frozen=True)
class _Fit:
    """Of the mixed model at one variance of the drift's steps, everything in units of a trial's variance."""

    step: float
    likelihood: float
    quadratic: float
    levels: _Floats
    covariance: _Floats
    drift: _Floats
    noise: _Floats


def _solve(groups: _Ints, n: _Ints, logs: _Floats, weights: _Floats, step: float) -> _Fit:
    """Henderson's equations, in which the drift has been eliminated: its matrix has three diagonals."""
    count = len(logs)
    design = np.zeros((count, len(n) + 1))
    design[np.arange(count), groups] = weights
    design[:, -1] = weights * logs
    matrix = np.zeros((len(n) + 1, len(n) + 1))
    matrix[np.arange(len(n)), np.arange(len(n))] = np.bincount(groups, weights, len(n))
    matrix[-1, :-1] = matrix[:-1, -1] = np.bincount(groups, weights * logs, len(n))
    matrix[-1, -1] = float(weights @ logs**2)
    determinant = -float(np.log(weights).sum())
    solved = np.zeros((count - 1, len(n) + 1))
    if step and count > 1:  # the walk begins at 0: where it begins is part of the levels
        banded = np.zeros((2, count - 1))
        banded[1] = weights[1:] + 2 / step
        banded[1, -1] -= 1 / step
        banded[0, 1:] = -1 / step
        factor = cholesky_banded(banded, check_finite=False)
        solved = cho_solve_banded((factor, False), design[1:], check_finite=False)
        matrix -= design[1:].T @ solved
        determinant += 2 * float(np.log(factor[1]).sum()) + (count - 1) * math.log(step)
    inverse = np.asarray(np.linalg.inv(matrix[:-1, :-1]), dtype=np.float64)
    levels: _Floats = inverse @ matrix[:-1, -1]
    quadratic = max(float(matrix[-1, -1] - matrix[-1, :-1] @ levels), 0.0)
    walk: _Floats = np.append(0.0, solved[:, -1] - solved[:, :-1] @ levels)
    free = count - len(n)
    determinant += -float(np.linalg.slogdet(inverse)[1])
    likelihood = -0.5 * (free * math.log(max(quadratic / max(free, 1), _LEAST_SCALE**2)) + determinant)
    return _Fit(step, likelihood, quadratic, levels, inverse, walk, logs - levels[groups] - walk)


def _p_of_drift(ratio: float) -> float:
    return 0.5 * math.erfc(math.sqrt(ratio / 2)) if ratio > 1e-9 else 1.0


def _reach(groups: _Ints, n: _Ints, logs: _Floats) -> float:
    """How far from its ratio's median a value may be by the noise of all; NaN where that is not known."""
    away = logs - _medians(groups, n, logs)[groups]
    judged = n[groups] >= _FEWEST
    free = _EFFICIENCY * float((n[n >= _FEWEST] - 1).sum())
    if free < 1:
        return math.nan
    pooled = _robust(away[judged], (n / np.maximum(n - 1, 1))[groups[judged]])
    return float(stdtrit(free, ndtr(OUTLIER))) * pooled


def _drawn_in(groups: _Ints, n: _Ints, logs: _Floats, reach: float) -> tuple[tuple[int, ...], _Floats]:
    """The indices of outliers, and the logs with those drawn in."""
    if math.isnan(reach):
        return (), logs
    medians = _medians(groups, n, logs)
    away = logs - medians[groups]
    # A ratio that is noisier than others must not seem to be full of outliers, nor hide one among few trials.
    own = [_own_limit(away[groups == group]) if count >= _FEWEST else 0.0 for group, count in enumerate(n)]
    limit = np.maximum(reach, own)[groups]
    outside = (n[groups] >= _FEWEST) & (np.abs(away) > limit)
    return tuple(np.flatnonzero(outside).tolist()), np.where(
        outside, medians[groups] + np.clip(away, -limit, limit), logs
    )


def _medians(groups: _Ints, n: _Ints, logs: _Floats) -> _Floats:
    return np.array([np.median(logs[groups == group]) for group in range(len(n))])


def _robust(away: _Floats, inflate: _Floats | float) -> float:
    """A standard deviation by the median of absolute deviations."""
    return max(1.4826 * float(np.median(np.abs(away) * inflate)), _LEAST_SCALE)


def _own_limit(away: _Floats) -> float:
    """How far from its median a ratio's value may be by its own noise alone, the less known the fewer there are."""
    count = len(away)
    return OUTLIER * count / (count - 2) * _robust(away, count / (count - 1))
