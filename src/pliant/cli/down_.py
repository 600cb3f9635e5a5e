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
    from pliant.machine import cgroup
    from pliant.machine.journal import Journal, deployments
    from pliant.machine.teardown import remove

    need_root("removing a deployment")
    if everything and deployment:
        raise UserError("name one deployment or --all, not both")
    cgroups, known = cgroup.probe(), deployments()
    orphans = {group.removeprefix("pliant-") for group in cgroups.groups()} - {journal.id for journal in known}
    if everything:
        journals = [*known, *map(Journal, sorted(orphans))]
    elif deployment in orphans:
        journals = [Journal(deployment)]
    else:
        journals = [chosen(deployment, "name one, or write --all")]
    for journal in journals:
        remove(journal, cgroups)
        print(f"{journal.id} removed")
    if not journals:
        print("nothing is up")
