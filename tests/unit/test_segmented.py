"""A curve read as flat and then a straight line."""

from __future__ import annotations

import random

import pytest

from pliant.statistics.segmented import Segmented, read

RATIOS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)


def times(knee: float, steepness: float = 1.0, noise: float = 0.0, seed: int = 1) -> tuple[list[float], list[float]]:
    chance = random.Random(seed)
    made = Segmented(10.0, steepness, knee, None, None)
    at = [ratio for ratio in RATIOS for _ in range(5)]
    return at, [made.at(ratio) * chance.lognormvariate(0, noise) for ratio in at]


@pytest.mark.parametrize("knee", [1.5, 2.5, 3.7, 5.0])
@pytest.mark.parametrize("steepness", [0.5, 1.0])
def test_a_knee_is_found(knee, steepness):
    found = read(*times(knee, steepness))
    assert found.knee == pytest.approx(knee, rel=0.1)
    assert found.level == pytest.approx(10.0, rel=0.02)
    for ratio in RATIOS:
        assert found.at(ratio) == pytest.approx(Segmented(10.0, steepness, knee, None, None).at(ratio), rel=0.03)


def test_intervals_have_the_knee_as_often_as_they_say():
    inside = 0
    for seed in range(60):
        found = read(*times(3.0, 1.0, 0.08, seed))
        assert found.knee is not None
        inside += (found.low or 0.0) <= 3.0 <= (found.high or 99.0)
    assert inside >= 52


def test_a_flat_curve_has_none():
    seen = [read(*times(99.0, 0.0, 0.1, seed)).knee for seed in range(60)]
    assert sum(knee is not None for knee in seen) <= 8, "one of twenty, and some more, as the knee may be anywhere"
    assert read(RATIOS, [5.0] * 6) == Segmented(pytest.approx(5.0), 0.0, None, None, None)


def test_a_curve_that_rises_from_the_beginning_has_its_knee_there():
    found = read(*times(1.0))
    assert found.knee == pytest.approx(1.0, abs=0.05) and found.low is None


def test_of_knees_that_suit_alike_it_is_the_latest():
    """All that is seen is at the last ratio: somewhere after the one before it the line begins."""
    found = read([1.0, 2.0, 4.0, 8.0, 16.0], [10.0, 10.0, 10.0, 10.0, 11.1])
    assert found.knee == pytest.approx(16 / 1.11, rel=0.03)
    assert found.steepness == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    ("ratios", "values", "said"),
    [
        ([1, 2, 4], [1, 1, 1], "are no curve"),
        ([1, 2, 4, 8], [1, 1, 1], "are no curve"),
        ([1, 2, 4, 8], [1, 1, 0, 1], "have to be positive"),
        ([1, 2, 4, 8], [1, 1, float("nan"), 1], "have to be positive"),
    ],
)
def test_what_is_no_curve_is_refused(ratios, values, said):
    with pytest.raises(ValueError, match=said):
        read(ratios, values)
