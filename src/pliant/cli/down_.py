"""`pliant down`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pliant.cli.common import chosen, need_root
from pliant.cli.hosts import agents, complain, config_option, hosts_option

if TYPE_CHECKING:
    from pliant.platforms.agents import Agent

_REMOVE_S = 120.0
"""What another machine is given to remove a deployment; its maker, if it lives, is given a minute to do it itself."""


@click.command(short_help="Remove what is up, or what a crash left.")
@click.argument("deployment", required=False)
@click.option("--all", "everything", is_flag=True, help="Every deployment of this machine, or of those.")
@click.option(
    "--forget",
    is_flag=True,
    help="Do not reach for other machines: what is there goes at the end of its lease, and reservations at theirs.",
)
@hosts_option
@config_option
def command(
    deployment: str | None, everything: bool, forget: bool, hosts: tuple[str, ...], ssh_config: Path | None
) -> int:
    """Remove DEPLOYMENT (its id; not needed if there is only one): processes, namespaces, loop devices, control groups.
    With the name of a reservation, which `pliant ps` shows, its hosts are given back.

    A run that is going on is asked to end first: it keeps what it has measured. One on other machines is removed there.
    """
    from pliant.campaign.reservations import RESERVATION, known
    from pliant.errors import PliantError, UserError
    from pliant.platforms.here import Journal, deployments, is_elsewhere, orphans
    from pliant.platforms.opening import remove

    if everything and deployment:
        raise UserError("name one deployment or --all, not both")
    if hosts:
        if not everything and not deployment:
            raise UserError("name a deployment, or write --all; `pliant ps --host` shows what is up there")
        return _of_hosts(hosts, ssh_config, deployment)
    reservations = [each for each in known() if everything or each.name == deployment]
    if os.geteuid() != 0 and not reservations and not any(map(is_elsewhere, deployments())):
        need_root("removing a deployment")
    without = orphans() if os.geteuid() == 0 else []
    if everything:
        journals = [*deployments(), *map(Journal, without)]
    elif deployment in without:
        journals = [Journal(deployment)]
    elif reservations:
        journals = []
    else:
        journals = [chosen(deployment, "name one, or write --all")]
    failures = []
    for journal in journals:
        lent = journal.kept(RESERVATION)
        reservations += [each for each in known() if each.name == lent and each not in reservations]
        failures += _done(f"{journal.id} removed", partial(remove, journal, forget=forget))
    for reservation in reservations:
        if reservation.on_disks and not forget:
            from pliant.campaign.testbed import undo

            undo(reservation, lambda text: print(text, file=sys.stderr))
        end = reservation.forget if forget else reservation.release
        failures += _done(f"{reservation.name} {'forgotten' if forget else 'released'}", end)
    if not journals and not reservations:
        print("nothing is up")
    if failures:
        raise PliantError("; ".join(failures))
    return 0


def _done(what: str, do: Callable[[], None]) -> list[str]:
    """Do it and say so; what it failed with, so that what else is to be removed is."""
    from pliant.errors import PliantError
    from pliant.platforms.interface import CgroupError, TeardownError

    try:
        do()
    except (PliantError, TeardownError, CgroupError) as error:
        return [str(error)]
    print(what)
    return []


def _of_hosts(hosts: Sequence[str], config: Path | None, deployment: str | None) -> int:
    """Remove one deployment, or all, of other machines, from what is written down there."""
    from pliant.composition.nodeset import fold
    from pliant.errors import UserError
    from pliant.platforms.agents import on_each

    def remove(agent: Agent) -> list[str]:
        ids = [each["id"] for each in agent.ask("deployments") if deployment in (None, each["id"])]
        for each in ids:
            agent.ask("remove", deployment=each, timeout_s=_REMOVE_S)
        # A disk that was mounted for what deployments write holds nothing any more.
        if deployment is None and (disk := agent.ask("give_back_disk", timeout_s=_REMOVE_S)):
            ids.append(disk)
        return ids

    with agents(hosts, config) as reached:
        found = on_each(reached, remove)
    for host, ids in found.items():
        for each in ids if isinstance(ids, list) else []:
            print(f"{host}: {each} removed")
    if complain(found):
        return 1
    if not any(found.values()):
        if deployment is not None:
            raise UserError(f'there is no deployment "{deployment}" on {fold(found)}')
        print("nothing is up")
    return 0
