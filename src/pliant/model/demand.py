"""What an operation takes of each resource by who it is that uses it, and what that loads hosts with, however folded.

A *unit* is what a metric counts: an operation, a MiB. Of a unit of the whole cluster's work every node does its part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pliant.model.fluid import Floats

LOCAL = ("cpu", "disk_read", "disk_write")
"""Resources of which a node takes as much wherever it is; what it takes of the NIC depends on who is on its host."""
NIC = ("nic_up", "nic_down")
RESOURCES = (*LOCAL, *NIC)


@dataclass(frozen=True)
class Demand:
    """What a unit takes: `kinds` of nodes, of which there are so `many`, each alike.

    `amounts[resource][k]` is what one node of kind k uses for a unit: CPU seconds, bytes of its disk. `traffic[k, l]`
    are the bytes that one node of kind k sends to all of kind l together.
    """

    kinds: tuple[str, ...]
    many: Floats
    amounts: Mapping[str, Floats]
    traffic: Floats

    def loads(self, mixes: Floats, capacity: Mapping[str, float]) -> dict[str, Floats]:
        """Seconds that each resource of a host is busy with a unit, for each mix (hosts x kinds) that it may carry.

        Only of resources that `capacity` has, in CPU seconds or bytes per second.
        """
        found = {
            name: mixes @ self.amounts[name] / capacity[name]
            for name in LOCAL
            if name in capacity and name in self.amounts
        }
        for name, amount in zip(NIC, self._carried(mixes), strict=True):
            if name in capacity:
                found[name] = amount / capacity[name]
        return found

    def local(self, mixes: Floats) -> Floats:
        """Which part of what the nodes of each mix send and receive stays between them; 0 where there is nothing."""
        sent, received = self._carried(mixes)
        whole = mixes @ (self.traffic.sum(axis=1) + self._arriving.sum(axis=0))
        return np.where(whole > 0, 1 - (sent + received) / np.maximum(whole, 1e-300), 0.0)

    @property
    def _arriving(self) -> Floats:
        """Bytes that one node of each kind (columns) receives from all nodes of another (rows)."""
        return np.asarray(self.traffic * self.many[:, None] / np.maximum(self.many, 1)[None, :])

    def _carried(self, mixes: Floats) -> tuple[Floats, Floats]:
        """Bytes that the NIC of each host sends and receives: of a node's peers those on its own host need none."""
        others = self.many[None, :] - np.eye(len(self.kinds))
        sent, received, arriving = np.zeros(len(mixes)), np.zeros(len(mixes)), self._arriving
        for kind in range(len(self.kinds)):
            beside = np.maximum(mixes - np.eye(len(self.kinds))[kind], 0.0)
            away = np.clip(1 - beside / np.maximum(others[kind], 1.0), 0.0, 1.0) * (others[kind] > 0)
            sent += mixes[:, kind] * (away @ self.traffic[kind])
            received += mixes[:, kind] * (away @ arriving[:, kind])
        return sent, received


def between(sent: Floats, received: Floats, clients: Sequence[bool]) -> Floats:
    """Bytes from each role to each, from what each sends and receives in all.

    Clients are taken to talk with servers alone; beyond that as evenly as the sums allow (the matrix of the largest
    entropy: iterative proportional fitting, Deming & Stephan 1940).
    """
    are = np.array(clients, dtype=bool)
    allowed = (~(are[:, None] & are[None, :])).astype(np.float64)
    if not allowed.any():
        allowed = np.ones_like(allowed)
    total = (sent.sum() + received.sum()) / 2
    if total <= 0:
        return np.zeros_like(allowed)
    rows, columns = sent / max(sent.sum(), 1e-300) * total, received / max(received.sum(), 1e-300) * total
    # Servers talk with clients before they talk among themselves.
    found = allowed * np.where(~are[:, None] & ~are[None, :], 0.5, 1.0) * total
    for _ in range(200):
        found = found * (rows / np.maximum(found.sum(axis=1), 1e-300))[:, None]
        found = found * (columns / np.maximum(found.sum(axis=0), 1e-300))[None, :]
    return np.asarray(np.nan_to_num(found), dtype=np.float64)
