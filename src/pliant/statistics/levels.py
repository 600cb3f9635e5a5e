"""The levels of log values at each folding ratio, and how well the difference of two is known. Pure.

The values of one metric, in time order, are taken for

    log value = level of the ratio - slope x disturbance of the trial + drift of the machine + noise of the trial

* **Disturbance** is what is known of a trial that the machine did to it (`telemetry.disturbance`): a covariate, as in
  the analysis of covariance (Fisher, *Statistical Methods for Research Workers*, 1932; CUPED is its use in experiments
  on line: Deng, Xu, Kohavi & Walker, *WSDM* 2013). Its slope is that of all ratios together, as each has few trials.
  Levels are those at no disturbance. A disturbance is in logs of what it may well do to a value: nothing is known of
  its slope but that it is of the order of 1, so that it is drawn to none as far as the values do not show it (Hoerl &
  Kennard, "Ridge regression", *Technometrics* 12, 1970); and what is then in doubt, of a level far from no disturbance,
  widens its intervals.
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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.special import ndtr, stdtrit

PRIOR_DEGREES = 4.0
"""How many trials of its own outweigh what the noise of all ratios says of one ratio's."""
OUTLIER = 3.5
DRIFT_LEVEL = 0.01
FEWEST_FOR_SLOPES = 6
"""Degrees of freedom from which on slopes are estimated. With fewer, one less makes intervals wider by half and more:
slopes are then left at none, and in doubt by all that they may be."""
_LEAST_DISTURBANCE = 1e-3
"""A disturbance, in logs, that no trial has more of is none."""
_STEPS: tuple[float, ...] = (0.0, 0.01, 0.05, 0.25, 1.25)
"""Variances of one step of the drift that are tried, in variances of a trial's noise."""
_ROUNDS = 3
"""In which a slope and the noise beside it are found."""
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

    `size` is that of one sample that would be known as well, were there no drift. `doubt` is another standard error, of
    what the values do not tell of slopes: it is normal, however few they are.
    """

    estimate: float
    error: float
    degrees: float
    size: float
    doubt: float = 0.0

    @property
    def whole(self) -> float:
        """Both errors together."""
        return math.hypot(self.error, self.doubt)


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

    `disturbed` has as many rows, of the disturbances of each value.

    `beside` is a fit to those ratios alone whose values tell how noisy the machine is, for values of others that may
    seem quieter than they are. Their noise, and that of all, is then at least its, and no better known; and how far
    outliers are, and how much the machine drifts, is for it to say.
    """

    def __init__(
        self,
        of: Sequence[float],
        values: Sequence[float],
        beside: Levels | None = None,
        disturbed: Sequence[Sequence[float]] = (),
    ) -> None:
        if not len(values):
            raise ValueError("there are no values")
        self.ratios = tuple(sorted(set(of)))
        place = {ratio: index for index, ratio in enumerate(self.ratios)}
        self._groups: _Ints = np.array([place[ratio] for ratio in of], dtype=np.int64)
        self._n = np.bincount(self._groups, minlength=len(self.ratios))
        raw = np.log(np.asarray(values, dtype=np.float64))
        self._disturbed = _covariates(disturbed, len(raw))
        expected = np.zeros(len(raw))
        if self._disturbed.any():  # what a disturbance explains is no outlier
            self._fit(raw, beside)
            expected = self._disturbed @ self.slopes
        self._reach: float = _reach(self._groups, self._n, raw + expected) if beside is None else beside._reach
        self.outliers, logs = _drawn_in(self._groups, self._n, raw + expected, self._reach)
        """Which of the values are outliers, by their index."""
        self._fit(logs - expected, beside)

    def _fit(self, logs: _Floats, beside: Levels | None) -> None:
        free = len(logs) - len(self.ratios)
        steps = _STEPS if free > 1 else _STEPS[:1]
        if beside is not None:
            steps = _STEPS[: len(beside._weights)]
        problem = _Problem(self._groups, self._n, logs, np.ones(len(logs)), self._disturbed)
        fits = problem.fits(steps, free)
        best = max(fits, key=lambda fit: fit.likelihood)
        self.drift = Drift(float(np.ptp(best.drift)), _p_of_drift(2 * (best.likelihood - fits[0].likelihood)))
        weights = np.exp([fit.likelihood - best.likelihood for fit in fits])
        weights /= weights.sum()
        self._weights: _Floats = weights if beside is None else beside._weights
        weights = self._weights
        # A drift takes one of the degrees of freedom, and so does each slope, as far as the values tell of it.
        taken = [(fit.step > 0) + fit.told for fit in fits]
        self._degrees = max(float(free - weights @ taken), 1.0 if free else 0.0)
        self._levels: _Floats = weights @ [fit.levels for fit in fits]
        self.slopes: _Floats = -(weights @ [fit.slopes for fit in fits])
        """Of each disturbance, by how much it lowers the logs; of those that no value has much of, 0."""
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
        fits = replace(problem, weights=variance / self._own[self._groups]).fits(steps, free)
        self._levels = weights @ [fit.levels for fit in fits]
        self.slopes = -(weights @ [fit.slopes for fit in fits])
        least = _LEAST_SCALE**2 if beside is None else variance
        scaled = weights * [max(fit.quadratic / free, least) for fit in fits]
        apart = np.array([fit.levels for fit in fits]) - self._levels
        known = np.tensordot(scaled, [fit.covariance - fit.supposed for fit in fits], axes=1)
        self._covariance: _Floats = known + (apart * weights[:, None]).T @ apart
        self._doubt: _Floats = np.tensordot(scaled, [fit.supposed for fit in fits], axes=1)

    def trials(self, ratio: float) -> int:
        """How many values there are at a ratio."""
        return int(self._n[self.ratios.index(ratio)]) if ratio in self.ratios else 0

    def lower(self, ratio: float, base: float) -> float:
        """How much lower the logs are at `ratio` than at `base`; KeyError if one has no values."""
        levels = dict(zip(self.ratios, self._levels, strict=True))
        return float(levels[base] - levels[ratio])

    def moved(self, ratio: float, base: float) -> float:
        """How much lower the logs are at `ratio` than at `base` for what disturbed values, which levels leave out.

        ValueError if one has no values.
        """
        here, there = (self._disturbed[self._groups == self.ratios.index(each)].mean(axis=0) for each in (ratio, base))
        return float((here - there) @ self.slopes)

    def difference(self, ratio: float, base: float) -> Difference | None:
        """How much lower the logs are at `ratio` than at `base`; without noise known, None."""
        if math.isnan(self.deviation) or ratio not in self.ratios or base not in self.ratios:
            return None
        one, other = self.ratios.index(ratio), self.ratios.index(base)
        variance, doubt = (
            matrix[one, one] + matrix[other, other] - 2 * matrix[one, other]
            for matrix in (self._covariance, self._doubt)
        )
        known = self._known(self.lower(ratio, base), variance, [one, other])
        return replace(known, doubt=math.sqrt(max(doubt, 0.0)))

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
    slopes: _Floats
    told: float
    """How many slopes the values tell of: those that they tell nothing of are as they were supposed to be."""
    covariance: _Floats
    supposed: _Floats
    """The part of the covariance that comes of what was supposed of slopes."""
    drift: _Floats
    noise: _Floats


