"""Reports: a run's store becomes verdicts, figures, tables and one self-contained HTML file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pliant.errors import UserError
from pliant.report.analysis import Analysis, RunAnalysis, analyse
from pliant.store import Store, write_atomically, write_trials_csv

__all__ = ["Analysis", "ReportResult", "RunAnalysis", "analyse", "write_report"]


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

    Writes `verdict.json`, `trials.csv`, `report.html` and `figures/*.svg` and `.png`. The same store gives the same
    bytes. Raises UserError if there is no run to read or the files cannot be written.
    """
    from pliant.report import curves, figures, utilisation
    from pliant.report.html import render

    with Store.open(run_directory) as store:
        run = analyse(store)
    files = {"verdict.json": (json.dumps(run.to_json(), indent=2, allow_nan=False) + "\n").encode()}
    files["report.html"] = render(run).encode()
    drawn = curves.figure_files(run)
    for part in run.parts:
        whose = f"{part.info.name}-" if run.comparison else ""
        drawn |= figures.figure_files(part, whose) | utilisation.figure_files(part, whose)
    files |= {f"figures/{name}": content for name, content in drawn.items()}
    try:
        (run_directory / "figures").mkdir(exist_ok=True)
        write_trials_csv(run_directory / "trials.csv", run.trials, [part.info for part in run.parts])
        for name, content in files.items():
            write_atomically(run_directory / name, content)
    except OSError as error:
        raise UserError(f"cannot write the report in {run_directory}: {error.strerror}") from error
    paths = (run_directory / "trials.csv", *(run_directory / name for name in files))
    return ReportResult(run, run_directory / "report.html", paths)
