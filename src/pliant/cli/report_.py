"""`pliant report`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Judge a run again and write its report.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print verdict.json instead of the table.")
def command(run: Path, as_json: bool) -> None:
    """Judge RUN, the directory of a run (also an interrupted one), and write its report there.

    Writes verdict.json, trials.csv, report.html and figures/. Needs nothing but the directory.
    """
    from pliant.cli.run_ import show

    show(run, as_json)
