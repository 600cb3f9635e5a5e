"""mdtest's create, stat, read and remove phases, as a stand-alone MPI program: `python -I mdtest.py -n 100 -u -d DIR`.

Takes the options of mdtest 4.0 that pliant uses, with mdtest's meaning, lays out the same tree of directories with the
same names, and prints mdtest's table of rates. A rate is mdtest's: the items of all ranks, over the longest time that a
rank took from the barrier before the phase to the barrier after it. Source: mdtest's manual page, and the behaviour of
mdtest 4.

Before the table are lines that mdtest does not print, each as soon as it is known: `begin file-create TIME` before the
barrier that an operation is timed from, and after it `window file-create BEGIN END`, with the time from barrier to
barrier, and `result file-create VALUE`, the rate. Times are in seconds of CLOCK_MONOTONIC.

With a stonewall (-W, of files alone) creating stops at the deadline, once all ranks made as many as the fastest, and
what comes after works on these.

One option is not mdtest's: `--drop-caches` runs the phases asked for as so many runs of mdtest with one phase each
would, and between them writes back and drops the page cache, outside the timed regions.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from time import monotonic

TYPE_CHECKING = False  # that of `typing`, whose import is not worth its time here
if TYPE_CHECKING or __package__:
    from pliant.workloads.kernels import common
else:  # run as a script
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib is slow to import
    import common

PHASES = "CTEr"
DIRECTORY_MODE = 0o775
FILE_MODE = 0o664
ROWS = {
    "dir": {"C": "Directory creation", "T": "Directory stat", "r": "Directory removal"},
    "file": {"C": "File creation", "T": "File stat", "E": "File read", "r": "File removal"},
}
OPERATIONS = {"C": "create", "T": "stat", "E": "read", "r": "remove"}
KINDS = {"dir": "directory", "file": "file"}


class Settings:
    """What the command line asks for."""

    def __init__(self, argv: list[str]) -> None:
        options = common.parse_options(argv, "uCTErFDYX", "andNwezbiW", ("--drop-caches",))
        common.only(options, "a", "POSIX")
        common.only(options, "i", "1")
        self.drop_caches = "--drop-caches" in options
        self.phases = [phase for phase in PHASES if phase in options] or list(PHASES)
        self.kinds = [kind for kind, flag in (("dir", "D"), ("file", "F")) if flag in options] or ["dir", "file"]
        self.unique = "u" in options
        self.directory = options.get("d", "./out")
        self.stride = common.number(options.get("N", "0"))
        self.write_bytes = common.size(options.get("w", "0"))
        self.read_bytes = common.size(options.get("e", "0"))
        self.depth = common.number(options.get("z", "0"))
        self.branch = common.number(options.get("b", "1"))
        self.deadline_s = common.number(options.get("W", "0"))
        self.sync = "Y" in options
        self.verify = "X" in options
        self.directories = sum(self.branch**level for level in range(self.depth + 1))
        self.items_per_directory = common.number(options.get("n", "0")) // self.directories
        self.items = self.items_per_directory * self.directories
        self.check()

    def check(self) -> None:
        """Refuse what mdtest refuses, and what it gets wrong."""
        if not self.items or not self.branch:
            raise common.UsageError("-n must be at least the number of directories in the tree, and -b above zero")
        if {"C", "E"} <= set(self.phases) and self.read_bytes > self.write_bytes:
            raise common.UsageError("-e must not be larger than -w: only what was written can be read")
        if self.unique and self.depth and self.stride:
            raise common.UsageError("-u, -z and -N cannot go together: mdtest looks in directories that are not there")
        if self.deadline_s and (self.kinds != ["file"] or self.depth):
            raise common.UsageError("-W needs -F, and no -z: the stonewall is one of files in one directory")
        if self.verify and not 0 < self.read_bytes <= self.write_bytes:
            raise common.UsageError("-X needs -e and -w: only what was written can be compared")


class Tree:
    """The directories below the root of one tree: numbered breadth first, each with `branch` children, `depth` deep."""

    def __init__(self, settings: Settings, base: str) -> None:
        self.paths = [f"{base}.0"]
        for index in range(1, settings.directories):
            self.paths.append(f"{self.paths[(index - 1) // settings.branch]}/{base}.{index}")
        self.children = settings.branch

    def depth_first(self, index: int = 0) -> Iterator[int]:
        """The numbers of the directories, each before those in it: the order in which mdtest creates and removes."""
        yield index
        first = index * self.children + 1
        for child in range(first, min(first + self.children, len(self.paths))):
            yield from self.depth_first(child)


class Stonewall:
    """Paths up to a deadline: each that is given was done when the next is asked for. `done` counts them."""

    def __init__(self, paths: Iterator[bytes], deadline_s: int) -> None:
        self.paths = paths
        self.deadline_s = deadline_s
        self.done = 0

    def __iter__(self) -> Iterator[bytes]:
        end_s = monotonic() + self.deadline_s
        for path in self.paths:
            yield path
            self.done += 1
            if monotonic() > end_s:
                return


class Mdtest:
    """The state of one rank."""

    def __init__(
        self, job: common.Job, settings: Settings, names: Mapping[str, str] | None = None, unit: float = 1.0
    ) -> None:
        """Of a test of several, `names` says what its operations on files are called; `unit` is what rates are told in,
        in op/s."""
        self.job = job
        self.settings = settings
        self.names = names
        self.unit = unit
        self.count = settings.items_per_directory
        """How many items there are in each directory of this rank's: fewer than asked for, after a stonewall."""
        self.stride = settings.stride
        hosts = job.hosts() if settings.stride else []
        if len(set(hosts)) > 1:
            self.stride *= common.ranks_to_next_node(hosts)
        self.top = f"{settings.directory}/test-dir.0-0"
        self.made_root = False
        self.rates: dict[str, float] = {}

    def iteration(self, phases: list[str]) -> None:
        """What one run of mdtest with these phases does: make the tree, directories, then files, remove the tree."""
        if "C" in phases:
            self.make_tree()
        for kind in self.settings.kinds:
            for phase in phases:
                if phase in ROWS[kind]:
                    self.rates[ROWS[kind][phase]] = self.timed(phase, kind)
        if "r" in phases:
            self.remove_tree()

    def owner(self, shift: int) -> int:
        """The rank `shift` strides away."""
        return (self.job.rank + shift * self.stride) % self.job.size

    def tree(self, owner: int) -> Tree:
        """The tree that the rank works in: `owner`'s with -u, else the one that all share."""
        return Tree(self.settings, f"mdtest_tree.{owner}" if self.settings.unique else "mdtest_tree")

    def items(self, phase: str, kind: str) -> Iterator[bytes]:
        """The paths of this rank's items in a phase: each phase works on what another rank did in the one before."""
        shift = PHASES.index(phase)
        tree = self.tree(self.owner(shift + 1))
        ordered = tree.depth_first() if phase in "Cr" else range(self.settings.directories)
        prefix = f"{kind}.mdtest.{self.owner(shift)}."
        for index in ordered:
            for item in range(index * self.count, (index + 1) * self.count):
                yield os.fsencode(f"{self.top}/{tree.paths[index]}/{prefix}{item}")

    def timed(self, phase: str, kind: str) -> float:
        """Items of all ranks per second of the slowest, from barrier to barrier."""
        work = self.operation(phase, kind)
        stonewall = phase == "C" and bool(self.settings.deadline_s)
        # Of a stonewall's nobody knows beforehand how many they will be.
        paths = self.items(phase, kind) if stonewall else list(self.items(phase, kind))
        name = self.names[phase] if self.names else f"{KINDS[kind]}-{OPERATIONS[phase]}"
        self.job.begins(name)
        self.job.barrier()
        start = monotonic()
        if stonewall:
            self.up_to_the_stonewall(iter(paths), work)
        else:
            work(paths)
        if self.settings.sync and phase == "C":
            common.sync_filesystem(self.top)
        self.job.barrier()
        stop = monotonic()
        longest = self.job.maxima([stop - start])[0]
        rate: float = self.count * self.settings.directories * self.job.size / longest
        self.job.ended(name, (start, stop), f"{rate / self.unit:.{3 if self.unit == 1.0 else 6}f}")
        return rate

    def up_to_the_stonewall(self, paths: Iterator[bytes], work: Callable[[Iterable[bytes]], None]) -> None:
        """Do as many as the deadline allows, then as many more as the fastest rank did."""
        first = Stonewall(paths, self.settings.deadline_s)
        work(first)
        self.job.barrier()
        self.count = int(self.job.maxima([float(first.done)])[0])
        work(islice(paths, self.count - first.done))

    def operation(self, phase: str, kind: str) -> Callable[[Iterable[bytes]], None]:
        """What a phase does to all of this rank's items."""
        if kind == "dir":
            return {"C": make_directories, "T": stat_all, "r": remove_directories}[phase]
        if phase == "C":
            data = common.pattern(self.job.rank, 0, self.settings.write_bytes)
            return lambda paths: create_files(paths, data)
        if phase == "E":
            length = self.settings.read_bytes
            written = common.pattern(self.owner(PHASES.index("E")), 0, self.settings.write_bytes)
            expected = written[:length] if self.settings.verify else b""
            return lambda paths: read_files(paths, length, expected)
        return stat_all if phase == "T" else remove_files

    def make_tree(self) -> None:
        """Make the test directory and the trees: with -u each rank its own, else rank 0 for all."""
        if self.job.rank == 0:
            self.made_root = _make(self.settings.directory)
            _make(self.top)
        self.job.barrier()
        start = monotonic()
        for path in self.own_tree():
            os.mkdir(path, DIRECTORY_MODE)  # noqa: PTH102 - pathlib is slow to import
        self.job.barrier()
        self.rates["Tree creation"] = self.settings.directories / (monotonic() - start)

    def remove_tree(self) -> None:
        """Undo `make_tree`."""
        self.job.barrier()
        start = monotonic()
        for path in reversed(self.own_tree()):
            os.rmdir(path)  # noqa: PTH106
        self.job.barrier()
        self.rates["Tree removal"] = self.settings.directories / (monotonic() - start)
        if self.job.rank == 0:
            os.rmdir(self.top)  # noqa: PTH106
            if self.made_root:
                os.rmdir(self.settings.directory)  # noqa: PTH106

    def own_tree(self) -> list[str]:
        """The directories that this rank makes, parents first."""
        if not self.settings.unique and self.job.rank:
            return []
        return [f"{self.top}/{path}" for path in self.tree(self.job.rank).paths]


