"""Which node is on which host: the nodes of a role distribution, and the strategies that place them. Pure.

Every strategy is deterministic and uses exactly the number of hosts it is given; with as many hosts as nodes each node
has its host to itself, whatever the strategy: that is the baseline.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from pliant.composition.model import Node
from pliant.composition.nodeset import fold

MAX_NODES = 60_000
"""Most nodes in one cluster: its network is 10.77.0.0/16, without the addresses ending in .0 and .255."""


@dataclass(frozen=True)
class Placement:
    """Which node is on which host: `hosts[i]` holds the names of the nodes on host i.

    >>> Placement((("server1", "client1"), ("server2",))).host_of("server2")
    1
    """

    hosts: tuple[tuple[str, ...], ...]

    @cached_property
    def _host_by_node(self) -> Mapping[str, int]:
        return {node: host for host, names in enumerate(self.hosts) for node in names}

    def host_of(self, node: str) -> int:
        """The index in `hosts` of the host that carries `node`; KeyError if none does."""
        return self._host_by_node[node]

    @property
    def host_names(self) -> tuple[str, ...]:
        """The name of each host: "host1", "host2", ..., in the order of `hosts`."""
        return tuple(f"host{number}" for number in range(1, len(self.hosts) + 1))

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of all nodes, host by host."""
        return tuple(node for names in self.hosts for node in names)

    def describe(self) -> str:
        """One line for people: "host1: client1,server1; host2: server2"."""
        return "; ".join(f"{host}: {fold(names)}" for host, names in zip(self.host_names, self.hosts, strict=True))


def nodes_for(roles: Mapping[str, int]) -> tuple[Node, ...]:
    """The nodes of a role distribution, role by role, named role + index, with addresses from 10.77.1.1 up.

    Raises:
        ValueError: more than `MAX_NODES` nodes, or two roles whose nodes would share a name.
    """
    total = sum(roles.values())
    if total > MAX_NODES:
        raise ValueError(f"{total} nodes are more than a cluster can have; write at most {MAX_NODES}")
    pairs = [(role, index) for role, count in roles.items() for index in range(1, count + 1)]
    nodes = tuple(
        Node(name=f"{role}{index}", role=role, index=index, address=_address(number))
        for number, (role, index) in enumerate(pairs)
    )
    twice = [name for name, count in Counter(node.name for node in nodes).items() if count > 1]
    if twice:
        raise ValueError(f'two roles would both have a node called "{twice[0]}"; rename one of the roles')
    return nodes


def _address(number: int) -> str:
    """The address of a node counted from 0: 254 nodes for each third byte."""
    return f"10.77.{1 + number // 254}.{1 + number % 254}"


def hosts_for(nodes: int, ratio: float) -> int:
    """How many hosts `nodes` nodes need at a folding ratio: ceil(nodes / ratio), not misled by floating point.

    A ratio written as 8/3 in floating point folds 8 nodes on 3 hosts, not 4.
    """
    return max(1, math.ceil(nodes / ratio * (1 - 1e-12)))


def place(
    nodes: Sequence[Node], hosts: int, strategy: str, clients: Collection[str], folded: Collection[str] = ()
) -> Placement:
    """Place `nodes` on `hosts` hosts.

    Args:
        nodes: the nodes of the cluster.
        hosts: how many hosts to use, from 1 to the number of nodes that are folded.
        strategy: a key of `STRATEGIES`.
        clients: the names of the roles whose nodes are clients.
        folded: the names of the roles whose nodes share hosts, all if there are none; each node of the others has one
            to itself, beside those.

    Raises:
        ValueError: the strategy cannot work with so many hosts, or there is no such strategy; one sentence.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f'"{strategy}" is not a strategy; write one of {", ".join(STRATEGIES)}')
    shared = [node for node in nodes if not folded or node.role in folded]
    if not 1 <= hosts <= len(shared):
        raise ValueError(f"{len(shared)} nodes need from 1 to {len(shared)} hosts, not {hosts}")
    if hosts == len(shared):
        return Placement(tuple((node.name,) for node in nodes))
    alone = [[node] for node in nodes if node not in shared]
    return _named(alone + STRATEGIES[strategy](_by_role(shared), hosts, clients))


def ranks_on(placement: Placement, clients: Sequence[str], each: int) -> dict[str, int]:
    """How many ranks run on which client, where of the clients of one host the first has those of all, `each` a client.

    The others of them have none, and are left out; as many ranks there are in all as clients have unfolded.

    >>> ranks_on(Placement((("server1",), ("client1", "client3"), ("client2",))), ["client1", "client2", "client3"], 2)
    {'client1': 4, 'client2': 2}
    """
    found: dict[str, int] = {}
    first: dict[int, str] = {}
    for client in clients:
        on = first.setdefault(placement.host_of(client), client)
        found[on] = found.get(on, 0) + each
    return found


def explicit(nodes: Sequence[Node], hosts: Sequence[Sequence[str]]) -> Placement:
    """The placement that a user wrote: the node names of each host.

    Raises:
        ValueError: a node is unknown, placed twice or not at all, or a host is empty; one sentence that names it.
    """
    known = [node.name for node in nodes]
    count = Counter(name for names in hosts for name in names)
    unknown = [name for name in count if name not in set(known)]
    if unknown:
        raise ValueError(f"there is no node {fold(unknown)}; the nodes are {fold(known)}")
    twice = [name for name in count if count[name] > 1]
    if twice:
        raise ValueError(f"{fold(twice)} is placed more than once; write each node on one host")
    missing = [name for name in known if name not in count]
    if missing:
        raise ValueError(f"{fold(missing)} is on no host; add it to one")
    for number, names in enumerate(hosts, 1):
        if not names:
            raise ValueError(f"host {number} has no node; give it one or leave it out")
    return Placement(tuple(tuple(names) for names in hosts))


_Hosts = list[list[Node]]


def _named(hosts: _Hosts) -> Placement:
    return Placement(tuple(tuple(node.name for node in host) for host in hosts))


def _by_role(nodes: Sequence[Node]) -> list[Node]:
    """The nodes with each role's together, roles and nodes in the order in which they first appear."""
    groups: dict[str, list[Node]] = {}
    for node in nodes:
        groups.setdefault(node.role, []).append(node)
    return [node for group in groups.values() for node in group]


