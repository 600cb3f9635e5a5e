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
    problems = []
    cores = machine.cores - sum(other.cores for other in up)
    if wanted.cores > cores * (1 + 1e-9):
        most = math.floor(max(0.0, cores) / hosts * 100) / 100
        fit = f"the largest value that fits is {most:g}" if most >= 0.01 else "fold a smaller cluster, or end another deployment"
        problems.append(
            (
                "platform.host.cores",
                f"{hosts} hosts of {figures.cores:g} cores are {wanted.cores:g}, and this machine has {cores:g}{beside}; {fit}",
            )
        )
    memory = machine.memory_bytes - sum(other.memory_bytes for other in up)
    if wanted.memory_bytes > memory:
        most_bytes = max(0, memory // hosts) // 2**20 * 2**20
        problems.append(
            (
                "platform.host.memory",
                f'{hosts} hosts of {format_size(figures.memory_bytes)} are {format_size(wanted.memory_bytes)}, and this machine '
                f'has {format_size(memory)}{beside}; the largest value that fits is "{most_bytes // 2**20} MiB"',
            )
        )
    free = machine.free_disk_bytes - sum(other.disk_bytes for other in up)
    if disks and wanted.disk_bytes > free:
        most_bytes = max(0, free // disks) // 2**20 * 2**20
        problems.append(
            (
                "platform.host.disk_size",
                f'{disks} disks of {format_size(disk_bytes)} are {format_size(wanted.disk_bytes)}, and {format_size(free)} are '
                f'free{beside}; the largest value that fits is "{most_bytes // 2**20} MiB"',
            )
        )
    return problems
