"""What a cluster of 512 nodes takes of one machine: studies/large.toml, deployed, verified, refolded, and used."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np

from pliant.campaign import places
from pliant.campaign.deploying import bring_up
from pliant.campaign.preparation import Prepared, prepare
from pliant.cluster import mpi
from pliant.cluster.cluster import Cluster
from pliant.errors import PliantError
from pliant.study.reading import load
from pliant.telemetry.samples import read
from pliant.units import format_size

from .figures import Figure
from .machine import FAILURES, Bench, available_bytes, short

STUDY = Path(__file__).parents[1] / "studies" / "large.toml"
HOW = """studies/large.toml: 64 servers and 448 clients of Gfarm on one machine, once. Each step of the deployment by
the clock, limits off, as `pliant run` has it; then every node to the hosts of the next ratio and back; a program that
does nothing in every client, from the first that is started to the last that ended; as many MPI ranks, which meet once;
the sampler for three seconds; the removal. Memory: `MemAvailable` after `echo 3 > /proc/sys/vm/drop_caches`, before and
after, by node; of one role the median of what its nodes' processes have (Pss, smaps_rollup, proc(5))."""
_MEET = "from mpi4py import MPI; MPI.COMM_WORLD.Barrier()"
_SAMPLED_S = 3.0

Result = TypeVar("Result")


def run(bench: Bench) -> None:
    """Figures of one deployment."""
    with bench.part("large", HOW):
        try:
            study = load(STUDY)
            with places.opened(study) as place:
                (prepared,) = prepare(study, place)
                _deployed(_Clock(bench, f"{len(study.nodes)} nodes"), prepared)
        except PliantError as error:
            bench.add(Figure("large", "the rest of this part", "", failed=short(error)))


class _Clock:
    """Takes the time of one thing after the other, each a figure."""

    def __init__(self, bench: Bench, who: str) -> None:
        self.bench, self.who = bench, who
        self._step, self._began = "", 0.0

    def add(self, what: str, unit: str, value: float) -> None:
        """A figure."""
        self.bench.add(Figure("large", f"{self.who}: {what}", unit, (value,)))

    def took(self, what: str, do: Callable[[], Result]) -> Result | None:
        """How long something takes; what fails does not stop what comes after."""
        begin = time.monotonic()
        try:
            result = do()
        except (*FAILURES, PliantError) as error:
            self.bench.add(Figure("large", f"{self.who}: {what}", "s", failed=short(error)))
            return None
        self.add(what, "s", time.monotonic() - begin)
        return result

    def step(self, name: str) -> None:
        """The deployment begins with a step, so that the one before has been done; "" is the end of all."""
        now = time.monotonic()
        if self._step:
            self.add(f"deployed, {self._step}", "s", now - self._began)
        self._step, self._began = name, now


def _deployed(clock: _Clock, prepared: Prepared) -> None:
    study, free, begin = prepared.study, available_bytes(), time.monotonic()
    cluster = bring_up(prepared, study.baseline, said=clock.step)
    try:
        clock.step("")
        clock.add("deployed", "s", time.monotonic() - begin)
        clock.add("memory of a node", "MiB", (free - available_bytes()) / len(study.nodes) / 2**20)
        for role, size_bytes in _by_role(cluster).items():
            clock.bench.say(f"large: a {role} has {format_size(round(size_bytes))}")
            clock.add(f"memory of the processes of a {role}", "MiB", size_bytes / 2**20)
        clock.took("verified", cluster.verify)
        clock.took("every node asked how it is", lambda: cluster.health(timeout_s=60.0))
        for ratio in (*study.ratios[1:2], study.baseline):
            clock.took(f"refolded to ratio {ratio:g}", lambda ratio=ratio: cluster.refold(study.placements[ratio]))  # type: ignore[misc]
        _in_clients(clock, prepared, cluster)
        _sampled(clock, cluster)
    finally:
        clock.took("removed", cluster.close)


def _by_role(cluster: Cluster) -> dict[str, float]:
    """Role -> bytes that the processes of one of its nodes have, in the median."""
    found: dict[str, list[int]] = {}
    deployment = cluster.deployment
    for node in cluster.composition.nodes:
        pids = deployment.cgroups.pids(deployment.group_of(node.name))  # type: ignore[attr-defined]
        found.setdefault(node.role, []).append(sum(map(_pss_bytes, pids)))
    return {role: median(sizes) for role, sizes in found.items()}


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        known = re.search(r"^Pss: +([0-9]+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(known[1]) * 1024 if known else 0
    return 0


def _in_clients(clock: _Clock, prepared: Prepared, cluster: Cluster) -> None:
    """What it takes to have something run in every client."""
    clients, machines = [node.name for node in cluster.composition.clients], prepared.place.machines
    nothing = dict.fromkeys(clients, ("true",))
    clock.took("a program in every client", lambda: cluster.each(nothing, mark="large", timeout_s=120.0))
    own, argv = mpi.find(None, None, machines), [machines.own.python, "-I", "-c", _MEET]
    clock.took(
        f"{len(clients)} MPI ranks",
        lambda: cluster.mpi(own, argv, dict.fromkeys(clients, 1), mark="large", timeout_s=200.0),
    )


def _sampled(clock: _Clock, cluster: Cluster) -> None:
    """What the sampler takes of a CPU."""
    out = cluster.deployment.directory / "large.samples"
    with cluster.deployment.telemetry(out):
        time.sleep(_SAMPLED_S)
    samples = read(out.read_text())
    used_s = float(samples.total("sampler/cpu_s")[-1])
    clock.add(f"sampled, {len(samples.columns)} counters", "CPU", used_s / float(np.ptp(samples.time_s)))
