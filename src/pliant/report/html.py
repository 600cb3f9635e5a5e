"""The report as one HTML file: style and figures inside, nothing to fetch, no script."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pliant.comparison import Comparison, MetricComparison, spelled
from pliant.report import curves, figures, utilisation, words
from pliant.report.analysis import Analysis, RunAnalysis
from pliant.telemetry import LIMITING
from pliant.verdict import METHOD, Verdict


def render(run: RunAnalysis) -> str:
    """The page for a run: its comparison, if there is one, and a part for each file system."""
    loader = PackageLoader("pliant", "report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": words.number,
        "percent": lambda fraction: _whole(words.percent(fraction)),
        "whole": _whole,
        "title": words.metric_title,
        "join_words": words.join,
        "spelled": spelled,
    }
    several = run.comparison is not None
    return environment.get_template("report.html.j2").render(
        run=run,
        comparison=run.comparison,
        curves={kind: curves.inline_panels(run, kind) for kind in ("hosts", "loss")},
        by_workload=_compared(run.comparison),
        parts=[_part(part, f"{part.info.name}-" if several else "") for part in run.parts],
        facts=run.parts[0].facts,
        study_toml=run.parts[0].study_toml,
        marks=words.MARKS,
        bounds=words.bounds,
        plural=words.plural,
        place=words.place,
        limiting=LIMITING,
        method=METHOD,
        started=min((t.started_at for t in run.trials), default=""),
    )


def _part(analysis: Analysis, whose: str) -> dict[str, Any]:
    """What the page shows of one file system; ids begin with `whose`."""
    return {
        "a": analysis,
        "whose": whose,
        "groups": _groups(analysis),
        "panels": {kind: figures.inline_panels(analysis, kind, whose) for kind in ("loss", "metrics")},
        "utilisation": utilisation.inline_panels(analysis, whose),
        "done": sum(t.state == "done" for t in analysis.trials),
        "tiles": _tiles(analysis),
    }


def _compared(comparison: Comparison | None) -> dict[str, list[MetricComparison]]:
    """Workload -> the comparison of each of its metrics."""
    found: dict[str, list[MetricComparison]] = {}
    for metric in comparison.metrics if comparison else ():
        found.setdefault(metric.workload, []).append(metric)
    return found


def _whole(text: str) -> str:
    """No line break between a number and its percent sign."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def _groups(analysis: Analysis) -> dict[str, list[Verdict]]:
    return {w: [v for v in analysis.verdicts if v.workload == w] for w in analysis.info.metrics}


def _tiles(analysis: Analysis) -> list[dict[str, Any]]:
    """Hosts, machine-hours and energy of one pass: the baseline's, and at the recommended ratio."""
    full, folded = analysis.savings.full, analysis.savings.folded
    if full is None or folded is None:
        return []
    pairs = (
        ("hosts", words.number, full.hosts, folded.hosts),
        ("machine-hours", words.number, full.machine_hours, folded.machine_hours),
        ("energy", words.energy, full.energy_kwh, folded.energy_kwh),
    )
    return [
        {"name": name, "full": write(one), "folded": write(other), "change": (other - one) / one if one else None}
        for name, write, one, other in pairs
    ]
