"""The checks of `conformance`: each is a promise, and what looks whether it is kept, from two clients.

Sources: IEEE Std 1003.1-2017, the page of each call; fcntl(2), flock(2), xattr(7) for what that does not have.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from pliant.cluster.two_clients import Client, Odd, Pair, Refused

CHECKS: dict[str, tuple[str, Callable[[Pair], None]]] = {}
"""Name of a check -> what is promised, and what looks whether it is kept. In the order of a report."""
_NOBODY = 65534
_MIB = 1 << 20
_TURNS = 3
"""How often clients are let race: who wins, and what is lost, is chance."""


def _check(name: str, promise: str) -> Callable[[Callable[[Pair], None]], Callable[[Pair], None]]:
    def keep(check: Callable[[Pair], None]) -> Callable[[Pair], None]:
        CHECKS[name] = promise, check
        return check

    return keep


def _expect(found: Any, wanted: Any, what: str) -> None:
    """See that something is what it should be."""
    if found != wanted:
        raise Odd(f"{what} is {found!r:.80}, not {wanted!r:.80}")


# What one client does, another sees


@_check("data after close", "what one client wrote and closed another reads")
def _after_close(pair: Pair) -> None:
    pair.a.do("put", "f", "first")
    pair.is_soon("first", "get", "f")
    pair.a.do("put", "f", "second")
    pair.is_soon("second", "get", "f")


@_check("data before close", "what one client wrote another reads, while both have the file open")
def _before_close(pair: Pair) -> None:
    file = pair.a.do("open", "f", "wc")
    pair.a.do("write", file, "x" * 100, 0)
    pair.is_soon(True, "exists", "f")
    other = pair.b.do("open", "f", "r")
    pair.is_soon("x" * 100, "read", other, 200, 0)
    pair.a.do("write", file, "y" * 100, 0)
    pair.is_soon("y" * 100, "read", other, 200, 0)


@_check("size", "a file that grows or is cut has its new size for a client that has it open")
def _size(pair: Pair) -> None:
    pair.a.do("put", "f", "x" * 1000)
    pair.is_soon(True, "exists", "f")
    other = pair.b.do("open", "f", "r")
    file = pair.a.do("open", "f", "w")
    pair.a.do("write", file, "y" * 500, 1000)
    pair.is_soon(1500, "size", other)
    pair.a.do("truncate", "f", 10)
    pair.is_soon(10, "size", other)
    pair.is_soon("", "read", other, 100, 10)


@_check("attributes", "mode, owner and time of change of a file are the same for another client")
def _attributes(pair: Pair) -> None:
    pair.a.do("put", "f", "x")
    pair.b.do("exists", "f")
    pair.a.do("chmod", "f", 0o640)
    pair.a.do("chown", "f", _NOBODY)
    pair.a.do("utime", "f", 1_234_567_890_123_456_789)
    about = {"mode": 0o640, "uid": _NOBODY}
    seen: dict[str, int] = {}

    def so() -> bool:
        seen.update(pair.b.do("stat", "f"))
        # Some keep times to 100 ns, some to the second.
        return all(seen[key] == value for key, value in about.items()) and seen["mtime_ns"] // 10**9 == 1_234_567_890

    pair.soon(so, "the other client sees what was before")


@_check("directories", "what one client makes and removes in a directory another sees, each name once")
def _directories(pair: Pair) -> None:
    pair.b.do("listed", ".")
    pair.a.do("create", "n", 300)
    pair.is_soon(sorted(f"n-{number}" for number in range(300)), "listed", ".")
    for number in range(0, 300, 2):
        pair.a.do("unlink", f"n-{number}")
    pair.is_soon(sorted(f"n-{number}" for number in range(1, 300, 2)), "listed", ".")


@_check("a name that was not there", "a file that another client makes is there, also for who looked for it before")
def _not_there(pair: Pair) -> None:
    _expect(pair.b.do("exists", "f"), False, "existence")
    pair.a.do("put", "f", "x")
    pair.is_soon(True, "exists", "f")


# Names


@_check("rename over an open file", "who has it open reads on what it was; by its name it is the new one")
def _rename_open(pair: Pair) -> None:
    pair.a.do("put", "f", "old")
    pair.is_soon("old", "get", "f")
    other = pair.b.do("open", "f", "r")
    pair.a.do("put", "g", "new")
    pair.a.do("rename", "g", "f")
    _expect(pair.b.do("read", other, 10, 0), "old", "what was open")
    pair.is_soon("new", "get", "f")


@_check("rename is one step", "a file that is replaced by rename again and again is there and whole at every moment")
def _rename_atomic(pair: Pair) -> None:
    pair.a.do("put", "f", "00000000")
    pair.is_soon("00000000", "get", "f")
    pair.b.begin("look", "f", 3.0)
    pair.a.begin("replace", "f", 3.0)
    odd = pair.b.answered()
    pair.a.answered()
    if odd:
        raise Odd(f"the other client found {', '.join(odd)}")


@_check("removed while open", "a file that another client removes can be read and written by who has it open")
def _removed_open(pair: Pair) -> None:
    pair.a.do("put", "f", "still here")
    pair.is_soon("still here", "get", "f")
    file = pair.b.do("open", "f", "w")
    pair.a.do("unlink", "f")
    try:
        _expect(pair.b.do("read", file, 20, 0), "still here", "what was open")
        pair.b.do("write", file, "and now", 0)
        _expect(pair.b.do("read", file, 7, 0), "and now", "what was written then")
    except Refused as error:
        raise Odd(f"it is refused with {error}") from None


@_check("hard links", "both names are one file, whose links another client counts, and one outlives the other")
def _links(pair: Pair) -> None:
    pair.a.do("put", "f", "x")
    pair.a.do("link", "f", "g")
    pair.soon(lambda: bool(pair.b.do("exists", "g") and pair.b.do("stat", "g")["links"] == 2), "it has not 2 links")
    pair.b.do("put", "g", "through the other")
    pair.soon(lambda: bool(pair.a.do("get", "f") == "through the other"), "by its first name it is what it was")
    pair.a.do("unlink", "f")
    pair.soon(lambda: bool(pair.b.do("stat", "g")["links"] == 1), "it has not 1 link")


@_check("symbolic links", "another client reads where one points, and follows it")
def _symlinks(pair: Pair) -> None:
    pair.a.do("put", "f", "x")
    pair.a.do("symlink", "f", "l")
    pair.is_soon("f", "readlink", "l")
    pair.is_soon("x", "get", "l")
    pair.a.do("symlink", "loop", "loop")
    pair.a.refuses("ELOOP", "get", "loop")


@_check("long names", "a name of 255 bytes is a name, one of 256 is refused")
def _long_names(pair: Pair) -> None:
    pair.a.do("put", "n" * 255, "x")
    pair.is_soon("x", "get", "n" * 255)
    pair.a.refuses("ENAMETOOLONG", "put", "n" * 256, "x")


@_check("only empty directories go", "a directory that is not empty, also by another client, is not removed")
def _not_empty(pair: Pair) -> None:
    pair.a.do("mkdir", "d")
    pair.is_soon(True, "exists", "d")
    pair.b.do("put", "d/f", "x")
    pair.a.refuses("ENOTEMPTY", "rmdir", "d")
    pair.b.do("unlink", "d/f")
    pair.a.do("rmdir", "d")


# At the same time


@_check("O_EXCL", "of two clients that create the same file exclusively one is first, and only one")
def _exclusive(pair: Pair) -> None:
    count = 100
    pair.a.begin("create", "f", count)
    pair.b.begin("create", "f", count)
    first, second = pair.a.answered(), pair.b.answered()
    if both := sorted({*first} & {*second}):
        raise Odd(f"both were first at {len(both)} of {count}")
    _expect(len(first) + len(second), count, "who was first at all")


@_check("O_APPEND", "lines that two clients append at the same time are all there, each whole")
def _append(pair: Pair) -> None:
    count, length = 200, 100
    lost = 0
    for turn in range(_TURNS):
        name = f"f{turn}"
        pair.a.do("put", name, "")
        pair.is_soon(True, "exists", name)
        pair.a.begin("append", name, "a", count, length)
        pair.b.begin("append", name, "b", count, length)
        pair.a.answered(), pair.b.answered()
        with contextlib.suppress(Odd):
            pair.soon(lambda name=name: _whole(pair, name, length) == 2 * count, "", 5.0)  # type: ignore[misc]
        lost += 2 * count - _whole(pair, name, length)
    if lost:
        raise Odd(f"{lost} of {_TURNS * 2 * count} lines are lost or torn")


def _whole(pair: Pair, name: str, length: int) -> int:
    """How many lines of a file that was appended to are there and whole, as the second client sees it."""
    lines = [line for line in pair.b.do("get", name).split("\n") if len(line) == length - 1]
    return len({line[:9] for line in lines if line[1:9].isdecimal() and set(line[10:]) <= {line[0]}})


def _open_in_both(pair: Pair) -> tuple[int, int]:
    """A file that both clients have open."""
    pair.a.do("put", "f", "x" * 100)
    pair.is_soon(True, "exists", "f")
    return pair.a.do("open", "f", "w"), pair.b.do("open", "f", "w")


@_check("locks (fcntl)", "a range that one client has locked another cannot lock, and can when it is let go")
def _fcntl(pair: Pair) -> None:
    mine, other = _open_in_both(pair)
    pair.a.do("lock", mine, "exclusive", 0, 10)
    pair.b.do("lock", other, "exclusive", 50, 10)
    try:
        pair.b.refuses("EAGAIN", "lock", other, "exclusive", 5, 1)
    except Odd as odd:
        if "EACCES" not in str(odd):  # the other that is allowed
            raise
    pair.a.do("lock", mine, "none", 0, 10)
    pair.is_soon(None, "lock", other, "exclusive", 5, 1)


@_check("shared locks", "several clients may lock a file for reading, and none for writing then")
def _shared(pair: Pair) -> None:
    mine, other = _open_in_both(pair)
    pair.a.do("lock", mine, "shared")
    pair.b.do("lock", other, "shared")
    pair.b.refuses("EAGAIN", "lock", other, "exclusive")


@_check("locks (flock)", "a file that one client has locked as a whole another cannot lock")
def _flock(pair: Pair) -> None:
    mine, other = _open_in_both(pair)
    pair.a.do("flock", mine, "exclusive")
    pair.b.refuses("EAGAIN", "flock", other, "exclusive")
    pair.a.do("flock", mine, "none")
    pair.is_soon(None, "flock", other, "exclusive")


@_check("locks of the dead", "a lock of a process that was killed is free for another client")
def _dead(pair: Pair) -> None:
    pair.a.do("put", "f", "x")
    pair.is_soon(True, "exists", "f")
    holder = Client(pair.cluster, pair.a.node, pair.directory)
    try:
        holder.do("lock", holder.do("open", "f", "w"), "exclusive")
        other = pair.b.do("open", "f", "w")
        pair.b.refuses("EAGAIN", "lock", other, "exclusive")
        holder.kill()
    finally:
        holder.end()
    pair.is_soon(None, "lock", other, "exclusive")


# Content


@_check("sparse files", "a hole of a GiB reads as zeros and takes no room")
def _sparse(pair: Pair) -> None:
    file = pair.a.do("open", "f", "wc")
    pair.a.do("write", file, "end", 1024 * _MIB)
    pair.a.do("fsync", "f")
    pair.is_soon(True, "exists", "f")
    pair.soon(lambda: bool(pair.b.do("stat", "f")["size"] == 1024 * _MIB + 3), "it has another size")
    other = pair.b.do("open", "f", "r")
    _expect(pair.b.do("read", other, 10, 512 * _MIB), "\0" * 10, "what is read from the hole")
    pair.is_soon("end", "read", other, 10, 1024 * _MIB)
    taken = pair.b.do("stat", "f")["blocks"] * 512
    if taken > 16 * _MIB:
        raise Odd(f"it takes {taken // _MIB} MiB")


@_check("large offsets", "what is written beyond 5 GiB is read there")
def _large(pair: Pair) -> None:
    file = pair.a.do("open", "f", "wc")
    pair.a.do("write", file, "far", 5 * 1024 * _MIB)
    pair.a.do("close", file)
    pair.is_soon(True, "exists", "f")
    pair.is_soon("far", "read", pair.b.do("open", "f", "r"), 3, 5 * 1024 * _MIB)


@_check("mmap", "what one client writes through memory and syncs another reads through memory")
def _mmap(pair: Pair) -> None:
    pair.a.do("put", "f", "x" * 8192)
    pair.is_soon("x", "map_read", "f", 1, 0)
    pair.a.do("map_write", "f", "mapped", 4000)
    pair.a.do("fsync", "f")
    pair.is_soon("mapped", "map_read", "f", 6, 4000)


@_check("O_DIRECT", "a block that is written past the cache is read so, and by another client")
def _direct(pair: Pair) -> None:
    _expect(pair.a.do("direct", "f", "direct"), "direct", "what is read")
    pair.soon(lambda: bool(pair.b.do("exists", "f") and pair.b.do("get", "f")[:6] == "direct"), "it is not there")


@_check("posix_fallocate", "room can be set aside, and reads as zeros")
def _fallocate(pair: Pair) -> None:
    file = pair.a.do("open", "f", "wc")
    pair.a.do("allocate", file, _MIB)
    pair.a.do("close", file)
    pair.soon(lambda: bool(pair.b.do("exists", "f") and pair.b.do("stat", "f")["size"] == _MIB), "it has another size")
    _expect(pair.b.do("read", pair.b.do("open", "f", "r"), 5, 1000), "\0" * 5, "what is read")


@_check("extended attributes", "an attribute user.* that one client sets another reads, until it is removed")
def _xattr(pair: Pair) -> None:
    pair.a.do("put", "f", "x")
    pair.is_soon(True, "exists", "f")
    pair.a.do("setxattr", "f", "user.pliant", "value")
    pair.is_soon("value", "getxattr", "f", "user.pliant")
    pair.a.do("removexattr", "f", "user.pliant")
    pair.is_soon("ENODATA", "getxattr", "f", "user.pliant")


@_check("permissions", "who may not read a file cannot, nor give it away, on another client as well")
def _permissions(pair: Pair) -> None:
    pair.a.do("put", "f", "secret")
    pair.a.do("chmod", "f", 0o600)
    pair.a.do("chmod", ".", 0o755)
    pair.soon(lambda: bool(pair.b.do("exists", "f") and pair.b.do("stat", "f")["mode"] == 0o600), "it has another mode")
    pair.b.refuses("EACCES", "as_user", _NOBODY, "get", "f")
    pair.b.refuses("EPERM", "as_user", _NOBODY, "chown", "f", _NOBODY)
    pair.a.do("chmod", "f", 0o644)
    pair.soon(lambda: bool(_tried(pair.b, "as_user", _NOBODY, "get", "f") == "secret"), "it cannot be read")


def _tried(client: Client, what: str, *given: Any) -> Any:
    try:
        return client.do(what, *given)
    except Refused:
        return None
