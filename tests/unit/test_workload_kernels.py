"""The kernels without MPI: their command lines, layouts and arithmetic, against a job of which this is one rank."""

from __future__ import annotations

import ast
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pliant.workloads.kernels
from pliant.workloads.ior import Ior, IorOptions
from pliant.workloads.kernels import common, find, ior, mdtest
from pliant.workloads.mdtest import Mdtest, MdtestOptions
from pliant.workloads.model import Toolbox, begun, results, windows

MIB = 1 << 20
TOOLS = Toolbox(python="python")


class FakeJob(common.Job):
    """Rank `rank` of a job; the other ranks' part in a reduction is given beforehand, in order."""

    def __init__(self, rank=0, hosts=("a",), others=()):
        self.rank, self.size, self.host = rank, len(hosts), hosts[rank]
        self._hosts = list(hosts)
        self._others = list(others)
        self.barriers = 0
        self._waits = False

    def barrier(self):
        self.barriers += 1

    def hosts(self):
        return self._hosts

    def _theirs(self, values):
        return self._others.pop(0) if self._others else values

    def minima(self, values):
        return [min(pair) for pair in zip(values, self._theirs(values), strict=True)]

    def maxima(self, values):
        return [max(pair) for pair in zip(values, self._theirs(values), strict=True)]

    def total(self, value):
        return value * self.size

    def first(self, value):
        return value


# Command lines


def test_options_are_taken_as_iors_programs_take_them():
    found = common.parse_options(["-w", "-b", "16m", "-t=1m", "-w", "-O", "a=1", "-O", "b=2"], "w", "btO")
    assert found == {"w": "2", "b": "16m", "t": "1m", "O": "a=1,b=2"}


@pytest.mark.parametrize("argv", [["-q"], ["-wr"], ["stray"], ["-b"], ["-b", ""], ["--long"], ["-w=1"], ["-"]])
def test_what_is_not_an_option_is_refused(argv):
    with pytest.raises(common.UsageError):
        common.parse_options(argv, "wr", "b")


@pytest.mark.parametrize(("text", "size"), [("8", 8), ("4k", 4096), ("2M", 2 * MIB), ("1g", 1 << 30), ("3t", 3 << 40)])
def test_sizes_have_powers_of_1024(text, size):
    assert common.size(text) == size


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5m", "1 m", "1kb", "0x10", "²"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(common.UsageError):
        common.size(text)


@pytest.mark.parametrize(
    "line", ["-b 3m -t 2m", "-t 0", "-s 0", "-a MPIIO", "-i 2", "-O summaryFormat=CSV", "-O useO_DIRECT=1", "-Z"]
)
def test_the_ior_kernel_refuses_what_it_does_not_do(line):
    with pytest.raises(common.UsageError):
        ior.Settings(line.split())


@pytest.mark.parametrize(
    "line", ["", "-n 0", "-n 3 -z 1 -b 3", "-n 9 -C -E -e 1", "-n 9 -u -z 1 -N 1", "-n 9 -b 0", "-n 9 -I 3", "-n x"]
)
def test_the_mdtest_kernel_refuses_what_it_does_not_do(line):
    with pytest.raises(common.UsageError):
        mdtest.Settings(line.split())


def test_like_ior_the_kernel_both_writes_and_reads_unless_told_which():
    default = ior.Settings(["-o", "x"])
    assert (default.write, default.read) == (True, True)
    assert (ior.Settings(["-w"]).write, ior.Settings(["-w"]).read) == (True, False)
    assert (ior.Settings(["-R"]).write, ior.Settings(["-R"]).read) == (False, True)


