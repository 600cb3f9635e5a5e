"""fio, any program, a workload of somebody else's, and two file systems in one study: on a real GlusterFS."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import pytest
from support import deployed, pliant, python, request, study

from pliant.machine.process import CommandFailed

pytestmark = pytest.mark.real

DOCS = Path(__file__).parents[2] / "docs/workloads.md"
REPLICATED = """\
[[filesystem]]
kind = "glusterfs"
name = "replicated"
[filesystem.roles]
server = 2
client = 2
[filesystem.options]
volume = "replicate 2"

[fold]"""
WORKLOADS = """\
[[workload]]
kind = "fio"
name = "random"
rw = "randrw"
bs = "16 KiB"
size = "2 MiB"
ioengine = "libaio"
iodepth = 4

[[workload]]
kind = "fio"
name = "jobs"
job_file = "jobs/two.fio"

[[workload]]
kind = "command"
name = "dd"
[[workload.phase]]
name = "prepare"
on = "first"
argv = ["mkdir", "{{ directory }}/made"]
[[workload.phase]]
name = "write"
shell = '''
dd if=/dev/zero of={{ directory }}/made/{{ client }} bs=1M count=4 conv=fsync 2>&1
echo number {{ index }} of {{ clients }}
'''
[[workload.phase]]
name = "count"
on = "mpi"
ranks_per_client = 2
argv = ["{{ python }}", "-c", '''
import json, os, sys
from mpi4py import MPI
sizes = MPI.COMM_WORLD.allgather(sum(each.stat().st_size for each in os.scandir(sys.argv[1])))
if MPI.COMM_WORLD.rank == 0:
    print("counted", json.dumps({"found": [{"ranks": len(sizes), "bytes": min(sizes)}]}, indent=1), sep="\\n")
''', "{{ directory }}/made"]
[[workload.metric]]
name = "numbers"
unit = "1"
better = "higher"
regex = "number ([0-9]+) of 2"
phase = "write"
[[workload.metric]]
name = "written"
unit = "MiB"
better = "higher"
json = "found[0].bytes"
factor = 9.5367431640625e-07
[[workload.metric]]
name = "ranks"
unit = "1"
better = "higher"
json = "found[0].ranks"

[[workload]]
kind = "copytree"
"""
JOBS = "[global]\nbs=64k\nsize=1m\n[reader]\nrw=read\n[writer]\nrw=write\nnumjobs=2\n"
FIO = ("bandwidth", "iops", "latency", "latency_p99")


def documented(language: str, part: str) -> str:
    """The block of docs/workloads.md in that language that has this in it."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (found,) = (text for kind, text in blocks if kind == language and part in text)
    return found


def copytree(directory: Path) -> dict[str, str]:
    """The package that docs/workloads.md shows, installed in a directory; the environment in which it is found."""
    code, project = documented("python", "class Copytree"), documented("toml", "pliant_copytree")
    (point,) = re.findall(r'^copytree = "(.*)"$', project, re.MULTILINE)
    info = directory / "pliant_copytree-1.0.dist-info"
    info.mkdir(parents=True)
    (directory / "pliant_copytree.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pliant-copytree\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[pliant.workloads]\ncopytree = {point}\n")
    return {**os.environ, "PYTHONPATH": str(directory)}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    directory = tmp_path_factory.mktemp("workloads")
    environment = copytree(directory / "site")
    (directory / "jobs").mkdir()
    (directory / "jobs/two.fio").write_text(JOBS)
    file = study(
        directory, servers=2, clients=2, cores=0.3, workloads=WORKLOADS + documented("toml", 'kind = "command"')
    )
    text = file.read_text().replace("[filesystem]", "[[filesystem]]", 1).replace("[fold]", REPLICATED, 1)
    file.write_text(text)
    done = pliant("run", file, "--output", directory / "out", env=environment)
    assert done.returncode == 0, done.stderr
    return done, directory / "out"


