"""A prediction as a document: where it breaks and by what, every curve with intervals, and what to doubt."""

from __future__ import annotations

from collections.abc import Iterator

from pliant.analysis.doubts import NAMES
from pliant.analysis.modelled import Target
from pliant.analysis.predicting import Curve, Prediction, Row
from pliant.analysis.words import NOT_KNOWN, interval, join, metric_title, number, percent, place, plural, ratio
from pliant.report.chart import Chart, Figure, Line, Look, Mark, places, scale
from pliant.report.document import Block, Document, Heading, Items, Paragraph, Table
from pliant.statistics.comparison import spelled
from pliant.units import format_bit_rate, format_byte_rate

_SURE = 0.995


def document(prediction: Prediction, filesystem: str) -> Document:
    """The prediction, for the terminal, Markdown and LaTeX."""
    nodes = join([plural(count, role) for role, count in prediction.target.roles.items()])
    return Document(f"{spelled(filesystem)}, predicted: {nodes}", tuple(_blocks(prediction)))


def _blocks(prediction: Prediction) -> Iterator[Block]:
    target = prediction.target
    yield Paragraph(
        f"On hosts of {_host(prediction)}, placed by “{target.strategy}”{_alone(target)}, from what was measured in "
        f"{join(list(prediction.runs))}."
    )
    yield Paragraph(headline(prediction))
    for workload in dict.fromkeys(curve.workload for curve in prediction.curves):
        yield _table([curve for curve in prediction.curves if curve.workload == workload], workload)
    if prediction.doubts:
        yield Heading("Beyond the data", 2)
        yield Items(tuple(_sentence(doubt) for doubt in prediction.doubts))
    if prediction.left_out:
        yield Heading("Not predicted", 2)
        yield Items(tuple(_sentence(each) for each in prediction.left_out))
    yield Paragraph("A prediction is no evidence: no verdict rests on it. Intervals are of 95 %.")


def _alone(target: Target) -> str:
    """Which nodes are folded, if not all."""
    return f" of {join(list(target.folded))}, whose nodes alone are folded" if target.folded else ""


def headline(prediction: Prediction) -> str:
    """Where it breaks first, what breaks it, and how sure that is."""
    target, curve = prediction.target, prediction.first
    tolerated = percent(target.max_loss)
    if curve is None or curve.at_break is None:
        last = max(target.ratios, default=1.0)
        worst = max(prediction.curves, key=lambda each: each.rows[-1].told.breaks)
        return (
            f"Nothing is predicted to break up to ratio {ratio(last)}: no metric to lose more than {tolerated}. "
            f"Nearest is {_name(worst)}, which breaks there with a probability of "
            f"{_probability(worst.rows[-1].told.breaks)}."
        )
    row = curve.at_break
    early, late = curve.breaks_between
    since = "from there on" if early is None else f"not before ratio {ratio(early)}"
    until = (
        f"and by ratio {ratio(late)} it has" if late is not None else "and nothing says that it has by the last ratio"
    )
    return (
        f"It is predicted to break first at ratio {ratio(row.ratio)}, on {plural(row.hosts, 'host')} instead of "
        f"{target.nodes}: {_name(curve)} then loses {percent(row.told.loss)}, of {tolerated} tolerated, with a "
        f"probability of {_probability(row.told.breaks)}. What limits it there is {NAMES[row.told.limit]} "
        f"({_probability(row.told.sure)}). With 95 % it breaks {since}, {until}."
    )


def _name(curve: Curve) -> str:
    return f"{curve.workload} {metric_title(curve.metric)}"


def _probability(value: float) -> str:
    return "over 99 %" if value > _SURE else percent(value)


def _host(prediction: Prediction) -> str:
    capacity = prediction.target.capacity
    parts = [f"{capacity['cpu']:.3g} core{'' if capacity['cpu'] == 1 else 's'}"] if "cpu" in capacity else []
    parts += [f"{format_bit_rate(capacity['nic_up'] * 8)} each way"] if "nic_up" in capacity else []
    parts += [f"{format_byte_rate(capacity['disk_read'])} of disk"] if "disk_read" in capacity else []
    words = join(parts)
    return f"{prediction.target.host} ({words})" if prediction.target.host else words


PREDICTED = Look("series-1", "o", (5, 2), hollow=True)
USED = Look("breaks", "s", size=0.9)
MEASURED = Look("holds", "D", size=0.9)


