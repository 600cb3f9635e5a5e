"""How long a trial is waited for: numbers in, why to stop it out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import runs

from pliant.statistics.patience import GRACE_S, LOST, PATIENCE_S, Patience, last_moment, longest_s, lost, medians
from pliant.trial import BUDGET_SPENT
from pliant.workloads.model import Metric, SoFar

METRICS = (Metric("write", "MiB/s", "higher", "write"), Metric("latency", "ms", "lower", "run"))
PATIENCE = Patience(METRICS, {"write": 100.0, "latency": 2.0}, 0.1, 0.05, folded=True)


def shows(lasted_s: float = 60.0, **bounds: float) -> SoFar:
    return SoFar({}, bounds, "file-create", lasted_s)


# How much has to be lost


@pytest.mark.parametrize("max_loss", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
@pytest.mark.parametrize("zone", [0.0, 0.005])
def test_what_has_to_be_lost_is_far_beyond_what_is_tolerated(max_loss, zone):
    found = lost(max_loss, zone)
    assert found >= LOST and found < 1
    assert found - (max_loss + zone) >= 0.49 * (1 - max_loss - zone) or found == LOST > max_loss + zone + 0.1


def test_a_trial_is_waited_for_at_least_so_long():
    assert longest_s(1.0, 0.1, 0.05) == PATIENCE_S
    assert longest_s(60.0, 0.1, 0.05) == 300.0
    assert longest_s(60.0, 0.9, 0.05) == pytest.approx(60 / 0.025)


# When to stop


@pytest.mark.parametrize(
    ("found", "stops"),
    [
        (shows(write=19.9), True),
        (shows(write=20.1), False),
        (shows(latency=10.1), True),
        (shows(latency=9.9), False),
        (shows(write=90.0, latency=50.0), True),
        (shows(PATIENCE_S - 0.1, write=0.1), False),
        (shows(other=0.1), False),
        (shows(), False),
    ],
)
def test_a_trial_is_stopped_when_its_loss_is_shown(found, stops):
    assert bool(PATIENCE.enough(found, 0.0)) is stops


def test_the_reason_says_how_it_is_shown():
    assert PATIENCE.enough(shows(91.2, write=12.345), 0.0) == (
        "its loss is shown: write is at most 12.3 MiB/s, and 100 at the baseline, after 91 s of file create"
    )
    assert "latency is at least 50 ms, and 2 at the baseline" in PATIENCE.enough(shows(latency=50.0), 0.0)


def test_a_value_is_not_waited_for_where_much_is_tolerated_only_when_more_is_lost():
    much = replace(PATIENCE, max_loss=0.9, zone=0.05)
    assert much.enough(shows(write=2.6), 0.0) == "" != much.enough(shows(write=2.4), 0.0)


def test_the_baseline_and_trials_through_faults_are_never_stopped_for_a_loss():
    unfolded = replace(PATIENCE, folded=False)
    assert unfolded.enough(shows(500.0, write=0.1), 0.0) == unfolded.decided(shows(500.0, write=0.1)) == ""


def test_without_a_baseline_nothing_is_shown():
    assert replace(PATIENCE, baseline={}).enough(shows(500.0, write=0.1), 0.0) == ""


def test_a_budget_that_is_spent_ends_any_trial():
    for patience in (replace(PATIENCE, until_s=100.0), Patience(until_s=100.0)):
        assert patience.enough(SoFar(), 99.9) == ""
        assert patience.enough(SoFar(), 100.0) == BUDGET_SPENT
    assert replace(PATIENCE, until_s=100.0).enough(shows(write=1.0), 100.0).startswith("its loss is shown")


# At the timeout


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (shows(write=84.9), True),
        (shows(write=85.1), False),
        (shows(latency=2.31), True),
        (shows(latency=2.29), False),
        (shows(5.0, write=1.0), True),
        (shows(), False),
    ],
)
def test_at_its_timeout_a_trial_counts_if_its_loss_is_beyond_the_zone(found, shown):
    assert bool(PATIENCE.decided(found)) is shown


def test_before_there_is_a_baseline_what_is_shown_is_kept():
    """The bound is as true later, and to repeat the trial takes as long again."""
    first = replace(PATIENCE, baseline={})
    assert first.decided(shows(write=99.0)) == "nothing is known of the baseline yet, after 60 s of file create"
    assert first.decided(SoFar({"write": 1.0})) == ""


# The end of a budget


@pytest.mark.parametrize(
    ("began_s", "expected_s", "until_s"),
    [
        (70.0, 35.0, 100.0 + GRACE_S),  # ends soon
        (60.0, 32.0, 100.0 + GRACE_S),  # should have ended just now
        (0.0, 45.0, 100.0),  # hangs
        (70.0, 60.0, 100.0),  # has long to go
        (-895.0, 1090.0, 100.0 + 109.0),  # a tenth of a long one
        (70.0, None, 100.0),
    ],
)
def test_a_trial_that_ends_about_then_has_a_grace(began_s, expected_s, until_s):
    assert last_moment(100.0, began_s, expected_s) == until_s


def test_without_a_budget_there_is_no_last_moment():
    assert last_moment(math.inf, 0.0, 45.0) == math.inf


# The baseline


def test_the_baseline_is_the_median_of_what_counts():
    trial = runs.trial(1, "ior", 1.0, 1, "done")
    trials = [replace(trial, metrics={"write": value}) for value in (1.0, 3.0, 8.0, math.nan)]
    trials.append(replace(trial, state="failed", metrics={"write": 100.0}))
    trials.append(replace(trial, state="censored", metrics={"read": 5.0}, bounds={"write": 50.0}))
    assert medians(trials) == {"write": 3.0, "read": 5.0}
    assert medians([]) == {}
