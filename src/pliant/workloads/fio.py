"""fio: bandwidth, rate and latency of reading and writing in any pattern, by Jens Axboe's flexible I/O tester.

Every client runs a fio of its own, all from the same moment on, in a directory of its own. Options are named as fio's
own, https://fio.readthedocs.io/en/latest/fio_doc.html; a job file may take their place.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from pliant.units import Duration, Size
from pliant.workloads._parsing import absolute_path, positive
from pliant.workloads.jobfile import JobSection, sections, without
from pliant.workloads.model import (
    CACHES,
    Caches,
    Metric,
    Phase,
    Rehearsal,
    Running,
    SoFar,
    Toolbox,
    in_one_job,
    of_clients,
)

Direction = Literal["read", "write"]
Pattern = Literal["read", "write", "randread", "randwrite", "rw", "readwrite", "randrw"]

_SYNCHRONOUS = ("sync", "psync", "vsync", "pvsync", "pvsync2", "mmap")
_SECTOR_BYTES = 512
_ENGINES = (*_SYNCHRONOUS, "libaio", "io_uring", "posixaio", "splice")
"""Those that read and write files of a mounted file system. Others move no data (filecreate, null, cpuio), or move them
past the mount (gfapi, rados, sg)."""
_TAKEN_OUT: Mapping[str, str] = {
    "directory": "pliant says where each client's files are",
    "group_reporting": "pliant puts processes together itself",
    "unified_rw_reporting": "reads and writes are measured each by itself",
    **dict.fromkeys(
        ("clat_percentiles", "lat_percentiles", "disable_lat", "gtod_reduce"), "it is the latency that is measured"
    ),
}
"""Options of job files that say where files are and what is reported, and why they are not needed."""
_OURS = (*_TAKEN_OUT, "output", "output-format", "create_only")
_OLDEST = (3, 1)
"""The first fio with percentiles of the whole latency (lat_percentiles)."""
_PATTERNS: Mapping[str, tuple[Direction, ...]] = {
    **dict.fromkeys(("read", "randread"), ("read",)),
    **dict.fromkeys(("write", "randwrite"), ("write",)),
    **dict.fromkeys(("rw", "readwrite", "randrw"), ("read", "write")),
}
_SETTINGS = ("--output-format=json+", "--eta=never", "--lat_percentiles=1", "--clat_percentiles=0")
_SIZES = ("size", "filesize", "fill_device")
_VARIABLE = re.compile(r"\$\{[^}]*\}")
_DEFAULTS = ("--fallocate=none", "--end_fsync=1")
"""Other than fio's own: not every file system allocates beforehand, and what is in a client's cache is not written."""
_UNITS = {"bandwidth": "MiB/s", "iops": "op/s", "latency": "ms", "latency_p99": "ms"}
_JOB_KEYS = (
    *("rw", "bs", "size", "iodepth", "ioengine", "numjobs", "direct", "runtime", "time_based", "ramp_time"),
    *("rwmixread", "fsync", "end_fsync", "nrfiles", "options"),
)

_Key = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
_Word = Annotated[str, StringConstraints(pattern=r"^[^\n\r\x00]+$", max_length=1024)]


class FioOptions(BaseModel):
    """The keys of a `[[workload]]` table with `kind = "fio"`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rw: Pattern | None = Field(None, description="what is done: read, write, randread, randwrite, rw or randrw")
    bs: Size = Field(4096, description="bytes moved by one read or write")
    size: Size = Field(16 << 20, description="bytes of each job's files")
    iodepth: int = Field(1, ge=1, le=4096, description="reads or writes that a job has under way at once")
    ioengine: str = Field("psync", pattern=r"^[a-z][a-z0-9_]*$", description="how they are issued")
    numjobs: int = Field(1, ge=1, le=1024, description="processes in each client, on files of their own")
    direct: bool = Field(False, description="bypass the clients' page cache (O_DIRECT)")
    runtime: Duration | None = Field(None, description="end after this time, if not done before")
    time_based: bool = Field(False, description="go on until `runtime`, over the same files again if need be")
    ramp_time: Duration | None = Field(None, description="time before anything is counted")
    rwmixread: int = Field(50, ge=1, le=99, description="percentage of reads where `rw` mixes them with writes")
    fsync: int = Field(0, ge=0, description="writes after which each file is synced; 0: never")
    end_fsync: bool = Field(True, description="sync when all is written, within the time that counts")
    nrfiles: int = Field(1, ge=1, le=65536, description="files of each job")
    options: dict[_Key, _Word | int | float | bool] = Field(
        default_factory=dict, description="any other options of fio's"
    )
    job_file: str | None = Field(None, min_length=1, description="path of a job file, from the study file's directory")
    jobs: str | None = Field(None, min_length=1, description="a job file's text, in its place")
    reorder: bool = Field(True, description="each client reads what was laid out by the next one")
    caches: Caches = CACHES
    program: Annotated[str | None, AfterValidator(absolute_path)] = Field(
        None, description="absolute path of fio; the same in every node"
    )

    @field_validator("options")
    @classmethod
    def _free(cls, options: dict[str, Any]) -> dict[str, Any]:
        for key in options:
            if key in _OURS or key == "filename":
                raise ValueError(f"{key} is set by pliant; remove it")
            if key in cls.model_fields:
                raise ValueError(f"{key} is a key of its own; write it beside `options`")
        return options

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.jobs is not None:
            given = [key for key in _JOB_KEYS if key in self.model_fields_set]
            if given:
                raise ValueError(f"{', '.join(given)} cannot go with a job file; write it there")
            _jobs(self)  # raises for what is none
            return self
        if self.rw is None:
            raise ValueError('rw is missing; add e.g. rw = "randread", or job_file')
        if self.ioengine not in _ENGINES:
            raise ValueError(_other_engine(self.ioengine))
        if self.iodepth > 1 and self.ioengine in _SYNCHRONOUS:
            raise ValueError(
                f'iodepth {self.iodepth} does nothing with the synchronous ioengine "{self.ioengine}"; '
                'write ioengine = "libaio" or "io_uring"'
            )
        if self.direct and self.bs % _SECTOR_BYTES:
            raise ValueError(f"bs {self.bs} B is not a multiple of 512 B, which direct wants")
        if self.bs > self.size:
            raise ValueError(f"bs {self.bs} B is more than size {self.size} B")
        if self.time_based and self.runtime is None:
            raise ValueError('time_based has no end; add e.g. runtime = "10 s"')
        if "rwmixread" in self.model_fields_set and len(_PATTERNS[self.rw]) == 1:
            raise ValueError(f'rwmixread means nothing with rw = "{self.rw}"; remove it, or write rw = "randrw"')
        return self


