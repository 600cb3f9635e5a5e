"""Values of which only a bound is known: what they claim must be so, wherever the true values were."""

from __future__ import annotations

import json
import math
from unittest import mock

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pliant.statistics.censoring import Value, fitted, median
from pliant.statistics.levels import Levels
from pliant.statistics.verdict import Series, bounds_by_ratio, by_ratio, judge, recommended_ratio
from pliant.trial import Trial
from pliant.workloads.model import Metric

BANDWIDTH = Metric("write_bandwidth", "MiB/s", "higher")
DURATION = Metric("duration", "s", "lower")
RATIOS = (1.0, 2.0, 4.0, 8.0)
HOSTS = {1.0: 8, 2.0: 4, 4.0: 2, 8.0: 1}
METRICS = pytest.mark.parametrize("metric", [BANDWIDTH, DURATION], ids=lambda metric: metric.better)


def worse(value: float, factor: float, metric: Metric = BANDWIDTH) -> float:
    return value / factor if metric.better == "higher" else value * factor


def series(values, capped=(), metric=BANDWIDTH, **more) -> Series:
    """Values of each ratio, of which those at the (ratio, place) in `capped` are bounds; the nth of all are a block."""
    of = {ratio: list(enumerate(many)) for ratio, many in values.items()}
    number = {(ratio, n): 1 + n * len(of) + place for place, (ratio, many) in enumerate(of.items()) for n, _ in many}
    exact = {ratio: [value for n, value in many if (ratio, n) not in capped] for ratio, many in of.items()}
    numbers = {ratio: [number[ratio, n] for n, _ in many if (ratio, n) not in capped] for ratio, many in of.items()}
    bounds = {
        ratio: {number[ratio, n]: value for n, value in many if (ratio, n) in capped} for ratio, many in of.items()
    }
    return Series("glusterfs", "ior", metric, 0.1, HOSTS, exact, numbers, bounds=bounds, **more)


def blocks(losses, count=6, noise=0.03, seed=1, metric=BANDWIDTH):
    """So many values at each ratio, with noise."""
    chance = np.random.default_rng(seed)
    sign = 1 if metric.better == "higher" else -1
    return {
        ratio: [100 * (1 - sign * loss) * math.exp(noise * chance.standard_normal()) for _ in range(count)]
        for ratio, loss in zip(RATIOS, (0.0, *losses), strict=True)
    }


def every(ratio, count=6):
    return {(ratio, n) for n in range(count)}


# What such a ratio claims


@METRICS
def test_a_ratio_whose_trials_were_stopped_breaks_and_its_loss_is_at_least_so_much(metric):
    values = blocks((0.0, 0.02, 0.8), metric=metric)
    verdict = judge(series(values, every(8.0), metric))
    row, exact = verdict.at(8.0), judge(series(values, (), metric)).at(8.0)
    assert (row.state, row.at_least, row.trials, row.stopped) == ("breaks", True, 6, (4, 8, 12, 16, 20, 24))
    assert row.loss == pytest.approx(exact.loss, abs=0.01) and row.loss_low <= exact.loss_low
    assert row.loss_high is None and exact.loss_high is not None
    assert row.median_is == ("at most" if metric.better == "higher" else "at least")
    assert (row.low, row.high)[metric.better == "lower"] is None and (row.low, row.high) != (None, None)
    assert (verdict.holds_up_to, verdict.breaks_at) == (4.0, 8.0)
    said = f" up to ratio 4 (2 hosts) and breaks at ratio 8 (1 host): loss > {100 * row.loss:.0f} %."
    assert verdict.sentence.endswith(said)


def test_the_json_has_no_infinity_and_says_what_is_open():
    document = judge(series(blocks((0.0, 0.02, 0.8)), every(8.0))).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    row = document["ratios"][-1]
    assert row["at_least"] and row["loss_high"] is row["low"] is None and row["median_is"] == "at most"
    assert row["stopped"] == [4, 8, 12, 16, 20, 24]
    assert not document["ratios"][1]["at_least"] and document["ratios"][1]["stopped"] == []


