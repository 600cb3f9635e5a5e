"""The order of trials."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from pliant.statistics.search import Schedule, Todo, schedule
from pliant.trial import Trial

labels = st.lists(st.sampled_from(["ior", "mdtest", "small", "large", "fio"]), min_size=1, max_size=4, unique=True)
ratios = st.sets(st.sampled_from([1.5, 2.0, 3.0, 4.0, 8.0, 16.0]), max_size=5).map(lambda more: [1.0, *sorted(more)])
seeds = st.integers(0, 2**63 - 1)
repetitions = st.integers(1, 6)


@given(labels, ratios, repetitions, seeds)
def test_each_trial_is_there_once(workloads, ratios, repetitions, seed):
    todo = schedule(workloads, ratios, repetitions, seed)
    wanted = {Todo(w, r, n, turn=n) for w in workloads for r in ratios for n in range(1, repetitions + 1)}
    assert Counter(todo) == Counter(wanted)


@given(labels, ratios, repetitions, seeds)
def test_each_repetition_is_a_block_with_the_baseline_in_it(workloads, ratios, repetitions, seed):
    todo = schedule(workloads, ratios, repetitions, seed)
    assert [n for n, _ in groupby(todo, key=lambda each: each.repetition)] == list(range(1, repetitions + 1))
    for _, block in groupby(todo, key=lambda each: each.repetition):
        assert {each.workload for each in block if each.ratio == 1} == set(workloads)


@given(labels, ratios, repetitions, seeds)
def test_a_ratio_is_folded_to_once_in_a_repetition(workloads, ratios, repetitions, seed):
    todo = schedule(workloads, ratios, repetitions, seed)
    visits = [key for key, _ in groupby(todo, key=lambda each: (each.repetition, each.ratio))]
    assert len(visits) == len(set(visits)) == repetitions * len(ratios)


@given(labels, ratios, repetitions, seeds)
def test_the_order_follows_from_the_seed_alone(workloads, ratios, repetitions, seed):
    assert schedule(workloads, ratios, repetitions, seed) == schedule(
        tuple(workloads), tuple(ratios), repetitions, seed
    )


@given(seeds)
def test_another_seed_is_another_order(seed):
    first, second = (schedule(["ior", "mdtest"], [1, 2, 3, 4, 8], 6, each) for each in (seed, seed + 1))
    assert first != second


@given(seeds)
def test_repetitions_differ_in_order(seed):
    todo = schedule(["ior"], [1, 2, 3, 4, 8], 8, seed)
    orders = {tuple(each.ratio for each in block) for _, block in groupby(todo, key=lambda each: each.repetition)}
    assert len(orders) > 1


@given(labels, ratios, repetitions, seeds)
def test_the_first_pass_of_each_file_system_begins_with_the_baseline(workloads, ratios, repetitions, seed):
    """By it is known when a folded trial has lasted too long; which has to be known before the first."""
    todo = schedule(workloads, ratios, repetitions, seed, ["x", "y"])
    for _, block in groupby(todo, key=lambda each: (each.repetition, each.filesystem)):
        first = next(iter(block))
        assert first.ratio == 1 or first.repetition > 1
    others = [each.ratio for each in schedule(["a"], [1, 2, 4, 8, 16], 1, seed)][1:]
    assert sorted(others) == [2, 4, 8, 16]


def test_every_ratio_comes_first_about_as_often():
    """A ratio that always comes first would be measured on the coolest machine."""
    todo = [each for each in schedule(["a", "b"], [1, 2, 4, 8], 401, 1) if each.repetition > 1]
    first = Counter(next(iter(block)).ratio for _, block in groupby(todo, key=lambda each: each.repetition))
    assert all(60 <= first[ratio] <= 140 for ratio in (1, 2, 4, 8))
    order = Counter(next(iter(b)).workload for _, b in groupby(todo, key=lambda each: (each.repetition, each.ratio)))
    assert 700 <= order["a"] <= 900


def over(todo: Todo, state="done", number=1) -> Trial:
    """What became of a trial."""
    return Trial(number, todo.workload, todo.ratio, 1, todo.repetition, 1, state, "", filesystem=todo.filesystem)


def test_a_schedule_goes_on_where_it_was_left():
    todo = schedule(["a", "b"], [1, 2], 2, 1, ["x", "y"])
    search, ended = Schedule(todo), []
    while (following := search.next(ended)) is not None:
        assert search.left(ended)[0] == following == Schedule(todo).next(ended)
        ended.append(over(following, "failed" if len(ended) == 3 else "done"))
    assert [(t.filesystem, t.workload, t.ratio, t.repetition) for t in ended] == [each.key for each in todo]
    assert not search.left(ended)
    assert not search.skipped(ended)
    # Whichever of them are over, and in whichever order: what is left is the rest, in order.
    some = [over(each) for each in (todo[5], todo[0], todo[9])]
    assert search.left(some) == [each for n, each in enumerate(todo) if n not in (0, 5, 9)]
