"""The model of one metric of a run, and what it says of another cluster's hosts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from pliant.analysis import observed
from pliant.analysis.observed import Observed, Record
from pliant.composition.mixes import mixes
from pliant.composition.placement import hosts_for, nodes_for, place
from pliant.model import folding
from pliant.model.calibration import Draws, Level, Loads, Priors, calibrate
from pliant.model.demand import RESOURCES, Demand
from pliant.model.fluid import Floats, makespan, rates
from pliant.trial import UNFOLDED
from pliant.workloads.model import Metric

PRIORS = Priors()
_KNOWN_NODES = 256
"""So many nodes at most are each looked at by themselves; of more, only roles."""
_LEAST_BUSY = 0.05
"""Part of the CPU time of a node that is taken to be the operation's, at least."""


@dataclass(frozen=True)
class Target:
    """The cluster that is asked about. `capacity` is what a host has, in CPU seconds and bytes per second."""

    roles: Mapping[str, int]
    strategy: str
    capacity: Mapping[str, float]
    ratios: tuple[float, ...]
    max_loss: float
    host: str = ""
    """What hosts are called, if they are those of another cluster."""
    confidence: float = 0.95
    """Of intervals."""
    work: float = 1.0
    """What each rank does, in times of what was measured."""
    folded: tuple[str, ...] = ()
    """The roles whose nodes share hosts, which ratios count; all where there are none."""

    @property
    def nodes(self) -> int:
        """How many there are."""
        return sum(self.roles.values())

    @property
    def shared(self) -> int:
        """How many of them are folded; each of the others has a host to itself at every ratio."""
        return sum(count for role, count in self.roles.items() if not self.folded or role in self.folded)

    @property
    def alone(self) -> int:
        """How many are not."""
        return self.nodes - self.shared

    def hosts(self, ratio: float) -> int:
        """How many hosts there are at a ratio, all together."""
        return self.alone + hosts_for(self.shared, ratio)


@dataclass(frozen=True)
class Calibrated:
    """The model of one metric of a run. `own` says whether telemetry saw the operation itself, `most` what it saw used
    of each resource at most, as a part of the promise, `last` the largest ratio that was measured."""

    record: Record
    workload: str
    metric: Metric
    roles: folding.Roles
    each: Demand
    draws: Draws
    levels: tuple[Level, ...]
    own: bool
    most: Mapping[str, float]
    noise: float
    """Standard deviation of a trial's logarithm."""

    @property
    def last(self) -> float:
        """The largest ratio that it was calibrated on."""
        return self.levels[-1].ratio

    @cached_property
    def ranks_of_client(self) -> int:
        """Processes that work in each client."""
        return self.record.ranks.get(self.workload, 1)

    def ranks(self, roles: Mapping[str, int]) -> float:
        """Processes that work at the same time in a cluster of such roles."""
        return float(sum(roles[role] for role in self.record.clients) * self.ranks_of_client)

    def same(self, target: Target) -> bool:
        """Whether the target has the very nodes that were measured."""
        few = target.nodes <= _KNOWN_NODES or target.strategy == "explicit"
        info = self.record.info
        return few and dict(target.roles) == dict(info.roles) and set(target.folded) == set(info.folded)

    def loads(self, target: Target, hosts: int) -> Loads:
        """What a unit loads the target's hosts with, on so many of them."""
        ranks, info = self.ranks(target.roles), self.record.info
        if self.same(target):
            known = next((p for r, p in info.placements.items() if info.hosts[r] == hosts), None)
            if known is not None and (target.strategy == info.strategy or hosts == target.nodes):
                return folding.loads(self.each, _matrix(self.each.kinds, list(known.values())), target.capacity, ranks)
            if target.strategy != "explicit":
                placed = _placed(target, hosts, self.record)
                return folding.loads(self.each, _matrix(self.each.kinds, placed), target.capacity, ranks)
        rows, counts = self._mixes(target, hosts)
        full = folding.crowded(self.roles, target.roles, rows, counts, ranks)
        at = folding.loads(self.roles.demand(target.roles), full, target.capacity, ranks)
        return replace(at, nodes=rows.sum(axis=1))

    def _mixes(self, target: Target, hosts: int) -> tuple[Floats, Floats]:
        nodes = tuple((name, target.roles[name]) for name in self.roles.names)
        return _mixed(nodes, hosts - target.alone, target.strategy, tuple(self.record.clients), target.folded)

    def crowded(self, target: Target, hosts: int) -> float:
        """By which part, as a logarithm, it is slower at most as chance gives some server more than its part."""
        if self.same(target):
            return 0.0
        rows, _ = self._mixes(target, hosts)
        ranks = self.ranks(target.roles)
        even = folding.loads(self.roles.demand(target.roles), rows, target.capacity, ranks)
        slower = np.log(self.draws.seconds(self.loads(target, hosts)) / self.draws.seconds(even))
        return float(slower @ self.draws.weight)

    def timed(self, target: Target, hosts: int) -> float:
        """How much more all ranks do at first than on average until the last one ends, if each does as much.

        A workload that ends at a deadline, as with a stonewall, sees the former; hosts with fewer nodes do more.
        """
        if self.workload not in self.record.timed or target.strategy == "explicit":
            return 1.0
        rows, counts = self._mixes(target, hosts)
        alone_s = float(self.draws.alone_s @ self.draws.weight)
        clients = [self.roles.names.index(role) for role in self.record.clients]
        ranks = folding.Ranks(self.ranks_of_client, alone_s)
        flows = folding.flows(self.roles.demand(target.roles), clients, rows, counts, target.capacity, ranks)
        total = float(flows.many.sum())
        return float(flows.many @ rates(flows)) / (total / makespan(flows, 1.0))


