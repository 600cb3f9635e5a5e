"""Divides each host's disk bandwidth among the disks of its nodes. A program of its own, one per deployment.

    python3 -I diskshare.py STATE/ID/diskshare.json

The kernel limits each loop device by itself; a host's disk is the sum of them. So the disks that are busy share the
host's rate equally, and what one of them does not want goes to the others. Reads and writes are limited apart, each to
the host's rate.

The kernel keeps a limit exactly as long as it stays what it is, but lets up to a tenth of a second's worth pass when it
is set (a new slice, block/blk-throttle.c). So limits are steps: they change when a disk becomes busy or idle, or wants
clearly more or less than before, and not in between. What passed above the rate meanwhile, when several begin at
once, is taken back in one further step.

The file says {"hosts": [{"rate": bytes/s or null, "disks": [{"name": "7:3", "stat": FILE, "limits": {"read": {"file",
"line", "none"}, "write": ...}}, ...]}, ...]}: `stat` is where the disk's counters are, as the kernel has them
(Documentation/block/stat.rst), and `limits` how the kernel is told (`cgroup.DiskLimit`). The disk of a node with a
kernel of its own is limited by that; for it its door keeps files like the machine's (`window`), and the word "at" of
`stat` is the moment that the others are of. The file is read again when it changes.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

TICK_S = 0.025
WINDOW_S = 1.0
"""A disk is idle, or known to want less than its part, after this time of it, or of _REQUESTS requests if those take
longer: the kernel lets requests of megabytes pass whole."""
_REQUESTS = 3
_HUNGRY = 0.85
"""A disk that uses this part of its limit would use more."""
_SPARE = 1.1
"""A disk that wants less than its part keeps this much more than it used, so that it may grow."""
_SAME = 0.01
"""Limits that differ by less than this are the same."""

_EXCESS_S = 0.1
"""What passed above the rate is taken back once it is more than this time's worth of it: the kernel's slice, by which
it is ahead of a constant limit at times. Taking that back would begin anew forever."""
_TAKE_BACK_S = 0.5
"""... in this time, or twice as long as it takes to pass at the rate."""

HUNGRY, BEGUN = float("inf"), 0.0
"""What a disk wants that would use more, and what one is taken to want that has just begun to do something: as long as
it uses little of its part, a write-back of a moment takes nothing from the others."""
_SILENT_S = 0.2
"""A node's own kernel of which nothing has been heard for so long has had nothing to tell: its disk is as it was."""
KINDS = ("read", "write")
_BEGINNING_S = 0.05
"""A disk that has begun is hungry once it has used its part for so long."""


def divide(rate: float, wanted: Sequence[float | None]) -> list[float]:
    """Limits (bytes/s) of the disks of one host from what each wants: None if it is idle, HUNGRY if as much as it gets.

    Hungry disks share equally what the others leave (max-min fairness). Who wants clearly less than an equal part may
    still take one: it will be seen when it does. An idle disk may begin with the part that it will have: its first
    request may be megabytes, and is not seen before it is done.

    >>> divide(120.0, [HUNGRY, HUNGRY, None])
    [60.0, 60.0, 40.0]
    >>> divide(120.0, [HUNGRY, 20.0, None])
    [100.0, 60.0, 40.0]
    >>> divide(120.0, [HUNGRY, 10.0, 50.0])
    [60.0, 40.0, 60.0]
    >>> divide(120.0, [None, None, None])
    [120.0, 120.0, 120.0]
    """
    busy = sorted(want for want in wanted if want is not None)
    equal = most = rate / max(1, len(busy))
    left = rate
    for served, least in enumerate(busy):
        most = max(most, left / (len(busy) - served))
        left -= min(least, most)
    limits = []
    for want in wanted:
        if want is None:
            limits.append(rate / (len(busy) + 1))
        else:
            limits.append(equal if want < _HUNGRY * equal else most)  # at its limit it would look hungry
    return limits


