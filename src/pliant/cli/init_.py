"""`pliant init`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click


@click.command(short_help="Write a study to begin with.")
@click.argument("file", type=click.Path(path_type=Path), default="study.toml")
@click.option("--filesystem", help="Which file system; asked for in a terminal, else glusterfs.")
@click.option("--nodes", "counts", multiple=True, metavar="ROLE=COUNT", help="Nodes of a role; may be given again.")
@click.option("--workload", "workloads", multiple=True, help="ior, mdtest, io500, fio or command; may be given again.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.option("--list", "listed", is_flag=True, help="Only list what there is to choose from.")
def command(
    file: Path, filesystem: str | None, counts: tuple[str, ...], workloads: tuple[str, ...], force: bool, listed: bool
) -> None:
    """Write FILE, a small study with comments that `pliant check` accepts, for this machine; default study.toml.

    Its hosts are such that they leave this machine slack. What is not given is asked for in a terminal, and is a
    sensible default elsewhere.
    """
    from pliant.campaign.preparation import figures_of
    from pliant.cli.common import written
    from pliant.errors import UserError
    from pliant.machine import facts
    from pliant.study.reading import parse
    from pliant.study.starting import host_of, text

    if listed:
        _list()
        return
    if file.exists() and not force:
        raise UserError(f"{file} is there already; name another file, or add --force to replace it")
    asking = sys.stdin.isatty() and sys.stdout.isatty() and not (filesystem or counts or workloads)
    kind = _filesystem(filesystem, asking)
    roles = _roles(kind, counts, asking)
    chosen = _workloads(workloads, asking)
    machine, nodes = facts.look(), sum(roles.values())
    host = host_of(nodes, nodes, machine.cores, machine.memory_bytes, machine.free_disk_bytes)
    content = text(_name(file), kind, roles, chosen, host)
    figures_of(parse(content, str(file)), machine)  # raises for what this machine cannot carry
    written(content, file)
    print(f"{file}: {kind} on {nodes} nodes, measured by {', '.join(chosen)}; next: pliant check {file}")


def _name(file: Path) -> str:
    """A study's name, from its file's."""
    import re

    return re.sub(r"[^a-z0-9]+", "-", file.stem.lower()).strip("-")[:48] or "study"


def _examples() -> dict[str, Mapping[str, int]]:
    """The file systems that a study can begin with, and their role distributions."""
    from pliant.study import registry

    drivers = {name: registry.filesystem(name) for name in registry.filesystem_names()}
    return {name: example for name, driver in drivers.items() if (example := getattr(driver, "example", None))}


def _list() -> None:
    from pliant.study.starting import workload_kinds

    for name, roles in _examples().items():
        print(f"{name:<12} {', '.join(f'{role}={count}' for role, count in roles.items())}")
    print(f"{'custom':<12} described in the study itself: start from studies/sshfs.toml")
    print(f"\nworkloads: {', '.join(workload_kinds())}")


def _filesystem(given: str | None, asking: bool) -> str:
    from pliant.errors import UserError
    from pliant.study.problems import unknown_name

    known = _examples()
    kind = given or (
        click.prompt("file system", type=click.Choice([*known]), default="glusterfs") if asking else "glusterfs"
    )
    if kind not in known:
        raise UserError(unknown_name(kind, "a file system to begin with", known))
    return str(kind)


def _roles(kind: str, given: tuple[str, ...], asking: bool) -> dict[str, int]:
    from pliant.errors import UserError
    from pliant.study.problems import unknown_name

    roles = dict(_examples()[kind])
    for each in given:
        role, equals, count = each.partition("=")
        if role not in roles:
            raise UserError(f"--nodes: {unknown_name(role, f'a role of {kind}', roles)}")
        if not equals or not count.isdecimal():
            raise UserError(f'--nodes "{each}" is not ROLE=COUNT; write e.g. {role}={roles[role]}')
        roles[role] = int(count)
    if asking:
        roles = {role: click.prompt(f"nodes of role {role}", type=int, default=count) for role, count in roles.items()}
    return roles


def _workloads(given: tuple[str, ...], asking: bool) -> tuple[str, ...]:
    from pliant.errors import UserError
    from pliant.study.problems import unknown_name
    from pliant.study.starting import workload_kinds

    known = workload_kinds()
    if not given and asking:
        given = tuple(click.prompt("workloads", default="ior mdtest").replace(",", " ").split())
    for each in given:
        if each not in known:
            raise UserError(unknown_name(each, "a workload to begin with", known))
    return tuple(dict.fromkeys(given)) or ("ior", "mdtest")
