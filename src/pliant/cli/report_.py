"""`pliant report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pliant.cli.common import written

if TYPE_CHECKING:
    from pliant.report.writing import RunAnalysis

FORMATS = ("html", "markdown", "latex", "json")


@click.command(short_help="Judge a run again and write its report.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "kind", type=click.Choice(FORMATS), help="Only this, to standard output or to --output.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="With --format: the file to write.")
@click.option(
    "--figures", is_flag=True, help="Also every figure as SVG, PDF and PNG, for a column and a page of a paper."
)
@click.option("--workload", "workloads", multiple=True, help="Only this workload; may be given again.")
@click.option("--metric", "metrics", multiple=True, help='Only this metric, e.g. "*_bandwidth"; may be given again.')
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def command(
    run: Path,
    kind: str | None,
    output: Path | None,
    figures: bool,
    workloads: tuple[str, ...],
    metrics: tuple[str, ...],
    as_json: bool,
) -> None:
    """Judge RUN, the directory of a run (also an interrupted one) or of a matrix, and write its report there.

    Of a matrix that is matrix.html, matrix.md and matrix.svg, and the report of each cell in the cell's directory. Of a
    run it writes verdict.json, trials.csv and report.html, and figures/ if asked for or if there is one of an earlier
    report. With --format only that is written, and nothing in RUN. --metric and --workload ask how far the file system
    folds by these alone; that is shown, or written in the --format, and nothing in RUN either.
    """
    from pliant.cli import matrix
    from pliant.cli.run_ import show
    from pliant.errors import UserError

    if as_json and kind not in (None, "json"):
        raise UserError(f"--json and --format {kind} are two things; give one of them")
    kind = "json" if as_json else kind
    if kind is not None and figures:
        raise UserError("--figures writes into the run, --format only what it names; give one of them")
    many = matrix.is_one(run)
    if many and figures:
        raise UserError("--figures draws those of a run: name the directory of a cell")
    if many and kind is not None:
        written(matrix.text(matrix.read(run, workloads, metrics), kind), output)
    elif kind is not None:
        written(_text(run, kind, workloads, metrics), output)
    elif output is not None:
        raise UserError(
            "--output needs --format: html, markdown, latex or json; without it all is written into the run"
        )
    elif workloads or metrics:
        if figures:
            raise UserError("--figures writes all of a run's; leave out --metric and --workload")
        _said(run, workloads, metrics, many)
    elif many:
        matrix.show(run)
    else:
        show(run, figures=figures)


def _said(run: Path, workloads: tuple[str, ...], metrics: tuple[str, ...], many: bool) -> None:
    """Say what a run, or the cells of a matrix, say by these alone."""
    from pliant.cli import matrix
    from pliant.report import terminal
    from pliant.report.matrix import document

    if many:
        print(terminal.plain(document(matrix.read(run, workloads, metrics))))
    else:
        terminal.said(_judged(run, workloads, metrics))


def _judged(run: Path, workloads: tuple[str, ...], metrics: tuple[str, ...]) -> RunAnalysis:
    """A run, judged by these alone if there are any."""
    from pliant.report.writing import analyse
    from pliant.results.store import Store

    with Store.open(run) as store:
        return analyse(store, workloads, metrics)


def _text(run: Path, kind: str, workloads: tuple[str, ...], metrics: tuple[str, ...]) -> str:
    """A run's report in one format."""
    from pliant.report.html import render
    from pliant.report.writing import verdict_json

    judged = _judged(run, workloads, metrics)
    if kind == "html":
        return render(judged)
    if kind == "json":
        return verdict_json(judged)
    from pliant.report import latex, markdown
    from pliant.report.summary import document

    write = markdown.write if kind == "markdown" else latex.write
    return write(document(judged))
