"""The bound by which a search begins."""

from __future__ import annotations

import math

import pytest

from pliant.composition.placement import Placement
from pliant.statistics.bandwidth_bound import client_rate, expected_break

CLIENTS, SERVERS = ("client1", "client2"), ("server1", "server2")
APART = Placement((("client1",), ("client2",), ("server1",), ("server2",)))
PAIRED = Placement((("client1", "server1"), ("client2", "server2")))
SPLIT = Placement((("client1", "client2"), ("server1", "server2")))
TOGETHER = Placement((("client1", "client2", "server1", "server2"),))


@pytest.mark.parametrize(
    ("placement", "rate"),
    [
        (APART, 10.0),  # each client has a NIC
        (PAIRED, 20.0),  # half of it stays on the host; the disk bears 1 x the rate of a client
        (SPLIT, 5.0),  # two clients share a NIC
        (TOGETHER, 15.0),  # nothing crosses, and one disk holds everything
    ],
)
def test_what_each_client_can_have(placement, rate):
    assert client_rate(placement, CLIENTS, SERVERS, nic_byte_s=10.0, disk_byte_s=30.0) == rate


def test_nothing_limits_a_cluster_that_holds_no_data():
    assert client_rate(APART, CLIENTS, (), 10.0, 30.0) == math.inf


def test_where_a_curve_is_expected_to_break():
    assert expected_break({1.0: 10.0, 2.0: 9.5, 3.0: 5.0, 4.0: 20.0}, 0.1) == 3.0
    assert expected_break({1.0: 10.0, 2.0: 20.0}, 0.1) is None
    assert expected_break({1.0: math.inf, 2.0: 20.0}, 0.1) is None
