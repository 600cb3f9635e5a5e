"""What a trial shows that has not come to its end: what ended has its value, what is under way a bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from pliant.workloads.command import CommandWorkload
from pliant.workloads.fio import Fio, FioOptions
from pliant.workloads.ior import Ior, IorOptions
from pliant.workloads.mdtest import Mdtest, MdtestOptions
from pliant.workloads.model import BEGINNING_S, Running, Toolbox, Workload, begun, results, under_way

CLIENTS = ("client1", "client2", "client3", "client4")
KERNEL = Toolbox("/venv/bin/python", clients=CLIENTS)
REAL = Toolbox("/venv/bin/python", program="/opt/program", clients=CLIENTS)
DATA = Path(__file__).parent / "data"
WROTE = "begin write 100.0\nwindow write 100.1 110.0\nresult write 12.5\n"
CREATED = "begin file-create 100.0\nwindow file-create 100.1 110.0\nresult file-create 250.125\n"


def at(now_s: float, phase: str = "write+read", began_s: float = 98.0) -> Running:
    return Running(phase, began_s, now_s)


# What kernels print


def test_an_operation_lasts_less_than_what_its_line_says():
    """The line comes before the barrier, and what ended a moment ago may not have been heard of."""
    assert under_way("begin write 100.0\n", at(141.0)) == ("write", 41.0 - BEGINNING_S)
    assert under_way("begin write 100.0\n", at(100.5)) == ("write", 0.0)
    assert under_way(f"{WROTE}begin read 120.0\n", at(141.0)) == ("read", 21.0 - BEGINNING_S)


@pytest.mark.parametrize(
    "printed", ["", WROTE, "begin write 97.9\n", "begin write 141.1\n", "begin write x\n", "begin"]
)
def test_nothing_is_known_to_be_under_way(printed):
    """Before the first and between two; with a clock that is not ours; in a line that is none."""
    assert under_way(printed, at(141.0)) == ("", 0.0)


def test_other_lines_do_not_count():
    text = f"a begin x 1.0\nresult y\nresult z nan\nbegin write 100.0 1\n{WROTE}"
    assert (begun(text), results(text)) == ({}, {"write": 12.5})


# ior: 4 clients x 2 ranks x 16 MiB x 2 segments are 256 MiB


@pytest.mark.parametrize(
    ("printed", "metrics", "bounds"),
    [
        ("", {}, {}),
        ("begin write 100.0\n", {}, {"write_bandwidth": 256 / 40}),
        (WROTE, {"write_bandwidth": 12.5}, {}),
        (f"{WROTE}begin read 121.0\n", {"write_bandwidth": 12.5}, {"read_bandwidth": 256 / 19}),
        ("begin write 140.5\n", {}, {}),
    ],
)
def test_of_the_ior_kernel(printed, metrics, bounds):
    options = IorOptions(ranks_per_client=2, segments=2)
    found = Ior.so_far(options, {"write+read": printed}, at(141.0), KERNEL)
    assert (found.metrics, found.bounds) == (metrics, bounds)


def test_what_is_not_measured_has_no_bound():
    options = IorOptions(operations=("read",))
    found = Ior.so_far(options, {"write+read": "begin write 100.0\n"}, at(141.0), KERNEL)
    assert (found.metrics, found.bounds, found.operation) == ({}, {}, "write")


def test_a_kernel_that_has_not_begun_shows_nothing():
    """Also where its phase is one operation: it may hang in MPI's start."""
    options = IorOptions.model_validate({"stonewall": "10 s"})
    found = Ior.so_far(options, {"write": ""}, at(500.0, "write"), KERNEL)
    assert (found.bounds, found.operation) == ({}, "")
    begun_ = Ior.so_far(options, {"write": "begin write 100.0\n"}, at(141.0, "write"), KERNEL)
    assert begun_.bounds == {"write_bandwidth": 64 / 40}, "a stonewalled write moves less, never more"


