"""`pliant ps`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pliant.cli.hosts import agents, complain, config_option, hosts_option

if TYPE_CHECKING:
    from pliant.campaign.reservations import Reservation
    from pliant.platforms.here import Journal

_PATIENCE_S = 5.0
"""What a node is given to say how it is."""
_COLUMNS = ("name", "role", "host", "address")
"""What is shown of a node besides its state."""


@click.command(short_help="Show what is up.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--health/--no-health", default=True, help="Ask nodes how they are; by default they are asked.")
@hosts_option
@config_option
def command(as_json: bool, health: bool, hosts: tuple[str, ...], ssh_config: Path | None) -> int:
    """Show the deployments of this machine, their nodes, hosts, addresses and health, and what a crash left.

    A deployment is `running` (a command drives it; its nodes are not asked how they are, as that would disturb a
    trial), `up` (left by `pliant up`) or `stale` (its command died: remove it with `pliant down`). Other machines are
    asked what is up there; one is `unreachable` if they do not answer. Reservations of hosts come first.
    """
    if hosts:
        return _of_hosts(hosts, ssh_config, as_json)
    found = _found(health)
    if as_json:
        print(json.dumps(found, indent=2))
    elif not found:
        print("nothing is up")
    for each in [] if as_json else found:
        print(f"{each['id']}  {each['state']:<8} {each['title']}  since {each['since']}")
        widths = {key: max((len(node[key]) for node in each["nodes"]), default=0) for key in _COLUMNS}
        for node in each["nodes"]:
            said = "" if node["health"] in (None, "good") else f": {node['said']}" if node["said"] else ""
            state = node["state"] if node["state"] != "up" or node["health"] is None else node["health"]
            line = "".join(f"  {node[key]:<{widths[key]}}" for key in _COLUMNS)
            print(f"{line}  {state}{said}".rstrip())
    return 0


def _of_hosts(hosts: Sequence[str], config: Path | None, as_json: bool) -> int:
    """What is up on other machines, without its nodes."""
    from pliant.platforms.agents import on_each

    with agents(hosts, config) as reached:
        found = on_each(reached, lambda agent: list(agent.ask("deployments")))
    up = [
        {"host": host, **each, "since": _moment(each["since_s"])}
        for host, deployments in found.items()
        if isinstance(deployments, list)
        for each in deployments
    ]
    if as_json:
        print(json.dumps(up, indent=2))
    for each in [] if as_json else up:
        print(f"{each['host']}  {each['id']}  {each['state']:<8} {each['title']}  since {each['since']}")
    failed = complain(found)
    if not up and not as_json and not failed:
        print("nothing is up")
    return 1 if failed else 0


def _found(health: bool) -> list[dict[str, Any]]:
    from pliant.campaign.reservations import known
    from pliant.cli.common import need_root
    from pliant.platforms.here import THERE, deployments, listed

    if os.geteuid() != 0 and THERE.exists() and not deployments():  # of other machines one may have some without
        need_root("looking at deployments")
    return [*(_reservation(each) for each in known()), *(_deployment(each, health) for each in listed())]


def _reservation(reservation: Reservation) -> dict[str, Any]:
    """One reservation of hosts, as it is shown: `lent`, `waiting`, `ended`, or `unreachable` if nobody says."""
    from pliant.errors import PliantError

    state, more = "unreachable", ""
    try:
        job = reservation.scheduler.look(reservation.job) if reservation.job else None
        state = "unknown" if job is None else {"running": "lent"}.get(job.state, job.state)
        more = "" if job is None or not job.hosts else f", {len(job.hosts)} hosts"
    except PliantError as error:
        click.echo(f"{reservation.name}: {error}", err=True)
    kept = "" if reservation.alive else " kept" if reservation.keep else " left by a run that died"
    title = f"job {reservation.job or '?'} of {reservation.kind}{more}{kept}"
    made = reservation.file.stat().st_mtime
    return {"id": reservation.name, "state": state, "title": title, "since": _moment(made), "nodes": []}


def _deployment(listed: Mapping[str, Any], health: bool) -> dict[str, Any]:
    """One deployment, as it is shown."""
    from pliant.platforms.here import Journal, is_elsewhere, is_part

    journal = Journal(listed["id"])
    content = journal.read("deployment.json") or {"nodes": [], "placed": {}}
    nodes = [_node(node, content) for node in content["nodes"]]
    if is_elsewhere(journal):
        listed = {**listed, "state": _ask_hosts(journal, nodes, running=listed["state"] == "running")}
    if health and listed["state"] == "up" and not is_part(journal):  # one cannot be asked as a whole
        said = _health(journal)
        for node in nodes:
            node["health"], node["said"] = said.get(node["name"], ("unknown", ""))
    own = {key: listed[key] for key in ("id", "state", "title")}
    return {**own, "since": _moment(listed["since_s"]), "nodes": nodes}


def _ask_hosts(journal: Journal, nodes: list[dict[str, Any]], running: bool) -> str:
    """How it is with a deployment on other machines, and with its nodes, as they tell; `unreachable` if they do not."""
    from pliant.errors import PliantError
    from pliant.platforms.interface import CommandFailed
    from pliant.platforms.opening import opened
    from pliant.platforms.ssh import SshDeployment, fleet_of

    hosts = fleet_of(journal).hosts
    for node in nodes:
        number = node["host"].removeprefix("host")
        node["host"] = hosts[int(number) - 1] if number.isdigit() else number
        node["alive"], node["state"] = True, "up"
    if running:
        return "running"
    try:
        found = opened(journal)
        told = found.states() if isinstance(found, SshDeployment) else {}
    except (PliantError, CommandFailed) as error:
        click.echo(f"{journal.id}: {error}", err=True)
        return "unreachable"
    for node in nodes:
        said = told.get(node["name"], {"alive": False, "down": False, "cut": False})
        node["alive"] = said["alive"]
        node["state"] = "dead" if not said["alive"] else "down" if said["down"] else "cut" if said["cut"] else "up"
    return "up" if nodes and all(node["alive"] for node in nodes) else "stale"


def _moment(since_s: float | None) -> str:
    return datetime.fromtimestamp(since_s).isoformat(" ", "seconds") if since_s else "?"


def _node(node: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """One node, as it is shown, before it is asked how it is."""
    from pliant.composition.nodeset import role_of
    from pliant.platforms.here import alive

    state = "up"
    for name in ("cut", "down"):
        state = name if node["name"] in content.get(name, ()) else state
    lives = alive(node["pid"])
    return {
        "name": node["name"],
        "role": role_of(node["name"]),
        "host": f"host{content['placed'].get(node['name'], '?')}",
        "address": node["address"],
        "alive": lives,
        "state": state if lives else "dead",
        "health": None,
        "said": "",
    }


def _health(journal: Journal) -> dict[str, tuple[str, str]]:
    """Node -> "good" or "bad", and what it said; nothing of those that have no way of saying so."""
    from pliant.campaign.workplace import opened
    from pliant.errors import UserError

    try:
        asked = opened(journal).cluster.health(_PATIENCE_S)
    except UserError as error:
        click.echo(f"the health of {journal.id} is not known: {error}", err=True)
        return {}
    return {node: ("good" if each.good else "bad", each.said) for node, each in asked.items()}
