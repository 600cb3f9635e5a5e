"""What a search saved against the grid that would have decided as much."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pliant.statistics.search_cost import saved
from pliant.statistics.verdict import Series, bounds_by_ratio, by_ratio, judge
from pliant.trial import Trial
from pliant.workloads.model import Metric

METRIC = Metric("write", "MiB/s", "higher")
HOSTS = {1.0: 8, 2.0: 4, 4.0: 2, 8.0: 1}
LOSSES = {1.0: 0.0, 2.0: 0.02, 4.0: 0.4, 8.0: 0.7}


def trials(counts: dict[float, int], noise: float = 0.08) -> list[Trial]:
    chance = np.random.default_rng(2)
    found = []
    for repetition in range(1, max(counts.values()) + 1):
        for ratio in [ratio for ratio, count in counts.items() if repetition <= count]:
            value = 100 * (1 - LOSSES[ratio]) * math.exp(noise * chance.standard_normal())
            ended = Trial(len(found) + 1, "ior", ratio, HOSTS[ratio], repetition, 1, "done", "", 36.0)
            found.append(replace(ended, metrics={"write": value}))
    return found


def verdict(many, most=25):
    return judge(Series("x", "ior", METRIC, 0.1, HOSTS, *by_ratio(many, "write"), 0.05, most))


def test_the_grid_is_the_one_that_decides_what_was_hardest():
    many = trials({1.0: 14, 2.0: 14, 4.0: 5, 8.0: 1})
    found = saved(many, [verdict(many)], HOSTS)
    assert found is not None
    rows = {row.ratio: row for row in verdict(many).ratios}
    assert [rows[ratio].state for ratio in HOSTS] == ["holds", "holds", "breaks", "undecided"]
    assert rows[8.0].passed_over
    assert rows[8.0].grid is None and found.grid_repetitions == rows[2.0].grid > 2
    # Such a grid does decide it, and one of half its size does not.
    states = [
        verdict(trials(dict.fromkeys(HOSTS, count)), most=None).at(2.0).state
        for count in (found.grid_repetitions + 2, found.grid_repetitions // 2)
    ]
    assert states == ["holds", "undecided"]
    assert found.trials == 34 and found.grid_trials == 4 * found.grid_repetitions
    assert found.machine_hours == pytest.approx((14 * 8 + 14 * 4 + 5 * 2 + 1) / 100)
    assert found.grid_machine_hours == pytest.approx(found.grid_repetitions * (8 + 4 + 2 + 1) / 100)
    assert found.to_json()["share"] == 1 - found.machine_hours / found.grid_machine_hours


def test_a_grid_stops_what_the_search_stopped():
    many = trials({1.0: 14, 2.0: 14, 4.0: 5, 8.0: 2})
    many = [replace(t, state="censored", metrics={}, bounds={"write": 20.0}) if t.ratio == 8 else t for t in many]
    values, numbers = by_ratio(many, "write")
    series = Series("x", "ior", METRIC, 0.1, HOSTS, values, numbers, 0.05, 25, bounds_by_ratio(many, "write"))
    found = saved(many, [judge(series)], HOSTS)
    assert found is not None and found.grid_trials == 4 * found.grid_repetitions


def test_where_nothing_was_decided_there_is_nothing_to_compare_with():
    many = trials(dict.fromkeys(HOSTS, 1))
    assert saved(many, [verdict(many)], HOSTS) is None
    assert saved([], [verdict([])], HOSTS) is None
