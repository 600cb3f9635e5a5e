"""Max-min fair sharing: what holds of any solution, and that classes are as good as one variable for each node."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.predicted import by_class, in_full, solved
from hypothesis import given
from hypothesis import strategies as st

from pliant.model.fluid import Flows, makespan, rates

NUMBERS = st.floats(0.1, 10.0)


@st.composite
def problems(draw) -> Flows:
    resources, classes = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    demand = np.array(draw(st.lists(st.lists(st.one_of(st.just(0.0), NUMBERS), min_size=classes, max_size=classes),
                                    min_size=resources, max_size=resources)))  # fmt: skip
    return Flows(
        np.array(draw(st.lists(NUMBERS, min_size=resources, max_size=resources))),
        demand,
        np.array(draw(st.lists(st.integers(1, 5), min_size=classes, max_size=classes)), dtype=float),
        np.array(draw(st.lists(NUMBERS, min_size=classes, max_size=classes))),
    )


@given(problems())
def test_no_resource_is_over_its_capacity_and_each_flow_is_held_back(problem):
    found = rates(problem)
    used = (problem.demand * problem.many) @ found
    assert (used <= problem.capacity * (1 + 1e-6)).all()
    full = used >= problem.capacity * (1 - 1e-6)
    for flow, rate in enumerate(found):
        at_most = rate >= problem.most[flow] * (1 - 1e-6)
        # On a full resource that it uses nobody has more than it has.
        held = any(
            full[k] and rate >= found[problem.demand[k] > 0].max() * (1 - 1e-6)
            for k in range(len(problem.capacity))
            if problem.demand[k, flow] > 0
        )
        assert at_most or held


@given(problems(), st.floats(1.0, 3.0))
def test_the_slowest_gains_from_more_capacity(problem, factor):
    more = Flows(problem.capacity * factor, problem.demand, problem.many, problem.most)
    assert rates(more).min() >= rates(problem).min() * (1 - 1e-9)


@given(problems())
def test_a_class_is_so_many_flows_of_one_each(problem):
    index = np.repeat(np.arange(len(problem.many)), problem.many.astype(int))
    each = Flows(problem.capacity, problem.demand[:, index], np.ones(len(index)), problem.most[index])
    assert rates(each) == pytest.approx(rates(problem)[index])
    assert makespan(each, 3.0) == pytest.approx(makespan(problem, 3.0))


def test_whoever_ends_leaves_its_part_to_the_others():
    problem = Flows(np.array([10.0, 2.0]), np.array([[1.0, 1.0], [0.0, 1.0]]), np.ones(2), np.full(2, np.inf))
    assert rates(problem) == pytest.approx([8.0, 2.0])
    assert makespan(problem, 4.0) == pytest.approx(2.0)
    alone = Flows(np.array([10.0]), np.array([[1.0, 1.0]]), np.ones(2), np.array([np.inf, 1.0]))
    assert rates(alone) == pytest.approx([9.0, 1.0])


def test_flows_that_nothing_holds_back_are_refused():
    with pytest.raises(ValueError, match="nothing holds"):
        rates(Flows(np.array([1.0]), np.array([[0.0]]), np.ones(1), np.full(1, np.inf)))


@pytest.mark.parametrize("ratio", [1, 2, 3.7, 13, 100])
@pytest.mark.parametrize("servers", [20, 50])
def test_hosts_that_are_alike_are_one(servers, ratio):
    few, full = by_class(servers, 100 - servers, ratio), in_full(servers, 100 - servers, ratio)
    assert few.demand.shape[1] < full.demand.shape[1]
    assert solved(few) == pytest.approx(solved(full), rel=1e-6)