class _Job(NamedTuple):
    """A job of fio's: its name in fio's output, what the names of its metrics begin with, and what it does."""

    name: str
    prefix: str
    directions: tuple[Direction, ...]


class Fio:
    """The workload `fio`."""

    name: ClassVar[str] = "fio"
    Options: ClassVar[type[BaseModel]] = FioOptions
    program: ClassVar[str] = "fio"
    packages: ClassVar[tuple[str, ...]] = ("fio",)
    files: ClassVar[Mapping[str, str]] = {"job_file": "jobs"}
    asks: ClassVar[tuple[str, ...]] = ("--version",)

    @staticmethod
    def programs(options: FioOptions) -> tuple[str, ...]:
        """What must be on the machine."""
        return (options.program or "fio",)

    @staticmethod
    def rehearsal(options: FioOptions, tools: Toolbox) -> Rehearsal:
        """fio reading its job file and nothing else."""
        argv = (_program(options, tools), "--parse-only", *_SETTINGS, *_DEFAULTS, "-")
        return Rehearsal(argv, _text(options))

    @staticmethod
    def unfit(options: FioOptions, tools: Toolbox) -> str:
        """Why this fio cannot be used, by its version; "" if it can."""
        version = re.search(r"fio-(\d+)\.(\d+)", tools.help)
        if version is None or (int(version[1]), int(version[2])) >= _OLDEST:
            return ""
        least = ".".join(map(str, _OLDEST))
        return f"{version[0]} does not tell the percentiles of latencies; use fio {least} or later"

    @staticmethod
    def notes(options: FioOptions) -> tuple[str, ...]:
        """What of a job file is left out, and why."""
        gone = without(options.jobs, _TAKEN_OUT)[1] if options.jobs is not None else ()
        return tuple(f"{key} of the job file is left out: {_TAKEN_OUT[key]}" for key in gone)

    @staticmethod
    def metrics(options: FioOptions) -> tuple[Metric, ...]:
        """Of each job and direction the bandwidth, the rate, and the latency's mean and 99th percentile."""
        return tuple(
            Metric(f"{job.prefix}{direction}_{what}", unit, "lower" if unit == "ms" else "higher", "run")
            for job in _jobs(options)
            for direction in job.directions
            for what, unit in _UNITS.items()
        )

    @staticmethod
    def phases(options: FioOptions, directory: str, tools: Toolbox) -> tuple[Phase, ...]:
        """A directory for each client; the files that are read laid out, and the caches dropped; and the run."""
        own = {client: f"{directory}/{client}" for client in tools.clients}
        lays_out = any("read" in job.directions for job in _jobs(options))
        following = dict(zip(own, [*list(own.values())[1:], *list(own.values())[:1]], strict=True))
        text, start = _text(options), (_program(options, tools), *_SETTINGS, *_DEFAULTS)

        def run(where: Mapping[str, str], *more: str) -> dict[str, tuple[str, ...]]:
            return {client: (*start, *more, f"--directory={path}", "-") for client, path in where.items()}

        phases = [Phase("prepare", each={tools.clients[0]: ("mkdir", "--", *own.values())})]
        if lays_out:
            phases.append(Phase("layout", each=run(own, "--create_only=1"), stdin=text))
        drops = lays_out and options.caches == "dropped"
        used = following if lays_out and options.reorder else own
        return (*phases, Phase("run", each=run(used), stdin=text, drop_caches=drops))

    @staticmethod
    def parse(options: FioOptions, outputs: Mapping[str, str]) -> dict[str, float]:
        """The metrics, over all clients; ValueError if one is missing or not above zero, or if anything failed."""
        printed = of_clients(outputs, "run")
        found = {client: _reported(client, output) for client, output in printed.items()}
        values: dict[str, float] = {}
        for job in _jobs(options):
            for direction in job.directions:
                sides = [side for client, jobs in found.items() for side in _sides(client, jobs, job, direction)]
                for what, value in _merged(sides).items():
                    name = f"{job.prefix}{direction}_{what}"
                    values[name] = positive("fio", name, str(value), "\n".join(printed.values()))
        return values

    @staticmethod
    def so_far(options: FioOptions, outputs: Mapping[str, str], running: Running, tools: Toolbox) -> SoFar:
        """Bandwidth and rate if all was moved by now, where it is known how much that is: of jobs of one direction
        that end when they have done their files. Nothing of a job file, nor where `options` may say otherwise."""
        own = options.options or options.jobs is not None or options.rw is None
        timed = options.runtime is not None or options.ramp_time is not None
        if own or timed or running.phase != "run" or len(_PATTERNS[options.rw or "rw"]) > 1:
            return SoFar()
        (direction,) = _PATTERNS[options.rw or "read"]
        _, lasted_s = in_one_job(running)
        moved = len(tools.clients) * options.numjobs * options.size
        most = {"bandwidth": moved / 2**20, "iops": moved / options.bs}
        bounds = {f"{direction}_{name}": value / lasted_s for name, value in most.items() if lasted_s}
        return SoFar({}, bounds, "run", lasted_s)


