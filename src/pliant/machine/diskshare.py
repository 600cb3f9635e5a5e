"""Divides each host's disk bandwidth among the disks of its nodes. A program of its own, one per deployment.

    python3 -I diskshare.py STATE/ID/diskshare.json

The kernel limits each loop device by itself; a host's disk is the sum of them. So every TICK each disk may take what
the others leave, and never less than an equal part: one busy disk gets the whole rate, two get half of it each. What
passed above the rate meanwhile is taken back afterwards, so the sum keeps to the rate. Reads and writes are limited
apart, each to the host's rate.

The file says {"hosts": [{"rate": bytes/s or null, "disks": ["7:3", ...], "limits": {"read": {"file", "line", "none"},
"write": ...}}, ...]}, where `limits` is how the kernel is told (`cgroup.DiskLimit`). It is read again when it changes.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Sequence

TICK_S = 0.025
_MEMORY_S = 0.15
"""Use is averaged over this time or more: the kernel lets requests of a megabyte pass whole, so a tick says little."""
_REQUESTS = 2
"""... and over the time of so many such requests at an equal part of the rate: between two of them a slow disk would
seem idle, and what it leaves be given to the others."""
_REQUEST_BYTES = 2**20
_IDLE = 0.001
"""A disk that uses less than this part of the rate is idle."""
_GAIN = 0.3
"""Part of the way to its new limit that a disk goes in a tick, divided by the number of busy disks: all of them react
to each other, and with more the limits would swing."""
_DEBT_S = 0.5
"""Time, or twice the averaging's if that is more, over which an excess is taken back; what takes longer is forgiven."""


def divide(rate: float, limits: Sequence[float], used: Sequence[float], gain: float = 1.0) -> list[float]:
    """New limits (bytes/s) of the disks of one host from the present ones and what is being used.

    >>> divide(100.0, [50, 50], [50, 0])
    [100.0, 50.0]
    >>> divide(100.0, [100, 50], [100, 50], gain=0.5)
    [75.0, 50.0]
    >>> divide(100.0, [50, 50], [50, 10])
    [90.0, 50.0]
    """
    busy = sum(use > _IDLE * rate for use in used)
    total = sum(used)
    fresh = []
    for limit, use in zip(limits, used, strict=True):
        equal = rate / (busy if use > _IDLE * rate else busy + 1)
        aim = max(equal, rate - (total - use))
        fresh.append(limit + gain * (aim - limit))
    return fresh


class _Host:
    """The disks of one host and their limits; reads and writes apart."""

    def __init__(self, rate: float, disks: Sequence[str], how: dict[str, dict[str, str]]) -> None:
        self.rate, self.disks, self.how = rate, list(disks), how
        self.memory_s = max(_MEMORY_S, _REQUESTS * _REQUEST_BYTES * len(disks) / rate)
        self.debt_s = max(_DEBT_S, 2 * self.memory_s)
        self.files = [open(f"/sys/dev/block/{disk}/stat") for disk in disks]  # noqa: SIM115 - read every tick
        self.limits = {kind: [rate / len(disks)] * len(disks) for kind in ("read", "write")}
        self.last = self._bytes()
        self.used = {kind: [0.0] * len(disks) for kind in ("read", "write")}
        self.set = {kind: list(limits) for kind, limits in self.limits.items()}
        self.debt = {"read": 0.0, "write": 0.0}

    def _bytes(self) -> dict[str, list[int]]:
        """Bytes read and written so far by each disk (Documentation/block/stat.rst: sectors of 512 bytes)."""
        counts: dict[str, list[int]] = {"read": [], "write": []}
        for file in self.files:
            file.seek(0)
            fields = file.read().split()
            counts["read"].append(int(fields[2]) * 512)
            counts["write"].append(int(fields[6]) * 512)
        return counts

    def tick(self, elapsed_s: float) -> dict[str, list[tuple[str, float]]]:
        """The limits that changed by more than 2 %: kind -> (disk, bytes/s)."""
        now = self._bytes()
        weight = 1 - math.exp(-elapsed_s / self.memory_s)
        changes: dict[str, list[tuple[str, float]]] = {}
        for kind, limits in self.limits.items():
            used, passed = self.used[kind], 0
            for index, (before, after) in enumerate(zip(self.last[kind], now[kind], strict=True)):
                used[index] += weight * ((after - before) / elapsed_s - used[index])
                passed += after - before
            excess = self.debt[kind] + passed - self.rate * elapsed_s
            self.debt[kind] = min(max(0.0, excess), self.rate * self.debt_s)
            rate = max(0.2 * self.rate, self.rate - self.debt[kind] / self.debt_s)
            busy = sum(use > _IDLE * rate for use in used)
            new = divide(rate, limits, used, _GAIN / max(1, busy))
            self.limits[kind] = new
            for index, (disk, fresh) in enumerate(zip(self.disks, new, strict=True)):
                if abs(fresh - self.set[kind][index]) > 0.02 * self.set[kind][index]:
                    self.set[kind][index] = fresh
                    changes.setdefault(kind, []).append((disk, fresh))
        self.last = now
        return changes

    def close(self) -> None:
        for file in self.files:
            file.close()


def _apply(how: dict[str, str], limits: Sequence[tuple[str, float | None]]) -> None:
    """Lower limits first, so that the sum never exceeds the rate meanwhile."""
    with open(how["file"], "w", buffering=1) as file:
        for disk, rate in sorted(limits, key=lambda item: item[1] or 0.0):
            value = how["none"] if rate is None else str(max(1, round(rate)))
            file.write(how["line"].format(disk=disk, rate=value) + "\n")


def _load(path: str) -> list[_Host]:
    """Read the file and set its limits at once; returns the hosts whose disks have to be watched."""
    with open(path) as file:
        hosts = json.load(file)["hosts"]
    watched = []
    for host in hosts:
        rate, disks = host["rate"], host["disks"]
        each = None if rate is None else rate / len(disks)
        for how in host["limits"].values():
            _apply(how, [(disk, each) for disk in disks])
        if rate is not None and len(disks) > 1:
            watched.append(_Host(rate, disks, host["limits"]))
    return watched


def main(path: str) -> int:
    """Run until killed, or until the deployment's file is gone."""
    seen: tuple[int, int] | None = None
    hosts: list[_Host] = []
    last = time.monotonic()
    while True:
        try:
            stat = os.stat(path)
        except FileNotFoundError:
            return 0
        if (stat.st_mtime_ns, stat.st_ino) != seen:
            seen = (stat.st_mtime_ns, stat.st_ino)
            for host in hosts:
                host.close()
            hosts = _load(path)
        time.sleep(TICK_S)
        now = time.monotonic()
        for host in hosts:
            for kind, changes in host.tick(now - last).items():
                _apply(host.how[kind], changes)
        last = now


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
