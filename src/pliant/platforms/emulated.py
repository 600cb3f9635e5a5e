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
    beside = f" beside {len(up)} other deployment{'s' if len(up) > 1 else ''}" if up else ""
    largest = "the largest value that fits is"
    problems = []
    cores = machine.cores - sum(other.cores for other in up)
    if wanted.cores > cores * (1 + 1e-9):
        most = math.floor(max(0.0, cores) / hosts * 100) / 100
        fit = f"{largest} {most:g}" if most >= 0.01 else "fold a smaller cluster, or end another deployment"
        promise = f"{hosts} hosts of {figures.cores:g} cores are {wanted.cores:g}"
        problems.append(("platform.host.cores", f"{promise}, and this machine has {cores:g}{beside}; {fit}"))
    memory = machine.memory_bytes - sum(other.memory_bytes for other in up)
    if wanted.memory_bytes > memory:
        promise = f"{hosts} hosts of {format_size(figures.memory_bytes)} are {format_size(wanted.memory_bytes)}"
        fit = f'{largest} "{_mebibytes(memory, hosts)} MiB"'
        has = f"this machine has {format_size(max(0, memory))}"
        problems.append(("platform.host.memory", f"{promise}, and {has}{beside}; {fit}"))
    free = machine.free_disk_bytes - sum(other.disk_bytes for other in up)
    if disks and wanted.disk_bytes > free:
        promise = f"{disks} disks of {format_size(disk_bytes)} are {format_size(wanted.disk_bytes)}"
        fit = f'{largest} "{_mebibytes(free, disks)} MiB"'
        problems.append(
            ("platform.host.disk_size", f"{promise}, and {format_size(max(0, free))} are free{beside}; {fit}")
        )
    return problems


def _mebibytes(size_bytes: int, parts: int) -> int:
    """The largest whole number of MiB that fits `parts` times."""
    return max(0, size_bytes // parts) // 2**20
