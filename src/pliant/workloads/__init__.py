"""Workloads: what is run on the clients, and the metrics it yields.

Pure: a workload declares phases, `cluster` runs them: MPI jobs, or a program of its own in each client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
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
    """What a workload has to work with: programs of the machine (the same paths inside every node), and its clients.

    `program` is the real benchmark if there is one, else None and the built-in kernel is used; `python` runs kernels.
    `clients` are the names of the nodes that mount the file system, in order.
    """

    python: str
    program: str | None = None
    clients: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phase:
    """One part of a trial: an MPI job, `argv` on `ranks_per_client` ranks in each client; or `each`, without MPI.

    `name` says what it does; of several things one after the other, joined by "+". `drop_caches` empties the page
    cache before it.
    """

    name: str
    argv: tuple[str, ...] = ()
    ranks_per_client: int = 1
    drop_caches: bool = False
    each: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Client -> the program that it runs; all of them start at the same moment. Not every client needs to have one."""
    stdin: str = ""
    """What each of these programs finds on its standard input."""


def output_name(phase: str, client: str) -> str:
    """The key under which `Workload.parse` finds what a client's program of a phase with `each` printed."""
    return f"{phase}@{client}"


def of_clients(outputs: Mapping[str, str], phase: str) -> dict[str, str]:
    """Client -> what it printed in a phase with `each`.

    >>> of_clients({"prepare@client1": "", "run@client1": "a", "run@client2": "b"}, "run")
    {'client1': 'a', 'client2': 'b'}
    """
    start = output_name(phase, "")
    return {name.removeprefix(start): text for name, text in outputs.items() if name.startswith(start)}


_WINDOW = re.compile(r"^window (\S+) (\d+(?:\.\d+)?) (\d+(?:\.\d+)?)\s*$", re.MULTILINE)


def windows(output: str) -> dict[str, tuple[float, float]]:
    """What one job did after another, by a `Metric.phase`: when each began and ended, in seconds of CLOCK_MONOTONIC.

    The built-in kernels print it, a line each; real programs do not, so that nothing is found in their output.

    >>> windows("IOR-4.1\\nwindow write 12.5 14.25\\nwindow read 15.0 15.5\\nMax Write: 3 MiB/sec\\n")
    {'write': (12.5, 14.25), 'read': (15.0, 15.5)}
    """
    return {name: (float(begin), float(end)) for name, begin, end in _WINDOW.findall(output)}


class Workload(Protocol):
    """What a module under `workloads/` (or in the entry point group `pliant.workloads`) offers.

    Besides these it may have `programs(options) -> tuple[str, ...]`, programs that must be on the machine for want of a
    built-in kernel, with `packages`, the Debian packages that have them; `files`, options that name a file beside the
    study file -> the option that gets its text; and `rehearsal(options, tools) -> Rehearsal`, by which `check` finds
    out what the real program would refuse.
    """

    name: ClassVar[str]
    Options: ClassVar[type[BaseModel]]
    """The keys of a `[[workload]]` table other than `kind`: frozen, unknown keys refused."""
    program: ClassVar[str]
    """Name of the real program, looked for on PATH; "" if there is none."""

    @staticmethod
    def metrics(options: Any) -> tuple[Metric, ...]:
        """The metrics that these options yield, in the order in which they are reported."""

    @staticmethod
    def phases(options: Any, directory: str, tools: Toolbox) -> tuple[Phase, ...]:
        """The phases of one trial that works in `directory` (on the mount, empty), in order."""

    @staticmethod
    def parse(options: Any, outputs: Mapping[str, str]) -> dict[str, float]:
        """Metric name -> value in its unit, from what was printed; ValueError if one is not there.

        `outputs` has the standard output of each MPI job by its phase's name, and that of each client's program of a
        phase with `each` by `output_name`.
        """


@dataclass(frozen=True)
class Rehearsal:
    """A command that touches nothing and fails, saying why, if the real program would refuse what it is given."""

    argv: tuple[str, ...]
    stdin: str = ""
