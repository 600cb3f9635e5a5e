"""Placements: what every strategy promises, for any role distribution and any number of hosts."""

from collections import Counter
from ipaddress import IPv4Address

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pliant.composition.placement import MAX_NODES, STRATEGIES, Placement, explicit, hosts_for, nodes_for, place

ROLES = ("server", "client", "monitor", "manager", "viewer")
CLIENTS = {"client", "viewer"}


@st.composite
def clusters(draw):
    """Nodes of several roles, at most 200 of them, and a number of hosts they can be folded on."""
    names = draw(st.lists(st.sampled_from(ROLES), min_size=1, max_size=5, unique=True))
    nodes = nodes_for({name: draw(st.integers(1, 40)) for name in names})
    return nodes, draw(st.integers(1, len(nodes)))


def loads(placement: Placement) -> list[int]:
    return [len(names) for names in placement.hosts]


def groups(nodes) -> tuple[set[str], set[str]]:
    """The names of the nodes that are no clients, and of those that are."""
    clients = {node.name for node in nodes if node.role in CLIENTS}
    return {node.name for node in nodes} - clients, clients


@given(clusters(), st.sampled_from(sorted(STRATEGIES)))
def test_every_node_is_on_one_host_and_no_host_is_empty(cluster, strategy):
    nodes, hosts = cluster
    assume(strategy != "segregate" or hosts > 1 or not all(groups(nodes)))
    placement = place(nodes, hosts, strategy, CLIENTS)
    assert len(placement.hosts) == hosts == len(placement.host_names)
    assert all(placement.hosts)
    assert sorted(placement.nodes) == sorted(node.name for node in nodes)
    for node in nodes:
        assert node.name in placement.hosts[placement.host_of(node.name)]
    assert place(nodes, hosts, strategy, CLIENTS) == placement
    assert explicit(nodes, placement.hosts) == placement


@given(clusters(), st.sampled_from(sorted(STRATEGIES)))
def test_the_baseline_has_one_node_per_host(cluster, strategy):
    nodes, _ = cluster
    placement = place(nodes, len(nodes), strategy, CLIENTS)
    assert placement.hosts == tuple((node.name,) for node in nodes)


@given(clusters())
def test_spread_is_even_in_total_and_for_each_role(cluster):
    nodes, hosts = cluster
    placement = place(nodes, hosts, "spread", CLIENTS)
    assert max(loads(placement)) - min(loads(placement)) <= 1
    role = {node.name: node.role for node in nodes}
    for name in set(role.values()):
        counts = [sum(role[node] == name for node in names) for names in placement.hosts]
        assert max(counts) - min(counts) <= 1


@given(clusters())
def test_pack_cuts_the_roles_into_even_blocks(cluster):
    nodes, hosts = cluster
    placement = place(nodes, hosts, "pack", CLIENTS)
    assert max(loads(placement)) - min(loads(placement)) <= 1
    assert placement.nodes == tuple(node.name for node in nodes)


