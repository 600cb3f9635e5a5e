"""`pliant down`."""

from __future__ import annotations

import click

from pliant.cli.common import chosen, need_root


@click.command(short_help="Remove what is up, or what a crash left.")
@click.argument("deployment", required=False)
@click.option("--all", "everything", is_flag=True, help="Every deployment of this machine.")
def command(deployment: str | None, everything: bool) -> None:
    """Remove DEPLOYMENT (its id; not needed if there is only one): processes, namespaces, loop devices, control groups.

    A run that is going on is asked to end first: it keeps what it has measured.
    """
    from pliant.errors import UserError
    from pliant.platforms.here import Journal, deployments, orphans, remove

    need_root("removing a deployment")
    if everything and deployment:
        raise UserError("name one deployment or --all, not both")
    without = orphans()
    if everything:
        journals = [*deployments(), *map(Journal, without)]
    elif deployment in without:
        journals = [Journal(deployment)]
    else:
        journals = [chosen(deployment, "name one, or write --all")]
    for journal in journals:
        remove(journal)
        print(f"{journal.id} removed")
    if not journals:
        print("nothing is up")
