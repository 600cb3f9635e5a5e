"""What the machine did to the trials of a run, in words and rows: see `pliant.telemetry.disturbance`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pliant.analysis.words import join, metric_title, plural
from pliant.results.run_info import RunInfo
from pliant.statistics.verdict import Verdict
from pliant.telemetry.disturbance import taken, usual_second_s
from pliant.trial import Trial

_TOLD = 0.01
"""What is withheld, of all CPU time of a trial, or changes a loss, is told from this on."""


@dataclass(frozen=True)
class Row:
    """What the machine did to one metric of one trial: its entry in `Trial.disturbance`, and how much more a CPU second
    did than that of the median trial, as a part of 1; None where that is not known."""

    trial: Trial
    metric: str
    about: Mapping[str, Any]
    second: float | None


def rows(info: RunInfo, trials: Sequence[Trial]) -> tuple[Row, ...]:
    """Of all trials that say so, those of a workload together."""
    found = []
    for workload, metrics in info.metrics.items():
        for metric in metrics:
            mine = [
                (t, t.disturbance[metric.name])
                for t in trials
                if t.workload == workload
                if metric.name in t.disturbance
            ]
            usual = usual_second_s(each for _, each in mine)
            found += [
                Row(trial, metric_title(metric), each, usual / each["second_s"] - 1 if each["second_s"] else None)
                for trial, each in mine
            ]
    return tuple(sorted(found, key=lambda row: row.trial.number))


def notes(told: Sequence[Row], verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What a careful reader must know of it, in sentences."""
    counted = [row for row in told if row.trial.counted]
    withheld = [taken(row.about) for row in counted if taken(row.about) * row.about["limited"] >= _TOLD]
    if withheld:
        low, high = (f"{100 * part:.0f}" for part in (min(withheld), max(withheld)))
        text = (
            f"A hypervisor, or programs of higher priority, withheld "
            f"{f'{high} %' if low == high else f'{low} to {high} %'} of the CPU from hosts, where it could limit, in "
            f"{len(withheld)} of {plural(len(counted), 'value')}. Losses are those without, as far as values show it"
        )
        yield text + _most_moved(verdicts)
    if refused := [row for row in counted if row.about["refused"]]:
        which = join([f"{row.metric} of trial {row.trial.number}" for row in refused])
        yield f"The machine may have moved some values by more than is borne, which do not count: {which}."


def _most_moved(verdicts: Sequence[Verdict]) -> str:
    moved = [
        (abs(row.loss_disturbed - row.loss), row.loss_disturbed, row, verdict)
        for verdict in verdicts
        for row in verdict.ratios
        if row.loss is not None and row.loss_disturbed is not None
    ]
    most, disturbed, row, verdict = max(moved, key=lambda each: each[0], default=(0.0, 0.0, None, None))
    if row is None or verdict is None or row.loss is None or most < _TOLD:
        return "."
    return (
        f"; most at ratio {row.ratio:.3g} of {metric_title(verdict.metric)}: {100 * row.loss:.0f} %, and "
        f"{100 * disturbed:.0f} % with it."
    )
