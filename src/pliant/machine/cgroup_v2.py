"""Control groups, the unified layout (v2): Documentation/admin-guide/cgroup-v2.rst in the kernel.

Processes live in the leaves of a deployment's tree only, as v2 demands. Writing back is charged to the group that
dirtied the pages, so a disk's limit on the deployment's group holds for buffered writes as well.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .cgroup import (
    CgroupError,
    Counter,
    DiskLimit,
    Trees,
    count,
    host_of,
    period_and_quota_us,
    remove_directory,
    removed,
    saving,
)

CONTROLLERS = ("cpu", "cpuset", "memory", "io")
_COUNTING = ("memory", "io")
"""What a host hands on to its nodes: not "cpu", as to the scheduler a host is one group (see `cgroup`). What CPU time a
group used is counted without it (cpu.stat)."""


def _busy(group: Path) -> str:
    """Why a group cannot hand on controllers, as in a container whose processes are in its topmost group, and what
    helps: cgroup-v2.rst, "No Internal Process Constraint"."""
    move = f"for p in $(cat {group}/cgroup.procs); do echo $p > {group}/init/cgroup.procs; done"
    return (
        f"processes run in the control group {group} itself, so that it can have no groups with limits below it; move "
        f"them into one of their own: mkdir {group}/init; {move}"
    )


@dataclass(frozen=True)
class CgroupV2(Trees):
    """The unified hierarchy, mounted at `root`."""

    root: Path
    layout: str = "v2"

    @property
    def trees(self) -> tuple[Path, ...]:
        """See Trees."""
        return (self.root,)

    def make(self, group: str) -> None:
        """See Cgroups. A group has the controllers that its parent hands on."""
        directory = self.root / group
        handing_on = directory.parent / "cgroup.subtree_control"
        wanted = CONTROLLERS if host_of(group) == group else _COUNTING
        lacking = set(wanted) - set(handing_on.read_text().split())
        if lacking:
            try:
                handing_on.write_text(" ".join(f"+{name}" for name in wanted if name in lacking))
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                raise CgroupError(_busy(directory.parent)) from error
        directory.mkdir(exist_ok=True)

    def join_files(self, group: str) -> list[str]:
        """See Cgroups."""
        return [str(self.root / group / "cgroup.procs")]

    def limit_cpu(self, group: str, cores: float | None) -> None:
        """See Cgroups."""
        period, quota = period_and_quota_us(cores)
        directory = self.root / group
        with saving(directory / "cpu.max.burst", quota):
            (directory / "cpu.max").write_text(f"{'max' if quota is None else quota} {period}")

    def confine(self, group: str, cpus: Collection[int]) -> None:
        """See Cgroups."""
        (self.root / group / "cpuset.cpus").write_text(",".join(map(str, sorted(cpus))))

    def go_first(self, group: str, on: bool) -> None:
        """See Cgroups. The default is 100, the most 10000."""
        (self.root / group / "cpu.weight").write_text("10000" if on else "100")

    def realtime_file(self) -> str:
        """See Cgroups."""
        return str(self.root / "cgroup.procs")

    def limit_memory(self, group: str, size_bytes: int | None) -> None:
        """See Cgroups. Swap would be memory beyond the limit."""
        directory = self.root / group
        (directory / "memory.max").write_text("max" if size_bytes is None else str(size_bytes))
        if (directory / "memory.swap.max").exists():
            (directory / "memory.swap.max").write_text("max" if size_bytes is None else "0")

    def out_of_memory(self, group: str) -> int:
        """See Cgroups. Linux 5.2 and later tell of a group by itself; in one without others below it, that is all."""
        files = [self.root / group / f"memory.events{kind}" for kind in (".local", "")]
        return next((count(file, "oom_kill") for file in files if file.exists()), 0)

    def cpu_s(self, group: str) -> float:
        """See Cgroups."""
        return count(self.root / group / "cpu.stat", "usage_usec") / 1e6

    def throttled_s(self, group: str) -> float:
        """See Cgroups."""
        return count(self.root / group / "cpu.stat", "throttled_usec") / 1e6

    def counters(self, group: str) -> Mapping[str, Counter]:
        """See Cgroups. Times are in microseconds; the first line of a pressure file is "some" (psi.rst)."""
        directory = self.root / group
        stat = str(directory / "cpu.stat")
        return {
            "cpu_s": Counter(stat, "usage_usec ", 1e-6),
            "throttled_s": Counter(stat, "throttled_usec ", 1e-6),
            "periods": Counter(stat, "nr_periods "),
            "throttled_periods": Counter(stat, "nr_throttled "),
            "memory_bytes": Counter(str(directory / "memory.current")),
            **{
                f"{what}_pressure_s": Counter(str(directory / f"{what}.pressure"), "total=", 1e-6)
                for what in ("cpu", "io", "memory")
            },
        }

    def remove(self, group: str) -> None:
        """See Cgroups."""
        for directory, _, _ in os.walk(self.root / group, topdown=False):
            remove_directory(Path(directory))

    def remove_now(self, group: str) -> bool:
        """See Cgroups."""
        return removed(self.root / group)

    def disk_limits(self, group: str) -> dict[str, DiskLimit]:
        """See Cgroups. The limit is set on the deployment's group, that of all its hosts.

        It means the same there, as a loop device is one node's disk. And it holds after a refold, when the kernel goes
        on for a while to charge the writing back of an inode to the former host's group (cgroup-v2.rst, "Writeback":
        who owns an inode is changed only after others have dirtied most of it for some time).
        """
        file = str(self.root / group.split("/")[0] / "io.max")
        return {kind: DiskLimit(file, f"{{disk}} {kind[0]}bps={{rate}}", "max") for kind in ("read", "write")}

    def lift_disks(self, disks: Iterable[str]) -> None:
        """See Cgroups. Here a limit goes with its group."""
