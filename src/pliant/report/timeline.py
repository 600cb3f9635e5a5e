"""Figures of trials over time: which ran when and what became of each, and how values drift."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from statistics import median

from pliant.analysis.conclusions import Analysis
from pliant.analysis.words import metric_title, number, percent
from pliant.report.chart import BASELINE as BASELINE_LOOK
from pliant.report.chart import RING, Axis, Chart, Figure, Look, Mark, scale
from pliant.report.figures import base_words, trial_says
from pliant.statistics.verdict import Verdict
from pliant.trial import Trial

DONE, REUSED = Look("baseline", "o"), Look("baseline", "o", hollow=True)
LOST = {
    "censored": Look("breaks", "^", hollow=True),
    "failed": Look("breaks", "X"),
    "invalid": Look("undecided", "D"),
    "running": Look("muted", "v", hollow=True),
}
_FOLDED = Look("muted", "o", hollow=True, size=0.8)
_REACH = 0.5


def timeline(analysis: Analysis, whose: str = "") -> Iterator[Figure]:
    """When each trial began, at which ratio, and its state; for each metric the values about their ratio's median."""
    if analysis.trials:
        looks = {_state(trial): _look(trial) for trial in analysis.trials}
        charts = tuple(_when(analysis, workload) for workload in analysis.info.metrics)
        yield Figure(f"{whose}trials", charts, tuple((look, state) for state, look in looks.items()))
        folded = "folded" if analysis.info.unfolded else "folded further"
        key = ((BASELINE_LOOK, base_words(analysis)), (_FOLDED, folded), (RING, "outlier, drawn in"))
        outlying = any(row.outliers for verdict in analysis.verdicts for row in verdict.ratios)
        charts = tuple(_drift(analysis, verdict) for verdict in analysis.verdicts)
        yield Figure(f"{whose}drift", charts, key if outlying else key[:2])


def minutes(trials: Sequence[Trial]) -> dict[int, float]:
    """When each trial began, by its number, in minutes since the first did that was not measured before: those at 0."""
    began = {trial.number: datetime.fromisoformat(trial.started_at) for trial in trials if not trial.reused}
    first = min(began.values(), default=None)
    measured = {number: (at - first).total_seconds() / 60 for number, at in began.items() if first is not None}
    return {trial.number: measured.get(trial.number, 0.0) for trial in trials}


def _state(trial: Trial) -> str:
    return f"{trial.state}, measured before" if trial.reused else trial.state


def _look(trial: Trial) -> Look:
    return REUSED if trial.reused else LOST.get(trial.state, DONE)


def _axis(analysis: Analysis) -> Axis:
    latest = max(minutes(analysis.trials).values())
    room = 0.04 * max(latest, 1.0)
    return scale("minutes since the first trial", -room, max(latest, 1.0) + room)


def _when(analysis: Analysis, workload: str) -> Chart:
    began, ratios = minutes(analysis.trials), list(analysis.ratios)
    marks = []
    for trial in analysis.trials:
        if trial.workload == workload and trial.ratio in ratios:
            at = began[trial.number]
            told = f"trial {trial.number}, ratio {trial.ratio:.3g}, minute {at:.1f}, {trial.duration_s:.0f} s"
            told += f": {_state(trial)}"
            told += f"; {trial.reason}" if trial.reason else ""
            marks.append(Mark(at, ratios.index(trial.ratio), _look(trial), told))
    ticks = tuple((at, f"{ratio:.3g}") for at, ratio in enumerate(ratios))
    return Chart(
        workload,
        f"When each trial of {workload} began, and at which folding ratio; its marker is its state.",
        _axis(analysis),
        Axis("folding ratio", -0.5, len(ratios) - 0.5, ticks),
        tuple(marks),
    )


def _drift(analysis: Analysis, verdict: Verdict) -> Chart:
    """Each trial against the median of its own ratio: what is left is noise, outliers and drift."""
    began, marks, rings = minutes(analysis.trials), list[Mark](), list[Mark]()
    for ratio, many in analysis.measured(verdict).items():
        middle = median(value for _, value in many) if many else 1.0
        for trial, value in many:
            apart = value / middle - 1
            look = BASELINE_LOOK if ratio == verdict.baseline else _FOLDED
            outlier = trial.number in verdict.at(ratio).outliers
            told = trial_says(verdict, trial, number(value), f", {percent(apart)} from the median of its ratio")
            mark = Mark(began[trial.number], apart, look, told + ("; an outlier, drawn in" if outlier else ""))
            marks.append(mark)
            rings += [replace(mark, look=RING)] if outlier else []
    reach = 1.15 * max([abs(mark.y) for mark in marks], default=_REACH)
    return Chart(
        metric_title(verdict.metric),
        f"{metric_title(verdict.metric)} of each trial of {verdict.workload} over time, as its distance from the "
        f"median of all trials at its ratio. {drift_words(verdict)}".rstrip(),
        _axis(analysis),
        scale("from the ratio’s median", -max(reach, 0.02), max(reach, 0.02), percent=True, most=5),
        (*marks, *rings),
        zero="y",
        note=", ".join(filter(None, (verdict.workload, drift_words(verdict)))),
    )


def drift_words(verdict: Verdict) -> str:
    """How the machine drifted, if that is shown."""
    if verdict.drift is None or not verdict.drift.shown:
        return ""
    return f"the machine drifted by {percent(math.expm1(verdict.drift.range))} (p = {verdict.drift.p:.2g})"