def test_it_never_holds():
    """The bound of a trial that a budget ended may be as good as the baseline."""
    values = blocks((0.0, 0.0, 0.0))
    verdict = judge(series(values, every(8.0), most=25, indifference=0.05))
    row = verdict.at(8.0)
    assert (row.state, row.at_least) == ("undecided", True)
    assert row.loss < 0.1 and row.expected is None
    assert row.hope < 0.01
    assert recommended_ratio([verdict]) == 4.0
    assert "ratio 8 is undecided" in verdict.sentence


def test_two_trials_are_enough_and_one_is_not():
    values = blocks((0.0, 0.02, 0.8))
    for count, state in ((1, "undecided"), (2, "breaks")):
        few = {**values, 8.0: values[8.0][:count]}
        assert judge(series(few, every(8.0))).at(8.0).state == state


def test_stopped_trials_of_the_baseline_are_left_out():
    """A baseline that hung would be better by its bound than it was, and losses of it too large."""
    values = blocks((0.0, 0.0, 0.0))
    kept = series({**values, 1.0: [*values[1.0], 400.0]}, {(1.0, 6)})
    assert judge(kept).at(1.0).trials == 6 and judge(kept).at(1.0).stopped == ()
    assert [r.loss for r in judge(kept).ratios] == [r.loss for r in judge(series(values)).ratios]
    nothing = judge(series({**values, 1.0: values[1.0][:1]}, {(1.0, 0)}))
    assert nothing.holds_up_to is None and nothing.at(8.0).loss is None


def test_with_no_ratio_whose_values_are_known_nothing_is_known():
    verdict = judge(series({8.0: [20.0] * 4}, every(8.0)))
    row = verdict.at(8.0)
    assert (row.state, row.at_least, row.median, row.low, row.high, row.loss) == (
        "undecided",
        True,
        20,
        None,
        None,
        None,
    )
    assert verdict.noise is verdict.drift is None


def test_values_that_were_measured_at_such_a_ratio_count_too():
    values = blocks((0.0, 0.02, 0.7))
    row = judge(series(values, {(8.0, 1), (8.0, 4)})).at(8.0)
    assert (row.state, row.at_least, row.trials, row.stopped) == ("breaks", True, 6, (8, 20))
    assert row.loss == pytest.approx(0.7, abs=0.02)


# Outliers


def test_a_trial_that_hangs_among_many_good_ones_is_an_outlier():
    values = blocks((0.0, 0.02, 0.0), count=20)
    values[8.0][7] = 20.0
    row = judge(series(values, {(8.0, 7)})).at(8.0)
    assert (row.state, row.at_least, row.median_is) == ("holds", False, "exact")
    assert row.outliers == row.stopped == (32,)
    assert row.low is not None and row.loss_high is not None


def test_where_half_of_them_hang_it_is_none():
    values = blocks((0.0, 0.02, 0.0))
    values[8.0][::2] = [20.0, 20.0, 20.0]
    row = judge(series(values, {(8.0, 0), (8.0, 2), (8.0, 4)})).at(8.0)
    assert row.at_least and row.outliers == () and row.state != "holds"


def test_a_bound_that_is_better_than_all_values_says_nothing_and_stays_open():
    values = blocks((0.0, 0.02, 0.0), count=20)
    values[8.0][7] = 900.0
    row = judge(series(values, {(8.0, 7)})).at(8.0)
    assert row.at_least and row.outliers == (32,)  # drawn in, but from the better side


# Properties

noise = st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=6)
curves = st.tuples(noise, noise, noise, noise, st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0, 0.9))


def drawn(curve, metric) -> dict[float, list[float]]:
    *away, one, two, three = curve
    sign = 1 if metric.better == "higher" else -1
    return {
        ratio: [100 * (1 - sign * loss) * math.exp(each) for each in many]
        for ratio, many, loss in zip(RATIOS, away, (0.0, one, two, three), strict=True)
    }


def numbers(row) -> list[float]:
    names = ("median", "low", "high", "loss", "loss_low", "loss_high", "chance", "hope", "expected", "grid")
    return [math.nan if getattr(row, name) is None else getattr(row, name) for name in names]


