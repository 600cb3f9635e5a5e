"""Machines on which somebody else has deployed the file system, each a node and its own host: what NixOS Compose made.

Everything is as on the platform `ssh`, but that nothing is made on a machine beside what runs programs there, and that
nodes are neither limited nor moved, switched off nor made anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pliant.platforms.interface import CommandFailed, Gone, NodeRequest, PowerError, RemoteShell
from pliant.platforms.ssh import Addresses, Ssh, SshDeployment

_INTERFACES = "interfaces.json"
_NOT_OURS = "a machine that somebody else has deployed"


class StandingDeployment(SshDeployment):
    """See `interface.Deployment`."""

    stands = True

    def _make(self, requests: Sequence[NodeRequest], told: Mapping[str, Addresses], programs: Sequence[str]) -> None:
        """See SshDeployment. The first of a host's addresses is that by which it was reached."""
        own = self._numbers()
        node_of = {self._name(host): node for node, host in self.placed.items()}
        names = {told[host][0][0]: node_of[host] for host in own}
        stands = {host: {"interface": told[host][0][1], "names": names} for host in own}
        address_of = {name: address for address, name in names.items()}
        there = [NodeRequest(each.name, address_of[each.name], each.disk) for each in requests]
        self._make_each(there, {host: {"figures": None, "stands": stands[host]} for host in own}, programs)
        self.journal.write(_INTERFACES, {host: about["interface"] for host, about in stands.items()})

    def renew(self, requests: Sequence[NodeRequest], programs: Sequence[str]) -> Gone:
        """See `interface.Deployment`."""
        raise CommandFailed(["renew"], 1, "", f"nodes are {_NOT_OURS}")

    def _power(self, node: str, what: str) -> None:
        raise PowerError(f"{node} is {_NOT_OURS}")

    @property
    def remote_shell(self) -> RemoteShell:
        """See `interface.Deployment`. CommandFailed where machines call their interfaces differently."""
        found: dict[str, Any] = self.journal.read(_INTERFACES)
        first, *others = dict.fromkeys(found.values())
        if others:
            of = ", ".join(f"{host}: {interface}" for host, interface in found.items())
            raise CommandFailed(["mpiexec"], 1, "", f"machines call the interface of their network differently: {of}")
        return RemoteShell(super().remote_shell.program, first, first, first)


class Standing(Ssh):
    """Machines as they stand, reached by ssh."""

    deployment = StandingDeployment
