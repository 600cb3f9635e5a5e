"""Savings: the arithmetic of one pass, and what is said when something was not measured."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.power_model import DEFAULT_BUSY_W, DEFAULT_IDLE_W, PowerModel
from pliant.statistics.savings import savings
from pliant.trial import Trial

HOSTS = {1.0: 4, 2.0: 2}
POWER = PowerModel(100.0, 200.0)


def trial(workload="ior", ratio=1.0, duration_s=3600.0, cpu_s=1800.0, state="done"):
    hosts = HOSTS[ratio]
    used = {f"host{i}": cpu_s for i in range(1, hosts + 1)}
    return Trial(1, workload, ratio, hosts, 1, 1, state, "2024-01-01T00:00:00+00:00", duration_s, host_cpu_s=used)


def test_one_pass_of_one_workload():
    numbers = savings([trial(), trial(ratio=2.0)], ["ior"], HOSTS, 2.0, POWER, host_cores=1.0).to_json()
    assert (numbers["hosts_full"], numbers["hosts_folded"]) == (4, 2)
    assert (numbers["machine_hours_full"], numbers["machine_hours_folded"]) == (4.0, 2.0)
    assert numbers["energy_kwh_full"] == pytest.approx(4 * 0.150)
    assert numbers["energy_kwh_folded"] == pytest.approx(2 * 0.150)
    assert numbers["utilisation_full"] == 0.5
    json.dumps(numbers, allow_nan=False)


def test_medians_of_done_trials_and_the_sum_over_workloads():
    trials = [trial(duration_s=d, cpu_s=0.0) for d in (3600.0, 7200.0, 90000.0)]
    trials += [
        trial(duration_s=1.0, state="failed"),
        trial(duration_s=2.0, state="censored"),
        trial("mdtest", duration_s=3600.0, cpu_s=3600.0),
    ]
    full = savings(trials, ["ior", "mdtest"], HOSTS, None, POWER, 1.0).full
    assert full.machine_hours == pytest.approx(4 * 3)
    assert full.energy_kwh == pytest.approx(4 * (2 * 0.1 + 1 * 0.2))
    assert full.utilisation == pytest.approx(1 / 3)


def test_a_workload_without_trials_leaves_it_unknown():
    numbers = savings([trial()], ["ior", "mdtest"], HOSTS, 2.0, POWER, 1.0).to_json()
    assert all(numbers[f"{name}_{side}"] is None for name in ("hosts", "energy_kwh") for side in ("full", "folded"))


def test_cpu_that_was_not_measured_counts_as_busy():
    full = savings([replace(trial(), host_cpu_s={})], ["ior"], HOSTS, 1.0, POWER, 1.0).full
    assert full.utilisation is None and full.energy_kwh == pytest.approx(4 * 0.2)


def test_what_was_measured_is_in_place_of_the_model():
    found = savings([trial(), trial(ratio=2.0)], ["ior"], HOSTS, 2.0, POWER, 1.0, measured={1.0: 120.0, 2.0: 180.0})
    assert found.how == "measured" and found.to_json()["power"]["measured_w"] == {"1": 120.0, "2": 180.0}
    assert found.full.energy_kwh == pytest.approx(4 * 0.120) and found.folded.energy_kwh == pytest.approx(2 * 0.180)
    assert found.study.energy_kwh == pytest.approx(4 * 0.120 + 2 * 0.180)


def test_like_is_compared_with_like_where_a_ratio_was_not_measured():
    trials = [trial(), trial(ratio=2.0)]
    found = savings(trials, ["ior"], HOSTS, 2.0, POWER, 1.0, measured={1.0: 120.0})
    assert found == savings(trials, ["ior"], HOSTS, 2.0, POWER, 1.0)
    assert found.how == "modelled"


@pytest.mark.parametrize(("idle", "busy"), [(-1.0, 5.0), (10.0, 5.0), (1.0, float("inf")), (float("nan"), 5.0)])
def test_impossible_powers_are_refused(idle, busy):
    with pytest.raises(ValueError, match="draw"):
        PowerModel(idle, busy)


def test_impossible_cores_are_refused():
    with pytest.raises(ValueError, match="cores"):
        savings([], [], HOSTS, None, POWER, 0.0)


def test_the_source_of_the_watts_is_named():
    assert PowerModel(10.0, 20.0, "a wattmeter").source == "a wattmeter"
    assert "taurus" in PowerModel().source and "taurus" not in POWER.source


@given(st.floats(-1, 3))
def test_power_stays_between_idle_and_busy(utilisation):
    assert DEFAULT_IDLE_W <= PowerModel().watts(utilisation) <= DEFAULT_BUSY_W
