"""Control groups: one interface over the kernel's layouts, and what they have in common.

A deployment has one tree: `pliant-ID/` with `base` for what belongs to no host, and `host-N/NODE` for each node. Limits
are set on `host-N`, so that its nodes share them work-conservingly. The layouts are in
`cgroup_v1` and `cgroup_v2`; `cgroups` tells which one a machine has.

To the scheduler a host is one group: its nodes' processes take turns as those of a real machine do. Were each node a
group of its own below a host with a quota, kernel 6.18 would let some of them starve for ever: of four busy nodes on
one CPU two got all of it, and the fourth nothing in six seconds.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PERIOD_US = 10_000
"""CFS period. The kernel's default of 100 ms makes stalls of 80 ms at a quota of 0.2 core; 10 ms keeps them short."""


class CgroupError(Exception):
    """The machine's control groups cannot do what is asked; the text is one sentence."""


@dataclass(frozen=True)
class DiskLimit:
    """A file of the kernel, the line that sets a device's limit in bytes/s there, and what stands for no limit."""

    file: str
    line: str
    none: str


@dataclass(frozen=True)
class Counter:
    """A number that the kernel keeps in a file: what follows the first `key` there, or, without one, all of it.

    Times `factor` it is in seconds or bytes.
    """

    file: str
    key: str = ""
    factor: float = 1.0


def host_of(group: str) -> str:
    """The group of the host that a node's group belongs to; any other group itself.

    >>> host_of("pliant-ab/host-1/server1"), host_of("pliant-ab/host-1"), host_of("pliant-ab")
    ('pliant-ab/host-1', 'pliant-ab/host-1', 'pliant-ab')
    """
    return "/".join(group.split("/")[:2])


class Cgroups(Protocol):
    """What the machine layer asks of control groups. Paths of groups are relative: "pliant-ID/host-1/server1"."""

    @property
    def layout(self) -> str:
        """Which layout it is: "v1", "hybrid" or "v2"."""

    def make(self, group: str) -> None:
        """Create a group (its parents exist) in every controller that is used."""

    def join_files(self, group: str) -> list[str]:
        """The files into which a process writes its PID to enter the group."""

    def limit_cpu(self, group: str, cores: float | None) -> None:
        """At most this many CPUs' worth of time for the group; None: no limit."""

    def confine(self, group: str, cpus: Collection[int]) -> None:
        """These CPUs only, for a host's group."""

    def go_first(self, group: str, on: bool) -> None:
        """Whether a deployment's group comes before what else runs on the machine, as far as its limits let it."""

    def realtime_file(self) -> str:
        """The file by which a process enters the group in which it may have real-time priority."""

    def limit_memory(self, group: str, size_bytes: int | None) -> None:
        """At most this much memory, page cache included."""

    def out_of_memory(self, group: str) -> int:
        """How many processes of a group, those of groups below it not among them, the kernel has killed as a limit of
        memory was reached, its own or that of a group above it."""

    def cpu_s(self, group: str) -> float:
        """CPU seconds used by the group and those below it since it was made."""

    def throttled_s(self, group: str) -> float:
        """Seconds for which the group had work but no quota."""

    def counters(self, group: str) -> Mapping[str, Counter]:
        """Where the kernel counts what a group uses, for those who read it often; see `sampler`.

        "cpu_s", "throttled_s" as above; "periods" of the quota in which it had work and "throttled_periods" in which
        the quota did not suffice; "memory_bytes" now; v2 also "cpu_pressure_s", "io_pressure_s", "memory_pressure_s":
        for how long some process of it waited. A kernel may lack some of the files.
        """

    def pids(self, group: str) -> list[int]:
        """Processes in the group and those below it."""

    def groups(self) -> list[str]:
        """The top-level groups of all deployments on this machine: "pliant-ID"."""

    def sign(self, group: str, whose: str) -> None:
        """Write on a deployment's group whose it is, where the kernel lets one."""

    def whose(self, group: str) -> str:
        """What was written on a deployment's group; "" if nothing."""

    def remove(self, group: str) -> None:
        """Remove an empty group and those below it; what is not there is fine, what cannot be removed is an error."""

    def remove_now(self, group: str) -> bool:
        """Remove a group without children if nobody is in it; whether it is gone."""

    def disk_limits(self, group: str) -> dict[str, DiskLimit]:
        """How to limit "read" and "write" of a block device for the group of a host; see `diskshare`."""

    def lift_disks(self, disks: Iterable[str]) -> None:
        """Lift the limits of block devices ("MAJOR:MINOR") that would outlive their deployment."""


