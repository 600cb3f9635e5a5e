"""Parameters that explain what was measured: known truths are found again, and intervals have what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.model.calibration import DRAWS, Draws, Level, Loads, calibrate, deviations, quantiles

ONE = np.ones(1)


def loads(nodes: float, cpu: float = 1e-3, nic: float = 0.0, write: float = 0.0, ranks: float = 4) -> Loads:
    """A host with so many nodes, each of which loads it with so much."""
    return Loads(
        np.array([cpu * nodes]),
        np.array([nic]),
        np.zeros(1),
        np.array([write * nodes]),
        ONE * nodes,
        np.zeros(1),
        ranks,
    )


def truth(overlap=7.0, flush=1.8, growth=0.2, alone_s=2e-3) -> Draws:
    return Draws(ONE, ONE * overlap, ONE * flush, ONE * growth, ONE, ONE * alone_s, 0.0, ONE)


def levels(true: Draws, ratios=(1, 2), scatter=0.0, seed=0, **each) -> list[Level]:
    chance = np.random.default_rng(seed)
    found = []
    for ratio in ratios:
        rate = 1 / float(true.seconds(loads(ratio, **each))[0])
        rates = tuple(float(rate * np.exp(scatter * chance.standard_normal())) for _ in range(3))
        grown = 1 + float(true.growth[0]) * np.log2(ratio) / 3
        found.append(Level(ratio, loads(ratio, **each), rates, grown if ratio > 1 else None, 0.05))
    return found


def told(draws: Draws, at: Loads) -> float:
    return 1 / quantiles(draws.seconds(at), draws.weight, [0.5])[0]


@settings(max_examples=30, deadline=None)
@given(growth=st.floats(0.0, 0.5), alone_s=st.floats(1e-4, 6e-3), cpu=st.floats(3e-4, 3e-3))
def test_what_cpu_limits_is_predicted_from_ratios_1_and_2(growth, alone_s, cpu):
    true = truth(growth=growth, alone_s=alone_s)
    draws = calibrate(levels(true, cpu=cpu), 0.05, 0.02)
    for ratio in (4, 8):
        right = 1 / float(true.seconds(loads(ratio, cpu=cpu))[0])
        assert told(draws, loads(ratio, cpu=cpu)) == pytest.approx(right, rel=0.15)


def test_a_nic_that_is_no_longer_used_leaves_the_next_limit():
    draws = calibrate(levels(truth(alone_s=1e-5), ratios=(1,), cpu=1e-4, nic=1e-2), 0.05, 0.02)
    assert told(draws, loads(1, cpu=1e-4, nic=1e-2)) == pytest.approx(100, rel=0.1)
    assert told(draws, loads(8, cpu=1e-4)) > 200


def test_more_of_anything_takes_longer():
    draws = calibrate(levels(truth()), 0.05, 0.02)
    at = loads(2, write=1e-4)
    for name in ("cpu", "nic", "read", "write"):
        more = replace(at, **{name: getattr(at, name) + 1e-3})
        assert (draws.seconds(more) >= draws.seconds(at) * (1 - 1e-9)).all()
    assert (draws.seconds(replace(at, ranks=8)) <= draws.seconds(at) * (1 + 1e-9)).all()


def test_flushing_adds_to_the_rest_or_hides_behind_it():
    at = loads(1, cpu=1e-3, write=1e-3)
    assert truth(flush=1.0, alone_s=0.0).seconds(at)[0] == pytest.approx(2e-3)
    assert truth(flush=50.0, alone_s=0.0).seconds(at)[0] == pytest.approx(1e-3, rel=0.02)


def test_what_is_more_than_caches_take_is_written_meanwhile():
    at, caching = loads(1, cpu=1e-3, write=1e-3), truth(flush=1.0, alone_s=0.0)
    assert caching.seconds(at, 1.0)[0] == pytest.approx(2e-3)
    assert caching.seconds(at, 4.0)[0] == pytest.approx(1.25e-3)
    assert caching.seconds(at, 1e6)[0] == pytest.approx(1e-3, rel=1e-3)


def test_intervals_have_what_they_say_of_truths_from_the_priors():
    inside = total = 0
    chance = np.random.default_rng(3)
    for seed in range(60):
        normal = chance.standard_normal(4)
        true = truth(
            overlap=7 * np.exp(0.4 * normal[0]),
            growth=max(0.2 + 0.3 * normal[1], -0.3),
            alone_s=4e-3 * chance.uniform() ** 2,
        )
        draws = calibrate(levels(true, scatter=0.06, seed=seed), 0.05, 0.06)
        logs = -np.log(draws.seconds(loads(6))) + deviations(0.08, 1)
        low, high = quantiles(logs, draws.weight, [0.05, 0.95])
        right = -np.log(true.seconds(loads(6))[0]) + 0.06 * chance.standard_normal()
        inside += bool(low <= right <= high)
        total += 1
    assert inside / total >= 0.8


def test_it_is_the_same_each_time():
    one, other = (calibrate(levels(truth()), 0.05, 0.02) for _ in range(2))
    assert (one.weight == other.weight).all() and len(one.weight) == DRAWS
    assert one.weight.sum() == pytest.approx(1)


def test_one_trial_that_is_far_off_does_not_decide():
    true = truth()
    known = levels(true)
    bad = replace(known[1], rates=(known[1].rates[0] / 6,))
    draws = calibrate([known[0], bad], 0.05, 0.06)
    right = 1 / float(true.seconds(loads(4))[0])
    assert told(draws, loads(4)) == pytest.approx(right, rel=0.4)
