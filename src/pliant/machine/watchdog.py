"""Says what a node's own kernel loses: packets that it had no room for, and time in which it slept over what had come.

User Mode Linux 6.1 can lose an event (see `guest`), and is not told again. Then packets wait while nothing runs: seen
from outside, that is what `Watchdog` looks for. That a disk's answer was lost is seen from inside: `Disk`.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

EVERY_S = 0.25
ASLEEP_S = 1.0
"""Who sleeps for so long while packets wait has not heard of them: who is only held back by a quota can run."""
STUCK_S = 2.0
"""A request that a disk has not answered for so long, nor any other, is lost, or what is below stands still."""
_SOL_PACKET, _PACKET_STATISTICS = 263, 6


class Watchdog:
    """Counts into a file, two lines, which `sampling` has read: "drops N" packets and "asleep N" ns since the start.

    `packets` is the socket by which the instance takes in packets, `pid` its first process. Reading the kernel's count
    of drops sets it to 0, so nobody else may.
    """

    def __init__(self, packets: socket.socket, pid: int, file: Path) -> None:
        self._packets, self._pid = packets, pid
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._drops = self._asleep_ns = 0
        self._changing = threading.Lock()
        self.count()
        threading.Thread(target=self._watch, daemon=True).start()

    def count(self, asleep_s: float = 0.0) -> int:
        """Write down what was lost so far, with so much more time; how many packets."""
        with self._changing:
            counts = self._packets.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
            self._drops += struct.unpack("=II", counts)[1]
            self._asleep_ns += round(asleep_s * 1e9)
            os.pwrite(self._file, b"drops %020d\nasleep %020d\n" % (self._drops, self._asleep_ns), 0)
            return self._drops

    def _watch(self) -> None:
        slept = Lasting(self._look, ASLEEP_S)
        while True:
            time.sleep(EVERY_S)
            try:
                self.count(slept.more_s())
            except OSError:
                return  # the instance has ended

    def _look(self) -> object | None:
        """What stays the same as long as the instance sleeps while a packet waits; None where it does not."""
        waiting = struct.unpack("=i", fcntl.ioctl(self._packets, termios.FIONREAD, bytes(4)))[0]
        if not waiting:
            return None
        # proc(5): after the name come the state and, at 11 and 12, the CPU time in user and in kernel mode.
        words = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return None if words[0] == "R" else (words[11], words[12])


class Lasting:
    """For how long something stays as it is; `look` says how it is, None for a way that never counts."""

    def __init__(self, look: Callable[[], object | None], least_s: float) -> None:
        self._look, self._least_s = look, least_s
        self._last: object | None = None
        self._since_s = self._told_s = 0.0

    def more_s(self) -> float:
        """By how much longer than when it was asked last, from `least_s` on, which then count as well."""
        now, now_s = self._look(), time.monotonic()
        if now is None or now != self._last:
            self._last, self._since_s, self._told_s = now, now_s, 0.0
        length_s = now_s - self._since_s
        if length_s < self._least_s:
            return 0.0
        more_s, self._told_s = length_s - self._told_s, length_s
        return more_s


class Disk:
    """A disk of this kernel, of which `unanswered_s` says for how much longer it has not answered."""

    def __init__(self, name: str) -> None:
        self._stat = os.open(f"/sys/block/{name}/stat", os.O_RDONLY | os.O_CLOEXEC)
        self.unanswered_s = Lasting(self._state, STUCK_S).more_s

    def _state(self) -> object | None:
        """What changes with each answer, while there are requests (Documentation/block/stat.rst)."""
        words = os.pread(self._stat, 512, 0).split()
        read, written, in_flight = words[0], words[4], words[8]
        return None if in_flight == b"0" else (read, written)
