"""Losses, their intervals and the verdict on one metric. Pure: numbers in, numbers and one sentence out.

The method, for one metric of one workload:

* **Loss.** `1 - folded / baseline`, with the sign turned where lower is better, so that positive is worse. The baseline
  is the smallest ratio there is, the unfolded cluster or the one that is nearest to it. Folded and baseline are levels
  of log values, compared as near in time as the machine's drift demands: `statistics.levels`, which
  also says how noise and outliers are treated.
* **Intervals.** Where the number of trials was fixed beforehand, Student's. Where a search looked after every trial,
  those of a test with an end and of a confidence sequence, which are true at every look at once:
  `statistics.sequential`.
* **Several ratios.** A reader looks at all k folded ratios of a metric. "Holds" and "breaks" are one-sided claims,
  and only one of them can be wrong at a ratio, as in tests of equivalence (Berger & Hsu, *Statistical Science* 11,
  1996); so each side of each loss interval gets (1 - confidence) / k (Bonferroni), and never more than the usual half
  of 1 - confidence. In a search the first ratios that it examines get more, and the others share the rest (online
  control of the familywise error by spending it as tests come: Tian & Ramdas, *Stat. Methods Med. Res.* 30, 2021).
  Thus, at 95 %, all states of a metric are right in at least 95 % of studies, and each loss interval by itself covers
  at least 95 % (simulated in benchmarks/simulate_search.py). Claims that *all* metrics hold need no further correction
  (Berger, *Technometrics* 24, 1982).
* **Indifference.** Losses near the tolerated one take for ever to be told from it. Within the indifference zone around
  it (Bechhofer, *Ann. Math. Stat.* 25, 1954) it does not matter which state a ratio gets: it `holds` if its loss is at
  most the tolerated one and shown to be below the zone's upper end, and `breaks` if it is more and shown to be above
  the lower end. With a zone of nothing the whole interval is on one side of the tolerated loss.
* **What the machine did** to a trial is a covariate of its value (`telemetry.disturbance`): losses are those of a
  machine that withholds no CPU time, and whose seconds of CPU time are worth what the median of the trials' are.
* **Trials that were stopped** say of a metric how good it was at best. What that is worth, and that such a ratio can
  break and never hold: `statistics.censoring`.
* **What is assumed.** Noise is multiplicative, and trials are run in an order that has nothing to do with their result.
  A single trial at a ratio is no claim, nor is a single repetition everywhere: it shows no noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from scipy.special import stdtr

from pliant.statistics.censoring import MedianIs, Value, fitted, median
from pliant.statistics.levels import Difference, Drift, Levels
from pliant.statistics.sequential import Quantile, expected, grid, hope, margin, once, until, whenever
from pliant.telemetry.disturbance import KINDS, SLOPES
from pliant.trial import UNFOLDED, Trial
from pliant.workloads.model import Metric

State = Literal["holds", "breaks", "undecided"]
FEWEST = 2
"""Trials of a ratio without which nothing is claimed of it: one that went wrong must not be all there is."""
FIRST_SHARES = (0.25, 0.25)
"""Of the error that a search may make: what the ratios that it examines first may use. Mostly these are all."""
DOUBT = 1 / 3
"""How likely it may be that a ratio that a search passes over is not as those that it is passed over for."""
METHOD = (
    "levels of log values, with the machine's drift taken out and outliers drawn in; variances of the ratios moderated "
    "by each other; Bonferroni over the folded ratios of a metric"
)
INTERVALS = {
    False: "Student's quantile, for a number of trials fixed beforehand",
    True: "boundary of group sequential tests (Wang and Tsiatis) and confidence sequence of the mixture "
    "t-test, valid after every trial",
}
SPELLING = {
    "glusterfs": "GlusterFS",
    "cephfs": "CephFS",
    "nfs": "NFS",
    "moosefs": "MooseFS",
    "beegfs": "BeeGFS",
    "orangefs": "OrangeFS",
}


@dataclass(frozen=True)
class Series:
    """The values of one metric: `values` maps a ratio to its trials' values in time order.

    `baseline` is the ratio that losses are against, and none is smaller. `bounds` maps a ratio to how good the metric
    was at best in trials that were stopped, by their number; those of the baseline are left out: a baseline that was
    better than it was makes losses of nothing. `hosts` maps each planned ratio to its number of hosts; ratios without
    values are reported as such. `max_loss` is a fraction, and `indifference` so many points to each side of it. `most`
    is how many trials of a ratio a search may have, which looks at the values before it goes on; None if they were
    fixed beforehand. Raises ValueError for a value that is not a positive finite number, as it has no logarithm, and
    for a ratio below the baseline.
    """

    filesystem: str
    workload: str
    metric: Metric
    max_loss: float
    hosts: Mapping[float, int]
    values: Mapping[float, Sequence[float]]
    numbers: Mapping[float, Sequence[int]] = field(default_factory=dict)
    """The trials' numbers, in the places of their values; without, the nth values of all ratios follow each other."""
    indifference: float = 0.0
    most: int | None = None
    bounds: Mapping[float, Mapping[int, float]] = field(default_factory=dict)
    disturbance: Mapping[int, Sequence[float]] = field(default_factory=dict)
    """By trial: see `telemetry.disturbance`. Those that are not there had none."""
    baseline: float = UNFOLDED
    emulated: str = ""
    """Why its values are the emulation's and not the file system's (`telemetry.ceiling`): then it gets no verdict."""

    def __post_init__(self) -> None:
        if (least := min(self.hosts, default=self.baseline)) < self.baseline:
            raise ValueError(f"{self.workload}: ratio {least:g} is smaller than the baseline, {self.baseline:g}")
        capped = [(ratio, list(bounds.values())) for ratio, bounds in self.bounds.items()]
        for ratio, values in [*self.values.items(), *capped]:
            if ratio not in self.hosts:
                raise ValueError(f"{self.workload} {self.metric.name}: no number of hosts for ratio {ratio:g}")
            for value in values:
                if not (math.isfinite(value) and value > 0):
                    raise ValueError(f"{self.workload} {self.metric.name}: {value} at ratio {ratio:g} is not positive")

    def in_time_order(self) -> list[Value]:
        """All values, the first trial's first, those of which only a bound is known among them."""
        found = [
            Value(number, ratio, bound, True, self._disturbed(number))
            for ratio, bounds in self.bounds.items()
            if ratio != self.baseline
            for number, bound in bounds.items()
        ]
        found += [
            Value(number, ratio, value, False, self._disturbed(number))
            for place, (ratio, values) in enumerate(sorted(self.values.items()))
            for number, value in zip(
                self.numbers.get(ratio) or [1 + n * len(self.values) + place for n in range(len(values))],
                values,
                strict=True,
            )
        ]
        return sorted(found)

    def _disturbed(self, number: int) -> tuple[float, ...]:
        kinds = max(map(len, self.disturbance.values()), default=0)
        return tuple(self.disturbance.get(number, ())) or (0.0,) * kinds

    @property
    def folded(self) -> int:
        """How many folded ratios are judged: all that a search may look at, or else all that have values."""
        told = {ratio for many in (self.values, self.bounds) for ratio, values in many.items() if len(values)}
        return sum(1 for ratio in (self.hosts if self.searched else told) if ratio != self.baseline)

    @property
    def searched(self) -> bool:
        """Whether the values were looked at before there were all."""
        return self.most is not None

    @property
    def quantile(self) -> Quantile:
        """How wide the intervals of its losses are."""
        return once if self.most is None else until(self.most)

    def worse(self, loss: float) -> float:
        """A loss on the log scale on which losses are tested: how much lower, or higher, than the baseline's log."""
        return -math.log1p(-loss) if self.metric.better == "higher" else math.log1p(loss)


