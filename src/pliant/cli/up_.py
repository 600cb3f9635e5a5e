"""`pliant up`."""

from __future__ import annotations

from pathlib import Path

import click

from pliant.cli.common import need_root, study_argument


@click.command(short_help="Deploy a study's cluster and leave it up.")
@study_argument
@click.option("--ratio", type=float, help="Folding ratio, one of the study's.  [default: its baseline, 1]")
@click.option("--filesystem", help="Which file system, where the study has several.")
@click.option("--no-limits", is_flag=True, help="Leave CPU, NIC and disk of the hosts unlimited.")
def command(study: Path, ratio: float | None, filesystem: str | None, no_limits: bool) -> None:
    """Deploy the cluster of STUDY, limit its hosts as the study says, and leave it up. Prints its id."""
    from pliant.campaign import places
    from pliant.campaign.deploying import bring_up
    from pliant.campaign.preparation import prepare
    from pliant.campaign.reservations import RESERVATION
    from pliant.cli.display import display
    from pliant.study.reading import load

    checked = load(study).chosen(filesystem)
    ratio = checked.baseline if ratio is None else ratio
    checked.need_ratio(ratio)
    if not checked.platform.real:
        need_root("deploying a cluster")
    with display() as told, places.opened(checked, told.doing, keep=True) as place:
        (prepared,) = prepare(checked, place)
        cluster = bring_up(prepared, ratio, keep=True, said=told.doing)
        try:
            if place.loan is not None and not checked.platform.keep:
                cluster.deployment.keep(RESERVATION, place.loan.name)
            cluster.limit(not no_limits)
        except BaseException:
            cluster.close()
            raise
    print(cluster.id)
