"""Two runs of the quickstart on a rented machine whose neighbours took 4 to 21 % of the CPU, as they were recorded.

They are from before hosts were fair to their nodes and had a metronome: the steal that the hypervisor tells of is all
that is known of them.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import replace
from pathlib import Path

import pytest
import runs

from pliant.analysis.conclusions import judged
from pliant.telemetry import disturbance
from pliant.telemetry.samples import Promise, read
from pliant.trial import Trial

RECORDED = Path(__file__).parent / "data" / "neighbours"
PROMISE = Promise(0.2, 200e6, 60e6, 2**30)


def recorded(name: str) -> list[Trial]:
    """The trials of ior of a run, each with what its telemetry says of it as a whole."""
    with (RECORDED / name / "trials.csv").open() as file:
        rows = [*csv.DictReader(file)]
    found = []
    for path in sorted((RECORDED / name).glob("*.gz")):
        number = int(path.name[:4])
        mine = [row for row in rows if int(row["number"]) == number]
        hosts, samples = int(mine[0]["hosts"]), read(gzip.decompress(path.read_bytes()).decode())
        placement = {f"host{host + 1}": runs.NODES[host::hosts] for host in range(hosts)}
        whole = {"ior": (float(samples.time_s[0]), float(samples.time_s[-1]))}
        did = disturbance.disturbances(samples, whole, placement, PROMISE, 2)["ior"]
        entry = did.to_json(disturbance.bearable(0.05))
        found.append(
            Trial(
                number=number,
                workload="ior",
                ratio=float(mine[0]["ratio"]),
                hosts=hosts,
                repetition=number,
                attempt=1,
                state="done",
                started_at="",
                metrics={row["metric"]: float(row["value"]) for row in mine},
                disturbance={row["metric"]: dict(entry) for row in mine},
            )
        )
    return found


@pytest.fixture(scope="module")
def disturbed() -> list[Trial]:
    """At ratio 4 up to 21 % were taken."""
    return recorded("run1")


@pytest.fixture(scope="module")
def calmer() -> list[Trial]:
    """At ratio 4 3.6 % were taken."""
    return recorded("run2")


def test_every_trial_counts(disturbed, calmer):
    """All but one of them were thrown away, for 3 to 21 % of steal."""
    trials = [*disturbed, *calmer]
    assert len(trials) == 21
    assert all(trial.counts(metric) for trial in trials for metric in trial.metrics)
    assert max(trial.disturbance["write_bandwidth"]["stolen"] for trial in trials) > 0.2


def test_what_a_nic_holds_is_hardly_corrected(disturbed, calmer):
    """Writing at ratio 1 was 64.3 to 64.6 MiB/s whatever was taken, and CPU could limit a third of the time."""
    trials = [trial for trial in (*disturbed, *calmer) if trial.ratio == 1]
    entries = [trial.disturbance["write_bandwidth"] for trial in trials]
    assert all(entry["limited"] < 0.45 for entry in entries)
    assert all(64.3 < trial.metrics["write_bandwidth"] < 64.6 for trial in trials)


def test_what_the_cpu_limits_is_corrected_towards_the_calmer_run(disturbed, calmer):
    info = runs.info(metrics={"ior": runs.METRICS["ior"]})
    told, calm = judged(info, disturbed), judged(info, calmer)
    seen = judged(info, [replace(trial, disturbance={}) for trial in disturbed])
    for one, other, blind in zip(told, calm, seen, strict=True):
        true = other.at(4.0).loss
        assert 0 < one.at(4.0).loss - true < 0.8 * (blind.at(4.0).loss - true)
        assert one.slopes["withheld"] > 0.8
        assert one.noise < 0.75 * blind.noise
    writing = told[0].at(4.0)
    assert writing.loss_low < calm[0].at(4.0).loss < writing.loss_high


def test_both_say_the_same_of_one_host(disturbed, calmer):
    info = runs.info(metrics={"ior": runs.METRICS["ior"]})
    for one, other in zip(judged(info, disturbed), judged(info, calmer), strict=True):
        assert one.at(8.0).loss == pytest.approx(other.at(8.0).loss, abs=0.01)
        assert one.at(8.0).state == other.at(8.0).state == "breaks"
