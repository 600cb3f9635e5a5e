"""The first rule of the platform `emulated`: what is promised to hosts never exceeds what the machine has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pliant.machine import cpus
from pliant.machine.cpus import fullest, width
from pliant.machine.facts import Facts
from pliant.machine.promised import promised
from pliant.platforms.interface import HostFigures
from pliant.proportions import MIN_BYTES, MIN_CORES, Host, auto_scale, emulated, rounded_up, too_small
from pliant.units import format_size

__all__ = ["Budget", "budget", "fullest", "host_figures", "overdrawn", "promises", "width"]


@dataclass(frozen=True)
class Budget:
    """What a deployment promises to all its hosts together, against what the machine has. Cores, bytes, bytes, and the
    cores by CPU (its number as text, as in a JSON file); without these they may be anywhere."""

    cores: float
    memory_bytes: int
    disk_bytes: int
    cpus: Mapping[str, float] = field(default_factory=dict)


class HostWish(Protocol):
    """What a study says of its hosts: the real one, or the slice itself, and what one of them is to be divided by."""

    @property
    def real(self) -> Host:
        """A host before it is divided."""

    @property
    def wanted_scale(self) -> float | Literal["auto"]:
        """What it is divided by."""

    @property
    def memory(self) -> int | None:
        """Bytes of a slice, if they are said."""

    @property
    def latency(self) -> float | None:
        """Seconds that a crossing of its uplink takes longer."""


def host_figures(host: HostWish, hosts: int, machine: Facts) -> tuple[HostFigures, float]:
    """What each of so many emulated hosts has, and its scale: the study's, or for "auto" the smallest that fits. Pure.

    Raises ValueError if a host of the scale that fits would have too little of anything. What is up beside does not
    count: the same study on the same machine must be the same experiment.
    """
    scale = host.wanted_scale
    if scale == "auto":
        most = cpus.most_cores(hosts, machine.cores)
        scale = auto_scale(host.real, host.memory, hosts, most, machine.memory_bytes)
        lacking = too_small(emulated(host.real, scale, host.memory))
        if lacking:
            raise ValueError(
                f"{hosts} hosts fit this machine only at scale {scale:g}, which leaves each {' and '.join(lacking)}; "
                f"fold a smaller cluster, or use a larger machine"
            )
    slice_ = emulated(host.real, scale, host.memory)
    assert slice_.memory_bytes is not None  # a study names it, or a cluster that has it
    latency_s = host.latency or 0.0  # of no scale: what waits on the real hosts waits as long here
    return HostFigures(slice_.cores, slice_.nic_bit_s, slice_.disk_byte_s, slice_.memory_bytes, latency_s), scale


def promises() -> list[Budget]:
    """What the deployments that are up on this machine have been promised."""
    return [Budget(**content) for content in promised()]


def budget(figures: HostFigures, hosts: int, disks: int, disk_bytes: int) -> Budget:
    """The promise of `hosts` equal hosts and `disks` node disks of `disk_bytes` each."""
    return Budget(figures.cores * hosts, figures.memory_bytes * hosts, disks * disk_bytes)


def overdrawn(
    figures: HostFigures,
    hosts: int,
    disks: int,
    disk_bytes: int,
    machine: Facts,
    up: Sequence[Budget] = (),
    real: Host | None = None,
) -> list[tuple[str, str]]:
    """What a deployment promises beyond what the machine has: (key of the study, sentence with what would fit).

    `up` are the promises of deployments that exist already; `real` is the real host if `figures` are a scaled one's.
    Pure.
    """
    wanted = budget(figures, hosts, disks, disk_bytes)
    beside = f" beside {len(up)} other deployment{'s' if len(up) > 1 else ''} (see `pliant ps`)" if up else ""
    problems = []
    cores = (machine.cores - sum(other.cores for other in up)) * (1 + 1e-9)  # sums of decimals are a little off
    loads = _loads(machine.cores, up)
    full = cpus.fullest(hosts, figures.cores, loads) if wanted.cores <= cores else math.inf
    if full > 1:
        promise = f"{hosts} hosts of {figures.cores:g} cores are {wanted.cores:g}"
        most = cpus.largest(hosts, loads, cores / hosts)
        key, fit = ("cores", _fit_cores(most)) if real is None else ("scale", _fit_scale(real, most))
        has = f"this machine has {max(0.0, cores):g}{beside}"
        if wanted.cores <= cores:
            promise, has = f"{promise}, each on one CPU", f"of {machine.cores} CPUs one would have {full:g}{beside}"
        problems.append((f"platform.host.{key}", f"{promise}, and {has}; {fit}"))
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


def _loads(count: int, up: Sequence[Budget]) -> dict[int, float]:
    """What is promised of each of so many CPUs; those that somebody else's hosts are on are among them."""
    found: dict[int, float] = {}
    for other in up:
        for cpu, cores in other.cpus.items():
            found[int(cpu)] = found.get(int(cpu), 0.0) + cores
    free = (cpu for cpu in range(count + len(found)) if cpu not in found)
    found |= {cpu: 0.0 for cpu, _ in zip(free, range(count - len(found)), strict=False)}
    anywhere = sum(other.cores for other in up if not other.cpus)
    return {cpu: cores + anywhere / len(found) for cpu, cores in found.items()}


_SMALLER = "fold a smaller cluster, or end other deployments"


def _fit(most: str, enough: bool) -> str:
    """The remedy: a smaller value, unless that is less than a study may ask for."""
    return f"the largest value that fits is {most}" if enough else _SMALLER


def _fit_cores(each: float) -> str:
    """The remedy in cores of one host, rounded down to hundredths."""
    most = math.floor(max(0.0, each) * 100 + 1e-6) / 100
    return _fit(f"{most:g}", most >= MIN_CORES)


def _fit_scale(real: Host, each: float) -> str:
    """The remedy where a host has so many cores because of its scale: a larger one."""
    if each <= 0:
        return _SMALLER
    least = rounded_up(real.cores / each)
    enough = not too_small(emulated(real, least, MIN_BYTES))
    return f"the smallest scale that fits is {least:g}" if enough else _SMALLER


def _fit_bytes(size_bytes: int, parts: int) -> str:
    """The remedy in the largest whole number of MiB that fits `parts` times."""
    most = max(0, size_bytes // parts) // 2**20
    return _fit(f'"{most} MiB"', most * 2**20 >= MIN_BYTES)
