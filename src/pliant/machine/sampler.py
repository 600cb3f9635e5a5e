"""Reads what hosts and nodes use, several times a second, into a file. A program of its own, in the fabric's network.

    python3 -I -S sampler.py PLAN.json

The plan comes from `sampling.plan`. The output's first line is a JSON object, {"format", "every_s", "columns": [[name,
factor], ...]}; each line after it is one sample: an integer for each column, which times its factor is in s or bytes.
The first column is CLOCK_MONOTONIC. What a kernel does not have is left out of the columns; what goes later keeps its
last value. It ends, after a last sample, on SIGTERM, and by itself when no group of a host is left or when the process
that started it has gone: nobody would read on.

What nodes' own kernels count comes later than it is asked for, with the moment that it is of, so a sample waits for the
next one: its numbers are those between the two.

Everything stays open and is read in place, and no program is started: 64 nodes on 64 hosts have some 1300 counters.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

FORMAT = 1
_NUMBER_BYTES = 32
_FIELDS_BYTES = 512
"""Enough for the first line of /proc/stat, and for the one line of a disk's."""
_DUMP_BYTES = 1 << 16
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

_LINK_FIELDS = {"rx_bytes": 1, "rx_packets": 2, "tx_bytes": 9, "tx_packets": 10}
"""Where /proc/net/dev has them, the name being 0; a row has 17 (net-sysfs's statistics, in proc(5)'s order)."""
_LINK_ROW = 17

# linux/netlink.h, linux/rtnetlink.h, linux/pkt_sched.h
_RTM_NEWQDISC, _RTM_GETQDISC = 36, 38
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_TC_H_ROOT = 0xFFFFFFFF
_TCA_STATS = 3
_MESSAGE = struct.Struct("=IHH8x4xi4xI4x")
"""nlmsghdr (length, type, flags, sequence, port) and tcmsg (family, interface, handle, parent, info)."""
_ATTRIBUTE = struct.Struct("=HH")
_STATS = struct.Struct("=QII16xI")
"""struct tc_stats: bytes, packets, drops; overlimits, two rates, the queue's length in packets; that in bytes."""
_STATS_FIELDS = {"bytes": 0, "packets": 1, "drops": 2, "backlog_bytes": 3}

PROBE = range(12_000)
"""What a probe of what a CPU second is worth adds up: some 0.3 ms of work, which is 0.15 % of a CPU in five samples a
second. A second of CPU time is not a fixed amount of it: caches, memory and the sibling thread are shared with others,
clocks change, and a kernel without PARAVIRT_TIME_ACCOUNTING takes what its hypervisor took for CPU time."""

STARVING_NS = 10**9
"""So long without any CPU is no turn that is still to come."""

LOOK = b"look\n"
"""How a door is asked to have its node's file brought up to date; see `window`."""
_ANSWER_S = 0.05

Values = list[int]


class Qdiscs:
    """The root queueing disciplines of this network namespace, read with one dump of rtnetlink(7)."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._buffer = bytearray(_DUMP_BYTES)
        self._request = struct.pack("=IHHII20x", 36, _RTM_GETQDISC, _NLM_F_REQUEST_DUMP, 1, 0)
        self._offsets: dict[int, int] = {}

    def read(self) -> dict[int, tuple[int, ...]]:
        """Interface index -> bytes, packets, drops, bytes waiting, since the discipline was put there.

        Bytes are those of the wire: a packet that the card or the peer has yet to cut counts with all its headers.
        """
        found: dict[int, tuple[int, ...]] = {}
        self._socket.send(self._request)
        while True:
            size = self._socket.recv_into(self._buffer)
            if parse(self._buffer, size, found, self._offsets):
                return found

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def parse(buffer: bytearray | bytes, size: int, found: dict[int, tuple[int, ...]], offsets: dict[int, int]) -> bool:
    """Add the qdiscs in one part of a dump to `found`; whether it was the last part.

    `offsets` remembers where messages of a length have their statistics: all of a kind are alike.
    """
    at = 0
    while at < size:
        length, kind, _, interface, parent = _MESSAGE.unpack_from(buffer, at) if size - at >= 36 else (0, 3, 0, 0, 0)
        if kind in (_NLMSG_DONE, _NLMSG_ERROR) or length < 36:
            return True
        if kind == _RTM_NEWQDISC and parent == _TC_H_ROOT:
            offset = offsets.get(length, 0)
            if not offset or _ATTRIBUTE.unpack_from(buffer, at + offset)[1] != _TCA_STATS:
                offset = offsets[length] = _stats(buffer, at, length)
            if offset:
                found[interface] = _STATS.unpack_from(buffer, at + offset + 4)
        at += (length + 3) & ~3
    return False


def _stats(buffer: bytearray | bytes, begin: int, length: int) -> int:
    """Where a message has its TCA_STATS, counted from its beginning; 0 if it has none."""
    at = 36
    while at + 4 <= length:
        size, kind = _ATTRIBUTE.unpack_from(buffer, begin + at)
        if kind == _TCA_STATS and size >= 4 + _STATS.size:
            return at
        at += max(4, (size + 3) & ~3)
    return 0


class _Columns:
    """The columns in the making, and the values of the present sample."""

    def __init__(self) -> None:
        self.names: list[tuple[str, float]] = []
        self.values: Values = []

    def add(self, name: str, factor: float) -> int:
        self.names.append((name, factor))
        self.values.append(0)
        return len(self.values) - 1


def _open(path: str) -> int | None:
    """A file descriptor, if the file is there and can be read: the kernel may lack it."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        os.pread(fd, 1, 0)
    except OSError:
        os.close(fd)
        return None
    return fd


