"""Figures of what hosts used of their CPU, NIC and disk at each ratio, and of what was saturated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import mean

from pliant.analysis.conclusions import Analysis
from pliant.analysis.limits import HostUse, PhaseLimits
from pliant.analysis.words import percent, place, plural
from pliant.report.chart import RING, Chart, Figure, Line, Look, Mark, places, scale, series
from pliant.telemetry.samples import NAMES, RESOURCES

_APART = 0.45


def utilised(analysis: Analysis, whose: str = "") -> dict[str, Figure]:
    """Workload -> a panel for each of its phases: what is used of each resource, against the ratio."""
    found: dict[str, Figure] = {}
    for workload in analysis.info.metrics:
        phases = [limits for limits in analysis.limits if limits.workload == workload]
        if phases:
            present = [r for r in RESOURCES if any(r in limits.resources for limits in phases)]
            key = [(_look(resource), NAMES[resource]) for resource in present]
            charts = tuple(_chart(limits, analysis.info.hosts) for limits in phases)
            found[workload] = Figure(f"{whose}{workload}-utilisation", charts, (*key, (RING, "limits the ratio")))
    return found


def _look(resource: str) -> Look:
    return series(RESOURCES.index(resource))


def _chart(limits: PhaseLimits, hosts: Mapping[float, int]) -> Chart:
    ratios = list(limits.ratios)
    marks, rings, lines = [], [], []
    for number, resource in enumerate(limits.resources):
        beside, mine = _APART * ((number + 0.5) / len(limits.resources) - 0.5), []
        for at, (ratio, use) in enumerate(limits.ratios.items()):
            if uses := list(use.hosts.get(resource, {}).values()):
                told = _says(resource, uses, place(ratio, hosts[ratio]), resource == use.limit.resource)
                used = [each.used for each in uses]
                mark = Mark(at + beside, mean(used), _look(resource), told, (min(used), max(used)))
                mine.append(mark if len(used) > 1 else replace(mark, y_ends=None))
                if resource == use.limit.resource:
                    rings.append(Mark(mark.x, mark.y, RING, told))
        marks += mine
        lines.append(Line(_look(resource), tuple((mark.x, mark.y) for mark in mine)))
    top = 1.04 * max([1.0, *(mark.y_ends[1] if mark.y_ends else mark.y for mark in marks)])
    return Chart(
        limits.phase,
        f"What hosts used of what they were promised in {limits.phase} of {limits.workload}, against the "
        "folding ratio. "
        + " ".join(f"At ratio {ratio:.3g}: {use.limit.sentence}." for ratio, use in limits.ratios.items()),
        places([f"{ratio:.3g}\n{hosts[ratio]}" for ratio in ratios], "folding ratio, hosts below"),
        scale("part of the promise used", 0.0, top, percent=True),
        (*marks, *rings),
        tuple(lines),
    )


def _says(resource: str, uses: list[HostUse], where: str, limits: bool) -> str:
    used = [each.used for each in uses]
    spread = f" ({percent(min(used))} to {percent(max(used))} on {plural(len(used), 'host')})" if len(used) > 1 else ""
    saturated = percent(max(each.saturated for each in uses))
    text = f"{NAMES[resource]} at {where}: {percent(mean(used))} used{spread}, saturated {saturated} of the time"
    return f"{text}; this limits the ratio" if limits else text
