"""The verdicts as a table for the terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pliant.analysis.conclusions import Analysis, RunAnalysis
from pliant.analysis.words import (
    CEILING,
    MARKS,
    NOT_KNOWN,
    PASSED_OVER,
    bound,
    claimed,
    energy,
    mark,
    mass,
    median,
    metric_title,
    number,
)
from pliant.report.document import Document, Heading, Items, Paragraph
from pliant.report.document import Table as DocumentTable
from pliant.report.story import search
from pliant.statistics.comparison import AtHosts, Comparison, spelled
from pliant.statistics.verdict import RatioVerdict, Verdict, tolerance

_RATIOS_IN_A_ROW = 4
_STYLES = {"holds": "green", "breaks": "red", "undecided": "yellow"}


def said(run: RunAnalysis) -> None:
    """A run's verdicts on standard output."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    if run.comparison is not None:
        console.print(compared(run.comparison))
    for part in run.parts:
        if run.comparison is not None:
            console.rule(part.filesystem)
        console.print(summary(part))


def plain(document: Document) -> str:
    """A document as plain text, as wide as the terminal, or as its tables need elsewhere."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160, file=io.StringIO(), record=True)
    console.print(Text(document.title, style="bold"))
    for block in document.blocks:
        console.print()
        match block:
            case Heading(text):
                console.print(Text(text, style="bold"))
            case Paragraph(text):
                console.print(Text(text))
            case Items(items):
                console.print(*(Text(f"- {item}") for item in items), sep="\n")
            case DocumentTable():
                console.print(Text(block.caption, style="dim"), _rows(block), sep="\n")
    return console.export_text(styles=sys.stdout.isatty())


def _rows(block: DocumentTable) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for at, column in enumerate(block.columns):
        table.add_column(escape(column), justify="left" if at in block.left else "right", overflow="fold")
    for place, row in enumerate(block.rows):
        if place in block.begins:
            table.add_row()
        table.add_row(*(Text(cell, style=_style(cell)) for cell in row))
    return table


def _style(cell: str) -> str:
    """A state is coloured as everywhere."""
    return _STYLES.get(cell.partition(" ")[2], "")


def summary(analysis: Analysis) -> RenderableType:
    """Headline, what it is against, a line for each metric (median at each ratio and its state), savings, and what to
    be careful of."""
    ratios = analysis.ratios
    chunks = [ratios[i : i + _RATIOS_IN_A_ROW] for i in range(0, len(ratios), _RATIOS_IN_A_ROW)]
    parts: list[RenderableType] = [Text(analysis.headline, style="bold")]
    parts += [*([Text(analysis.against, style="bold yellow")] if analysis.against else ()), Text(analysis.more)]
    for chunk in chunks:
        parts += ["", _table(analysis, chunk, last=chunk == chunks[-1])]
    parts += [_legend(analysis), *_limits(analysis), "", *_faults(analysis), _savings(analysis), *_study(analysis)]
    parts += [Text(f"Note: {note}", style="yellow") for note in analysis.notes]
    return Group(*parts)


def compared(comparison: Comparison) -> RenderableType:
    """Who folds furthest, and who is fastest at each number of hosts, metric by metric."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("hosts", overflow="fold")
    table.add_column("")
    for hosts in comparison.hosts:
        table.add_column(str(hosts), overflow="fold")
    for metric in comparison.metrics:
        at = {each.hosts: each for each in metric.at}
        cells = [_fastest(at[hosts]) if hosts in at else Text(NOT_KNOWN) for hosts in comparison.hosts]
        table.add_row(f"{escape(metric.workload)} {escape(metric_title(metric.metric))}", metric.metric.unit, *cells)
    said = [Text(sentence) for sentence in comparison.fastest_sentences]
    legend = Text("the fastest with its median; ≈ the best, not told apart from others", style="dim")
    return Group(Text(comparison.furthest.sentence, style="bold"), *said, "", table, legend, "")


def _fastest(at: AtHosts) -> Text:
    best = at.measured[0]
    return Text(
        f"{'' if at.fastest else '≈ '}{spelled(best.filesystem)} {bound(best.median, best.median_is)}",
        style="green" if at.fastest else "yellow",
    )