class Files:
    """Counters in files: {"name", "factor", "file", and "key" or "field"}; see `sampling`.

    Without a key the file is a number; with one it is the number after the first occurrence of the key; with a field
    it is that word of the file's beginning.
    """

    def __init__(self, counters: Iterable[dict[str, Any]], columns: _Columns) -> None:
        by_file: dict[str, list[dict[str, Any]]] = {}
        for counter in counters:
            by_file.setdefault(counter["file"], []).append(counter)
        self._numbers: list[tuple[int, int]] = []
        self._keyed: list[tuple[int, list[tuple[int, bytes]]]] = []
        self._fields: list[tuple[int, list[tuple[int, int]]]] = []
        for path, wanted in by_file.items():
            if (fd := _open(path)) is not None:
                self._take(fd, wanted, columns)
        self.files = len(self._numbers) + len(self._keyed) + len(self._fields)

    def _take(self, fd: int, wanted: Sequence[dict[str, Any]], columns: _Columns) -> None:
        """Sort the counters of one file, without those that it does not have, by how they are read."""
        text = read_all(fd)
        fields, keys = [], []
        for counter in wanted:
            if "field" in counter:
                if counter["field"] < len(text[:_FIELDS_BYTES].split()):
                    fields.append((columns.add(counter["name"], counter["factor"]), counter["field"]))
            elif not (key := counter.get("key", "").encode()):
                self._numbers.append((columns.add(counter["name"], counter["factor"]), fd))
            elif key in text:
                keys.append((columns.add(counter["name"], counter["factor"]), key))
        if fields:
            self._fields.append((fd, fields))
        if keys:
            self._keyed.append((fd, keys))

    def read(self, values: Values) -> int:
        """Put what the files say into `values`; returns how many of them could not be read."""
        gone = 0
        pread = os.pread
        for index, fd in self._numbers:
            try:
                values[index] = int(pread(fd, _NUMBER_BYTES, 0))
            except (OSError, ValueError):
                gone += 1
        for fd, keys in self._keyed:
            try:
                text = read_all(fd)
                for index, key in keys:
                    begin = text.index(key) + len(key)
                    values[index] = int(text[begin : text.index(b"\n", begin)])
            except (OSError, ValueError):
                gone += 1
        for fd, fields in self._fields:
            try:
                words = pread(fd, _FIELDS_BYTES, 0).split()
                for index, field in fields:
                    values[index] = int(words[field])
            except (OSError, ValueError, IndexError):
                gone += 1
        return gone


def read_all(fd: int) -> bytes:
    """All of a file of /proc: the kernel gives a page at a time, and less at the end."""
    text = os.pread(fd, 1 << 16, 0)
    if len(text) < 2048:
        return text
    parts, at = [text], len(text)
    while text := os.pread(fd, 1 << 16, at):
        parts.append(text)
        at += len(text)
    return b"".join(parts)