def _spread(nodes: Sequence[Node], hosts: int, clients: Collection[str]) -> _Hosts:
    """Deal the nodes out like cards: totals, and each role's nodes, differ by at most one between hosts."""
    return [list(nodes[host::hosts]) for host in range(hosts)]


def _pack(nodes: Sequence[Node], hosts: int, clients: Collection[str]) -> _Hosts:
    """Cut the nodes into contiguous blocks whose sizes differ by at most one, the larger ones first."""
    size, larger = divmod(len(nodes), hosts)
    starts = [host * size + min(host, larger) for host in range(hosts + 1)]
    return [list(nodes[start:end]) for start, end in pairwise(starts)]


def _segregate(nodes: Sequence[Node], hosts: int, clients: Collection[str]) -> _Hosts:
    """Give clients and the others hosts of their own, and spread each group on its hosts."""
    theirs = [node for node in nodes if node.role in clients]
    others = [node for node in nodes if node.role not in clients]
    if not theirs or not others:
        return _spread(nodes, hosts, clients)
    if hosts < 2:
        largest = f"{len(nodes) / 2:g}"
        raise ValueError(
            f'strategy "segregate" needs at least 2 hosts; the largest ratio that works with {len(nodes)} nodes is '
            f"{largest}"
        )
    first = min(
        range(max(1, hosts - len(theirs)), min(len(others), hosts - 1) + 1),
        key=lambda n: _unevenness(_loads(len(others), n) + _loads(len(theirs), hosts - n)),
    )
    return _spread(others, first, clients) + _spread(theirs, hosts - first, clients)


def _loads(nodes: int, hosts: int) -> list[int]:
    """How many nodes each host gets when `nodes` nodes are spread on `hosts` hosts."""
    return [nodes // hosts + (host < nodes % hosts) for host in range(hosts)]


def _unevenness(loads: Sequence[int]) -> tuple[int, int, int]:
    """What a division of hosts is judged by: the largest load first, then how far the loads are apart."""
    return max(loads), max(loads) - min(loads), sum(load * load for load in loads)


def _pair(nodes: Sequence[Node], hosts: int, clients: Collection[str]) -> _Hosts:
    """Keep each server together with its client; the last pairs are split when there are more hosts than units."""
    pairs, singles = _pairs(nodes, clients)
    split = max(0, hosts - len(pairs) - len(singles))
    whole = len(pairs) - split
    singles += [[node] for pair in pairs[whole:] for node in pair]
    placed: _Hosts = [[] for _ in range(hosts)]
    for number, pair in enumerate(pairs[:whole]):
        placed[number % hosts] += pair
    for single in singles:
        min(placed, key=len).extend(single)
    return placed


def _pairs(nodes: Sequence[Node], clients: Collection[str]) -> tuple[list[list[Node]], list[list[Node]]]:
    """Server i with client i, as far as both go, and the nodes that are left over.

    Where several roles are no clients, the one with most nodes is paired first: a Ceph client goes with a disk server
    rather than with the monitor.
    """
    size = Counter(node.role for node in nodes)
    others = sorted((node for node in nodes if node.role not in clients), key=lambda node: -size[node.role])
    theirs = [node for node in nodes if node.role in clients]
    count = min(len(others), len(theirs))
    pairs = [[server, client] for server, client in zip(others, theirs, strict=False)]
    return pairs, [[node] for node in others[count:] + theirs[count:]]


STRATEGIES: Mapping[str, Callable[[Sequence[Node], int, Collection[str]], _Hosts]] = {
    "spread": _spread,
    "pack": _pack,
    "segregate": _segregate,
    "pair": _pair,
}
"""The strategies that compute a placement; "explicit" is the user's own."""
