"""What hosts carry, counted: how many hosts have which number of nodes of each role. Pure.

The same strategies as `placement`, without a node of its own for each node: 100,000 of them take a tenth of a second.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Mix = tuple[int, ...]
"""Nodes of each role on a host, in the order of the roles."""
_Counts = NDArray[np.int64]
_Ranges = Sequence[tuple[int, int]]


def mixes(
    roles: Mapping[str, int], hosts: int, strategy: str, clients: Collection[str], folded: Collection[str] = ()
) -> dict[Mix, int]:
    """Mix -> how many hosts have it, as `placement.place` places the nodes of these roles: those that are `folded`, all
    if there are none, on `hosts` hosts, and each of the others on one more.

    Raises:
        ValueError: the strategy cannot work with so many hosts, or needs nodes by name; one sentence.
    """
    if alone := [role for role in roles if folded and role not in folded]:
        others = mixes({**roles, **dict.fromkeys(alone, 0)}, hosts, strategy, clients)
        return others | {tuple(int(name == role) for name in roles): roles[role] for role in alone if roles[role]}
    total = sum(roles.values())
    if strategy not in _STRATEGIES:
        raise ValueError(
            f'strategy "{strategy}" has no rule for another cluster; write one of {", ".join(_STRATEGIES)}'
        )
    if not 1 <= hosts <= total:
        raise ValueError(f"{total} nodes need from 1 to {total} hosts, not {hosts}")
    if hosts == total:
        one = np.eye(len(roles), dtype=np.int64)
        return {tuple(map(int, row)): count for row, count in zip(one, roles.values(), strict=True) if count}
    rows = _STRATEGIES[strategy](roles, hosts, clients)
    found, counts = np.unique(rows, axis=0, return_counts=True)
    return {tuple(map(int, row)): int(count) for row, count in zip(found, counts, strict=True)}


def _ranges(roles: Mapping[str, int]) -> list[tuple[int, int]]:
    """First and last but one of each role's nodes, where all are in a row."""
    ends = np.cumsum(list(roles.values()), dtype=np.int64)
    return [(int(end) - count, int(end)) for end, count in zip(ends, roles.values(), strict=True)]


def _dealt(ranges: _Ranges, hosts: int) -> _Counts:
    """How many of each range every host gets of nodes that are dealt out like cards."""
    each = np.arange(hosts, dtype=np.int64)
    columns = [(end - 1 - each) // hosts - (begin - 1 - each) // hosts for begin, end in ranges]
    return np.column_stack(columns)


def _spread(roles: Mapping[str, int], hosts: int, clients: Collection[str]) -> _Counts:
    return _dealt(_ranges(roles), hosts)


def _pack(roles: Mapping[str, int], hosts: int, clients: Collection[str]) -> _Counts:
    size, larger = divmod(sum(roles.values()), hosts)
    edges = np.arange(hosts + 1, dtype=np.int64)
    edges = edges * size + np.minimum(edges, larger)
    columns = [
        np.clip(np.minimum(edges[1:], end) - np.maximum(edges[:-1], begin), 0, None) for begin, end in _ranges(roles)
    ]
    return np.column_stack(columns)


def _segregate(roles: Mapping[str, int], hosts: int, clients: Collection[str]) -> _Counts:
    theirs = {role: count if role in clients else 0 for role, count in roles.items()}
    others = {role: 0 if role in clients else count for role, count in roles.items()}
    many, few = sum(theirs.values()), sum(others.values())
    if not many or not few:
        return _spread(roles, hosts, clients)
    if hosts < 2:
        raise ValueError(f'strategy "segregate" needs at least 2 hosts; the largest ratio is {(many + few) / 2:g}')
    first = min(
        range(max(1, hosts - many), min(few, hosts - 1) + 1), key=lambda n: _unevenness((few, n), (many, hosts - n))
    )
    return np.concatenate([_dealt(_ranges(others), first), _dealt(_ranges(theirs), hosts - first)])


def _unevenness(*groups: tuple[int, int]) -> tuple[int, int, int]:
    """Largest load, how far loads are apart, and their squares, of (nodes, hosts) that are spread."""
    loads = [(nodes // hosts, nodes % hosts, hosts) for nodes, hosts in groups]
    most = max(whole + (rest > 0) for whole, rest, _ in loads)
    squares = sum(rest * (whole + 1) ** 2 + (hosts - rest) * whole**2 for whole, rest, hosts in loads)
    return most, most - min(whole for whole, _, _ in loads), squares


def _pair(roles: Mapping[str, int], hosts: int, clients: Collection[str]) -> _Counts:
    names = list(roles)
    others = sorted((role for role in names if role not in clients), key=lambda role: -roles[role])
    theirs = [role for role in names if role in clients]
    servers = [names.index(role) for role in others for _ in range(roles[role])]
    mounts = [names.index(role) for role in theirs for _ in range(roles[role])]
    count = min(len(servers), len(mounts))
    singles = servers[count:] + mounts[count:]
    whole = count - max(0, hosts - count - len(singles))
    singles += [role for pair in zip(servers[whole:count], mounts[whole:count], strict=True) for role in pair]
    placed = np.zeros((hosts, len(names)), dtype=np.int64)
    for role_of in (servers, mounts):
        np.add.at(placed, (np.arange(whole) % hosts, np.array(role_of[:whole], dtype=np.int64)), 1)
    emptiest = [(int(nodes), host) for host, nodes in enumerate(placed.sum(axis=1))]
    heapq.heapify(emptiest)
    for role in singles:
        nodes, host = emptiest[0]
        placed[host, role] += 1
        heapq.heapreplace(emptiest, (nodes + 1, host))
    return placed


def counted(hosts: Sequence[Sequence[str]], role_of: Mapping[str, str], roles: Sequence[str]) -> dict[Mix, int]:
    """The same of a placement that is known node by node."""
    found: Counter[Mix] = Counter()
    for nodes in hosts:
        many = Counter(role_of[node] for node in nodes)
        found[tuple(many[role] for role in roles)] += 1
    return dict(found)


_STRATEGIES: Mapping[str, Callable[[Mapping[str, int], int, Collection[str]], _Counts]] = {
    "spread": _spread,
    "pack": _pack,
    "segregate": _segregate,
    "pair": _pair,
}