_WHOSE = "trusted.pliant.whose"
"""An extended attribute (xattr(7)): control groups have no other place for a text."""


class Trees:
    """What is the same in every layout: `trees` are the directories below which a deployment's groups are. See
    Cgroups."""

    @property
    def trees(self) -> tuple[Path, ...]:
        """One for each hierarchy that a process is put into."""
        raise NotImplementedError

    def pids(self, group: str) -> list[int]:
        """See Cgroups."""
        found: set[int] = set()
        for tree in self.trees:
            for directory, _, _ in os.walk(tree / group):
                # The group may go meanwhile.
                with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs", encoding="ascii") as file:
                    found.update(map(int, file.read().split()))
        return sorted(found)

    def groups(self) -> list[str]:
        """See Cgroups."""
        return sorted({path.name for tree in self.trees for path in tree.glob("pliant-*")})

    def sign(self, group: str, whose: str) -> None:
        """See Cgroups. In a user namespace nobody may."""
        for tree in self.trees:
            with contextlib.suppress(OSError):
                os.setxattr(tree / group, _WHOSE, whose.encode())

    def whose(self, group: str) -> str:
        """See Cgroups."""
        for tree in self.trees:
            with contextlib.suppress(OSError):
                return os.getxattr(tree / group, _WHOSE).decode()
        return ""


def count(file: Path, name: str) -> int:
    """What a file of the kernel's counts by a name, in lines of a name and a number; 0 where there is none."""
    return int(dict(line.split() for line in file.read_text().splitlines()).get(name, 0))


def period_and_quota_us(cores: float | None) -> tuple[int, int | None]:
    """CFS period and quota for a number of cores; quota None is no limit.

    The kernel refuses quotas below 1 ms, so the period of very small hosts is stretched, to a second at the most.
    """
    if cores is None:
        return PERIOD_US, None
    period = PERIOD_US if cores * PERIOD_US >= 1000 else min(1_000_000, round(1000 / cores))
    return period, max(1000, round(cores * PERIOD_US))


@contextlib.contextmanager
def saving(burst: Path, quota_us: int | None) -> Iterator[None]:
    """Around writing a group's quota: what it leaves of one period, up to half, it may use in the next.

    A CPU on which something of the group runs for a moment takes up to 5 ms of the quota (sched_cfs_bandwidth_slice_us)
    from the others and gives it back too late. One busy process got between 0.90 and 1.00 of a host of 1 core because
    of that, and 1.00 with this. Kernels before 5.14 do not know it.
    """
    known = burst.exists()
    if known:  # it may not be more than the quota at any time
        burst.write_text("0")
    yield
    if known and quota_us is not None:
        burst.write_text(str(quota_us // 2))


def removed(directory: Path) -> bool:
    """Remove one group if nobody is in it; whether it is gone."""
    try:
        directory.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remove_directory(directory: Path, deadline_s: float = 5.0) -> None:
    """Remove one group; a process that just died can keep it busy for some milliseconds."""
    until = time.monotonic() + deadline_s
    while True:
        try:
            directory.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > until:
                raise CgroupError(f"{directory}: cannot be removed: {error.strerror}") from error
            time.sleep(0.01)


def kill_all(find: Callable[[], Iterable[int]], until: float) -> list[int]:
    """Kill what `find` finds until it finds nothing; what is left at a moment of `time.monotonic`, in order."""
    while found := sorted(find()):
        if time.monotonic() > until:
            return found
        kill(found)
        time.sleep(0.005)
    return []


def kill(pids: list[int]) -> None:
    """SIGKILL for each; those that have gone meanwhile are fine."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