def _make(path: str) -> bool:
    """Make a directory; False if it was there."""
    try:
        os.mkdir(path, DIRECTORY_MODE)  # noqa: PTH102
    except FileExistsError:
        return False
    return True


# The loops below are what is timed: names are bound outside, and nothing is done that mdtest does not do.


def make_directories(paths: Iterable[bytes]) -> None:
    """Make each."""
    mkdir = os.mkdir
    for path in paths:
        mkdir(path, DIRECTORY_MODE)


def remove_directories(paths: Iterable[bytes]) -> None:
    """Remove each."""
    rmdir = os.rmdir
    for path in paths:
        rmdir(path)


def remove_files(paths: Iterable[bytes]) -> None:
    """Remove each."""
    unlink = os.unlink
    for path in paths:
        unlink(path)


def stat_all(paths: Iterable[bytes]) -> None:
    """Stat each."""
    stat = os.stat
    for path in paths:
        stat(path)


def create_files(paths: Iterable[bytes], data: bytes) -> None:
    """Create each as mdtest does, open for reading and writing, write the data if there is any, and close it."""
    create, close, write = os.open, os.close, os.pwrite
    flags = os.O_RDWR | os.O_CREAT
    length = len(data)
    for path in paths:
        file = create(path, flags, FILE_MODE)
        if length:
            try:
                if write(file, data, 0) != length:
                    raise common.KernelError(f"{os.fsdecode(path)}: written in part")
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from None
        close(file)


