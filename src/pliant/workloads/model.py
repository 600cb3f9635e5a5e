"""Workloads: what is run on the clients, and the metrics it yields.

Pure: a workload declares phases, `cluster` runs them: MPI jobs, or a program of its own in each client.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, Field


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
    request_bytes: int = 0
    """Of a bandwidth: how much each request moves; 0 if that is not known."""

    def is_of(self, phase: str) -> bool:
        """Whether a phase of that name can be the one that yields it.

        >>> [Metric("write_bandwidth", "MiB/s", "higher", "write").is_of(p) for p in ("write", "write+read", "read")]
        [True, True, False]
        >>> [Metric("x", "op/s", "higher", "file-stat").is_of(p) for p in ("file-stat", "create+stat", "file-read")]
        [True, True, False]
        """
        names = {self.phase, self.phase.rpartition("-")[2]}
        return not self.phase or not names.isdisjoint(phase.split("+"))

    def one_of(self, lengths_s: Mapping[str, float]) -> str | None:
        """The one of phases, of such lengths, that yields it; None if there is none.

        It is the one that does least besides, and of several like it the longest: an operation that is too short for
        telemetry is known only as a part of the job that it was measured in.

        >>> Metric("x", "op/s", "higher", "file-stat").one_of({"create+stat": 9.0, "read": 3.0, "file-stat": 2.0})
        'file-stat'
        """
        own = [name for name in lengths_s if self.is_of(name)]
        return min(own, key=lambda name: (name.count("+"), -lengths_s[name]), default=None)


Caches = Literal["dropped", "kept"]
"""What becomes of page caches between what is written, or made, and what is read."""
CACHES: Any = Field(
    "dropped", description="page caches before what is read: emptied, or kept, which measures what they serve"
)


def asked_for(patterns: Sequence[str], workload: str, metric: str) -> bool:
    """Whether a metric of a workload is one of those that are asked for: by its name, by its workload's, or by both
    with a point between, in each of which * stands for anything. Without patterns all are.

    >>> asked_for(["*_bandwidth", "small.*"], "ior", "read_bandwidth"), asked_for(["small.*"], "ior", "read_bandwidth")
    (True, False)
    """
    names = (metric, workload, f"{workload}.{metric}")
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns for name in names)


@dataclass(frozen=True)
class Toolbox:
    """What a workload has to work with: programs of the machine (the same paths inside every node), and its clients.

    `program` is the real benchmark if there is one, else None and the built-in kernel is used; `python` runs kernels,
    which are in `kernels`. `clients` are the names of the nodes that mount the file system, in order. `help` is what a
    real program that MPI starts says of its own options; "" if it says nothing.
    """

    python: str
    program: str | None = None
    clients: tuple[str, ...] = ()
    help: str = ""
    kernels: str = str(Path(__file__).parent / "kernels")

    def kernel(self, name: str) -> tuple[str, ...]:
        """The beginning of a command that runs the built-in MPI program of that name."""
        return self.python, "-I", f"{self.kernels}/{name}.py"


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
    waits: bool = False
    """Whether the MPI job says READY when all its ranks are there, begins with a line on its standard input, and says
    OVER when nothing more is measured."""


READY, OVER = "ready", "over"
"""The lines by which a built-in kernel says so."""


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


@dataclass(frozen=True)
class Running:
    """The phase of a trial that has not come to its end: when it began, and the time it is, of CLOCK_MONOTONIC."""

    phase: str
    began_s: float
    now_s: float

    @property
    def lasted_s(self) -> float:
        """For how long it has gone on."""
        return self.now_s - self.began_s


@dataclass(frozen=True)
class SoFar:
    """What a trial that has not come to its end shows all the same.

    `metrics` has the values of what ended, and `bounds` how good at best those will be that are being measured, if it
    ended right now. `operation` is what is under way, for `lasted_s` at least; "" if that is not known.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    bounds: Mapping[str, float] = field(default_factory=dict)
    operation: str = ""
    lasted_s: float = 0.0


