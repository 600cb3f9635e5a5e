"""`pliant reset`."""

from __future__ import annotations

import time

import click

from pliant.cli.common import usable


@click.command(short_help="Return a cluster to what it was after its deployment.")
@click.argument("deployment", required=False)
def command(deployment: str | None) -> None:
    """Remove the nodes of DEPLOYMENT (its id; not needed if there is only one) with all that they wrote, show that
    nothing of them is left, and deploy the file system anew. Its hosts, its folding ratio and its id stay.
    """
    from pliant.campaign.workplace import opened
    from pliant.cli.common import need_kept
    from pliant.cli.display import display

    journal = need_kept(usable(deployment, "resetting a cluster", "name one"), "reset")
    place = opened(journal)
    began = time.monotonic()
    with display() as told:
        gone = place.cluster.reset(told.doing)
    what = f"{gone.nodes} nodes, {gone.processes} processes, {gone.mounts} mounts and {gone.disks} disks"
    print(f"{journal.id}: {what} are gone, and deployed anew, in {time.monotonic() - began:.1f} s")
