"""fio as a workload: the programs it declares for each client, its job files, and what it makes of fio's output."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from pliant.workloads.fio import Fio, FioOptions
from pliant.workloads.jobfile import sections
from pliant.workloads.model import Phase, Toolbox, Workload, output_name

TOOLS = Toolbox(python="/venv/bin/python", program="/usr/bin/fio", clients=("client1", "client2", "client3"))
MIX = "[global]\nsize=4m\nbs=8k\n[reader]\nrw=randread\n[writer]\nrw=randwrite\nnumjobs=2\n"


def options(**keys: object) -> FioOptions:
    return FioOptions.model_validate(keys)


def phases(**keys: object) -> dict[str, Phase]:
    return {phase.name: phase for phase in Fio.phases(options(**keys), "/mnt/x", TOOLS)}


def refusal(**keys: object) -> str:
    with pytest.raises(ValidationError) as refused:
        options(**keys)
    return str(refused.value)


def side(ios: int, size: int, runtime_ms: int, bins: dict[int, int]) -> dict[str, object]:
    mean = sum(ns * n for ns, n in bins.items()) / sum(bins.values()) if bins else 0.0
    latency: dict[str, object] = {"mean": mean, "N": sum(bins.values())}
    if bins:
        latency["bins"] = {str(ns): n for ns, n in bins.items()}
    return {"total_ios": ios, "io_bytes": size, "runtime": runtime_ms, "lat_ns": latency}


NOTHING = side(0, 0, 0, {})


def printed(*jobs: tuple[str, dict[str, object], dict[str, object]], before: str = "") -> str:
    document = {"jobs": [{"jobname": name, "read": read, "write": write} for name, read, write in jobs]}
    return before + json.dumps(document, indent=2) + "\n"


def test_it_is_a_workload():
    workload: type[Workload] = Fio
    assert (workload.name, workload.program, Fio.packages) == ("fio", "fio", ("fio",))


def test_what_is_only_written_needs_no_layout():
    found = phases(rw="write", bs="1 MiB", size="32 MiB")
    assert list(found) == ["prepare", "run"]
    assert found["prepare"].each == {"client1": ("mkdir", "--", *(f"/mnt/x/client{i}" for i in (1, 2, 3)))}
    assert not found["run"].drop_caches
    assert [argv[-2:] for argv in found["run"].each.values()] == [
        (f"--directory=/mnt/x/client{i}", "-") for i in (1, 2, 3)
    ]
    assert found["run"].stdin.splitlines()[:4] == ["[fio]", "rw=write", "bs=1048576", "size=33554432"]


@pytest.mark.parametrize("rw", ["read", "randread", "rw", "randrw"])
def test_what_is_read_is_laid_out_before_by_another_client_and_caches_are_dropped(rw):
    found = phases(rw=rw)
    assert list(found) == ["prepare", "layout", "run"]
    layout, run = found["layout"], found["run"]
    assert all("--create_only=1" in argv for argv in layout.each.values())
    assert not any("--create_only=1" in argv for argv in run.each.values())
    assert run.drop_caches
    assert [argv[-2] for argv in layout.each.values()] == [f"--directory=/mnt/x/client{i}" for i in (1, 2, 3)]
    assert [argv[-2] for argv in run.each.values()] == [f"--directory=/mnt/x/client{i}" for i in (2, 3, 1)]
    own = phases(rw=rw, reorder=False)["run"]
    assert [argv[-2] for argv in own.each.values()] == [f"--directory=/mnt/x/client{i}" for i in (1, 2, 3)]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"iodepth": 8, "ioengine": "libaio"}, "iodepth=8"),
        ({"iodepth": 8, "ioengine": "libaio"}, "ioengine=libaio"),
        ({"numjobs": 4}, "numjobs=4"),
        ({"direct": True}, "direct=1"),
        ({"runtime": "1.5 s"}, "runtime=1500ms"),
        ({"runtime": "2 s", "time_based": True}, "time_based=1"),
        ({"ramp_time": "1 s"}, "ramp_time=1000ms"),
        ({"rwmixread": 70}, "rwmixread=70"),
        ({"fsync": 16}, "fsync=16"),
        ({"end_fsync": False}, "end_fsync=0"),
        ({"nrfiles": 3}, "nrfiles=3"),
        ({"options": {"rate_iops": 100, "thread": True, "random_distribution": "zipf:1.2"}}, "thread=1"),
        ({"options": {"random_distribution": "zipf:1.2"}}, "random_distribution=zipf:1.2"),
    ],
)
def test_options_are_fios_own(keys, line):
    assert line in phases(rw="randrw", **keys)["run"].stdin.splitlines()


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({}, "rw is missing"),
        ({"rw": "trim"}, "Input should be"),
        ({"rw": "read", "iodepth": 4}, 'does nothing with the synchronous ioengine "psync"; write ioengine = "libaio"'),
        ({"rw": "read", "direct": True, "bs": "1000 B"}, "not a multiple of 512 B"),
        ({"rw": "read", "bs": "1 MiB", "size": "4 KiB"}, "is more than size"),
        ({"rw": "read", "time_based": True}, "has no end"),
        ({"rw": "read", "rwmixread": 20}, "means nothing"),
        ({"rw": "read", "options": {"directory": "/tmp"}}, "directory is set by pliant"),
        ({"rw": "read", "options": {"filename": "x"}}, "filename is set by pliant"),
        ({"rw": "read", "options": {"bs": "1m"}}, "bs is a key of its own"),
        ({"rw": "read", "options": {"a": "x\ndirectory=/tmp"}}, "should match pattern"),
        ({"rw": "read", "program": "fio"}, "not an absolute path"),
        ({"jobs": MIX, "bs": "4 KiB"}, "bs cannot go with a job file"),
        ({"rw": "read", "ioengine": "filecreate"}, "moves no data"),
        ({"jobs": "# nothing\n"}, "has no job"),
        ({"jobs": "rw=read\n"}, "line 1 of the job file"),
        ({"jobs": "[a\nrw=read\n"}, "no section"),
        ({"jobs": "include x.fio\n"}, "includes another"),
        ({"jobs": "[a]\nrw=trim\n"}, 'has rw="trim", and files are not trimmed'),
        ({"jobs": "[a]\nrw=sideways\n"}, 'has rw="sideways"; write one of'),
        ({"jobs": "[a]\nfilename=/etc/passwd\n"}, "without a directory"),
        ({"jobs": "[a]\nfilename=/dev/sdb\n"}, "a device, and what is measured is files"),
        ({"jobs": "[a]\nsize=1m\ncreate_only\n"}, "sets create_only in [a]"),
        ({"jobs": "[a]\nrw=read\n"}, "add e.g. size=64m"),
        ({"jobs": "[a]\nrw=read\nsize=50%\n"}, "add e.g. size=64m"),
        ({"jobs": "[a]\nsize=1m\ntime_based\n"}, "time_based and no end"),
        ({"jobs": "[a]\nsize=1m\nioengine=filecreate\n"}, "ioengine filecreate moves no data"),
        ({"jobs": "[a]\nsize=1m\nioengine=http\n"}, "ioengine http moves no data"),
        ({"jobs": "[a]\nsize=${SIZE}\n"}, "${SIZE} is not set in nodes"),
        ({"jobs": "[a b]\nrw=read\nsize=1m\n[a-b]\nrw=read\nsize=1m\n"}, "different names"),
    ],
)
def test_what_cannot_be_is_refused(keys, sentence):
    assert sentence in refusal(**keys)


def test_a_job_file_has_metrics_for_each_of_its_jobs():
    names = [metric.name for metric in Fio.metrics(options(jobs=MIX))]
    assert names == [
        *(f"reader_read_{what}" for what in ("bandwidth", "iops", "latency", "latency_p99")),
        *(f"writer_write_{what}" for what in ("bandwidth", "iops", "latency", "latency_p99")),
    ]
    assert next(m.name for m in Fio.metrics(options(jobs="[only]\nrw=read\nsize=1m\n"))) == "read_bandwidth"
    assert phases(jobs=MIX)["layout"].stdin == MIX


def test_less_latency_is_better_and_more_of_the_rest():
    assert [(m.unit, m.better, m.phase) for m in Fio.metrics(options(rw="read"))] == [
        ("MiB/s", "higher", "run"),
        ("op/s", "higher", "run"),
        ("ms", "lower", "run"),
        ("ms", "lower", "run"),
    ]


def test_options_of_global_hold_for_what_follows():
    first, second = sections("[a]\nrw=read\n[global]\nrw=write\ndirect = 1\n;x\n#y\n\n[b]\nstonewall\n")
    assert (first.name, dict(first.options)) == ("a", {"rw": "read"})
    assert (second.name, dict(second.options)) == ("b", {"rw": "write", "direct": "1", "stonewall": "1"})


def test_clients_and_processes_are_merged():
    """All bytes over the slowest's time; latencies over all operations, the percentile not that of percentiles."""
    fast = side(990, 990 * 4096, 500, {1_000_000: 990})
    slow = side(10, 10 * 4096, 1000, {9_000_000: 10})
    more = side(1000, 1000 * 4096, 800, {1_000_000: 995, 50_000_000: 5})
    outputs = {
        output_name("run", "client1"): printed(("fio", fast, NOTHING), ("fio", slow, NOTHING)),
        output_name("run", "client2"): printed(("fio", more, NOTHING), before="fio: a note\n"),
        output_name("layout", "client1"): "not looked at",
    }
    found = Fio.parse(options(rw="randread"), outputs)
    assert found["read_bandwidth"] == pytest.approx(2000 * 4096 / 2**20)
    assert found["read_iops"] == pytest.approx(2000)
    assert found["read_latency"] == pytest.approx((1985 * 1 + 10 * 9 + 5 * 50) / 2000)
    assert found["read_latency_p99"] == 1.0
    assert list(found) == [metric.name for metric in Fio.metrics(options(rw="randread"))]


