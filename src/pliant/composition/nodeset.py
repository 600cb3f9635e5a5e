"""Sets of nodes in short: "server[1-4,6],client1", to select them and to show them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import product

from pliant.composition.model import Node

MAX_NAMES = 100_000
"""Most names that one pattern may stand for."""

_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_PIECE = re.compile(r"\[([^\[\]]*)\]|([^\[\]]+)")
_RANGE = re.compile(r"\s*(\d{1,9})(?:-(\d{1,9}))?\s*", re.ASCII)
# A number with a leading zero is part of the name: folding it into a range would lose the zero.
_NUMBERED = re.compile(r"(.*?)(0|[1-9]\d{0,8})", re.ASCII)


def expand(pattern: str) -> tuple[str, ...]:
    """The names that a pattern stands for, each once, in natural order.

    >>> expand("server[1-2,4],client1")
    ('client1', 'server1', 'server2', 'server4')

    Raises:
        ValueError: the pattern is malformed, or stands for more than `MAX_NAMES` names; one sentence.
    """
    names: set[str] = set()
    for token in _tokens(pattern):
        names.update(_expand_token(token))
        if len(names) > MAX_NAMES:
            raise ValueError(f'"{_cut(pattern)}" stands for more than {MAX_NAMES} names; write a smaller range')
    return tuple(sorted(names, key=natural_key))


def fold(names: Iterable[str]) -> str:
    """The shortest pattern for `names`: the inverse of `expand`.

    >>> fold(["client2", "client1", "client3", "server1"])
    'client[1-3],server1'
    """
    numbers: dict[str, list[int]] = {}
    parts: dict[str, str] = {}
    for name in sorted(set(names), key=natural_key):
        match = _NUMBERED.fullmatch(name)
        if match is None or match[1][-1:].isdigit():
            parts[name] = name
        else:
            numbers.setdefault(match[1], []).append(int(match[2]))
            parts.setdefault(f"{match[1]}[", match[1])
    return ",".join(_ranged(parts[key], numbers[parts[key]]) if key.endswith("[") else key for key in parts)


def select(pattern: str, nodes: Sequence[Node]) -> tuple[Node, ...]:
    """The nodes that a pattern selects, in the order of `nodes`.

    A pattern is a comma list of role names ("client"), node names and ranges ("server[1-4]"); "all" or "*" stands for
    every node.

    Raises:
        ValueError: the pattern is malformed, or a part of it is neither a node nor a role; one sentence.
    """
    known = {node.name for node in nodes}
    roles = {node.role for node in nodes}
    wanted: set[str] = set()
    for token in _tokens(pattern):
        if token in ("all", "*"):
            wanted |= known
        elif token in roles:
            wanted |= {node.name for node in nodes if node.role == token}
        else:
            names = _expand_token(token)
            missing = [name for name in names if name not in known]
            if missing:
                raise ValueError(_unknown(token, missing, known, roles))
            wanted.update(names)
    return tuple(node for node in nodes if node.name in wanted)


def role_of(name: str) -> str:
    """The role of the node that is called `name`: a node's name is its role's and a number.

    >>> role_of("client12")
    'client'
    """
    return name.rstrip("0123456789")


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """A sort key by which "node2" comes before "node10"."""
    parts = re.split(r"(\d+)", name, flags=re.ASCII)
    return tuple(int(part) if at % 2 else part for at, part in enumerate(parts)), name


def _tokens(pattern: str) -> Iterator[str]:
    """The parts of `pattern` between the commas that are outside brackets."""
    token, depth = "", 0
    for character in f"{pattern},":
        if character == "," and depth <= 0:
            if not token.strip():
                raise ValueError(f'"{_cut(pattern)}" has an empty part; write node names such as "server[1-4],client1"')
            yield token.strip()
            token = ""
            continue
        depth += (character == "[") - (character == "]")
        token += character
    if token:
        raise ValueError(f'"{_cut(token[:-1])}" has a "[" that is not closed; write e.g. "server[1-4]"')


def _expand_token(token: str) -> list[str]:
    """The names that one part of a pattern stands for."""
    pieces: list[Sequence[str]] = []
    total, position = 1, 0
    while position < len(token):
        match = _PIECE.match(token, position)
        if match is None:
            raise ValueError(f'"{_cut(token)}" is not a set of nodes; write e.g. "server[1-4]"')
        piece = [match[2]] if match[2] else _numbers(match[1], token)
        total *= len(piece)
        if total > MAX_NAMES:
            raise ValueError(f'"{_cut(token)}" stands for more than {MAX_NAMES} names; write a smaller range')
        pieces.append(piece)
        position = match.end()
    names = ["".join(parts) for parts in product(*pieces)]
    if not all(_NAME.fullmatch(name) for name in names):
        raise ValueError(f'"{_cut(token)}" is not a set of nodes; write e.g. "server[1-4]"')
    return names


def _numbers(ranges: str, token: str) -> list[str]:
    """The numbers between the brackets of `token`, as text, with the zeros that pad them."""
    numbers: list[str] = []
    for part in ranges.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f'"{_cut(part.strip())}" in "{_cut(token)}" is not a range; write e.g. "server[1-4,6]"')
        first, last = match[1], match[2] or match[1]
        if int(last) < int(first):
            raise ValueError(f'"{part.strip()}" in "{_cut(token)}" runs backwards; write "{last}-{first}"')
        if len(numbers) + int(last) - int(first) + 1 > MAX_NAMES:
            raise ValueError(f'"{_cut(token)}" stands for more than {MAX_NAMES} names; write a smaller range')
        width = len(first) if first.startswith("0") else 0
        numbers += [f"{number:0{width}}" for number in range(int(first), int(last) + 1)]
    return numbers


def _ranged(prefix: str, numbers: Sequence[int]) -> str:
    """`prefix` followed by ascending numbers in short: "node7", "node[1-3,5]"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    if len(numbers) == 1:
        return f"{prefix}{numbers[0]}"
    return f"{prefix}[{','.join(f'{a}-{b}' if b > a else str(a) for a, b in runs)}]"


def _unknown(token: str, missing: Sequence[str], known: Iterable[str], roles: Iterable[str]) -> str:
    """The sentence for a part of a pattern that selects nothing."""
    known, roles = list(known), sorted(roles)
    close = get_close_matches(missing[0], [*roles, *known], n=1)
    where = "" if missing == [token] else f' (in "{_cut(token)}")'
    hint = f'did you mean "{close[0]}"? ' if close else ""
    return f'there is no node or role "{_cut(fold(missing))}"{where}; {hint}the nodes are {fold(known)}'


def _cut(text: str) -> str:
    """A user's text on one line, cut if it is very long."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= 80 else f"{line[:77]}..."