def trials(out: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of trials.csv by workload; what was not valid, because the machine was busy, was repeated."""
    found: dict[str, list[dict[str, str]]] = {}
    with (out / "trials.csv").open() as file:
        for row in (row for row in csv.DictReader(file) if row["state"] != "invalid"):
            found.setdefault(row["workload"], []).append(row)
    return found


def values(rows: list[dict[str, str]], metric: str) -> list[float]:
    return [float(row["value"]) for row in rows if row["metric"] == metric]


def test_every_trial_of_every_workload_on_both_file_systems_is_done(run):
    done, out = run
    rows = trials(out)
    assert set(rows) == {"random", "jobs", "dd", "copytree", "search"}
    assert all(row["state"] == "done" for many in rows.values() for row in many), done.stderr
    for many in rows.values():
        each = {(row["filesystem"], float(row["ratio"])) for row in many}
        assert each == {(label, ratio) for label in ("glusterfs", "replicated") for ratio in (1, 2)}


def test_fio_has_bandwidth_rate_and_latency_of_both_directions(run):
    rows = trials(run[1])["random"]
    for direction in ("read", "write"):
        for what in FIO:
            assert len(values(rows, f"{direction}_{what}")) == 4
        bandwidth, rate = values(rows, f"{direction}_bandwidth"), values(rows, f"{direction}_iops")
        assert [16 * each / 1024 for each in rate] == pytest.approx(bandwidth, rel=1e-6), "16 KiB each"
        mean, most = values(rows, f"{direction}_latency"), values(rows, f"{direction}_latency_p99")
        assert all(0.01 < one < 1000 for one in mean + most)
    assert {row["better"] for row in rows if "latency" in row["metric"]} == {"lower"}


def test_each_job_of_a_job_file_has_its_own(run):
    rows = trials(run[1])["jobs"]
    assert {row["metric"] for row in rows} == {
        *(f"reader_read_{what}" for what in FIO),
        *(f"writer_write_{what}" for what in FIO),
    }


def test_what_each_client_printed_is_kept(run):
    out = run[1]
    for row in trials(out)["random"]:
        directory = out / row["directory"]
        phases = {path.name for path in directory.glob("*.out")}
        assert phases == {"prepare@client1.out", *(f"{p}@client{i}.out" for p in ("layout", "run") for i in (1, 2))}
        for client in (1, 2):
            document = json.loads((directory / f"run@client{client}.out").read_text())
            read = document["jobs"][0]["read"]
            assert read["io_bytes"] > 0, "both clients read"
            assert sum(read["lat_ns"]["bins"].values()) == read["total_ios"]


def test_telemetry_tells_of_the_run_and_of_no_more(run):
    """The phase in which the metrics are is that in which clients run, not the layout before it."""
    document = json.loads((run[1] / "verdict.json").read_text())
    found = [
        row["limited_by"]
        for verdict in document["verdicts"]
        if verdict["workload"] == "random"
        for row in verdict["ratios"]
    ]
    assert all(limit is None or limit["resource"] for limit in found)
    assert any(limit is not None for limit in found)


def test_a_commands_metrics_are_picked_and_combined(run):
    rows = trials(run[1])["dd"]
    assert values(rows, "numbers") == [3.0] * 4, "1 + 2"
    assert values(rows, "written") == pytest.approx([8.0] * 4), "both clients' files, seen by every rank"
    assert values(rows, "ranks") == [4.0] * 4


def test_somebody_elses_workload_runs_as_documented(run):
    rows = trials(run[1])["copytree"]
    assert len(values(rows, "files")) == 4
    assert all(value > 1 for value in values(rows, "files"))
    assert {row["unit"] for row in rows} == {"file/s"}


def test_the_program_of_the_documentation_is_measured(run):
    rows = trials(run[1])["search"]
    found = values(rows, "search_time")
    assert len(found) == 4
    assert all(0.001 < seconds < 60 for seconds in found)
    out = (run[1] / rows[0]["directory"] / "search@client2.out").read_text()
    assert int(out.split()[0]) > 5, "certificates, copied by another client"


def test_each_file_system_was_deployed_and_calibrated(run):
    done, out = run
    assert re.findall(r"^deployed 4 nodes of (\w+) as", done.stderr, re.M) in (
        ["glusterfs", "replicated"],
        ["replicated", "glusterfs"],
    )
    facts = json.loads((out / "verdict.json").read_text())["facts"]
    assert {"calibration of glusterfs", "calibration of replicated", "program of random"} <= set(facts)
    assert facts["program of random"].startswith("fio-3")


def test_file_systems_are_compared(run):
    done, out = run
    document = json.loads((out / "verdict.json").read_text())
    assert document["comparison"]["filesystems"] == ["glusterfs", "replicated"]
    assert {verdict["filesystem"] for verdict in document["verdicts"]} == {"glusterfs", "replicated"}
    for metric in document["comparison"]["metrics"]:
        assert [at["hosts"] for at in metric["fastest"]] == [4, 2]
        assert all(at["fastest"] is None for at in metric["fastest"]), "one repetition shows nothing"
    assert "not told apart" in done.stdout
    assert 'id="comparison"' in (out / "report.html").read_text()


# IO500

IO500 = """\
[[workload]]
kind = "io500"
stonewall = "1 s"
ranks_per_client = 2
easy_block = "4 MiB"
easy_files = 40
hard_segments = 20
hard_files = 30
"""


def test_io500_is_measured_with_two_ranks_a_client_on_a_host_each_and_on_one_for_all(tmp_path):
    file = study(tmp_path, servers=1, clients=2, ratios=[1, 3], repetitions=1, cores=0.5, workloads=IO500)
    done = pliant("run", file, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    document = json.loads((tmp_path / "out/verdict.json").read_text())
    found = {verdict["metric"]: verdict for verdict in document["verdicts"]}
    assert len(found) == 15 and all(row["median"] > 0 for each in found.values() for row in each["ratios"])
    for row in range(2):
        bandwidth, metadata, score = (
            found[name]["ratios"][row]["median"] for name in ("bandwidth_score", "metadata_score", "score")
        )
        assert score == pytest.approx((bandwidth * metadata) ** 0.5)
    assert {row["limited_by"]["phase"] for row in found["score"]["ratios"]} == {"io500"}
    assert any("not valid for the list of IO500: a stonewall of 1 s" in note for note in document["notes"])
    for trial in json.loads(pliant("trials", tmp_path / "out", "--format", "json").stdout):
        assert "not valid for the list of IO500: a stonewall of 1 s is less than 300 s" in trial["remarks"]
        printed = (tmp_path / "out" / trial["directory"] / "io500.out").read_text()
        (files,) = re.findall(r"^total-files += (\d+)$", printed, re.MULTILINE)
        assert 4 * 3 + 1 <= int(files) <= 4 * (1 + 40 + 30) + 1, "all that four ranks made, up to the stonewall"


# Ranks that are folded

RANKS = """\
[[workload]]
kind = "command"
name = "where"
[[workload.phase]]
name = "ranks"
on = "mpi"
ranks_per_client = 2
argv = ["{{ python }}", "-c", "from mpi4py import MPI; print('rank', MPI.COMM_WORLD.rank, MPI.Get_processor_name())"]
[[workload.metric]]
name = "last"
unit = "1"
better = "higher"
regex = "rank ([1-9][0-9]*)"

[[workload]]
kind = "ior"
block = "2 MiB"
ranks_per_client = 2
"""


def test_ranks_of_folded_clients_run_on_one_mount_of_each_host(tmp_path):
    ratios = '[1, 2, 3]\nroles = ["client"]\nof = "ranks"'
    file = study(tmp_path, servers=1, clients=3, ratios=ratios, repetitions=1, workloads=RANKS)
    checked = pliant("check", file).stdout
    assert "ranks of as many clients on one mount: client1 2, client2 1; the other clients stand idle" in checked
    done = pliant("run", file, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = {}
    for row in trials(tmp_path / "out")["where"]:
        printed = (tmp_path / "out" / row["directory"] / "ranks.out").read_text()
        ranks = dict(re.findall(r"^rank (\d+) (\w+)$", printed, re.MULTILINE))
        found[float(row["ratio"])] = [ranks[str(rank)] for rank in range(6)]
    assert found == {
        1: ["client1", "client1", "client2", "client2", "client3", "client3"],
        2: ["client1"] * 4 + ["client2"] * 2,
        3: ["client1"] * 6,
    }
    assert len(values(trials(tmp_path / "out")["ior"], "read_bandwidth")) == 3
    assert (
        "with all ranks on the first one of each host"
        in pliant("report", tmp_path / "out", "--format", "markdown").stdout
    )


# Refused before anything is deployed


def test_what_fio_would_refuse_is_refused_by_check(tmp_path):
    wrong = '[[workload]]\nkind = "fio"\njobs = "[a]\\nrw=read\\nbsz=4k\\nsize=64m\\n"\n'
    done = pliant("check", study(tmp_path, workloads=wrong))
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(r"workload fio: .*/fio refuses it: .*bsz", done.stderr)
    assert done.stderr.count("\n") == 1


def test_a_job_file_that_is_not_there_is_named(tmp_path):
    done = pliant("check", study(tmp_path, workloads='[[workload]]\nkind = "fio"\njob_file = "no.fio"\n'))
    assert done.returncode == 2
    assert 'workload[1].job_file: there is no file "no.fio" beside the study file' in done.stderr


# On nodes themselves


def test_programs_in_nodes_start_together_and_end_together():
    requests = [request("client1", 1), request("client2", 2)]
    with deployed(requests, {"client1": 1, "client2": 1}) as deployment:
        clock = python("import os, time; print(os.uname().nodename, time.clock_gettime(time.CLOCK_MONOTONIC))")
        together = deployment.together({"client1": clock, "client2": clock}, timeout_s=20, extra={})
        said = {node: done.stdout.split() for node, done in together.completed.items()}
        assert {node: name for node, (name, _) in said.items()} == {"client1": "client1", "client2": "client2"}
        assert all(together.began_s <= float(at) <= together.ended_s for _, at in said.values())
        runs = {"client1": python("import time; time.sleep(60)"), "client2": ["false"]}
        with pytest.raises(CommandFailed) as failed:
            deployment.together(runs, timeout_s=30, extra={})
        assert (failed.value.where, failed.value.exit_status) == ("client2", 1)
