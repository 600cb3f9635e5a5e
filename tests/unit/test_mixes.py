"""Counting what hosts carry, held against the placements themselves."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.composition.mixes import counted, mixes
from pliant.composition.placement import hosts_for, nodes_for, place

ROLES = st.dictionaries(st.sampled_from(["server", "client", "master", "osd"]), st.integers(1, 9), min_size=1)
STRATEGIES = ("spread", "pack", "segregate", "pair")


@given(roles=ROLES, strategy=st.sampled_from(STRATEGIES), data=st.data())
def test_they_are_those_of_the_placement(roles, strategy, data):
    hosts = data.draw(st.integers(1, sum(roles.values())))
    nodes = nodes_for(roles)
    try:
        placed = place(nodes, hosts, strategy, {"client"})
    except ValueError:
        with pytest.raises(ValueError, match="segregate"):
            mixes(roles, hosts, strategy, {"client"})
        return
    role_of = {node.name: node.role for node in nodes}
    assert mixes(roles, hosts, strategy, {"client"}) == counted(placed.hosts, role_of, list(roles))


@given(roles=ROLES, strategy=st.sampled_from(STRATEGIES), data=st.data())
def test_nodes_of_roles_that_are_not_folded_have_a_host_each(roles, strategy, data):
    folded = data.draw(st.sets(st.sampled_from(sorted(roles)), min_size=1))
    hosts = data.draw(st.integers(1, sum(roles[role] for role in folded)))
    nodes = nodes_for(roles)
    try:
        placed = place(nodes, hosts, strategy, {"client"}, folded)
    except ValueError:
        with pytest.raises(ValueError, match="segregate"):
            mixes(roles, hosts, strategy, {"client"}, folded)
        return
    role_of = {node.name: node.role for node in nodes}
    found = mixes(roles, hosts, strategy, {"client"}, folded)
    assert found == counted(placed.hosts, role_of, list(roles))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_hundred_thousand_nodes_take_no_time(strategy):
    roles = {"server": 20_000, "client": 80_000}
    begin_s = time.monotonic()
    found = mixes(roles, hosts_for(100_000, 11), strategy, {"client"})
    assert time.monotonic() - begin_s < 2
    assert sum(found.values()) == hosts_for(100_000, 11) and len(found) < 10
    assert sum(mix[0] * count for mix, count in found.items()) == 20_000


@pytest.mark.parametrize(
    ("hosts", "strategy", "said"),
    [(0, "spread", "need from 1 to 3"), (4, "spread", "need from 1 to 3"), (2, "explicit", "has no rule")],
)
def test_what_cannot_be_is_refused(hosts, strategy, said):
    with pytest.raises(ValueError, match=said):
        mixes({"server": 1, "client": 2}, hosts, strategy, {"client"})
