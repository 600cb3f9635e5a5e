"""`pliant refold`."""

from __future__ import annotations

import click

from pliant.cli.common import usable


@click.command(short_help="Change the folding ratio of a cluster that is up.")
@click.argument("deployment", required=False)
@click.option("--ratio", type=float, required=True, help="One of the ratios of the study it was deployed from.")
def command(deployment: str | None, ratio: float) -> None:
    """Move the nodes of DEPLOYMENT (its id; not needed if there is only one) to the hosts they have at another ratio,
    while they run."""
    from pliant.campaign.workplace import opened
    from pliant.cli.common import need_kept

    journal = need_kept(usable(deployment, "refolding", "name one"), "refolded")
    place = opened(journal)
    hosts = place.refold(ratio)
    print(f"{journal.id}: {len(place.study.nodes)} nodes on {hosts} host{'' if hosts == 1 else 's'}")
