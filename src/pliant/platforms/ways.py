"""How nodes of several hosts reach each other: VXLAN between the hosts' own addresses. Pure."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from pliant.machine.network import GATEWAY
from pliant.machine.parts import Overlay
from pliant.platforms.interface import CommandFailed

PORT = 4789
"""VXLAN's own (RFC 7348)."""
HEADERS = 50
"""Bytes that VXLAN adds to a packet, on IPv4."""
MOST_HOSTS = 250


def ways(
    deployment: str,
    told: Mapping[str, Sequence[Sequence[Any]]],
    nodes: Mapping[str, Mapping[str, str]],
    network: str | None,
) -> dict[str, Overlay]:
    """How each host reaches the others. `told` has their addresses (see `machine.overlay.addresses`), in their order,
    `nodes` those of their nodes (host -> address -> name), `network` is that of the addresses to choose.
    CommandFailed."""
    chosen = {host: _address(host, addresses, network) for host, addresses in told.items()}
    mtu = min(mtu for _, mtu in chosen.values()) - HEADERS
    switches = {host: _switch(number) for number, host in enumerate(told, 1)}
    switch_names = {switches[host]: f"pliant-{deployment}-{number}" for number, host in enumerate(told, 1)}
    names = {address: name for each in nodes.values() for address, name in each.items()}
    # Two deployments whose ids begin alike must not hear each other on a host that both use.
    number = int(deployment, 16) << 8 | secrets.randbelow(1 << 8)
    return {
        host: Overlay(
            vni=number,
            port=PORT,
            local=address,
            peers={other: [switches[name], *nodes[name]] for name, (other, _) in chosen.items() if name != host},
            mtu=mtu,
            switch=switches[host],
            names={**names, **switch_names},
        )
        for host, (address, _) in chosen.items()
    }


def _address(host: str, addresses: Sequence[Sequence[Any]], network: str | None) -> tuple[str, int]:
    """The address of a host by which others reach it, and its MTU. CommandFailed."""
    for address, _, mtu, _ in addresses:
        if network is None or ip_address(address) in ip_network(network):
            return address, mtu
    said = f"{host} has no address in {network}" if network else f"{host} has no IPv4 address"
    raise CommandFailed(["up"], 1, "", f"{said}; write platform.network", host)


def _switch(number: int) -> str:
    """The address of the switch of host NUMBER: mpiexec runs on the first."""
    if number > MOST_HOSTS:
        raise CommandFailed(["up"], 1, "", f"{number} hosts are more than {MOST_HOSTS}")
    return GATEWAY if number == 1 else re.sub(r"\.\d+$", f".{number}", GATEWAY)


def no_way(host: str, other: str, overlays: Mapping[str, Overlay], lacking: Sequence[int], sizes: Sequence[int]) -> str:
    """That packets of some sizes do not come from one host to another, and what to do about it."""
    way = f"from {other} ({overlays[other].local}) to {host} ({overlays[host].local})"
    if list(lacking) == list(sizes):
        return f"no packet comes {way}: a firewall between them has to let UDP port {PORT} pass"
    size = max(sizes) + HEADERS
    return f"packets of {size} bytes do not come {way}, and smaller ones do: something between has a smaller MTU"
