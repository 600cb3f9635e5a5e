"""Figures of folding curves: each metric and its loss against the ratio."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pliant.analysis.conclusions import Analysis
from pliant.analysis.words import at_best, bounds, interval, loss, median, metric_title, number, place, plural
from pliant.report.chart import BASELINE as BASELINE_LOOK
from pliant.report.chart import (
    CEILING,
    JOIN,
    PASSED_OVER,
    STATES,
    STOPPED,
    TRIAL,
    Axis,
    Chart,
    Figure,
    Line,
    Look,
    Mark,
    fanned,
    places,
    scale,
)
from pliant.statistics.verdict import RatioVerdict, Verdict
from pliant.trial import Trial

MOST_GAIN, MOST_LOSS = -1.0, 1.5
"""Medians and single trials are always on the scale of a loss; the ends of intervals only within these."""
_ROOMY = 5
_SINGLES = (TRIAL, *STOPPED.values())
_KEY: tuple[tuple[Look | None, str], ...] = (
    *((look, state) for state, look in STATES.items()),
    (TRIAL, "single trial"),
    (None, "tolerated"),
)


def folding(analysis: Analysis, kind: str, whose: str = "", singles: bool = True) -> Iterator[Figure]:
    """For each workload a panel for each metric; `kind` is "loss" or "metrics", names begin with `whose`.

    Without `singles` there are only medians and intervals: of thousands of trials nobody sees the single ones.
    """
    for workload in analysis.info.metrics:
        verdicts = [verdict for verdict in analysis.verdicts if verdict.workload == workload]
        panels = [_metric(analysis, each) for each in verdicts]
        if kind == "loss":
            panels = list(_losses(analysis, verdicts))
        looks = {mark.look for panel in panels for mark in panel.marks}
        key = ((BASELINE_LOOK, base_words(analysis)), *_KEY)
        key += ((PASSED_OVER, "not needed"),) if PASSED_OVER in looks else ()
        key += ((CEILING, "the emulation's ceiling"),) if CEILING in looks else ()
        key += tuple((look, "stopped trial, at best") for look in STOPPED.values() if look in looks)
        if not singles:
            panels = [_without_singles(panel) for panel in panels]
            key = tuple(each for each in key if each[0] not in _SINGLES)
        yield Figure(f"{whose}{workload}-{kind}", tuple(panels), key)


def base_words(analysis: Analysis) -> str:
    """What a legend says of the baseline's marks, as short as a column of a paper needs it."""
    return "baseline" if analysis.info.unfolded else "folded baseline"


def _without_singles(chart: Chart) -> Chart:
    return replace(chart, marks=tuple(mark for mark in chart.marks if mark.look not in _SINGLES))


def ratios_axis(verdict: Verdict) -> Axis:
    """A place for each ratio, with its number of hosts below."""
    roomy = len(verdict.ratios) <= _ROOMY
    labels = [f"{row.ratio:.3g}\n{plural(row.hosts, 'host') if roomy else row.hosts}" for row in verdict.ratios]
    return places(labels, "folding ratio" if roomy else "folding ratio, hosts below", 0.35, 0.5)


def state_look(verdict: Verdict, row: RatioVerdict) -> Look:
    """The look of a median or loss: its state, or that it is the baseline's."""
    if row.ratio == verdict.baseline:
        return BASELINE_LOOK
    return CEILING if row.ceiling else PASSED_OVER if row.passed_over else STATES[row.state]


def says(verdict: Verdict, row: RatioVerdict) -> str:
    """All that there is to say of a metric at a ratio, as a mark tells it."""
    value = f"{median(row)} {verdict.metric.unit}{interval(row.low, row.high)}"
    text = f"{metric_title(verdict.metric)} at {place(row.ratio, row.hosts)}: {value}"
    if row.ratio == verdict.baseline:
        return f"{text}; the baseline, {plural(row.trials, 'trial')}"
    lost = f"loss {loss(row)} {bounds(row.loss_low, row.loss_high)}".rstrip()
    return f"{text}; {lost}: {state_words(row)}, {plural(row.trials, 'trial')}"


def state_words(row: RatioVerdict) -> str:
    """A state, and what it would take to decide it."""
    if row.ceiling:
        return "the emulation's ceiling, no verdict"
    if row.passed_over:
        return "undecided, and not needed"
    if row.state == "undecided" and row.expected:
        return f"undecided; about {plural(row.expected, 'more trial')} would decide it"
    return row.state


def trial_says(verdict: Verdict, trial: Trial, value: str, more: str = "") -> str:
    """What a mark tells of a single trial."""
    return f"trial {trial.number}, ratio {trial.ratio:.3g}: {value} {verdict.metric.unit}{more}"