@lru_cache(maxsize=256)
def _mixed(
    nodes: tuple[tuple[str, int], ...], hosts: int, strategy: str, clients: tuple[str, ...], folded: tuple[str, ...]
) -> tuple[Floats, Floats]:
    """What hosts carry (hosts that differ x roles), and how many carry it: the same for every metric."""
    found = mixes(dict(nodes), hosts, strategy, clients, folded)
    return np.array(list(found), dtype=np.float64), np.array(list(found.values()), dtype=np.float64)


def _matrix(nodes: Sequence[str], hosts: Sequence[Sequence[str]]) -> Floats:
    found = np.zeros((len(hosts), len(nodes)))
    index = {node: number for number, node in enumerate(nodes)}
    for host, names in enumerate(hosts):
        found[host, [index[name] for name in names]] = 1.0
    return found


def _placed(target: Target, hosts: int, record: Record) -> list[tuple[str, ...]]:
    nodes, shared = nodes_for(target.roles), hosts - target.alone
    return list(place(nodes, shared, target.strategy, record.clients, target.folded).hosts)


def calibrated(record: Record, workload: str, metric: Metric, noise: float) -> Calibrated | str:
    """The model of a metric from all ratios that were measured; a sentence where there is none."""
    by_ratio = {r: observed.undisturbed(many) for r, many in observed.observed(record, workload, metric).items()}
    if UNFOLDED not in by_ratio or len(by_ratio) < 2:
        return f"{workload} {metric.name}: it was not measured at ratio 1 and at another"
    found = _used(by_ratio)
    if found is None:
        return f"{workload} {metric.name}: telemetry says nothing of it at ratio 1; its trials are too short"
    used, own, seen = found
    info = record.info
    arrays = {name: np.array([used[name][node] for node in record.nodes]) for name in RESOURCES}
    ranks = float(sum(info.roles[role] for role in record.clients) * record.ranks.get(workload, 1))
    idle = observed.idle(record)
    resting = sum(idle.get(role, 0.0) for role in record.role_of.values())
    slowest = float(np.median([one.rate for one in by_ratio[UNFOLDED]]))
    each_idle = np.array([idle.get(role, 0.0) for role in record.role_of.values()])
    arrays["cpu"] = np.maximum(arrays["cpu"] - each_idle / slowest, arrays["cpu"] * _LEAST_BUSY)
    about = folding.Unfolded(record.nodes, record.role_of, record.clients, ranks)
    roles, each = folding.roles_of(about, arrays)
    total = float(arrays["cpu"].sum())
    levels = []
    for ratio, many in by_ratio.items():
        placement = _matrix(each.kinds, list(info.placements[ratio].values()))
        typical = observed.typical(many)
        grown = None if typical is None or total <= 0 else _grown(typical[0]["cpu"], resting, many, total)
        deviation = PRIORS.own if typical is not None and typical[1] else PRIORS.job
        levels.append(
            Level(
                ratio,
                folding.loads(each, placement, record.capacity, ranks),
                tuple(one.rate for one in many),
                grown if ratio != UNFOLDED else None,
                deviation,
            )
        )
    draws = calibrate(levels, PRIORS.own if own else PRIORS.job, noise, moves="B/s" in metric.unit)
    return Calibrated(record, workload, metric, roles, each, draws, tuple(levels), seen, _most(record, by_ratio), noise)


def _grown(cpu: Mapping[str, float], resting: float, many: Sequence[Observed], total: float) -> float | None:
    """CPU time per unit of a folded cluster, without that of idle nodes, as a part of what it was unfolded."""
    busy = sum(cpu.values()) - resting / float(np.median([one.rate for one in many]))
    return busy / total if busy > 0 else None


def _used(
    by_ratio: Mapping[float, Sequence[Observed]],
) -> tuple[dict[str, dict[str, float]], bool, bool] | None:
    """What each node uses for a unit, whether that is as sure as an operation's own telemetry, and whether it was seen.

    An operation that was too short for telemetry unfolded is mostly long enough at the next ratio: then it is known
    from there who uses CPU and disks. Where it was seen at both, who uses the CPU is taken from both.
    """
    unfolded = observed.typical(by_ratio[UNFOLDED])
    if unfolded is None:
        return None
    used, own = unfolded
    second = observed.typical(by_ratio[sorted(by_ratio)[1]])
    if second is None or not second[1]:
        return used, own, own
    folded = second[0]
    if not own:
        return {**used, **{name: folded[name] for name in ("cpu", "disk_read", "disk_write")}}, False, True
    total, other = sum(used["cpu"].values()), sum(folded["cpu"].values())
    if total > 0 and other > 0:
        cpu = {node: (amount + folded["cpu"][node] * total / other) / 2 for node, amount in used["cpu"].items()}
        used = {**used, "cpu": cpu}
    return used, own, True


def _most(record: Record, by_ratio: Mapping[float, Sequence[Observed]]) -> dict[str, float]:
    """The most that any host used of each resource, in any trial, as a part of what it was promised."""
    found: dict[str, float] = {}
    for ratio, many in by_ratio.items():
        for one in many:
            if one.used is None:
                continue
            for resource, by_node in one.used.items():
                if not record.capacity.get(resource):
                    continue
                for nodes in record.info.placements[ratio].values():
                    share = sum(by_node[node] for node in nodes) * one.rate / record.capacity[resource]
                    found[resource] = max(found.get(resource, 0.0), share)
    return found