class Links:
    """Counters of network links in /proc/self/net/dev: {"name", "factor", "link", "field"}."""

    def __init__(self, counters: Sequence[dict[str, Any]], columns: _Columns) -> None:
        self._fd = _open("/proc/self/net/dev") if counters else None
        self._rows: dict[bytes, int] = {}
        self._wanted: list[tuple[int, bytes, int]] = []
        present = self._places(self._words()) if self._fd is not None else {}
        for counter in counters:
            link = f"{counter['link']}:".encode()
            if link in present:
                index = columns.add(counter["name"], counter["factor"])
                self._wanted.append((index, link, _LINK_FIELDS[counter["field"]]))
        self._rows = present

    def _words(self) -> list[bytes]:
        assert self._fd is not None
        text = read_all(self._fd)
        return text[text.index(b"\n", text.index(b"\n") + 1) :].split()

    @staticmethod
    def _places(words: list[bytes]) -> dict[bytes, int]:
        return {words[at]: at for at in range(0, len(words), _LINK_ROW)}

    def read(self, values: Values) -> None:
        """Put the links' counters into `values`."""
        if not self._wanted:
            return
        words, rows = self._words(), self._rows
        for index, link, field in self._wanted:
            row = rows.get(link, len(words))
            if row >= len(words) or words[row] != link:  # a link came or went
                rows = self._rows = self._places(words)
                if link not in rows:
                    continue
                row = rows[link]
            values[index] = int(words[row + field])


class Queues:
    """Counters of the qdiscs at the root of links: {"name", "factor", "link", "field"}."""

    def __init__(self, counters: Sequence[dict[str, Any]], columns: _Columns) -> None:
        indices = {name: index for index, name in socket.if_nameindex()}
        wanted: dict[int, list[tuple[int, int]]] = {}
        for counter in counters:
            if counter["link"] in indices:
                place = columns.add(counter["name"], counter["factor"]), _STATS_FIELDS[counter["field"]]
                wanted.setdefault(indices[counter["link"]], []).append(place)
        self._wanted = list(wanted.items())
        self._qdiscs = Qdiscs() if wanted else None

    def read(self, values: Values) -> None:
        """Put the qdiscs' counters into `values`."""
        if self._qdiscs is None:
            return
        found = self._qdiscs.read()
        for interface, places in self._wanted:
            stats = found.get(interface)
            if stats is not None:
                for index, field in places:
                    values[index] = stats[field]

    def close(self) -> None:
        """Close what was opened."""
        if self._qdiscs is not None:
            self._qdiscs.close()


class Starving:
    """For how long nodes wanted a CPU and got none: {"name", "cpu", "procs"}, `cpu` being the column of what they used.

    A node counts that used nothing for STARVING_NS and has a thread that could run. Who is looked at did not run for
    so long, and that are few.
    """

    def __init__(self, wanted: Iterable[dict[str, Any]], columns: _Columns) -> None:
        places = {name: index for index, (name, _) in enumerate(columns.names)}
        self._nodes = [
            (columns.add(each["name"], 1e-9), places[each["cpu"]], each["procs"])
            for each in wanted
            if each["cpu"] in places
        ]
        self._ran: dict[int, tuple[int, int]] = {}
        """Column -> what it said when it last changed, and when that was, or when the node was last looked at."""

    def read(self, values: Values, now_ns: int) -> None:
        """Add to the columns; `values` has what nodes used until now."""
        for index, cpu, procs in self._nodes:
            used, since = self._ran.get(cpu, (-1, 0))
            if values[cpu] != used:
                self._ran[cpu] = values[cpu], now_ns
            elif now_ns - since >= STARVING_NS:
                self._ran[cpu] = used, now_ns
                if runnable(procs):
                    values[index] += now_ns - since


def runnable(procs: str) -> bool:
    """Whether a thread of the processes listed in a file of a control group could run (proc(5): state R)."""
    try:
        with open(procs, encoding="ascii") as file:
            pids = file.read().split()
    except OSError:
        return False
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/stat", "rb") as file:
                    if file.read().rpartition(b")")[2].split()[0] == b"R":
                        return True
        except OSError:  # it ended meanwhile
            continue
    return False


