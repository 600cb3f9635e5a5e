"""The simplest bound on a folded cluster's bandwidth, to begin a search by. Pure.

Every client streams to all nodes that hold data, evenly. What limits each client at a placement is the host with the
largest demand over capacity (the bottleneck of operational analysis: Denning & Buzen, *ACM Comput. Surv.* 10, 1978):
its NIC, for what leaves or enters the host, or its disk. How much CPU a byte costs is not known before a trial, so CPU
is left out: a file system may well break earlier than this says.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from pliant.composition.placement import Placement


def client_rate(
    placement: Placement, clients: Collection[str], servers: Collection[str], nic_byte_s: float, disk_byte_s: float
) -> float:
    """Bytes per second that each client can have at most; infinite if nothing limits it."""
    if not servers:
        return math.inf
    rates = []
    for nodes in placement.hosts:
        asking, serving = len(set(nodes) & set(clients)), len(set(nodes) & set(servers))
        leaving = asking * (1 - serving / len(servers))
        entering = serving / len(servers) * (len(clients) - asking)
        written = serving / len(servers) * len(clients)
        rates += [nic_byte_s / across for across in (leaving, entering) if across > 0]
        rates += [disk_byte_s / written] if written else []
    return min(rates, default=math.inf)


def expected_break(rates: Mapping[float, float], max_loss: float) -> float | None:
    """The smallest ratio at which the bound is lower than at the baseline, the smallest of all, by more than
    `max_loss`; None for none."""
    full = rates[min(rates)]
    if not math.isfinite(full):
        return None
    return min((ratio for ratio, rate in rates.items() if rate < (1 - max_loss) * full), default=None)
