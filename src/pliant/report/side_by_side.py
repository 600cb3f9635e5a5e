"""Several runs side by side, as a document: who folds further, what differs, what cannot be compared, the numbers."""

from __future__ import annotations

from collections.abc import Iterator

from pliant.analysis.words import metric_title, ratio
from pliant.report.across import Across
from pliant.report.document import Block, Document, Heading, Items, Paragraph, Table
from pliant.report.summary import VALUES, folds, values
from pliant.statistics.comparison import AtHosts, spelled
from pliant.statistics.verdict import RatioVerdict, Verdict


def document(across: Across) -> Document:
    """The comparison of runs."""
    return Document(f"{' against '.join(map(spelled, across.labels))}", tuple(_blocks(across)))


def _blocks(across: Across) -> Iterator[Block]:
    yield Paragraph(across.headline)
    if across.comparison is not None and across.medians:
        yield Items(across.comparison.fastest_sentences)
    if across.cannot:
        yield Heading("What cannot be compared", 2)
        yield Items(across.cannot)
    yield Heading("What differs", 2)
    if across.differences:
        rows = tuple((each.what, *each.values) for each in across.differences)
        columns = ("", *map(spelled, across.labels))
        yield Table("What is not the same in all runs.", columns, rows, frozenset(range(len(columns))))
    else:
        yield Paragraph("Nothing but the trials: study, machine and versions are the same.")
    if across.comparison is not None:
        yield Heading("Who folds further", 2)
        yield folds(across.comparison)
    if any(across.verdicts.values()):
        yield Heading("Metric by metric", 2)
        for workload in dict.fromkeys(v.workload for v in next(iter(across.verdicts.values()))):
            yield _numbers(across, workload)


def _numbers(across: Across, workload: str) -> Table:
    """At each ratio of each metric a row for each run that has it."""
    rows: list[tuple[str, ...]] = []
    begins: set[int] = set()
    for same in zip(*across.verdicts.values(), strict=True):
        if same[0].workload == workload:
            begins.add(len(rows))
            title = f"{metric_title(same[0].metric)} ({same[0].metric.unit})"
            for at in sorted({row.ratio for verdict in same for row in verdict.ratios}):
                rows += _at(across, same, at, "" if len(rows) > max(begins) else title)
    columns = ("metric", "ratio", "run", "hosts", "trials", *VALUES, "")
    caption = f"{workload}: medians and losses with their intervals."
    if workload in across.medians:
        caption += " Best: its interval meets no other’s; ≈: not told apart from the best median."
    return Table(caption, columns, tuple(rows), frozenset({0, 2, 9, 10}), frozenset(begins - {0}))


def _at(across: Across, same: tuple[Verdict, ...], at: float, title: str) -> Iterator[tuple[str, ...]]:
    names = (title, ratio(at))
    for label, verdict in zip(across.labels, same, strict=True):
        row = next((row for row in verdict.ratios if row.ratio == at), None)
        if row is not None:
            counts = (str(row.hosts), str(row.trials))
            yield (*names, spelled(label), *counts, *values(verdict, row), _told(across, verdict, row, label))
            names = ("", "")


def _told(across: Across, verdict: Verdict, row: RatioVerdict, label: str) -> str:
    """Whether a run is the best on so many hosts, as far as medians can be compared."""
    if across.comparison is None or verdict.workload not in across.medians:
        return ""
    found: AtHosts | None = next(
        (
            at
            for metric in across.comparison.metrics
            if (metric.workload, metric.metric) == (verdict.workload, verdict.metric)
            for at in metric.at
            if at.hosts == row.hosts
        ),
        None,
    )
    if found is None:
        return ""
    return "best" if found.fastest == label else "≈" if label in found.together else ""
