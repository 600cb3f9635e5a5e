"""IOR's POSIX write and read phases, as a stand-alone MPI program: `python -I ior.py -a POSIX -w -r -F -o PATH ...`.

Takes the options of IOR 4.0 that pliant uses, with IOR's meaning, and prints IOR's JSON summary, whether or not
`-O summaryFormat=JSON` is given. Bandwidth is IOR's: the bytes that all ranks moved, over the time from the first open
to the last close, opening after a barrier; an fsync (-e) lies within. Source: the IOR user guide,
https://ior.readthedocs.io/en/latest/userDoc/options.html, and the behaviour of IOR 4.

Before the summary are lines that IOR does not print, each as soon as it is known: `begin write TIME` before the barrier
that a phase is timed from, and after it `window write BEGIN END`, with the time from that barrier to the one after it,
and `result write VALUE`, the bandwidth in MiB/s. Times are in seconds of CLOCK_MONOTONIC.

One option is not IOR's: `--drop-caches` writes back and drops the page cache between the write and the read phase,
outside the timed regions, so that one job can do what takes IOR two.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Iterator
from time import monotonic, time

TYPE_CHECKING = False  # that of `typing`, whose import is not worth its time here
if TYPE_CHECKING or __package__:
    from pliant.workloads.kernels import common
else:  # run as a script
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib is slow to import
    import common

MIB = 1 << 20
CLOCK_TOLERANCE = 0.05
Move = Callable[[int, int], None]
"""Transfers one piece at an offset of an open file; both as numbers."""


class Settings:
    """What the command line asks for; names are those of IOR's documentation."""

    def __init__(self, argv: list[str]) -> None:
        options = common.parse_options(argv, "wrkeCFgEWR", "abtsoDGiQO", ("--posix.odirect", "--drop-caches"))
        common.only(options, "a", "POSIX")
        common.only(options, "i", "1")
        directives = _directives(options.get("O", ""))
        self.check_write = "W" in options
        self.check_read = "R" in options
        given = options.keys() & set("wrWR")
        self.write = "w" in options or not given
        self.read = "r" in options or self.check_read or not given
        self.keep = "k" in options
        self.fsync = "e" in options
        self.reorder = "C" in options
        self.file_per_process = "F" in options
        self.barriers = "g" in options
        self.use_existing = "E" in options
        self.direct_io = "--posix.odirect" in options
        self.drop_caches = "--drop-caches" in options
        self.block = common.size(options.get("b", "1m"))
        self.transfer = common.size(options.get("t", "256k"))
        self.segments = common.number(options.get("s", "1"))
        self.file = options.get("o", "testFile")
        self.deadline_s = common.number(options.get("D", "0"))
        self.seed = common.number(options.get("G", "0"))
        self.task_offset = common.number(options.get("Q", "1"))
        self.wear_out = common.number(directives.get("stoneWallingWearOut", "0"))
        self.status_file = directives.get("stoneWallingStatusFile", "")
        if not self.transfer or not self.segments or self.block % self.transfer or not self.block:
            raise common.UsageError("-b must be a multiple of -t, and both and -s above zero")


def _directives(text: str) -> dict[str, str]:
    known = ("summaryFormat", "stoneWallingWearOut", "stoneWallingStatusFile")
    pairs = [piece.partition("=") for piece in text.split(",") if piece]
    for key, _, value in pairs:
        if key not in known or (key == "summaryFormat" and value != "JSON"):
            raise common.UsageError(f"unknown directive -O {key}={value}")
    return {key: value for key, _, value in pairs}


class Phase:
    """One timed phase: what was moved and how long it took, over all ranks."""

    def __init__(self, operation: str, moved_bytes: int, elapsed: list[float]) -> None:
        self.operation = operation
        self.moved_bytes = moved_bytes
        self.total_s, self.open_s, self.transfer_s, self.close_s = elapsed
        self.bandwidth_mib_s = moved_bytes / MIB / self.total_s if self.total_s > 0 else 0.0


