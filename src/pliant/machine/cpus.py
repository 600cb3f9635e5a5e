"""Which CPUs a host is kept on: as many as it has cores, rounded up, as a real machine would have.

Where a host's processes may run on more CPUs than that, the kernel gives its quota out to the CPUs in slices, and one
of them may take all of it while what runs on the other starves; docs/emulation.md has the figures. On one CPU the
host's processes take turns, as they do on a real machine of one core.

Pure; used by those who make hosts and by those who check beforehand whether they fit.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence

_ROUNDING = 1e-6
"""Sums of decimals are a little off."""


def width(cores: float) -> int:
    """How many CPUs a host of so many cores has.

    >>> [width(cores) for cores in (0.05, 0.2, 1, 1.5, 2)]
    [1, 1, 1, 2, 2]
    """
    return max(1, math.ceil(cores - _ROUNDING))


def dealt(hosts: int, cores: float, loads: Mapping[int, float]) -> list[tuple[int, ...]]:
    """The CPUs of each of so many hosts of `cores` each; `loads` are the cores that each CPU is promised to others.

    Each host gets the CPUs with the least load. One of several cores, for which these have no room, gets more of them,
    and a smaller part of each.

    >>> dealt(5, 0.2, {0: 0.0, 1: 0.0})
    [(0,), (1,), (0,), (1,), (0,)]
    >>> dealt(3, 1.3, {0: 0, 1: 0, 2: 0, 3: 0})[2]
    (0, 1, 2, 3)
    """
    if width(cores) == 1:
        queue = [(round(load, 6), cpu) for cpu, load in loads.items()]
        heapq.heapify(queue)
        ones: list[tuple[int, ...]] = []
        for _ in range(hosts if queue else 0):
            load, cpu = queue[0]
            heapq.heapreplace(queue, (round(load + cores, 6), cpu))
            ones.append((cpu,))
        return ones
    now, found = dict(loads), []
    for _ in range(hosts if now else 0):
        least = sorted(now, key=lambda cpu: (round(now[cpu], 6), cpu))
        count = min(width(cores), len(least))
        while 1 < count < len(least) and now[least[count - 1]] + cores / count > 1 + _ROUNDING:
            count += 1
        chosen = tuple(sorted(least[:count]))
        for cpu in chosen:
            now[cpu] += cores / count
        found.append(chosen)
    return found


def loaded(hosts: Sequence[Sequence[int]], cores: float, loads: Mapping[int, float]) -> dict[int, float]:
    """The cores that each CPU is promised to hosts of `cores` that are kept on these CPUs, and to others before."""
    found = dict(loads)
    for cpus in hosts:
        for cpu in cpus:
            found[cpu] = found.get(cpu, 0.0) + cores / len(cpus)
    return found


def fullest(hosts: int, cores: float, loads: Mapping[int, float]) -> float:
    """How much of the fullest CPU is promised then; more than 1 is more than there is.

    >>> fullest(5, 0.2, {0: 0.0, 1: 0.0}), fullest(3, 0.6, {0: 0.0, 1: 0.0})
    (0.6, 1.2)
    """
    return round(max(loaded(dealt(hosts, cores, loads), cores, loads).values(), default=math.inf), 6)


def largest(hosts: int, loads: Mapping[int, float], most: float) -> float:
    """The largest host, in hundredths of a core up to `most`, of which so many fit beside what CPUs are promised for.

    0 if none fits.

    >>> largest(3, {0: 0.0, 1: 0.0}, 0.66), largest(2, {0: 0.6, 1: 0.0}, 0.7), largest(1, {0: 0.0, 1: 0.0}, 2)
    (0.5, 0.5, 2.0)
    """
    top = math.floor(max(0.0, most) * 100 + _ROUNDING)
    rooms = [1 - load for load in loads.values()]

    def fit(hundredths: int) -> bool:
        if hundredths > 100:
            return fullest(hosts, hundredths / 100, loads) <= 1
        return sum(math.floor(max(0.0, room) * 100 / hundredths + _ROUNDING) for room in rooms) >= hosts

    few, many = (100, top + 1) if top > 100 and fit(100) else (0, min(top, 100) + 1)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (middle, many) if fit(middle) else (few, middle)
    return few / 100


def most_cores(hosts: int, cpus: int) -> float:
    """The largest host, in cores, of which a machine with nothing else on it carries so many: a part of a CPU, or whole
    CPUs of its own.

    >>> [most_cores(hosts, 2) for hosts in (1, 2, 3, 8, 9)], most_cores(6, 41)
    ([2.0, 1.0, 0.5, 0.25, 0.2], 6.0)
    """
    return float(cpus // hosts) if hosts <= cpus else 1 / math.ceil(hosts / cpus)
