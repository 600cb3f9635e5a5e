"""IOR: the bandwidth of writing and reading large files, by LLNL's benchmark or the built-in kernel.

Both take the same command line; see docs/workloads.md for how well they agree. Options are named after those of the
IOR user guide, https://ior.readthedocs.io/en/latest/userDoc/options.html.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pliant.units import Duration, Size, format_size
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

Operation = Literal["write", "read"]

_SEED = "1"
_WORD_BYTES = 8
_SECTOR_BYTES = 4096
_MIB = 1 << 20
_FORMAT, _DIRECT, _OLD_DIRECT, _STATUS = "summaryFormat", "posix.odirect", "useO_DIRECT", "stoneWallingStatusFile"
"""Words of IOR's help: what one release has and another has not."""
_NUMBER = r'"?([^\s",}]+)'


class IorOptions(BaseModel):
    """The keys of a `[[workload]]` table with `kind = "ior"`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block: Size = Field(16 << 20, description="bytes that each rank writes in one piece, in each segment (-b)")
    transfer: Size = Field(1 << 20, description="bytes moved by one write or read (-t); divides `block`")
    segments: int = Field(1, ge=1, description="how often the blocks of all ranks are repeated (-s)")
    file_per_process: bool = Field(True, description="each rank has a file of its own (-F), or all share one")
    fsync: bool = Field(True, description="fsync before closing what was written, within the timed part (-e)")
    reorder: bool = Field(True, description="each rank reads what a rank in the next client wrote (-C)")
    ranks_per_client: int = Field(1, ge=1, description="MPI ranks in each client")
    operations: tuple[Operation, ...] = Field(
        ("write", "read"), min_length=1, description="what is measured; to measure reading alone still writes before"
    )
    data_check: bool = Field(False, description="compare what is read, after writing (-W) and while reading (-R)")
    direct_io: bool = Field(False, description="bypass the clients' page cache (O_DIRECT)")
    stonewall: Duration | None = Field(
        None,
        description="stop writing after this time, once all ranks wrote as much as the fastest (-D); whole seconds",
    )
    caches: Caches = CACHES
    program: Annotated[str | None, AfterValidator(absolute_path)] = Field(
        None, description="absolute path of a real ior to run; the same in every node"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        block, transfer = format_size(self.block), format_size(self.transfer)
        if self.block % self.transfer:
            raise ValueError(f'block "{block}" is not a multiple of transfer "{transfer}"')
        if self.transfer % _WORD_BYTES:
            raise ValueError(f'transfer "{transfer}" is not a multiple of 8 bytes, which IOR wants')
        if self.direct_io and self.transfer % _SECTOR_BYTES:
            raise ValueError(f'transfer "{transfer}" is not a multiple of "4 KiB", which direct_io wants')
        if self.stonewall is not None and (self.stonewall < 1 or self.stonewall % 1):
            raise ValueError(f"stonewall {self.stonewall:g} s is not a whole number of seconds, which IOR wants")
        if len(set(self.operations)) < len(self.operations):
            raise ValueError('operations names one twice; write e.g. ["write", "read"]')
        return self


class Ior:
    """The workload `ior`."""

    name: ClassVar[str] = "ior"
    Options: ClassVar[type[BaseModel]] = IorOptions
    program: ClassVar[str] = "ior"
    asks: ClassVar[tuple[str, ...]] = ("-h",)

    @staticmethod
    def metrics(options: IorOptions) -> tuple[Metric, ...]:
        """A bandwidth, in MiB/s, for each operation."""
        return tuple(
            Metric(f"{operation}_bandwidth", "MiB/s", "higher", operation, options.transfer)
            for operation in options.operations
        )

    @staticmethod
    def phases(options: IorOptions, directory: str, tools: Toolbox) -> tuple[Phase, ...]:
        """The jobs of a trial: one that writes and one that reads, or both in one where the kernel allows it.

        IOR cannot drop caches between its phases, so that it takes two jobs. The kernel can; only with a stonewall are
        there two jobs as well, so that the read is not cut short by the write's deadline.
        """
        program = options.program or tools.program
        start = (program,) if program else (*tools.kernel("ior"), WAIT)
        common = _arguments(options, directory, tools.help if program else "")
        check_write, check_read = (("-W",), ("-R",)) if options.data_check else ((), ())
        write = ("-w", *check_write, *_deadline(options))
        read = ("-r", *check_read)
        # IOR takes a status file only with -k: it may be read again, so that removing is left to the caller.
        status = ("-k", "-O", f"stoneWallingStatusFile={directory}/stonewall") if options.stonewall else ()
        drops = options.caches == "dropped"
        if "read" not in options.operations:
            jobs = {"write": write}
        elif program or options.stonewall:
            jobs = {"write": (*write, *(status or ("-k",))), "read": (*read, *status)}
        else:
            jobs = {"write+read": (*write, *read, *(("--drop-caches",) if drops else ()))}
        return tuple(
            Phase(
                name,
                (*start, *common, *arguments),
                options.ranks_per_client,
                drop_caches=drops and name == "read",
                waits=not program,
            )
            for name, arguments in jobs.items()
        )

    @staticmethod
    def unfit(options: IorOptions, tools: Toolbox) -> str:
        """Why a real IOR cannot do this, by what its help says; "" if it can."""
        old = tools.help and _STATUS not in tools.help
        if old and options.stonewall is not None:
            return f"it has no {_STATUS}, which `stonewall` needs; use IOR 3.2 or later, or leave `stonewall` out"
        if old and options.data_check:
            # Up to 3.1 -R reads everything twice and compares the two.
            return "it compares what it reads only with itself; use IOR 3.2 or later, or leave `data_check` out"
        return ""

    @staticmethod
    def parse(options: IorOptions, outputs: Mapping[str, str]) -> dict[str, float]:
        """The bandwidths, in MiB/s; ValueError if one is missing or not above zero, if data read were wrong, or if
        anything else went wrong."""
        output = "\n".join(outputs.values())
        _right(options, output)
        return {
            f"{operation}_bandwidth": positive("ior", f"{operation}_bandwidth", _bandwidth(operation, output), output)
            for operation in options.operations
        }

    @staticmethod
    def so_far(options: IorOptions, outputs: Mapping[str, str], running: Running, tools: Toolbox) -> SoFar:
        """The bandwidths of what ended, and of what is under way what it would be if all was moved by now.

        That is right with a stonewall as well, which moves less. ValueError if data read were wrong.
        """
        output = "\n".join(outputs.values())
        _right(options, output)
        ended = "\n".join(text for phase, text in outputs.items() if phase != running.phase)
        found = {each: _bandwidth(each, ended) for each in options.operations}
        said = {each: text for each, text in found.items() if text is not None} | results(output)
        metrics = {
            f"{each}_bandwidth": positive("ior", f"{each}_bandwidth", str(said[each]), output)
            for each in options.operations
            if each in said
        }
        if options.program or tools.program:
            # A write that is checked goes on after what is timed.
            checked = options.data_check and running.phase == "write"
            operation, lasted_s = ("", 0.0) if checked else in_one_job(running)
        else:
            operation, lasted_s = under_way(outputs.get(running.phase, ""), running)
        ranks = len(tools.clients) * options.ranks_per_client
        most = ranks * options.block * options.segments / _MIB / lasted_s if lasted_s else 0.0
        bounds = {f"{operation}_bandwidth": most} if most and operation in options.operations else {}
        return SoFar(metrics, bounds, operation, lasted_s)


def _right(options: IorOptions, output: str) -> None:
    """ValueError if IOR says that data are not what was written, or that it did not do all that it was to do."""
    if said := went_wrong(output, cut_short=options.stonewall is not None):
        what = "read other data than were written" if "ncorrect data" in said or "comparison" in said else "failed"
        raise ValueError(f"ior {what}: {said}")


def _arguments(options: IorOptions, directory: str, program: str) -> tuple[str, ...]:
    """The options that the write and the read have in common; `program` is the help of the one that takes them."""
    flags = {
        "-e": options.fsync,
        "-C": options.reorder,
        "-F": options.file_per_process,
        "-B" if _OLD_DIRECT in program and _DIRECT not in program else f"--{_DIRECT}": options.direct_io,
    }
    values = {
        "-a": "POSIX",
        "-t": program_size(options.transfer),
        "-b": program_size(options.block),
        "-s": str(options.segments),
        "-o": f"{directory}/testFile",
    }
    if not program or _FORMAT in program:
        values["-O"] = f"{_FORMAT}=JSON"
    if options.data_check:
        values["-G"] = _SEED  # both jobs must agree on the data
    valued = (word for pair in values.items() for word in pair)
    return (*valued, *(flag for flag, given in flags.items() if given))


def _deadline(options: IorOptions) -> tuple[str, ...]:
    """The options of a write that stops at a deadline, when every rank has gone on to what the fastest wrote."""
    return () if options.stonewall is None else ("-D", f"{options.stonewall:.0f}", "-O", "stoneWallingWearOut=1")


def _bandwidth(operation: Operation, output: str) -> str | None:
    """The bandwidth in MiB/s as IOR wrote it: in its JSON, or else in its text, of the 3 and 4 series.

    The JSON is searched rather than parsed: several releases print log lines into it, or leave out a comma.
    """
    forms = (
        rf'"operation"\s*:\s*"{operation}"[^{{}}]*?"bwMaxMIB"\s*:\s*{_NUMBER}',
        rf'"access"\s*:\s*"{operation}"[^{{}}]*?"bwMiB"\s*:\s*{_NUMBER}',
        rf"^Max {operation}:\s+(\S+) MiB/sec",
        rf"^{operation}\s+(\S+)",
    )
    for form in forms:
        match = re.search(form, output, re.MULTILINE | re.IGNORECASE)
        if match:
            return match[1]
    return None