class Ior:
    """The state of one rank: its buffer, the data it writes, and how many transfers a stonewalled write came to."""

    def __init__(self, job: common.Job, settings: Settings, test: str = "", unit_bytes: int = MIB) -> None:
        """Of a `test` of several, the operations' names begin with it; `unit_bytes` is what a bandwidth is told in."""
        self.job = job
        self.settings = settings
        self.test = test
        self.unit_bytes = unit_bytes
        self.seed = settings.seed or job.first(int(time()))
        self.direct = os.O_DIRECT if settings.direct_io else 0
        self.shift = common.ranks_to_next_node(job.hosts()) if settings.reorder else 0
        self.limit = 0
        self.errors = 0
        self.buffer = mmap.mmap(-1, settings.transfer)  # page-aligned, as O_DIRECT wants it
        self.buffers = [self.buffer]
        self.buffer[:] = common.pattern(job.rank, self.seed, settings.transfer)

    def path(self, owner: int) -> str:
        """The file that `owner` writes: its own, or the one that all share."""
        return f"{self.settings.file}.{owner:08d}" if self.settings.file_per_process else self.settings.file

    def write(self) -> Phase:
        """Write this rank's part. An existing file is removed before, as in IOR, unless -E says to overwrite it."""
        rank = self.job.rank
        path = self.path(rank)
        if not self.settings.use_existing:
            self.remove(path)
        phase = self.timed("write", path, os.O_RDWR | os.O_CREAT, rank, self.put, self.settings.deadline_s)
        if self.settings.check_write:
            self.verify_written()
        return phase

    def verify_written(self) -> None:
        """Read back what another node wrote and compare it (-W), two nodes away as IOR does; not timed."""
        owner = (self.job.rank + (self.settings.task_offset + 1) * self.shift) % self.job.size
        path = self.path(owner)
        self.job.barrier()
        file = os.open(path, os.O_RDONLY | self.direct)
        self.transfer(file, path, owner, self.comparing(owner), 0)
        os.close(file)

    def read(self) -> Phase:
        """Read the part of a rank on another node (-C) or this rank's own, comparing it if -R says so."""
        owner = (self.job.rank + self.settings.task_offset * self.shift) % self.job.size
        if self.settings.status_file and not self.settings.write:
            self.limit = self.job.first(self.stored_limit())
        move = self.comparing(owner) if self.settings.check_read else self.get
        return self.timed("read", self.path(owner), os.O_RDONLY, owner, move, self.settings.deadline_s)

    def timed(self, operation: str, path: str, flags: int, owner: int, move: Move, deadline_s: int) -> Phase:
        """Open, transfer and close between time stamps, after a barrier; then reduce the stamps over all ranks."""
        job, barriers = self.job, self.settings.barriers
        name = f"{self.test}{operation}"
        job.begins(name)
        began = time()
        job.barrier()
        begin_s = monotonic()
        open_start = time()
        file = os.open(path, flags | self.direct, 0o664)
        open_stop = time()
        if barriers:
            job.barrier()
        transfer_start = time()
        pieces = self.transfer(file, path, owner, move, deadline_s)
        if operation == "write" and self.settings.fsync:
            _named(path, os.fsync, file)
        transfer_stop = time()
        if barriers:
            job.barrier()
        close_start = time()
        _named(path, os.close, file)
        close_stop = time()
        job.barrier()
        ended = time()
        window = begin_s, monotonic()
        starts = job.minima([open_start, open_start, transfer_start, close_start])
        stops = job.maxima([close_stop, open_stop, transfer_stop, close_stop])
        elapsed = [stop - start for start, stop in zip(starts, stops, strict=True)]
        self.check_clocks(elapsed[0], close_stop - open_start, ended - began)
        phase = Phase(operation, job.total(pieces * self.settings.transfer), elapsed)
        digits = 4 if self.unit_bytes == MIB else 9
        job.ended(name, window, f"{phase.bandwidth_mib_s * MIB / self.unit_bytes:.{digits}f}")
        return phase

    def check_clocks(self, elapsed_s: float, own_s: float, around_s: float) -> None:
        """Fail if the nodes' clocks disagree: IOR subtracts time stamps of different nodes, and is then silently wrong.

        The true time lies between the longest that a rank needed and the shortest from before the first barrier to
        after the last.
        """
        longest = self.job.maxima([own_s])[0]
        shortest = self.job.minima([around_s])[0]
        slack = CLOCK_TOLERANCE * longest + 0.001
        if not longest - slack <= elapsed_s <= shortest + slack:
            raise common.KernelError(
                f"the clocks of the nodes differ: by them a phase took {elapsed_s:.3f} s that took between"
                f" {longest:.3f} and {shortest:.3f} s; synchronise them, e.g. with chrony"
            )

    def transfer(self, file: int, path: str, owner: int, move: Move, deadline_s: int) -> int:
        """Move one piece after the other until there is no more, the deadline or the limit; the number moved."""
        offsets = self.offsets(owner)
        count = _named(path, self.until, file, offsets, move, time() + deadline_s if deadline_s else 0.0)
        if deadline_s:
            self.limit = count
        if deadline_s and self.settings.wear_out:
            # After the deadline all ranks go on to what the fastest did, so that each has the same amount of data.
            self.limit = int(self.job.maxima([float(count)])[0])
            for offset in offsets:
                if count == self.limit:
                    break
                _named(path, move, file, offset)
                count += 1
        return count

    def until(self, file: int, offsets: Iterator[int], move: Move, deadline: float) -> int:
        """Move pieces until the deadline (in seconds of `time`, 0 for none) or the limit; the number moved."""
        count, limit = 0, self.limit
        for offset in offsets:
            move(file, offset)
            count += 1
            if count == limit or (deadline and time() > deadline):
                break
        return count

    def offsets(self, owner: int) -> Iterator[int]:
        """Where the pieces of `owner` are: in its own file segment after segment, or in its block of each segment."""
        settings = self.settings
        ranks, first = (1, 0) if settings.file_per_process else (self.job.size, owner)
        for segment in range(settings.segments):
            block = (segment * ranks + first) * settings.block
            yield from range(block, block + settings.block, settings.transfer)

    def put(self, file: int, offset: int) -> None:
        """Write the buffer."""
        written = os.pwrite(file, self.buffer, offset)
        while written < self.settings.transfer:
            written += os.pwrite(file, self.buffer[written:], offset + written)

    def get(self, file: int, offset: int) -> None:
        """Fill the buffer."""
        got = os.preadv(file, self.buffers, offset)
        while got < self.settings.transfer:
            more = os.pread(file, self.settings.transfer - got, offset + got)
            if not more:
                raise common.KernelError(f"end of file at byte {offset + got}")
            self.buffer[got : got + len(more)] = more
            got += len(more)

    def comparing(self, owner: int) -> Move:
        """Like `get`, but count the pieces that are not what `owner` wrote."""
        expected = common.pattern(owner, self.seed, self.settings.transfer)

        def move(file: int, offset: int) -> None:
            self.buffer[0] ^= 0xFF  # so that a read that does nothing is noticed
            self.get(file, offset)
            if self.buffer[:] != expected:
                self.errors += 1

        return move

    def remove(self, path: str) -> None:
        """Remove a file if it is there: each rank its own, rank 0 the shared one."""
        if (self.settings.file_per_process or self.job.rank == 0) and os.path.exists(path):  # noqa: PTH110
            os.unlink(path)  # noqa: PTH108

    def stored_limit(self) -> int:
        """How many transfers each rank made in the stonewalled write, from the status file; rank 0 reads it."""
        if self.job.rank:
            return 0
        with open(self.settings.status_file) as file:  # noqa: PTH123
            return common.number(file.read().strip())

    def store_limit(self) -> None:
        """Leave the number of transfers of the stonewalled write for the job that reads."""
        if self.job.rank == 0:
            with open(self.settings.status_file, "w") as file:  # noqa: PTH123
                file.write(str(self.limit))

    def fail_on_errors(self) -> None:
        """End the job if any rank read other data than was written."""
        errors = self.job.total(self.errors)
        if errors and self.job.rank == 0:
            raise common.KernelError(f"Incorrect data on read ({errors} errors found) in {self.settings.file}")
        if errors:
            self.job.barrier()  # which rank 0 ends by aborting the job