some = st.sets(st.tuples(st.sampled_from(RATIOS[1:]), st.integers(0, 5)), min_size=1)
searched = st.sampled_from([None, 25])


@METRICS
@settings(max_examples=60)
@given(
    curve=curves,
    hung=st.sets(st.sampled_from(RATIOS[1:]), min_size=1),
    by=st.floats(2, 50),
    factor=st.floats(1.0, 1e6),
    most=searched,
)
def test_what_is_not_open_is_the_same_wherever_the_true_values_were(metric, curve, hung, by, factor, most):
    bounds, truth = (drawn(curve, metric) for _ in range(2))
    for ratio in hung:
        bounds[ratio][1] = worse(bounds[ratio][1], by, metric)
        truth[ratio][1] = worse(truth[ratio][1], by * factor, metric)
    found = judge(series(bounds, {(ratio, 1) for ratio in hung}, metric, most=most))
    assume(not any(row.at_least for row in found.ratios))
    for row, exact in zip(found.ratios, judge(series(truth, (), metric, most=most)).ratios, strict=True):
        assert row.outliers == exact.outliers and row.state == exact.state
        assert numbers(row) == pytest.approx(numbers(exact), rel=1e-6, abs=1e-9, nan_ok=True)


@METRICS
@settings(max_examples=60)
@given(curve=curves, capped=some, most=searched)
def test_what_is_open_never_holds_and_has_no_upper_end(metric, curve, capped, most):
    values = drawn(curve, metric)
    verdict = judge(series(values, capped, metric, most=most, indifference=0.05))
    for row in verdict.ratios:
        if row.at_least:
            assert row.state != "holds" and row.stopped
            assert row.loss_high is (row.low if metric.better == "higher" else row.high) is None
            assert row.loss_low is None or row.loss_low <= row.loss
            assert (row.state == "breaks") <= (row.loss > 0.1 and row.loss_low > 0.05)
    json.dumps(verdict.to_json(), allow_nan=False)


@METRICS
@settings(max_examples=60)
@given(curve=curves, factor=st.floats(1.0, 1e6), most=searched)
def test_the_lower_end_is_no_higher_than_that_of_the_true_values(metric, curve, factor, most):
    """The true values have the same noise, and are worse: the bounds claim no more than they do.

    On a machine that is known not to drift, as the bounds have no say in how much it does, and true values have; and
    but for a tenth of the interval's half, as ratios are weighed by their noise, and that of the bounds is taken for
    larger.
    """
    values = drawn(curve, metric)
    capped = every(8.0)
    truth = {**values, 8.0: [worse(value, factor, metric) for value in values[8.0]]}
    with mock.patch("pliant.statistics.levels._STEPS", (0.0,)):
        found = judge(series(values, capped, metric, most=most))
        true = judge(series(truth, (), metric, most=most))
    assume(not any(row.outliers for verdict in (found, true) for row in verdict.ratios))
    row, exact = found.at(8.0), true.at(8.0)
    assert row.at_least and row.loss <= exact.loss + 1e-9 * max(1, abs(exact.loss))
    if row.loss_low is not None:
        slack = 0.1 * (exact.loss - exact.loss_low)
        assert row.loss_low <= exact.loss_low + slack + 1e-6 * max(1, abs(exact.loss_low))


@pytest.mark.simulated
@settings(max_examples=60)
@given(curve=curves)
def test_their_noise_is_the_larger_of_the_two_and_no_better_known(curve):
    values = series(drawn(curve, BANDWIDTH), every(8.0)).in_time_order()
    fits = fitted(values, "higher")
    here, sure = fits.of(8.0).levels, fits.sure.levels
    together = Levels([each.ratio for each in values], [each.value for each in values])
    assert here.deviation >= sure.deviation
    assume(not here.outliers and not together.outliers)
    with mock.patch("pliant.statistics.levels._STEPS", (0.0,)):
        here = fitted(values, "higher").of(8.0).levels
        together = Levels([each.ratio for each in values], [each.value for each in values])
    assert here.deviation >= together.deviation * (1 - 1e-9)
    one, other = here.difference(8.0, 1.0), together.difference(8.0, 1.0)
    assert one.degrees <= other.degrees * (1 + 1e-9) or here.deviation > together.deviation


