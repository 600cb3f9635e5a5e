"""`pliant archive`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Write a run as one file, for somebody else.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path))
def command(run: Path, file: Path) -> None:
    """Write RUN, the directory of a run, to FILE, a .tar.gz: the study, the machine's facts, every trial with its raw
    output and logs. `pliant unpack` makes a run of it again, with the same verdict. ARTEFACT.md, in it, says to whoever
    reviews it what it claims, and how that is checked and repeated.
    """
    from pliant.analysis.conclusions import analyse
    from pliant.report import artefact
    from pliant.results.archive import pack
    from pliant.units import format_size

    count = pack(run, file, lambda store: artefact.text(analyse(store)))
    print(f"{file}: {count} trials, {format_size(file.stat().st_size // 1024 * 1024)}")
