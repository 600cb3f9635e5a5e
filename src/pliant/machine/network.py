"""The emulated network: a bridge per host, an uplink from each to one switch, and a link from each node to its host.

All of it lives in one network namespace of the deployment (the *fabric*), apart from the machine's own network: two
deployments can use the same addresses, the machine's firewall is not in the way, and it goes when its processes go.
Functions return lines for `ip -batch` and `tc -batch` (ip-link(8), tc-tbf(8), tc-netem(8)); `deployment` runs them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from .parts import Overlay

SWITCH = "switch-0"
TUNNEL = "vxlan-0"
PREFIX = 16
NETWORK = f"10.77.0.0/{PREFIX}"
GATEWAY = "10.77.255.254"
"""Address of the switch itself, from where `mpiexec` reaches the ranks; its MAC follows from it, so that it stays what
it is whatever is plugged in. Nodes get theirs from 10.77.1.1 upwards."""
PAYLOAD = 1448 / 1514
"""What of the wire's rate is left for what TCP carries: the rest of each frame is headers (Ethernet, IPv4, TCP with its
time stamp)."""

_QUEUE_MS = 50
"""A packet that would wait longer for its rate is dropped: tc-tbf(8), latency."""
_SMALLEST_BYTES = 64
"""The least that an Ethernet frame has (IEEE 802.3)."""
_QUIET_BRIDGE = "stp_state 0 forward_delay 0 mcast_snooping 0"

SETTINGS = {
    "/proc/sys/net/ipv4/conf/all/arp_ignore": "1",
    "/proc/sys/net/ipv6/conf/all/disable_ipv6": "1",
    "/proc/sys/net/ipv6/conf/default/disable_ipv6": "1",
}
"""What is set in the fabric before anything is in it (ip-sysctl.rst). The switch's address is the switch's alone: every
bridge would answer for it otherwise, with a MAC that changes when its ports do, and after a refold nodes could not
reach the switch for a minute. And IPv6 would announce every link to every other one."""


def bridge(host: int) -> str:
    """Name of host N's bridge, N from 1. A role's name has no hyphen, so these never meet a node's link."""
    return f"host-{host}"


def uplink(host: int) -> str:
    """Name of the host's end of its uplink: what leaves it is what the host sends."""
    return f"up-{host}"


def downlink(host: int) -> str:
    """Name of the switch's end of the uplink: what leaves it is what the host receives."""
    return f"down-{host}"


def link(number: int) -> str:
    """Name of the fabric's end of node number N's link."""
    return f"node-{number}"


def is_own(name: str) -> bool:
    """Whether a link is called as one of a fabric is."""
    return name == SWITCH or re.fullmatch("(host|up|down|node|vxlan)-[0-9]+", name) is not None


def fabric(hosts: int, address: str = GATEWAY, mtu: int = 0) -> list[str]:
    """`ip -batch` lines that make the switch, of that address, and each host's bridge and uplink."""
    mac = mac_of(address)
    size = f" mtu {mtu}" if mtu else ""
    lines = [
        "link set lo up",
        f"link add {SWITCH} address {mac}{size} type bridge {_QUIET_BRIDGE}",
        f"addr add {address}/{PREFIX} dev {SWITCH}",
        f"link set {SWITCH} up",
    ]
    for host in range(1, hosts + 1):
        lines += [
            f"link add {bridge(host)}{size} type bridge {_QUIET_BRIDGE}",
            f"link add {uplink(host)}{size} type veth peer name {downlink(host)}{size}",
            f"link set {uplink(host)} master {bridge(host)} up",
            f"link set {downlink(host)} master {SWITCH} up",
            f"link set {bridge(host)} up",
        ]
    return lines


def mac_of(address: str) -> str:
    """The MAC of what has an address, where it is to be known beforehand: locally administered."""
    return "02:00:0a:" + ":".join(f"{int(part):02x}" for part in address.split(".")[1:])


