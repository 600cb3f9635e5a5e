"""A matrix as a document and a figure: how far each cell folds, what breaks it first, what each key does."""

from __future__ import annotations

from collections.abc import Iterator

from pliant.analysis.matrix import Judged, Matrix
from pliant.analysis.words import NOT_KNOWN, number, plural, ratio
from pliant.report.chart import STATES, Chart, Figure, Line, Mark, places, scale, series
from pliant.report.document import Block, Document, Heading, Paragraph, Table
from pliant.statistics.comparison import spelled

REPORT = "report.html"
"""The report of a cell, in its directory."""
_APART = 0.5
"""The part of the room for one value on the axis over which the lines of others are spread: equal ones are all seen."""
_BETWEEN = (
    "“Holds up to” is the largest ratio at which all metrics are shown to hold, “breaks at” the smallest at which one "
    "is shown to break; what lies between is not decided."
)


def document(found: Matrix) -> Document:
    """The whole matrix."""
    title = f"How far does it fold, over {' and '.join(found.keys)}? Study “{found.study}”"
    return Document(title, tuple(_blocks(found)))


def headline(found: Matrix) -> str:
    """How far cells fold, from the least to the most of them, in a sentence."""
    known = [cell for cell in found.cells if cell.ratio is not None]
    if not known:
        return "Of no cell is it known how far it folds."
    least, most = (choose(known, key=lambda cell: cell.ratio or 0.0) for choose in (min, max))
    of = f"{len(known)} of {plural(len(found.cells), 'cell')}"
    if least.ratio == most.ratio:
        return f"{of}: each holds up to ratio {ratio(most.ratio)}."
    return (
        f"{of}: from ratio {ratio(least.ratio)} ({_rest(found, least)}) to {ratio(most.ratio)} ({_rest(found, most)})."
    )


def _blocks(found: Matrix) -> Iterator[Block]:
    several = len(found.filesystems) > 1
    columns = ("cell", *found.keys, *(("file system",) if several else ()), "holds up to", "hosts", "breaks at", "by")
    rows = tuple(
        (
            cell.cell.partition("-")[0],
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
    links = tuple(f"{cell.cell}/{REPORT}" for cell in found.cells)
    yield Table(_BETWEEN, columns, rows, words, links=links)
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
    curves: dict[str, list[Judged]] = {}
    for each in found.cells:
        curves.setdefault(_rest(found, each, key), []).append(each)
    for number_, (rest, cells) in enumerate(curves.items()):
        look, points, beside = series(number_), [], _APART * ((number_ + 0.5) / len(curves) - 0.5)
        looks.append((look, rest or "holds up to"))
        for cell in cells:
            if cell.ratio is None:
                continue
            at = labels.index(cell.values[key]) + beside
            points.append((at, cell.ratio))
            about = f"{key} {cell.values[key]}{f', {rest}' if rest else ''}"
            marks.append(Mark(at, cell.ratio, look, f"{about}: holds up to ratio {ratio(cell.ratio)}"))
            if cell.breaks_at is not None:
                said = f"{about}: {cell.what} breaks at ratio {ratio(cell.breaks_at)}"
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


def _rest(found: Matrix, cell: Judged, key: str = "") -> str:
    """What a cell is, beside the value of one key, in words."""
    parts = [f"{each.rpartition('.')[2]} {value}" for each, value in cell.values.items() if each != key]
    return ", ".join([*parts, *([spelled(cell.filesystem)] if len(found.filesystems) > 1 else [])])
