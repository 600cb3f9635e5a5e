"""How long what is left of a run will take, and that it holds through a trial that hangs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import runs
from prepared_studies import study

from pliant.campaign import timing
from pliant.campaign.timing import Timing
from pliant.statistics.estimate import GUESS_S, OVERDUE, Estimate
from pliant.statistics.search import Todo
from pliant.trial import BUDGET_SPENT

IOR1, IOR2, IOR4 = (("", "ior", ratio) for ratio in (1.0, 2.0, 4.0))
TODO = [Todo("ior", 1.0, 1), Todo("ior", 2.0, 1), Todo("mdtest", 1.0, 1)]


def estimate(took=(), stopped=("ior",), timeout_s=600.0) -> Estimate:
    made = Estimate(stopped, timeout_s, 0.1, 0.05)
    for which, seconds in took:
        made.took(which, seconds)
    return made


def test_before_anything_has_ended_it_is_a_guess():
    assert estimate().left_s(TODO) == 3 * GUESS_S
    assert estimate().left_s([]) == 0
    assert estimate().trial_s(IOR1) is None


def test_the_same_ratio_says_most():
    made = estimate([(IOR1, 2.0), (IOR1, 4.0)])
    assert made.left_s(TODO) == 3 + 3 + 3  # the same; the same workload; anything
    made.took(IOR2, 10.0)
    made.took(("", "mdtest", 4.0), 2.0)
    assert made.left_s(TODO) == 3 + 10 + 2


def test_a_ratio_that_was_never_seen_is_as_slow_as_the_slowest():
    made = estimate([(IOR1, 10.0), (IOR2, 30.0), (("", "mdtest", 4.0), 99.0)])
    assert made.trial_s(IOR4) == 30.0
    assert made.trial_s(("other", "ior", 4.0)) == 30.0, "of another file system if nothing is known of its own"


def test_a_trial_that_would_be_stopped_takes_no_longer():
    long = [(IOR1, 10.0), (IOR4, 500.0)]
    assert estimate(long).trial_s(IOR4) == estimate(long).trial_s(IOR2) == pytest.approx(50.0)
    assert estimate(long, stopped=()).trial_s(IOR4) == 500.0
    assert estimate([(IOR1, 500.0)]).trial_s(IOR1) == 500.0, "the baseline is not stopped"
    assert estimate([(IOR1, 400.0)], timeout_s=600.0).most_s(IOR2) == 600.0


def test_nothing_is_stopped_by_a_baseline_that_does_not_count():
    made = estimate([(IOR4, 500.0)])
    made.took(IOR1, 10.0, counted=False)
    assert made.trial_s(IOR4) == 500.0 and made.most_s(IOR4) == 600.0


def test_deployments_are_part_of_it():
    made = estimate([(IOR1, 10.0)])
    assert made.left_s([TODO[0]], 2) == 10.0
    made.deployments_s += [3.0, 5.0]
    assert made.left_s([TODO[0]], 2) == 18.0


def test_a_trial_that_is_overdue_is_taken_to_go_on_until_it_is_stopped():
    made = estimate([(IOR1, 10.0), (IOR4, 20.0)])
    assert made.rest_s(IOR4, 5.0) == (15.0, None)
    assert made.rest_s(IOR4, 22.0) == (0.0, None)
    assert made.rest_s(IOR4, 20.0 * OVERDUE + 5) == (15.0, 20.0)
    assert made.rest_s(IOR4, 100.0) == (0.0, 20.0)
    assert made.rest_s(IOR1, 100.0) == (500.0, 10.0)
    assert estimate().rest_s(IOR1, 5.0) == (GUESS_S - 5, None)
    assert estimate().rest_s(IOR1, 500.0) == (0.0, None), "nothing was expected"


# As a run goes on


class Clock:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(timing, "time", made)
    return made


def budgeted(budget: str) -> Timing:
    return Timing(study(f'seed = 7 => seed = 7 \n budget = "{budget}"'))


def trial(ratio: float, reason: str = ""):
    return replace(runs.trial(1, "ior", ratio, 1, "done"), filesystem="", reason=reason)


def test_what_is_left_counts_down_through_a_trial_that_hangs_and_is_never_more_than_the_budget(clock):
    """The study stood in a trial that should take 45 s, and said for eight minutes what it had said before."""
    made = budgeted("4 min")
    for _ in range(2):
        made.begins([], 0)
        clock.now_s += 20
        made.ended(trial(1.0))
    left = [Todo("ior", 4.0, n) for n in (2, 3)]
    made.begins(left, 0)
    told = []
    for _ in range(300):
        clock.now_s += 0.5
        if (each := made.goes_on(trial(4.0))) is not None:
            told.append(each)
    assert len(told) == 150
    assert [each.left_s for each in told[:3]] == [59.5, 58.5, 57.5]
    lasted = {each.lasted_s: each for each in told}
    assert (lasted[25.5].left_s, lasted[25.5].expected_s) == (40.0, None)
    assert (lasted[40.5].left_s, lasted[40.5].expected_s) == (59.5 + 40.0, 20.0), "until it is stopped, at 100 s"
    assert lasted[90.5].left_s == 49.5
    assert all(each.left_s <= 240 - 40 - each.lasted_s for each in told)
    clock.now_s += 500
    assert made.goes_on(trial(4.0)).left_s == 0
    assert made.late and made.left_s(left, 1) == 0


def test_what_the_budget_ended_says_nothing_of_how_long_trials_take(clock):
    made = budgeted("4 min")
    made.ended(trial(1.0, BUDGET_SPENT), 3.0)
    assert made.expected.trial_s(("", "ior", 1.0)) is None


def test_a_run_that_goes_on_has_less_left(clock):
    made = budgeted("1 min")
    assert not made.late
    made.resume(50.0)
    assert made.spent_s == 50.0 and made.left_s([Todo("ior", 1.0, 1)], 0) == 10.0
    made.ended(trial(1.0), 6.0)
    made.begins([], 0)
    assert made.until_s(trial(1.0)) == 1010.0 + 10.0
    made.resume(10.0)
    assert made.late


def test_without_a_budget_there_is_no_end(clock):
    made = Timing(study())
    clock.now_s += 1e6
    assert not made.late and made.until_s(trial(1.0)) == float("inf")
