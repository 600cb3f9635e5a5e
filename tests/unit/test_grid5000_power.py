"""Samples of wattmetres, as Grid'5000 gives them, become watts and joules of a span."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone

import pytest

from pliant.schedulers.grid5000_power import METRIC, mean, series, with_wattmetre

CLUSTER = {
    "metrics": [
        {"name": "bmc_node_power_watt", "period": 5000},
        {"name": METRIC, "only_for": ["gros-41", "gros-42"], "period": 1000, "optional_period": 20},
    ]
}


def sample(moment, watts, host="gros-41", metric=METRIC):
    return {"timestamp": moment, "device_id": host, "metric_id": metric, "value": watts, "labels": {}}


def test_which_hosts_have_a_wattmetre():
    hosts = ["gros-40.nancy.grid5000.fr", "gros-41.nancy.grid5000.fr", "gros-42"]
    assert with_wattmetre(CLUSTER, hosts) == ["gros-41", "gros-42"]
    assert with_wattmetre({"metrics": [{"name": METRIC}]}, hosts) == ["gros-40", "gros-41", "gros-42"]
    assert with_wattmetre({"metrics": CLUSTER["metrics"][:1]}, hosts) == with_wattmetre({}, hosts) == []


def test_samples_are_ordered_and_merged():
    zone = timezone(timedelta(hours=1))
    told = datetime.fromtimestamp(100.5, zone).isoformat()
    found = series(
        [
            sample(102, 12.0),
            sample(told, 10.0),
            sample(told, 10.0),
            sample(102, 14),
            sample(101, 7, "gros-42.nancy.grid5000.fr"),
        ]
    )
    assert found == {"gros-41": [(100.5, 10.0), (102.0, 13.0)], "gros-42": [(101.0, 7.0)]}


@pytest.mark.parametrize(
    "odd",
    [
        None,
        [],
        "text",
        sample(1, 5, metric="bmc_node_power_watt"),
        sample(1, None),
        sample(1, math.nan),
        sample(1, -3),
        sample("yesterday", 5),
        sample("2026-03-02T10:00:00", 5),  # in which zone?
        sample(None, 5),
    ],
)
def test_what_is_no_sample_is_left_out(odd):
    assert series([odd]) == {}


def test_a_steady_host():
    found = mean("a", [(t, 100.0) for t in range(20)], 5, 15)
    assert found is not None
    assert (found.mean_w, found.energy_j, found.covered, found.samples) == (100.0, 1000.0, 1.0, 11)


def test_samples_count_for_the_time_they_stand_for():
    # Twenty a second for two seconds, then one a second: the average is over time, not over samples.
    dense = [(i / 20, 200.0) for i in range(41)]
    sparse = [(2.0 + i, 100.0) for i in range(1, 9)]
    found = mean("a", [*dense, *sparse], 0, 10)
    assert found is not None and found.mean_w == pytest.approx((2 * 200 + 150 + 7 * 100) / 10)


def test_a_ramp_is_cut_at_the_edges_of_the_span():
    found = mean("a", [(0.0, 0.0), (4.0, 400.0)], 1, 2)
    assert found is not None and (found.mean_w, found.energy_j, found.samples) == (150.0, 150.0, 0)


def test_a_gap_is_not_bridged_but_told():
    samples = [*((float(t), 100.0) for t in range(4)), *((float(t), 200.0) for t in range(7, 11))]
    whole, holed = mean("a", samples, 0, 10), mean("a", samples, 0, 10, longest_gap_s=2)
    assert whole is not None and whole.covered == 1.0 and whole.mean_w == pytest.approx(150)
    assert holed is not None and holed.covered == pytest.approx(0.6)
    assert (holed.mean_w, holed.energy_j) == (pytest.approx(150), pytest.approx(1500))


@pytest.mark.parametrize("samples", [[], [(5.0, 1.0)], [(0.0, 1.0), (20.0, 1.0)], [(11.0, 1.0), (12.0, 1.0)]])
def test_too_few_samples_say_nothing(samples):
    assert mean("a", samples, 0, 10) is None


def test_a_span_without_length():
    with pytest.raises(ValueError, match="has no length"):
        mean("a", [], 5, 5)