@settings(max_examples=60)
@given(curve=curves, cap=st.floats(5, 100))
def test_other_ratios_are_judged_as_if_it_were_not_there(curve, cap):
    """Bounds are hardly apart, and must not make the others seem to have no noise."""
    values = drawn(curve, BANDWIDTH)
    quiet = judge(series({**values, 8.0: [cap] * len(values[8.0])}, every(8.0), most=25))
    without = judge(series({**values, 8.0: []}, most=25))
    assert quiet.noise == without.noise and quiet.drift == without.drift
    for row, other in zip(quiet.ratios[:-1], without.ratios[:-1], strict=True):
        assert (row.loss, row.loss_low, row.loss_high) == (other.loss, other.loss_low, other.loss_high)


# The parts


def test_the_noise_of_bounds_is_that_of_the_others():
    chance = np.random.default_rng(3)
    of, values = [1.0, 2.0] * 8, list(100 * np.exp(0.05 * chance.standard_normal(16)))
    beside = Levels(of, values)
    more_of, more = [*of, *[4.0] * 8], [*values, *[20.0] * 8]
    alone, known = Levels(more_of, more), Levels(more_of, more, beside)
    assert alone.deviation < beside.deviation == known.deviation
    one, other = alone.difference(4.0, 1.0), known.difference(4.0, 1.0)
    assert other.error > 1.2 * one.error and other.degrees < one.degrees
    assert other.estimate == pytest.approx(one.estimate, abs=0.02)
    assert math.isnan(Levels(more_of, more, Levels([1.0], [100.0])).deviation)
    # Where they are noisier than the others, that counts.
    wild = Levels(more_of, [*values, *(20.0 * np.exp(0.5 * chance.standard_normal(8)))], beside)
    assert wild.deviation > 2 * beside.deviation


def test_a_median_is_a_bound_where_it_would_move_with_them():
    def values(*many):
        return [Value(n, 2.0, abs(value), value < 0) for n, value in enumerate(many)]

    assert median(values(3, 4, 5, -1), "higher") == (3.5, "exact")
    assert median(values(3, 4, -2, -1), "higher") == (2.5, "at most")
    assert median(values(-20, -30, 9), "lower") == (20, "at least")
    assert median(values(-7, 9, 8), "higher") == (8, "exact")
    assert median(values(-8.5, 9, 8), "higher") == (8.5, "at most")


def test_nothing_has_no_levels():
    fits = fitted([], "higher")
    assert fits.sure.levels is None and fits.capped == {} and not fits.at_least(2.0)


def test_values_and_bounds_come_from_trials_that_count():
    def trial(number, ratio, state, metrics, bounds):
        return Trial(number, "ior", ratio, 1, 1, 1, state, "", metrics=metrics, bounds=bounds)

    trials = [
        trial(1, 1.0, "done", {"write": 100.0}, {}),
        trial(2, 4.0, "censored", {"write": 30.0}, {"read": 7.0}),
        trial(3, 4.0, "censored", {}, {"write": 20.0}),
        trial(4, 4.0, "invalid", {"write": 90.0}, {}),
        trial(5, 4.0, "failed", {}, {"write": 1.0}),
        trial(6, 2.0, "censored", {"write": math.nan}, {"read": 0.0}),
    ]
    assert by_ratio(trials, "write") == ({1.0: [100.0], 4.0: [30.0]}, {1.0: [1], 4.0: [2]})
    assert bounds_by_ratio(trials, "write") == {4.0: {3: 20.0}}
    assert bounds_by_ratio(trials, "read") == {4.0: {2: 7.0}}


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_bound_without_a_logarithm_is_refused(bad):
    with pytest.raises(ValueError, match="not positive"):
        series({1.0: [1.0], 2.0: [bad]}, {(2.0, 0)})