def by_ratio(trials: Sequence[Trial], metric: str) -> tuple[dict[float, list[float]], dict[float, list[int]]]:
    """Values of a metric by ratio, in the order of the trials that are counted, and these trials' numbers.

    What has no log is left out.
    """
    values: dict[float, list[float]] = {}
    numbers: dict[float, list[int]] = {}
    for trial in trials:
        value = trial.metrics.get(metric)
        if trial.counts(metric) and value is not None and math.isfinite(value) and value > 0:
            values.setdefault(trial.ratio, []).append(value)
            numbers.setdefault(trial.ratio, []).append(trial.number)
    return values, numbers


def bounds_by_ratio(trials: Sequence[Trial], metric: str) -> dict[float, dict[int, float]]:
    """The same for how good a metric was at best in trials that were stopped, by their numbers."""
    found: dict[float, dict[int, float]] = {}
    for trial in trials:
        bound = trial.bounds.get(metric)
        if trial.counts(metric) and bound is not None and math.isfinite(bound) and bound > 0:
            found.setdefault(trial.ratio, {})[trial.number] = bound
    return found


def emulated(trials: Sequence[Trial], metric: str) -> str:
    """Why a metric is the emulation's, and not the file system's, in more than half of the trials of some ratio, of the
    smallest; "" if it is at none."""
    mine = [trial for trial in trials if metric in trial.metrics]
    for ratio in sorted({trial.ratio for trial in mine}):
        reasons = [trial.emulated(metric) for trial in mine if trial.ratio == ratio]
        told = list(filter(None, reasons))
        if 2 * len(told) > len(reasons):
            return f"at ratio {ratio:.3g} {told[0]}"
    return ""