@given(clusters())
def test_segregate_never_mixes_and_no_division_of_hosts_is_better(cluster):
    nodes, hosts = cluster
    others, clients = groups(nodes)
    assume(others and clients and 2 <= hosts < len(nodes))
    placement = place(nodes, hosts, "segregate", CLIENTS)
    assert all(set(names) <= others or set(names) <= clients for names in placement.hosts)
    best = min(
        (max(highs), max(highs) - min(lows))
        for first in range(1, hosts)
        if first <= len(others) and hosts - first <= len(clients)
        for highs in [(-(-len(others) // first), -(-len(clients) // (hosts - first)))]
        for lows in [(len(others) // first, len(clients) // (hosts - first))]
    )
    assert (max(loads(placement)), max(loads(placement)) - min(loads(placement))) == best


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_roles_that_are_not_folded_keep_a_host_each(strategy):
    nodes = nodes_for({"server": 3, "client": 4})
    found = place(nodes, 2, strategy, {"client"}, {"client"})
    assert found.hosts[:3] == (("server1",), ("server2",), ("server3",))
    assert sorted(map(len, found.hosts[3:])) == [2, 2]
    assert sorted(found.nodes) == sorted(node.name for node in nodes)
    assert place(nodes, 4, strategy, {"client"}, {"client"}) == place(nodes, 7, strategy, {"client"})
    with pytest.raises(ValueError, match="4 nodes need from 1 to 4 hosts, not 5"):
        place(nodes, 5, strategy, {"client"}, {"client"})


def test_segregate_on_one_host_says_which_ratio_works():
    with pytest.raises(ValueError, match="at least 2 hosts; the largest ratio that works with 8 nodes is 4"):
        place(nodes_for({"server": 4, "client": 4}), 1, "segregate", CLIENTS)


@given(clusters())
def test_pair_keeps_pairs_whole_as_far_as_the_hosts_allow(cluster):
    nodes, hosts = cluster
    assume(hosts < len(nodes))
    others, clients = groups(nodes)
    placement = place(nodes, hosts, "pair", CLIENTS)
    count = min(len(others), len(clients))
    units = len(nodes) - count
    if hosts > units:
        together = sum(len(names) == 2 for names in placement.hosts)
        assert together == count - (hosts - units)
        assert max(loads(placement)) <= 2
    else:
        assert max(loads(placement)) == max(-(-len(nodes) // hosts), 2 * -(-count // hosts))
        assert max(loads(placement)) - min(loads(placement)) <= 2


@given(st.integers(1, 60), st.integers(0, 20), st.data())
def test_pair_puts_server_i_with_client_i(servers, more, data):
    nodes = nodes_for({"monitor": 1, "server": servers + 1, "client": servers + 1 + more})
    hosts = data.draw(st.integers(1, len(nodes) - servers - 1))
    placement = place(nodes, hosts, "pair", CLIENTS)
    for index in range(1, servers + 2):
        assert placement.host_of(f"server{index}") == placement.host_of(f"client{index}")


def test_pair_splits_the_last_pairs_first():
    placement = place(nodes_for({"server": 3, "client": 3}), 4, "pair", CLIENTS)
    assert placement.hosts == (("server1", "client1"), ("server2", "client2"), ("server3",), ("client3",))


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_ratio_computed_from_hosts_gives_those_hosts_back(nodes, hosts):
    assume(hosts <= nodes)
    assert hosts_for(nodes, nodes / hosts) == hosts


@pytest.mark.parametrize(("nodes", "ratio", "hosts"), [(8, 1, 8), (8, 3, 3), (8, 8, 1), (7, 2, 4), (8, 100, 1)])
def test_hosts_for_rounds_up(nodes, ratio, hosts):
    assert hosts_for(nodes, ratio) == hosts


@pytest.mark.parametrize(
    ("hosts", "message"),
    [
        ([["server1", "client1"]], "server2 is on no host"),
        ([["server1", "server2"], ["client1", "server1"]], "server1 is placed more than once"),
        ([["server1", "server2", "client1", "client7"]], "there is no node client7; the nodes are client1,server"),
        ([["server1", "server2", "client1"], []], "host 2 has no node"),
    ],
)
def test_an_explicit_placement_is_checked(hosts, message):
    with pytest.raises(ValueError) as refused:
        explicit(nodes_for({"server": 2, "client": 1}), hosts)
    assert message in str(refused.value)


@pytest.mark.parametrize("hosts", [0, 4])
def test_more_hosts_than_nodes_or_none_are_refused(hosts):
    with pytest.raises(ValueError, match="3 nodes need from 1 to 3 hosts"):
        place(nodes_for({"server": 2, "client": 1}), hosts, "spread", CLIENTS)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match='"stack" is not a strategy; write one of spread, pack'):
        place(nodes_for({"server": 2}), 1, "stack", CLIENTS)


def test_nodes_are_named_and_addressed_in_order():
    nodes = nodes_for({"server": 2, "client": 1})
    assert [(node.name, node.role, node.index, node.address) for node in nodes] == [
        ("server1", "server", 1, "10.77.1.1"),
        ("server2", "server", 2, "10.77.1.2"),
        ("client1", "client", 1, "10.77.1.3"),
    ]


def test_addresses_are_distinct_and_usable_for_the_largest_cluster():
    nodes = nodes_for({"server": MAX_NODES})
    assert max(Counter(node.address for node in nodes).values()) == 1
    for node in nodes:
        last = IPv4Address(node.address).packed
        assert last[:2] == bytes((10, 77)) and 1 <= last[2] <= 254 and 1 <= last[3] <= 254


def test_impossible_clusters_are_refused():
    with pytest.raises(ValueError, match="write at most 60000"):
        nodes_for({"server": MAX_NODES + 1})
    with pytest.raises(ValueError, match='both have a node called "a11"'):
        nodes_for({"a": 11, "a1": 1})


def test_a_placement_describes_itself():
    placement = Placement((("server1", "client1"), ("server2",)))
    assert placement.describe() == "host1: client1,server1; host2: server2"
