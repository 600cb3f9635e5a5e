"""`pliant run --workflow both`: what the two workflows say of one study, side by side."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pliant.analysis.words import bounded, percent
from pliant.campaign import rundir
from pliant.cli.events import last
from pliant.report.writing import analyse
from pliant.results.store import Store, write_atomically
from pliant.statistics.verdict import Verdict
from pliant.statistics.workflows import Row, Workflows, compare
from pliant.trial import Workflow
from pliant.units import format_duration

WORKFLOWS: tuple[Workflow, ...] = ("dev", "verified")
_WRITTEN = "workflows.json"
_SAID = {"agree": "yes", "contradict": "NO", "dev": "dev is undecided", "verified": "verified is undecided"}


def place(name: str) -> Path | None:
    """The last directory of both runs of a study that was not compared in the end; None if there is none."""
    found = sorted(Path("runs").glob(f"{name}-workflows-*"))
    return next((path for path in reversed(found) if not (path / _WRITTEN).exists()), None)


def compared(directory: Path) -> Workflows:
    """Both runs in a directory, compared; it is written there as well."""
    verdicts: dict[str, list[Verdict]] = {}
    trial_s: dict[str, float | None] = {}
    for workflow in WORKFLOWS:
        with Store.look(directory / workflow) as store:
            run = analyse(store)
            measured = sum(1 for trial in run.trials if not trial.reused)
            spent_s = float(store.document(rundir.SPENT) or 0)
        verdicts[workflow] = [verdict for part in run.parts for verdict in part.verdicts]
        trial_s[workflow] = spent_s / measured if measured else None
    found = compare(verdicts, trial_s)
    content = json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n"
    write_atomically(directory / _WRITTEN, content.encode())
    return found


def show(directory: Path, as_json: bool) -> None:
    """Say on standard output how the workflows compare."""
    found = compared(directory)
    if as_json:
        last("workflows", found.to_json())
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("file system", "metric", "ratio", *(f"loss, {workflow}" for workflow in WORKFLOWS), "agree"):
        table.add_column(name, overflow="fold")
    for row in found.rows:
        cells = [f"{_loss(row, workflow)} {row.states[workflow]}" for workflow in WORKFLOWS]
        what = f"{row.workload} {row.metric.replace('_', ' ')}"
        table.add_row(escape(row.filesystem), escape(what), f"{row.ratio:.3g}", *cells, _SAID[row.agreement])
    costs = ", ".join(f"{workflow} {_time(found.trial_s[workflow])}" for workflow in WORKFLOWS)
    said = Text(f"Time for a trial, deployment and checks included: {costs}.")
    Console(highlight=False).print(Group(Text(found.sentence, style="bold"), said, "", table))


def _loss(row: Row, workflow: str) -> str:
    return bounded(percent(row.losses[workflow]), workflow in row.at_least)


def _time(seconds: float | None) -> str:
    return "not known, as all were in the store" if seconds is None else format_duration(round(seconds, 1))
