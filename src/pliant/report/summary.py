"""A run's report as a document: what the page says, without its figures, for Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Iterator

from pliant.analysis.conclusions import Analysis, RunAnalysis
from pliant.analysis.words import (
    NOT_KNOWN,
    bounds,
    energy,
    interval,
    join,
    loss,
    mark,
    mass,
    median,
    metric_title,
    number,
    percent,
    plural,
    ratio,
    state,
)
from pliant.report.document import Block, Document, Heading, Items, Paragraph, Table, grouped
from pliant.report.story import story
from pliant.results.conformance_table import ratios_of
from pliant.statistics.comparison import Comparison, Fold, spelled
from pliant.statistics.savings import Pass
from pliant.statistics.verdict import INTERVALS, METHOD, RatioVerdict, Verdict, tolerance
from pliant.telemetry.samples import NAMES


def document(run: RunAnalysis) -> Document:
    """The whole report of a run."""
    first = run.parts[0]
    if run.comparison is None:
        title = f"How far does {first.filesystem} fold? Study “{first.info.study}”"
        return Document(title, (*_part(first), *_versions(first)))
    blocks = [*_comparison(run.comparison), *(block for part in run.parts for block in _section(part))]
    title = f"Which file system folds furthest, and which is fastest? Study “{first.info.study}”"
    return Document(title, (*blocks, *_versions(first)))


def _section(analysis: Analysis) -> Iterator[Block]:
    yield Heading(analysis.filesystem)
    yield from _part(analysis)


def _part(analysis: Analysis) -> Iterator[Block]:
    """One file system."""
    yield Paragraph(f"{analysis.headline} {analysis.more}".rstrip())
    if analysis.against:
        yield Paragraph(analysis.against)
    yield Items(tuple(f"{point.about}: {point.answer}. {point.more}" for point in story(analysis)))
    if analysis.notes:
        yield Paragraph("To be known before this is believed:")
        yield Items(analysis.notes)
    yield _verdicts(analysis)
    for workload in analysis.info.metrics:
        yield _losses(analysis, workload)
    if analysis.stopped:
        yield _stopped(analysis)
    for report in analysis.faults:
        yield Paragraph(report.sentence)
    if analysis.limits:
        yield _limits(analysis)
    yield _savings(analysis)
    if analysis.conforms:
        yield Paragraph(analysis.posix)
        yield _conforms(analysis)
    yield Heading("How it was measured", 2)
    yield Items(tuple(_how(analysis)))


def _verdicts(analysis: Analysis) -> Table:
    rows = [
        (v.workload, metric_title(v.metric), v.metric.unit, number(_baseline(v)), *_reach(v)) for v in analysis.verdicts
    ]
    shown, begins = grouped(rows)
    tolerated = tolerance(analysis.info.max_loss, analysis.info.indifference)
    base = "the baseline" if analysis.info.unfolded else f"the baseline, {analysis.base}"
    caption = f"{analysis.filesystem}: up to which folding ratio each metric stays within {tolerated} of {base}."
    columns = ("workload", "metric", "unit", "baseline", "holds up to", "breaks at")
    return Table(caption, columns, shown, frozenset({0, 1, 2}), begins)


def _baseline(verdict: Verdict) -> float | None:
    return None if verdict.base is None else verdict.base.median


def _reach(verdict: Verdict | Fold) -> tuple[str, str]:
    return ratio(verdict.holds_up_to), ratio(verdict.breaks_at)


def _losses(analysis: Analysis, workload: str) -> Table:
    rows = [
        (
            f"{metric_title(v.metric)} ({v.metric.unit})",
            ratio(row.ratio),
            str(row.hosts),
            str(row.trials),
            *values(v, row),
        )
        for v in analysis.verdicts
        if v.workload == workload
        for row in v.ratios
    ]
    shown, begins = grouped(rows)
    programs = join(analysis.programs[workload]) or "nothing yet"
    caption = f"{analysis.filesystem}, {workload}, measured by {programs}: medians and losses with their intervals."
    columns = ("metric", "ratio", "hosts", "trials", *VALUES)
    return Table(caption, columns, shown, frozenset({0, len(columns) - 1}), begins)


def _stopped(analysis: Analysis) -> Table:
    rows = tuple(
        (str(trial.number), trial.workload, ratio(trial.ratio), trial.state, trial.reason) for trial in analysis.stopped
    )
    caption = (
        f"{analysis.filesystem}: trials that were stopped before their end. What they had measured counts, and of the "
        "rest how good it was at best."
    )
    return Table(caption, ("trial", "workload", "ratio", "state", "reason"), rows, frozenset({1, 3, 4}))


VALUES = ("median", "interval", "loss", "interval", "state")


def values(verdict: Verdict, row: RatioVerdict) -> tuple[str, str, str, str, str]:
    """Median and loss of a ratio with their intervals, and its state; as VALUES names them."""
    measured = (median(row), interval(row.low, row.high).strip() or NOT_KNOWN)
    if row.ratio == verdict.baseline:
        return *measured, NOT_KNOWN, NOT_KNOWN, "baseline"
    ends = bounds(row.loss_low, row.loss_high) or NOT_KNOWN
    return *measured, loss(row), ends, f"{mark(row)} {state(row)}"


def _limits(analysis: Analysis) -> Table:
    rows = [
        (f"{limits.workload}: {limits.phase}", ratio(at), NAMES.get(use.limit.resource, "none"), use.limit.sentence)
        for limits in analysis.limits
        for at, use in limits.ratios.items()
    ]
    shown, begins = grouped(rows)
    caption = f"{analysis.filesystem}: what limits each phase at each ratio, from telemetry."
    return Table(caption, ("phase", "ratio", "resource", "what limits"), shown, frozenset({0, 2, 3}), begins)


def _savings(analysis: Analysis) -> Table:
    saved, power = analysis.savings, analysis.info.power
    base = analysis.info.baseline
    rows = [(f"one pass at ratio {ratio(base)}", *_pass(analysis, saved.full))]
    if saved.ratio is not None and saved.ratio != base:
        rows.append((f"one pass at ratio {ratio(saved.ratio)}", *_pass(analysis, saved.folded)))
    spent = saved.study
    took = (number(spent.machine_hours), energy(spent.energy_kwh), mass(power.co2e_kg(spent.energy_kwh)))
    rows.append((f"this study, {plural(spent.trials, 'trial')}", NOT_KNOWN, *took))
    if (grid := analysis.grid) is not None:
        took = (number(grid.machine_hours), energy(grid.energy_kwh), mass(power.co2e_kg(grid.energy_kwh)))
        rows.append((f"a full grid that decides as much, {plural(grid.trials, 'trial')}", NOT_KNOWN, *took))
    if saved.measured:
        watts = join([f"{number(watts)} W at ratio {ratio(at)}" for at, watts in sorted(saved.measured.items())])
        how = f"measured by wattmetres: a host drew {watts}"
    else:
        how = f"modelled: {number(power.idle_w)} W idle, {number(power.busy_w)} W busy ({power.source})"
    caption = (
        f"{analysis.filesystem}: what a pass over the workloads takes, and what this study took. Energy is {how}; "
        f"{number(power.carbon_g_kwh)} g of CO₂e a kilowatt-hour ({power.carbon_source})."
    )
    return Table(caption, ("", "hosts", "machine-hours", "energy", "CO₂e"), tuple(rows))


def _pass(analysis: Analysis, side: Pass | None) -> tuple[str, str, str, str]:
    if side is None:
        return NOT_KNOWN, NOT_KNOWN, NOT_KNOWN, NOT_KNOWN
    emitted = mass(analysis.info.power.co2e_kg(side.energy_kwh))
    return str(side.hosts), number(side.machine_hours), energy(side.energy_kwh), emitted


def _conforms(analysis: Analysis) -> Table:
    ratios = ratios_of(analysis.conforms)
    rows = tuple(
        (row.name, *(row.outcomes.get(each, (NOT_KNOWN, ""))[0] for each in ratios)) for row in analysis.conforms
    )
    columns = ("promise", *(f"ratio {ratio(each)}" for each in ratios))
    return Table(f"{analysis.filesystem}: what it keeps of POSIX.", columns, rows, frozenset(range(len(columns))))


def _how(analysis: Analysis) -> Iterator[str]:
    info = analysis.info
    roles = join([plural(count, role) for role, count in info.roles.items()])
    yield f"Nodes: {roles}, placed by strategy {info.placing}, on platform {info.platform}."
    if not info.unfolded:
        yield f"Baseline: {analysis.base}, which is itself folded."
    if info.host_figures:
        yield f"Host: {info.host_figures}."
    if info.real_figures:
        yield f"Real host: {info.real_figures}, divided by {info.scale:g}."
    options = [f"{name} = {value}" for name, value in info.filesystem_options.items()]
    if options:
        yield f"Options of the file system: {', '.join(options)}."
    yield f"Workflow {info.workflow}; search {info.search}, interleaved with the baseline, seed {info.seed}."
    sure = percent(analysis.verdicts[0].confidence if analysis.verdicts else 0.95)
    yield f"Analysis: {METHOD}; {INTERVALS[info.search == 'adaptive']}; confidence {sure}."


def _comparison(comparison: Comparison) -> Iterator[Block]:
    """Who folds furthest, and who is fastest on how many hosts."""
    yield Paragraph(comparison.furthest.sentence)
    yield Items(comparison.fastest_sentences)
    yield folds(comparison)


def folds(comparison: Comparison) -> Table:
    """Up to which ratio each of those that are compared holds, and where it breaks, metric by metric."""
    whole = (("all of these", "all metrics"), comparison.furthest)
    each = [((m.workload, metric_title(m.metric)), m.furthest) for m in comparison.metrics]
    rows = [
        (*names, *(" / ".join(_reach(fold)) for fold in furthest.folds), _furthest(furthest.best, furthest.shown))
        for names, furthest in (whole, *each)
    ]
    shown, begins = grouped(rows)
    columns = ("workload", "metric", *map(spelled, comparison.filesystems), "furthest")
    caption = "The ratio up to which each holds / the ratio at which it breaks."
    return Table(caption, columns, shown, frozenset({0, 1, len(columns) - 1}), begins)


def _furthest(best: tuple[str, ...], shown: bool) -> str:
    if not best:
        return "none is shown to fold"
    return join([spelled(label) for label in best]) + ("" if shown else ", not shown")


def _versions(analysis: Analysis) -> Iterator[Block]:
    yield Heading("Machine and versions", 2)
    yield Items(tuple(f"{name}: {value}" for name, value in analysis.facts.items()))
