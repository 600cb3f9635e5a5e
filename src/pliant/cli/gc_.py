"""`pliant gc`."""

from __future__ import annotations

import os

import click


@click.command(short_help="Remove from the store what no run needs.")
@click.option("-n", "--dry-run", is_flag=True, help="Only say what would be removed, and how much that is.")
def command(dry_run: bool) -> None:
    """Remove the trials in the store that no run links to. Runs are known by where they were measured: of one whose
    directory was removed, or moved elsewhere, nothing is kept.
    """
    from pliant.results.artefacts import Artefacts, place
    from pliant.units import format_size

    artefacts = Artefacts(place(os.environ))
    if dry_run:
        garbage = artefacts.garbage()
    else:
        with artefacts.held(alone=True):
            garbage = artefacts.garbage()
            artefacts.collect(garbage)
    for root in garbage.roots:
        print(f"run    {root.run} is not there any more")
    for path in garbage.artefacts:
        print(f"trial  {path.name}")
    for path in garbage.remains:
        print(f"half   {path}")
    would = "would be removed" if dry_run else "removed"
    count = len(garbage.artefacts)
    print(f"{count} trial{'' if count == 1 else 's'}, {format_size(garbage.size_bytes)}, {would}")