BEGINNING_S = 1.0
"""So long an operation may be not to have begun yet, or to have ended already, when it is taken to be under way: from
the line that says that it begins to the barrier that it is timed from, on hosts of a hundredth of a core, and from its
end until the line that says so has come."""
STARTING = 0.5
"""Part of the time of a job of one operation, which does not say when that began, that is taken to be its start."""
_BEGIN = re.compile(r"^begin (\S+) (\d+(?:\.\d+)?)$", re.MULTILINE)
_TIMES = re.compile(r"^(begin|window) (\S+)((?: \d+(?:\.\d+)?){1,2})[ \t]*$", re.MULTILINE)
_RESULT = re.compile(r"^result (\S+) (\d+(?:\.\d+)?)$", re.MULTILINE)


def begun(output: str) -> dict[str, float]:
    """When each operation of a built-in kernel's began that has not ended, in seconds of CLOCK_MONOTONIC.

    >>> begun("begin write 12.5\\nwindow write 12.6 14.25\\nresult write 3.5\\nbegin read 15.0\\n")
    {'read': 15.0}
    """
    ended = windows(output)
    return {name: float(begin) for name, begin in _BEGIN.findall(output) if name not in ended}


def on_our_clock(output: str, ahead_s: float) -> str:
    """What a built-in kernel printed, with its times on a CLOCK_MONOTONIC that its own is `ahead_s` ahead of.

    >>> on_our_clock("begin write 112.5\\nwindow write 112.6 114.25\\nresult write 3.5\\nwindow rea", 100.0)
    'begin write 12.500000\\nwindow write 12.600000 14.250000\\nresult write 3.5\\nwindow rea'
    """

    def ours(line: re.Match[str]) -> str:
        what, name, times = line.groups()
        return " ".join((what, name, *(f"{max(0.0, float(each) - ahead_s):.6f}" for each in times.split())))

    return _TIMES.sub(ours, output) if ahead_s else output


def results(output: str) -> dict[str, float]:
    """The metrics of the operations of a built-in kernel's that have ended, by a `Metric.phase`, in their units.

    >>> results("begin write 12.5\\nwindow write 12.6 14.25\\nresult write 3.5\\nbegin read 15.0\\n")
    {'write': 3.5}
    """
    return {name: float(value) for name, value in _RESULT.findall(output)}


def under_way(output: str, running: Running) -> tuple[str, float]:
    """Which operation of a built-in kernel's is under way, and for how long it is at least: ("", 0) if none is.

    A time outside the phase shows that the output's clock is not ours.
    """
    for name, begin_s in begun(output).items():
        if running.began_s <= begin_s <= running.now_s:
            return name, max(0.0, running.now_s - begin_s - BEGINNING_S)
    return "", 0.0


def in_one_job(running: Running) -> tuple[str, float]:
    """The same of a real program's, whose phase is one operation: its start is part of the job's time."""
    return running.phase, running.lasted_s * (1 - STARTING)


class Workload(Protocol):
    """What a module under `workloads/` (or in the entry point group `pliant.workloads.model`) offers.

    Besides these it may have

    * `programs(options) -> tuple[str, ...]`, programs that must be on the machine for want of a built-in kernel, with
      `packages`, the Debian packages that have them;
    * `files`, options that name a file beside the study file -> the option that gets its text;
    * `rehearsal(options, tools) -> Rehearsal`, by which `check` finds out what the real program would refuse;
    * `unfit(options, tools) -> str`, why the real program cannot do this, "" if it can, by what it says (`tools.help`)
      when it is called with the arguments `asks`;
    * `notes(options) -> tuple[str, ...]`, what a user should know of these options;
    * `remarks(options, outputs) -> tuple[str, ...]`, what is to be known of what a trial measured, by what it printed;
      they are kept with it, and told in reports;
    * `so_far(options, outputs, running, tools) -> SoFar`, what a trial shows that has not come to its end: `outputs` as
      for `parse`, and with what the `running` phase, an MPI job, has printed up to now, in whole lines. By that a trial
      is stopped whose loss is shown already. Without it a trial that does not end shows nothing.
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