def tunnel(overlay: Overlay, fabric_pid: int) -> list[str]:
    """`ip -batch` lines, for the machine's own network, that make the way to other hosts, in the fabric: its packets
    leave from here, and it goes with the fabric."""
    about = f"id {overlay.vni} local {overlay.local} dstport {overlay.port} df set nolearning proxy"
    return [f"link add {TUNNEL} netns {fabric_pid} mtu {overlay.mtu} type vxlan {about}"]


def tunnelled(overlay: Overlay) -> tuple[list[str], list[str]]:
    """Lines for `ip -batch` and `bridge -batch`, in the fabric, that plug it in (bridge(8), fdb).

    Who is where is known, so nobody has to be asked: of a hundred hosts that ask for each other each question would be
    sent a hundred times. What is for everybody goes to every other host.
    """
    there = [(address, peer) for peer, addresses in overlay.peers.items() for address in addresses]
    known = [f"neigh replace {address} lladdr {mac_of(address)} dev {TUNNEL} nud permanent" for address, _ in there]
    ways = [f"fdb append {mac_of(address)} dev {TUNNEL} dst {peer} self permanent" for address, peer in there]
    everybody = [f"fdb append 00:00:00:00:00:00 dev {TUNNEL} dst {peer}" for peer in overlay.peers]
    return [f"link set {TUNNEL} master {SWITCH} up", *known], [*everybody, *ways]


def attach(links: Mapping[str, int], hosts: int, cut: Collection[str] = ()) -> list[str]:
    """`ip -batch` lines that plug each link into a host's bridge, and make every bridge forget where nodes were.

    Those in `cut` stay switched off.
    """
    lines = [f"link set {name} master {bridge(host)}{'' if name in cut else ' up'}" for name, host in links.items()]
    return lines + [f"link set {name} type bridge fdb_flush" for name in (SWITCH, *map(bridge, range(1, hosts + 1)))]


def limits(hosts: Iterable[int], rate_bit_s: float | None, latency_s: float = 0.0) -> list[str]:
    """`tc -batch` lines that limit the uplinks of these hosts, each way, or set them free (None).

    The bucket holds 10 ms of the rate and at least 128 KiB: below one GSO packet (64 KiB) TCP falls far short of it.

    With a latency each crossing of an uplink takes so much longer (tc-netem(8)). netem is the root and the bucket is
    below it: a packet is delayed, and then queues for the rate, so that the times add up. The other way round it would
    wait for the rate while it is delayed, and a busy link would have no latency; and the bucket's queue, of 50 ms,
    would be netem's (a child takes its place). netem itself must never drop: see `_packets`.
    """
    lines = []
    for host in hosts:
        for device in (uplink(host), downlink(host)):
            replace = f"qdisc replace dev {device}"
            if rate_bit_s is None:
                lines.append(f"{replace} root pfifo")
                continue
            parent = "root"
            if latency_s:
                delay = f"delay {round(latency_s * 1e6)}us limit {_packets(rate_bit_s, latency_s)}"
                lines.append(f"{replace} root handle 1: netem {delay}")
                parent = "parent 1:1 handle 10:"
            burst = max(128 * 1024, round(rate_bit_s / 8 * 0.010))
            lines.append(f"{replace} {parent} tbf rate {round(rate_bit_s)}bit burst {burst} latency {_QUEUE_MS}ms")
    return lines


def _packets(rate_bit_s: float, latency_s: float) -> int:
    """How many packets netem may hold: all that can be on their way, and in the bucket's queue, if they are small.

    Twice that, for what comes is not yet limited: a TCP that begins sends up to two windows in a round trip. netem's
    default is 1000, less than 10 ms of 1 Gbit/s. It is a bound, no memory is set aside for it.
    """
    bytes_on_their_way = rate_bit_s / 8 * (latency_s + _QUEUE_MS / 1000)
    return max(1000, min(2**32 - 1, round(2 * bytes_on_their_way / _SMALLEST_BYTES)))
