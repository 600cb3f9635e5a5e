"""What hosts are loaded with: nothing is lost between nodes and hosts, and what stays on a host needs no NIC."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.model.demand import Demand, between
from pliant.model.folding import Roles, Unfolded, crowded, roles_of

CAPACITY = dict.fromkeys(("cpu", "nic_up", "nic_down", "disk_read", "disk_write"), 1.0)


def demand(servers: int = 4, clients: int = 4) -> Demand:
    many = np.array([servers, clients], dtype=float)
    amounts = {"cpu": np.array([2.0, 1.0]) / many, "disk_write": np.array([1.0, 0.0]) / many}
    return Demand(("server", "client"), many, amounts, np.array([[0.0, 0.1], [1.0, 0.0]]) / many[:, None])


def test_each_node_alone_loads_its_host_with_its_own():
    found = demand().loads(np.eye(2), CAPACITY)
    assert found["cpu"] == pytest.approx([0.5, 0.25])
    assert found["nic_up"] == pytest.approx([0.025, 0.25])
    assert found["nic_down"] == pytest.approx([0.25, 0.025])
    assert "disk_read" not in found


def test_what_stays_on_a_host_needs_no_nic():
    one = demand().loads(np.array([[4.0, 4.0]]), CAPACITY)
    assert one["nic_up"] == pytest.approx([0.0]) and one["cpu"] == pytest.approx([3.0])
    half = demand().loads(np.array([[2.0, 2.0]]), CAPACITY)
    assert half["nic_up"] == pytest.approx([(1.0 + 0.1) / 4])


@given(servers=st.integers(1, 6), clients=st.integers(1, 6), mix=st.tuples(st.integers(0, 6), st.integers(0, 6)))
def test_what_one_sends_another_receives(servers, clients, mix):
    known = demand(servers, clients)
    first = np.minimum(mix, [servers, clients]).astype(float)
    rows = np.array([first, known.many - first])
    found = known.loads(rows, CAPACITY)
    assert found["nic_up"].sum() == pytest.approx(found["nic_down"].sum())
    assert found["cpu"].sum() == pytest.approx(3.0)


def test_clients_talk_with_servers_and_servers_among_themselves():
    # Each byte that clients write goes to one server and from there to another.
    found = between(np.array([1.0, 1.0]), np.array([2.0, 0.0]), [False, True])
    assert found[1, 0] == pytest.approx(1.0, abs=1e-6) and found[0, 0] == pytest.approx(1.0, abs=1e-6)
    assert found[1, 1] == 0
    assert between(np.zeros(2), np.zeros(2), [False, True]).sum() == 0


def test_nodes_keep_their_own_and_roles_have_the_sum():
    nodes = ["server1", "server2", "client1"]
    used = {
        "cpu": np.array([1.0, 3.0, 2.0]),
        "disk_read": np.zeros(3),
        "disk_write": np.array([0.0, 1.0, 0.0]),
        "nic_up": np.array([0.0, 0.0, 1.0]),
        "nic_down": np.array([0.0, 1.0, 0.0]),
    }
    roles, each = roles_of(Unfolded(nodes, {n: n[:-1] for n in nodes}, ["client"], 1), used)
    assert each.amounts["cpu"] == pytest.approx([1.0, 3.0, 2.0])
    assert each.traffic[2] == pytest.approx([0.0, 1.0, 0.0])
    assert roles.amounts["cpu"] == pytest.approx([4.0, 2.0])
    assert roles.uneven == pytest.approx([1.0, 0.0]), "all of it on one server, as whole files are"
    larger = roles.demand({"server": 4, "client": 2})
    assert larger.amounts["cpu"] == pytest.approx([1.0, 1.0])
    assert (larger.many @ larger.amounts["cpu"]) == pytest.approx(6.0)


def test_chance_gives_some_server_more_than_its_part():
    many = {"server": 4, "client": 4}
    roles = Roles(("server", "client"), many, ("client",), {}, np.zeros((2, 2)), np.array([1.0, 0.0]))
    apart = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = crowded(roles, many, apart, np.array([4.0, 4.0]), ranks=4)
    assert 1.5 < found[0, 0] < 3 and found[1, 1] == 1
    assert crowded(roles, many, apart, np.array([4.0, 4.0]), ranks=4000)[0, 0] < 1.1
    together = crowded(roles, many, np.array([[4.0, 4.0]]), np.ones(1), ranks=4)
    assert together == pytest.approx(np.array([[4.0, 4.0]]))
