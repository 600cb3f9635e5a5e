"""The simulation behind docs/statistics.md, with few curves: what it finds there must not be wrong here."""

from __future__ import annotations

from functools import cache

import pytest
from benchmarks.simulate_search import MAX_LOSS, RATIOS, SHAPES, Outcome, grid, machines, searched, share

CURVES = 8


@cache
def found(shape: int) -> list[Outcome]:
    return [searched(machine, number) for number, machine in enumerate(machines(SHAPES[shape], 0.05, CURVES))]


@pytest.mark.simulated
def test_verdicts_of_a_search_are_hardly_ever_wrong():
    outcomes = [outcome for shape in range(len(SHAPES)) for outcome in found(shape)]
    assert share([outcome.wrong for outcome in outcomes]) <= 0.05
    assert share([outcome.right for outcome in outcomes]) >= 0.9


def test_a_search_takes_less_than_half_of_a_grid_that_is_right_as_often():
    outcomes = found(0)
    trials = sum(outcome.trials for outcome in outcomes) / CURVES
    twice = int(2 * trials / len(RATIOS))
    fixed = [grid(machine, twice, number).right for number, machine in enumerate(machines(SHAPES[0], 0.05, 2 * CURVES))]
    assert share(fixed) < share([outcome.right for outcome in outcomes])


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_curves_are_what_they_are_called(shape):
    first, again = (next(machines(shape, 0.1, 1)) for _ in range(2))
    assert first.losses == again.losses
    assert list(first.losses) == list(RATIOS) and first.losses[1.0] == 0
    curves = [list(machine.losses.values()) for machine in machines(shape, 0.1, 40)]
    rising = [curve[1:] == sorted(curve[1:]) for curve in curves]
    assert not any(rising) if shape.__name__ == "not_monotone" else all(rising)
    breaking = [any(loss > MAX_LOSS for loss in curve) for curve in curves]
    assert not any(breaking) if shape.__name__ == "never" else sum(breaking) > 20