def figure(prediction: Prediction, whose: str = "") -> Figure:
    """A panel for each metric: what is predicted with intervals, and beside it what was measured. Its name begins with
    `whose`."""
    charts = tuple(_chart(curve) for curve in prediction.curves)
    looks = {mark.look for chart in charts for mark in chart.marks}
    key: tuple[tuple[Look | None, str], ...] = (
        (PREDICTED, f"predicted, {percent(prediction.target.confidence)}"),
        (USED, "measured, and calibrated on"),
        (MEASURED, "measured, and not known to the model"),
    )
    return Figure(f"{whose}predicted", charts, (*(each for each in key if each[0] in looks), (None, "tolerated")))


def _chart(curve: Curve) -> Chart:
    higher, rows, title = curve.metric.better == "higher", curve.rows, _name(curve)
    baseline = rows[0].value if rows[0].measured is None else rows[0].measured
    limit = baseline * (1 - curve.max_loss if higher else 1 + curve.max_loss)
    seen = [row.value for row in rows] + [row.measured for row in rows if row.measured is not None]
    top = 1.08 * max([*seen, limit, *(min(row.high, 1.5 * max(seen)) for row in rows)])
    marks = [
        Mark(
            at,
            row.value,
            PREDICTED,
            f"predicted at {place(row.ratio, row.hosts)}: {number(row.value)} {curve.metric.unit}"
            f"{interval(row.low, row.high)}",
            (row.low, row.high),
        )
        for at, row in enumerate(rows)
    ]
    marks += [
        Mark(
            at + _BESIDE,
            row.measured,
            USED if row.used else MEASURED,
            f"measured at {place(row.ratio, row.hosts)}: {number(row.measured)} {curve.metric.unit}",
        )
        for at, row in enumerate(rows)
        if row.measured is not None
    ]
    line = Line(PREDICTED, tuple((float(at), row.value) for at, row in enumerate(rows)))
    labels = [f"{row.ratio:.3g}\n{row.hosts}" for row in rows]
    if len(labels) > _ROOMY:
        every = -(-len(labels) // _ROOMY)
        labels = [label if at % every == 0 else "" for at, label in enumerate(labels)]
    direction = f"{curve.metric.better} is better"
    return Chart(
        title,
        f"{title} in {curve.metric.unit}, {direction}, predicted and measured, against the folding ratio.",
        places(labels, "folding ratio, hosts below", 0.35, 0.5),
        scale(curve.metric.unit, 0.0, top),
        tuple(marks),
        (line,),
        ("y", limit, top) if higher else ("y", 0.0, limit),
        limit,
        note=f"{curve.metric.unit}, {direction}",
    )


_BESIDE = 0.12
"""How far beside a prediction what was measured is drawn."""
_ROOMY = 12
"""So many places get a label."""

COLUMNS = ("metric", "ratio", "hosts", "predicted", "interval", "measured", "loss", "interval", "breaks", "limited by")


def _table(curves: list[Curve], workload: str) -> Table:
    rows: list[tuple[str, ...]] = []
    begins: set[int] = set()
    for curve in curves:
        begins.add(len(rows))
        title = f"{metric_title(curve.metric)} ({curve.metric.unit})"
        rows += [_row(row, title if at == 0 else "", at == 0) for at, row in enumerate(curve.rows)]
    caption = (
        f"{workload}: the model was calibrated on what was measured, but where a * says that it was not; “breaks” is "
        "the probability that more is lost than is tolerated."
    )
    return Table(caption, COLUMNS, tuple(rows), frozenset({0, 9}), frozenset(begins - {0}))


def _row(row: Row, title: str, first: bool) -> tuple[str, ...]:
    told = row.told
    if first:
        loss: tuple[str, str, str] = ("baseline", "", "")
    else:
        ends = f"[{percent(told.loss_low, '')}, {percent(told.loss_high, '')}]"
        loss = (percent(told.loss), ends, percent(told.breaks))
    limit = "nothing shared" if told.limit == "alone" else NAMES[told.limit]
    measured = NOT_KNOWN if row.measured is None else number(row.measured) + ("" if row.used else " *")
    return (
        title,
        ratio(row.ratio),
        str(row.hosts),
        number(row.value),
        interval(row.low, row.high).strip(),
        measured,
        *loss,
        limit,
    )


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
