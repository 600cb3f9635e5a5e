"""How far `pliant predict` was right: recorded runs, predicted from their ratios 1 and 2, and from each other.

    python -m benchmarks.predicted                      all of it, in some seconds
    python -m benchmarks.predicted --each               and every value
    python -m benchmarks.predicted --record RUN...      take a run among those in benchmarks/predicted_runs/

It needs nothing but what is in the repository. The recorded runs are real ones of GlusterFS, MooseFS and CephFS, whose
study files are beside them.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import click
import numpy as np

from pliant.analysis.modelled import Target
from pliant.analysis.observed import Record, observed, records
from pliant.analysis.predicting import Curve, predict
from pliant.composition.mixes import mixes
from pliant.composition.placement import hosts_for
from pliant.model.demand import Demand
from pliant.model.fluid import Flows, makespan, rates
from pliant.model.folding import Ranks, flows
from pliant.results.store import Store

RUNS = Path(__file__).parent / "predicted_runs"
CONFIDENCES = (0.5, 0.8, 0.95)


# What was recorded


def recorded() -> list[Record]:
    """All runs that are in the repository."""
    found = []
    for file in sorted(RUNS.glob("*.json.gz")):
        found.append(Record.from_json(json.loads(gzip.decompress(file.read_bytes()))))
    return found


def record(run: Path) -> None:
    """Take a run among those that are recorded, with its study file."""
    with Store.open(run) as store:
        (found,) = records(store, run.resolve().name)
        toml = store.study_toml()
    text = json.dumps(found.to_json(), separators=(",", ":"))
    (RUNS / f"{found.name}.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (RUNS / f"{found.name}.toml").write_text(toml)


# Predicted and measured


@dataclass(frozen=True)
class Compared:
    """A value that was predicted, and what was measured then; `within` says for which of CONFIDENCES it was inside."""

    run: str
    filesystem: str
    metric: str
    ratio: float
    predicted: float
    measured: float
    within: tuple[bool, ...]

    @property
    def error(self) -> float:
        """By which part the prediction is off."""
        return abs(self.predicted / self.measured - 1)


@dataclass(frozen=True)
class Broken:
    """Where a metric broke and where it was predicted to, in steps of the ratios that were measured."""

    run: str
    metric: str
    measured: int
    predicted: int


def means(run: Record, curve: Curve) -> dict[float, float]:
    """What was measured of a metric at each ratio: geometric means."""
    found = observed(run, curve.workload, curve.metric)
    return {ratio: float(np.exp(np.mean(np.log([each.rate for each in many])))) for ratio, many in found.items()}


def compare(run: Record, known: Sequence[Record], skip: int) -> tuple[list[Compared], list[Broken]]:
    """A run as it was measured, and as `known` predict it, from its ratio number `skip` on."""
    info = run.info
    target = Target(info.roles, info.strategy, run.capacity, run.measured, info.max_loss)
    told = [predict(known, replace(target, confidence=confidence)).curves for confidence in CONFIDENCES]
    compared, broken = [], []
    for curves in zip(*told, strict=True):
        curve = curves[-1]
        measured = means(run, curve)
        for place, row in enumerate(curve.rows):
            if place >= skip and row.ratio in measured:
                value = measured[row.ratio]
                inside = tuple(each.rows[place].low <= value <= each.rows[place].high for each in curves)
                compared.append(
                    Compared(run.name, info.filesystem, curve.metric.name, row.ratio, row.value, value, inside)
                )
        ratios = [row.ratio for row in curve.rows if row.ratio in measured]
        seen = next((r for r in ratios if 1 - measured[r] / measured[ratios[0]] > info.max_loss), None)
        broken.append(Broken(run.name, curve.metric.name, _step(ratios, seen), _step(ratios, curve.breaks_at)))
    return compared, broken


def _step(ratios: Sequence[float], ratio: float | None) -> int:
    return len(ratios) if ratio is None else ratios.index(ratio)


def same(runs: Iterable[Record]) -> tuple[list[Compared], list[Broken]]:
    """Every run, calibrated on its two smallest ratios, at its others."""
    compared: list[Compared] = []
    broken: list[Broken] = []
    for run in runs:
        found = compare(run, [run.at(run.measured[:2])], skip=2)
        compared += found[0]
        broken += found[1]
    return compared, broken


def others(runs: Sequence[Record]) -> tuple[list[Compared], list[Broken]]:
    """Every run at all of its ratios, from each single run of the same file system on other nodes or hosts."""
    compared: list[Compared] = []
    broken: list[Broken] = []
    for run in runs:
        for known in runs:
            if known is not run and _alike(known, run):
                found = compare(run, [known], skip=0)
                compared += found[0]
                broken += found[1]
    return compared, broken


def _alike(one: Record, other: Record) -> bool:
    """Whether both are of one file system, set up the same."""
    return (one.info.filesystem, dict(one.info.filesystem_options)) == (
        other.info.filesystem,
        dict(other.info.filesystem_options),
    )


def repeated(runs: Iterable[Record]) -> list[float]:
    """By which part a trial is off the mean of the others of its ratio: what no prediction can know."""
    found = []
    for run in runs:
        for workload, metrics in run.info.metrics.items():
            for metric in metrics:
                for many in observed(run, workload, metric).values():
                    for at, one in enumerate(many):
                        others_ = [each.rate for each in many[:at] + many[at + 1 :]]
                        if others_:
                            found.append(abs(float(np.exp(np.mean(np.log(others_)))) / one.rate - 1))
    return found


# The class solver and the full one


def demands(servers: int, clients: int) -> Demand:
    """An operation that uses all of a cluster: CPU of both, the NIC each way, disks of servers."""
    many = np.array([servers, clients], dtype=np.float64)
    return Demand(
        ("server", "client"),
        many,
        {
            "cpu": np.array([2e-3, 1e-3]) / many,
            "disk_read": np.array([2e5, 0.0]) / many,
            "disk_write": np.array([5e5, 0.0]) / many,
        },
        np.array([[3e5, 1e5], [1e6, 0.0]]) / many[:, None],
    )


CAPACITY = {"cpu": 0.2, "nic_up": 25e6, "nic_down": 25e6, "disk_read": 60e6, "disk_write": 60e6}


def by_class(servers: int, clients: int, ratio: float) -> Flows:
    """The problem with hosts that carry the same as one class."""
    hosts = hosts_for(servers + clients, ratio)
    found = mixes({"server": servers, "client": clients}, hosts, "spread", {"client"})
    rows, counts = np.array(list(found), dtype=np.float64), np.array(list(found.values()), dtype=np.float64)
    return flows(demands(servers, clients), [1], rows, counts, CAPACITY, Ranks(1, 2e-3))


def in_full(servers: int, clients: int, ratio: float) -> Flows:
    """The same with each host and each client by itself."""
    total, demand = servers + clients, demands(servers, clients)
    hosts = hosts_for(total, ratio)
    host_of = np.arange(total) % hosts
    on_server, on_client = host_of[:servers], host_of[servers:]
    serving = np.bincount(on_server, minlength=hosts).astype(np.float64)
    columns = []
    for host in on_client:
        own = np.zeros(hosts)
        own[host] = 1.0
        part = serving / servers
        to_servers, to_client = demand.traffic[1, 0] * clients, demand.traffic[0, 1] * servers
        # A server's peers that are not on its host.
        among = demand.traffic[0, 0] * serving * (servers - serving) / max(servers - 1, 1)
        columns.append(
            np.concatenate(
                [
                    serving * demand.amounts["cpu"][0] + own * demand.amounts["cpu"][1] * clients,
                    serving * demand.amounts["disk_read"][0],
                    serving * demand.amounts["disk_write"][0],
                    part * to_client * (1 - own) + own * to_servers * (1 - part[host]) + among,
                    part * to_servers * (1 - own) + own * to_client * (1 - part[host]) + among,
                ]
            )
        )
    names = ("cpu", "disk_read", "disk_write", "nic_up", "nic_down")
    capacity = np.concatenate([np.full(hosts, CAPACITY[name]) for name in names])
    return Flows(capacity, np.column_stack(columns), np.ones(clients), np.full(clients, 1 / 2e-3))


def solved(problem: Flows) -> tuple[float, float]:
    """What all flows move per second at first, and how long a unit of each takes."""
    return float(problem.many @ rates(problem)), makespan(problem, 1.0)


# What is told


def tell(runs: Sequence[Record], each: bool) -> Iterator[str]:
    """The validation, line by line."""
    yield f"{len(runs)} runs, {sum(len(run.trials) for run in runs)} trials"
    yield f"a trial is off the mean of the others of its ratio by {median(repeated(runs)):.1%}, a median"
    for title, (compared, broken) in (
        ("the same cluster, calibrated on its two smallest ratios", same(runs)),
        ("other clusters, from one run each of another size or other hosts", others(runs)),
    ):
        yield from ("", title)
        if each:
            yield from (
                f"  {one.run:20} {one.metric:16} ratio {one.ratio:<5.3g} measured {one.measured:8.4g} predicted "
                f"{one.predicted:8.4g} ({one.predicted / one.measured - 1:+.0%})"
                for one in compared
            )
        yield from _errors(compared)
        exact = sum(one.measured == one.predicted for one in broken)
        near = sum(abs(one.measured - one.predicted) <= 1 for one in broken)
        yield f"  break: right in {exact / len(broken):.0%}, right or one step off in {near / len(broken):.0%}"
        inside = [sum(one.within[at] for one in compared) / len(compared) for at in range(len(CONFIDENCES))]
        said = ", ".join(f"{told:.0%} have {found:.0%}" for told, found in zip(CONFIDENCES, inside, strict=True))
        yield f"  intervals of {said} of what was measured"
    yield from ("", "the class solver against the full one, 1,000 nodes")
    yield from _solvers()


def _errors(compared: Sequence[Compared]) -> Iterator[str]:
    for filesystem in sorted({one.filesystem for one in compared}):
        mine = [one for one in compared if one.filesystem == filesystem]
        by_metric = {
            name: median(one.error for one in mine if one.metric == name)
            for name in dict.fromkeys(one.metric for one in mine)
        }
        parts = ", ".join(f"{name} {error:.0%}" for name, error in by_metric.items())
        yield f"  {filesystem}: median error {median(one.error for one in mine):.1%} of {len(mine)} ({parts})"
    yield f"  all: median error {median(one.error for one in compared):.1%} of {len(compared)}"


def _solvers() -> Iterator[str]:
    worst = 0.0
    for servers in (100, 300, 500):
        for ratio in (1, 2, 3.7, 10, 45):
            few, all_of_it = (
                solved(by_class(servers, 1000 - servers, ratio)),
                solved(in_full(servers, 1000 - servers, ratio)),
            )
            worst = max(worst, *(abs(one / other - 1) for one, other in zip(few, all_of_it, strict=True)))
    yield f"  largest difference of rates and makespans {worst:.2e}"
    begin_s = time.monotonic()
    for ratio in (1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32):
        solved(by_class(20_000, 80_000, ratio))
    yield f"  100,000 nodes at 11 ratios: {time.monotonic() - begin_s:.2f} s"


@click.command(help=__doc__)
@click.option("--record", "taken", multiple=True, type=click.Path(path_type=Path, exists=True), help="Take a run.")
@click.option("--each", is_flag=True, help="Every value.")
def main(taken: tuple[Path, ...], each: bool) -> None:
    """See the top of this file."""
    for run in taken:
        record(run)
    for line in tell(recorded(), each):
        print(line)


if __name__ == "__main__":
    main()
