"""Reads what `nxc start` deployed: its deployment file says which addresses have which role and host. Pure.

Source: NixOS Compose 0c994a9 writes {"deployment": {ADDRESS: {"role": ..., "host": ...}}}, and with docker
{"deployment": {HOST: {"role": ...}}}.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pliant.composition.model import Node
from pliant.composition.nodeset import fold
from pliant.errors import UserError

_FOLDED = "host"
"""The role of the hosts of a folded export."""


@dataclass(frozen=True)
class DeployedNode:
    """A node as nxc deployed it. `address` is None where its host's name is all there is (docker)."""

    name: str
    role: str
    address: str | None


def read(text: str, file: str, nodes: Sequence[Node]) -> tuple[DeployedNode, ...]:
    """The study's nodes in a deployment file, in their order. UserError unless it has exactly these."""
    found = {each.name: each for each in _entries(text, file)}
    wanted = {node.name: node.role for node in nodes}
    if missing := [name for name in wanted if name not in found]:
        more = [name for name in found if name not in wanted]
        has = f", but {fold(more)}" if more else ""
        remedy = "export the study again and start it with its nodes.yaml"
        if all(each.role == _FOLDED for each in found.values()):
            remedy = (
                "what was exported folded has hosts, whose containers are not looked into; export it without --ratio"
            )
        raise UserError(f"{file} has no {fold(missing)}{has}: it is no deployment of this study; {remedy}")
    if more := [name for name in found if name not in wanted]:
        raise UserError(f"{file} has {fold(more)}, which the study has not")
    for name, role in wanted.items():
        # A role that is one image for each node is called as its node is.
        if found[name].role not in (role, name):
            raise UserError(f'{file}: {name} has the role "{found[name].role}", and in the study "{role}"')
    return tuple(found[name] for name in wanted)


def hosts(text: str, file: str) -> list[str]:
    """The machines of a deployment file, by their addresses, or by their names where these are all there is; the nodes
    that nxc has made of them do not matter. UserError."""
    return [each.address or each.name for each in _entries(text, file)]


def _entries(text: str, file: str) -> list[DeployedNode]:
    try:
        document: Any = json.loads(text)
    except ValueError as error:
        raise UserError(f"{file} is not JSON: {error}") from None
    table = document.get("deployment") if isinstance(document, dict) else None
    if not isinstance(table, dict) or not table:
        raise UserError(f'{file} has no table "deployment": it is not a deployment file of nxc')
    entries = []
    for key, about in table.items():
        role = about.get("role") if isinstance(about, dict) else None
        host = about.get("host", key) if isinstance(about, dict) else None
        if not isinstance(role, str) or not isinstance(host, str):
            raise UserError(f'{file}: deployment."{key}" has no "role", or one that is not text')
        entries.append(DeployedNode(host, role, _address(key, host, file)))
    names = [entry.name for entry in entries]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{file} has {twice[0]} twice")
    return entries


def _address(key: str, host: str, file: str) -> str | None:
    try:
        return str(ipaddress.ip_address(key))
    except ValueError:
        if key == host:
            return None
        raise UserError(f'{file}: deployment."{key}" is not an address, nor the name of its host') from None
