"""Synthetic runs of a cluster whose demands are known, with telemetry that tells of them, for tests of predictions."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import runs

from pliant.composition.placement import Placement, hosts_for, nodes_for, place
from pliant.model.calibration import Draws, Loads
from pliant.results.store import Store
from pliant.telemetry.usage import HostUsage, PhaseUsage, ResourceUse, Usage
from pliant.workloads.model import Metric

CORES, NIC_BYTE_S, DISK_BYTE_S = 0.2, 25e6, 60e6
METRICS = {
    "mdtest": (Metric("file_create", "op/s", "higher", "file-create"),),
    "ior": (Metric("read_bandwidth", "MiB/s", "higher", "read"),),
}
CPU_S = {"file_create": {"server": 1.2e-3, "client": 0.6e-3}, "read_bandwidth": {"server": 1e-3, "client": 1e-3}}
"""Of a unit, of all nodes of a role together."""
BYTES = {"file_create": 1000.0, "read_bandwidth": 1.05e6}
"""That a server sends a client for a unit."""
ALONE_S = {"file_create": 1.5e-3, "read_bandwidth": 5e-3}
GROWTH = 0.2


def true_rate(metric: str, roles: dict[str, int], hosts: int, folded: tuple[str, ...] = ()) -> float:
    """Units per second of such a cluster on so many hosts, of which nodes of the roles that are not folded have one
    each."""
    placed = placement(roles, hosts, folded).hosts
    cpu, nic, nodes, local = [], [], [], []
    for names in placed:
        many = {role: sum(name.startswith(role) for name in names) for role in roles}
        cpu.append(sum(many[role] * CPU_S[metric][role] / roles[role] for role in roles) / CORES)
        up = many["server"] / roles["server"] * (1 - many["client"] / roles["client"])
        down = many["client"] / roles["client"] * (1 - many["server"] / roles["server"])
        nic.append(max(up, down) * BYTES[metric] / NIC_BYTE_S)
        nodes.append(float(len(names)))
        local.append(_local(many, roles))
    one, none = np.ones(1), np.zeros(len(placed))
    loads = Loads(np.array(cpu), np.array(nic), none, none, np.array(nodes), np.array(local), float(roles["client"]))
    draws = Draws(one, one * 7, one * 1.8, one * GROWTH, one, one * ALONE_S[metric], 0.0, one)
    return 1 / float(draws.seconds(loads)[0])


def placement(roles: dict[str, int], hosts: int, folded: tuple[str, ...]) -> Placement:
    """Where the nodes are on so many hosts in all."""
    alone = sum(count for role, count in roles.items() if folded and role not in folded)
    return place(nodes_for(roles), hosts - alone, "spread", {"client"}, folded)


def _local(many: dict[str, int], roles: dict[str, int]) -> float:
    """Which part of the traffic of a host's nodes stays between them."""
    whole = many["server"] / roles["server"] + many["client"] / roles["client"]
    return 2 * many["server"] / roles["server"] * many["client"] / roles["client"] / whole


def usage_of(metric: Metric, roles: dict[str, int], placed: Placement, rate: float, job: bool = False) -> Usage:
    """What telemetry would see of it."""
    found = {}
    for host, names in zip(placed.host_names, placed.hosts, strict=True):
        many = {role: sum(name.startswith(role) for name in names) for role in roles}
        each = {role: many[role] * CPU_S[metric.name][role] / roles[role] for role in roles}
        grown = (1 + GROWTH * np.log2(len(names)) / 3) * (1 - 0.2 * _local(many, roles))
        cpu = sum(each.values())
        up = many["server"] / roles["server"] * (1 - many["client"] / roles["client"]) * BYTES[metric.name]
        down = many["client"] / roles["client"] * (1 - many["server"] / roles["server"]) * BYTES[metric.name]
        found[host] = HostUsage(
            {
                "cpu": ResourceUse(
                    cpu * grown * rate / CORES, 0.0, {r: part / cpu for r, part in each.items() if part}
                ),
                "nic_up": ResourceUse(up * rate / NIC_BYTE_S, 0.0, {"server": 1.0} if up else {}),
                "nic_down": ResourceUse(down * rate / NIC_BYTE_S, 0.0, {"client": 1.0} if down else {}),
                "disk_read": ResourceUse(0.0, 0.0, {}),
                "disk_write": ResourceUse(0.0, 0.0, {}),
            },
            1 << 20,
            0.0,
            0,
        )
    return Usage({f"{metric.phase}+stat" if job else metric.phase: PhaseUsage(4.0, 4.0, found)})


def make_run(
    directory: Path,
    roles: dict[str, int],
    ratios=(1.0, 2.0),
    scatter=0.02,
    telemetry=True,
    conditions=True,
    limits=1,
    folded=(),
    **changes,
) -> Path:
    """A run directory of that cluster, three trials of each workload at each ratio."""
    total, chance = sum(roles.values()), np.random.default_rng(5)
    placements, hosts = {}, {}
    for ratio in ratios:
        alone = sum(count for role, count in roles.items() if folded and role not in folded)
        hosts[ratio] = alone + hosts_for(total - alone, ratio)
        placed = placement(roles, hosts[ratio], folded)
        placements[ratio] = dict(zip(placed.host_names, placed.hosts, strict=True))
    fields = {
        "folded": folded,
        "hosts": hosts,
        "metrics": METRICS,
        "roles": roles,
        "placements": placements,
        "max_loss": 0.15,
    }
    about = runs.info(**(fields | {"folded": folded, "label": "glusterfs", "platform": "emulated"} | changes))
    workloads = [{"name": name, "ranks_per_client": 1} for name in METRICS]
    host = {"cores": CORES, "nic_bit_s": NIC_BYTE_S * 8 * limits, "disk_byte_s": DISK_BYTE_S * limits}
    document = {"study": {"name": "synthetic"}, "filesystem": {"name": "glusterfs"}, "workload": workloads}
    with Store.create(directory, runs.STUDY, document, [about], runs.FACTS) as store:
        if conditions:
            store.set_documents({"conditions": json.dumps({"glusterfs": {"host": host}})})
        number = 0
        for workload, (metric,) in METRICS.items():
            for ratio in ratios:
                rate, placed = (
                    true_rate(metric.name, roles, hosts[ratio], folded),
                    placement(roles, hosts[ratio], folded),
                )
                seen = usage_of(metric, roles, placed, rate).to_json() if telemetry else {}
                for repetition in (1, 2, 3):
                    number += 1
                    value = float(rate * np.exp(scatter * chance.standard_normal()))
                    one = runs.trial(number, workload, 1.0, repetition, "done", metrics={metric.name: value})
                    one = replace(one, ratio=ratio, hosts=hosts[ratio], usage=seen)
                    store.begin(one)
                    store.end(one)
    return directory
