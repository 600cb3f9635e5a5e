"""Control groups of version 1, alone or beside an idle cgroup2 ("hybrid"): cgroup-v1/*.rst of the kernel."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .cgroup import Counter, DiskLimit, Trees, count, host_of, period_and_quota_us, remove_directory, removed, saving

CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "blkio")
"""Of v1, all of which are needed."""


@dataclass(frozen=True)
class CgroupV1(Trees):
    """v1 controllers, each mounted somewhere: `mounts` maps those of CONTROLLERS to their directories."""

    mounts: Mapping[str, Path]
    layout: str = "v1"

    @property
    def trees(self) -> tuple[Path, ...]:
        """The hierarchies that a process is put into; blkio is used at its root only."""
        return tuple(dict.fromkeys(self.mounts[name] for name in ("cpu", "cpuset", "cpuacct", "memory")))

    def _groups(self, group: str) -> Iterator[Path]:
        """The directories of a group, in the order in which a process enters them.

        Nodes have groups of their own where they are counted only. Where "cpu" and "cpuacct" are one hierarchy, as on
        older systems, they have them there as well. Those of hosts come first: a refold removes a node's, so that who
        was about to enter it begins anew, on its new host.
        """
        counted = {self.mounts["cpuacct"], self.mounts["memory"]}
        for tree in sorted(self.trees, key=lambda tree: tree in counted):
            yield tree / (group if tree in counted else host_of(group))

    def make(self, group: str) -> None:
        """See Cgroups. A new group of cpuset has no CPU and no memory, until it is given its parent's."""
        for directory in self._groups(group):
            directory.mkdir(exist_ok=True)
        directory = self.mounts["cpuset"] / host_of(group)
        for name in ("cpuset.cpus", "cpuset.mems"):
            own = directory / name
            if not (own.exists() and own.read_text().strip()):
                own.write_text((directory.parent / name).read_text().strip())

    def join_files(self, group: str) -> list[str]:
        """See Cgroups."""
        return [str(directory / "cgroup.procs") for directory in self._groups(group)]

    def confine(self, group: str, cpus: Collection[int]) -> None:
        """See Cgroups."""
        (self.mounts["cpuset"] / group / "cpuset.cpus").write_text(",".join(map(str, sorted(cpus))))

    def limit_cpu(self, group: str, cores: float | None) -> None:
        """See Cgroups."""
        directory = self.mounts["cpu"] / group
        period, quota = period_and_quota_us(cores)
        with saving(directory / "cpu.cfs_burst_us", quota):
            if quota is not None:
                (directory / "cpu.cfs_period_us").write_text(str(period))
            (directory / "cpu.cfs_quota_us").write_text(str(-1 if quota is None else quota))

    def go_first(self, group: str, on: bool) -> None:
        """See Cgroups. 1024 is the default, 256 times as much the most that there is (sched.h, MAX_SHARES)."""
        (self.mounts["cpu"] / group / "cpu.shares").write_text("262144" if on else "1024")

    def realtime_file(self) -> str:
        """See Cgroups."""
        return str(self.mounts["cpu"] / "cgroup.procs")

    def limit_memory(self, group: str, size_bytes: int | None) -> None:
        """See Cgroups. Swap would be memory beyond the limit; not every kernel counts it (memory.rst, swapaccount), but
        each lets a group go without."""
        directory, size = self.mounts["memory"] / group, str(-1 if size_bytes is None else size_bytes)
        both, swappiness = directory / "memory.memsw.limit_in_bytes", directory / "memory.swappiness"
        if size_bytes is None and both.exists():  # it is never less than the limit of memory alone
            both.write_text(size)
        (directory / "memory.limit_in_bytes").write_text(size)
        if size_bytes is not None and both.exists():
            both.write_text(size)
        if size_bytes is not None and swappiness.exists():
            swappiness.write_text("0")

    def out_of_memory(self, group: str) -> int:
        """See Cgroups."""
        return count(self.mounts["memory"] / group / "memory.oom_control", "oom_kill")

    def cpu_s(self, group: str) -> float:
        """See Cgroups."""
        return int((self.mounts["cpuacct"] / group / "cpuacct.usage").read_text()) / 1e9

    def throttled_s(self, group: str) -> float:
        """See Cgroups."""
        return count(self.mounts["cpu"] / group / "cpu.stat", "throttled_time") / 1e9

    def counters(self, group: str) -> Mapping[str, Counter]:
        """See Cgroups. Times are in nanoseconds (cpuacct.rst, sched-bwc.rst)."""
        stat = str(self.mounts["cpu"] / group / "cpu.stat")
        return {
            "cpu_s": Counter(str(self.mounts["cpuacct"] / group / "cpuacct.usage"), factor=1e-9),
            "throttled_s": Counter(stat, "throttled_time ", 1e-9),
            "periods": Counter(stat, "nr_periods "),
            "throttled_periods": Counter(stat, "nr_throttled "),
            "memory_bytes": Counter(str(self.mounts["memory"] / group / "memory.usage_in_bytes")),
        }

    def remove(self, group: str) -> None:
        """See Cgroups."""
        for tree in self.trees:
            for directory, _, _ in os.walk(tree / group, topdown=False):
                remove_directory(Path(directory))

    def remove_now(self, group: str) -> bool:
        """See Cgroups."""
        gone = [removed(directory) for directory in self._groups(group) if str(directory).endswith(f"/{group}")]
        return all(gone)

    def disk_limits(self, group: str) -> dict[str, DiskLimit]:
        """See Cgroups. v1 charges writeback to the root group, so only a limit there holds buffered writes back."""
        files = {kind: str(self.mounts["blkio"] / f"blkio.throttle.{kind}_bps_device") for kind in ("read", "write")}
        return {kind: DiskLimit(file, "{disk} {rate}", "0") for kind, file in files.items()}

    def lift_disks(self, disks: Iterable[str]) -> None:
        """See Cgroups. A limit of the root group stays with a loop device, and would surprise whoever gets it next."""
        for limit in self.disk_limits("").values():
            for disk in disks:
                Path(limit.file).write_text(limit.line.format(disk=disk, rate=limit.none) + "\n")
