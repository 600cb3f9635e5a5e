"""What the kernels share: command lines in the style of IOR, an MPI job that fails as one, dropping caches.

Imports nothing that is not needed in every run: each module imported costs a slow host tens of milliseconds per rank.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
import time
from array import array
from collections.abc import Callable, Mapping

TYPE_CHECKING = False  # that of `typing`, whose import is not worth its time here
if TYPE_CHECKING:
    from typing import TypeVar

    from mpi4py import MPI

    Settings = TypeVar("Settings")

Options = dict[str, str]

_SUFFIXES = {"k": 10, "m": 20, "g": 30, "t": 40}
WAIT = "--wait"
"""An option that every kernel has: say `ready` when all ranks are there, and begin when rank 0 finds a line on its
standard input; say `over` when nothing more is measured. What a host takes to start a program, and to end it, is no
part of what is measured: it may do that without limits, which are put on while it waits, and off when it is over."""
_SPINS = 200
_PAUSE_S, _LONGEST_PAUSE_S, _LONGER = 0.0001, 0.002, 1.02
"""A rank that waits looks after ever longer pauses, of 2 % of its waiting: if it did so ten thousand times a second, a
dozen would take a slow host's CPU from the file system."""
_LAST_WORDS_S = 0.5
_NAME_BYTES = 64


class UsageError(Exception):
    """The command line is not one that the kernel understands; its text is one sentence."""


class KernelError(Exception):
    """The job must fail; its text says why."""


def parse_options(argv: list[str], flags: str, values: str, long: tuple[str, ...] = ()) -> Options:
    """Options by name, as IOR's programs take them: `-b 16m` or `-b=16m`, flags one by one, anywhere once.

    `flags` and `values` list the letters of the options without and with a value; `long` the flags of form `--name`.
    A flag's value is the number of times it was given; the values of several -O are joined. Raises UsageError.
    """
    found: Options = {}
    words = iter(argv)
    for word in words:
        name, assigned, value = word.partition("=")
        letter = name[1:] if len(name) == 2 and name[0] == "-" else ""
        if letter and letter in values:
            if not assigned:
                value = next(words, "")
            if not value:
                raise UsageError(f"{name} needs a value")
            found[letter] = f"{found[letter]},{value}" if letter == "O" and letter in found else value
        elif not assigned and letter and letter in flags:
            found[letter] = str(int(found.get(letter, "0")) + 1)
        elif word in (*long, WAIT):
            found[word] = "1"
        else:
            raise UsageError(f"unknown option {word!r}")
    return found


def size(text: str) -> int:
    """Bytes from a size as IOR's programs write it: a whole number with k, m, g or t (powers of 1024) after it."""
    shift = _SUFFIXES.get(text[-1:].lower(), 0)
    return number(text[:-1] if shift else text) << shift


def number(text: str) -> int:
    """A whole number that is not negative; UsageError for anything else."""
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{text!r} is not a number")
    return int(text)


def only(options: Mapping[str, str], name: str, allowed: str) -> None:
    """UsageError if the option is given with another value than the one the kernel implements."""
    if options.get(name, allowed) != allowed:
        raise UsageError(f"-{name} {options[name]} is not implemented, only -{name} {allowed}")


