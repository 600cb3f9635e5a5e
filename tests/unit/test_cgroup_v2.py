"""The unified layout of control groups, in a tree recorded from a machine that has it; there is none to run it on."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pliant.machine.cgroup import CgroupError
from pliant.machine.cgroup_v2 import CgroupV2
from pliant.machine.cgroups import probe

ROOT_FILES = {
    "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma misc\n",
    "cgroup.subtree_control": "cpu memory pids\n",
    "cgroup.procs": "",
}
GROUP_FILES = {
    "cgroup.controllers": "cpu io memory\n",
    "cgroup.subtree_control": "\n",
    "cgroup.procs": "",
    "cpuset.cpus": "\n",
    "cpu.max": "max 100000\n",
    "cpu.max.burst": "0\n",
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 0\nnr_throttled 0\n"
    "throttled_usec 1250000\nnr_bursts 0\nburst_usec 0\n",
    "cpu.pressure": "some avg10=0.00 avg60=0.12 avg300=0.04 total=1500000\n"
    "full avg10=0.00 avg60=0.10 avg300=0.01 total=900000\n",
    "io.max": "",
    "io.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=250000\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=240000\n",
    "memory.current": "33554432\n",
    "memory.max": "max\n",
    "memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
    "memory.swap.max": "max\n",
}


class Tree:
    """What a kernel would show: `make` fills each new group as the kernel does."""

    def __init__(self, root: Path) -> None:
        self.root, self.groups = root, CgroupV2(root)
        for name, text in ROOT_FILES.items():
            (root / name).write_text(text)

    def make(self, *names: str) -> None:
        for name in names:
            self.groups.make(name)
            for file, text in GROUP_FILES.items():
                (self.root / name / file).write_text(text)

    def read(self, file: str) -> str:
        return (self.root / file).read_text()


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def test_a_group_with_processes_of_its_own_says_what_helps(tree, monkeypatch):
    """As the topmost group of a container has: the kernel refuses to hand controllers on (EBUSY)."""
    write = Path.write_text

    def refuse(path, text, *arguments, **keys):
        if path.name == "cgroup.subtree_control":
            raise OSError(errno.EBUSY, "Device or resource busy")
        return write(path, text, *arguments, **keys)

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(CgroupError, match=rf"move them into one of their own: mkdir {tree.root}/init; for p in"):
        tree.groups.make("pliant-ab")


def test_each_group_hands_on_what_its_children_need(tree):
    tree.make("pliant-ab", "pliant-ab/host-1")
    assert tree.read("cgroup.subtree_control") == "+cpuset +io"  # the others were on
    assert tree.read("pliant-ab/cgroup.subtree_control") == "+cpu +cpuset +memory +io"
    assert tree.read("pliant-ab/host-1/cgroup.subtree_control") == "\n"  # a leaf, until it gets a node
    tree.groups.make("pliant-ab/host-1/server1")
    # To the scheduler a host is one group: its nodes are counted and no more.
    assert tree.read("pliant-ab/host-1/cgroup.subtree_control") == "+memory +io"


def test_hosts_come_first_while_they_are_limited(tree):
    tree.make("pliant-ab")
    tree.groups.go_first("pliant-ab", True)
    assert tree.read("pliant-ab/cpu.weight") == "10000"
    tree.groups.go_first("pliant-ab", False)
    assert tree.read("pliant-ab/cpu.weight") == "100"


def test_a_host_is_kept_on_its_cpus(tree):
    tree.make("pliant-ab", "pliant-ab/host-1")
    tree.groups.confine("pliant-ab/host-1", {3, 1})
    assert tree.read("pliant-ab/host-1/cpuset.cpus") == "1,3"


@pytest.mark.parametrize(
    ("cores", "line", "saved"),
    [(0.2, "2000 10000", "1000"), (0.05, "1000 20000", "500"), (4, "40000 10000", "20000"), (None, "max 10000", "0")],
)
def test_cpu_limits(tree, cores, line, saved):
    tree.make("g")
    tree.groups.limit_cpu("g", cores)
    assert tree.read("g/cpu.max") == line
    assert tree.read("g/cpu.max.burst") == saved


def test_memory_limits_leave_no_way_out_by_swap(tree):
    tree.make("g")
    tree.groups.limit_memory("g", 2**30)
    assert (tree.read("g/memory.max"), tree.read("g/memory.swap.max")) == (str(2**30), "0")
    tree.groups.limit_memory("g", None)
    assert (tree.read("g/memory.max"), tree.read("g/memory.swap.max")) == ("max", "max")


def test_a_kernel_without_swap_accounting(tree):
    tree.make("g")
    (tree.root / "g/memory.swap.max").unlink()
    tree.groups.limit_memory("g", 2**30)
    assert not (tree.root / "g/memory.swap.max").exists()


def test_use_is_in_seconds(tree):
    tree.make("g")
    assert (tree.groups.cpu_s("g"), tree.groups.throttled_s("g")) == (2.5, 1.25)


def test_whom_the_kernel_killed_for_want_of_memory(tree):
    tree.make("g")
    assert tree.groups.out_of_memory("g") == 0
    (tree.root / "g/memory.events").write_text("low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 0\n")
    assert tree.groups.out_of_memory("g") == 3
    (tree.root / "g/memory.events.local").write_text("low 0\nhigh 0\nmax 9\noom 0\noom_kill 1\noom_group_kill 0\n")
    assert tree.groups.out_of_memory("g") == 1


def test_where_the_kernel_counts_what_a_group_uses(tree):
    tree.make("g")
    found = {}
    for name, counter in tree.groups.counters("g").items():
        text = Path(counter.file).read_text()
        assert counter.key in text
        found[name] = int(text.partition(counter.key)[2].split()[0] if counter.key else text) * counter.factor
    assert found == pytest.approx(
        {
            "cpu_s": 2.5,
            "throttled_s": 1.25,
            "periods": 0,
            "throttled_periods": 0,
            "memory_bytes": 1 << 25,
            "cpu_pressure_s": 1.5,
            "io_pressure_s": 0.25,
            "memory_pressure_s": 0.0,
        }
    )


def test_processes_of_the_group_and_those_below(tree):
    tree.make("g", "g/base", "g/host-1", "g/host-1/n")
    (tree.root / "g/base/cgroup.procs").write_text("12\n7\n")
    (tree.root / "g/host-1/n/cgroup.procs").write_text("30\n")
    assert tree.groups.pids("g") == [7, 12, 30]
    assert tree.groups.pids("none") == []
    assert tree.groups.join_files("g/base") == [str(tree.root / "g/base/cgroup.procs")]


def test_disk_limits_are_those_of_the_deployments_group_whichever_host_a_disk_is_on(tree):
    tree.make("pliant-ab")
    limits = tree.groups.disk_limits("pliant-ab/host-2")
    assert limits == tree.groups.disk_limits("pliant-ab/host-1")
    read, write = (limits[kind] for kind in ("read", "write"))
    assert read.file == write.file == str(tree.root / "pliant-ab/io.max")
    assert Path(read.file).exists() and "io" in tree.read("cgroup.subtree_control")  # what makes the kernel show it
    assert read.line.format(disk="7:3", rate=1000) == "7:3 rbps=1000"
    assert write.line.format(disk="7:3", rate=write.none) == "7:3 wbps=max"


def test_groups_are_found_and_removed(tree):
    tree.make("pliant-ab", "pliant-ab/base")
    (tree.root / "user.slice").mkdir()
    assert tree.groups.groups() == ["pliant-ab"]
    for path in sorted(tree.root.glob("pliant-ab/**/*"), reverse=True):
        if path.is_file():
            path.unlink()  # rmdir(2) on a cgroup ignores its files
    tree.groups.remove("pliant-ab")
    assert tree.groups.groups() == []


def test_probing(tree):
    line = f"30 24 0:25 / {tree.root} rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
    assert probe(line) == CgroupV2(tree.root)
    (tree.root / "cgroup.controllers").write_text("cpu memory pids\n")
    with pytest.raises(CgroupError, match="has no controller cpuset, io; enable it in the group above"):
        probe(line)
