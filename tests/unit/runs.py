"""Synthetic runs, with a known truth, for the tests of store and report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pliant.power_model import PowerModel
from pliant.results.run_info import RunInfo
from pliant.results.store import Store
from pliant.study import matrix
from pliant.telemetry.usage import HostUsage, PhaseUsage, ResourceUse, Usage
from pliant.trial import Trial
from pliant.workloads.model import Metric

STUDY = """\
[study]
name = "synthetic"     # <not> a real one & proud of it
repetitions = 3
seed = 1
"""
HOSTS = {1.0: 8, 2.0: 4, 4.0: 2, 8.0: 1}
METRICS = {
    "ior": (
        Metric("write_bandwidth", "MiB/s", "higher", "write"),
        Metric("read_bandwidth", "MiB/s", "higher", "read"),
    ),
    "mdtest": tuple(
        Metric(name, "1/s", "higher", name.partition("_")[2])
        for name in ("file_create", "file_stat", "file_read", "file_remove", "dir_create", "dir_stat", "dir_remove")
    ),
}
# True medians: a baseline and, for each folded ratio, the fraction of it that is left.
TRUTH = {
    "write_bandwidth": (44.2, (0.99, 0.97, 1.02)),
    "read_bandwidth": (45.1, (0.985, 0.61, 0.99)),
    "file_create": (910.0, (0.96, 0.42, 0.146)),
    "file_stat": (4210.0, (1.12, 1.3, 1.6)),
    "file_read": (2300.0, (0.99, 0.9, 0.55)),
    "file_remove": (640.0, (0.98, 0.6, 0.3)),
    "dir_create": (420.0, (0.98, 0.8, 0.4)),
    "dir_stat": (5200.0, (1.02, 1.1, 0.97)),
    "dir_remove": (380.0, (0.97, 0.71, 0.33)),
}
NODES = [*(f"server{i}" for i in range(1, 5)), *(f"client{i}" for i in range(1, 5))]


def info(**changes) -> RunInfo:
    placements = {
        ratio: {f"host{h + 1}": tuple(NODES[h::hosts]) for h in range(hosts)} for ratio, hosts in HOSTS.items()
    }
    fields = {
        "study": "synthetic",
        "filesystem": "glusterfs",
        "platform": "emulated",
        "workflow": "dev",
        "seed": 1,
        "repetitions": 3,
        "max_loss": 0.10,
        "hosts": HOSTS,
        "metrics": METRICS,
        "roles": {"server": 4, "client": 4},
        "strategy": "spread",
        "host_cores": 0.2,
        "host_figures": "0.2 core, 200 Mbit/s each direction, disk 60 MB/s, memory 1 GiB",
        "placements": placements,
        "power": PowerModel(),
        "filesystem_options": {"volume": "distribute"},
    }
    return RunInfo(**(fields | changes))


def trials(repetitions: int = 3, noise: float = 0.015, failures: bool = True) -> list[Trial]:
    """Interleaved trials of both workloads at all ratios; with `failures`, one failed and retried, one invalid."""
    rng = np.random.default_rng(11)
    plan = [(w, r, n) for n in range(1, repetitions + 1) for r in HOSTS for w in METRICS]
    made: list[Trial] = []
    for workload, ratio, repetition in plan:
        if failures and (workload, ratio, repetition) == ("ior", 4.0, 2):
            reason = "client3: mpiexec ended with status 255: <no route to host>"
            made.append(trial(len(made) + 1, workload, ratio, repetition, "failed", reason=reason))
        if failures and (workload, ratio, repetition) == ("mdtest", 8.0, 3):
            reason = "the machine was busy: hosts got 81 % of the CPU they were promised"
            made.append(trial(len(made) + 1, workload, ratio, repetition, "invalid", reason=reason))
            continue
        values = {}
        for metric in METRICS[workload]:
            full, left = TRUTH[metric.name]
            factor = (1.0, *left)[list(HOSTS).index(ratio)]
            values[metric.name] = float(full * factor * np.exp(noise * rng.standard_normal()))
        attempt = 2 if failures and (workload, ratio, repetition) == ("ior", 4.0, 2) else 1
        made.append(trial(len(made) + 1, workload, ratio, repetition, "done", attempt, values))
    return made


def trial(number, workload, ratio, repetition, state, attempt=1, metrics=None, reason="") -> Trial:
    duration_s = 6.0 + 1.5 * ratio ** (0.5 if workload == "ior" else 0.8)
    cpu_s = {f"host{h + 1}": 0.2 * duration_s * min(0.95, 0.25 * ratio**0.7) for h in range(HOSTS[ratio])}
    started_at = f"2024-05-01T10:{number // 6:02d}:{number % 6 * 10:02d}+00:00"
    program = f"built-in kernel ({workload})"
    where = f"trials/{number:04d}"
    return Trial(
        number,
        workload,
        ratio,
        HOSTS[ratio],
        repetition,
        attempt,
        state,
        started_at,
        duration_s,
        reason,
        program,
        metrics or {},
        cpu_s,
        where,
    )


def stopped(many: list[Trial], ratio: float = 8.0) -> list[Trial]:
    """The same trials, but those of ior at a ratio were stopped while they wrote, and never came to read."""
    found = []
    for one in many:
        if (one.workload, one.ratio, one.state) == ("ior", ratio, "done"):
            reason = f"write: after {30 + one.number} s its loss is beyond 80 % whatever comes"
            bounds = {"write_bandwidth": 8.8 + one.number / 1000}
            one = replace(one, state="censored", metrics={}, bounds=bounds, reason=reason)
        found.append(one)
    return found


# Phase -> at ratio 1, 2, 4 and 8, what the busiest host uses of each resource, and for how long it is saturated.
PHASES = {"ior": {"write": 6.0, "read": 4.0}, "mdtest": {"create+stat+read+remove": 20.0}}
USE = {
    "write": {"cpu": (0.3, 0.5, 0.7, 0.8), "disk_write": (0.93, 0.96, 0.97, 0.98), "nic_up": (0.4, 0.45, 0.5, 0.1)},
    "read": {"cpu": (0.3, 0.6, 0.98, 1.02), "nic_down": (0.96, 0.9, 0.6, 0.1), "disk_read": (0.1, 0.2, 0.3, 0.5)},
    "create+stat+read+remove": {"cpu": (0.35, 0.72, 0.97, 1.03), "nic_up": (0.02, 0.03, 0.05, 0.0)},
}
RESOURCES = ("cpu", "nic_up", "nic_down", "disk_read", "disk_write")
SHARES = {"server": 0.71, "client": 0.29}


def usage(workload: str, ratio: float) -> Usage:
    """What telemetry would say: odd hosts as in USE, even ones a little less, and saturated for less than half of it.

    A resource is saturated from 0.7 of the promise on.
    """
    phases = {}
    for phase, duration_s in PHASES[workload].items():
        hosts = {}
        for number in range(1, HOSTS[ratio] + 1):
            uses = {}
            for resource in RESOURCES:
                used = USE[phase].get(resource, (0.01,) * 4)[list(HOSTS).index(ratio)]
                saturated = round(min(max(0.0, used - 0.7) / 0.3, 1.0), 3)
                part = (1.0, 1.0) if number % 2 else (0.9, 0.4)
                uses[resource] = ResourceUse(round(used * part[0], 3), round(saturated * part[1], 3), SHARES)
            hosts[f"host{number}"] = HostUsage(uses, 1 << 28, 0.5, 0)
        phases[phase] = PhaseUsage(duration_s, 0.9 * duration_s, hosts)
    return Usage(phases)


def with_usage(many: list[Trial]) -> list[Trial]:
    """The same trials, but with telemetry."""
    return [replace(t, usage={} if t.state == "failed" else usage(t.workload, t.ratio).to_json()) for t in many]


FACTS = {
    "pliant": "0.1.0",
    "kernel": "Linux 6.18.0 x86_64",
    "machine": "2 cores, 24 GiB",
    "glusterfs": "glusterfs 10.3",
    "mpi": "MPICH 5.0.0",
    "python": "3.11.7",
}


def make_cells(directory: Path, text: str, values: Sequence[Mapping[float, float]]) -> Path:
    """The directory of a matrix: a run for each cell of the study of that text, whose rates at the ratios that are
    named are so many times what they are otherwise."""
    for cell, factors in zip(matrix.cells(text, "a.toml"), values, strict=True):
        many = []
        for one in trials():
            factor = factors.get(one.ratio, 1.0)
            many.append(replace(one, metrics={name: factor * value for name, value in one.metrics.items()}))
        make_run(directory / cell.name, many, text=cell.text)
    return directory


def make_run(directory: Path, many: list[Trial] | None = None, text: str = STUDY, **changes) -> Path:
    """A run directory with a store in it, and nothing else."""
    with Store.create(directory, text, {"study": {"name": "synthetic"}}, [info(**changes)], FACTS) as store:
        for one in trials() if many is None else many:
            store.begin(one)
            store.end(one)
    return directory