@dataclass(frozen=True)
class _Problem:
    """Logs in time order of so many groups, with `n` each, how much each weighs, and their disturbances."""

    groups: _Ints
    n: _Ints
    logs: _Floats
    weights: _Floats
    disturbed: _Floats

    def fits(self, steps: Sequence[float], free: int) -> list[_Fit]:
        """The fit at each variance of the drift's steps."""
        return [self._sloping(step, free) if self.disturbed.any() else self._solve(step, None) for step in steps]

    def _sloping(self, step: float, free: int) -> _Fit:
        """With slopes, whose variance is 1 in logs: in units of the noise, by what noise there is with and without."""
        fit = self._solve(step, None)
        without = fit.quadratic / max(free, 1)
        if free < FEWEST_FOR_SLOPES:
            columns = [replace(self, logs=column)._solve(step, None).levels for column in self.disturbed.T]
            moved: _Floats = np.array(columns) / math.sqrt(max(without, _LEAST_SCALE**2))
            return replace(fit, covariance=fit.covariance + moved.T @ moved, supposed=moved.T @ moved)
        for _ in range(_ROUNDS):
            noise = (PRIOR_DEGREES * without + fit.quadratic) / (PRIOR_DEGREES + free)
            fit = self._solve(step, max(noise, _LEAST_SCALE**2))
        return fit

    def _solve(self, step: float, ridge: float | None) -> _Fit:
        """Henderson's equations, in which the drift has been eliminated: its matrix has three diagonals.

        Slopes are random with variance 1 / `ridge`, in variances of a trial's noise; without it there are none.
        """
        count, weights = len(self.logs), self.weights
        disturbed = self.disturbed if ridge is not None else self.disturbed[:, :0]
        levels = np.zeros((count, len(self.n)))
        levels[np.arange(count), self.groups] = 1.0
        columns = np.column_stack([levels, disturbed, self.logs])
        design = columns * weights[:, None]
        matrix = columns.T @ design
        slopes = slice(len(self.n), columns.shape[1] - 1)
        determinant = -float(np.log(weights).sum())
        if ridge is not None:
            matrix[slopes, slopes] += ridge * np.eye(disturbed.shape[1])
            determinant -= disturbed.shape[1] * math.log(ridge)
        solved = np.zeros((count - 1, columns.shape[1]))
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
        effects: _Floats = inverse @ matrix[:-1, -1]
        quadratic = max(float(matrix[-1, -1] - matrix[-1, :-1] @ effects), 0.0)
        walk: _Floats = np.append(0.0, solved[:, -1] - solved[:, :-1] @ effects)
        free = count - len(self.n)
        determinant -= float(np.linalg.slogdet(inverse)[1])
        likelihood = -0.5 * (free * math.log(max(quadratic / max(free, 1), _LEAST_SCALE**2)) + determinant)
        noise = self.logs - columns[:, :-1] @ effects - walk
        of_levels = slice(0, len(self.n))
        covariance = inverse[of_levels, of_levels]
        found, told, supposed = np.zeros(self.disturbed.shape[1]), 0.0, np.zeros_like(covariance)
        if ridge is not None:
            found[:] = effects[slopes]
            told = float((1 - ridge * np.diag(inverse)[slopes]).sum())
            # A slope's variance V is V (ridge + what the values tell) V: the first part comes of the supposition.
            moves = np.linalg.solve(matrix[of_levels, of_levels], matrix[of_levels, slopes]) @ inverse[slopes, slopes]
            supposed = ridge * moves @ moves.T
        return _Fit(step, likelihood, quadratic, effects[of_levels], found, told, covariance, supposed, walk, noise)


def _covariates(disturbed: Sequence[Sequence[float]], count: int) -> _Floats:
    """A column for each disturbance that any value has much of."""
    columns = np.asarray(disturbed, dtype=np.float64).reshape(count, -1) if len(disturbed) else np.zeros((count, 0))
    return np.where(np.ptp(columns, axis=0) >= _LEAST_DISTURBANCE, columns, 0.0)


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
