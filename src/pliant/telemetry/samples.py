"""Samples: what the sampler counted while a trial ran, read. Pure; the numbers are `machine.sampler`'s."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FORMAT = 1


SAMPLED = ("cpu", "nic_up", "nic_down", "disk_read", "disk_write")
"""Resources of a host of which it is sampled how much was used."""
MEMORY = "memory"
"""The one that runs out once and for all: it is told of a host where the kernel killed processes for want of it."""
RESOURCES = (*SAMPLED, MEMORY)


NAMES = {
    "cpu": "CPU",
    "nic_up": "NIC-up",
    "nic_down": "NIC-down",
    "disk_read": "disk reads",
    "disk_write": "disk writes",
    MEMORY: "memory",
}


Floats = NDArray[np.float64]


Windows = Mapping[str, tuple[float, float]]
"""Phase -> when it began and ended, in seconds of CLOCK_MONOTONIC (`time.monotonic`)."""


Hosts = Mapping[str, Sequence[str]]
"""Host ("host1", ...) -> the nodes on it."""


@dataclass(frozen=True)
class Promise:
    """What each host has: CPUs' worth of time, bit/s each way, bytes/s of reads and of writes, bytes. None: no limit.

    `period_s` is that of the CPU quota (`machine.cgroup.period_and_quota_us`).
    """

    cores: float | None
    nic_bit_s: float | None
    disk_byte_s: float | None
    memory_bytes: int | None = None
    period_s: float = 0.010


@dataclass(frozen=True)
class Samples:
    """Telemetry of a deployment: `time_s` of CLOCK_MONOTONIC, and in `columns` a value in s or bytes for each time.

    Columns are named as in `machine.sampling`.
    """

    every_s: float
    time_s: Floats
    columns: Mapping[str, Floats]

    def total(self, *names: str) -> Floats:
        """What some counters have counted together since the first sample; 0 for those that are not there.

        A counter that falls began anew, as a queue's does when limits are switched.
        """
        found = np.zeros(len(self.time_s))
        for values in (self.columns[name] for name in names if name in self.columns):
            steps = np.diff(values)
            found[1:] += np.cumsum(np.where(steps < 0, values[1:], steps))
        return found

    def peak(self, name: str, begin_s: float, end_s: float) -> float:
        """The highest value of a column in that time; 0 if there is none."""
        inside = (self.time_s >= begin_s) & (self.time_s <= end_s)
        values = self.columns.get(name)
        return 0.0 if values is None or not inside.any() else float(values[inside].max())


def read(text: str) -> Samples:
    """The samples in what a sampler wrote, in whatever state that was left: a torn last line is left out.

    Without a complete first line there are no samples. Raises ValueError if the text is of another format.
    """
    header, *lines = text.split("\n")[:-1] or [""]
    try:
        about = json.loads(header)
    except ValueError:
        return Samples(0.0, np.zeros(0), {})
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ValueError(f"telemetry: format {about.get('format') if isinstance(about, dict) else about!r}: not known")
    columns = about["columns"]
    words = (line.split() for line in lines)
    rows = [row for row in words if len(row) == len(columns) and all(map(str.isdecimal, row))]
    values = np.array([[int(word) for word in row] for row in rows], dtype=np.float64).reshape(len(rows), len(columns))
    found = {name: values[:, index] * factor for index, (name, factor) in enumerate(columns)}
    return Samples(float(about["every_s"]), found.pop("time_s"), found)
