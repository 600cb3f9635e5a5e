"""Levels of log values: what noise, drift and outliers do to them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pliant.statistics.levels import Levels
from pliant.statistics.sequential import margin, once

RATIOS = (1.0, 2.0, 4.0)
LEVELS = {1.0: 100.0, 2.0: 95.0, 4.0: 60.0}


def blocks(count: int, noise: float = 0.02, seed: int = 1, drift=lambda number: 0.0):
    """Ratios and values of so many blocks in random order."""
    chance = np.random.default_rng(seed)
    of = [float(ratio) for _ in range(count) for ratio in chance.permutation(RATIOS)]
    return of, [
        LEVELS[ratio] * math.exp(noise * chance.standard_normal() + drift(number)) for number, ratio in enumerate(of)
    ]


def test_differences_are_those_of_the_levels():
    levels = Levels(*blocks(20))
    assert levels.difference(2.0, 1.0).estimate == pytest.approx(-math.log(0.95), abs=0.02)
    assert levels.lower(4.0, 1.0) == pytest.approx(-math.log(0.6), abs=0.02)
    assert levels.lower(1.0, 4.0) == -levels.lower(4.0, 1.0)
    assert levels.deviation == pytest.approx(0.02, rel=0.3)
    known = levels.difference(2.0, 1.0)
    assert known.error == pytest.approx(0.02 * math.sqrt(2 / 20), rel=0.5)
    assert known.size == 10
    assert 20 < known.degrees <= 57
    assert levels.outliers == () and not levels.drift.shown
    assert (levels.trials(2.0), levels.trials(3.0)) == (20, 0)


def test_without_noise_known_there_is_no_error():
    levels = Levels([1.0, 2.0], [100.0, 50.0])
    assert math.isnan(levels.deviation)
    assert levels.difference(2.0, 1.0) is levels.level(1.0) is None
    assert levels.lower(2.0, 1.0) == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match="no values"):
        Levels([], [])


DRIFTS = (lambda number: 0.01 * number, lambda number: 0.2 * math.sin(number / 6), lambda number: 0.3 * (number > 30))


@pytest.mark.parametrize("drift", DRIFTS)
def test_a_drift_is_shown_and_taken_out(drift):
    plain, drifting = Levels(*blocks(20)), Levels(*blocks(20, drift=drift))
    assert drifting.drift.shown and not plain.drift.shown
    assert drifting.drift.range > 0.2
    for ratio in (2.0, 4.0):
        one, other = plain.difference(ratio, 1.0), drifting.difference(ratio, 1.0)
        # What is left is nearer to the noise of trials than to the drift.
        assert other.error < 3 * one.error
        assert abs(other.estimate + math.log(LEVELS[ratio] / 100)) < 4 * other.error


def test_a_drift_that_all_baselines_were_measured_before_is_not_taken_for_a_loss():
    of = [1.0] * 10 + [2.0, 1.0] * 5 + [2.0] * 10
    walk = [0.02 * number for number in range(len(of))]
    chance = np.random.default_rng(3)
    values = [100 * math.exp(0.01 * chance.standard_normal() - slower) for slower in walk]
    known = Levels(of, values).difference(2.0, 1.0)
    assert abs(known.estimate) < 0.05  # plain means are 0.3 apart


def test_outliers_are_told_and_drawn_in():
    of, values = blocks(10)
    wrong = [index for index, ratio in enumerate(of) if ratio == 2.0][3]
    values[wrong] /= 3
    levels = Levels(of, values)
    assert levels.outliers == (wrong,)
    # A third in one of ten trials would have moved a mean of logs by 0.11.
    assert levels.lower(2.0, 1.0) == pytest.approx(Levels(*blocks(10)).lower(2.0, 1.0), abs=0.03)
    assert levels.lower(2.0, 1.0) > Levels(*blocks(10)).lower(2.0, 1.0)


def test_a_noisier_ratio_is_not_full_of_outliers():
    chance = np.random.default_rng(4)
    of = [*RATIOS] * 8
    values = [100 * math.exp((0.2 if ratio == 4.0 else 0.005) * chance.standard_normal()) for ratio in of]
    levels = Levels(of, values)
    assert levels.outliers == ()
    assert levels.difference(4.0, 1.0).error > 1.5 * levels.difference(2.0, 1.0).error


def test_many_values_are_no_burden():
    of, values = blocks(2000)
    known = Levels(of, values).difference(4.0, 1.0)
    assert known.error == pytest.approx(0.02 * math.sqrt(2 / 2000), rel=0.3)


@pytest.mark.simulated
def test_intervals_cover_under_drift_and_without():
    """Student's intervals of 95 %, on 6 blocks; four standard errors of the simulation."""
    for size in (0.0, 0.02):
        missed = 0
        for seed in range(150):
            walk = np.cumsum(size * np.random.default_rng([9, seed]).standard_normal(18))
            levels = Levels(*blocks(6, 0.05, seed, lambda number, walk=walk: float(walk[number])))
            for ratio in (2.0, 4.0):
                known = levels.difference(ratio, 1.0)
                missed += abs(known.estimate + math.log(LEVELS[ratio] / 100)) > 2.2 * known.error
        assert missed / 300 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)


