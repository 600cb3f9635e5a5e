"""IOR as a workload: the jobs it declares, and what it makes of the output of real IOR and of the kernel."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from pliant.workloads.ior import Ior, IorOptions
from pliant.workloads.model import Phase, Running, Toolbox, Workload

DATA = Path(__file__).parent / "data"
KERNEL = Toolbox(python="/venv/bin/python")
REAL = Toolbox(python="/venv/bin/python", program="/opt/ior")


def options(**keys: object) -> IorOptions:
    return IorOptions.model_validate(keys)


def phases(tools: Toolbox, **keys: object) -> tuple[Phase, ...]:
    return Ior.phases(options(**keys), "/mnt/x", tools)


def output(name: str) -> dict[str, str]:
    return {"write": (DATA / name).read_text()}


def test_it_is_a_workload():
    workload: type[Workload] = Ior
    assert workload.name == workload.program == "ior"


def test_the_kernel_writes_and_reads_in_one_job_and_drops_the_caches_itself():
    (phase,) = phases(KERNEL)
    assert phase.argv[:2] == ("/venv/bin/python", "-I")
    assert Path(phase.argv[2]).is_file()
    assert " ".join(phase.argv[3:]) == (
        "--wait -a POSIX -t 1m -b 16m -s 1 -o /mnt/x/testFile -O summaryFormat=JSON -e -C -F -w -r --drop-caches"
    )
    assert phase.waits
    assert not phase.drop_caches


@pytest.mark.parametrize("tools", [KERNEL, REAL])
def test_caches_can_be_kept(tools):
    for phase, kept in zip(phases(tools), phases(tools, caches="kept"), strict=True):
        assert not kept.drop_caches
        assert kept.argv == tuple(word for word in phase.argv if word != "--drop-caches")


def test_real_ior_needs_two_jobs_with_dropped_caches_between():
    write, read = phases(REAL)
    common = "/opt/ior -a POSIX -t 1m -b 16m -s 1 -o /mnt/x/testFile -O summaryFormat=JSON -e -C -F"
    assert " ".join(write.argv) == f"{common} -w -k"
    assert " ".join(read.argv) == f"{common} -r"
    assert (write.drop_caches, read.drop_caches) == (False, True)


def test_the_option_program_goes_before_what_is_on_the_path():
    assert phases(REAL, program="/spack/ior")[0].argv[0] == "/spack/ior"
    assert phases(KERNEL, program="/spack/ior")[0].argv[0] == "/spack/ior"


@pytest.mark.parametrize(
    ("keys", "present", "absent"),
    [
        ({"block": "1 GiB", "transfer": "64 KiB", "segments": 3}, "-t 64k -b 1g -s 3", "-t 1m"),
        ({"block": "12345 kB", "transfer": "12345 kB"}, "-t 12345000 -b 12345000", "m -s"),
        ({"file_per_process": False}, "-e -C", "-F"),
        ({"fsync": False, "reorder": False}, "-F", "-e"),
        ({"reorder": False}, "-e", "-C"),
        ({"direct_io": True}, "--posix.odirect", "-W"),
    ],
)
def test_options_become_iors_own(keys, present, absent):
    for tools in (KERNEL, REAL):
        line = " ".join(phases(tools, **keys)[0].argv)
        assert present in line
        assert absent not in line.split() and absent not in line


def test_a_data_check_verifies_both_operations_with_one_seed():
    write, read = (phase.argv for phase in phases(REAL, data_check=True))
    assert "-W" in write and "-R" in read
    assert write[write.index("-G") + 1] == read[read.index("-G") + 1] != "0"


def test_measuring_only_the_write_reads_nothing_and_leaves_nothing():
    for tools in (KERNEL, REAL):
        (phase,) = phases(tools, operations=["write"])
        assert "-w" in phase.argv
        assert not {"-r", "-k", "--drop-caches"} & set(phase.argv)


def test_measuring_only_the_read_still_writes_before():
    for tools in (KERNEL, REAL):
        jobs = phases(tools, operations=["read"])
        assert "-w" in jobs[0].argv and "-r" in jobs[-1].argv
    assert [metric.name for metric in Ior.metrics(options(operations=["read"]))] == ["read_bandwidth"]


def test_a_stonewalled_write_tells_the_read_how_much_there_is():
    for tools in (KERNEL, REAL):
        write, read = (" ".join(phase.argv) for phase in phases(tools, stonewall="5 min"))
        assert "-D 300 -O stoneWallingWearOut=1" in write
        assert "-k -O stoneWallingStatusFile=/mnt/x/stonewall" in write
        assert "-k -O stoneWallingStatusFile=/mnt/x/stonewall" in read
        assert "-D" not in read.split() and "WearOut" not in read
    (write_only,) = phases(REAL, stonewall="5 min", operations=["write"])
    assert "StatusFile" not in " ".join(write_only.argv)


def test_ranks_per_client_is_handed_on():
    assert {phase.ranks_per_client for phase in phases(REAL, ranks_per_client=4)} == {4}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"block": "16 MiB", "transfer": "3 MiB"}, 'block "16 MiB" is not a multiple of transfer "3 MiB"'),
        ({"block": "100 B", "transfer": "100 B"}, "not a multiple of 8 bytes"),
        ({"transfer": "512 B", "direct_io": True}, 'not a multiple of "4 KiB"'),
        ({"stonewall": "1.5 s"}, "stonewall 1.5 s is not a whole number of seconds"),
        ({"operations": ["write", "write"]}, "names one twice"),
        ({"operations": []}, "at least 1 item"),
        ({"operations": ["append"]}, "'write' or 'read'"),
        ({"program": "bin/ior"}, '"bin/ior" is not an absolute path'),
        ({"blok": "16 MiB"}, "Extra inputs are not permitted"),
        ({"block": 16}, "no unit"),
        ({"segments": 0}, "greater than or equal to 1"),
    ],
)
def test_a_wrong_option_is_refused_and_named(keys, message):
    with pytest.raises(ValidationError, match=message):
        options(**keys)


def test_metrics_are_bandwidths_in_mebibytes_per_second_of_which_more_is_better():
    metrics = Ior.metrics(options())
    assert [(metric.name, metric.unit, metric.better) for metric in metrics] == [
        ("write_bandwidth", "MiB/s", "higher"),
        ("read_bandwidth", "MiB/s", "higher"),
    ]


@pytest.mark.parametrize("keys", [{}, {"stonewall": "5 s"}, {"operations": ["read"]}, {"operations": ["write"]}])
@pytest.mark.parametrize("tools", [KERNEL, REAL])
def test_each_metric_is_of_one_phase(tools, keys):
    for metric in Ior.metrics(options(**keys)):
        found = [phase.name for phase in phases(tools, **keys) if metric.is_of(phase.name)]
        assert metric.phase and metric.name == f"{metric.phase}_bandwidth"
        assert len(found) == 1 and metric.phase in found[0]


JSON_3_2 = """\
{"Version": "3.2.1", "tests": [ {"Results": [[
{ "access": "write", "bwMiB": 12.5000, "blockKiB": 16384.0, "totalTime": 0.1
}, { "access": "read", "bwMiB": 99.2500, "blockKiB": 16384.0
}
]],
"max": [ ] } ] }
"""
TEXT_3_0 = """\
access    bw(MiB/s)  block(KiB) xfer(KiB)  open(s)    wr/rd(s)   close(s)   total(s)   iter
write     12.50      16384      1024.00    0.002      0.10       0.001      0.10       0
Max Write: 12.50 MiB/sec (13.11 MB/sec)
Max Read:  99.25 MiB/sec (104.07 MB/sec)
"""


@pytest.mark.parametrize("text", [JSON_3_2, TEXT_3_0])
def test_older_forms_of_output_are_understood(text):
    assert Ior.parse(options(), {"all": text}) == {"write_bandwidth": 12.5, "read_bandwidth": 99.25}


@pytest.mark.parametrize("name", ["ior-4.1-json.txt", "ior-4.1-text.txt"])
def test_what_real_ior_printed_gives_both_bandwidths(name):
    found = Ior.parse(options(), output(name))
    text = (DATA / name).read_text()
    assert found.keys() == {"write_bandwidth", "read_bandwidth"}
    for operation in ("write", "read"):
        shown = [line.split()[1] for line in text.splitlines() if line.startswith(f"{operation} ")]
        assert all(float(value) == pytest.approx(found[f"{operation}_bandwidth"], rel=1e-3) for value in shown)
    assert found["read_bandwidth"] != found["write_bandwidth"]


def test_log_lines_in_iors_json_do_not_hide_the_bandwidth():
    text = output("ior-4.1-json-stonewall.txt")
    assert "stonewalling pairs accessed" in text["write"]
    found = Ior.parse(options(operations=["write"], stonewall="5 s"), text)
    assert f'"bwMaxMIB": {found["write_bandwidth"]:.4f}' in text["write"]


def test_each_operation_is_read_from_the_job_that_ran_it():
    summary = '"summary": [ {{ "operation": "{}", "API": "POSIX", "bwMaxMIB": {} }} ]'
    outputs = {"write": summary.format("write", 10.0), "read": summary.format("read", 20.0)}
    assert Ior.parse(options(), outputs) == {"write_bandwidth": 10.0, "read_bandwidth": 20.0}


def test_wrong_data_is_an_error_even_though_ior_reports_a_bandwidth():
    with pytest.raises(ValueError, match=r"read other data than were written.*Incorrect data on read"):
        Ior.parse(options(operations=["read"]), output("ior-4.1-json-wrong-data.txt"))


@pytest.mark.parametrize(
    "said",
    [
        "WARNING: incorrect data on write.",  # 2.10
        "WARNING: incorrect data on read (256 errors found).",  # up to 3.3: its exit status is a multiple of 256, so 0
        "WARNING: Incorrect data on read (1 errors found).",  # 4
        "[1] FAILED comparison of buffer containing 8-byte ints:",
        "ior WARNING: inconsistent file size by different tasks.",
        "WARNING: fsync(7) failed",
        "ior WARNING: fsync() failed, errno 5, Input/output error ",
        "ior WARNING: cannot use O_DIRECT.",
        "WARNING: read(5, 0x1, 4096) returned EOF prematurely",
        "WARNING: Expected aggregate file size       = 33554432.",
    ],
)
def test_what_ior_says_of_a_failure_fails_the_trial_in_each_releases_words(said):
    for text in (f"{TEXT_3_0}{said}\n", JSON_3_2.replace("]],", f"]],\n{said}\n", 1)):
        with pytest.raises(ValueError, match=re.escape(said.strip()[-20:])):
            Ior.parse(options(), {"write": text, "read": ""})
        with pytest.raises(ValueError):
            Ior.so_far(options(), {"write": text}, Running("read", 0.0, 1.0), REAL)


@pytest.mark.parametrize(
    "said",
    [
        "WARNING: Task 1, partial write(), 512 of 1024 bytes at offset 0",
        "ior WARNING: cannot get platform name, errno 2",
        'WARNING: The file "x" exists already and will be overwritten',
        "WARNING: Read bytes is 0, thus, a read test will actually just open/close",
    ],
)
def test_a_warning_that_is_of_no_concern_to_the_data_fails_nothing(said):
    assert Ior.parse(options(), {"all": f"{said}\n{TEXT_3_0}"})["write_bandwidth"] == 12.5


def test_what_a_stonewall_left_out_is_no_failure():
    text = f"WARNING: Expected aggregate file size       = 4.\n{TEXT_3_0}"
    assert Ior.parse(options(stonewall="5 s"), {"all": text})["write_bandwidth"] == 12.5


NEW = "--posix.odirect"
NEW = "--posix.odirect"
HELP_3_0 = " -B    useO_DIRECT -- uses O_DIRECT for POSIX, bypassing I/O buffers"
HELP_3_2 = f"{HELP_3_0}\n  -O summaryFormat=[default,JSON,CSV]\n  -O stoneWallingStatusFile=FILE\n"
HELP_4_0 = HELP_3_2.replace(HELP_3_0, "  --posix.odirect  Direct I/O Mode")


@pytest.mark.parametrize(
    ("said", "direct", "form"),
    [
        (HELP_3_0, "-B", False),
        (HELP_3_2, "-B", True),
        (HELP_4_0, NEW, True),
        ("", NEW, True),
    ],
)
def test_a_real_ior_is_told_in_its_own_releases_words(said, direct, form):
    words = phases(replace(REAL, help=said), direct_io=True)[0].argv
    assert direct in words and not {"-B", "--posix.odirect"} - {direct} & set(words)
    assert ("summaryFormat=JSON" in words) == form


def test_what_an_old_ior_cannot_do_is_said_before():
    old = replace(REAL, help=HELP_3_0)
    assert "use IOR 3.2 or later" in Ior.unfit(options(stonewall="5 s"), old)
    assert "compares what it reads only with itself" in Ior.unfit(options(data_check=True), old)
    assert Ior.unfit(options(), old) == Ior.unfit(options(stonewall="5 s"), replace(REAL, help=HELP_4_0)) == ""


@pytest.mark.parametrize("value", ["0.0000", "nan", '"inf"', "-3.5", "abc"])
def test_a_value_that_is_no_bandwidth_is_refused(value):
    text = f'{{"operation": "write", "bwMaxMIB": {value} }}'
    with pytest.raises(ValueError, match=r"ior gave .* for write_bandwidth; its output ends with"):
        Ior.parse(options(operations=["write"]), {"write": text})


def test_a_missing_bandwidth_is_refused_with_the_end_of_the_output():
    with pytest.raises(ValueError, match=r"no value for read_bandwidth.*mpiexec was killed"):
        Ior.parse(options(), {"write": JSON_3_2.replace("read", "x"), "read": "mpiexec was killed\n"})