def test_jobs_are_told_apart_by_their_names():
    reader, writer = side(10, 10 << 20, 1000, {2_000_000: 10}), side(20, 20 << 20, 2000, {4_000_000: 20})
    outputs = {
        "run@client1": printed(("reader", reader, NOTHING), ("writer", NOTHING, writer), ("writer", NOTHING, writer))
    }
    found = Fio.parse(options(jobs=MIX), outputs)
    assert (found["reader_read_bandwidth"], found["writer_write_bandwidth"]) == (10, 20)
    assert (found["reader_read_latency_p99"], found["writer_write_latency"]) == (2, 4)


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        ("fio: out of memory", "fio on client1 printed no JSON"),
        ("{}", "printed no JSON: 'jobs'"),
        (printed(("fio", NOTHING, NOTHING)), "job fio of fio did no reads on client1"),
        (printed(("other", NOTHING, NOTHING)), "says nothing of job fio"),
        ('{"jobs": [{"read": {}}]}', "printed no JSON: 'jobname'"),
        ('{"jobs": [{"jobname": "fio", "error": 84}]}', "job fio failed: Invalid or incomplete multibyte"),
        ('{"jobs": [{"jobname": "fio", "error": 0, "total_err": 3}]}', "3 reads or writes of job fio failed"),
        ('{"jobs": [{"jobname": "fio", "mixed": {"total_ios": 9}}]}', "did no reads on client1"),
    ],
)
def test_a_metric_that_is_not_there_is_named(output, sentence):
    with pytest.raises(ValueError) as refused:
        Fio.parse(options(rw="read"), {"run@client1": output})
    assert sentence in str(refused.value)