@dataclass(frozen=True)
class RatioVerdict:
    """One ratio: median and interval in the metric's unit, loss and interval as fractions. None is "not known".

    With `at_least` the loss is that or more, and its interval is open on the worse side: there `loss_high` is None, and
    so is `low` where higher is better, else `high`.
    """

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
    expected: int | None = None
    """How many more trials here, and as many of the baseline, are expected to decide it; 0 if it is decided."""
    chance: float | None = None
    """That the loss exceeds the tolerated one, by the trials so far and a flat prior: where to look, and no claim."""
    hope: float | None = None
    """How likely it is to be decided within the trials that a search has for it; None without a search, or if it is."""
    grid: int | None = None
    """How many repetitions of a full grid, fixed beforehand, would have decided it as well; None if it is not."""
    outliers: tuple[int, ...] = ()
    """The numbers of the trials whose values were drawn in."""
    passed_over: bool = False
    """Undecided as a search had no need of it: it looks like a larger ratio that holds, or a smaller that breaks."""
    ceiling: bool = False
    """Nothing is claimed of it, as the metric is the emulation's and not the file system's."""
    at_least: bool = False
    median_is: MedianIs = "exact"
    """Where half of the values or more are bounds, the median is one as well."""
    stopped: tuple[int, ...] = ()
    """The numbers of the trials that were stopped, of whose value only a bound is known."""
    loss_disturbed: float | None = None
    """The loss with what the machine did to the trials left in it; `loss` is that without. None if it did nothing."""

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values, without NaN or Infinity."""
        numbers = {"outliers": list(self.outliers), "stopped": list(self.stopped)}
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | numbers


@dataclass(frozen=True)
class Verdict:
    """What is shown about one metric.

    `holds_up_to` is the largest ratio that holds with no smaller one shown to break; undecided ratios below it do not
    block it. `breaks_at` is the smallest ratio shown to break. `monotone` is False where a ratio holds again beyond
    that. `noise` is the standard deviation of one trial, as a fraction; None if it is not known.
    """

    filesystem: str
    workload: str
    metric: Metric
    max_loss: float
    confidence: float
    ratios: tuple[RatioVerdict, ...]
    indifference: float = 0.0
    searched: bool = False
    noise: float | None = None
    drift: Drift | None = None
    slopes: Mapping[str, float] = field(default_factory=dict)
    """By how many logs a log of each of `disturbance.KINDS` makes the metric worse, as far as the trials show it."""
    baseline: float = UNFOLDED
    """The ratio that losses are against; none is smaller."""
    emulated: str = ""
    """Why nothing is claimed, as values are the emulation's and not the file system's; "" where they are not."""

    @property
    def folded(self) -> tuple[RatioVerdict, ...]:
        """The rows that are judged: those of all ratios but the baseline."""
        return tuple(row for row in self.ratios if row.ratio != self.baseline)

    @property
    def base(self) -> RatioVerdict | None:
        """The baseline's row; None if there is none."""
        return next((row for row in self.ratios if row.ratio == self.baseline), None)

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
        """The ratios about which nothing is shown, although it would matter."""
        if self.emulated:
            return ()
        return tuple(r for r in self.ratios if r.state == "undecided" and not r.passed_over)

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
        """The verdict as plain JSON values, as docs/report.md has them, with what explains it beside."""
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
            "indifference": self.indifference,
            "noise": self.noise,
            "drift": None if self.drift is None else self.drift.to_json(),
            "slopes": dict(self.slopes),
            "method": f"{METHOD}; {INTERVALS[self.searched]}",
            "sentence": self.sentence,
            **({"emulated": self.emulated} if self.emulated else {}),
            **({} if self.baseline == UNFOLDED else {"baseline": self.baseline}),
        }


