"""Control groups: values in a tree like the kernel's, and layouts by recorded mount tables."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.machine import cgroup, cgroup_v1
from pliant.machine.cgroup import CgroupError, Counter
from pliant.machine.cgroup_v1 import CgroupV1
from pliant.machine.cgroups import probe

FILES = {
    "cpu": {
        "cpu.cfs_burst_us": "0\n",
        "cpu.cfs_period_us": "100000\n",
        "cpu.cfs_quota_us": "-1\n",
        "cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
    },
    "cpuacct": {"cpuacct.usage": "0\n"},
    "cpuset": {"cpuset.cpus": "\n", "cpuset.mems": "\n"},
    "memory": {"memory.limit_in_bytes": "9223372036854771712\n", "memory.usage_in_bytes": "4096\n"},
    "blkio": {"blkio.throttle.read_bps_device": "", "blkio.throttle.write_bps_device": ""},
}
"""What the kernel puts into each new group."""


class Tree:
    """A tree of control groups without a kernel: `fill` makes the files that the kernel would."""

    def __init__(self, root: Path, *, together: bool = False) -> None:
        directory = {name: root / ("cpu,cpuacct" if together and name.startswith("cpu") else name) for name in FILES}
        for path in directory.values():
            path.mkdir(exist_ok=True)
        self.groups = CgroupV1(directory)
        self.fill("")
        self.put("cpuset", "cpuset.cpus", "0-1\n")
        self.put("cpuset", "cpuset.mems", "0\n")

    def fill(self, group: str) -> None:
        for controller, files in FILES.items():
            path = self.groups.mounts[controller] / group
            if path.is_dir():
                (path / "cgroup.procs").touch()
                for name, text in files.items():
                    (path / name).write_text(text)

    def make(self, *names: str) -> None:
        for name in names:
            self.groups.make(name)
            self.fill(name)

    def empty(self, group: str) -> None:
        """rmdir(2) on a cgroup ignores its files; on a directory it does not."""
        for tree in set(self.groups.mounts.values()):
            for file in (tree / group).glob("*.*"):
                file.unlink()

    def read(self, controller: str, file: str) -> str:
        return (self.groups.mounts[controller] / file).read_text()

    def put(self, controller: str, file: str, text: str) -> None:
        (self.groups.mounts[controller] / file).write_text(text)


@pytest.fixture(params=[False, True], ids=["apart", "cpu,cpuacct"])
def tree(request, tmp_path):
    return Tree(tmp_path, together=request.param)


def test_a_group_is_made_where_processes_go(tree, tmp_path):
    tree.make("pliant-ab", "pliant-ab/host-1")
    for controller in ("cpu", "cpuacct", "memory"):
        assert (tree.groups.mounts[controller] / "pliant-ab/host-1").is_dir()
    assert not (tmp_path / "blkio/pliant-ab").exists()
    tree.groups.make("pliant-ab")  # again is fine
    with pytest.raises(FileNotFoundError):
        tree.groups.make("nobody/host-1")


def test_a_process_enters_each_hierarchy_once(tree):
    every = ("cpu", "cpuacct", "cpuset", "memory")
    expected = sorted({str(tree.groups.mounts[c] / "g/cgroup.procs") for c in every})
    assert sorted(tree.groups.join_files("g")) == expected


def test_to_the_scheduler_a_host_is_one_group(tmp_path):
    """And a process enters those of its host first: a refold removes the node's, so that it begins anew."""
    tree = Tree(tmp_path)
    tree.make("pliant-ab", "pliant-ab/host-1", "pliant-ab/host-1/server1")
    names = {name: path.relative_to(tmp_path) for name, path in tree.groups.mounts.items()}
    assert [Path(file).relative_to(tmp_path) for file in tree.groups.join_files("pliant-ab/host-1/server1")] == [
        names["cpu"] / "pliant-ab/host-1/cgroup.procs",
        names["cpuset"] / "pliant-ab/host-1/cgroup.procs",
        names["cpuacct"] / "pliant-ab/host-1/server1/cgroup.procs",
        names["memory"] / "pliant-ab/host-1/server1/cgroup.procs",
    ]
    assert not (tree.groups.mounts["cpu"] / "pliant-ab/host-1/server1").exists()


def test_a_new_group_has_its_parents_cpus_and_memory_and_a_host_is_kept_on_its_own(tree):
    tree.groups.make("pliant-ab")
    assert tree.read("cpuset", "pliant-ab/cpuset.cpus") == "0-1"
    assert tree.read("cpuset", "pliant-ab/cpuset.mems") == "0"
    tree.groups.make("pliant-ab/host-1")
    tree.groups.confine("pliant-ab/host-1", [1])
    tree.groups.make("pliant-ab/host-1/server1")
    assert tree.read("cpuset", "pliant-ab/host-1/cpuset.cpus") == "1"
    tree.groups.confine("pliant-ab/host-1", {1, 0})
    assert tree.read("cpuset", "pliant-ab/host-1/cpuset.cpus") == "0,1"


