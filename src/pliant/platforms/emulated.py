"""The `emulated` platform: hosts are slices of this machine.

Its first rule: the sum of what is promised to hosts never exceeds what the machine has.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pliant.machine.deployment import HostFigures
from pliant.machine.facts import Facts
from pliant.units import format_size

MIN_CORES = 0.01
MIN_BYTES = 64 * 2**20
"""The least that a study may ask for, of CPU and of memory or disk."""


@dataclass(frozen=True)
class Budget:
    """What a deployment promises to all its hosts together, against what the machine has. Cores, bytes, bytes."""

    cores: float
    memory_bytes: int
    disk_bytes: int


def budget(figures: HostFigures, hosts: int, disks: int, disk_bytes: int) -> Budget:
    """The promise of `hosts` equal hosts and `disks` node disks of `disk_bytes` each."""
    return Budget(figures.cores * hosts, figures.memory_bytes * hosts, disks * disk_bytes)


def overdrawn(
    figures: HostFigures, hosts: int, disks: int, disk_bytes: int, machine: Facts, up: Sequence[Budget] = ()
) -> list[tuple[str, str]]:
    """What a deployment promises beyond what the machine has: (key of the study, sentence with the largest value).

    `up` are the promises of deployments that exist already. Pure.
    """
    wanted = budget(figures, hosts, disks, disk_bytes)
    beside = f" beside {len(up)} other deployment{'s' if len(up) > 1 else ''} (see `pliant ps`)" if up else ""
    problems = []
    cores = (machine.cores - sum(other.cores for other in up)) * (1 + 1e-9)  # sums of decimals are a little off
    if wanted.cores > cores:
        most = math.floor(max(0.0, cores) / hosts * 100) / 100
        promise = f"{hosts} hosts of {figures.cores:g} cores are {wanted.cores:g}"
        fit = _fit(f"{most:g}", most >= MIN_CORES)
        problems.append(("platform.host.cores", f"{promise}, and this machine has {max(0.0, cores):g}{beside}; {fit}"))
    memory = machine.memory_bytes - sum(other.memory_bytes for other in up)
    if wanted.memory_bytes > memory:
        promise = f"{hosts} hosts of {format_size(figures.memory_bytes)} are {format_size(wanted.memory_bytes)}"
        has = f"this machine has {format_size(max(0, memory))}"
        problems.append(("platform.host.memory", f"{promise}, and {has}{beside}; {_fit_bytes(memory, hosts)}"))
    free = machine.free_disk_bytes - sum(other.disk_bytes for other in up)
    if disks and wanted.disk_bytes > free:
        promise = f"{disks} disks of {format_size(disk_bytes)} are {format_size(wanted.disk_bytes)}"
        has = f"{format_size(max(0, free))} are free"
        problems.append(("platform.host.disk_size", f"{promise}, and {has}{beside}; {_fit_bytes(free, disks)}"))
    return problems


def _fit(most: str, enough: bool) -> str:
    """The remedy: a smaller value, unless that is less than a study may ask for."""
    return f"the largest value that fits is {most}" if enough else "fold a smaller cluster, or end other deployments"


def _fit_bytes(size_bytes: int, parts: int) -> str:
    """The remedy in the largest whole number of MiB that fits `parts` times."""
    most = max(0, size_bytes // parts) // 2**20
    return _fit(f'"{most} MiB"', most * 2**20 >= MIN_BYTES)
