"""`pliant ps`."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click


@click.command(short_help="Show what is up on this machine.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> None:
    """Show the deployments of this machine, their nodes, hosts and addresses, and what a crash left.

    A deployment is `running` (a command drives it), `up` (left by `pliant up`) or `stale` (its command died: remove it
    with `pliant down`).
    """
    found = _found()
    if as_json:
        print(json.dumps(found, indent=2))
    elif not found:
        print("nothing is up")
    for each in [] if as_json else found:
        print(f"{each['id']}  {each['state']:<8} {each['title']}  since {each['since']}")
        for node in each["nodes"]:
            state = "" if node["alive"] else "  dead"
            print(f"  {node['name']:<12} {node['host']:<8} {node['address']}{state}")


def _found() -> list[dict[str, Any]]:
    from pliant.cli.common import need_root
    from pliant.machine.cgroup import CgroupError, probe
    from pliant.machine.journal import STATE, deployments
    from pliant.machine.process import alive

    if STATE.exists():
        need_root("looking at deployments")
    found = []
    for journal in deployments():
        owner, content = journal.owner(), journal.read("deployment.json") or {"nodes": [], "placed": {}}
        nodes = [
            {
                "name": node["name"],
                "host": f"host{content['placed'].get(node['name'], '?')}",
                "address": node["address"],
                "alive": alive(node["pid"]),
            }
            for node in content["nodes"]
        ]
        state = "stale"
        if owner is not None and owner.alive:
            state = "running"
        elif owner is not None and owner.keep and nodes and all(node["alive"] for node in nodes):
            state = "up"
        since = datetime.fromtimestamp(owner.created).isoformat(" ", "seconds") if owner else "?"
        found.append(
            {"id": journal.id, "state": state, "title": owner.title if owner else "?", "since": since, "nodes": nodes}
        )
    known = {each["id"] for each in found}
    try:
        groups = probe().groups()
    except CgroupError:
        groups = []
    for group in groups:
        if (name := group.removeprefix("pliant-")) not in known:
            found.append({"id": name, "state": "stale", "title": "(only control groups)", "since": "?", "nodes": []})
    return found