class _Disk:
    """One direction of one disk: its limit, what it has moved lately, and what it seems to want."""

    def __init__(self, limit: float, moved: int, now: float) -> None:
        self.limit = limit
        self.wanted: float | None = None
        self.since = now
        self.busy = now
        self.begun = (now, moved)
        self.request = self.largest = 0
        self.marked = now
        self.history: deque[tuple[float, int]] = deque([(now, moved)])

    @property
    def window(self) -> float:
        """The time, in seconds, over which it is judged."""
        return max(WINDOW_S, _REQUESTS * self.request / self.limit)

    def see(self, now: float, moved: int) -> None:
        """Take note of how many bytes it had moved by then, and decide what it wants."""
        last, before = self.history[-1]
        if now <= last:  # nothing is known that is new
            return
        self.history.append((now, moved))
        if moved > before:
            self.busy = now
            self._measure(moved - before - round(self.limit * (now - last)))
            if self.wanted is None:
                self.wanted, self.since, self.begun = BEGUN, now, (last, before)
        if self.wanted == BEGUN and now - self.begun[0] >= _BEGINNING_S:
            began, at_first = self.begun
            if moved - at_first >= _HUNGRY * self.limit * (now - began):
                self.wanted, self.since = HUNGRY, now
        window = self.window
        if now - self.marked >= window:
            self.request, self.largest, self.marked = self.largest, 0, now
        while len(self.history) > 2 and self.history[1][0] <= now - window:
            self.history.popleft()
        if self.wanted is None:
            return
        if now - self.busy >= window:
            self.wanted, self.request, self.largest = None, 0, 0
        elif now - max(self.since, self.history[0][0]) >= window:
            began, at_first = self.history[0]
            self._judge((moved - at_first) / (now - began), self.request / (now - began), now)

    def _measure(self, at_once: int) -> None:
        """Remember how large requests are, of this window and the last: bytes that were seen to pass at once.

        That is beyond what the limit lets through meanwhile, for ticks come late when the machine is busy.
        """
        self.largest = max(self.largest, at_once)
        self.request = max(self.request, at_once)

    def _judge(self, used: float, one: float, now: float) -> None:
        """What it wants from what it used for a whole window under its present limit (bytes/s).

        A window may hold one request more or less: that would be `one`, in bytes/s.
        """
        assert self.wanted is not None
        known = self.wanted not in (HUNGRY, BEGUN)
        if used + one >= _HUNGRY * self.limit or (known and used - one > self.wanted):
            wanted = HUNGRY
        elif not known or used + one < self.wanted / _SPARE**2:
            wanted = _SPARE * used
        else:
            return
        if wanted != self.wanted:
            self.wanted, self.since = wanted, now

    def set(self, limit: float, now: float) -> bool:
        """Give it another limit; whether that is one."""
        if abs(limit - self.limit) <= _SAME * self.limit:
            return False
        self.limit, self.since = limit, now
        return True