class Inside:
    """Counters of nodes with kernels of their own, as their doors have them in files (`window`): {"told", "asked",
    "columns": [[name, factor], ...]}. The first number of a file is the moment that the others are of."""

    def __init__(self, nodes: Iterable[dict[str, Any]], columns: _Columns) -> None:
        self._nodes: list[tuple[int, list[int]]] = []
        self._asked: list[int] = []
        for node in nodes:
            told = _open(node["told"])
            if told is None:
                continue
            self._nodes.append((told, [columns.add(name, factor) for name, factor in node["columns"]]))
            try:
                self._asked.append(os.open(node["asked"], os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
            except OSError:  # its kernel has gone: it tells no more
                continue
        if self._nodes:  # so that there is something from before the first sample
            self.ask()
            time.sleep(_ANSWER_S)
        self._before = self._told()

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def ask(self) -> None:
        """Ask all of them for what they count now."""
        for descriptor in self._asked:
            try:
                os.write(descriptor, LOOK)
            except OSError:
                continue

    def read(self, values: Values, at_ns: int) -> None:
        """Put into `values` what they counted at a moment, as far as what was told before and now says it."""
        now = self._told()
        for (_, indices), (was_ns, *were), (is_ns, *are) in zip(self._nodes, self._before, now):
            part = 1.0 if is_ns <= was_ns else min(1.0, max(0.0, (at_ns - was_ns) / (is_ns - was_ns)))
            # What was 0 is the file as it is before anything was told.
            part = part if was_ns else 1.0
            for index, before, after in zip(indices, were, are):
                values[index] = before + round(part * (after - before))
        self._before = now

    def _told(self) -> list[list[int]]:
        return [[int(word) for word in os.pread(told, _DUMP_BYTES, 0).split()] for told, _ in self._nodes]


class Sampler:
    """All counters of a plan."""

    def __init__(self, plan: dict[str, Any]) -> None:
        columns = _Columns()
        self._time = columns.add("time_s", 1e-9)
        self._late = columns.add("sampler/late_s", 1e-9)
        self._own = columns.add("sampler/cpu_s", 1e-9)
        self._probed = columns.add("machine/probe_s", 1e-9)
        self._probes = columns.add("machine/probes", 1.0)
        self._hosts = Files(plan["hosts"], columns)
        self._files = Files(plan["files"], columns)
        self._links = Links(plan["links"], columns)
        self._queues = Queues(plan["queues"], columns)
        self._starving = Starving(plan["starving"], columns)
        self._inside = Inside(plan["inside"], columns)
        self._waiting: Values | None = None
        self._values = columns.values
        self.header = {"format": FORMAT, "every_s": plan["every_s"], "columns": columns.names}

    def sample(self, late_ns: int) -> bytes | None:
        """The next line of the output, or b"" if it has to wait; None if no host is left."""
        values = self._values
        self._inside.ask()
        values[self._time] = time.monotonic_ns()
        values[self._late] = late_ns
        before = time.thread_time_ns()
        sum(PROBE)
        values[self._probed] += time.thread_time_ns() - before
        values[self._probes] += 1
        values[self._own] = time.process_time_ns()
        if self._hosts.read(values) == self._hosts.files > 0:
            return None
        self._files.read(values)
        self._links.read(values)
        self._queues.read(values)
        self._starving.read(values, values[self._time])
        if not self._inside:
            return _line(values)
        line = self.rest()
        self._waiting = values.copy()
        return line

    @property
    def asks(self) -> bool:
        """Whether there are nodes with kernels of their own, which need time to answer."""
        return bool(self._inside)

    def rest(self) -> bytes:
        """The line that waits for what nodes' own kernels count; b"" if none does."""
        if self._waiting is None:
            return b""
        self._inside.read(self._waiting, self._waiting[self._time])
        line, self._waiting = _line(self._waiting), None
        return line


def _line(values: Values) -> bytes:
    return (" ".join(map(str, values)) + "\n").encode()


def run(sampler: Sampler, every_ns: int, write: Callable[[bytes], object], alive: Callable[[], bool]) -> None:
    """Sample until a signal says to end or nothing is left; a moment that was slept over is not made up for."""
    write(json.dumps(sampler.header, separators=(",", ":")).encode() + b"\n")
    due = time.monotonic_ns()
    ended = False
    while not ended and alive():
        line = sampler.sample(max(0, time.monotonic_ns() - due))
        if line is None:
            return
        write(line)
        now = time.monotonic_ns()
        due += every_ns * max(1, -((due - now) // every_ns))
        ended = signal.sigtimedwait(_ENDS, max(0, due - time.monotonic_ns()) / 1e9) is not None
    if (line := sampler.sample(0)) is not None:
        write(line)
        if sampler.asks:
            time.sleep(_ANSWER_S)
            write(sampler.rest())


def main(path: str) -> int:
    """Run a plan."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    parent = os.getppid()
    with open(path, encoding="utf-8") as file:
        plan = json.load(file)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    sampler = Sampler(plan)
    # Nothing here makes cycles of references, and looking for them would take longer than a sample.
    gc.disable()
    with open(plan["out"], "wb", buffering=0) as out:
        run(sampler, round(plan["every_s"] * 1e9), out.write, lambda: os.getppid() == parent)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
