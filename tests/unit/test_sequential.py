"""Intervals that may be looked at after every trial, against the definition and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from pliant.statistics.levels import Difference
from pliant.statistics.sequential import PRIOR_SIZE, expected, margin, once, whenever


def evidence(t: float, degrees: float, size: float) -> float:
    """The Bayes factor of the t statistic by its definition: noncentral densities over the prior on the effect."""
    spread = 1 / math.sqrt(PRIOR_SIZE)
    found, _ = integrate.quad(
        lambda effect: stats.nct.pdf(t, degrees, effect * math.sqrt(size)) * stats.norm.pdf(effect, scale=spread),
        -12,
        12,
        limit=200,
    )
    return float(found / stats.t.pdf(t, degrees))


@pytest.mark.parametrize(("degrees", "size"), [(9, 10), (19, 20), (30, 8)])
def test_the_interval_ends_where_the_evidence_is_one_in_level(degrees, size):
    for level in (0.05, 0.01):
        end = whenever(level, degrees, size)
        assert evidence(end, degrees, size) == pytest.approx(1 / level, rel=0.02)


def test_with_the_noise_known_it_is_the_normal_mixture():
    """Robbins (1970): sqrt((n + r) / n · log((n + r) / (r α²)))."""
    size = 40.0
    known = math.sqrt((size + PRIOR_SIZE) / size * math.log((size + PRIOR_SIZE) / (PRIOR_SIZE * 0.05**2)))
    assert whenever(0.05, 1e7, size) == pytest.approx(known, rel=1e-4)


def test_looking_is_paid_for_and_more_trials_and_higher_levels_are_narrower():
    for degrees, size in ((4, 2), (10, 5), (50, 20), (400, 200)):
        assert whenever(0.05, degrees, size) > once(0.05, degrees, size)
        assert whenever(0.01, degrees, size) > whenever(0.05, degrees, size)
        assert margin(Difference(0, 1, degrees, size), 0.05, whenever) == whenever(0.05, degrees, size)
    assert whenever(0.05, 0, 5) == once(0.05, 0, 5) == math.inf
    assert whenever(1e-6, 1, 1) == math.inf


def test_the_mean_is_covered_at_every_number_of_trials_at_once():
    chance = np.random.default_rng(5)
    missed = naive = 0
    for values in chance.standard_normal((400, 60)):
        n = np.arange(2, 61)
        sums, squares = np.cumsum(values)[1:], np.cumsum(values**2)[1:]
        t = np.abs(sums / n) / np.sqrt((squares - sums**2 / n) / (n - 1) / n)
        missed += any(t[i] > whenever(0.05, count - 1, count) for i, count in enumerate(n))
        naive += any(t[i] > once(0.05, count - 1, count) for i, count in enumerate(n))
    assert missed / 400 <= 0.05
    assert naive / 400 > 0.2  # what looking costs who does not pay


def test_the_trials_that_are_still_expected_would_do():
    known = Difference(0.05, 0.1 * math.sqrt(2 / 4), 6.0, 2.0)
    for quantile in (once, whenever):
        more = expected(known, 4, 4, 0.02, quantile, 0.06)
        assert more is not None and more > 5

        def after(extra: int, quantile=quantile) -> float:
            error = 0.1 * math.sqrt(2 / (4 + extra))
            return margin(Difference(0.05, error, 6.0 + 2 * extra, (4 + extra) / 2), 0.02, quantile)

        assert after(more) <= 0.06 < after(more - 1)
    assert expected(known, 4, 4, 0.02, once, 1e-6) is None