def judge(series: Series, confidence: float = 0.95) -> Verdict:
    """The verdict on `series`: the same for the same values in the same order of time.

    `confidence` is the probability with which no state of this metric is wrong; see the module's text for the method.
    Raises ValueError if it is not within (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    values = series.in_time_order()
    fits = fitted(values, series.metric.better)
    rows = []
    for ratio, share in _shares(series, values).items():
        here, fit = [each for each in values if each.ratio == ratio], fits.of(ratio)
        row = _row(series, ratio, here, fit.levels, fits.at_least(ratio), 1 - confidence, share)
        stopped = tuple(each.trial for each in here if each.capped)
        rows.append(replace(row, outliers=fit.outliers(ratio), stopped=stopped))
    levels = fits.sure.levels
    known = levels is not None and not math.isnan(levels.deviation)
    if series.emulated:
        rows = [row if row.ratio == series.baseline else _unclaimed(row) for row in rows]
    return Verdict(
        series.filesystem,
        series.workload,
        series.metric,
        series.max_loss,
        confidence,
        _with_passed_over(rows, series.baseline) if series.searched else tuple(rows),
        series.indifference,
        series.searched,
        noise=math.expm1(levels.deviation) if levels is not None and known else None,
        drift=levels.drift if levels is not None and known else None,
        slopes={} if levels is None else _slopes(levels, series.metric.better),
        baseline=series.baseline,
        emulated=series.emulated,
    )


def _unclaimed(row: RatioVerdict) -> RatioVerdict:
    """A row of which nothing is claimed, whatever it shows."""
    return replace(row, state="undecided", expected=None, chance=None, hope=None, grid=None, ceiling=True)


def _slopes(levels: Levels, better: str) -> dict[str, float]:
    """Those that are not nothing."""
    sign = 1.0 if better == "higher" else -1.0
    known = zip(KINDS, SLOPES, levels.slopes, strict=True) if levels.slopes.size else ()
    return {kind: sign * size * float(slope) for kind, size, slope in known if slope}


def _shares(series: Series, values: Sequence[Value]) -> dict[float, float]:
    """What each ratio, ascending, may use of the error that all may make together.

    A search gives more to the first that it examines: that were run again after the look at every ratio, in the order
    of their second trials. What has not been examined yet has the share that it would get next.
    """
    count = max(series.folded, 1)
    even = dict.fromkeys(sorted(series.hosts), 1 / count)
    if not series.searched or 1 / count >= max(FIRST_SHARES):
        return even
    seen, examined = set[float](), list[float]()
    for each in values:
        if each.ratio in seen and each.ratio not in examined and each.ratio != series.baseline:
            examined.append(each.ratio)
        seen.add(each.ratio)
    rest = (1 - sum(FIRST_SHARES)) / (count - len(FIRST_SHARES))
    shares = [*FIRST_SHARES, *[rest] * count]
    return {ratio: shares[examined.index(ratio) if ratio in examined else len(examined)] for ratio in even}


def _with_passed_over(rows: Sequence[RatioVerdict], baseline: float) -> tuple[RatioVerdict, ...]:
    """The rows of a search, those marked of which it had no need."""
    held = max((row.ratio for row in rows if row.state == "holds"), default=baseline)
    broken = min((row.ratio for row in rows if row.state == "breaks"), default=math.inf)
    found = []
    for row in rows:
        open_ = row.state == "undecided" and row.chance is not None
        seems = row.chance or 0.0
        # What is at least so much does not look as if it held, however little that is.
        over = (row.ratio < held and seems <= DOUBT and not row.at_least) or (row.ratio > broken and seems >= 1 - DOUBT)
        found.append(replace(row, passed_over=open_ and over))
    return tuple(found)


def recommended_ratio(verdicts: Sequence[Verdict]) -> float | None:
    """The largest ratio at which every metric is shown to hold, and below which none is shown to break.

    None without verdicts or baseline; the baseline if no folding is shown to be safe.
    """
    limits = [v.holds_up_to for v in verdicts]
    known = [limit for limit in limits if limit is not None]
    if not known or len(known) < len(limits):
        return None
    common = [{r.ratio for r in v.ratios if r.state == "holds"} for v in verdicts]
    return max((ratio for ratio in set.intersection(*common) if ratio <= min(known)), default=None)


def _row(
    series: Series,
    ratio: float,
    values: Sequence[Value],
    levels: Levels | None,
    at_least: bool,
    error: float,
    share: float,
) -> RatioVerdict:
    hosts = series.hosts[ratio]
    if levels is None or not values:
        return RatioVerdict(ratio, hosts, 0, None, None, None, None, None, None, "undecided")
    middle, median_is = median(values, series.metric.better)
    half = _half(levels.level(ratio), error, whenever if series.searched else once)  # of the baseline there is no most
    low, high = (None, None) if half is None else (_times(middle, -half), _times(middle, half))
    if at_least:
        low, high = (None, high) if series.metric.better == "higher" else (low, None)
    row = RatioVerdict(ratio, hosts, len(values), middle, low, high, 0.0, 0.0, 0.0, "holds", 0, 0.0)
    row = replace(row, at_least=at_least, median_is=median_is)
    if ratio == series.baseline:
        return row
    even = 1 / max(series.folded, 1)
    return _against(row, series, levels, _both_sides(error, share), _both_sides(error, even))


def _both_sides(error: float, share: float) -> float:
    """The level of a loss interval, each side of which may use a share of the error, and at most the usual half."""
    return error * min(1.0, 2 * share)


def _against(row: RatioVerdict, series: Series, levels: Levels, level: float, even: float) -> RatioVerdict:
    """A row with its loss against the baseline, and what that shows; a grid's intervals would be of level `even`."""
    sign = 1.0 if series.metric.better == "higher" else -1.0
    baseline = series.baseline
    base = levels.trials(baseline)
    if not base:
        return replace(row, loss=None, loss_low=None, loss_high=None, state="undecided", expected=None, chance=None)
    quotient = math.exp(-levels.lower(row.ratio, baseline))
    loss = sign * (1 - quotient)
    if moved := levels.moved(row.ratio, baseline):
        row = replace(row, loss_disturbed=sign * (1 - _times(quotient, -moved)))
    known = levels.difference(row.ratio, baseline)
    half = _half(known, level, series.quantile)
    low = high = None
    if half is not None:
        low, high = sorted((sign * (1 - _times(quotient, -half)), sign * (1 - _times(quotient, half))))
    if row.at_least:
        high = None  # it may be anything
    state = _state(loss, low, high, series) if row.trials >= FEWEST else "undecided"
    row = replace(row, loss=loss, loss_low=low, loss_high=high, state=state)
    if known is None or not known.degrees:
        return replace(row, expected=None, chance=None)
    away = sign * known.estimate - series.worse(series.max_loss)
    chance = float(stdtr(known.degrees, away / known.whole)) if known.whole else float(away > 0)
    bound = series.worse(series.max_loss + (series.indifference if away <= 0 else -series.indifference))
    wanted = abs(bound - sign * known.estimate)
    if state != "undecided":
        as_well = grid(known, row.trials, base, max(series.folded - 1, 0), even, wanted)
        return replace(row, expected=0, chance=chance, grid=as_well)
    never = row.at_least and away <= 0  # what is at least so much is not shown to be at most so much
    more = None if never else expected(known, row.trials, base, level, series.quantile, wanted)
    if series.most is None:
        return replace(row, expected=more, chance=chance)
    end = -math.inf if row.at_least else series.worse(series.max_loss + series.indifference)
    zone = (series.worse(series.max_loss - series.indifference), end)
    oriented = replace(known, estimate=sign * known.estimate)
    likely = hope(oriented, row.trials, base, series.most - row.trials, level, series.quantile, zone)
    return replace(row, expected=more, chance=chance, hope=min(1.0, likely))


