"""An operation of a cluster that was measured, taken to other placements, sizes and hosts.

Per unit, each role's nodes together use as much of everything as they did in what was measured, shared evenly by
however many of them there are; only of the very cluster that was measured is it known which of them uses how much.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pliant.model.calibration import Draws, Loads, deviations, normal_deviations, quantiles
from pliant.model.demand import LOCAL, RESOURCES, Demand, between
from pliant.model.fluid import Floats, Flows

_EXTREME = 0.85
"""Of the fullest of some hosts that chance gives work: by so many times sqrt(2 ln hosts) deviations it is above the
mean. For few hosts that is less than the 1 it tends to."""


@dataclass(frozen=True)
class Roles:
    """What roles use: `nodes` of each, and of a unit their `amounts` all together and `traffic` from role to role."""

    names: tuple[str, ...]
    nodes: Mapping[str, int]
    clients: tuple[str, ...]
    amounts: Mapping[str, Floats]
    traffic: Floats
    uneven: Floats
    """Of each role, from 0 to 1: whether its nodes serve alike, or each what chance gave it, whole files at a time."""

    def demand(self, nodes: Mapping[str, int]) -> Demand:
        """The demand of another number of nodes."""
        many = np.array([nodes[name] for name in self.names], dtype=np.float64)
        each = np.maximum(many, 1.0)
        return Demand(
            self.names,
            many,
            {name: amount / each for name, amount in self.amounts.items()},
            self.traffic / each[:, None],
        )


@dataclass(frozen=True)
class Unfolded:
    """What was seen of an unfolded cluster: `nodes` and their roles, which of those are `clients`, and how many `ranks`
    worked."""

    nodes: Sequence[str]
    role_of: Mapping[str, str]
    clients: Sequence[str]
    ranks: float


def roles_of(seen: Unfolded, used: Mapping[str, Floats]) -> tuple[Roles, Demand]:
    """What roles use, and each node by itself, from what every node `used` for a unit: resource -> an amount for
    each of the nodes."""
    nodes, role_of, clients = seen.nodes, seen.role_of, seen.clients
    names = tuple(dict.fromkeys(role_of[node] for node in nodes))
    index = np.array([names.index(role_of[node]) for node in nodes])
    count = np.bincount(index, minlength=len(names)).astype(np.float64)
    totals = {name: _by_kind(index, amount, len(names)) for name, amount in used.items()}
    traffic = between(totals["nic_up"], totals["nic_down"], [name in clients for name in names])
    part = {
        name: used[name] / np.maximum(totals[name][index], 1e-300) for name in ("nic_up", "nic_down")
    }  # of its role
    same = index[:, None] == index[None, :]
    others = np.where(same, np.maximum(1 - part["nic_down"][:, None], 1e-9), 1.0)
    pairs = traffic[np.ix_(index, index)] * part["nic_up"][:, None] * part["nic_down"][None, :] / others
    np.fill_diagonal(pairs, 0.0)
    local = {name: used[name] for name in LOCAL}
    uneven = np.array([_uneven(used, index == kind, count[kind], seen.ranks) for kind in range(len(names))])
    uneven *= [name not in clients for name in names]
    roles = Roles(
        names,
        {name: int(number) for name, number in zip(names, count, strict=True)},
        tuple(clients),
        {name: totals[name] for name in LOCAL},
        traffic,
        uneven,
    )
    return roles, Demand(tuple(nodes), np.ones(len(nodes)), local, pairs)


def _by_kind(index: NDArray[np.int64], amount: Floats, kinds: int) -> Floats:
    return np.bincount(index, amount, kinds).astype(np.float64)


def _uneven(used: Mapping[str, Floats], mine: NDArray[np.bool_], count: float, ranks: float) -> float:
    """How uneven nodes of a role are, from 0 to 1, where 1 is as if each rank had all of its data on one of them."""
    served = used["nic_up"][mine] + used["nic_down"][mine]
    if count < 2 or served.sum() <= 0:
        return 0.0
    by_chance = (count - 1) / ranks  # the squared coefficient of variation of balls that are thrown into bins
    return float(min(1.0, (served.std() / served.mean()) ** 2 / by_chance) ** 0.5)


def loads(demand: Demand, mixes: Floats, capacity: Mapping[str, float], ranks: float) -> Loads:
    """What a unit loads hosts with that carry these mixes (hosts x kinds)."""
    found = demand.loads(mixes, capacity)
    none = np.zeros(len(mixes))
    return Loads(
        cpu=found.get("cpu", none),
        nic=np.maximum(found.get("nic_up", none), found.get("nic_down", none)),
        read=found.get("disk_read", none),
        write=found.get("disk_write", none),
        nodes=mixes.sum(axis=1),
        local=demand.local(mixes),
        ranks=ranks,
    )


def crowded(roles: Roles, nodes: Mapping[str, int], mixes: Floats, counts: Floats, ranks: float) -> Floats:
    """The same mixes, with more of a role's nodes where chance gives the fullest host more than its part of the work.

    The fullest of h hosts that are each given a part p of n things by chance has about sqrt(2 ln h) deviations, of
    sqrt((1 - p) / (n p)), above the mean.
    """
    found = mixes.copy()
    for kind, name in enumerate(roles.names):
        if not roles.uneven[kind] or not nodes[name]:
            continue
        hosts = float(counts[mixes[:, kind] > 0].sum())
        part = np.clip(mixes[:, kind] / nodes[name], 1e-12, 1.0)
        above = np.sqrt((1 - part) / (ranks * part)) * _EXTREME * math.sqrt(2 * math.log(max(hosts, 1.0)))
        found[:, kind] *= 1 + roles.uneven[kind] * above
    return found


@dataclass(frozen=True)
class Told:
    """What is predicted at a ratio: units per second with an interval, and the loss against the baseline.

    `breaks` is the probability that the loss is above what is tolerated; `limit` is what limits it: "cpu", "nic",
    "read", "write", or "alone" where nothing that hosts share does; `sure` is the weight of draws in which it does.
    """

    rate: float
    low: float
    high: float
    loss: float
    loss_low: float
    loss_high: float
    breaks: float
    limit: str
    sure: float


@dataclass(frozen=True)
class Asked:
    """How a ratio is to be told: `deviation` is by how much the model may be off there, as a logarithm's, and `beyond`
    by how much more in what is as true of the baseline, so that losses are free of it; `factor` multiplies rates;
    intervals are of `confidence`; `place` numbers the ratio."""

    deviation: float
    beyond: float
    factor: float
    max_loss: float
    confidence: float
    place: int
    work: float = 1.0
    """What each rank does, in times of what was measured."""
    lower: bool = False
    """Whether the metric is the time that a rate is the inverse of: then it is lost as that grows."""


def tell(draws: Draws, at: Loads, baseline: Floats, asked: Asked) -> Told:
    """What draws say of hosts that are loaded like this. `baseline` are the logarithms of the baseline's rate, by
    draw."""
    seconds, parts = draws.parts(at, asked.work)
    logs = -np.log(seconds) + math.log(asked.factor) + deviations(asked.deviation, asked.place)
    ends = ((1 - asked.confidence) / 2, 0.5, (1 + asked.confidence) / 2)
    left = logs - baseline
    low, middle, high = quantiles(logs + normal_deviations(asked.beyond), draws.weight, ends)
    lost = np.exp(-left) - 1 if asked.lower else 1 - np.exp(left)
    low_loss, loss, high_loss = quantiles(lost, draws.weight, ends)
    names = list(parts)
    first = np.argmax([parts[name] for name in names], axis=0)
    weights = np.bincount(first, draws.weight, len(names))
    return Told(
        rate=math.exp(middle),
        low=math.exp(low),
        high=math.exp(high),
        loss=loss,
        loss_low=low_loss,
        loss_high=high_loss,
        breaks=float(draws.weight[lost > asked.max_loss].sum()),
        limit=names[int(np.argmax(weights))],
        sure=float(weights.max()),
    )


def flows(
    demand: Demand, clients: Sequence[int], mixes: Floats, counts: Floats, capacity: Mapping[str, float], ranks: Ranks
) -> Flows:
    """Every rank's work as a flow over the hosts' resources: one class for each kind of client on each kind of host.

    `mixes` (hosts x kinds) are hosts that differ, of which there are `counts`; `clients` are the kinds that ranks work
    in. A unit of a rank uses its own client, and every server as much as any other unit does.
    """
    servers = np.array([kind not in clients for kind in range(len(demand.kinds))], dtype=np.float64)
    working = float(sum(demand.many[kind] for kind in clients))
    names = [name for name in RESOURCES if name in capacity]
    hosts, columns, many = len(mixes), [], []
    behind = _behind(demand, servers, mixes)
    for kind in clients:
        for host in np.flatnonzero(mixes[:, kind] > 0):
            own = np.zeros(hosts)
            own[host] = 1 / counts[host]
            with_own = {
                name: mixes @ (demand.amounts[name] * servers) + own * demand.amounts[name][kind] * working
                for name in LOCAL
            }
            each = np.maximum(demand.many, 1.0)
            sent = demand.traffic[kind] * working * servers
            got = demand.traffic[:, kind] * demand.many * servers
            away = 1 - mixes[host] / each
            with_own["nic_up"] = (mixes @ (got / each)) * (1 - own) + own * float(away @ sent) + behind[0]
            with_own["nic_down"] = (mixes @ (sent / each)) * (1 - own) + own * float(away @ got) + behind[1]
            columns.append(np.concatenate([with_own[name] for name in names]))
            many.append(counts[host] * mixes[host, kind] * ranks.of_client)
    full = np.concatenate([np.full(hosts, capacity[name]) for name in names])
    pace = np.full(len(many), 1 / ranks.alone_s if ranks.alone_s > 0 else np.inf)
    return Flows(full, np.column_stack(columns), np.array(many, dtype=np.float64), pace)


@dataclass(frozen=True)
class Ranks:
    """So many work in each client, and a unit takes one of them `alone_s`, in seconds."""

    of_client: int
    alone_s: float


def _behind(demand: Demand, servers: Floats, mixes: Floats) -> tuple[Floats, Floats]:
    """What a unit makes servers send and receive among themselves, of each host."""
    among = Demand(demand.kinds, demand.many, {}, demand.traffic * servers[:, None] * servers[None, :]).loads(
        mixes, {"nic_up": 1.0, "nic_down": 1.0}
    )
    return among["nic_up"], among["nic_down"]
