"""Figures with a curve for each file system, or run: a metric against hosts, its loss against the ratio, and what
folding saves against what it costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pliant.analysis.words import bounds, loss, metric_title, percent, place, plural
from pliant.report.chart import Chart, Figure, Line, Look, Mark, places, scale, series
from pliant.report.figures import ends, loss_limits, reached, says
from pliant.statistics.comparison import spelled
from pliant.statistics.verdict import RatioVerdict, Verdict
from pliant.trial import UNFOLDED

_APART = 0.5
"""The part of the room for one place on the axis over which curves are spread, so that intervals do not cover."""

Curves = Mapping[str, Verdict]
"""Label of a file system or run -> its verdict on one metric."""


def compared(verdicts: Mapping[str, Sequence[Verdict]], kind: str) -> dict[str, Figure]:
    """Workload -> a panel for each of its metrics, which all have in the same order; `kind` is "hosts" or "loss"."""
    paint = {"hosts": _against_hosts, "loss": _loss}[kind]
    key = (*_key(verdicts), *_TOLERATED[kind])
    return {
        workload: Figure(f"comparison-{workload}-{kind}", tuple(paint(curves) for curves in metrics), key)
        for workload, metrics in by_workload(verdicts).items()
    }


def saved(verdicts: Mapping[str, Sequence[Verdict]]) -> Iterator[Figure]:
    """Machines saved against the worst loss of any metric: of all workloads, and of each if there are several."""
    workloads = list(dict.fromkeys(verdict.workload for many in verdicts.values() for verdict in many))
    chosen = [("all workloads", workloads)] if len(workloads) > 1 else []
    chosen += [(workload, [workload]) for workload in workloads]
    charts = []
    for title, these in chosen:
        charts.append(
            _saved(title, {label: [v for v in many if v.workload in these] for label, many in verdicts.items()})
        )
    yield Figure("saved", tuple(charts), (*_key(verdicts), (None, "tolerated loss")))


def by_workload(verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, list[Curves]]:
    """Workload -> for each of its metrics the verdicts on it, in the same order for all labels."""
    found: dict[str, list[Curves]] = {}
    for same in zip(*verdicts.values(), strict=True):
        found.setdefault(same[0].workload, []).append(dict(zip(verdicts, same, strict=True)))
    return found


_TOLERATED: Mapping[str, tuple[tuple[Look | None, str], ...]] = {"hosts": (), "loss": ((None, "tolerated loss"),)}


def _key(labels: Mapping[str, object]) -> list[tuple[Look | None, str]]:
    return [(series(number), spelled(label)) for number, label in enumerate(labels)]


def _against_hosts(curves: Curves) -> Chart:
    """Medians with intervals against the number of hosts, most first: a place for each that any was measured on."""
    metric = next(iter(curves.values())).metric
    counts = sorted({row.hosts for verdict in curves.values() for row in verdict.ratios}, reverse=True)
    rows = [row for verdict in curves.values() for row in verdict.ratios if row.median is not None]
    most = max((row.median for row in rows if row.median is not None), default=1.0)
    top = 1.08 * max([most, *(min(row.high, 1.5 * most) for row in rows if row.high is not None)])
    marks, lines = _marks(curves, {count: at for at, count in enumerate(counts)}, "hosts")
    direction = f"{metric.better} is better"
    return Chart(
        metric_title(metric),
        f"{metric_title(metric)} in {metric.unit}, {direction}, against the number of hosts, one curve for each of "
        f"{', '.join(map(spelled, curves))}.",
        places([str(count) for count in counts], "hosts"),
        scale(metric.unit, 0.0, top),
        tuple(marks),
        tuple(lines),
        note=f"{metric.unit}, {direction}",
    )


def _loss(curves: Curves) -> Chart:
    """Losses with intervals against the ratio, each against its own baseline."""
    metric, tolerated = next(iter(curves.values())).metric, min(verdict.max_loss for verdict in curves.values())
    ratios = sorted({row.ratio for verdict in curves.values() for row in verdict.ratios})
    rows = [(verdict, row) for verdict in curves.values() for row in verdict.folded]
    low, high = loss_limits(reached(rows), [row.loss for _, row in rows if row.loss is not None], tolerated)
    marks, lines = _marks(curves, {ratio: at for at, ratio in enumerate(ratios)}, "loss")
    return Chart(
        metric_title(metric),
        f"Loss of {metric_title(metric)} against the folding ratio. "
        + " ".join(f"{spelled(label)}: {verdict.sentence}" for label, verdict in curves.items()),
        places([f"{ratio:.3g}" for ratio in ratios], "folding ratio"),
        scale("loss", low, high, percent=True),
        tuple(marks),
        tuple(lines),
        ("y", low, tolerated),
        tolerated,
        "y",
    )


def _marks(curves: Curves, at: Mapping[float, int], kind: str) -> tuple[list[Mark], list[Line]]:
    """The marks and lines of all curves, a little beside each other."""
    marks, lines = [], []
    for number, (label, verdict) in enumerate(curves.items()):
        beside, mine = _APART * ((number + 0.5) / len(curves) - 0.5), []
        for row in verdict.ratios:
            where, value, low, high = row.ratio, row.loss, row.loss_low, row.loss_high
            if kind == "hosts":
                where, value, low, high = row.hosts, row.median, row.low, row.high
            elif row.ratio == verdict.baseline:
                low = high = None
            if value is not None:
                told = f"{spelled(label)}: {says(verdict, row)}"
                mine.append(Mark(at[where] + beside, value, series(number), told, ends(low, high)))
        marks += mine
        lines.append(Line(series(number), tuple(sorted((mark.x, mark.y) for mark in mine))))
    return marks, lines


def _saved(title: str, verdicts: Mapping[str, Sequence[Verdict]]) -> Chart:
    """One curve for each label: at each ratio the worst loss, with its interval, and the part of the hosts saved."""
    worst = {label: list(_worst(many)) for label, many in verdicts.items()}
    rows = [(verdict, row) for many in worst.values() for verdict, row, _ in many]
    tolerated = min((verdict.max_loss for many in verdicts.values() for verdict in many), default=0.0)
    low, high = loss_limits(reached(rows), [row.loss for _, row in rows if row.loss is not None], tolerated)
    marks, lines = [], []
    for number, (label, many) in enumerate(worst.items()):
        mine = [_saved_mark(series(number), label, *each) for each in many]
        marks += mine
        lines.append(Line(series(number), tuple((mark.x, mark.y) for mark in mine)))
    return Chart(
        title,
        f"Part of the hosts that folding saves, against the worst loss of any metric at that ratio ({title}).",
        scale("worst loss of any metric", low, high, percent=True, most=5),
        scale(_hosts_saved(verdicts), 0.0, 1.06, percent=True, most=5),
        tuple(marks),
        tuple(lines),
        ("x", low, tolerated),
        tolerated,
    )


def _hosts_saved(verdicts: Mapping[str, Sequence[Verdict]]) -> str:
    """What an axis is called: where a baseline is itself folded it is not all hosts that some are saved of."""
    folded = {v.baseline for many in verdicts.values() for v in many if v.baseline != UNFOLDED}
    return f"hosts saved of those at ratio {min(folded):.3g}" if folded else "hosts saved"


def _worst(verdicts: Sequence[Verdict]) -> Iterator[tuple[Verdict, RatioVerdict, float]]:
    """At each ratio at which all metrics have a loss: the metric with the worst, and the part of the hosts saved."""
    for ratio in [row.ratio for row in verdicts[0].ratios] if verdicts else []:
        rows = [(verdict, verdict.at(ratio)) for verdict in verdicts]
        if all(row.loss is not None for _, row in rows):
            verdict, row = max(rows, key=lambda pair: pair[1].loss or 0.0)
            yield verdict, row, 1 - row.hosts / verdict.at(verdict.baseline).hosts


def _saved_mark(look: Look, label: str, verdict: Verdict, row: RatioVerdict, part: float) -> Mark:
    if row.ratio == verdict.baseline:
        text = f"{spelled(label)}: the baseline, {plural(row.hosts, 'host')}"
        return Mark(0.0, part, look, text, name=f"{row.ratio:.3g}")
    lost = f"{f'{loss(row)} {bounds(row.loss_low, row.loss_high)}'.rstrip()}: {row.state}"
    told = (
        f"{spelled(label)} at {place(row.ratio, row.hosts)}: {percent(part)} of the hosts saved; the worst loss is "
        f"that of {metric_title(verdict.metric)} ({verdict.workload}), {lost}"
    )
    return Mark(row.loss or 0.0, part, look, told, None, ends(row.loss_low, row.loss_high), f"{row.ratio:.3g}")
