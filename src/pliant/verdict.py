"""Losses, their intervals and the verdict on one metric. Pure: numbers in, numbers and one sentence out.

The method, for one metric of one workload:

* **Loss.** `1 - median(folded) / median(baseline)`, with the sign turned where lower is better, so that positive is
  worse.
* **Intervals.** Residual bootstrap on log values (Davison & Hinkley, *Bootstrap Methods and their Application*, 1997,
  sections 3.2-3.3; Efron & Tibshirani, *An Introduction to the Bootstrap*, 1993, chapters 6 and 9). A bootstrap of
  the three values of one ratio is far too narrow, so the residuals of all ratios are pooled: each about its ratio's
  mean of logs, inflated by sqrt(n / (n - 1)). From that pool every ratio is drawn again, as many values as it has;
  the spread of the resampled medians, and of their difference to the baseline's, is the standard error. The interval
  is the estimate plus or minus Student's quantile, at the pooled degrees of freedom, times it: symmetric in logs, so
  it always contains the estimate and no factor of scale matters.
* **Unequal noise.** Pooling assumes that all ratios are equally noisy in relative terms. Where Bartlett's test
  (*Proc. R. Soc. A* 160, 1937) doubts that at the 10 % level, only the shape of the noise is pooled; each ratio keeps
  its own scale, and the degrees of freedom are Welch's (*Biometrika* 34, 1947). That costs width, most of all with
  few repetitions.
* **Several ratios.** A reader looks at all k folded ratios of a metric. "Holds" and "breaks" are one-sided claims,
  and only one of them can be wrong at a ratio, as in tests of equivalence (Berger & Hsu, *Statistical Science* 11,
  1996); so each side of each loss interval gets (1 - confidence) / k (Bonferroni), and never more than the usual half
  of 1 - confidence. Thus, at 95 %, all states of a metric are right in at least 95 % of studies, and each loss
  interval by itself covers at least 95 % (simulated in tests/unit/test_verdict.py). Claims that *all* metrics hold
  need no further correction (Berger, *Technometrics* 24, 1982).
* **What that costs.** With three repetitions, four ratios and 5 % noise a loss interval is about 12 points wide to
  each side: a tolerated loss of 10 % is then often "undecided". More repetitions, or a quieter machine, decide;
  nothing else.
* **What is assumed.** Trials of a ratio are exchangeable (run in random, interleaved order) and noise is
  multiplicative. A single repetition everywhere gives no residual: no interval, no claim.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pliant.workloads import Metric

State = Literal["holds", "breaks", "undecided"]
BASELINE = 1.0
RESAMPLES = 10_000
UNEQUAL_NOISE_LEVEL = 0.10
METHOD = (
    "difference of medians of log values; residual bootstrap pooled over ratios, Student's quantile; "
    "Bonferroni over the folded ratios of a metric"
)
SPELLING = {
    "glusterfs": "GlusterFS",
    "cephfs": "CephFS",
    "nfs": "NFS",
    "moosefs": "MooseFS",
    "beegfs": "BeeGFS",
    "orangefs": "OrangeFS",
}

_Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """The values of one metric: `values` maps a ratio to its done trials' values in time order.

    Ratio 1 is the baseline. `hosts` maps each planned ratio to its number of hosts; ratios without values are reported
    as such. `max_loss` is a fraction. Raises ValueError for a value that is not a positive finite number: it has no
    logarithm.
    """

    filesystem: str
    workload: str
    metric: Metric
    max_loss: float
    hosts: Mapping[float, int]
    values: Mapping[float, Sequence[float]]

    def __post_init__(self) -> None:
        for ratio, values in self.values.items():
            if ratio not in self.hosts:
                raise ValueError(f"{self.workload} {self.metric.name}: no number of hosts for ratio {ratio:g}")
            for value in values:
                if not (math.isfinite(value) and value > 0):
                    raise ValueError(f"{self.workload} {self.metric.name}: {value} at ratio {ratio:g} is not positive")


@dataclass(frozen=True)
class RatioVerdict:
    """One ratio: median and interval in the metric's unit, loss and interval as fractions. None is "not known"."""

    ratio: float
    hosts: int
    trials: int
    median: float | None
    low: float | None
    high: float | None
    loss: float | None
    loss_low: float | None
    loss_high: float | None
    state: State

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values, without NaN or Infinity."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Verdict:
    """What is shown about one metric.

    `holds_up_to` is the largest ratio that holds with no smaller one shown to break; undecided ratios below it do not
    block it. `breaks_at` is the smallest ratio shown to break. `monotone` is False where a ratio holds again beyond
    that. `unequal_noise` says that the ratios' noise was not pooled.
    """

    filesystem: str
    workload: str
    metric: Metric
    max_loss: float
    confidence: float
    ratios: tuple[RatioVerdict, ...]
    unequal_noise: bool = False

    @property
    def holds_up_to(self) -> float | None:
        """The largest ratio shown to hold, or None without a baseline."""
        first = self.breaks_at
        held = [r.ratio for r in self.ratios if r.state == "holds" and (first is None or r.ratio < first)]
        return max(held, default=None)

    @property
    def breaks_at(self) -> float | None:
        """The smallest ratio shown to break, or None."""
        return min((r.ratio for r in self.ratios if r.state == "breaks"), default=None)

    @property
    def monotone(self) -> bool:
        """False if a ratio is shown to hold beyond one that is shown to break."""
        first = self.breaks_at
        return first is None or not any(r.state == "holds" and r.ratio > first for r in self.ratios)

    @property
    def undecided(self) -> tuple[RatioVerdict, ...]:
        """The ratios about which nothing is shown."""
        return tuple(r for r in self.ratios if r.state == "undecided")

    @property
    def sentence(self) -> str:
        """The verdict in one sentence of plain English."""
        return _sentence(self)

    def at(self, ratio: float) -> RatioVerdict:
        """The row of that ratio; KeyError if there is none."""
        for row in self.ratios:
            if row.ratio == ratio:
                return row
        raise KeyError(ratio)

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain JSON values, as issue 2 lays it down, with what explains it beside."""
        return {
            "filesystem": self.filesystem,
            "workload": self.workload,
            "metric": self.metric.name,
            "unit": self.metric.unit,
            "better": self.metric.better,
            "max_loss": self.max_loss,
            "ratios": [row.to_json() for row in self.ratios],
            "holds_up_to": self.holds_up_to,
            "breaks_at": self.breaks_at,
            "monotone": self.monotone,
            "confidence": self.confidence,
            "unequal_noise": self.unequal_noise,
            "method": METHOD,
            "sentence": self.sentence,
        }


def judge(series: Series, seed: int, confidence: float = 0.95) -> Verdict:
    """The verdict on `series`: the same for the same values (in any order within a ratio) and the same seed.

    `confidence` is the probability with which no state of this metric is wrong; see the module's text for the method.
    Raises ValueError if it is not within (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    logs = {ratio: np.log(np.sort(np.asarray(v, dtype=np.float64))) for ratio, v in series.values.items() if len(v)}
    noise = _Noise(logs, np.random.default_rng([seed & 0xFFFFFFFF, _stream(series)]))
    folded = sum(1 for ratio in logs if ratio != BASELINE)
    side = min((1 - confidence) / 2, (1 - confidence) / max(folded, 1))
    rows = tuple(_row(series, ratio, logs, noise, (1 - confidence) / 2, side) for ratio in sorted(series.hosts))
    return Verdict(series.filesystem, series.workload, series.metric, series.max_loss, confidence, rows, noise.unequal)


def recommended_ratio(verdicts: Sequence[Verdict]) -> float | None:
    """The largest ratio at which every metric is shown to hold, and below which none is shown to break.

    None without verdicts or baseline; 1 if no folding is shown to be safe.
    """
    limits = [v.holds_up_to for v in verdicts]
    known = [limit for limit in limits if limit is not None]
    if not known or len(known) < len(limits):
        return None
    common = [{r.ratio for r in v.ratios if r.state == "holds"} for v in verdicts]
    return max((ratio for ratio in set.intersection(*common) if ratio <= min(known)), default=None)


class _Noise:
    """How much a median of log values, or a difference of two, varies: resampled once for all ratios."""

    def __init__(self, logs: Mapping[float, _Floats], generator: np.random.Generator) -> None:
        self._n = {ratio: len(values) for ratio, values in logs.items()}
        repeated = {ratio: values - values.mean() for ratio, values in logs.items() if len(values) > 1}
        self._degrees = sum(len(r) - 1 for r in repeated.values())
        self._medians: dict[float, _Floats] = {}
        self._deviation = {ratio: float(np.sqrt(np.sum(r**2) / (len(r) - 1))) for ratio, r in repeated.items()}
        self.unequal = _differ(self._deviation, self._n)
        if not self._degrees:
            return
        # Values that a program rounded to the same number are not free of noise: those keep a scale of 1 in the pool.
        scale = {ratio: d if self.unequal and d > 0 else 1.0 for ratio, d in self._deviation.items()}
        parts = [repeated[r] * math.sqrt(self._n[r] / (self._n[r] - 1)) / scale[r] for r in sorted(repeated)]
        pool = np.sort(np.concatenate(parts))
        for ratio in sorted(logs):
            drawn = pool[generator.integers(0, len(pool), (RESAMPLES, self._n[ratio]))]
            self._medians[ratio] = np.median(drawn, axis=1) * scale.get(ratio, 1.0)

    def margin(self, ratio: float, side: float, against: float | None = None) -> float | None:
        """Half the width, in logs, of the interval that leaves `side` on each side; None if it is not known."""
        involved = [ratio] if against is None else [ratio, against]
        if not self._degrees or any(r not in self._medians for r in involved):
            return None
        degrees = float(self._degrees)
        if self.unequal:
            if any(r not in self._deviation for r in involved):
                return None
            degrees = self._welch(involved)
        spread = self._medians[ratio] if against is None else self._medians[ratio] - self._medians[against]
        return float(stats.t.ppf(1 - side, degrees) * np.std(spread))

    def _welch(self, ratios: Sequence[float]) -> float:
        variance = [self._deviation[r] ** 2 / self._n[r] for r in ratios]
        below = sum(v**2 / (self._n[r] - 1) for v, r in zip(variance, ratios, strict=True))
        return sum(variance) ** 2 / below if below > 0 else float(min(self._n[r] for r in ratios) - 1)


def _differ(deviation: Mapping[float, float], n: Mapping[float, int]) -> bool:
    """Bartlett's test of equal variances, on ratios that have more than one value and some spread."""
    spread = {ratio: d for ratio, d in deviation.items() if d > 1e-9}
    if len(spread) < 2:
        return False
    degrees = np.array([n[ratio] - 1 for ratio in spread], dtype=np.float64)
    variance = np.array([d**2 for d in spread.values()])
    pooled = float(np.sum(degrees * variance) / np.sum(degrees))
    statistic = np.sum(degrees) * math.log(pooled) - np.sum(degrees * np.log(variance))
    correction = 1 + (np.sum(1 / degrees) - 1 / np.sum(degrees)) / (3 * (len(spread) - 1))
    return bool(stats.chi2.sf(statistic / correction, len(spread) - 1) < UNEQUAL_NOISE_LEVEL)


def _row(
    series: Series, ratio: float, logs: Mapping[float, _Floats], noise: _Noise, side: float, loss_side: float
) -> RatioVerdict:
    hosts = series.hosts[ratio]
    if ratio not in logs:
        return RatioVerdict(ratio, hosts, 0, None, None, None, None, None, None, "undecided")
    median = float(np.median(np.asarray(series.values[ratio], dtype=np.float64)))
    margin = noise.margin(ratio, side)
    low, high = (None, None) if margin is None else (_times(median, -margin), _times(median, margin))
    if ratio == BASELINE:
        return RatioVerdict(ratio, hosts, len(logs[ratio]), median, low, high, 0.0, 0.0, 0.0, "holds")
    loss, loss_low, loss_high = _loss(series, ratio, median, noise.margin(ratio, loss_side, BASELINE))
    state = _state(loss_low, loss_high, series.max_loss)
    return RatioVerdict(ratio, hosts, len(logs[ratio]), median, low, high, loss, loss_low, loss_high, state)


def _loss(
    series: Series, ratio: float, median: float, margin: float | None
) -> tuple[float | None, float | None, float | None]:
    """Loss with its bounds, as fractions; the bounds are None where the noise is not known."""
    baseline = series.values.get(BASELINE, ())
    if not len(baseline):
        return None, None, None
    quotient = median / float(np.median(np.asarray(baseline, dtype=np.float64)))
    sign = 1.0 if series.metric.better == "higher" else -1.0
    loss = sign * (1 - quotient)
    if margin is None:
        return loss, None, None
    ends = sorted((sign * (1 - _times(quotient, -margin)), sign * (1 - _times(quotient, margin))))
    return loss, min(ends[0], loss), max(ends[1], loss)


def _times(value: float, log_factor: float) -> float:
    """`value * exp(log_factor)`, kept finite: with two noisy values Student's quantile can be enormous."""
    return min(value * math.exp(min(log_factor, 600.0)), 1e300)


def _state(low: float | None, high: float | None, max_loss: float) -> State:
    if low is None or high is None:
        return "undecided"
    if high <= max_loss:
        return "holds"
    return "breaks" if low > max_loss else "undecided"


def _stream(series: Series) -> int:
    """A number of its own for each metric, so that one more metric changes nobody else's interval."""
    return zlib.crc32(f"{series.filesystem}/{series.workload}/{series.metric.name}".encode())


def _sentence(verdict: Verdict) -> str:
    name = SPELLING.get(verdict.filesystem, verdict.filesystem)
    what = f"{verdict.metric.name.replace('_', ' ')} ({verdict.workload})"
    within = f"within {_percent(verdict.max_loss)} %"
    if verdict.holds_up_to is None:
        return f"Nothing is known about {name}'s {what}: the baseline has no done trial."
    held, broken = verdict.at(verdict.holds_up_to), verdict.breaks_at
    if held.ratio > BASELINE:
        text = f"{name} holds {what} {within} up to {_place(held)}"
        text += f" and breaks at {_broken(verdict.at(broken))}" if broken is not None else ""
    elif broken is not None:
        tolerated = f"where at most {_percent(verdict.max_loss)} % is tolerated"
        text = f"{name} breaks {what} at {_broken(verdict.at(broken))}, {tolerated}"
    else:
        text = f"{name} is neither shown to hold {what} {within} when folded, nor to break it"
    return text + _remarks(verdict) + "."


def _broken(row: RatioVerdict) -> str:
    bounds = ""
    if row.loss is not None and row.loss_low is not None and row.loss_high is not None:
        bounds = f": loss {_percent(row.loss)} % [{_percent(row.loss_low)}, {_percent(row.loss_high)}]"
    return _place(row) + bounds


def _remarks(verdict: Verdict) -> str:
    text = ""
    if verdict.undecided:
        ratios = [f"{row.ratio:.3g}" for row in verdict.undecided]
        listed = ratios[0] if len(ratios) == 1 else ", ".join(ratios[:-1]) + " and " + ratios[-1]
        text += f"; ratio {listed} is undecided" if len(ratios) == 1 else f"; ratios {listed} are undecided"
    if not verdict.monotone:
        first = verdict.breaks_at
        again = [
            f"{r.ratio:.3g}" for r in verdict.ratios if r.state == "holds" and first is not None and r.ratio > first
        ]
        text += f"; the curve is not monotone: it holds again at ratio {' and '.join(again)}"
    return text


def _place(row: RatioVerdict) -> str:
    return f"ratio {row.ratio:.3g} ({row.hosts} host{'s' if row.hosts != 1 else ''})"


def _percent(fraction: float) -> str:
    """A fraction in percent, as short as it can be read: 10, 2.5, 0.4."""
    percent = 100 * fraction
    return f"{percent:.0f}" if abs(percent) >= 10 or percent == round(percent) else f"{percent:.1f}"
