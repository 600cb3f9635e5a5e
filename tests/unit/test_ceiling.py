"""When a rate is that of nodes' own kernels, and gets no verdict."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import runs

from pliant.analysis.conclusions import analyse
from pliant.report import latex, markdown, terminal
from pliant.report.summary import document
from pliant.report.writing import write_report
from pliant.results.store import Store
from pliant.statistics.verdict import Series, emulated, judge
from pliant.telemetry.ceiling import Kernels, reached
from pliant.telemetry.disturbance import Disturbance
from pliant.telemetry.samples import FORMAT, Promise, read
from pliant.trial import Trial
from pliant.workloads.model import Metric

HOSTS = {"host1": ["server1"], "host2": ["client1"]}
PROMISE = Promise(0.5, None, None)
KERNELS = Kernels({"server1", "client1"}, 10e-6, 1)
STAT = Metric("file_stat", "op/s", "higher", "file-stat")
WRITE = Metric("write_bandwidth", "MiB/s", "higher", "write", 2**20)
STATS = {"file-stat": (100.0, 104.0)}


def samples(cpu_s: float, length_s: float = 10.0):
    """Of a server and a client that use so much CPU each second, and send something."""
    columns = ["time_s", "node/server1/cpu_s", "node/client1/cpu_s", "node/client1/sent_bytes"]
    lines = [json.dumps({"format": FORMAT, "every_s": 0.2, "columns": [[name, 1e-6] for name in columns]})]
    for step in range(round(length_s / 0.2) + 1):
        at_s = step * 0.2
        row = (100 + at_s, cpu_s * at_s, cpu_s * at_s, 1e6 * at_s)
        lines.append(" ".join(str(round(each * 1e6)) for each in row))
    return read("\n".join(lines) + "\n")


def why(values, *, cpu_s=0.4, windows=STATS, promise=PROMISE, kernels=KERNELS):
    return reached(samples(cpu_s), windows, HOSTS, promise, kernels, values)


def test_few_calls_for_each_request_by_a_kernel_that_is_busy_are_its_ceiling():
    # 0.8 CPU seconds a second for 4,000 stats are 200 us each, 20 calls of 10 us.
    said = why({STAT: 4000.0})
    assert said == {
        "file_stat": "each request took the CPU time of 20 system calls of nodes' own kernels, which worked for 80% of "
        "the time: their ceiling, not the file system's"
    }


@pytest.mark.parametrize(
    "keys",
    [
        {"values": {STAT: 400.0}},  # 200 calls each
        {"values": {STAT: 1000.0}, "cpu_s": 0.1},  # 20 calls each, and a fifth of the time
        {"values": {STAT: 4000.0}, "windows": {"file-stat": (100.0, 100.1)}},  # too short for telemetry
        {"values": {STAT: 4000.0}, "windows": {"write": (100.0, 104.0)}},  # another operation
        {"values": {replace(WRITE, request_bytes=0): 50.0}, "windows": {"write": (100.0, 104.0)}},
        {"values": {STAT: 4000.0}, "kernels": Kernels({"client9"}, 10e-6, 1)},  # nobody's own
    ],
)
def test_what_is_not_told_to_be_a_ceiling(keys):
    assert why(**keys) == {}


def test_a_bandwidth_is_requests_of_a_size():
    windows = {"write": (100.0, 105.0)}
    assert why({WRITE: 50.0}, windows=windows) == {}  # 16 ms each
    small = replace(WRITE, request_bytes=4096)
    assert "4 system calls" in why({small: 75.0}, windows=windows)["write_bandwidth"]


def test_who_waits_for_each_answer_is_as_slow_as_both_kernels_together():
    free = Promise(None, None, None)
    assert why({STAT: 2500.0}, cpu_s=0.25, promise=free) != {}  # one rank, whose time is theirs to a half
    assert why({STAT: 2500.0}, cpu_s=0.25, promise=free, kernels=replace(KERNELS, ranks=4)) == {}


def test_what_was_measured_together_is_counted_together():
    create = Metric("file_create", "op/s", "higher", "file-create")
    windows = {"file-create": (100.0, 100.2), "file-stat": (100.2, 100.3), "create+stat": (100.0, 102.0)}
    told = reached(samples(0.4), windows, HOSTS, PROMISE, KERNELS, {create: 10_000.0, STAT: 30_000.0})
    # 1.6 s for 2,000 creations and 3,000 stats are 320 us each.
    assert "32 system calls" in told["file_create"] and "32 system calls" in told["file_stat"]


def trial(number: int, ratio: float, reason: str = "") -> Trial:
    about = {"file_stat": {"emulated": reason, "refused": ""}}
    return Trial(
        number, "mdtest", ratio, 1, 1, 1, "done", "now", metrics={"file_stat": 1000.0 / ratio}, disturbance=about
    )


def test_most_trials_of_a_ratio_make_it_so():
    told = [trial(1, 1), trial(2, 1), trial(3, 2, "slow"), trial(4, 2, "slow"), trial(5, 2)]
    assert emulated(told, "file_stat") == "at ratio 2 slow"
    assert emulated(told[:3] + told[4:], "file_stat") == ""
    assert emulated(told, "file_create") == ""


def test_it_gets_no_verdict_however_clear_its_values_are():
    values = {1.0: [100.0, 101.0, 99.0], 2.0: [50.0, 50.5, 49.5], 4.0: [100.0, 101.0, 99.0]}
    series = Series("nfs", "mdtest", STAT, 0.2, {1.0: 4, 2.0: 2, 4.0: 1}, values)
    assert judge(series).breaks_at == 2
    verdict = judge(replace(series, emulated="at ratio 1 it is slow"))
    assert [row.state for row in verdict.folded] == ["undecided", "undecided"]
    assert verdict.breaks_at is None and verdict.undecided == ()
    assert verdict.sentence == "NFS's file stat (mdtest) gets no verdict: at ratio 1 it is slow."
    assert verdict.to_json()["emulated"] == "at ratio 1 it is slow"
    assert [row.loss for row in verdict.folded] == [row.loss for row in judge(series).folded]


def test_what_gets_no_verdict_has_a_sign_of_its_own_wherever_it_is_shown(tmp_path, capsys):
    nothing = Disturbance(1.0, 0.0, 0.0, 0.0, 0.0).to_json(0.1)
    about = {"file_stat": nothing | {"emulated": "the kernels of nodes were busy"}}
    many = [replace(t, disturbance=about) if t.workload == "mdtest" else t for t in runs.trials()]
    runs.make_run(tmp_path, many)
    page = write_report(tmp_path).html.read_text()
    cells = re.findall(
        r'title="the emulation&#39;s ceiling, no verdict: [^>]*><span class="mark-letter">⊤</span>', page
    )
    assert len(cells) == 3 and 'mark-letter">⊤</span> ceiling: what nodes' in page
    with Store.open(tmp_path) as store:
        run = analyse(store)
    terminal.said(run)
    said = capsys.readouterr().out
    (row,) = [line for line in said.splitlines() if "mdtest file stat" in line]
    assert row.count("⊤") == 3 and "?" not in row and "⊤ the emulation's ceiling: no verdict" in said
    assert markdown.write(document(run)).count("⊤ ceiling") == 3
    assert latex.write(document(run)).count(r"\ensuremath{\top} ceiling") == 3
    runs.make_run(tmp_path / "plain")
    assert "⊤" not in write_report(tmp_path / "plain").html.read_text()