# Disturbances


def disturbed(count: int, slope: float, seed: int = 1, most: float = 0.15, noise: float = 0.02):
    """Ratios, values, and what disturbed each: more at ratio 4 than at 2, and nothing at 1.

    `slope` is in logs to a log of what was taken, of which twice as much may well be lost.
    """
    of, values = blocks(count, noise, seed)
    weights = {1.0: 0.0, 2.0: 0.5, 4.0: 1.0}
    chance = np.random.default_rng([seed, 7])
    by = [[2 * weights[ratio] * most * chance.random()] for ratio in of]
    return of, [value * math.exp(-slope / 2 * x) for value, (x,) in zip(values, by, strict=True)], by


def test_what_a_disturbance_did_is_taken_out():
    of, values, by = disturbed(8, 2.0)
    blind, told = Levels(of, values), Levels(of, values, disturbed=by)
    true = -math.log(0.6)
    assert blind.lower(4.0, 1.0) - true > 0.1
    assert told.lower(4.0, 1.0) == pytest.approx(true, abs=0.05)
    assert told.slopes == pytest.approx([1.0], abs=0.2)
    assert told.deviation < blind.deviation / 2
    known = told.difference(4.0, 1.0)
    assert known.error < blind.difference(4.0, 1.0).error
    assert known.degrees < Levels(*blocks(8)).difference(4.0, 1.0).degrees


def test_without_an_effect_there_is_hardly_a_slope_and_intervals_pay_for_not_knowing():
    of, values, by = disturbed(8, 0.0)
    blind, told = Levels(of, values), Levels(of, values, disturbed=by)
    assert told.slopes == pytest.approx([0.0], abs=0.5)
    assert told.lower(4.0, 1.0) == pytest.approx(blind.lower(4.0, 1.0), abs=0.05)
    assert 1.0 < told.difference(4.0, 1.0).whole / blind.difference(4.0, 1.0).error < 2.0
    assert blind.difference(4.0, 1.0).doubt == 0.0


def test_a_few_values_that_cannot_tell_a_slope_make_it_as_unsure_as_it_is():
    of, values = [1.0, 1.0, 4.0, 4.0], [100.0, 101.0, 60.0, 61.0]
    by = [[0.0], [0.0], [0.1], [0.101]]
    blind, told = Levels(of, values), Levels(of, values, disturbed=by)
    assert told.difference(4.0, 1.0).doubt > 5 * blind.difference(4.0, 1.0).error
    assert told.difference(4.0, 1.0).error < 3 * blind.difference(4.0, 1.0).error
    assert told.difference(4.0, 1.0).degrees == pytest.approx(blind.difference(4.0, 1.0).degrees, abs=0.1)


def test_the_same_disturbance_of_all_is_none():
    of, values = blocks(4)
    plain, told = Levels(of, values), Levels(of, values, disturbed=[[0.1, 0.0]] * len(of))
    assert told.difference(4.0, 1.0) == plain.difference(4.0, 1.0)
    assert told.slopes == pytest.approx([0.0, 0.0])


def test_what_a_disturbance_explains_is_no_outlier():
    of, values, by = disturbed(8, 2.0, noise=0.01)
    burst = of.index(4.0)
    values[burst] *= math.exp(-1.0) / math.exp(-by[burst][0])
    by[burst] = [1.0]
    assert burst in Levels(of, values).outliers
    assert Levels(of, values, disturbed=by).outliers == ()


@pytest.mark.simulated
def test_intervals_cover_with_disturbances():
    """Student's of 95 %, 5 blocks, with slopes that the values hardly tell to ones that they tell well."""
    for slope in (0.0, 0.5, 1.0, 3.0):
        missed = 0
        for seed in range(150):
            levels = Levels(*(told := disturbed(5, slope, seed, noise=0.05))[:2], disturbed=told[2])
            for ratio in (2.0, 4.0):
                known = levels.difference(ratio, 1.0)
                missed += abs(known.estimate + math.log(LEVELS[ratio] / 100)) > margin(known, 0.05, once)
        assert missed / 300 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 300)
