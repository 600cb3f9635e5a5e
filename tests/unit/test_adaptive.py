"""The search on curves with a known truth: what it asks for, when it ends, and that it can be resumed."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from pliant.statistics.adaptive import HOPELESS, Adaptive, Question, wanted
from pliant.statistics.search import Todo, Within, key_of
from pliant.statistics.verdict import Series, by_ratio, judge
from pliant.trial import Trial
from pliant.workloads.model import Metric

RATIOS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
WRITE, READ = Metric("write", "MiB/s", "higher"), Metric("read", "MiB/s", "higher")
LATENCY = Metric("latency", "ms", "lower")
LATE = {2.0: 0.0, 3.0: 0.01, 4.0: 0.02, 6.0: 0.4, 8.0: 0.6}
EARLY = {2.0: 0.35, 3.0: 0.4, 4.0: 0.5, 6.0: 0.7, 8.0: 0.8}


def question(metrics=None, **more) -> Question:
    fields = {"ratios": RATIOS, "filesystems": ("",), "max_loss": 0.1, "indifference": 0.05, "most": 25, "seed": 1}
    return Question(metrics or {"ior": (WRITE,)}, **(fields | more))


def measured(todo: Todo, number: int, losses, noise=0.02, state="done") -> Trial:
    """A trial that yields every metric of its workload: 100, less the loss, with noise of its own."""
    chance = np.random.default_rng([number, int(todo.ratio), todo.repetition])
    metrics = {}
    for metric, curve in losses[todo.workload].items():
        loss = curve.get(todo.ratio, 0.0)
        factor = 1 - loss if metric.better == "higher" else 1 + loss
        metrics[metric.name] = 100 * factor * math.exp(noise * chance.standard_normal())
    label = todo.filesystem
    return Trial(
        number, todo.workload, todo.ratio, 1, todo.repetition, 1, state, "", 1.0, metrics=metrics, filesystem=label
    )


def run(search, losses, noise=0.02, trial=measured, most=400) -> list[Trial]:
    """Every trial that the search asks for."""
    over: list[Trial] = []
    while (todo := search.next(over)) is not None:
        left = search.left(over)
        assert left[0] == todo and len({each.key for each in left}) == len(left)
        over.append(trial(todo, len(over) + 1, losses, noise))
        assert len(over) < most
    assert not search.left(over)
    return over


def verdict(trials, metric=WRITE, workload="ior", filesystem=""):
    mine = [t for t in trials if (t.workload, t.filesystem) == (workload, filesystem)]
    hosts = dict.fromkeys(RATIOS, 1)
    return judge(Series("x", workload, metric, 0.1, hosts, *by_ratio(mine, metric.name), 0.05, 25))


def counts(trials) -> Counter[float]:
    return Counter(trial.ratio for trial in trials)


def test_a_clear_curve_is_found_with_few_trials():
    trials = run(Adaptive(question(start={"": 4.0})), {"ior": {WRITE: LATE}})
    found = verdict(trials)
    assert (found.holds_up_to, found.breaks_at) == (4.0, 6.0)
    assert [trial.ratio for trial in trials[:3]].count(1.0) == 1
    assert {trial.ratio for trial in trials[:3]} == {1.0, 3.0, 4.0}
    assert all(count >= 1 for count in (counts(trials)[ratio] for ratio in RATIOS))
    assert counts(trials)[2.0] == counts(trials)[8.0] == 1  # looked at, and not needed
    assert len(trials) < 20


@pytest.mark.parametrize("start", RATIOS[1:])
@pytest.mark.parametrize("losses", [LATE, EARLY, dict.fromkeys(RATIOS[1:], 0.0)])
def test_wherever_it_begins_it_comes_to_the_same(start, losses):
    found = verdict(run(Adaptive(question(start={"": start})), {"ior": {WRITE: losses}}))
    right = next((ratio for ratio in RATIOS[1:] if losses[ratio] > 0.1), None)
    assert found.breaks_at == right
    assert found.holds_up_to == max(r for r in RATIOS if right is None or r < right)


def test_lower_may_be_better():
    found = verdict(run(Adaptive(question({"ior": (LATENCY,)})), {"ior": {LATENCY: LATE}}), LATENCY)
    assert (found.holds_up_to, found.breaks_at) == (4.0, 6.0)


def test_a_curve_that_holds_again_is_examined_everywhere():
    losses = {2.0: 0.0, 3.0: 0.4, 4.0: 0.0, 6.0: 0.02, 8.0: 0.5}
    trials = run(Adaptive(question()), {"ior": {WRITE: losses}})
    found = verdict(trials)
    assert not found.monotone and not found.undecided
    assert [row.state for row in found.ratios] == ["holds", "holds", "breaks", "holds", "holds", "breaks"]


def test_each_block_has_its_baseline_and_each_ratio_once():
    search = Adaptive(question())
    trials = run(search, {"ior": {WRITE: {ratio: loss / 3 for ratio, loss in LATE.items()}}}, noise=0.04)
    blocks = search._blocks
    assert sum(len(block) for block in blocks) == len(trials)
    for block in blocks:
        ratios = [todo.ratio for todo in block]
        assert 1.0 in ratios and len(set(ratios)) == len(ratios)
    assert len({tuple(todo.ratio for todo in block) for block in blocks}) > 2
    assert blocks[0][0].ratio == 1.0 and any(block[0].ratio != 1.0 for block in blocks[1:])
    numbers = {ratio: [t.repetition for t in trials if t.ratio == ratio] for ratio in RATIOS}
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


def test_what_is_near_the_tolerated_loss_ends_undecided():
    near = dict.fromkeys(RATIOS[1:], 0.1)
    trials = run(Adaptive(question(most=8)), {"ior": {WRITE: near}}, noise=0.15)
    assert max(count for ratio, count in counts(trials).items() if ratio != 1) <= 8
    found = verdict(trials)
    assert len(found.undecided) == 5
    assert all(row.expected and row.expected > 1 for row in found.undecided)


def test_a_near_thing_does_not_use_up_a_small_budget_alone():
    """Ratio 2 loses what is tolerated; where it breaks at the latest is known all the same."""
    losses = {"ior": {WRITE: {2.0: 0.1, 3.0: 0.35, 4.0: 0.5, 6.0: 0.6, 8.0: 0.7}}}
    for seed in range(5):
        trials = run(Within(Adaptive(question(seed=seed)), 24, None), losses, noise=0.1)
        assert verdict(trials).breaks_at in (2.0, 3.0, 4.0)


def test_all_metrics_of_all_workloads_count():
    losses = {"ior": {WRITE: LATE, READ: EARLY}, "mdtest": {LATENCY: dict.fromkeys(RATIOS[1:], 0.0)}}
    trials = run(Adaptive(question({"ior": (WRITE, READ), "mdtest": (LATENCY,)})), losses)
    assert verdict(trials, WRITE).breaks_at == 6.0
    assert verdict(trials, READ).breaks_at == 2.0
    assert verdict(trials, LATENCY, "mdtest").holds_up_to == 8.0
    visits = [key for key, _ in groupby(trials, key=lambda trial: trial.ratio)]
    assert len(visits) < len(trials)  # the workloads of a block share a ratio


def test_the_largest_ratio_at_which_all_may_hold_is_decided_for_each():
    losses = {"ior": {WRITE: dict.fromkeys(RATIOS[1:], 0.0), READ: LATE}}
    trials = run(Adaptive(question({"ior": (WRITE, READ)})), losses)
    assert verdict(trials, READ).holds_up_to == 4.0
    assert verdict(trials, WRITE).at(4.0).state == "holds"


def test_file_systems_take_turns_of_several_trials():
    search = Adaptive(question(filesystems=("a", "b")))
    trials = run(search, {"ior": {WRITE: LATE}}, noise=0.04)
    turns = [(label, len(list(many))) for label, many in groupby(trials, key=lambda trial: trial.filesystem)]
    assert {label for label, _ in turns} == {"a", "b"}
    assert np.mean([count for _, count in turns]) > 4
    for label in ("a", "b"):
        assert verdict(trials, filesystem=label).breaks_at == 6.0
    keys = [key_of(trial) for trial in trials]
    assert len(set(keys)) == len(keys)


def test_workloads_through_faults_run_a_fixed_number_of_times():
    losses = {"ior": {WRITE: LATE}, "ior+crash": {WRITE: LATE}}
    trials = run(Adaptive(question(fixed={"ior+crash": 3})), losses)
    assert counts([t for t in trials if t.workload == "ior+crash"]) == dict.fromkeys(RATIOS, 3)


def test_it_goes_on_where_it_was_left():
    """From nothing but the trials that are over, at any moment, another search asks for the same next trial."""
    losses = {"ior": {WRITE: LATE, READ: EARLY}}
    whole = question({"ior": (WRITE, READ)}, filesystems=("a", "b"))
    trials = run(Adaptive(whole), losses, noise=0.05)
    for count in range(0, len(trials), 3):
        following = Adaptive(whole).next(trials[:count])
        assert following is not None and following.key == key_of(trials[count])
    assert Adaptive(whole).next(trials) is None


def test_another_seed_is_another_order():
    orders = {tuple(t.ratio for t in run(Adaptive(question(seed=n)), {"ior": {WRITE: LATE}})) for n in range(4)}
    assert len(orders) > 1


def test_a_ratio_at_which_nothing_works_is_given_up():
    def fails(todo, number, losses, noise):
        return measured(todo, number, losses, noise, "failed" if todo.ratio == 6.0 else "done")

    trials = run(Adaptive(question()), {"ior": {WRITE: {**LATE, 6.0: 0.0, 8.0: 0.0}}}, trial=fails)
    assert counts(trials)[6.0] == HOPELESS
    assert verdict(trials).holds_up_to == 8.0


def stopping(beyond, after=None):
    """A trial that is stopped at ratios `beyond`: with a bound for the first metric, or `after` that one."""

    def trial(todo, number, losses, noise):
        done = measured(todo, number, losses, noise)
        if todo.ratio not in beyond:
            return done
        first = next(iter(done.metrics)) if after is None else after.name
        return replace(done, state="censored", metrics={}, bounds={first: 20.0})

    return trial


def test_a_ratio_whose_trials_are_stopped_is_decided_and_looked_at_once_beyond():
    curve = {"ior": {WRITE: {2.0: 0.0, 3.0: 0.01, 4.0: 0.02, 6.0: 0.9, 8.0: 0.95}}}
    search = Adaptive(question(start={"": 4.0}))
    trials = run(search, curve, trial=stopping({6.0, 8.0}))
    [found] = search.verdicts(trials)
    assert (found.holds_up_to, found.breaks_at) == (4.0, 6.0)
    assert found.at(6.0).at_least and found.at(6.0).loss == pytest.approx(0.8, abs=0.02)
    assert counts(trials)[8.0] == 1 and counts(trials)[6.0] <= 4
    assert len(trials) <= len(run(Adaptive(question(start={"": 4.0})), curve)) + 3


def test_one_that_hangs_below_what_holds_is_looked_at_again():
    """By its bound it seems to break; and of one whose bound is a good one nothing is known, whatever it seems."""

    def trial(todo, number, losses, noise):
        done = measured(todo, number, losses, noise)
        hangs = todo.ratio == 2.0 and todo.repetition == 1
        return replace(done, state="censored", metrics={}, bounds={"write": bound}) if hangs else done

    for bound in (20.0, 99.0):
        search = Adaptive(question(start={"": 6.0}))
        trials = run(search, {"ior": {WRITE: LATE}}, trial=trial)
        [found] = search.verdicts(trials)
        assert (found.holds_up_to, found.breaks_at) == (4.0, 6.0)
        assert not found.at(2.0).at_least or bound == 99.0
        assert counts(trials)[2.0] >= 3


def test_a_metric_that_stopped_trials_never_come_to_is_not_asked_for_again_and_again():
    """Each of these trials hangs while it writes: of reading there is nothing to see, however often one looks."""
    curve = {"ior": {WRITE: LATE, READ: {2.0: 0.0, 3.0: 0.0, 4.0: 0.01, 6.0: 0.02, 8.0: 0.0}}}
    search = Adaptive(question({"ior": (WRITE, READ)}))
    trials = run(search, curve, trial=stopping({6.0, 8.0}, WRITE))
    write, read = search.verdicts(trials)
    assert (write.holds_up_to, write.breaks_at) == (4.0, 6.0)
    assert read.holds_up_to == 4.0 and read.at(6.0).trials == 0
    assert counts(trials)[8.0] <= HOPELESS and counts(trials)[6.0] <= 4


def test_without_a_baseline_it_ends():
    def fails(todo, number, losses, noise):
        return measured(todo, number, losses, noise, "failed" if todo.ratio == 1.0 else "done")

    assert counts(run(Adaptive(question()), {"ior": {WRITE: LATE}}, trial=fails))[1.0] == HOPELESS


def test_what_was_passed_over_is_told():
    search = Adaptive(question(start={"": 6.0}))
    trials = run(search, {"ior": {WRITE: LATE}})
    undecided = {row.ratio for row in verdict(trials).ratios if row.passed_over}
    assert {todo.ratio for todo in search.skipped(trials)} == undecided == {2.0, 3.0, 8.0}


def test_a_budget_ends_it():
    over = run(Within(Adaptive(question()), 5, None), {"ior": {WRITE: LATE}})
    assert len(over) == 5
    search = Within(Adaptive(question()), None, 60.0)
    assert search.next([], 59.9) is not None and search.next([], 60.0) is None
    assert len(Within(Adaptive(question()), 2, None).left([])) == 2


def test_a_ratio_that_is_passed_over_must_look_as_if_it_did_the_same():
    trials = run(Adaptive(question()), {"ior": {WRITE: LATE}})
    found = verdict(trials)
    assert wanted(found) == set()
    number = len(trials) + 1
    dip = [measured(Todo("ior", 2.0, 2), number, {"ior": {WRITE: {2.0: 0.3}}})]
    assert wanted(verdict([t for t in trials if t.ratio != 2.0] + dip)) == {2.0}
