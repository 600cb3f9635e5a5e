"""Synthetic runs, with a known truth, for the tests of store and report."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pliant.savings import PowerModel
from pliant.store import RunInfo, Store
from pliant.trial import Trial
from pliant.workloads import Metric

STUDY = """\
[study]
name = "synthetic"     # <not> a real one & proud of it
repetitions = 3
seed = 1
"""
HOSTS = {1.0: 8, 2.0: 4, 4.0: 2, 8.0: 1}
METRICS = {
    "ior": (Metric("write_bandwidth", "MiB/s", "higher"), Metric("read_bandwidth", "MiB/s", "higher")),
    "mdtest": tuple(
        Metric(name, "1/s", "higher")
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


FACTS = {
    "pliant": "0.1.0",
    "kernel": "Linux 6.18.0 x86_64",
    "machine": "2 cores, 24 GiB",
    "glusterfs": "glusterfs 10.3",
    "mpi": "MPICH 5.0.0",
    "python": "3.11.7",
}


def make_run(directory: Path, many: list[Trial] | None = None, **changes) -> Path:
    """A run directory with a store in it, and nothing else."""
    with Store.create(directory, STUDY, {"study": {"name": "synthetic"}}, info(**changes), FACTS) as store:
        for one in trials() if many is None else many:
            store.begin(one)
            store.end(one)
    return directory
