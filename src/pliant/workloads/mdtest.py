"""mdtest: the rates of creating, examining and removing files and directories, by the real program or the kernel.

Both take the same command line; see docs/workloads.md for how well they agree. Options are named after those of
mdtest's manual page, in IOR's repository.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pliant.units import Size, format_size
from pliant.workloads._parsing import absolute_path, positive, program_size, went_wrong
from pliant.workloads.kernels.common import WAIT
from pliant.workloads.model import (
    CACHES,
    Caches,
    Metric,
    Phase,
    Running,
    SoFar,
    Toolbox,
    in_one_job,
    results,
    under_way,
)

_FILE_ROWS = {
    "file_create": "File creation",
    "file_stat": "File stat",
    "file_read": "File read",
    "file_remove": "File removal",
}
_DIRECTORY_ROWS = {
    "directory_create": "Directory creation",
    "directory_stat": "Directory stat",
    "directory_remove": "Directory removal",
}
_PHASES = {"create": "-C", "stat": "-T", "read": "-E", "remove": "-r"}


class MdtestOptions(BaseModel):
    """The keys of a `[[workload]]` table with `kind = "mdtest"`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files_per_rank: int = Field(100, ge=1, description="files, and directories, that each rank makes (-n)")
    files: bool = Field(True, description="measure files (-F where it is files alone)")
    directories: bool = Field(True, description="measure directories (-D where it is directories alone)")
    unique_dir: bool = Field(True, description="each rank works in a directory of its own (-u), or all share one")
    stride: int = Field(
        1, ge=0, description="each phase works on what a rank so many clients away made (-N); 0 on the rank's own"
    )
    write_bytes: Size = Field(0, description="bytes written to each new file (-w)")
    read_bytes: Size = Field(0, description="bytes read from each file (-e)")
    depth: int = Field(0, ge=0, description="levels of directories below the top one (-z)")
    branch: int = Field(1, ge=1, description="directories in each directory that has some (-b)")
    ranks_per_client: int = Field(1, ge=1, description="MPI ranks in each client")
    caches: Caches = CACHES
    program: Annotated[str | None, AfterValidator(absolute_path)] = Field(
        None, description="absolute path of a real mdtest to run; the same in every node"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        tree = sum(self.branch**level for level in range(self.depth + 1))
        if not (self.files or self.directories):
            raise ValueError("files and directories are both false; there is nothing to measure")
        if self.read_bytes > self.write_bytes:
            read, written = format_size(self.read_bytes), format_size(self.write_bytes) if self.write_bytes else "0 B"
            raise ValueError(f'read_bytes "{read}" is more than write_bytes "{written}"')
        if self.files_per_rank < tree:
            raise ValueError(f"files_per_rank {self.files_per_rank} is less than the {tree} directories of the tree")
        if self.unique_dir and self.depth and self.stride:
            raise ValueError("unique_dir, depth and stride cannot go together in mdtest; write stride = 0")
        return self


class Mdtest:
    """The workload `mdtest`."""

    name: ClassVar[str] = "mdtest"
    Options: ClassVar[type[BaseModel]] = MdtestOptions
    program: ClassVar[str] = "mdtest"

    @staticmethod
    def metrics(options: MdtestOptions) -> tuple[Metric, ...]:
        """A rate, in operations per second, for each phase, of files and of directories."""
        return tuple(Metric(name, "op/s", "higher", name.replace("_", "-")) for name in _rows(options))

    @staticmethod
    def phases(options: MdtestOptions, directory: str, tools: Toolbox) -> tuple[Phase, ...]:
        """The jobs of a trial: create, stat, read and remove, with caches dropped between; one job with the kernel."""
        program = options.program or tools.program
        start = (program,) if program else (*tools.kernel("mdtest"), WAIT)
        common = _arguments(options, directory)
        flags = {name: flag for name, flag in _PHASES.items() if options.files or name != "read"}
        ranks = options.ranks_per_client
        drops = options.caches == "dropped"
        if not program:
            own = (*common, *flags.values(), *(("--drop-caches",) if drops else ()))
            return (Phase("+".join(flags), (*start, *own), ranks, waits=True),)
        return tuple(
            Phase(name, (*start, *common, flag), ranks, drop_caches=drops and name != "create")
            for name, flag in flags.items()
        )

    @staticmethod
    def parse(options: MdtestOptions, outputs: Mapping[str, str]) -> dict[str, float]:
        """The rates, in op/s; ValueError if one is missing or not above zero, or if an operation failed."""
        output = "\n".join(outputs.values())
        _right(output)
        return {name: positive("mdtest", name, _rate(row, output), output) for name, row in _rows(options).items()}

    @staticmethod
    def so_far(options: MdtestOptions, outputs: Mapping[str, str], running: Running, tools: Toolbox) -> SoFar:
        """The rates of what ended, and of what is under way what it would be if all items were done by now.

        A real mdtest's job does files and directories, one after the other; only of one of them alone is it known what
        is under way.
        """
        output = "\n".join(outputs.values())
        _right(output)
        ended = "\n".join(text for phase, text in outputs.items() if phase != running.phase)
        said = results(output)
        metrics: dict[str, float] = {}
        bounds: dict[str, float] = {}
        if options.program or tools.program:
            single = options.files != options.directories
            name, lasted_s = in_one_job(running) if single else ("", 0.0)
            operation = f"{'file' if options.files else 'directory'}-{name}" if name else ""
        else:
            operation, lasted_s = under_way(outputs.get(running.phase, ""), running)
        items = len(tools.clients) * options.ranks_per_client * options.files_per_rank
        for metric in Mdtest.metrics(options):
            rate = str(said[metric.phase]) if metric.phase in said else _rate(_rows(options)[metric.name], ended)
            if rate is not None and rate.strip("0."):
                metrics[metric.name] = positive("mdtest", metric.name, rate, output)
            elif metric.phase == operation and lasted_s:
                bounds[metric.name] = items / lasted_s
        return SoFar(metrics, bounds, operation, lasted_s)


def _right(output: str) -> None:
    """ValueError if mdtest says that an operation failed: releases from 4 on count it all the same."""
    if said := went_wrong(output):
        raise ValueError(f"mdtest did not do all that it was to do: {said}")


def _rows(options: MdtestOptions) -> dict[str, str]:
    """Metric -> the name of its row in mdtest's table."""
    return {**(_FILE_ROWS if options.files else {}), **(_DIRECTORY_ROWS if options.directories else {})}


def _arguments(options: MdtestOptions, directory: str) -> tuple[str, ...]:
    """The options that all phases have in common."""
    values = {
        "-n": str(options.files_per_rank),
        "-d": f"{directory}/mdtest",
        "-N": str(options.stride),
        "-w": program_size(options.write_bytes),
        "-e": program_size(options.read_bytes),
    }
    if options.depth:
        values |= {"-z": str(options.depth), "-b": str(options.branch)}
    flags = {"-u": options.unique_dir, "-F": not options.directories, "-D": not options.files}
    valued = (word for pair in values.items() for word in pair)
    return (*valued, *(flag for flag, given in flags.items() if given))


def _rate(row: str, output: str) -> str | None:
    """The first column (Max) of the row in the table of the phase that ran it; the other phases' tables have zero."""
    rates: list[str] = re.findall(rf"^\s*{row}\s*:?\s+(\S+)", output, re.MULTILINE)
    return next((rate for rate in rates if rate.strip("0.")), rates[0] if rates else None)
