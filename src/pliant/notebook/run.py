"""A run, opened: `pliant.open_run("runs/x")`.

run = pliant.open_run("runs/glusterfs-quickstart-20261129-101500")
trials = pandas.DataFrame(run.trials)
run.figures["ior-loss"]
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from pliant.analysis.conclusions import RunAnalysis, analyse
from pliant.errors import UserError
from pliant.report import markdown
from pliant.report.chart import Figure
from pliant.report.summary import document
from pliant.report.writing import all_figures
from pliant.results.store import Store
from pliant.results.trial_table import columns
from pliant.statistics.verdict import RatioVerdict
from pliant.telemetry.samples import read

Table = dict[str, list[Any]]
"""Columns by their names, all of the same length."""

_OF_A_RATIO = tuple(RatioVerdict.__dataclass_fields__)
_PAGE_MM = 180


class Drawing:
    """A figure of a run. A notebook shows it."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure

    def svg(self, width_mm: int = _PAGE_MM) -> str:
        """The figure as SVG, so many millimetres wide."""
        from pliant.report.paper import as_svg

        return as_svg(self.figure, width_mm)

    def _repr_svg_(self) -> str:
        return self.svg()


class Run:
    """A run, also one that goes on or was interrupted, as it is when it is opened."""

    def __init__(self, directory: str | os.PathLike[str], analysis: RunAnalysis, study: Mapping[str, Any]) -> None:
        self.directory = Path(directory)
        self.study: Mapping[str, Any] = study
        """The study as it was understood, with every default: tables and keys as in its file, sizes in bytes, times in
        seconds, rates in bit/s and bytes/s."""
        self._analysis = analysis

    @property
    def headline(self) -> str:
        """The verdict, in a sentence or two."""
        return self._analysis.headline

    @property
    def recommended(self) -> Mapping[str, float | None]:
        """File system -> the largest ratio at which every metric that is asked for is shown to hold."""
        return {part.info.name: part.recommended for part in self._analysis.parts}

    @cached_property
    def conclusions(self) -> Mapping[str, Any]:
        """All that `verdict.json` says."""
        return self._analysis.to_json()

    @cached_property
    def trials(self) -> Table:
        """A row for each trial and metric, with the columns of trials.csv (docs/report.md)."""
        return columns(self._analysis.trials, [part.info for part in self._analysis.parts])

    @cached_property
    def verdicts(self) -> Table:
        """A row for each metric and ratio: median and loss with their intervals, and whether it holds or breaks."""
        rows = [
            {
                "filesystem": part.info.name,
                "workload": verdict.workload,
                "metric": verdict.metric.name,
                "unit": verdict.metric.unit,
                "better": verdict.metric.better,
                **row.to_json(),
            }
            for part in self._analysis.parts
            for verdict in part.verdicts
            for row in verdict.ratios
        ]
        names = ("filesystem", "workload", "metric", "unit", "better", *_OF_A_RATIO)
        return {name: [row[name] for row in rows] for name in names}

    def usage(self, trial: int) -> Table:
        """What hosts and nodes had used at each moment of a trial, by its number: `time_s`, and a column for each
        counter, in seconds and bytes (docs/runs.md). UserError if there is no telemetry of it."""
        found = next((each for each in self._analysis.trials if each.number == trial), None)
        file = None if found is None else self.directory / found.directory / "telemetry.txt"
        if file is None or not file.is_file():
            raise UserError(f"there is no telemetry of a trial {trial} in {self.directory}")
        samples = read(file.read_text())
        return {"time_s": samples.time_s.tolist(), **{name: each.tolist() for name, each in samples.columns.items()}}

    @cached_property
    def figures(self) -> Mapping[str, Drawing]:
        """The figures of the report, by their names: "loss-ior", say."""
        return {figure.stem: Drawing(figure) for figure in all_figures(self._analysis)}

    def _repr_markdown_(self) -> str:
        return markdown.write(document(self._analysis))

    def __repr__(self) -> str:
        return f"<pliant run {self.directory}: {self.headline}>"


def open_run(directory: str | os.PathLike[str]) -> Run:
    """Open the directory of a run. Nothing in it is changed. UserError if it is none."""
    with Store.look(Path(directory)) as store:
        return Run(directory, analyse(store), store.study())
