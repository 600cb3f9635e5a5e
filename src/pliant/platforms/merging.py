"""What the samplers of several hosts wrote, as one: on this machine's clock, with the hosts' own numbers. Pure.

Each host samples at its own moments. The counts of one are taken as the grid, and those of the others at its moments
are read off between two samples: what counts up does so evenly as far as anybody knows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Sampled(NamedTuple):
    """What one host's sampler wrote, and how far that host's CLOCK_MONOTONIC is ahead of this machine's, in seconds."""

    text: str
    ahead_s: float


def merged(hosts: Mapping[int, Sampled]) -> str:
    """The samples of hosts, by their numbers, as `telemetry.samples.read` takes them.

    Columns of each host's only one, host1, get its number. Those of the machine are added up: of several machines it is
    told what they have, did, and lost all together. ValueError if one of them is of another format.
    """
    tables = {number: table for number, each in hosts.items() if (table := _table(each)) is not None}
    if not tables:
        return ""
    begin = max(float(time[0]) for _, time, _, _ in tables.values())
    end = min(float(time[-1]) for _, time, _, _ in tables.values())
    about, grid, _, _ = max(tables.values(), key=lambda table: len(table[1]))
    grid = grid[(grid >= begin) & (grid <= end)]
    found: dict[str, tuple[float, Floats]] = {}
    for number, (_, time, names, values) in sorted(tables.items()):
        for index, (name, factor) in enumerate(names):
            own = np.interp(grid, time, values[:, index])
            called = _called(name, number)
            before = found.get(called)
            found[called] = (factor, own if before is None else before[1] * before[0] / factor + own)
    columns = [["time_s", 1e-6], *([name, factor] for name, (factor, _) in found.items())]
    header = json.dumps({"format": about["format"], "every_s": about["every_s"], "columns": columns})
    rows = np.column_stack([np.round(grid * 1e6), *(np.round(values) for _, values in found.values())])
    lines = (" ".join(map(str, row)) for row in rows.astype(np.int64).tolist())
    return "\n".join([header, *lines, ""])


def _called(name: str, number: int) -> str:
    """What a column of host NUMBER is called among those of others."""
    prefix = "host/host1/"
    if not name.startswith(prefix):
        return name
    what = name.removeprefix(prefix)
    if what.startswith("withheld_"):  # CPUs of different machines have the same numbers
        what = what.replace("withheld_", f"withheld_host{number}-")
    return f"host/host{number}/{what}"


def _table(sampled: Sampled) -> tuple[dict[str, object], Floats, Sequence[tuple[str, float]], Floats] | None:
    """The header, times on this machine's clock, columns and values of a sampler's text; None if it has no samples."""
    header, *lines = sampled.text.split("\n")[:-1] or [""]
    if not header:
        return None
    about = json.loads(header)
    names = [(str(name), float(factor)) for name, factor in about["columns"]]
    rows = [row for line in lines if len(row := line.split()) == len(names) and all(map(str.isdecimal, row))]
    if not rows:
        return None
    values = np.array([[int(word) for word in row] for row in rows], dtype=np.float64)
    (at,) = (index for index, (name, _) in enumerate(names) if name == "time_s")
    time = values[:, at] * names[at][1] - sampled.ahead_s
    others = [index for index in range(len(names)) if index != at]
    return about, time, [names[index] for index in others], values[:, others]
