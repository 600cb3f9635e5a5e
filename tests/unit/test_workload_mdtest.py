"""mdtest as a workload: the jobs it declares, and what it makes of the output of real mdtest."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pliant.workloads.kernels import mdtest
from pliant.workloads.kernels.common import window_lines
from pliant.workloads.mdtest import Mdtest, MdtestOptions
from pliant.workloads.model import Phase, Toolbox, Workload, windows

DATA = Path(__file__).parent / "data"
KERNEL = Toolbox(python="/venv/bin/python")
REAL = Toolbox(python="/venv/bin/python", program="/opt/mdtest")
CAPTURED = {name: (DATA / f"mdtest-4.1-{name}.txt").read_text() for name in "CTEr"}


def options(**keys: object) -> MdtestOptions:
    return MdtestOptions.model_validate(keys)


def phases(tools: Toolbox, **keys: object) -> tuple[Phase, ...]:
    return Mdtest.phases(options(**keys), "/mnt/x", tools)


def test_it_is_a_workload():
    workload: type[Workload] = Mdtest
    assert workload.name == workload.program == "mdtest"


def test_the_kernel_runs_all_phases_in_one_job():
    (phase,) = phases(KERNEL)
    assert phase.argv[:2] == ("/venv/bin/python", "-I")
    assert Path(phase.argv[2]).is_file()
    assert " ".join(phase.argv[3:]) == "--wait -n 100 -d /mnt/x/mdtest -N 1 -w 0 -e 0 -u -C -T -E -r --drop-caches"
    assert phase.waits


def test_real_mdtest_runs_a_job_for_each_phase_with_caches_dropped_between():
    jobs = phases(REAL)
    common = "/opt/mdtest -n 100 -d /mnt/x/mdtest -N 1 -w 0 -e 0 -u"
    assert [" ".join(job.argv) for job in jobs] == [f"{common} {flag}" for flag in ("-C", "-T", "-E", "-r")]
    assert [job.drop_caches for job in jobs] == [False, True, True, True]


@pytest.mark.parametrize("tools", [KERNEL, REAL])
def test_caches_can_be_kept(tools):
    for phase, kept in zip(phases(tools), phases(tools, caches="kept"), strict=True):
        assert not kept.drop_caches
        assert kept.argv == tuple(word for word in phase.argv if word != "--drop-caches")


@pytest.mark.parametrize(
    ("keys", "present", "absent"),
    [
        ({"files_per_rank": 7, "unique_dir": False}, "-n 7", "-u"),
        ({"directories": False}, "-F", "-D"),
        ({"files": False}, "-D", "-F"),
        ({"write_bytes": "3901 B", "read_bytes": "2 KiB"}, "-w 3901 -e 2k", "-z"),
        ({"depth": 2, "branch": 3, "stride": 0}, "-N 0 -w 0 -e 0 -z 2 -b 3", "-F"),
    ],
)
def test_options_become_mdtests_own(keys, present, absent):
    for tools in (KERNEL, REAL):
        argv = phases(tools, **keys)[0].argv
        assert present in " ".join(argv)
        assert absent not in argv


def test_without_files_nothing_is_read():
    assert [job.name for job in phases(REAL, files=False)] == ["create", "stat", "remove"]
    assert "-E" not in phases(KERNEL, files=False)[0].argv
    names = [metric.name for metric in Mdtest.metrics(options(files=False))]
    assert names == ["directory_create", "directory_stat", "directory_remove"]


def test_metrics_are_rates_of_which_more_is_better():
    metrics = Mdtest.metrics(options())
    assert len(metrics) == len({metric.name for metric in metrics}) == 7
    assert {(metric.unit, metric.better) for metric in metrics} == {("op/s", "higher")}
    assert len(Mdtest.metrics(options(directories=False))) == 4


@pytest.mark.parametrize("keys", [{}, {"files": False}, {"directories": False}])
@pytest.mark.parametrize("tools", [KERNEL, REAL])
def test_each_metric_is_of_one_phase(tools, keys):
    names = [phase.name for phase in phases(tools, **keys)]
    for metric in Mdtest.metrics(options(**keys)):
        found = [name for name in names if metric.is_of(name)]
        assert metric.name == metric.phase.replace("-", "_")
        assert len(found) == 1 and metric.phase.partition("-")[2] in found[0]


@pytest.mark.parametrize("keys", [{}, {"files": False}, {"directories": False}])
def test_each_metric_has_its_window_in_the_kernels_output(keys):
    (phase,) = phases(KERNEL, **keys)
    settings = mdtest.Settings(list(phase.argv[3:]))
    timed = [f"{mdtest.KINDS[k]}-{mdtest.OPERATIONS[p]}" for k in settings.kinds for p in mdtest.ROWS[k]]
    metrics = Mdtest.metrics(options(**keys))
    assert sorted(metric.phase for metric in metrics) == sorted(timed)
    for metric in metrics:
        assert [name for name in timed if metric.is_of(name)] == [metric.phase]


def test_windows_do_not_disturb_the_rates():
    lines = window_lines(dict.fromkeys(("file-create", "file-stat", "directory-remove"), (1.0, 9.0)))
    mixed = {name: f"{lines}{text}{lines}" for name, text in CAPTURED.items()}
    assert Mdtest.parse(options(), mixed) == Mdtest.parse(options(), CAPTURED)
    assert all(windows(text) == {} for text in CAPTURED.values())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"files": False, "directories": False}, "nothing to measure"),
        ({"read_bytes": "1 KiB"}, 'read_bytes "1 KiB" is more than write_bytes "0 B"'),
        ({"files_per_rank": 6, "depth": 2, "branch": 2, "stride": 0}, "6 is less than the 7 directories"),
        ({"depth": 1}, "write stride = 0"),
        ({"files_per_rank": 0}, "greater than or equal to 1"),
        ({"program": "mdtest"}, "not an absolute path"),
        ({"files_per_proc": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_option_is_refused_and_named(keys, message):
    with pytest.raises(ValidationError, match=message):
        options(**keys)


def test_each_rate_is_read_from_the_table_of_the_phase_that_ran_it():
    found = Mdtest.parse(options(), CAPTURED)
    rows = {
        "file_create": ("C", "File creation"),
        "file_stat": ("T", "File stat"),
        "file_read": ("E", "File read"),
        "file_remove": ("r", "File removal"),
        "directory_create": ("C", "Directory creation"),
        "directory_stat": ("T", "Directory stat"),
        "directory_remove": ("r", "Directory removal"),
    }
    assert found.keys() == rows.keys()
    for metric, (phase, row) in rows.items():
        (line,) = (line for line in CAPTURED[phase].splitlines() if line.strip().startswith(row))
        assert found[metric] == float(line.split()[2]) > 0
    assert len(set(found.values())) == 7


def test_the_order_of_the_outputs_does_not_matter():
    backwards = dict(reversed(CAPTURED.items()))
    assert Mdtest.parse(options(), backwards) == Mdtest.parse(options(), CAPTURED)


@pytest.mark.parametrize("value", ["0.000", "nan", "-nan", "inf", "-1.000", "*****"])
def test_a_value_that_is_no_rate_is_refused(value):
    text = f"   File creation              {value}   1.000   1.000   0.000\n"
    with pytest.raises(ValueError, match=r"mdtest gave .* for file_create"):
        Mdtest.parse(options(), {"create": text})


def test_a_phase_that_did_not_run_is_missed():
    without = {name: text for name, text in CAPTURED.items() if name != "E"}
    with pytest.raises(ValueError, match=r"'0.000' for file_read"):
        Mdtest.parse(options(), without)
    with pytest.raises(ValueError, match="no value for file_create"):
        Mdtest.parse(options(), {"create": "mpiexec: command not found"})
