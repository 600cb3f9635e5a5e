"""Figures of trials over time: which ran when and what became of each, and how values drift."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from statistics import median

from pliant.report.analysis import Analysis
from pliant.report.chart import BASELINE as BASELINE_LOOK
from pliant.report.chart import Axis, Chart, Figure, Look, Mark, scale
from pliant.report.figures import trial_says
from pliant.report.words import metric_title, percent
from pliant.trial import Trial
from pliant.verdict import BASELINE, Verdict

DONE = Look("baseline", "o")
LOST = {"failed": Look("breaks", "X"), "invalid": Look("undecided", "D"), "running": Look("muted", "v", hollow=True)}
_FOLDED = Look("muted", "o", hollow=True, size=0.8)
_REACH = 0.5


def timeline(analysis: Analysis, whose: str = "") -> Iterator[Figure]:
    """When each trial began, at which ratio, and its state; for each metric the values about their ratio's median."""
    if analysis.trials:
        states = dict.fromkeys(trial.state for trial in analysis.trials)
        key = tuple((_look(state), state) for state in states)
        yield Figure(f"{whose}trials", tuple(_when(analysis, workload) for workload in analysis.info.metrics), key)
        drift = ((BASELINE_LOOK, "baseline"), (_FOLDED, "folded"))
        yield Figure(f"{whose}drift", tuple(_drift(analysis, verdict) for verdict in analysis.verdicts), drift)


def minutes(trials: Sequence[Trial]) -> dict[int, float]:
    """When each trial began, by its number, in minutes since the first did."""
    began = {trial.number: datetime.fromisoformat(trial.started_at) for trial in trials}
    first = min(began.values())
    return {number: (at - first).total_seconds() / 60 for number, at in began.items()}


def _look(state: str) -> Look:
    return LOST.get(state, DONE)


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
            told += f": {trial.state}"
            told += f"; {trial.reason}" if trial.reason else ""
            marks.append(Mark(at, ratios.index(trial.ratio), _look(trial.state), told))
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
    began, marks = minutes(analysis.trials), []
    for ratio, many in analysis.measured(verdict).items():
        middle = median(value for _, value in many) if many else 1.0
        for trial, value in many:
            apart = value / middle - 1
            look = BASELINE_LOOK if ratio == BASELINE else _FOLDED
            told = trial_says(verdict, trial, value, f", {percent(apart)} from the median of its ratio")
            marks.append(Mark(began[trial.number], apart, look, told))
    reach = 1.15 * max([abs(mark.y) for mark in marks], default=_REACH)
    return Chart(
        metric_title(verdict.metric),
        f"{metric_title(verdict.metric)} of each trial of {verdict.workload} over time, as its distance from the "
        "median of all trials at its ratio.",
        _axis(analysis),
        scale("from the ratio’s median", -max(reach, 0.02), max(reach, 0.02), percent=True, most=5),
        tuple(marks),
        zero="y",
        note=verdict.workload,
    )