@given(
    transfer=st.integers(1, 9).map(lambda n: 4096 * n),
    transfers=st.integers(1, 9),
    flags=st.fixed_dictionaries(
        {name: st.booleans() for name in ("file_per_process", "fsync", "reorder", "data_check", "direct_io")}
    ),
    operations=st.sampled_from([["write"], ["read"], ["write", "read"]]),
    stonewall=st.sampled_from([None, "7 s"]),
)
def test_every_job_that_the_workload_ior_declares_means_the_same_to_the_kernel(
    transfer, transfers, flags, operations, stonewall
):
    keys = {"block": f"{transfer * transfers} B", "transfer": f"{transfer} B", "operations": operations, **flags}
    options = IorOptions.model_validate(keys | ({"stonewall": stonewall} if stonewall else {}))
    jobs = [ior.Settings(list(phase.argv[3:])) for phase in Ior.phases(options, "/mnt/x", TOOLS)]
    assert [job.write for job in jobs].count(True) == 1
    assert any(job.read for job in jobs) == ("read" in operations)
    for job in jobs:
        assert (job.transfer, job.block, job.segments) == (transfer, transfer * transfers, 1)
        assert job.file_per_process == flags["file_per_process"]
        assert (job.fsync, job.reorder, job.direct_io) == (flags["fsync"], flags["reorder"], flags["direct_io"])
        assert job.check_read == (job.read and flags["data_check"])
        assert job.check_write == (job.write and flags["data_check"])
        assert job.deadline_s == (7 if stonewall and job.write else 0)


