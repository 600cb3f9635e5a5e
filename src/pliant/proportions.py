"""A real host's proportions: an emulated host is a real one with CPU, NIC and disk divided by the same factor. Pure.

The factor is the *scale*. Where CPU, NIC and disk shrink together, whichever limits a workload on the real host limits
it on the emulated one too. Memory does not shrink with them: what a study writes, and the daemons that serve it, are as
large as on the real host.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pliant.units import format_bit_rate, format_byte_rate, format_size

MIN_CORES = 0.01
MIN_NIC_BIT_S = 1e6
MIN_DISK_BYTE_S = 1e6
MIN_BYTES = 64 * 2**20
"""The least that an emulated host may have, of each."""
DAEMONS_BYTES = 512 * 2**20
"""Memory that a scaled host keeps where the study names none: daemons and page cache need some at any scale."""
PROMISED = 0.9
"""The share of a machine that `auto_scale` promises; of its CPU the kernel needs the rest (docs/emulation.md)."""
_ROUNDING = 1 + 1e-9  # quotients of decimals are a little off


@dataclass(frozen=True)
class Host:
    """What a host has: cores, bit/s each way, byte/s of reads and as much of writes, bytes (None: not known)."""

    cores: float
    nic_bit_s: float
    disk_byte_s: float
    memory_bytes: int | None

    @property
    def words(self) -> str:
        """What it has, in words."""
        memory = "" if self.memory_bytes is None else f", {format_size(self.memory_bytes)} of memory"
        return (
            f"{self.cores:g} core{'' if self.cores == 1 else 's'}, {format_bit_rate(self.nic_bit_s)} each way, "
            f"{format_byte_rate(self.disk_byte_s)} of disk each for reads and writes{memory}"
        )


def emulated(real: Host, scale: float, memory_bytes: int | None) -> Host:
    """The emulated host of a real one: CPU, NIC and disk divided by `scale`, and `memory_bytes` as it is.

    Without `memory_bytes` (then `real.memory_bytes` must be known) it is the real host's memory divided by the scale,
    but at least DAEMONS_BYTES, and never more than the real host's.
    """
    if memory_bytes is None:
        if real.memory_bytes is None:
            raise ValueError("a host without any memory")
        whole_mib = math.floor(real.memory_bytes / scale / 2**20) * 2**20
        memory_bytes = min(real.memory_bytes, max(DAEMONS_BYTES, whole_mib))
    return Host(real.cores / scale, real.nic_bit_s / scale, real.disk_byte_s / scale, memory_bytes)


def auto_scale(real: Host, memory_bytes: int | None, hosts: int, most_cores: float, machine_bytes: int) -> float:
    """The scale of the largest emulated host of which a machine carries `hosts`: 1, or more in two significant digits.

    `most_cores` is the largest host of which its CPUs carry so many, `machine_bytes` the machine's memory. A host gets
    at most `PROMISED` of the former. Memory is as in `emulated`; where it shrinks with the scale, as much of the
    machine's is left. What no scale can make fit is left to whoever checks promises. NIC and disk are no part of it:
    what a machine can carry of them is measured.
    """
    factor = real.cores / (PROMISED * most_cores)
    if memory_bytes is None and real.memory_bytes is not None:
        factor = max(factor, min(real.memory_bytes * hosts / (PROMISED * machine_bytes), _until_floor(real)))
    return rounded_up(factor)


def _until_floor(real: Host) -> float:
    """The scale from which on a host's memory shrinks no further."""
    return max(1.0, (real.memory_bytes or 0) / DAEMONS_BYTES)


def rounded_up(factor: float) -> float:
    """`factor` rounded up to two significant digits, 1 at least: 142.2 becomes 150, 1.02 becomes 1.1."""
    if factor <= _ROUNDING:
        return 1.0
    step = 10.0 ** (math.floor(math.log10(factor)) - 1)
    return float(f"{math.ceil(factor / step / _ROUNDING) * step:.3g}")


def too_small(host: Host) -> list[str]:
    """What an emulated host has less of than one needs, in words; empty if it has enough."""
    least: Sequence[tuple[bool, str]] = (
        (host.cores * _ROUNDING < MIN_CORES, f"{host.cores:.2g} cores (at least {MIN_CORES:g})"),
        (
            host.nic_bit_s * _ROUNDING < MIN_NIC_BIT_S,
            f"{format_bit_rate(host.nic_bit_s)} (at least {format_bit_rate(MIN_NIC_BIT_S)})",
        ),
        (
            host.disk_byte_s * _ROUNDING < MIN_DISK_BYTE_S,
            f"{format_byte_rate(host.disk_byte_s)} of disk (at least {format_byte_rate(MIN_DISK_BYTE_S)})",
        ),
    )
    return [words for lacking, words in least if lacking]


def largest_scale(real: Host) -> float:
    """The scale beyond which an emulated host would be `too_small`, rounded down to two significant digits."""
    factor = min(real.cores / MIN_CORES, real.nic_bit_s / MIN_NIC_BIT_S, real.disk_byte_s / MIN_DISK_BYTE_S)
    step = 10.0 ** (math.floor(math.log10(factor)) - 1)
    return max(1.0, float(f"{math.floor(factor / step * _ROUNDING) * step:.3g}"))


def rescaled(value: float, unit: str, scale: float) -> float | None:
    """What `value`, measured on hosts of that scale, stands for on the real ones; None for what does not scale.

    A rate (its unit ends in "/s" or "IOPS", or is IO500's score, which is made of such) is `scale` times as much there,
    a time (s, ms, us) `scale` times less; anything else has no such meaning. It is an estimate, and it assumes that
    CPU, NIC or disk limits the workload: then the same work meets `scale` times the means. What is not divided does
    not scale: the latency of links and of disks, a program's waiting, memory and caches. A workload that mostly
    waits is thus rescaled to more than a real cluster gives. And a core of this machine stands for a core of
    theirs, whatever their speeds. Losses need none of this: they are quotients of two values at one scale.
    """
    if unit.endswith(("/s", "IOPS")) or unit == "IO500":
        return value * scale
    if unit in ("s", "ms", "us"):
        return value / scale
    return None
