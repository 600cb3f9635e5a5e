"""The emulated network as lines for `ip -batch` and `tc -batch`."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.composition.placement import nodes_for
from pliant.machine import network

IFNAMSIZ = 16
MOST = 60_000


def words(lines: list[str], *wanted: str) -> list[list[str]]:
    """The lines that begin with these words, split."""
    return [line.split() for line in lines if line.split()[: len(wanted)] == list(wanted)]


@given(st.integers(1, MOST))
def test_every_name_fits_the_kernel(number):
    for name in (network.bridge, network.uplink, network.downlink, network.link):
        assert 0 < len(name(number)) < IFNAMSIZ
        assert re.fullmatch(r"[a-z]+-\d+", name(number))


def test_the_largest_names_fit_and_none_is_given_twice():
    numbers = (*range(1, 3000), MOST - 1, MOST)
    names = [name(n) for n in numbers for name in (network.bridge, network.uplink, network.downlink, network.link)]
    names += [network.SWITCH, "eth0", "lo"]
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < IFNAMSIZ


def test_the_switch_has_an_address_that_no_node_gets():
    net = ipaddress.ip_network(network.NETWORK)
    gateway = ipaddress.ip_address(network.GATEWAY)
    assert gateway in net
    addresses = [node.address for node in nodes_for({"server": 2000, "client": 2000})]
    assert len(set(addresses)) == 4000
    assert network.GATEWAY not in addresses
    assert all(ipaddress.ip_address(address) in net for address in addresses)


def test_the_whole_fabric_of_two_hosts():
    quiet = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    assert network.fabric(2) == [
        "link set lo up",
        f"link add switch-0 address 02:00:0a:4d:ff:fe {quiet}",
        "addr add 10.77.255.254/16 dev switch-0",
        "link set switch-0 up",
        f"link add host-1 {quiet}",
        "link add up-1 type veth peer name down-1",
        "link set up-1 master host-1 up",
        "link set down-1 master switch-0 up",
        "link set host-1 up",
        f"link add host-2 {quiet}",
        "link add up-2 type veth peer name down-2",
        "link set up-2 master host-2 up",
        "link set down-2 master switch-0 up",
        "link set host-2 up",
    ]


@given(st.integers(0, 60))
def test_every_device_of_the_fabric_is_made_before_it_is_used_and_brought_up(hosts):
    made, up = {"lo"}, set()
    for line in network.fabric(hosts):
        parts = line.split()
        if parts[:2] == ["link", "add"]:
            fresh = {parts[2]} | ({parts[parts.index("name") + 1]} if "veth" in parts else set())
            assert not fresh & made
            made |= fresh
        elif parts[:2] == ["link", "set"]:
            assert {parts[2], *parts[parts.index("master") + 1 :][:1]} <= made if "master" in parts else True
            assert parts[2] in made
            up |= {parts[2]} if parts[-1] == "up" else set()
        else:
            assert parts[:2] == ["addr", "add"]
            assert parts[-1] in made
    assert up == made
    assert len(made) == 2 + 3 * hosts


def test_nodes_are_plugged_in_and_every_bridge_forgets_where_they_were():
    lines = network.attach({"node-1": 1, "node-2": 3, "node-7": 3}, hosts=3)
    assert lines == [
        "link set node-1 master host-1 up",
        "link set node-2 master host-3 up",
        "link set node-7 master host-3 up",
        "link set switch-0 type bridge fdb_flush",
        "link set host-1 type bridge fdb_flush",
        "link set host-2 type bridge fdb_flush",
        "link set host-3 type bridge fdb_flush",
    ]


@given(st.dictionaries(st.integers(1, MOST), st.integers(1, 50), max_size=50), st.integers(50, 80))
def test_flushes_come_last_and_miss_no_bridge(placed, hosts):
    lines = network.attach({network.link(n): host for n, host in placed.items()}, hosts)
    moves, flushes = lines[: len(placed)], lines[len(placed) :]
    assert sorted(moves) == sorted(f"link set node-{n} master host-{host} up" for n, host in placed.items())
    flushed = {line.split()[2] for line in flushes if line.endswith(" type bridge fdb_flush")}
    assert flushed == {network.SWITCH, *(network.bridge(host) for host in range(1, hosts + 1))}
    assert len(flushes) == hosts + 1


@pytest.mark.parametrize(
    ("rate_bit_s", "rate", "burst"),
    [
        (1e6, "1000000bit", 131072),
        (10e6, "10000000bit", 131072),
        (100e6, "100000000bit", 131072),
        (104_857_600, "104857600bit", 131072),  # 10 ms of it are 128 KiB
        (200e6, "200000000bit", 250_000),
        (1e9, "1000000000bit", 1_250_000),
        (25e9, "25000000000bit", 31_250_000),
        (200e6 / 3, "66666667bit", 131072),
    ],
)
def test_both_directions_are_limited_with_a_bucket_that_lets_tcp_through(rate_bit_s, rate, burst):
    assert network.limits([1], rate_bit_s) == [
        f"qdisc replace dev up-1 root tbf rate {rate} burst {burst} latency 50ms",
        f"qdisc replace dev down-1 root tbf rate {rate} burst {burst} latency 50ms",
    ]


@given(st.floats(1e6, 1e12))
def test_the_bucket_holds_two_gso_packets_and_ten_milliseconds(rate_bit_s):
    for line in network.limits([3], rate_bit_s):
        fields = line.split()
        burst = int(fields[fields.index("burst") + 1])
        assert burst >= 128 * 1024
        assert burst >= int(rate_bit_s / 8 * 0.01)
        assert burst <= max(128 * 1024, rate_bit_s / 8 * 0.01 + 1)
        assert re.fullmatch(r"\d+bit", fields[fields.index("rate") + 1])


def test_limits_are_set_on_the_ends_of_each_hosts_uplink_and_nowhere_else():
    devices = [line.split()[3] for line in network.limits([1, 2, 5], 1e9)]
    assert devices == ["up-1", "down-1", "up-2", "down-2", "up-5", "down-5"]


def test_limits_off():
    assert network.limits([1, 2], None) == [
        "qdisc replace dev up-1 root pfifo",
        "qdisc replace dev down-1 root pfifo",
        "qdisc replace dev up-2 root pfifo",
        "qdisc replace dev down-2 root pfifo",
    ]
    assert network.limits([], 1e9) == []


@pytest.mark.parametrize(
    ("rate_bit_s", "latency_s", "delay", "limit"),
    [
        (1e6, 1e-6, "1us", 1000),  # never fewer than netem's own default
        (200e6, 0.0001, "100us", 39_141),  # 2 x 25 MB/s x 50.1 ms in frames of 64 bytes
        (1e9, 0.0000254, "25us", 195_412),
        (1e9, 0.01, "10000us", 234_375),
        (25e9, 0.5, "500000us", 53_710_938),
        (1e12, 10.0, "10000000us", 4_294_967_295),  # the kernel keeps it in 32 bits
    ],
)
def test_a_latency_is_netem_with_the_bucket_below_it(rate_bit_s, latency_s, delay, limit):
    plain = network.limits([1], rate_bit_s)
    assert network.limits([1], rate_bit_s, latency_s) == [
        f"qdisc replace dev up-1 root handle 1: netem delay {delay} limit {limit}",
        plain[0].replace("root", "parent 1:1 handle 10:"),
        f"qdisc replace dev down-1 root handle 1: netem delay {delay} limit {limit}",
        plain[1].replace("root", "parent 1:1 handle 10:"),
    ]


@given(st.floats(1e6, 1e11), st.floats(1e-6, 10))
def test_netem_holds_all_that_is_on_its_way(rate_bit_s, latency_s):
    fields = network.limits([2], rate_bit_s, latency_s)[0].split()
    limit = int(fields[fields.index("limit") + 1])
    small, full = 66, 1514  # an acknowledgement, a full frame
    assert limit >= min(2**32 - 1, rate_bit_s / 8 * latency_s / small)
    assert limit * full >= rate_bit_s / 8 * (2 * latency_s + 0.050)
    assert limit < 2**32


def test_free_links_have_no_latency_either():
    assert network.limits([1], None, 0.01) == network.limits([1], None)