def read_files(paths: Iterable[bytes], length: int, expected: bytes = b"") -> None:
    """Open each as mdtest does, for reading and writing, read its first bytes if any are asked for, and close it; with
    `expected`, these are what must be read."""
    open_, close, read = os.open, os.close, os.preadv
    flags = os.O_RDWR
    buffers = [mmap.mmap(-1, length)] if length else []
    for path in paths:
        file = open_(path, flags)
        if length:
            try:
                if read(file, buffers, 0) != length:
                    raise common.KernelError(f"{os.fsdecode(path)}: shorter than {length} bytes")
                if expected and buffers[0][:] != expected:
                    raise common.KernelError(f"{os.fsdecode(path)}: incorrect data on read")
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from None
        close(file)


def table(settings: Settings, rates: dict[str, float]) -> str:
    """The table of rates as mdtest prints it; what was not run is zero."""
    lines = [
        "SUMMARY rate (in ops/sec): (of 1 iterations)",
        "   Operation                     Max            Min           Mean        Std Dev",
        "   ---------                     ---            ---           ----        -------",
    ]
    rows = [row for kind in settings.kinds for row in ROWS[kind].values()]
    for row in [*rows, "Tree creation", "Tree removal"]:
        rate = rates.get(row, 0.0)
        lines.append(f"   {row:<22} {rate:14.3f} {rate:14.3f} {rate:14.3f} {0.0:14.3f}")
    return "\n".join(lines)


def main(job: common.Job, settings: Settings) -> None:
    """Run the phases asked for; rank 0 prints the table."""
    test = Mdtest(job, settings)
    job.ready()
    runs = [[phase] for phase in settings.phases] if settings.drop_caches else [settings.phases]
    for count, phases in enumerate(runs):
        if count:
            job.drop_caches()
        test.iteration(phases)
    job.over()
    if job.rank == 0:
        sys.stdout.write(f"mdtest-pliant was launched with {job.size} total task(s)\n")
        sys.stdout.write(f"Command line used: {' '.join(sys.argv)}\n")
        sys.stdout.write(f"{table(settings, test.rates)}\n")


if __name__ == "__main__":
    common.run(Settings, main)
