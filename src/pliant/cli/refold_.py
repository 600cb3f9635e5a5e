"""`pliant refold`."""

from __future__ import annotations

import click

from pliant.cli.common import chosen, need_root


@click.command(short_help="Change the folding ratio of a cluster that is up.")
@click.argument("deployment")
@click.option("--ratio", type=float, required=True, help="One of the ratios of the study it was deployed from.")
def command(deployment: str, ratio: float) -> None:
    """Move the nodes of DEPLOYMENT (its id) to the hosts they have at another ratio, while they run."""
    from pliant.errors import UserError
    from pliant.machine import cgroup
    from pliant.machine.deployment import Deployment

    need_root("refolding")
    journal = chosen(deployment)
    folds = journal.read("folds.json")
    loaded = Deployment.load(journal, cgroup.probe())
    if folds is None or loaded is None:
        raise UserError(f"deployment {deployment} was not left up by `pliant up`, so it cannot be refolded by hand")
    if f"{ratio:g}" not in folds:
        raise UserError(f"--ratio {ratio:g} is not one of the study's: {', '.join(folds)}")
    hosts = folds[f"{ratio:g}"]
    loaded.refold({node: host for host, names in enumerate(hosts, 1) for node in names})
    print(f"{deployment}: {len(loaded.nodes)} nodes on {len(hosts)} host{'s' if len(hosts) != 1 else ''}")
