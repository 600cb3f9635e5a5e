"""How nodes of several hosts reach each other, as lines for `ip` and `bridge`."""

from __future__ import annotations

import pytest

from pliant.machine import network
from pliant.machine.process import CommandFailed
from pliant.platforms.ways import HEADERS, no_way, ways

TOLD = {
    "nodeA": [["192.0.2.1", "eth0", 1500, 1e9], ["10.0.0.1", "ib0", 9000, None]],
    "nodeB": [["192.0.2.2", "eth0", 1500, 1e9], ["10.0.0.2", "ib0", 2044, None]],
}
NODES = {"nodeA": {"10.77.1.1": "server1"}, "nodeB": {"10.77.1.2": "client1", "10.77.1.3": "client2"}}


def test_hosts_reach_each_other_by_the_addresses_by_which_they_were_reached():
    found = ways("ab12", TOLD, NODES, None)
    one, other = found["nodeA"], found["nodeB"]
    assert (one.local, other.local, one.mtu, other.mtu) == ("192.0.2.1", "192.0.2.2", 1500 - HEADERS, 1500 - HEADERS)
    assert one.peers == {"192.0.2.2": ["10.77.255.2", "10.77.1.2", "10.77.1.3"]}
    assert (one.switch, other.switch, one.vni) == (network.GATEWAY, "10.77.255.2", other.vni)
    assert one.names["10.77.1.3"] == "client2" and one.names == other.names


def test_or_by_those_of_a_network_that_is_named():
    found = ways("ab12", TOLD, NODES, "10.0.0.0/24")
    assert [each.local for each in found.values()] == ["10.0.0.1", "10.0.0.2"]
    assert {each.mtu for each in found.values()} == {2044 - HEADERS}
    with pytest.raises(CommandFailed, match="nodeA has no address in 172"):
        ways("ab12", TOLD, NODES, "172.16.0.0/12")
    with pytest.raises(CommandFailed, match="nodeA has no IPv4 address"):
        ways("ab12", {"nodeA": []}, {"nodeA": {}}, None)


def test_deployments_do_not_hear_each_other():
    assert len({ways(f"{n:04x}", TOLD, NODES, None)["nodeA"].vni for n in range(50)}) == 50


def test_who_is_where_is_known_to_the_kernel():
    overlay = ways("ab12", TOLD, NODES, None)["nodeA"]
    (line,) = network.tunnel(overlay, 77)
    assert line.startswith("link add vxlan-0 netns 77 mtu 1450 type vxlan id ") and " local 192.0.2.1 " in line
    plugged, flooded = network.tunnelled(overlay)
    assert plugged[0] == "link set vxlan-0 master switch-0 up"
    assert "neigh replace 10.77.1.2 lladdr 02:00:0a:4d:01:02 dev vxlan-0 nud permanent" in plugged
    assert "fdb append 02:00:0a:4d:01:02 dev vxlan-0 dst 192.0.2.2 self permanent" in flooded
    assert "fdb append 00:00:00:00:00:00 dev vxlan-0 dst 192.0.2.2" in flooded


def test_what_does_not_pass_is_said_with_what_helps():
    overlays = ways("ab12", TOLD, NODES, None)
    nothing = no_way("nodeA", "nodeB", overlays, [500, 1450], [500, 1450])
    assert nothing.startswith("no packet comes from nodeB (192.0.2.2) to nodeA (192.0.2.1)") and "4789" in nothing
    large = no_way("nodeA", "nodeB", overlays, [1450], [500, 1450])
    assert large.startswith("packets of 1500 bytes do not come") and "MTU" in large
