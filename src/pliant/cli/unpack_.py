"""`pliant unpack`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Make a run of what `pliant archive` wrote.")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("directory", type=click.Path(path_type=Path))
def command(file: Path, directory: Path) -> None:
    """Unpack FILE to DIRECTORY, check every digest, judge the run, and write its report.

    FILE may be from anybody: what is not as `pliant archive` writes it is refused, and nothing is left of it.
    """
    from pliant.analysis.conclusions import analyse
    from pliant.cli.run_ import show
    from pliant.results.archive import unpack

    count = unpack(file, directory, analyse)
    print(f"{directory}: {count} trials, as they were written")
    show(directory)