def _program(options: FioOptions, tools: Toolbox) -> str:
    return options.program or tools.program or "fio"


def _text(options: FioOptions) -> str:
    """The job file that every client's fio is given."""
    if options.jobs is not None:
        return without(options.jobs, _TAKEN_OUT)[0]
    assert options.rw is not None
    values: dict[str, object] = {"rw": options.rw, "bs": options.bs, "size": options.size}
    values |= {"ioengine": options.ioengine, "iodepth": options.iodepth, "numjobs": options.numjobs}
    values |= {"direct": options.direct, "nrfiles": options.nrfiles, "end_fsync": options.end_fsync}
    if len(_PATTERNS[options.rw]) > 1:
        values["rwmixread"] = options.rwmixread
    if options.fsync:
        values["fsync"] = options.fsync
    for key, seconds in (("runtime", options.runtime), ("ramp_time", options.ramp_time)):
        if seconds is not None:
            values[key] = f"{round(seconds * 1000)}ms"
    if options.time_based:
        values["time_based"] = True
    lines = [f"{key}={int(v) if isinstance(v, bool) else v}" for key, v in (values | options.options).items()]
    return "\n".join(["[fio]", *lines, ""])


def _jobs(options: FioOptions) -> list[_Job]:
    """The jobs, as fio will report them; ValueError for a job file that is none, or that pliant cannot do."""
    if options.jobs is None:
        return [_Job("fio", "", _PATTERNS[options.rw or "read"])]
    found = sections(options.jobs)
    if not found:
        raise ValueError("the job file has no job; write e.g. [job1] and below it rw=randread")
    prefixes = _prefixes([section.name for section in found])
    return [_Job(section.name, prefixes[section.name], _directions(section)) for section in found]


