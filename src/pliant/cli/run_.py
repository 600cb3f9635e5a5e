"""`pliant run`."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from pliant.cli.common import need_root, study_argument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pliant.study.matrix import Cell
    from pliant.study.model import Study
    from pliant.trial import Workflow

WorkflowChoice = Literal["dev", "verified", "both"]


@click.command(short_help="Run a study and judge it.")
@study_argument
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Directory for the results; default runs/NAME-DATE, or the last such run of this study that was interrupted.",
)
@click.option(
    "--workflow",
    type=click.Choice(["dev", "verified", "both"]),
    help="dev: deploy once. verified: prove a reset before each trial. both: one run of each, compared. Default: the "
    "study's.",
)
@click.option("--fresh", is_flag=True, help="Measure every trial, also those that the store has.")
@click.option(
    "--deployment",
    type=click.Path(path_type=Path),
    help="Measure, at ratio 1, on what NixOS Compose deployed: its deployment file, whose machines are the nodes.",
)
@click.option(
    "--prior",
    "priors",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A run of the same file system, of any size: the search begins where `pliant predict` says from it that the "
    "study breaks. Verdicts rest on trials alone. May be given again.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress; only the verdict, or what went wrong.")
@click.option(
    "--json", "as_json", is_flag=True, help="Tell everything as JSON, an event a line; the last: the verdict."
)
def command(
    study: Path,
    output: Path | None,
    workflow: WorkflowChoice | None,
    fresh: bool,
    deployment: Path | None,
    priors: tuple[Path, ...],
    quiet: bool,
    as_json: bool,
) -> None:
    """Run STUDY: deploy its cluster, measure at every ratio, judge, and write a report.

    Ctrl-C removes the cluster and keeps what was measured; the same command goes on from there, also after a crash, and
    `pliant report` judges what there is. Trials that were measured before are taken from the store.
    """
    from pliant.study.reading import load, load_cells

    if (cells := load_cells(study)) and deployment is None and workflow != "both":
        _cells(study, cells, output, workflow, fresh, quiet, as_json, priors)
        return
    checked = load(study) if deployment is None else _on(load(study), deployment, workflow)
    if not checked.platform.real:
        need_root("running a study")
    if workflow == "both":
        from pliant.cli import both

        directory = output or both.place(checked.name) or _default(f"{checked.name}-workflows")
        for each in both.WORKFLOWS:
            _run(checked, directory / each, each, fresh, quiet, as_json, priors)
        both.show(directory, as_json)
    else:
        directory = _run(checked, output, workflow or checked.about.workflow, fresh, quiet, as_json, priors)
        show(directory, quiet=quiet, events=as_json)


def _cells(
    study: Path,
    cells: Sequence[Cell],
    output: Path | None,
    workflow: Workflow | None,
    fresh: bool,
    quiet: bool,
    events: bool,
    priors: tuple[Path, ...],
) -> None:
    """Run each cell of a matrix in a directory of its own, and say what they say together. All are looked at first."""
    from pliant.cli import matrix
    from pliant.study.reading import parse

    studies = [parse(cell.text, str(study)) for cell in cells]
    first = studies[0]
    if not first.platform.real:
        need_root("running a study")
    directory = output or matrix.place(first.name) or _default(f"{first.name}-matrix")
    for number, (cell, checked) in enumerate(zip(cells, studies, strict=True), 1):
        if not quiet and not events:
            print(f"cell {number} of {len(cells)}: {cell.name}", file=sys.stderr)
        _run(checked, directory / cell.name, workflow or checked.about.workflow, fresh, quiet, events, priors)
    matrix.show(directory, as_json=events, ended=True)


def _on(study: Study, deployment: Path, workflow: WorkflowChoice | None) -> Study:
    """The study on what nxc deployed; UserError."""
    from pliant.campaign import standing
    from pliant.errors import UserError

    if (workflow or study.about.workflow) != "dev":
        raise UserError("what nxc deployed is not deployed anew before each trial: add --workflow dev")
    return standing.on(study, deployment)


def _run(
    checked: Study,
    output: Path | None,
    workflow: Workflow,
    fresh: bool,
    quiet: bool,
    events: bool,
    priors: tuple[Path, ...] = (),
) -> Path:
    """Run a study in one workflow, and return the directory of its results; PliantError if there are none."""
    from pliant.campaign import engine, places, rundir
    from pliant.campaign.foreseen import foreseen
    from pliant.campaign.last_breaks import last_breaks
    from pliant.campaign.opening import unfinished
    from pliant.campaign.preparation import prepare, try_programs
    from pliant.cli.display import display
    from pliant.errors import PliantError
    from pliant.results.artefacts import Artefacts, place

    there = [output] if output else list(Path("runs").glob(f"{checked.name}-*"))
    left = rundir.remove_deployments(there)  # what a crash left would still have its share of the machine
    broke = last_breaks(output.parent if output else Path("runs"), checked.name, output)
    store = Artefacts(place(os.environ))
    with display(quiet=quiet, events=events) as told, places.opened(checked, told.doing) as there_:
        known = prepare(checked, there_)
        if priors:
            broke |= foreseen(known, priors)
            for name, ratio in broke.items():
                told.note(f"note: {name} is predicted to break first at ratio {ratio:.3g}; the search begins there")
        prepared = [replace(each, last=broke.get(each.filesystem)) for each in known]
        directory = output or unfinished(prepared, workflow, fresh, there) or _default(checked.name)
        rundir.check_free(directory)
        for sentence in left:
            told.note(f"note: {sentence}")
        for warning in dict.fromkeys(warning for each in prepared for warning in each.warnings):
            told.note(f"note: {warning}")
        try:
            try_programs(prepared)
            engine.run(prepared, directory, told, store, workflow=workflow, fresh=fresh)
        except BaseException:
            if _measured(directory):
                told.note(f"what was measured is in {directory}; judge it with: pliant report {directory}")
                told.note(f"go on with the same command, and --output {directory}")
            raise
    if not _measured(directory):
        show(directory, quiet=quiet, events=events)
        raise PliantError("no trial could be measured, so nothing can be judged; `reason` in trials.csv says why")
    return directory


def _measured(directory: Path) -> bool:
    """Whether a run has a trial to show: it may have been cut short, or all of them may have failed."""
    from pliant.results.store import DATABASE, Store

    if not (directory / DATABASE).exists():
        return False
    with Store.look(directory) as store:
        return any(trial.counted for trial in store.trials())


def _default(name: str) -> Path:
    """A directory that does not exist yet, named after the study and the moment."""
    base = Path("runs", f"{name}-{datetime.now():%Y%m%d-%H%M%S}")
    return next(
        path for n in range(1, 1000) if not (path := base if n == 1 else base.with_name(f"{base.name}-{n}")).exists()
    )


def show(directory: Path, *, quiet: bool = False, events: bool = False, figures: bool = False) -> None:
    """Write the report of a run and say on standard output what it says.

    With `figures`, or where there are some of an earlier report, also those for papers, which take some seconds.
    """
    from pliant.cli.events import last
    from pliant.report.terminal import said
    from pliant.report.writing import FIGURES, write_figures, write_report

    result = write_report(directory)
    if events:
        last("verdict", result.run.to_json())
    else:
        said(result.run)
        print(f"Report: {result.html}", flush=True)
    drawn = write_figures(result) if figures or (directory / FIGURES).is_dir() else ()
    if drawn and not quiet and not events:
        print(f"Figures: {len(drawn)} in {directory / FIGURES}")
