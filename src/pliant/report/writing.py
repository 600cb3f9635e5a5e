"""Reports: a run's store becomes verdicts, figures, tables and one self-contained HTML file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pliant.analysis.conclusions import Analysis, RunAnalysis, analyse
from pliant.errors import UserError
from pliant.report.chart import Figure
from pliant.results.store import Store, write_atomically
from pliant.results.trial_table import write_trials_csv

__all__ = [
    "FIGURES",
    "Analysis",
    "ReportResult",
    "RunAnalysis",
    "all_figures",
    "analyse",
    "verdict_json",
    "write_figures",
    "write_report",
]

FIGURES = "figures"
"""The directory of a run that has its figures as files."""


@dataclass(frozen=True)
class ReportResult:
    """What was concluded and the files that say so, all inside the run's directory."""

    run: RunAnalysis
    html: Path
    files: tuple[Path, ...]

    @property
    def analysis(self) -> Analysis:
        """That of the only file system, or of the first."""
        return self.run.parts[0]


def write_report(run_directory: Path) -> ReportResult:
    """Judge the run in `run_directory` again and write its report there, replacing an earlier one.

    Writes `verdict.json`, `trials.csv` and `report.html`; `write_figures` writes the rest. The same store gives the
    same bytes. Raises UserError if there is no run to read or the files cannot be written.
    """
    from pliant.report.html import render

    with Store.look(run_directory) as store:
        run = analyse(store)
    files = {"verdict.json": verdict_json(run).encode(), "report.html": render(run).encode()}
    try:
        write_trials_csv(run_directory / "trials.csv", run.trials, [part.info for part in run.parts])
        for name, content in files.items():
            write_atomically(run_directory / name, content)
    except OSError as error:
        raise _unwritten(run_directory, error) from error
    paths = (run_directory / "trials.csv", *(run_directory / name for name in files))
    return ReportResult(run, run_directory / "report.html", paths)


def write_figures(result: ReportResult) -> tuple[Path, ...]:
    """Write every figure of a report into `figures/`, as SVG, PDF and PNG, for a column and for a page of a paper.

    That takes some seconds, so that it is done only for who asks. UserError if it cannot be written.
    """
    from pliant.report import paper

    directory = result.html.parent / FIGURES
    written = []
    try:
        for name, content in paper.files(all_figures(result.run)):
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)
            written.append(path)
    except OSError as error:
        raise _unwritten(directory, error) from error
    return tuple(written)


def verdict_json(run: RunAnalysis) -> str:
    """The text of verdict.json."""
    return json.dumps(run.to_json(), indent=2, allow_nan=False) + "\n"


def _unwritten(directory: Path, error: OSError) -> UserError:
    return UserError(f"cannot write the report in {directory}: {error.strerror}")


def all_figures(run: RunAnalysis) -> Iterator[Figure]:
    """Every figure of a run: of the comparison, if there is one, and of each file system."""
    from pliant.report import curves, figures, predicted, timeline, utilisation

    if run.comparison is not None:
        every = {part.info.name: part.verdicts for part in run.parts}
        yield from (figure for kind in ("hosts", "loss") for figure in curves.compared(every, kind).values())
    yield from curves.saved({part.info.name: part.plain for part in run.parts})
    for part in run.parts:
        whose = f"{part.info.name}-" if run.comparison else ""
        for kind in ("loss", "metrics"):
            yield from figures.folding(part, kind, whose)
        if part.prediction is not None:
            yield predicted.figure(part.prediction, whose)
        yield from utilisation.utilised(part, whose).values()
        yield from timeline.timeline(part, whose)
