"""Which CPUs hosts are kept on."""

from __future__ import annotations

import doctest
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.machine import cpus

loads = st.lists(st.integers(0, 120).map(lambda n: n / 100), min_size=1, max_size=12).map(
    lambda found: dict(enumerate(found))
)


def test_the_examples():
    assert doctest.testmod(cpus).failed == 0


@given(st.integers(1, 40), st.integers(1, 400).map(lambda n: n / 100), loads)
def test_each_host_has_as_many_cpus_as_cores_or_more_where_they_are_full(hosts, cores, loads):
    found = cpus.dealt(hosts, cores, loads)
    assert len(found) == hosts
    for own in found:
        assert set(own) <= set(loads)
        assert len(own) >= min(math.ceil(cores), len(loads))
        assert cores > 1 or len(own) == 1
    promised = sum(cpus.loaded(found, cores, loads).values()) - sum(loads.values())
    assert promised == pytest.approx(hosts * cores)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 100).map(lambda n: n / 100))
def test_equal_hosts_on_an_empty_machine_are_spread_evenly(hosts, count, cores):
    found = cpus.dealt(hosts, cores, dict.fromkeys(range(count), 0.0))
    each = [sum(own == (cpu,) for own in found) for cpu in range(count)]
    assert max(each) - min(each) <= 1


@given(st.integers(1, 40), loads, st.integers(1, 500).map(lambda n: n / 100))
def test_the_largest_host_fits_and_a_larger_one_does_not(hosts, loads, most):
    largest = cpus.largest(hosts, loads, most)
    assert 0 <= largest <= most + 1e-6
    if largest > 0:
        assert max(cpus.fullest(hosts, largest, {c: min(load, 1.0) for c, load in loads.items()}), 1) == 1
    if largest + 0.01 <= most:
        assert cpus.fullest(hosts, largest + 0.01, loads) > 1


@given(st.integers(1, 60), st.integers(1, 64))
def test_nine_tenths_of_the_largest_host_that_a_formula_knows_fit(hosts, count):
    assert cpus.fullest(hosts, 0.9 * cpus.most_cores(hosts, count), dict.fromkeys(range(count), 0.0)) <= 1
