"""What a node's own kernel counts, told to its door when that asks: of its disk, or all that telemetry has of it.

A question is a line "?disk" or "?all". The answer is "=disk" or "=all", the moment on the instance's CLOCK_MONOTONIC in
ns, and numbers: the first of the disk's counters (Documentation/block/stat.rst), or one for each of `columns`. Nothing
waits for an answer, and nothing is told without a question: each takes the instance half a millisecond of its host's
CPU. A line "!read 1000000" limits the disk. They are no part of a `conversation`, which would take more, and each is
done before the next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

ASK_DISK, ASK_ALL = b"?disk", b"?all"
SAY_DISK, SAY_ALL = b"=disk", b"=all"
LIMIT = b"!"
DISK_WORDS = 11
"""So many counters of a disk every kernel has."""
_WIDTH = 20

_DISK = (
    ("read_bytes", 512.0, 2),
    ("read_wait_s", 1e-3, 3),
    ("written_bytes", 512.0, 6),
    ("write_wait_s", 1e-3, 7),
    ("in_flight", 1.0, 8),
    ("disk_busy_s", 1e-3, 9),
)
"""As `sampling` has them of a disk of the machine: what they are called, their unit, and their place."""
_OWN = (
    ("own_user_s", 0.01),
    ("own_system_s", 0.01),
    ("own_idle_s", 0.01),
    ("own_waiting_s", 0.01),
    ("own_stolen_s", 0.01),
    ("own_memory_bytes", 1024.0),
    ("own_blocked", 1.0),
    ("own_killed", 1.0),
)
"""CPU time by kind, in ticks of 10 ms (USER_HZ); memory that is not free, page cache included; processes that wait for
a disk or a server now; and those that the kernel has killed as its memory ran out (proc(5))."""


def columns(disk: bool) -> tuple[tuple[str, float], ...]:
    """What "?all" is answered with: what each number is called, and its factor to s or bytes."""
    return (*((name, factor) for name, factor, _ in _DISK if disk), *_OWN)


class Counters:
    """What this kernel counts; `disk` is the device of its node's disk, "" where it has none."""

    def __init__(self, disk: str) -> None:
        files = ("/proc/stat", "/proc/meminfo", "/proc/vmstat")
        self._stat, self._meminfo, self._vmstat = (os.open(each, os.O_RDONLY | os.O_CLOEXEC) for each in files)
        self._disk = os.open(f"/sys/block/{disk}/stat", os.O_RDONLY | os.O_CLOEXEC) if disk else None

    def answer(self, question: bytes) -> bytes:
        """What is to be said to a question, a whole line."""
        at_ns = time.monotonic_ns()
        disk = self._of_disk()
        if question == ASK_DISK:
            return b"%s %d %s\n" % (SAY_DISK, at_ns, b" ".join(disk))
        numbers = [*(disk[place] for _, _, place in _DISK if disk), *(b"%d" % each for each in self._own())]
        return b"%s %d %s\n" % (SAY_ALL, at_ns, b" ".join(numbers))

    def _of_disk(self) -> list[bytes]:
        return [] if self._disk is None else os.pread(self._disk, 512, 0).split()[:DISK_WORDS]

    def _own(self) -> list[int]:
        stat = os.pread(self._stat, 1 << 14, 0)
        _, user, nice, system, idle, waiting, irq, softirq, stolen, *_ = stat.split(None, 9)
        memory = os.pread(self._meminfo, 512, 0)
        used = _after(memory, b"MemTotal:") - _after(memory, b"MemFree:")
        times = (int(user) + int(nice), int(system) + int(irq) + int(softirq), int(idle), int(waiting), int(stolen))
        killed = _after(os.pread(self._vmstat, 1 << 14, 0), b"oom_kill ")
        return [*times, used, _after(stat, b"procs_blocked "), killed]


def _after(text: bytes, key: bytes) -> int:
    """The number that follows a key; 0 where that is not told."""
    found = text.partition(key)[2].split(None, 1)
    return int(found[0]) if found else 0


class Kept:
    """A file of such numbers on the machine, for who reads it at any time: one line, each number as wide as any."""

    def __init__(self, path: str, count: int) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self.put([0] * count)

    def put(self, numbers: Iterable[int]) -> None:
        """Have these in it."""
        os.pwrite(self._descriptor, b" ".join(b"%0*d" % (_WIDTH, each) for each in numbers) + b"\n", 0)
