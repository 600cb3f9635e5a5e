"""A matrix as a document and a figure: how far each cell folds, what breaks it first, what each key does."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from pliant.analysis.matrix import Judged, Matrix
from pliant.analysis.words import NOT_KNOWN, number, ratio
from pliant.report.chart import STATES, Chart, Figure, Line, Mark, places, scale, series
from pliant.report.document import Block, Document, Heading, Paragraph, Table
from pliant.statistics.comparison import spelled

_BETWEEN = (
    "“Holds up to” is the largest ratio at which all metrics are shown to hold, “breaks at” the smallest at which one "
    "is shown to break; what lies between is not decided."
)


def document(found: Matrix) -> Document:
    """The whole matrix."""
    title = f"How far does it fold, over {' and '.join(found.keys)}? Study “{found.study}”"
    return Document(title, tuple(_blocks(found)))


def _blocks(found: Matrix) -> Iterator[Block]:
    several = len(found.filesystems) > 1
    columns = (*found.keys, *(("file system",) if several else ()), "holds up to", "hosts", "breaks at", "by")
    rows = tuple(
        (
            *cell.values.values(),
            *((spelled(cell.filesystem),) if several else ()),
            ratio(cell.ratio),
            NOT_KNOWN if cell.hosts is None else str(cell.hosts),
            ratio(cell.breaks_at),
            cell.what,
        )
        for cell in found.cells
    )
    words = frozenset({*range(len(columns) - 4), len(columns) - 1})
    yield Table(_BETWEEN, columns, rows, words)
    if found.effects:
        yield Heading("What each key does", 2)
        yield Table(
            "Geometric means of the ratios up to which the cells with a value hold, over all values of the other keys.",
            ("key", "value", "holds up to", "cells"),
            tuple((e.key, e.value, number(e.ratio), f"{e.cells} of {e.of}") for e in found.effects),
            frozenset({0, 1}),
        )
    if any(cell.ratio is None for cell in found.cells):
        yield Paragraph("Of cells without a ratio the baseline has no trial that counts.")


def figure(found: Matrix) -> Figure:
    """Against the values of the key with most of them: up to which ratio it holds, a line for each combination of the
    others, with where it breaks above."""
    key = max(found.keys, key=lambda each: len({cell.values[each] for cell in found.cells}))
    labels = list(dict.fromkeys(cell.values[key] for cell in found.cells))
    marks, lines, looks = [], [], []
    others = sorted(found.cells, key=lambda cell: _rest(found, cell, key))
    for number_, (rest, cells) in enumerate(groupby(others, key=lambda cell: _rest(found, cell, key))):
        look, points = series(number_), []
        looks.append((look, rest or "holds up to"))
        for cell in cells:
            if cell.ratio is None:
                continue
            at = float(labels.index(cell.values[key]))
            points.append((at, cell.ratio))
            says = f"{key} {cell.values[key]}{f', {rest}' if rest else ''}: holds up to ratio {ratio(cell.ratio)}"
            marks.append(Mark(at, cell.ratio, look, says))
            if cell.breaks_at is not None:
                said = f"{key} {cell.values[key]}: {cell.what} breaks at ratio {ratio(cell.breaks_at)}"
                marks.append(Mark(at, cell.breaks_at, STATES["breaks"], said))
        lines.append(Line(look, tuple(sorted(points))))
    top = 1.15 * max([each.y for each in marks], default=1.0)
    chart = Chart(
        "How far it folds",
        f"The folding ratio up to which all metrics hold, against {key}, and where one breaks.",
        places(labels, key),
        scale("folding ratio", 0.0, top),
        tuple(marks),
        tuple(lines),
    )
    return Figure("matrix", (chart,), (*looks, (STATES["breaks"], "breaks")))


def _rest(found: Matrix, cell: Judged, key: str) -> str:
    """What a cell is beside the value of one key, in words."""
    parts = [f"{each.rpartition('.')[2]} {value}" for each, value in cell.values.items() if each != key]
    return ", ".join([*parts, *([spelled(cell.filesystem)] if len(found.filesystems) > 1 else [])])