def _table(analysis: Analysis, ratios: Sequence[float], last: bool) -> Table:
    """The medians at `ratios`; with what they amount to if it is the last table."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("ratio\nhosts", overflow="fold")
    table.add_column("", overflow="fold")
    for ratio in ratios:
        table.add_column(f"{ratio:.3g}\n{analysis.info.hosts[ratio]}", justify="right", no_wrap=True)
    if last:
        table.add_column("holds\nup to", justify="right", no_wrap=True)
        table.add_column("breaks\nat", justify="right", no_wrap=True)
    for verdict in analysis.verdicts:
        name = f"{escape(verdict.workload)} {escape(metric_title(verdict.metric))}"
        amount: list[RenderableType] = [_ratio(verdict.holds_up_to), _break(verdict)] if last else []
        cells = [_cell(verdict, verdict.at(ratio)) for ratio in ratios]
        style = None if verdict in analysis.plain or verdict.workload in analysis.info.faults else "dim"
        table.add_row(name, escape(verdict.metric.unit), *cells, *amount, style=style)
        if analysis.rescales(verdict):
            there = [bound(analysis.rescaled(verdict, row.median), row.median_is) for row in map(verdict.at, ratios)]
            # The marks' place is left free, so that the numbers are below each other.
            free = [text if r == verdict.baseline else f"{text}  " for r, text in zip(ratios, there, strict=True)]
            table.add_row("  rescaled", escape(verdict.metric.unit), *free, *["" for _ in amount], style="dim")
    return table


def _cell(verdict: Verdict, row: RatioVerdict) -> Text:
    if row.ratio == verdict.baseline:
        return Text(median(row))
    return Text(f"{median(row)} {mark(row)}", style=_STYLES[row.state] if claimed(row) else "dim")


def _legend(analysis: Analysis) -> Text:
    tolerated = tolerance(analysis.info.max_loss, analysis.info.indifference)
    tolerated += "" if analysis.info.unfolded else f", against ratio {analysis.info.baseline:.3g}"
    said = f"{MARKS['holds']} holds (loss within {tolerated})  {MARKS['breaks']} breaks  {MARKS['undecided']} undecided"
    if any(row.passed_over for verdict in analysis.verdicts for row in verdict.ratios):
        said += f"  {PASSED_OVER} not needed: looked at, and passed over"
    if any(row.ceiling for verdict in analysis.verdicts for row in verdict.ratios):
        said += f"  {CEILING} the emulation's ceiling: no verdict"
    if any(row.median_is != "exact" for verdict in analysis.verdicts for row in verdict.ratios):
        said += "\n< or > before a median: it is a bound, as trials were stopped"
    if analysis.info.asked:
        said += f"\nasked for: {', '.join(analysis.info.asked)}; how far it folds is decided by these"
    if analysis.scaled:
        real = analysis.info.like or "the real host"
        said += f"\nrescaled: from hosts that are {real} divided by {analysis.info.scale:g}, an estimate"
    if analysis.info.disk_caveat:
        said += f"\nits disk: {analysis.info.disk_caveat}"
    return Text(said, style="dim")


def _limits(analysis: Analysis) -> Iterator[Text]:
    """For each workload that breaks, what limits the metric that breaks first, where it does."""
    for workload in analysis.info.metrics:
        broken = [(v.breaks_at, v) for v in analysis.verdicts if v.workload == workload and v.breaks_at is not None]
        if broken:
            ratio, verdict = min(broken, key=lambda pair: pair[0])
            limit = analysis.limit(verdict, ratio)
            if limit is not None:
                yield Text(f"{workload} at ratio {ratio:.3g}, where it breaks: {limit.sentence}.")


def _faults(analysis: Analysis) -> Iterator[Text]:
    """What became of each workload through faults, and what they cost it at the baseline."""
    base = analysis.info.baseline
    for report in analysis.faults:
        yield Text(report.sentence, style="red" if report.lost else "")
        if costs := report.costs(base):
            yield Text(f"  At ratio {base:.3g}, without and through it: {costs}.")


def _ratio(ratio: float | None) -> str:
    return NOT_KNOWN if ratio is None else f"{ratio:.3g}"


def _break(verdict: Verdict) -> Text:
    text = _ratio(verdict.breaks_at)
    return Text(text, style="" if verdict.breaks_at is None else "red")


def _study(analysis: Analysis) -> Iterator[Text]:
    """What the study itself took, and what its search saved."""
    saved, spent = analysis.savings, analysis.savings.study
    emitted = mass(saved.power.co2e_kg(spent.energy_kwh))
    took = f"{number(spent.machine_hours)} machine-hours, {energy(spent.energy_kwh)}, {emitted} of CO₂e ({saved.how})"
    yield Text(f"The study itself: {took}.{search(analysis)}")


def _savings(analysis: Analysis) -> Text:
    saved = analysis.savings
    if saved.full is None or saved.folded is None:
        return Text("Savings: not known, a workload has no done trial.")
    if analysis.info.one_ratio:
        return Text("Savings: none, there is no other ratio.")
    if saved.ratio == analysis.info.baseline:
        return Text(f"Savings: none, no {'' if analysis.info.unfolded else 'further '}folding is shown to be safe.")
    against = "" if analysis.info.unfolded else f" against ratio {analysis.info.baseline:.3g}"
    full, folded = saved.full, saved.folded
    emitted = [mass(saved.power.co2e_kg(side.energy_kwh)) for side in (full, folded)]
    return Text(
        f"Savings at ratio {saved.ratio:.3g}{against}, one pass over the workloads: "
        f"hosts {full.hosts} → {folded.hosts}, "
        f"machine-hours {number(full.machine_hours)} → {number(folded.machine_hours)}, "
        f"energy {energy(full.energy_kwh)} → {energy(folded.energy_kwh)}, "
        f"CO₂e {emitted[0]} → {emitted[1]} ({saved.how})."
    )