def _metric(analysis: Analysis, verdict: Verdict) -> Chart:
    higher, measured, bounded = verdict.metric.better == "higher", analysis.measured(verdict), analysis.bounded(verdict)
    rows = [row for row in verdict.ratios if row.median is not None]
    baseline = None if verdict.base is None else verdict.base.median
    seen = [value for many in (*measured.values(), *bounded.values()) for _, value in many]
    tops = [row.high for row in rows if row.high is not None]
    top = 1.08 * max([*seen, *(min(end, 1.5 * max(seen)) for end in tops)], default=1.0)
    limit = None if baseline is None else baseline * (1 - verdict.max_loss if higher else 1 + verdict.max_loss)
    top = max(top, 1.08 * (limit or 0.0))
    marks = [
        Mark(at, row.median, state_look(verdict, row), says(verdict, row), ends(row.low, row.high))
        for at, row in enumerate(verdict.ratios)
        if row.median is not None
    ]
    every = [each for many in (*measured.values(), *bounded.values()) for each in many]
    singles = _singles(
        analysis, verdict, {trial.number: value for trial, value in every}, "below" if higher else "above"
    )
    direction = f"{verdict.metric.better} is better"
    return Chart(
        metric_title(verdict.metric),
        f"{metric_title(verdict.metric)} in {verdict.metric.unit}, {direction}, against the folding ratio. "
        + verdict.sentence,
        ratios_axis(verdict),
        scale(verdict.metric.unit, 0.0, top),
        (*singles, *marks),
        (Line(JOIN, tuple((mark.x, mark.y) for mark in marks)),),
        None if limit is None else ("y", limit, top) if higher else ("y", 0.0, limit),
        limit,
        note=f"{verdict.metric.unit}, {direction}",
    )


def _losses(analysis: Analysis, verdicts: Sequence[Verdict]) -> Iterator[Chart]:
    """One scale for the metrics of a workload that have the same direction, so that their panels compare."""
    limits = {d: _loss_limits(analysis, [v for v in verdicts if v.metric.better == d]) for d in ("higher", "lower")}
    for verdict in verdicts:
        low, high = limits[verdict.metric.better]
        marks = [
            Mark(at, row.loss, state_look(verdict, row), says(verdict, row), _loss_ends(verdict, row))
            for at, row in enumerate(verdict.ratios)
            if row.loss is not None
        ]
        yield Chart(
            metric_title(verdict.metric),
            f"Loss of {metric_title(verdict.metric)} against the folding ratio. {verdict.sentence}",
            ratios_axis(verdict),
            scale("loss", low, high, percent=True),
            (*_singles(analysis, verdict, _lost(analysis, verdict), "above"), *marks),
            (Line(JOIN, tuple((mark.x, mark.y) for mark in marks)),),
            ("y", low, verdict.max_loss),
            verdict.max_loss,
            "y",
        )


def _singles(
    analysis: Analysis, verdict: Verdict, heights: Mapping[int, float], worse: Literal["below", "above"]
) -> Iterator[Mark]:
    """Every trial beside the median of its ratio; `heights` says how high each is drawn, by its number.

    Of those that were stopped the true value is on the side that is `worse`.
    """
    measured, bounded = analysis.measured(verdict), analysis.bounded(verdict)
    for at, ratio in enumerate(sorted(measured)):
        told = [(TRIAL, trial, number(value)) for trial, value in measured[ratio]]
        told += [(STOPPED[worse], trial, at_best(value, verdict.metric)) for trial, value in bounded[ratio]]
        shown = sorted((each for each in told if each[1].number in heights), key=lambda each: each[1].number)
        for x, (look, trial, value) in zip(fanned(at, shown), shown, strict=True):
            yield Mark(x, heights[trial.number], look, trial_says(verdict, trial, value))


def _lost(analysis: Analysis, verdict: Verdict) -> dict[int, float]:
    """Each trial's own loss against the baseline's median."""
    baseline = None if verdict.base is None else verdict.base.median
    if baseline is None:
        return {}
    sign = 1.0 if verdict.metric.better == "higher" else -1.0
    every = (*analysis.measured(verdict).values(), *analysis.bounded(verdict).values())
    return {trial.number: sign * (1 - value / baseline) for many in every for trial, value in many}


def _loss_limits(analysis: Analysis, verdicts: Sequence[Verdict]) -> tuple[float, float]:
    known = reached((verdict, row) for verdict in verdicts for row in verdict.ratios)
    shown = [row.loss for v in verdicts for row in v.ratios if row.loss is not None]
    shown += [loss for v in verdicts for loss in _lost(analysis, v).values()]
    return loss_limits(known, shown, analysis.info.max_loss)


def reached(rows: Iterable[tuple[Verdict, RatioVerdict]]) -> list[float]:
    """Where intervals of losses end; one that is open goes on to all there is to lose, where higher is better."""
    found = []
    for verdict, row in rows:
        open_ = row.at_least and verdict.metric.better == "higher"
        found += [end for end in (row.loss_low, 1.0 if open_ else row.loss_high) if end is not None]
    return found


def loss_limits(ends: Sequence[float], shown: Sequence[float], tolerated: float) -> tuple[float, float]:
    """From where to where an axis of losses goes; only the `ends` of wide intervals may leave it."""
    low = min([max(min(ends, default=0.0), MOST_GAIN), *shown, -tolerated])
    high = max([min(max(ends, default=0.0), MOST_LOSS), *shown, 2 * tolerated])
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def ends(low: float | None, high: float | None) -> tuple[float, float] | None:
    """An interval as it is drawn: an end that is open goes on beyond the axis, where an arrow cuts it."""
    if low is None and high is None:
        return None
    return -math.inf if low is None else low, math.inf if high is None else high


def _loss_ends(verdict: Verdict, row: RatioVerdict) -> tuple[float, float] | None:
    """The interval of a loss; the baseline's own is no measurement."""
    return None if row.ratio == verdict.baseline else ends(row.loss_low, row.loss_high)