def test_half_of_a_real_iors_job_is_taken_to_be_its_start():
    options = IorOptions()
    found = Ior.so_far(options, {"write": ""}, at(138.0, "write"), REAL)
    assert (found.bounds, found.lasted_s) == ({"write_bandwidth": 64 / 20}, 20.0)
    wrote = {"write": "Max Write: 12.50 MiB/sec (13.11 MB/sec)\n"}
    then = Ior.so_far(options, {**wrote, "read": ""}, at(138.0, "read"), REAL)
    assert list(then.metrics) == ["write_bandwidth"] and then.bounds == {"read_bandwidth": 64 / 20}


def test_a_real_write_that_is_checked_may_be_over_long_before_its_job():
    options = IorOptions(data_check=True)
    assert Ior.so_far(options, {}, at(138.0, "write"), REAL).bounds == {}
    assert Ior.so_far(options, {}, at(138.0, "read"), REAL).bounds == {"read_bandwidth": 64 / 20}


def test_wrong_data_are_an_error_here_too():
    with pytest.raises(ValueError, match="other data than were written"):
        Ior.so_far(IorOptions(), {"write+read": f"{WROTE}Incorrect data on read\n"}, at(141.0), KERNEL)


# mdtest: 4 clients x 100 items


@pytest.mark.parametrize(
    ("printed", "metrics", "bounds"),
    [
        ("", {}, {}),
        ("begin directory-create 100.0\n", {}, {"directory_create": 400 / 40}),
        (f"{CREATED}begin file-stat 121.0\n", {"file_create": 250.125}, {"file_stat": 400 / 19}),
    ],
)
def test_of_the_mdtest_kernel(printed, metrics, bounds):
    phase = "create+stat+read+remove"
    found = Mdtest.so_far(MdtestOptions(), {phase: printed}, at(141.0, phase), KERNEL)
    assert (found.metrics, found.bounds) == (metrics, bounds)


@pytest.mark.parametrize(
    ("keys", "bounds"),
    [
        ({}, {}),
        ({"directories": False}, {"file_stat": 400 / 20}),
        ({"files": False}, {"directory_stat": 400 / 20}),
    ],
)
def test_of_a_real_mdtest_it_is_known_what_is_under_way_if_its_job_does_one_thing(keys, bounds):
    outputs = {"create": (DATA / "mdtest-4.1-C.txt").read_text(), "stat": ""}
    found = Mdtest.so_far(MdtestOptions(**keys), outputs, at(138.0, "stat"), REAL)
    assert found.bounds == bounds
    ended = {name for name in Mdtest.parse(MdtestOptions(), _captured()) if name.endswith("create")}
    assert set(found.metrics) == {name for name in ended if keys.get(f"{_kind(name)}", True)}


def _kind(name: str) -> str:
    return "files" if name.startswith("file") else "directories"


def _captured() -> dict[str, str]:
    return {name: (DATA / f"mdtest-4.1-{name}.txt").read_text() for name in "CTEr"}


# fio: 4 clients x 2 processes x 16 MiB


@pytest.mark.parametrize(
    ("keys", "bounds"),
    [
        ({"rw": "write"}, {"write_bandwidth": 128 / 20, "write_iops": 32768 / 20}),
        ({"rw": "randread", "bs": "1 MiB"}, {"read_bandwidth": 128 / 20, "read_iops": 128 / 20}),
        ({"rw": "randrw"}, {}),
        ({"rw": "write", "runtime": "10 s"}, {}),
        ({"rw": "write", "ramp_time": "1 s"}, {}),
        ({"rw": "write", "options": {"io_size": "1g"}}, {}),
    ],
)
def test_of_fio_there_is_a_bound_where_it_is_known_how_much_it_moves(keys, bounds):
    options = FioOptions.model_validate({"numjobs": 2, **keys})
    assert Fio.so_far(options, {}, at(138.0, "run"), REAL).bounds == bounds
    assert Fio.so_far(options, {}, at(138.0, "layout"), REAL).bounds == {}


def test_of_a_job_file_and_of_any_other_program_nothing_is_known():
    options = FioOptions.model_validate({"jobs": "[a]\nrw=write\nsize=1m\n"})
    assert Fio.so_far(options, {}, at(138.0, "run"), REAL).bounds == {}
    other: type[Workload] = CommandWorkload
    assert not hasattr(other, "so_far")