def _named(path: str, call: Callable[..., int | None], *args: object) -> int:
    """Call with the path added to an error that has none."""
    try:
        return call(*args) or 0
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    except common.KernelError as error:
        raise common.KernelError(f"{path}: {error}") from None


def summary(job: common.Job, settings: Settings, phases: list[Phase]) -> dict[str, object]:
    """The result as IOR 4 lays it out in its JSON, reduced to what says something about this run."""
    return {
        "Version": "pliant",
        "Command line": " ".join(sys.argv),
        "Machine": f"{os.uname().sysname} {job.host}",
        "tests": [
            {
                "TestID": 0,
                "Options": {
                    "api": "POSIX",
                    "test filename": settings.file,
                    "access": "file-per-process" if settings.file_per_process else "single-shared-file",
                    "segments": settings.segments,
                    "tasks": job.size,
                },
                "Results": [
                    {
                        "access": phase.operation,
                        "bwMiB": round(phase.bandwidth_mib_s, 4),
                        "blockKiB": settings.block / 1024,
                        "xferKiB": settings.transfer / 1024,
                        "openTime": phase.open_s,
                        "wrRdTime": phase.transfer_s,
                        "closeTime": phase.close_s,
                        "totalTime": phase.total_s,
                    }
                    for phase in phases
                ],
            }
        ],
        "summary": [
            {
                "operation": phase.operation,
                "API": "POSIX",
                "segmentCount": settings.segments,
                "blockSize": settings.block,
                "transferSize": settings.transfer,
                "numTasks": job.size,
                "repetitions": 1,
                "bwMaxMIB": round(phase.bandwidth_mib_s, 4),
                "bwMinMIB": round(phase.bandwidth_mib_s, 4),
                "bwMeanMIB": round(phase.bandwidth_mib_s, 4),
                "MeanTime": phase.total_s,
                "xsizeMiB": phase.moved_bytes / MIB,
            }
            for phase in phases
        ],
    }


def main(job: common.Job, settings: Settings) -> None:
    """Run the phases asked for; rank 0 prints the summary. Wrong data ends the job."""
    test = Ior(job, settings)
    phases = []
    job.ready()
    if settings.write:
        phases.append(test.write())
        if settings.deadline_s and settings.wear_out and settings.status_file:
            test.store_limit()
    if settings.read:
        if settings.write and settings.drop_caches:
            job.drop_caches()
        phases.append(test.read())
    job.over()
    test.fail_on_errors()
    job.barrier()
    if not settings.keep:
        test.remove(test.path(job.rank))
    job.barrier()
    if job.rank == 0:
        import json  # not by all ranks

        sys.stdout.write(json.dumps(summary(job, settings, phases), indent=2) + "\n")


if __name__ == "__main__":
    common.run(Settings, main)