def _half(known: Difference | None, level: float, quantile: Quantile) -> float | None:
    """Half the width of an interval, in logs; None if it is not known."""
    if known is None:
        return None
    half = margin(known, level, quantile)
    return half if math.isfinite(half) else None


def _times(value: float, log_factor: float) -> float:
    """`value * exp(log_factor)`, kept finite: with two noisy values Student's quantile can be enormous."""
    return min(value * math.exp(min(log_factor, 600.0)), 1e300)


def _state(loss: float, low: float | None, high: float | None, series: Series) -> State:
    """`high` is None where the loss may be anything, and both are where nothing is known of it."""
    if low is None:
        return "undecided"
    if loss <= series.max_loss:
        return "holds" if high is not None and high <= series.max_loss + series.indifference else "undecided"
    return "breaks" if low > series.max_loss - series.indifference else "undecided"


def _sentence(verdict: Verdict) -> str:
    name = SPELLING.get(verdict.filesystem, verdict.filesystem)
    what = f"{verdict.metric.name.replace('_', ' ')} ({verdict.workload})"
    unfolded = verdict.baseline == UNFOLDED
    of, against = (
        ("", "") if unfolded else (f" of ratio {verdict.baseline:.3g}", f" against ratio {verdict.baseline:.3g}")
    )
    within = f"within {tolerance(verdict.max_loss, verdict.indifference)}{of}"
    if verdict.emulated:
        return f"{name}'s {what} gets no verdict: {verdict.emulated}."
    if verdict.holds_up_to is None:
        return f"Nothing is known about {name}'s {what}: the baseline has no done trial."
    held, broken = verdict.at(verdict.holds_up_to), verdict.breaks_at
    if held.ratio > verdict.baseline:
        text = f"{name} holds {what} {within} up to {_place(held)}"
        text += f" and breaks at {_broken(verdict.at(broken))}" if broken is not None else ""
    elif broken is not None:
        tolerated = f"where at most {_percent(verdict.max_loss)} %{against} is tolerated"
        text = f"{name} breaks {what} at {_broken(verdict.at(broken))}, {tolerated}"
    else:
        when = "when folded" if unfolded else "when folded further"
        text = f"{name} is neither shown to hold {what} {within} {when}, nor to break it"
    return text + _remarks(verdict) + "."


def _broken(row: RatioVerdict) -> str:
    bounds = ""
    if row.loss is not None and row.at_least:
        bounds = f": loss > {_percent(row.loss)} %"
    elif row.loss is not None and row.loss_low is not None and row.loss_high is not None:
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


def tolerance(max_loss: float, indifference: float) -> str:
    """The tolerated loss in words, with the zone around it in which a ratio may be called either way.

    >>> tolerance(0.1, 0.05), tolerance(0.025, 0)
    ('10 ± 5 %', '2.5 %')
    """
    zone = f" ± {_percent(indifference)}" if indifference else ""
    return f"{_percent(max_loss)}{zone} %"


def _percent(fraction: float) -> str:
    """A fraction in percent, as short as it can be read: 10, 2.5, 0.4."""
    percent = 100 * fraction
    return f"{percent:.0f}" if abs(percent) >= 10 or percent == round(percent) else f"{percent:.1f}"
