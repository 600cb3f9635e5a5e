"""Workloads: what is run on the clients, and the metrics it yields.

Pure: a workload declares MPI phases, `cluster` runs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel


@dataclass(frozen=True)
class Metric:
    """A number with a unit and a direction: `better` says whether more of it is good.

    `phase` names what the phase does that yields it; "" if that is the only one, or the longest. In "file-stat" what is
    before the hyphen says what it is done to: phases that are not told apart by that are named "stat".
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    phase: str = ""

    def is_of(self, phase: str) -> bool:
        """Whether a phase of that name can be the one that yields it.

        >>> [Metric("write_bandwidth", "MiB/s", "higher", "write").is_of(p) for p in ("write", "write+read", "read")]
        [True, True, False]
        >>> [Metric("x", "op/s", "higher", "file-stat").is_of(p) for p in ("file-stat", "create+stat", "file-read")]
        [True, True, False]
        """
        names = {self.phase, self.phase.rpartition("-")[2]}
        return not self.phase or not names.isdisjoint(phase.split("+"))


@dataclass(frozen=True)
class Toolbox:
    """Where the programs of a workload are on the machine (the same paths inside every node).

    `program` is the real benchmark if there is one, else None and the built-in kernel is used; `python` runs kernels.
    """

    python: str
    program: str | None = None


@dataclass(frozen=True)
class Phase:
    """One MPI job: `argv` on `ranks_per_client` ranks in each client.

    `name` says what it does; of several things one after the other, joined by "+". `drop_caches` empties the page
    cache before it.
    """

    name: str
    argv: tuple[str, ...]
    ranks_per_client: int
    drop_caches: bool = False


_WINDOW = re.compile(r"^window (\S+) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)\s*$", re.MULTILINE)


def windows(output: str) -> dict[str, tuple[float, float]]:
    """What one job did after another, by a `Metric.phase`: when each began and ended, in seconds of CLOCK_MONOTONIC.

    The built-in kernels print it, a line each; real programs do not, so that nothing is found in their output.

    >>> windows("IOR-4.1\\nwindow write 12.5 14.25\\nwindow read 15.0 15.5\\nMax Write: 3 MiB/sec\\n")
    {'write': (12.5, 14.25), 'read': (15.0, 15.5)}
    """
    return {name: (float(begin), float(end)) for name, begin, end in _WINDOW.findall(output)}


class Workload(Protocol):
    """What a module under `workloads/` (or in the entry point group `pliant.workloads`) offers."""

    name: ClassVar[str]
    Options: ClassVar[type[BaseModel]]
    """The keys of a `[[workload]]` table other than `kind`: frozen, unknown keys refused."""
    program: ClassVar[str]
    """Name of the real program, looked for on PATH."""

    @staticmethod
    def metrics(options: Any) -> tuple[Metric, ...]:
        """The metrics that these options yield, in the order in which they are reported."""

    @staticmethod
    def phases(options: Any, directory: str, tools: Toolbox) -> tuple[Phase, ...]:
        """The MPI jobs of one trial that works in `directory` (on the mount, empty), in order."""

    @staticmethod
    def parse(options: Any, outputs: Mapping[str, str]) -> dict[str, float]:
        """Metric name -> value in its unit, from each phase's standard output; ValueError if one is not there."""