def test_hosts_come_first_while_they_are_limited(tree):
    tree.make("pliant-ab")
    tree.groups.go_first("pliant-ab", True)
    assert tree.read("cpu", "pliant-ab/cpu.shares") == "262144"
    tree.groups.go_first("pliant-ab", False)
    assert tree.read("cpu", "pliant-ab/cpu.shares") == "1024"


def test_processes_with_real_time_priority_are_in_the_root_group(tree):
    assert tree.groups.realtime_file() == str(tree.groups.mounts["cpu"] / "cgroup.procs")


@pytest.mark.parametrize(
    ("cores", "period", "quota"),
    [
        (0.2, 10_000, 2_000),
        (0.1, 10_000, 1_000),
        (0.05, 20_000, 1_000),
        (0.01, 100_000, 1_000),
        (0.03, 33_333, 1_000),
        (1, 10_000, 10_000),
        (4, 10_000, 40_000),
        (0.333, 10_000, 3_330),
        (1.5, 10_000, 15_000),
    ],
)
def test_cpu_limits(tree, cores, period, quota):
    tree.make("g")
    tree.groups.limit_cpu("g", cores)
    assert int(tree.read("cpu", "g/cpu.cfs_period_us")) == period
    assert int(tree.read("cpu", "g/cpu.cfs_quota_us")) == quota
    assert int(tree.read("cpu", "g/cpu.cfs_burst_us")) == quota // 2


def test_cpu_limits_of_a_kernel_that_saves_no_quota(tree):
    tree.make("g")
    (tree.groups.mounts["cpu"] / "g/cpu.cfs_burst_us").unlink()
    tree.groups.limit_cpu("g", 0.2)
    assert tree.read("cpu", "g/cpu.cfs_quota_us") == "2000"
    assert not (tree.groups.mounts["cpu"] / "g/cpu.cfs_burst_us").exists()


@given(st.floats(0.01, 256))
def test_cpu_limits_are_what_was_asked_and_what_the_kernel_takes(tmp_path_factory, cores):
    tree = Tree(tmp_path_factory.mktemp("cg"))
    tree.make("g")
    tree.groups.limit_cpu("g", cores)
    period, quota = (int(tree.read("cpu", f"g/cpu.cfs_{what}_us")) for what in ("period", "quota"))
    # Documentation/scheduler/sched-bwc.rst: both at least 1 ms, the period at most 1 s.
    assert 1000 <= period <= 1_000_000
    assert quota >= 1000
    assert quota / period == pytest.approx(cores, rel=0.001)


def test_the_cpu_limit_is_lifted(tree):
    tree.make("g")
    tree.groups.limit_cpu("g", 0.2)
    tree.groups.limit_cpu("g", None)
    assert tree.read("cpu", "g/cpu.cfs_quota_us") == "-1"
    assert tree.read("cpu", "g/cpu.cfs_burst_us") == "0"


@pytest.mark.parametrize(("size", "written"), [(2**30, "1073741824"), (None, "-1")])
def test_memory_limits(tree, size, written):
    tree.make("g")
    tree.groups.limit_memory("g", size)
    assert tree.read("memory", "g/memory.limit_in_bytes") == written


def test_what_is_beyond_a_hosts_memory_is_not_swapped(tree):
    """As with v2: where swapping is counted there is none, and where it is not the group goes without."""
    tree.make("g")
    tree.put("memory", "g/memory.memsw.limit_in_bytes", "-1\n")
    tree.put("memory", "g/memory.swappiness", "60\n")
    tree.groups.limit_memory("g", 2**30)
    assert tree.read("memory", "g/memory.memsw.limit_in_bytes") == str(2**30)
    assert tree.read("memory", "g/memory.swappiness") == "0"
    tree.groups.limit_memory("g", None)
    assert tree.read("memory", "g/memory.memsw.limit_in_bytes") == "-1"


def test_what_a_group_used(tree):
    tree.make("g")
    tree.put("cpuacct", "g/cpuacct.usage", "12345678901\n")
    tree.put("cpu", "g/cpu.stat", "nr_periods 90\nnr_throttled 12\nthrottled_time 2500000000\n")
    assert tree.groups.cpu_s("g") == pytest.approx(12.345678901)
    assert tree.groups.throttled_s("g") == pytest.approx(2.5)
    tree.put("cpu", "g/cpu.stat", "nr_periods 0\n")
    assert tree.groups.throttled_s("g") == 0


