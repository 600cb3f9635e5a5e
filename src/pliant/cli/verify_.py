"""`pliant verify`."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command(short_help="Say whether what was measured is as it was written.")
@click.argument("run", type=click.Path(path_type=Path), required=False)
def command(run: Path | None) -> int:
    """Compute the digests of RUN again, the directory of a run, or of everything in the store, and name each file that
    was changed, is missing, or is too much. Exit status 1 if there is one.
    """
    from pliant.results import verifying
    from pliant.results.artefacts import Artefacts, place

    artefacts = Artefacts(place(os.environ))
    found = list(verifying.of_store(artefacts) if run is None else verifying.of_run(run))
    for problem in dict.fromkeys(found):
        print(problem)
    if found:
        return 1
    what = f"{len(artefacts.all())} trials in {artefacts.directory}" if run is None else str(run)
    print(f"{what}: everything is as it was written")
    return 0
