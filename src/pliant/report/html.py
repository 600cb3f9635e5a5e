"""Pages as one HTML file each: style, script and figures inside, nothing to fetch.

A page's policy lets its own style sheet and script run, each known by its digest, and nothing else; so what a study's
names say can do nothing even if it were not escaped.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
from collections.abc import Iterable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pliant.analysis import words
from pliant.analysis.conclusions import Analysis, RunAnalysis
from pliant.analysis.matrix import Matrix
from pliant.report import curves, figures, predicted, svg, timeline, utilisation
from pliant.report import matrix as cells
from pliant.report.across import Across
from pliant.report.chart import Figure, series
from pliant.report.side_by_side import document
from pliant.report.story import story
from pliant.results.conformance_table import ratios_of
from pliant.statistics.comparison import Comparison, MetricComparison, spelled
from pliant.statistics.verdict import INTERVALS, METHOD, RatioVerdict, Verdict, tolerance
from pliant.telemetry.limiting import LIMITING
from pliant.telemetry.samples import NAMES

_MOST_SINGLES, _MOST_VALUES = 1_500, 6_000
"""Values up to which each is drawn beside its median, and over time: the page stays below 2 MB, and is seen at once."""


def render(run: RunAnalysis) -> str:
    """The page for a run: its comparison, if there is one, and a part for each file system."""
    several = run.comparison is not None
    verdicts = {part.info.name: part.plain for part in run.parts}
    values = sum(len(trial.metrics) for trial in run.trials)
    every = {part.info.name: part.verdicts for part in run.parts} if several else {}
    return page(
        "report.html.j2",
        run=run,
        comparison=run.comparison,
        curves={kind: curves.compared(every, kind) for kind in ("hosts", "loss")},
        saved=list(curves.saved(verdicts)),
        by_workload=_compared(run.comparison),
        parts=[
            {**_part(part, f"{part.info.name}-" if several else "", values), "look": series(number)}
            for number, part in enumerate(run.parts)
        ],
        facts=run.parts[0].facts,
        study_toml=run.parts[0].study_toml,
        limiting=LIMITING,
        names=NAMES,
        method=METHOD,
        intervals=INTERVALS,
        started=min((t.started_at for t in run.trials), default=""),
    )


def compared(across: Across) -> str:
    """The page that compares runs."""
    comparable = {label: [v for v in many if v.workload in across.losses] for label, many in across.verdicts.items()}
    medians = {label: [v for v in many if v.workload in across.medians] for label, many in across.verdicts.items()}
    found: list[tuple[str, Figure]] = []
    if across.losses:
        found += [("Hosts saved against loss", figure) for figure in curves.saved(comparable)]
    for workload, figure in curves.compared(comparable, "loss").items():
        found.append((f"{workload}: loss against the folding ratio", figure))
    for workload, figure in curves.compared(medians, "hosts").items():
        found.append((f"{workload}: metric against the number of hosts", figure))
    return page("compare.html.j2", across=across, document=document(across), figures=found)


def matrix(found: Matrix) -> str:
    """The page of a matrix: its figure, its cells with a way to the report of each, and what each key does."""
    return page(
        "matrix.html.j2", document=cells.document(found), headline=cells.headline(found), figure=cells.figure(found)
    )


def page(template: str, **content: Any) -> str:
    """A template with its content, and what all pages share."""
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
        "ratio": words.ratio,
        "energy": lambda kwh: _whole(words.energy(kwh)),
        "mass": lambda kg: _whole(words.mass(kg)),
    }
    environment.globals |= {
        "marks": words.MARKS,
        "mark": words.mark,
        "state": words.state,
        "claimed": words.claimed,
        "ceiling": words.CEILING,
        "bounds": words.bounds,
        "interval": words.interval,
        "median": words.median,
        "bound": words.bound,
        "at_best": words.at_best,
        "loss": words.loss,
        "told": _told,
        "plural": words.plural,
        "place": words.place,
        "passed_over": words.PASSED_OVER,
        "state_words": figures.state_words,
        "tolerated": tolerance,
        "glyph": svg.glyph,
    }
    numbers = itertools.count(1)
    environment.globals["draw"] = lambda chart: svg.draw(chart, f"figure{next(numbers)}")
    style, script = (_source(loader, environment, name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment.get_template(template).render(**content, style=style, script=script, policy=policy)


def _source(loader: PackageLoader, environment: Environment, name: str) -> str:
    return loader.get_source(environment, name)[0]


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _by_workload(analysis: Analysis, found: Iterable[Figure]) -> dict[str, Figure]:
    return dict(zip(analysis.info.metrics, found, strict=True))


def _part(analysis: Analysis, whose: str, values: int) -> dict[str, Any]:
    """What the page shows of one file system; ids begin with `whose`. `values` is how many trials gave, in all."""
    singles, over_time = values <= _MOST_SINGLES, list(timeline.timeline(analysis, whose))
    return {
        "a": analysis,
        "whose": whose,
        "posix_ratios": ratios_of(analysis.conforms),
        "story": story(analysis),
        "groups": {w: [v for v in analysis.verdicts if v.workload == w] for w in analysis.info.metrics},
        "figures": {
            kind: _by_workload(analysis, figures.folding(analysis, kind, whose, singles))
            for kind in ("loss", "metrics")
        },
        "predicted": None if analysis.prediction is None else predicted.figure(analysis.prediction, whose),
        "utilisation": utilisation.utilised(analysis, whose),
        "singles": singles,
        "timeline": over_time if values <= _MOST_VALUES else over_time[:1],
        "passed": any(row.passed_over for v in analysis.verdicts for row in v.ratios),
        "ceiling": any(row.ceiling for v in analysis.verdicts for row in v.ratios),
        "outliers": {
            (v.workload, v.metric.name): [n for row in v.ratios for n in row.outliers] for v in analysis.verdicts
        },
        "done": sum(t.state == "done" for t in analysis.trials),
        "bounded": any(row.stopped for v in analysis.verdicts for row in v.ratios),
    }


def _told(analysis: Analysis, verdict: Verdict, row: RatioVerdict) -> list[str]:
    """The values of a metric at a ratio in time order, with a sign before those that are bounds."""
    if not row.stopped:
        return [words.number(value, 4) for value in analysis.of(verdict)[row.ratio]]
    told = [(trial, words.number(value, 4)) for trial, value in analysis.measured(verdict)[row.ratio]]
    told += [(t, words.at_best(bound, verdict.metric, 4)) for t, bound in analysis.bounded(verdict)[row.ratio]]
    return [text for _, text in sorted(told, key=lambda each: (each[0].started_at, each[0].number))]


def _compared(comparison: Comparison | None) -> dict[str, list[MetricComparison]]:
    """Workload -> the comparison of each of its metrics."""
    found: dict[str, list[MetricComparison]] = {}
    for metric in comparison.metrics if comparison else ():
        found.setdefault(metric.workload, []).append(metric)
    return found


def _whole(text: str) -> str:
    """No line break between a number and its percent sign, nor its unit."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")