def test_the_rehearsal_reads_the_job_file_only():
    tried = Fio.rehearsal(options(jobs=MIX), TOOLS)
    assert tried.argv[:2] == ("/usr/bin/fio", "--parse-only") and tried.argv[-1] == "-"
    assert "--lat_percentiles=1" in tried.argv, "a fio that does not know what it is given later says so now"
    assert tried.stdin == MIX


def test_a_client_that_did_nothing_fails_the_trial():
    busy = side(10, 10 << 20, 1000, {2_000_000: 10})
    outputs = {"run@client1": printed(("fio", busy, NOTHING)), "run@client2": printed(("fio", NOTHING, NOTHING))}
    with pytest.raises(ValueError, match="job fio of fio did no reads on client2"):
        Fio.parse(options(rw="read"), outputs)


@pytest.mark.parametrize("where", ["lat_ns", "clat_ns"])
def test_what_fio_told_before_it_counted_latencies(where):
    """Up to 3.17 there is no N, and up to 3.6 the histogram is that of the whole latency beside that of another."""
    latency: dict[str, object] = {"mean": 2_000_000.0}
    told = {"total_ios": 10, "io_bytes": 10 << 20, "runtime": 1000, "lat_ns": latency, "clat_ns": {"mean": 1.0}}
    told[where] = {**told[where], "bins": {"2000000": 9, "5000000": 1}}
    found = Fio.parse(options(rw="read"), {"run@client1": printed(("fio", told, NOTHING))})
    assert (found["read_bandwidth"], found["read_latency"], found["read_latency_p99"]) == (10, 2, 5)


@pytest.mark.parametrize(
    ("said", "fits"), [("fio-2.21", False), ("fio-3.0", False), ("fio-3.1", True), ("fio-3.33-3", True)]
)
def test_a_fio_that_does_not_tell_what_is_measured_is_refused(said, fits):
    unfit = Fio.unfit(options(rw="read"), replace(TOOLS, help=said))
    assert (unfit == "") == fits and ("use fio 3.1 or later" in unfit) == (not fits)


FOUND = """\
# as one finds them
[global]
directory=/data1
group_reporting
size=102404k ; 100Mb+4k
rw=write
gtod_reduce=1
[global-more]
bs=4k # small
[job 1]
readwrite=randread
[2]
name=second
rw=randrw
rwmixread=100
[%]
rw=rw
rwmixwrite=100
"""


def test_a_job_file_as_it_is_found():
    found = sections(FOUND)
    assert [(each.name, each.options["size"], each.options["bs"]) for each in found] == [
        ("job 1", "102404k", "4k"),
        ("second", "102404k", "4k"),
        ("%", "102404k", "4k"),
    ]
    names = [metric.name for metric in Fio.metrics(options(jobs=FOUND)) if metric.name.endswith("bandwidth")]
    assert names == ["job_1_read_bandwidth", "second_read_bandwidth", "job3_write_bandwidth"]


def test_what_changes_nothing_is_left_out_and_said():
    notes = Fio.notes(options(jobs=FOUND))
    assert [note.partition(" ")[0] for note in notes] == ["directory", "group_reporting", "gtod_reduce"]
    text = phases(jobs=FOUND)["run"].stdin
    assert not any(word in text for word in ("directory", "group_reporting", "gtod_reduce"))
    assert text.count("\n") == FOUND.count("\n") - 3
    assert Fio.notes(options(jobs=MIX)) == Fio.notes(options(rw="read")) == ()


def test_a_jobs_name_in_global_is_nobodys():
    (only,) = sections("[global]\nname=all\nsize=1m\n[a]\nrw=read\n")
    assert only.name == "a"
