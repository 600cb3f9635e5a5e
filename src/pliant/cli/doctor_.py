"""`pliant doctor`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pliant.cli.hosts import agents, complain, config_option, hosts_option

if TYPE_CHECKING:
    from pliant.cli.findings import Finding


@click.command(short_help="Say what machines can do.")
@hosts_option
@config_option
@click.option(
    "--platform",
    "study",
    type=click.Path(path_type=Path),
    help="Of the hosts of this study, and whether they have what it needs.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(hosts: tuple[str, ...], ssh_config: Path | None, study: Path | None, as_json: bool) -> int:
    """Say what this machine, or others, can and cannot do, and how to install what is missing.

    Exit status 1 if one cannot emulate clusters, or cannot be reached. Nothing is installed on other machines: the part
    of pliant that looks and tries is sent to them once (Python 3.9 or newer, root or sudo without a password).
    """
    if study is not None:
        return _of_study(study, as_json)
    if hosts:
        return _of_hosts(hosts, ssh_config, as_json)
    from pliant.cli.findings import findings, only_here
    from pliant.platforms.agents import here
    from pliant.platforms.here import visible

    found = findings(here, only_here(here), visible())
    if as_json:
        print(json.dumps(_as_json(found), indent=2))
    else:
        _show(found)
        print(f"\nthis machine {_conclusion(found)}")
    return 0 if _good(found) else 1


def _of_study(study: Path, as_json: bool) -> int:
    """The hosts of a study, and what of its needs they lack."""
    from pliant.campaign import places
    from pliant.campaign.preparation import prepare
    from pliant.errors import PliantError, UserError
    from pliant.platforms.agents import hosts_of
    from pliant.study.reading import load

    checked = load(study)
    if checked.platform.kind != "ssh":
        raise UserError(
            f"{study}: a study on {checked.platform.kind} names no hosts; `pliant check` says what it needs"
        )
    specs = places.beside(checked, checked.platform.hosts)
    status = _of_hosts(hosts_of(specs), places.ssh_config(checked), as_json)
    try:
        with places.opened(checked) as place:
            prepare(checked, place)
    except PliantError as error:
        print(f"\nfor {checked.name}: {error}", file=sys.stderr)
        return 1
    if not as_json:
        print(f"\nthey have what {checked.name} needs")
    return status


def _of_hosts(hosts: Sequence[str], config: Path | None, as_json: bool) -> int:
    from pliant.cli.findings import findings, only_there
    from pliant.platforms.agents import HostError, on_each

    with agents(hosts, config) as reached:
        found = on_each(reached, lambda agent: findings(agent.ask, only_there(agent)))
    if as_json:
        said = {
            host: {"error": str(each)} if isinstance(each, HostError) else {"findings": _as_json(each)}
            for host, each in found.items()
        }
        print(json.dumps(said, indent=2))
    else:
        seen = {host: each for host, each in found.items() if not isinstance(each, HostError)}
        if len(found) == 1:
            for host, each in seen.items():
                _show(each)
                print(f"\n{host} {_conclusion(each)}")
        else:
            _show_hosts(seen)
        complain(found)
    return 0 if all(not isinstance(each, HostError) and _good(each) for each in found.values()) else 1


def _as_json(found: Sequence[Finding]) -> list[dict[str, object]]:
    return [each._asdict() for each in found]


def _good(found: Sequence[Finding]) -> bool:
    return all(each.ok for each in found if each.needed)


def _conclusion(found: Sequence[Finding]) -> str:
    return "can emulate clusters" if _good(found) else "cannot emulate clusters yet"


def _show(found: Sequence[Finding]) -> None:
    for each in found:
        print(f"{each.mark:<8} {each.what:<22} {each.detail}")


def _show_hosts(found: dict[str, list[Finding]]) -> None:
    """A line for each, then what they lack, and file systems of which they have different versions, each said once."""
    from pliant.composition.nodeset import fold

    width = max((len(host) for host in found), default=0)
    lacking: dict[Finding, list[str]] = {}
    versions: dict[str, dict[str, list[str]]] = {}
    for host, findings in found.items():
        of = {each.what: each.detail for each in findings if each.ok}
        mark = "ok" if _good(findings) else "MISSING"
        tried = f"; a node {of['a node, tried']}" if "a node, tried" in of else ""
        print(f"{mark:<8} {host:<{width}}  {of['CPU, memory, disk']}; {of['system']}{tried}")
        for each in findings:
            if not each.ok:
                lacking.setdefault(each, []).append(host)
            elif each.what.startswith("file system "):
                versions.setdefault(each.what, {}).setdefault(each.detail, []).append(host)
    rows = [(each.mark, each.what, fold(hosts), each.detail) for each, hosts in lacking.items()]
    for what, by_version in versions.items():
        if len(by_version) > 1:
            rows += [("differs", what, fold(hosts), version) for version, hosts in by_version.items()]
    if rows:
        print()
    for mark, what, which, detail in rows:
        print(f"{mark:<8} {what:<22} {which}: {detail}")
