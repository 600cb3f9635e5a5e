"""The boundary of a search with an end, against published constants and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pliant.statistics.boundary import END, LAST, crossing, deviations, limited
from pliant.statistics.sequential import once, until, whenever

MOST = 25


@pytest.mark.parametrize(
    ("shape", "looks", "known"),
    [
        (0.5, 5, 2.413),  # Pocock, Biometrika 64, 1977; Jennison & Turnbull (2000), table 2.1
        (0.5, 20, 2.672),
        (0.0, 5, 2.040),  # O'Brien & Fleming, Biometrics 35, 1979; table 2.3
        (0.0, 20, 2.126),
    ],
)
def test_it_is_the_published_one(shape, looks, known):
    sizes = np.arange(1.0, looks + 1)
    assert deviations(0.05, sizes, float(looks), shape)[-1] == pytest.approx(known, abs=0.003)


def test_one_look_is_the_normal_quantile():
    assert crossing(np.array([1.959964]), np.array([1.0])) == pytest.approx(0.025, rel=3e-3)


def test_it_falls_to_its_end_and_is_none_beyond_the_last_trial():
    found = [limited(0.05, size, MOST) for size in (1, 3, 8, END * MOST, LAST * MOST)]
    assert found == sorted(found, reverse=True) and found[-2] == pytest.approx(found[-1])
    assert limited(0.05, MOST + 1, MOST) == math.inf
    assert limited(0.01, 8, MOST) > limited(0.05, 8, MOST) > limited(0.05, 8, 12)


def test_a_known_end_makes_intervals_narrower_and_what_is_beyond_it_still_holds():
    for size in (10.0, 12.0, 15.0):
        assert once(0.05, 60, size) < until(MOST)(0.05, 60, size) < whenever(0.05, 60, size)
    assert whenever(0.05, 100, 40) < until(MOST)(0.05, 100, 40) < 1.25 * whenever(0.05, 100, 40)
    assert until(MOST)(0.05, 0, 5) == math.inf


def test_the_difference_is_covered_at_every_number_of_trials_at_once():
    chance = np.random.default_rng(7)
    n = np.arange(2, MOST + 1)
    quantile = until(MOST)
    limits = np.array([quantile(0.1, 2.0 * count - 2, count / 2) for count in n])
    missed = 0
    for pair in chance.standard_normal((1000, 2, MOST)):
        means = np.cumsum(pair, axis=1)[:, 1:] / n
        squares = np.cumsum(pair**2, axis=1)[:, 1:] - n * means**2
        error = np.sqrt(squares.sum(axis=0) / (2 * n - 2) * 2 / n)
        missed += bool((np.abs(means[0] - means[1]) > limits * error).any())
    assert 0.05 < missed / 1000 <= 0.11  # as often as it says, not much more rarely