@given(
    number=st.integers(50, 99),
    flags=st.fixed_dictionaries({name: st.booleans() for name in ("unique_dir", "directories")}),
    depth=st.integers(0, 2),
)
def test_every_job_that_the_workload_mdtest_declares_means_the_same_to_the_kernel(number, flags, depth):
    keys = {"files_per_rank": number, "depth": depth, "branch": 2, "stride": 0, "write_bytes": "10 B", **flags}
    (phase,) = Mdtest.phases(MdtestOptions.model_validate(keys), "/mnt/x", TOOLS)
    job = mdtest.Settings(list(phase.argv[3:]))
    directories = 2 ** (depth + 1) - 1
    assert (job.directories, job.items) == (directories, number // directories * directories)
    assert job.kinds == (["dir", "file"] if flags["directories"] else ["file"])
    assert (job.unique, job.write_bytes, job.phases) == (flags["unique_dir"], 10, ["C", "T", "E", "r"])


# IOR's layout and arithmetic


def offsets(line, rank=0, ranks=1):
    settings = ior.Settings(line.split())
    return list(ior.Ior(FakeJob(rank, ["a"] * ranks), settings).offsets(rank))


def test_a_file_per_process_holds_the_segments_one_after_the_other():
    assert offsets("-F -b 4 -t 2 -s 2", rank=1, ranks=3) == [0, 2, 4, 6]


def test_in_a_shared_file_the_blocks_of_all_ranks_alternate():
    assert offsets("-b 4 -t 2 -s 2", rank=1, ranks=3) == [4, 6, 16, 18]
    everything = sorted(offset for rank in range(3) for offset in offsets("-b 4 -t 2 -s 2", rank, 3))
    assert everything == list(range(0, 24, 2))


def test_the_data_tell_rank_and_place():
    data = common.pattern(rank=3, seed=7, length=27)
    words = [int.from_bytes(data[i : i + 8], "little") for i in (0, 8, 16)]
    assert words == [(3 << 32) + 7, (3 << 32) + 8, (3 << 32) + 9]
    assert data[24:] == bytes([24, 25, 26])


@pytest.mark.parametrize(
    ("hosts", "shift"), [("aabb", 2), ("abab", 1), ("aaab", 3), ("ab", 1), ("aa", 2), ("a", 1), ("aaaa", 4)]
)
def test_the_next_node_is_as_many_ranks_away_as_a_node_has(hosts, shift):
    assert common.ranks_to_next_node(list(hosts)) == shift


def run_timed(monkeypatch, tmp_path, stamps, others):
    """The phase that `timed` makes of this rank's clock readings and the other rank's part in the reductions."""
    readings = iter(stamps)
    monkeypatch.setattr(ior, "time", lambda: next(readings))
    settings = ior.Settings(["-F", "-b", "4m", "-t", "1m", "-o", str(tmp_path / "f"), "-G", "1"])
    test = ior.Ior(FakeJob(0, ["a", "b"], others), settings)
    return test.timed("write", test.path(0), os.O_CREAT | os.O_RDWR, 0, test.put, 0)


OWN = [99.5, 100.0, 100.5, 101.0, 105.0, 105.5, 106.0, 110.5]
"""Before the barrier, open, transfer and close start and stop, after the last barrier."""


def test_bandwidth_is_all_bytes_over_first_open_to_last_close(monkeypatch, tmp_path):
    starts, stops = [99.75, 99.75, 101.5, 108.0], [109.75, 102.0, 107.0, 109.75]
    phase = run_timed(monkeypatch, tmp_path, OWN, [starts, stops, [10.0], [11.0]])
    assert phase.total_s == 10.0
    assert (phase.open_s, phase.transfer_s, phase.close_s) == (2.25, 6.0, 4.25)
    assert phase.moved_bytes == 8 * MIB
    assert phase.bandwidth_mib_s == pytest.approx(0.8)


def test_clocks_that_differ_between_nodes_fail_the_job(monkeypatch, tmp_path):
    ahead = 3.0
    starts, stops = [100.0 + ahead, 0, 0, 0], [106.0 + ahead, 0, 0, 0]
    with pytest.raises(common.KernelError, match=r"clocks of the nodes differ.*9.000 s.*6.000 and 7.000 s"):
        run_timed(monkeypatch, tmp_path, OWN, [starts, stops, [6.0], [7.0]])


def stonewalled(monkeypatch, slowest_s, others):
    """Transfers made before and after a deadline of 2 s by a rank that needs `slowest_s` for each."""
    clock = iter(i * slowest_s for i in range(1000))
    monkeypatch.setattr(ior, "time", lambda: next(clock))
    line = "-F -b 100m -t 1m -D 2 -G 1 -O stoneWallingWearOut=1,stoneWallingStatusFile=/x"
    settings = ior.Settings(line.split())
    test = ior.Ior(FakeJob(0, ["a", "b"], others), settings)
    moved = []
    count = test.transfer(0, "f", 0, lambda file, offset: moved.append(offset), settings.deadline_s)
    assert moved == [i * MIB for i in range(count)]
    return count, test.limit


def test_after_a_stonewall_every_rank_goes_on_to_what_the_fastest_did(monkeypatch):
    assert stonewalled(monkeypatch, slowest_s=0.5, others=[[5.0]]) == (5, 5)
    assert stonewalled(monkeypatch, slowest_s=0.5, others=[[30.0]]) == (30, 30)


def test_reading_after_a_stonewall_stops_where_the_write_did(tmp_path):
    status = tmp_path / "status"
    status.write_text("3")
    settings = ior.Settings(f"-r -F -b 100m -t 1m -o {tmp_path}/f -O stoneWallingStatusFile={status}".split())
    (tmp_path / "f.00000000").write_bytes(bytes(3 * MIB))
    phase = ior.Ior(FakeJob(), settings).read()
    assert phase.moved_bytes == 3 * MIB


def test_short_writes_and_reads_are_completed(monkeypatch, tmp_path):
    real_write, real_read = os.pwrite, os.preadv
    monkeypatch.setattr(os, "pwrite", lambda file, data, offset: real_write(file, data[:1000], offset))
    monkeypatch.setattr(os, "preadv", lambda file, buffers, at: real_read(file, [memoryview(buffers[0])[:500]], at))
    settings = ior.Settings(f"-w -R -k -G 3 -b 8k -t 4k -o {tmp_path}/f".split())
    test = ior.Ior(FakeJob(), settings)
    test.write()
    assert (tmp_path / "f").read_bytes() == common.pattern(0, 3, 4096) * 2
    test.read()
    assert test.errors == 0


def test_each_phase_has_a_window_from_barrier_to_barrier(monkeypatch, tmp_path, capsys):
    readings = iter([10.0, 12.5, 13.0, 14.25])
    monkeypatch.setattr(ior, "monotonic", lambda: next(readings))
    settings = ior.Settings(f"-w -r -F -G 1 -b 8k -t 4k -o {tmp_path}/f".split())
    ior.main(FakeJob(), settings)
    output = capsys.readouterr().out
    assert windows(output) == {"write": (10.0, 12.5), "read": (13.0, 14.25)}
    found = Ior.parse(IorOptions(), {"write+read": output})
    (write, read) = json.loads(output[output.index("{") :])["summary"]
    assert list(found.values()) == [write["bwMaxMIB"], read["bwMaxMIB"]]
    assert all(metric.phase in windows(output) for metric in Ior.metrics(IorOptions()))
    assert results(output) == {"write": write["bwMaxMIB"], "read": read["bwMaxMIB"]}
    words = [line.split()[:2] for line in output[: output.index("{")].splitlines()]
    assert words == [[what, name] for name in ("write", "read") for what in ("begin", "window", "result")]


def test_only_the_first_rank_says_how_far_the_job_is(tmp_path, capsys):
    settings = ior.Settings(f"-w -F -G 1 -b 8k -t 4k -o {tmp_path}/f".split())
    ior.Ior(FakeJob(1, "ab"), settings).write()
    assert capsys.readouterr().out == ""


def test_what_is_under_way_is_known_while_it_is(monkeypatch, tmp_path):
    """A line is out before the operation begins: a rank that hangs in it prints nothing more."""
    written = []
    monkeypatch.setattr(common.sys, "stdout", SimpleNamespace(write=written.append, flush=lambda: written.append("!")))
    test = mdtest.Mdtest(FakeJob(), mdtest.Settings(["-n", "1", "-d", str(tmp_path)]))
    monkeypatch.setattr(test, "operation", lambda phase, kind: lambda paths: written.append("work"))
    test.timed("C", "file")
    assert [text.split()[0] for text in written] == ["begin", "!", "work", "window", "!"]


def test_the_mdtest_kernel_prints_a_window_for_each_rate(tmp_path, capsys):
    mdtest.main(FakeJob(), mdtest.Settings(["-n", "2", "-d", str(tmp_path / "md")]))
    output = capsys.readouterr().out
    found = windows(output)
    assert list(found) == [metric.phase for metric in sorted(Mdtest.metrics(MdtestOptions()), key=_kernels_order)]
    times = [time for window in found.values() for time in window]
    assert times == sorted(times) and times[-1] > times[0]
    parsed = Mdtest.parse(MdtestOptions(), {"all": output})
    assert len(parsed) == 7
    assert results(output) == {name.replace("_", "-"): value for name, value in parsed.items()}
    assert begun(output) == {}


def _kernels_order(metric):
    """Without dropped caches: directories first, then files."""
    return metric.name.startswith("file")


def test_windows_survive_being_printed():
    made = {"write": (1234.567, 98765432.123456), "file-create": (0.0, 0.5)}
    assert windows(common.window_lines(made)) == made
    assert windows("") == windows("window write 1.0\nwindow write 1 x\n a window write 1 2\n") == {}


# mdtest's tree


def tree(line):
    return mdtest.Tree(mdtest.Settings(line.split()), "t")


def test_a_tree_has_its_directories_numbered_breadth_first():
    assert tree("-n 99 -z 2 -b 2").paths == [
        "t.0", "t.0/t.1", "t.0/t.2", "t.0/t.1/t.3", "t.0/t.1/t.4", "t.0/t.2/t.5", "t.0/t.2/t.6"
    ]  # fmt: skip


def test_directories_are_visited_depth_first():
    assert list(tree("-n 99 -z 2 -b 2").depth_first()) == [0, 1, 3, 4, 2, 5, 6]
    assert list(tree("-n 99 -z 3 -b 1").depth_first()) == [0, 1, 2, 3]
    assert list(tree("-n 99").depth_first()) == [0]


def items(phase, hosts, rank, line):
    test = mdtest.Mdtest(FakeJob(rank, list(hosts)), mdtest.Settings(line.split()))
    return [os.fsdecode(path).removeprefix("./out/test-dir.0-0/") for path in test.items(phase, "file")]


def test_each_phase_works_on_what_another_node_made_in_the_one_before():
    hosts, line = "aabbcc", "-n 1 -u -N 1"
    assert items("C", hosts, 0, line) == ["mdtest_tree.2.0/file.mdtest.0.0"]
    assert items("T", hosts, 0, line) == ["mdtest_tree.4.0/file.mdtest.2.0"]
    assert items("E", hosts, 0, line) == ["mdtest_tree.0.0/file.mdtest.4.0"]
    for phase in "TEr":
        created = {path for rank in range(6) for path in items("C", hosts, rank, line)}
        assert created == {path for rank in range(6) for path in items(phase, hosts, rank, line)}


def test_within_one_node_the_stride_counts_ranks():
    assert items("C", "aaa", 0, "-n 1 -u -N 1") == ["mdtest_tree.1.0/file.mdtest.0.0"]


def test_rate_is_the_items_of_all_ranks_over_the_slowest_ranks_time(monkeypatch, tmp_path, capsys):
    readings = iter([10.0, 12.0])
    monkeypatch.setattr(mdtest, "monotonic", lambda: next(readings))
    settings = mdtest.Settings(["-n", "100", "-d", str(tmp_path)])
    test = mdtest.Mdtest(FakeJob(0, ["a", "b"], [[4.0]]), settings)
    monkeypatch.setattr(test, "operation", lambda phase, kind: lambda paths: None)
    assert test.timed("C", "file") == 200 / 4.0
    assert test.job.barriers == 3, "all have come, then what is said of it, then the two that it is timed between"
    begin, window, result = capsys.readouterr().out.splitlines()
    assert (begin[:18], window, result) == (
        "begin file-create ",
        "window file-create 10.000000 12.000000",
        "result file-create 50.000",
    )


def test_the_table_of_rates_is_one_that_the_workload_reads():
    settings = mdtest.Settings(["-n", "1"])
    rates = {row: 10.5 + i for i, row in enumerate(row for rows in mdtest.ROWS.values() for row in rows.values())}
    found = Mdtest.parse(MdtestOptions(), {"all": mdtest.table(settings, rates)})
    assert sorted(found.values()) == sorted(rates.values())
    assert (found["directory_create"], found["file_remove"]) == (10.5, 16.5)


# What a slow host needs


def test_the_kernels_import_only_the_standard_library_and_mpi4py():
    allowed = set(sys.stdlib_module_names) | {"mpi4py", "common", "find", "ior", "mdtest", "pliant"}
    slow = {"typing", "dataclasses", "pathlib", "argparse", "re", "subprocess", "logging", "inspect"}
    for path in Path(pliant.workloads.kernels.__file__).parent.glob("*.py"):
        if path.stem == "io500_result":
            continue  # nothing is measured when it runs
        module = ast.parse(path.read_text())
        guarded = {id(node) for top in module.body if isinstance(top, ast.If) for node in top.body}
        for node in ast.walk(module):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in (name.partition(".")[0] for name in names if id(node) not in guarded):
                assert name in allowed - {"pliant"} and name not in slow, f"{path.name} imports {name}"


# What IO500 adds


def test_a_stonewall_counts_what_was_done_and_goes_on_to_what_the_fastest_did(monkeypatch, tmp_path):
    """This rank does 3 before its time is up, another 5: both come to 5, which is what later phases work on."""
    times = iter([10.0, 100.0, 100.1, 100.2, 101.1, 12.0])
    monkeypatch.setattr(mdtest, "monotonic", lambda: next(times))
    settings = mdtest.Settings(["-F", "-u", "-W", "1", "-n", "100", "-d", str(tmp_path)])
    test = mdtest.Mdtest(FakeJob(0, ["a", "b"], [[5.0], [2.0]]), settings)
    done = []
    monkeypatch.setattr(test, "operation", lambda phase, kind: done.extend)
    assert test.timed("C", "file") == 2 * 5 / 2.0
    assert len(done) == len(set(done)) == 5
    assert list(test.items("T", "file")) == done


@pytest.mark.parametrize("line", ["-W 1", "-F -W 1 -z 1 -n 9", "-X", "-X -w 8 -e 0"])
def test_mdtests_options_that_need_others_are_refused_without(line):
    with pytest.raises(common.UsageError):
        mdtest.Settings(["-n", "9", *line.split()])


def planted(top):
    for path, size in {"a/file01": 3901, "a/file02": 3901, "b/c/01": 7, "b/c/x01y": 3901, "b/d/e/0": 0}.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_bytes(b"x" * size)
    (top / "b/link01").symlink_to(top / "a")


def test_find_counts_every_file_and_finds_those_of_the_size_and_the_name(monkeypatch, tmp_path):
    planted(tmp_path)
    job = FakeJob()
    monkeypatch.setattr(job, "shared", lambda mine: mine, raising=False)
    for since, found in ((0, 2), (2**40, 0)):
        search = find.Find(job, str(tmp_path), b"01", 3901, since)
        search.run()
        assert (search.files, search.found) == (6, found), "a link is not followed, and is a file"