def _prefixes(names: Sequence[str]) -> dict[str, str]:
    """What the metrics of each job begin with: nothing if there is one job only."""
    if len(names) == 1:
        return {names[0]: ""}
    words = {name: re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") for name in names}
    prefixes = {name: f"{word or f'job{number}'}_" for number, (name, word) in enumerate(words.items(), 1)}
    if len(names) != len(set(prefixes.values())):
        raise ValueError("the job file's jobs must have different names, to tell their metrics apart; rename them")
    return prefixes


def _other_engine(engine: str) -> str:
    """The sentence for an engine that does not read and write files."""
    return f"ioengine {engine} moves no data of a mounted file system; write one of {', '.join(_ENGINES)}"


def _directions(section: JobSection) -> tuple[Direction, ...]:
    """What a job of a job file does; ValueError for what pliant cannot place or measure."""
    options, where = section.options, f"[{section.name}] of the job file"
    engine = options.get("ioengine", "psync")
    if engine not in _ENGINES:
        raise ValueError(f"{where}: {_other_engine(engine)}")
    for key, value in options.items():
        if key in _OURS and key not in _TAKEN_OUT:
            raise ValueError(f"the job file sets {key} in [{section.name}], which is pliant's to set; remove it")
        if variable := _VARIABLE.search(value):
            raise ValueError(f"{where} has {key}={value}: {variable[0]} is not set in nodes; write its value")
    name = options.get("filename", "")
    if name.startswith("/dev/"):
        raise ValueError(f"{where} has filename={name}, a device, and what is measured is files; remove it")
    if "/" in name or ":" in name:
        raise ValueError(f"{where} has filename={name}; write a name without a directory")
    pattern = options.get("rw", "read").split(":")[0]
    if "trim" in pattern:
        raise ValueError(f'{where} has rw="{pattern}", and files are not trimmed; write one of {", ".join(_PATTERNS)}')
    if pattern not in _PATTERNS:
        raise ValueError(f'{where} has rw="{pattern}"; write one of {", ".join(_PATTERNS)}')
    if not any(options.get(key, "%")[-1:] != "%" for key in _SIZES):
        raise ValueError(f"{where} does not say how large its files are; add e.g. size=64m")
    if options.get("time_based", "0") not in ("0", "false") and "runtime" not in options:
        raise ValueError(f"{where} has time_based and no end; add e.g. runtime=10")
    only: Mapping[str, tuple[Direction, ...]] = {"100": ("read",), "0": ("write",)}
    mixed = len(_PATTERNS[pattern]) > 1
    return only.get(options.get("rwmixread", ""), _PATTERNS[pattern]) if mixed else _PATTERNS[pattern]


def _reported(client: str, output: str) -> list[dict[str, Any]]:
    """The jobs in fio's JSON, which lines of text may precede. ValueError if there is none, or if one failed."""
    begin = re.search(r"^\{", output, re.MULTILINE)
    try:
        document = json.JSONDecoder().raw_decode(output, begin.start() if begin else 0)[0]
        jobs: list[dict[str, Any]] = [{"jobname": each["jobname"], **each} for each in document["jobs"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"fio on {client} printed no JSON: {error}; its output begins with {output[:200]!r}"
        ) from error
    for job in jobs:
        # The second one is there with continue_on_error: what failed then is in no other number.
        if number := job.get("error") or job.get("first_error"):
            raise ValueError(f"fio on {client}: job {job['jobname']} failed: {os.strerror(abs(int(number)))}")
        if count := job.get("total_err"):
            raise ValueError(f"fio on {client}: {count} reads or writes of job {job['jobname']} failed")
    return jobs


def _sides(client: str, jobs: Sequence[Mapping[str, Any]], job: _Job, direction: Direction) -> list[dict[str, Any]]:
    """What the processes of a job on one client did in one direction; ValueError if that is nothing."""
    sides = [each.get(direction) or {} for each in jobs if each["jobname"] == job.name]
    if not sides:
        raise ValueError(f"fio on {client} says nothing of job {job.name}")
    if not any(side.get("total_ios") for side in sides):
        raise ValueError(f"job {job.name} of fio did no {direction}s on {client}")
    return sides


def _merged(sides: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """One direction of a job, over all clients and processes; None for what is not there.

    All bytes, and all operations, over the time of the slowest. Latencies are those of all operations together: the
    mean of means by their numbers, and the percentile from the sum of fio's histograms, never of percentiles.
    """
    done = [side for side in sides if side.get("total_ios")]
    seconds = max((side["runtime"] for side in done), default=0) / 1000
    if not seconds:
        return dict.fromkeys(_UNITS)
    # Releases before 3.18 do not say how many latencies there are: as many as operations.
    counts = [side["lat_ns"].get("N", side["total_ios"]) for side in done]
    bins: dict[int, int] = {}
    for side in done:
        # The histogram is that of the whole latency wherever it is: up to fio 3.6 it is told beside another.
        for nanoseconds, number in (side["lat_ns"].get("bins") or side.get("clat_ns", {}).get("bins", {})).items():
            bins[int(nanoseconds)] = bins.get(int(nanoseconds), 0) + number
    p99_ns = _percentile(bins, 0.99)
    return {
        "bandwidth": sum(side["io_bytes"] for side in done) / seconds / 2**20,
        "iops": sum(side["total_ios"] for side in done) / seconds,
        "latency": sum(side["lat_ns"]["mean"] * count for side, count in zip(done, counts, strict=True))
        / max(1, sum(counts))
        / 1e6,
        "latency_p99": None if p99_ns is None else p99_ns / 1e6,
    }


def _percentile(bins: Mapping[int, int], part: float) -> int | None:
    """The value that `part` of a histogram does not exceed, as fio itself finds it; None of an empty one."""
    total, seen = sum(bins.values()), 0
    for value in sorted(bins):
        seen += bins[value]
        if seen >= part * total:
            return value
    return None