class Job:
    """The MPI job this process is a rank of. Its waits sleep, so that a rank that is done leaves the CPU to others."""

    def __init__(self, waits: bool = False) -> None:
        import mpi4py  # not before the command line was found right: it takes a tenth of a second

        mpi4py.rc.threads = False
        from mpi4py import MPI

        self._mpi = MPI
        self.comm: MPI.Intracomm = MPI.COMM_WORLD
        self.rank = self.comm.rank
        self.size = self.comm.size
        self.host = os.uname().nodename
        self._waits = waits

    def barrier(self) -> None:
        """Wait for all ranks. MPI's own barrier polls, and would burn the CPU share of a file system's daemons."""
        request = self.comm.Ibarrier()
        spins, pause_s = 0, _PAUSE_S
        while not request.Test():
            spins += 1
            if spins > _SPINS:
                time.sleep(pause_s)
                pause_s = min(_LONGER * pause_s, _LONGEST_PAUSE_S)

    def ready(self) -> None:
        """With WAIT, wait for all ranks, and for the line that lets them begin; the end of the input will do."""
        if not self._waits:
            return
        self.barrier()
        if self.rank == 0:
            say("ready\n")
            sys.stdin.readline()
        self.barrier()

    def over(self) -> None:
        """With WAIT, say that nothing more is measured."""
        if self._waits and self.rank == 0:
            say("over\n")

    def begins(self, operation: str) -> None:
        """Wait for all ranks, and have rank 0 say when an operation began, as `workloads.model.under_way` reads it.

        The barrier is not the one that an operation is timed from, so that nothing that is timed has to be printed.
        """
        self.barrier()
        if self.rank == 0:
            say(f"begin {operation} {time.monotonic():.6f}\n")

    def ended(self, operation: str, window: tuple[float, float], value: str) -> None:
        """Have rank 0 say of an operation when it took place, and the value of its metric."""
        if self.rank == 0:
            say(f"{window_lines({operation: window})}result {operation} {value}\n")

    def minima(self, values: list[float]) -> list[float]:
        """Element by element, the smallest over all ranks."""
        return self._reduce(values, self._mpi.MIN)

    def maxima(self, values: list[float]) -> list[float]:
        """Element by element, the largest over all ranks."""
        return self._reduce(values, self._mpi.MAX)

    def total(self, value: int) -> int:
        """The sum over all ranks of a whole number below 2^63."""
        summed = array("q", [0])
        self.comm.Allreduce(array("q", [value]), summed, self._mpi.SUM)
        return summed[0]

    def first(self, value: int) -> int:
        """The value that rank 0 has."""
        shared = array("q", [value])
        self.comm.Bcast(shared, 0)
        return shared[0]

    def _reduce(self, values: list[float], operation: MPI.Op) -> list[float]:
        reduced = array("d", values)
        self.comm.Allreduce(array("d", values), reduced, operation)
        return reduced.tolist()

    def names(self, name: str) -> list[str]:
        """The name each rank gives, by rank; at most 64 bytes are kept."""
        mine = name.encode()[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0")
        theirs = bytearray(_NAME_BYTES * self.size)
        self.comm.Allgather(mine, theirs)
        fields = (theirs[i : i + _NAME_BYTES] for i in range(0, len(theirs), _NAME_BYTES))
        return [field.rstrip(b"\0").decode() for field in fields]

    def shared(self, mine: list[bytes]) -> list[bytes]:
        """What all ranks have, rank by rank: texts without a newline, of which none is empty."""
        text = b"\n".join(mine)
        self.barrier()  # which sleeps, where MPI's own waiting polls
        lengths = array("q", [0]) * self.size
        self.comm.Allgather(array("q", [len(text)]), lengths)
        theirs = bytearray(sum(lengths))
        self.comm.Allgatherv(text, [theirs, lengths.tolist()])
        starts = [sum(lengths[:rank]) for rank in range(self.size)]
        parts = [theirs[start : start + length] for start, length in zip(starts, lengths, strict=True)]
        return [each for part in parts if part for each in bytes(part).split(b"\n")]

    def hosts(self) -> list[str]:
        """The node that each rank runs in, by rank."""
        return self.names(self.host)

    def drop_caches(self) -> None:
        """Write back what is dirty and empty the page cache, once in each kernel that the ranks run on."""
        kernels = self.names(_kernel_id())
        self.barrier()
        if kernels.index(kernels[self.rank]) == self.rank:
            os.sync()
            try:
                with open("/proc/sys/vm/drop_caches", "w") as file:  # noqa: PTH123 - pathlib is slow to import
                    file.write("3")
            except OSError as error:
                raise KernelError(f"cannot drop the page cache: {describe(error)}") from error
        self.barrier()

    def abort(self, reason: str) -> None:
        """End the whole job with exit status 1, wherever the other ranks are; does not return."""
        sys.stderr.write(f"error: rank {self.rank} on {self.host}: {reason}\n")
        sys.stderr.flush()
        time.sleep(_LAST_WORDS_S)  # mpiexec may drop what it has not yet forwarded when the job is aborted
        self.comm.Abort(1)


def ranks_to_next_node(hosts: list[str]) -> int:
    """How many ranks further a rank of the next node is, by which IOR and mdtest shift, whatever the mapping is.

    With ranks dealt out in blocks (0 and 1 in one node) it is the number of ranks in the node of rank 0, else 1.
    """
    return hosts.count(hosts[0]) if len(hosts) > 1 and hosts[1] == hosts[0] else 1


def sync_filesystem(path: str) -> None:
    """Write back all that this node's mount holds of the file system that a path is on, by `sync -f`.

    mdtest runs `sync`, which would do so of every file system of the kernel: nodes of one machine share that, so that
    it would wait for others' disks.
    """
    process = os.posix_spawnp("sync", ["sync", "-f", path], os.environ)
    _, status = os.waitpid(process, 0)
    if status:
        raise KernelError(f"sync -f {path} ended with status {os.waitstatus_to_exitcode(status)}")


def _kernel_id() -> str:
    """An identity of the running kernel: nodes that are namespaces of one machine share its page cache."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return os.uname().nodename


def describe(error: OSError) -> str:
    """`path: text (ERRNO)` of an error of the operating system."""
    code = errno.errorcode.get(error.errno or 0, str(error.errno))
    name = os.fsdecode(error.filename) if error.filename else "?"
    return f"{name}: {error.strerror} ({code})"


def say(text: str) -> None:
    """Print something now: who reads it must know how far the job is, also if it never ends."""
    sys.stdout.write(text)
    sys.stdout.flush()


def window_lines(windows: Mapping[str, tuple[float, float]]) -> str:
    """When each operation began and ended, as `workloads.model.windows` reads it; in seconds of CLOCK_MONOTONIC.

    That clock is the kernel's, so that nodes of one machine and whoever samples them agree on it.
    """
    return "".join(f"window {name} {begin:.6f} {end:.6f}\n" for name, (begin, end) in windows.items())


def pattern(rank: int, seed: int, length: int) -> bytes:
    """The data IOR writes by default: 64-bit words, the upper half the rank, the lower half counting up from `seed`.

    Bytes beyond the last whole word count up from the length of what is before them.
    """
    words, rest = divmod(length, 8)
    start = (rank << 32) + seed
    tail = bytes((8 * words + i) & 0xFF for i in range(rest))
    return array("Q", range(start, start + words)).tobytes() + tail


def run(parse: Callable[[list[str]], Settings], main: Callable[[Job, Settings], None]) -> None:
    """Parse the command line (exit status 2 if it is wrong), join the job and run `main`; errors there end the job."""
    try:
        settings = parse(sys.argv[1:])
    except UsageError as error:
        if os.environ.get("PMI_RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "0")) == "0":
            sys.stderr.write(f"{sys.argv[0]}: {error}\n")
        raise SystemExit(2) from None
    gc.disable()  # nothing here makes cycles, and a collection in a timed region is noise
    job = Job(WAIT in sys.argv)
    try:
        main(job, settings)
        sys.stdout.flush()
    except OSError as error:
        job.abort(describe(error))
    except KernelError as error:
        job.abort(str(error))
    except BaseException as error:
        job.abort(f"{type(error).__name__}: {error}")
        raise