def test_whom_the_kernel_killed_for_want_of_memory(tree):
    tree.make("g")
    tree.put("memory", "g/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert tree.groups.out_of_memory("g") == 3
    tree.put("memory", "g/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n")  # before Linux 4.13
    assert tree.groups.out_of_memory("g") == 0


def counted(counter: Counter) -> float:
    """What a counter says, read as its docstring lays it down."""
    text = Path(counter.file).read_text()
    assert counter.key in text
    return int(text.partition(counter.key)[2].split()[0] if counter.key else text) * counter.factor


def test_where_the_kernel_counts_what_a_group_uses(tree):
    tree.make("g")
    tree.put("cpuacct", "g/cpuacct.usage", "12345678901\n")
    tree.put("cpu", "g/cpu.stat", "nr_periods 90\nnr_throttled 12\nthrottled_time 2500000000\nnr_bursts 7\n")
    tree.put("memory", "g/memory.usage_in_bytes", "33554432\n")
    found = {name: counted(counter) for name, counter in tree.groups.counters("g").items()}
    expected = {"cpu_s": 12.345678901, "throttled_s": 2.5, "periods": 90, "throttled_periods": 12}
    assert found == pytest.approx({**expected, "memory_bytes": 1 << 25})


def test_processes_of_a_group_and_those_below_it_in_any_hierarchy(tree):
    tree.make("pliant-ab", "pliant-ab/host-1", "pliant-ab/host-1/server1", "pliant-cd")
    tree.put("cpu", "pliant-ab/cgroup.procs", "30\n")
    tree.put("cpuacct", "pliant-ab/host-1/server1/cgroup.procs", "10\n20\n")
    tree.put("memory", "pliant-ab/host-1/server1/cgroup.procs", "20\n40\n")
    tree.put("cpu", "pliant-cd/cgroup.procs", "99\n")
    assert tree.groups.pids("pliant-ab") == [10, 20, 30, 40]
    assert tree.groups.pids("pliant-ab/host-1/server1") == [10, 20, 40]
    assert tree.groups.pids("pliant-none") == []


def test_deployments_are_told_by_their_groups_in_any_hierarchy(tree):
    tree.make("pliant-ab", "pliant-ab/host-1", "other")
    (tree.groups.mounts["memory"] / "pliant-0001").mkdir()
    assert tree.groups.groups() == ["pliant-0001", "pliant-ab"]


def test_removal_takes_what_is_below_and_leaves_others(tree):
    every = ("pliant-ab", "pliant-ab/base", "pliant-ab/host-1", "pliant-ab/host-1/server1")
    tree.make(*every, "pliant-cd")
    for group in every:
        tree.empty(group)
    tree.groups.remove("pliant-ab")
    assert tree.groups.groups() == ["pliant-cd"]
    tree.groups.remove("pliant-ab")  # what is not there is fine


def test_an_empty_group_is_removed_at_once_from_every_hierarchy_and_a_busy_one_stays(tree):
    tree.make("pliant-ab", "pliant-ab/host-1", "pliant-ab/host-1/server1")
    group = "pliant-ab/host-1/server1"
    assert not tree.groups.remove_now(group)  # rmdir(2) on a cgroup ignores its files: here they are who is in it
    tree.empty(group)
    assert tree.groups.remove_now(group)
    assert not [path for path in tree.groups.mounts.values() if (path / group).exists()]
    assert tree.groups.remove_now(group)  # what is not there is fine


def test_a_group_that_stays_busy_is_an_error(tmp_path):
    busy = tmp_path / "g"
    busy.mkdir()
    (busy / "process").touch()  # ENOTEMPTY where a cgroup says EBUSY
    with pytest.raises(CgroupError, match="g: cannot be removed"):
        cgroup.remove_directory(busy, deadline_s=0.05)
    assert busy.exists()


def test_disk_limits_are_a_line_per_device_in_the_root_group(tree, monkeypatch):
    limits = tree.groups.disk_limits("pliant-ab/host-1")
    root = tree.groups.mounts["blkio"]
    assert {kind: limit.file for kind, limit in limits.items()} == {
        kind: str(root / f"blkio.throttle.{kind}_bps_device") for kind in ("read", "write")
    }
    assert limits["read"].line.format(disk="7:1", rate=60_000_000) == "7:1 60000000"
    written = []
    monkeypatch.setattr(Path, "write_text", lambda self, text: written.append((self.name, text)))
    tree.groups.lift_disks(["7:1", "7:2"])
    expected = ["7:1 0\n", "7:2 0\n"]  # blkio-controller.rst: 0 lifts a limit; a line each, a write(2) each
    assert written == [(f"blkio.throttle.{kind}_bps_device", line) for kind in ("read", "write") for line in expected]


# Layouts, by /proc/self/mountinfo of real machines

THIS_HYBRID = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard,resv_strict,resuid=65534,resgid=65534
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
SYSTEMD_V1 = """\
25 30 0:23 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
30 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
31 25 0:26 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
33 31 0:28 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:11 - cgroup cgroup rw,xattr,name=systemd
36 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct
37 31 0:32 / /sys/fs/cgroup/blkio rw,nosuid,nodev,noexec,relatime shared:16 - cgroup cgroup rw,blkio
34 31 0:29 / /sys/fs/cgroup/cpuset rw,nosuid,nodev,noexec,relatime shared:13 - cgroup cgroup rw,cpuset
38 31 0:33 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,memory
39 31 0:34 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid,relatime shared:18 - cgroup cgroup rw,net_cls,net_prio
"""
SYSTEMD_V2 = """\
24 29 0:22 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
29 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 24 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
"""


def mounts_of(text: str) -> dict[str, str]:
    found = probe(text)
    assert isinstance(found, CgroupV1)
    return {name: str(path) for name, path in found.mounts.items()}


def test_a_hybrid_machine():
    assert probe(THIS_HYBRID).layout == "hybrid"
    assert mounts_of(THIS_HYBRID) == {name: f"/sys/fs/cgroup/{name}" for name in cgroup_v1.CONTROLLERS}


def test_a_v1_machine_with_cpu_and_cpuacct_in_one_hierarchy():
    assert probe(SYSTEMD_V1).layout == "v1"
    both = "/sys/fs/cgroup/cpu,cpuacct"
    apart = {name: f"/sys/fs/cgroup/{name}" for name in ("cpuset", "memory", "blkio")}
    assert mounts_of(SYSTEMD_V1) == {"cpu": both, "cpuacct": both} | apart
    entered = [
        f"{apart['cpuset']}/a/b/cgroup.procs",
        f"{both}/a/b/c/cgroup.procs",
        f"{apart['memory']}/a/b/c/cgroup.procs",
    ]
    assert probe(SYSTEMD_V1).join_files("a/b/c") == entered  # there, nodes have groups of their own


def test_the_first_of_two_mounts_of_a_controller_is_used():
    again = THIS_HYBRID + "99 31 0:32 / /mnt/elsewhere rw,relatime - cgroup cgroup rw,memory\n"
    assert mounts_of(again)["memory"] == "/sys/fs/cgroup/memory"


def without(text: str, *controllers: str) -> str:
    gone = tuple(f" - cgroup cgroup rw,{name}" for name in controllers)
    return "".join(line for line in text.splitlines(keepends=True) if not line.rstrip().endswith(gone))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (without(THIS_HYBRID, "memory"), "cgroup controllers memory are not mounted; mount them under /sys/fs/cgroup"),
        (without(THIS_HYBRID, "cpu", "blkio"), "cgroup controllers cpu, blkio are not mounted"),
        (without(SYSTEMD_V1, "cpu,cpuacct"), "cgroup controllers cpu, cpuacct are not mounted"),
        ("", "cgroup controllers cpu, cpuacct, cpuset, memory, blkio are not mounted"),
    ],
)
def test_what_is_missing_is_said_in_one_sentence(text, sentence):
    with pytest.raises(CgroupError) as refused:
        probe(text)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_kernel_that_has_a_controller_in_the_unified_layout_only_is_not_told_to_mount_it(tmp_path):
    """Kernels from 6.11 on may have no memory controller of v1."""
    (tmp_path / "cgroup.controllers").write_text("memory hugetlb\n")
    lines = [line for line in without(THIS_HYBRID, "memory").splitlines() if " - cgroup2 " not in line]
    unified = f"40 32 0:36 / {tmp_path} rw - cgroup2 cgroup2 rw"
    with pytest.raises(CgroupError, match=r"boot with systemd.unified_cgroup_hierarchy=1$"):
        probe("\n".join([*lines, unified, ""]))
    (tmp_path / "cgroup.controllers").write_text("\n")
    with pytest.raises(CgroupError, match="mount them under"):
        probe("\n".join([*lines, unified, ""]))


def test_without_a_text_the_machines_own_table_is_read():
    own = Path("/proc/self/mountinfo").read_text()
    try:
        expected = mounts_of(own)
    except CgroupError as error:
        with pytest.raises(CgroupError) as refused:
            probe()
        assert str(refused.value) == str(error)
    else:
        assert {name: str(path) for name, path in probe().mounts.items()} == expected


def test_killing_ends_what_runs_and_minds_nothing_that_is_gone():
    gone = subprocess.Popen(["true"])
    gone.wait()
    running = subprocess.Popen(["sleep", "60"])
    cgroup.kill([gone.pid, running.pid])
    assert running.wait(timeout=5) == -signal.SIGKILL
    assert not Path(f"/proc/{running.pid}").exists()
