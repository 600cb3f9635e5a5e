"""`pliant run`."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from pliant.cli.common import need_root, study_argument


@click.command(short_help="Run a study and judge it.")
@study_argument
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Directory for the results; default runs/NAME-DATE."
)
@click.option("-q", "--quiet", is_flag=True, help="No progress; only the verdict, or what went wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print verdict.json instead of the table.")
def command(study: Path, output: Path | None, quiet: bool, as_json: bool) -> None:
    """Run STUDY: deploy its cluster, measure at every ratio, judge, and write a report.

    Ctrl-C removes the cluster and keeps what was measured; `pliant report` judges that.
    """
    from pliant import engine
    from pliant.cli.progress import Display
    from pliant.errors import PliantError, UserError
    from pliant.preparation import prepare
    from pliant.study import load

    checked = load(study)
    need_root("running a study")
    prepared = prepare(checked)
    directory = output or _default(checked.name)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} exists and is not empty; choose another directory with --output")
    with Display(quiet=quiet, several=len(prepared) > 1) as display:
        for warning in dict.fromkeys(warning for each in prepared for warning in each.warnings):
            display.note(f"note: {warning}")
        try:
            engine.run(prepared, directory, display)
        except (KeyboardInterrupt, PliantError):
            if _measured(directory):
                display.note(f"what was measured is in {directory}; judge it with: pliant report {directory}")
            raise
        display.doing("judge and draw")
        show(directory, as_json)
    if not _measured(directory):
        raise PliantError("no trial could be measured, so nothing can be judged; `reason` in trials.csv says why")


def _measured(directory: Path) -> bool:
    """Whether a run has a trial to show: it may have been cut short, or all of them may have failed."""
    from pliant.store import DATABASE, Store

    if not (directory / DATABASE).exists():
        return False
    with Store.open(directory) as store:
        return any(trial.state == "done" for trial in store.trials())


def _default(name: str) -> Path:
    """A directory that does not exist yet, named after the study and the moment."""
    base = Path("runs", f"{name}-{datetime.now():%Y%m%d-%H%M%S}")
    return next(
        path for n in range(1, 1000) if not (path := base if n == 1 else base.with_name(f"{base.name}-{n}")).exists()
    )


def show(directory: Path, as_json: bool) -> None:
    """Write the report of a run and say on standard output what it says."""
    from rich.console import Console

    from pliant.report import write_report
    from pliant.report.terminal import compared, summary

    result = write_report(directory)
    if as_json:
        print((directory / "verdict.json").read_text(), end="")
        return
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    if result.run.comparison is not None:
        console.print(compared(result.run.comparison))
    for part in result.run.parts:
        if result.run.comparison is not None:
            console.rule(part.filesystem)
        console.print(summary(part))
    console.print(f"Report: {result.html}", markup=False, soft_wrap=True)
