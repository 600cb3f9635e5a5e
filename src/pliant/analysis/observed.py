"""What a run says to a model: for each metric, what its operation used of each resource, by node, at each ratio.

Of an operation that was long enough for telemetry that is known; one that was too short is taken to use, per second,
what the job did that it was a part of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

from pliant.errors import UserError
from pliant.model.demand import RESOURCES
from pliant.results.run_info import RunInfo
from pliant.results.store import Store
from pliant.telemetry.usage import TRAFFIC_BYTE_S, HostUsage, PhaseUsage, Usage
from pliant.trial import UNFOLDED, Trial
from pliant.workloads.model import Metric

_ACTIVE = 0.5
"""An operation of which telemetry saw less than this part is not told by it: the burst that it saw is another thing."""
_IDLE_BYTE_S = TRAFFIC_BYTE_S
"""Traffic of a node below which it has nothing to do: keep-alives."""
_HELD_UP = 0.5
_KEPT = ("number", "workload", "ratio", "hosts", "repetition", "attempt", "state", "started_at", "metrics", "usage")


@dataclass(frozen=True)
class Record:
    """One file system of a run, as much of it as a model needs.

    `capacity` is what a host was promised, in CPU seconds and bytes per second; a resource without a limit is not
    there. `clients` are the roles that mount; `ranks` how many processes of each workload work in each of their nodes.
    """

    name: str
    info: RunInfo
    capacity: Mapping[str, float]
    clients: tuple[str, ...]
    ranks: Mapping[str, int]
    trials: tuple[Trial, ...]
    timed: tuple[str, ...] = ()
    """Workloads that end at a deadline and not when a certain work is done."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, of trials what a model reads."""
        trials = [{name: value for name, value in trial.to_json().items() if name in _KEPT} for trial in self.trials]
        return {
            "name": self.name,
            "info": self.info.to_json(),
            "capacity": dict(self.capacity),
            "clients": list(self.clients),
            "ranks": dict(self.ranks),
            "timed": list(self.timed),
            "trials": trials,
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Record:
        """The inverse of `to_json`."""
        trials = tuple(Trial.from_json({**each, "proved": ()}) for each in document["trials"])
        return Record(
            document["name"],
            RunInfo.from_json(document["info"]),
            document["capacity"],
            tuple(document["clients"]),
            document["ranks"],
            trials,
            tuple(document["timed"]),
        )

    def at(self, ratios: Sequence[float]) -> Record:
        """The same with the trials at these ratios alone."""
        return replace(self, trials=tuple(trial for trial in self.trials if trial.ratio in ratios))

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes, role by role."""
        return tuple(f"{role}{n}" for role, count in self.info.roles.items() for n in range(1, count + 1))

    @property
    def role_of(self) -> dict[str, str]:
        """Node -> its role."""
        return {f"{role}{n}": role for role, count in self.info.roles.items() for n in range(1, count + 1)}

    @property
    def measured(self) -> tuple[float, ...]:
        """The ratios of trials that count, ascending."""
        return tuple(sorted({trial.ratio for trial in self.trials if trial.counted}))


@dataclass(frozen=True)
class Observed:
    """A trial's value of a metric, as a `rate` where more is better, and what a unit `used`: resource -> node -> CPU
    seconds or bytes (of the NIC what its host's did, so only where each node has a host). None where telemetry tells
    nothing. `own`: the operation itself was seen, and not only the job that it is a part of."""

    rate: float
    used: Mapping[str, Mapping[str, float]] | None
    own: bool


def records(store: Store, name: str) -> tuple[Record, ...]:
    """What the run holds, of each file system. UserError where it does not say what hosts had."""
    study, trials = store.study(), store.trials()
    figures: dict[str, Any] = json.loads(store.document("conditions") or "{}")
    tables = study.get("filesystem", {})
    by_name = {each.get("name"): each for each in (tables if isinstance(tables, list) else [tables])}
    found = []
    for info in store.infos():
        host = figures.get(info.name, {}).get("host")
        if host is None:
            raise UserError(f"{name}: it does not say what a host had, as runs of older versions; run the study again")
        if not (host["nic_bit_s"] and host["disk_byte_s"]):
            raise UserError(f"{name}: its hosts had no limits that a model could count with; lay some on them")
        if info.of_ranks:
            raise UserError(
                f'{name}: it folds ranks, which share a mount then, and a model is of nodes; run it with of = "nodes"'
            )
        capacity = capacity_of(host["cores"], host["nic_bit_s"], host["disk_byte_s"])
        ranks = {each["name"]: int(each.get("ranks_per_client") or 1) for each in study.get("workload", [])}
        timed = tuple(each["name"] for each in study.get("workload", []) if each.get("stonewall"))
        mine = tuple(trial for trial in trials if info.has(trial))
        found.append(Record(name, info, capacity, _clients(info, by_name.get(info.name, {})), ranks, mine, timed))
    return tuple(found)


def capacity_of(cores: float, nic_bit_s: float | None, disk_byte_s: float | None) -> dict[str, float]:
    """Resource -> what a host with such limits has of it: CPUs, and bytes/s each way; without those that have none."""
    nic_byte_s = (nic_bit_s or 0.0) / 8
    promised = {"cpu": cores, "nic_up": nic_byte_s, "nic_down": nic_byte_s}
    promised |= {"disk_read": disk_byte_s or 0.0, "disk_write": disk_byte_s or 0.0}
    return {resource: float(value) for resource, value in promised.items() if value}


def known_records(store: Store) -> tuple[Record, ...]:
    """The same, and none where it does not say so."""
    try:
        return records(store, store.directory.name)
    except (UserError, KeyError, TypeError, ValueError):
        return ()


def _clients(info: RunInfo, table: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles that mount: those that a file system of the user's own says so of, else `client`."""
    roles = table.get("options", {}).get("roles", {})
    said = tuple(role for role, about in roles.items() if isinstance(about, dict) and about.get("client"))
    found = said or tuple(role for role in info.roles if role == "client")
    if not found:
        raise UserError(f"no role of {', '.join(info.roles)} is known to mount the file system")
    return found


def observed(record: Record, workload: str, metric: Metric) -> dict[float, list[Observed]]:
    """Every trial that counts for a metric, by ratio, ascending."""
    found: dict[float, list[Observed]] = {}
    for trial in sorted(record.trials, key=lambda trial: (trial.ratio, trial.number)):
        value = trial.metrics.get(metric.name, 0.0)
        counts = trial.state == "done" and trial.counts(metric.name) and not trial.emulated(metric.name)
        if trial.workload == workload and counts and value > 0:
            rate = value if metric.better == "higher" else 1 / value
            found.setdefault(trial.ratio, []).append(_observed(record, trial, metric, rate))
    return found


def undisturbed(many: Sequence[Observed]) -> list[Observed]:
    """Those trials of a ratio that were not held up by something else, as by a daemon that moves data about: which are
    not less than half as fast as the fastest."""
    fastest = max(one.rate for one in many)
    return [one for one in many if one.rate >= _HELD_UP * fastest]


def _observed(record: Record, trial: Trial, metric: Metric, rate: float) -> Observed:
    phases = Usage.from_json(trial.usage).phases if trial.usage else {}
    seen = {
        name: phase
        for name, phase in phases.items()
        if any("cpu" in host.resources for host in phase.hosts.values()) and phase.active_s > _ACTIVE * phase.duration_s
    }
    name = metric.one_of({each: phase.duration_s for each, phase in seen.items()})
    if name is None:
        return Observed(rate, None, False)
    own = "+" not in name
    placement = record.info.placements[trial.ratio]
    return Observed(rate, dict(_used(record, seen[name], placement, own, rate)), own)


def _used(
    record: Record, phase: PhaseUsage, placement: Mapping[str, Sequence[str]], own: bool, rate: float
) -> Iterator[tuple[str, dict[str, float]]]:
    """What each node used for a unit. Nodes of a host that have one role are taken to use as much each."""
    busy = phase.active_s / phase.duration_s if own else 1.0
    role_of = record.role_of
    for resource in RESOURCES:
        by_node: dict[str, float] = {}
        for host, nodes in placement.items():
            amount, roles = _of_host(phase.hosts.get(host), resource, record.capacity.get(resource, 0.0))
            for role, share in (roles or {role_of[node]: 1.0 for node in nodes[:1]}).items():
                its = [node for node in nodes if role_of[node] == role]
                for node in its:
                    by_node[node] = amount * share / len(its) * busy / rate
        yield resource, {node: by_node.get(node, 0.0) for node in record.nodes}


def _of_host(host: HostUsage | None, resource: str, capacity: float) -> tuple[float, Mapping[str, float]]:
    """What a host used of a resource per second, and the parts of its roles."""
    if host is None or resource not in host.resources:
        return 0.0, {}
    use = host.resources[resource]
    return use.mean * capacity, use.roles


def typical(many: Sequence[Observed]) -> tuple[dict[str, dict[str, float]], bool] | None:
    """What a unit uses, as a median over trials, of those that were seen themselves if there are any; and whether they
    were. None where telemetry told nothing."""
    own = [each for each in many if each.own and each.used is not None]
    chosen = own or [each for each in many if each.used is not None]
    if not chosen:
        return None
    known = [each.used for each in chosen if each.used is not None]
    used = {
        resource: {node: median(each[resource][node] for each in known) for node in known[0][resource]}
        for resource in RESOURCES
    }
    return used, bool(own)


def idle(record: Record) -> dict[str, float]:
    """Role -> CPU seconds per second that a node of it uses with nothing to do, as far as some were seen like that
    unfolded: in an operation that has little traffic with them. It is no operation's, and where CPU is short daemons
    take less of it (so it was with MooseFS's chunk servers)."""
    found: dict[str, float] = {}
    for workload, metrics in record.info.metrics.items():
        for metric in metrics:
            for one in observed(record, workload, metric).get(UNFOLDED, ()):
                if one.used is None:
                    continue
                for node, role in record.role_of.items():
                    traffic = (one.used["nic_up"][node] + one.used["nic_down"][node]) * one.rate
                    if role not in record.clients and traffic < _IDLE_BYTE_S:
                        cpu_s = one.used["cpu"][node] * one.rate
                        found[role] = min(found.get(role, cpu_s), cpu_s)
    return found


def noise(record: Record, least: float, trials: int) -> float:
    """Standard deviation of a trial's logarithm, pooled over metrics and ratios, and drawn towards `least` as if that
    had been found in so many trials."""
    squares, count = least**2 * trials, float(trials)
    for workload, metrics in record.info.metrics.items():
        for metric in metrics:
            for many in observed(record, workload, metric).values():
                logs = np.log([each.rate for each in many])
                squares += float(((logs - logs.mean()) ** 2).sum())
                count += len(many) - 1
    return float((squares / count) ** 0.5)


def unfolded(record: Record) -> float:
    """The ratio at which each node had a host. UserError if there was none, or no other ratio."""
    ratios = record.measured
    if UNFOLDED not in ratios:
        raise UserError(
            f"{record.name}: nothing was measured at ratio 1, where it shows what each node uses; measure ratios 1 "
            "and 2"
        )
    if len(ratios) < 2:
        raise UserError(
            f"{record.name}: only ratio 1 was measured, which says nothing of what folding costs; add ratio 2 to its "
            "study and run it on"
        )
    return UNFOLDED
