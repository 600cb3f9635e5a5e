"""What a mounted file system keeps of what POSIX promises, seen from two clients, and how late.

Each of `posix_checks` does something in one client and looks in another (`two_clients`). What is not so at once, but
soon, is *late*, which is what caches of clients do; what is refused is *not supported*.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from pliant.cluster.cluster import Cluster
from pliant.cluster.posix_checks import CHECKS
from pliant.cluster.steps import poll
from pliant.cluster.two_clients import ANSWER_S, PATIENCE_S, Client, Hangs, Odd, Pair, Refused
from pliant.composition.model import Command
from pliant.errors import PliantError
from pliant.platforms.interface import CommandFailed, PowerError

Outcome = Literal["holds", "late", "fails", "not supported", "hangs", "not tried"]

_UNSUPPORTED = ("EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EINVAL", "ENOLCK", "EPERM", "ENODEV")
_TOP = "pliant-conformance"


@dataclass(frozen=True)
class Result:
    """What came of a check; `said` is what was found instead, `late_s` how late it was."""

    name: str
    promise: str
    outcome: Outcome
    said: str = ""
    late_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def conform(
    cluster: Cluster, said: Callable[[str], None] = lambda name: None, only: Sequence[str] = ()
) -> Generator[Result, None, None]:
    """Carry out the checks on a cluster that is up, from its first client and its last, one after the other."""
    clients = [node.name for node in cluster.composition.clients]
    # A name of its own: what clients still know of the same names at another ratio would be taken for this one's.
    top = f"{cluster.composition.mount}/{_TOP}-{secrets.token_hex(4)}"
    cluster.empty(top)
    for number, (name, (promise, check)) in enumerate(CHECKS.items(), 1):
        if only and name not in only:
            continue
        said(name)
        yield _one(cluster, (clients[0], clients[-1]), f"{top}/{number}", name, promise, check)
    if not only or CRASH in only:
        said(CRASH)
        yield _crash(cluster, clients, top)
    with contextlib.suppress(CommandFailed):
        cluster.discard(top)


def _one(
    cluster: Cluster, nodes: tuple[str, str], directory: str, name: str, promise: str, check: Callable[[Pair], None]
) -> Result:
    """A check, in a directory and with processes of its own."""
    clients: list[Client] = []
    try:
        cluster.execute(nodes[0], ["mkdir", "-m", "755", "--", directory], timeout_s=ANSWER_S).check()
        # One that is late with the directory would fail in every check.
        there = Command(("test", "-d", directory))
        poll(cluster, {nodes[1]: there}, time.monotonic() + PATIENCE_S, threading.Event())
        for node in nodes:
            clients.append(Client(cluster, node, directory))
        pair = Pair(cluster, directory, clients[0], clients[1])
        check(pair)
    except Odd as odd:
        return Result(name, promise, "fails", str(odd))
    except Refused as error:
        return Result(name, promise, "not supported" if str(error) in _UNSUPPORTED else "fails", f"refused: {error}")
    except Hangs as error:
        return Result(name, promise, "hangs", str(error))
    except CommandFailed as error:
        return Result(name, promise, "fails", str(error))
    finally:
        for client in clients:
            client.end()
    if pair.late_s:
        return Result(name, promise, "late", f"after {pair.late_s:.1f} s", round(pair.late_s, 1))
    return Result(name, promise, "holds")


CRASH = "fsync and a crash"
_CRASH_PROMISE = "what a client had synced another reads after that client lost its power"


def _crash(cluster: Cluster, clients: Sequence[str], top: str) -> Result:
    """The client loses its power right after fsync; another reads."""
    if clients[0] == clients[-1]:
        return Result(CRASH, _CRASH_PROMISE, "not tried", "there is one client only")
    path, content = f"{top}/synced", "synced" * 1000
    try:
        write = ["dd", f"of={path}", "bs=1M", "conv=fsync", "status=none"]
        cluster.execute(clients[0], write, stdin=content, timeout_s=ANSWER_S).check()
        cluster.crash(clients[0])
    except (CommandFailed, PowerError) as error:
        return Result(CRASH, _CRASH_PROMISE, "not tried", str(error))
    try:
        read = cluster.execute(clients[-1], ["cat", path], timeout_s=PATIENCE_S)
        if read.stdout != content:
            said = read.stderr.strip() or f"{len(read.stdout)} bytes of {len(content)}"
            return Result(CRASH, _CRASH_PROMISE, "fails", said)
    except CommandFailed as error:
        return Result(CRASH, _CRASH_PROMISE, "hangs", str(error))
    finally:
        with contextlib.suppress(PliantError, CommandFailed, PowerError):
            cluster.start(clients[0])
    return Result(CRASH, _CRASH_PROMISE, "holds")