class _Account:
    """What all disks of a host moved above its rate, in one direction, and what is done about it."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate, self.now = rate, now
        self.excess = self.least = 0.0
        self.since = now
        self.taking: tuple[float, float] | None = None

    def book(self, now: float, moved: int, window: float) -> float:
        """Book what was moved since the last time; the rate to divide now, bytes/s.

        Requests pass whole, so the excess jumps with each: what counts is the least of it within a window.
        """
        self.excess = max(0.0, self.excess + moved - self.rate * (now - self.now))
        self.now = now
        self.least = min(self.least, self.excess)
        if self.taking is not None:
            rate, until = self.taking
            if now < until and self.excess > 0:
                return rate
            self.taking = None
            self._watch(now)
        elif now - self.since >= window:
            if self.least > _EXCESS_S * self.rate:
                length = max(_TAKE_BACK_S, 2 * self.least / self.rate)
                self.taking = (self.rate - self.least / length, now + length)
                return self.taking[0]
            self._watch(now)
        return self.rate

    def _watch(self, now: float) -> None:
        self.least, self.since = self.excess, now


class _Host:
    """The disks of one host and their limits; reads and writes apart."""

    def __init__(self, rate: float, own: Sequence[dict[str, Any]], now: float) -> None:
        self.rate, self.own = rate, list(own)
        self.files = [open(disk["stat"]) for disk in own]  # noqa: SIM115 - read every tick
        self.last, _ = self._look(now)
        self.disks = {kind: [_Disk(rate, moved, now) for moved in self.last[kind]] for kind in KINDS}
        self.accounts = {kind: _Account(rate, now) for kind in self.disks}

    def _look(self, now: float) -> tuple[dict[str, list[int]], list[float]]:
        """Bytes read and written by each disk (sectors of 512 bytes), and by when it was so many."""
        counts: dict[str, list[int]] = {"read": [], "write": []}
        moments = []
        for own, file in zip(self.own, self.files):
            file.seek(0)
            fields = file.read().split()
            counts["read"].append(int(fields[2]) * 512)
            counts["write"].append(int(fields[6]) * 512)
            told = int(fields[own["at"]]) / 1e9 if "at" in own else now
            moments.append(told if now - told < _SILENT_S else now)
        return counts, moments

    def tick(self, now: float) -> dict[str, list[tuple[dict[str, Any], float]]]:
        """The limits that change: kind -> (disk, bytes/s)."""
        before = self.last
        self.last, moments = self._look(now)
        changes: dict[str, list[tuple[dict[str, Any], float]]] = {}
        for kind, disks in self.disks.items():
            for disk, at, moved in zip(disks, moments, self.last[kind]):
                disk.see(at, moved)
            moved = sum(self.last[kind]) - sum(before[kind])
            rate = self.accounts[kind].book(now, moved, max(disk.window for disk in disks) / 2)
            limits = divide(rate, [disk.wanted for disk in disks])
            for own, disk, limit in zip(self.own, disks, limits):
                if disk.set(limit, now):
                    changes.setdefault(kind, []).append((own, limit))
        return changes

    def close(self) -> None:
        for file in self.files:
            file.close()


def _apply(kind: str, limits: Sequence[tuple[dict[str, Any], float | None]]) -> None:
    """Lower limits first, so that the sum never exceeds the rate meanwhile."""
    for disk, rate in sorted(limits, key=lambda item: item[1] or 0.0):
        how = disk["limits"][kind]
        value = how["none"] if rate is None else str(max(1, round(rate)))
        try:
            with open(how["file"], "w", buffering=1, opener=_at_once) as file:
                file.write(how["line"].format(disk=disk["name"], rate=value) + "\n")
        except OSError as error:  # the node's own kernel has gone, and its limits with it
            if error.errno not in (errno.ENXIO, errno.ENOENT, errno.EPIPE):
                raise


def _at_once(path: str, _: int) -> int:
    """Open a file that is there for writing, and not wait for a reader of what is a pipe (fifo(7))."""
    return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _load(path: str, now: float) -> list[_Host]:
    """Read the file and set its limits at once; returns the hosts whose disks have to be watched."""
    with open(path) as file:
        hosts = json.load(file)["hosts"]
    watched = []
    for host in hosts:
        rate, disks = host["rate"], host["disks"]
        for kind in KINDS:
            _apply(kind, [(disk, rate) for disk in disks])
        if rate is not None and len(disks) > 1:
            watched.append(_Host(rate, disks, now))
    return watched


def main(path: str) -> int:
    """Run until killed, or until the deployment's file is gone."""
    seen: tuple[int, int] | None = None
    hosts: list[_Host] = []
    while True:
        try:
            stat = os.stat(path)
        except FileNotFoundError:
            return 0
        if (stat.st_mtime_ns, stat.st_ino) != seen:
            seen = (stat.st_mtime_ns, stat.st_ino)
            for host in hosts:
                host.close()
            hosts = _load(path, time.monotonic())
        time.sleep(TICK_S)
        now = time.monotonic()
        for host in hosts:
            for kind, changes in host.tick(now).items():
                _apply(kind, changes)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
