"""IO500 as a workload: what it runs, what it makes of the output of the real io500, and its score."""

from __future__ import annotations

import math
import re
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from pliant.workloads.io500 import BANDWIDTHS, PHASES, Io500, Io500Options, configuration
from pliant.workloads.kernels import io500 as kernel
from pliant.workloads.kernels import io500_result
from pliant.workloads.model import BEGINNING_S, Running, Toolbox, Workload, windows

DATA = Path(__file__).parent / "data"
CLIENTS = ("client1", "client2")
KERNEL = Toolbox("/venv/bin/python", clients=CLIENTS)
REAL = Toolbox("/venv/bin/python", program="/opt/io500", clients=CLIENTS)
CAPTURED = (DATA / "io500-isc26-result.txt").read_text()
PRINTED = (DATA / "io500-isc26-printed.txt").read_text()
LIST = Io500Options()
SHORT = Io500Options.model_validate({"stonewall": "2 s"})


def result(**changed: object) -> str:
    """What the kernel prints when each phase has its number in the list as its value."""
    scores = {}
    for number, name in enumerate(PHASES, 1):
        scores[name] = kernel.Score(float(number), 301.0)
    text = kernel.summary(scores, 4)
    for name, value in changed.items():
        phase = re.escape(name.replace("_", "-"))
        text = re.sub(rf"(\[{phase}\]\nscore +=) \S+", rf"\1 {value}", text)
    return text


def test_it_is_a_workload():
    workload: type[Workload] = Io500
    assert workload.name == workload.program == "io500"


def test_the_phases_are_those_of_the_list_in_its_order():
    """The order is that of the real one's results, and of what the kernel runs."""
    real = [name for name in re.findall(r"^\[([a-z-]+)\]$", CAPTURED, re.MULTILINE) if name in PHASES]
    assert tuple(real) == PHASES and len(PHASES) == 12
    assert set(BANDWIDTHS) == {name for name in PHASES if name.startswith("ior")}


def test_every_phase_is_a_metric_and_so_are_the_score_and_its_parts():
    metrics = Io500.metrics(LIST)
    assert [each.phase for each in metrics] == [*PHASES, "io500", "io500", "io500"]
    assert [each.name for each in metrics[-3:]] == ["bandwidth_score", "metadata_score", "score"]
    for each in metrics[:12]:
        assert each.name == each.phase.replace("-", "_")
        assert each.unit == ("GiB/s" if each.phase in BANDWIDTHS else "kIOPS")
    assert {each.request_bytes for each in metrics if "easy" in each.name and each.unit == "GiB/s"} == {2 << 20}
    assert {each.better for each in metrics} == {"higher"}


def test_the_kernel_runs_all_phases_in_one_job():
    (job,) = Io500.phases(Io500Options(ranks_per_client=2), "/mnt/x", KERNEL)
    assert Path(job.argv[2]).is_file() and job.waits and job.ranks_per_client == 2
    assert " ".join(job.argv[3:]) == (
        "--wait -d /mnt/x -D 300 -t 2097152 -b 10401873920000 -s 10000000 -n 1000000 -m 1000000 --drop-caches"
    )
    settings = kernel.Settings(list(job.argv[4:]))
    assert (settings.stonewall_s, settings.drop_caches) == (300, True)
    (kept,) = Io500.phases(Io500Options(caches="kept"), "/mnt/x", KERNEL)
    assert "--drop-caches" not in kept.argv


def test_the_kernels_phases_have_the_options_that_the_list_prescribes():
    settings = kernel.Settings(["-d", "/mnt/x"])
    easy, hard = settings.ior("easy", "-w"), settings.ior("hard", "-w")
    assert (easy.transfer, easy.file_per_process, easy.fsync, easy.reorder) == (2 << 20, True, True, True)
    assert (hard.transfer, hard.block, hard.segments, hard.file_per_process) == (47008, 47008, 10_000_000, False)
    easy, hard = settings.mdtest("easy"), settings.mdtest("hard")
    assert (easy.unique, easy.write_bytes, easy.stride, easy.kinds, easy.items) == (True, 0, 1, ["file"], 1_000_000)
    assert (hard.unique, hard.write_bytes, hard.read_bytes, hard.verify) == (False, 3901, 3901, True)


def test_the_real_one_has_its_configuration_from_a_file_and_leaves_its_results_in_one():
    config, job, results = Io500.phases(SHORT, "/mnt/x", REAL)
    assert config.each == {"client1": ("tee", "/mnt/x/io500.ini")}
    assert config.stdin == configuration(SHORT, "/mnt/x")
    assert job.argv == ("/opt/io500", "/mnt/x/io500.ini") and not job.waits
    assert results.each["client1"][-1] == "/mnt/x/results/result.txt"
    assert "stonewall-time = 2\n" in config.stdin and "drop-caches = TRUE\n" in config.stdin
    assert "[find]\nnproc = 2\n" in configuration(Io500Options(find_ranks=2), "/mnt/x")
    assert "drop-caches = FALSE\n" in configuration(Io500Options(caches="kept"), "/mnt/x")


def test_find_can_have_fewer_ranks_and_not_more():
    (job,) = Io500.phases(Io500Options(find_ranks=1), "/mnt/x", KERNEL)
    assert kernel.Settings(list(job.argv[4:])).find_ranks == 1
    assert Io500.unfit(Io500Options(find_ranks=4, ranks_per_client=2), REAL) == ""
    assert "find_ranks = 3 is more than the 2 ranks" in Io500.unfit(Io500Options(find_ranks=3), REAL)


# What it came to


def test_score_and_its_parts_are_what_the_list_defines():
    found = Io500.parse(LIST, {"io500": result()})
    of = {name: float(number) for number, name in enumerate(PHASES, 1)}
    bandwidth = math.prod(of[name] for name in BANDWIDTHS) ** (1 / 4)
    metadata = math.prod(of[name] for name in PHASES if name not in BANDWIDTHS) ** (1 / 8)
    assert found["bandwidth_score"] == pytest.approx(bandwidth)
    assert found["metadata_score"] == pytest.approx(metadata)
    assert found["score"] == pytest.approx(math.sqrt(bandwidth * metadata))
    assert {name: found[name.replace("-", "_")] for name in PHASES} == of


def test_the_real_ones_results_are_read_and_its_score_is_the_same():
    found = Io500.parse(SHORT, {"config@client1": "[global]\n", "io500": PRINTED, "results@client1": CAPTURED})
    assert list(found) == [each.name for each in Io500.metrics(SHORT)]
    said = {
        name: float(value) for name, value in re.findall(r"^(MD|BW|SCORE) +\S* *= ([\d.]+)", CAPTURED, re.MULTILINE)
    }
    assert found["bandwidth_score"] == pytest.approx(said["BW"], rel=1e-4)
    assert found["metadata_score"] == pytest.approx(said["MD"], rel=1e-4)
    assert found["score"] == pytest.approx(said["SCORE"], rel=1e-4)


@pytest.mark.parametrize("value", ["0.000000000", "nan", "-1.0"])
def test_without_a_phase_there_is_no_score(value):
    with pytest.raises(ValueError, match="mdtest-hard-stat"):
        Io500.parse(LIST, {"io500": result(mdtest_hard_stat=value)})
    with pytest.raises(ValueError, match="no value for find"):
        Io500.parse(LIST, {"io500": result().replace("[find]", "[lost]")})


@pytest.mark.parametrize(
    "line",
    ["; ERROR INVALID Errors (3) occured during phase in IOR. This invalidates your run.", "ERROR: cannot open"],
)
def test_what_went_wrong_fails_the_trial(line):
    with pytest.raises(ValueError, match="io500 failed"):
        Io500.parse(SHORT, {"io500": f"{line}\n", "results@client1": CAPTURED})


def test_a_short_stonewall_is_not_valid_for_the_list():
    assert Io500.notes(LIST) == Io500.remarks(LIST, {"io500": result()}) == ()
    (why,) = Io500.notes(SHORT)
    assert why == "not valid for the list of IO500: a stonewall of 2 s is less than 300 s"
    assert Io500.remarks(SHORT, {"io500": result()}) == (why,)


def test_what_phases_say_of_themselves_is_told_by_phase():
    early, found = kernel.Score(1.0, 0.5), kernel.Score(1.0, 0.5)
    early.invalid, found.invalid = "ended before its stonewall", "found nothing, as no name has 01 in it"
    text = kernel.summary({"ior-easy-write": early, "find": found}, 2)
    assert Io500.remarks(LIST, {"io500": text}) == (
        "not valid for the list of IO500: ior-easy-write ended before its stonewall",
        "not valid for the list of IO500: find found nothing, as no name has 01 in it",
    )


def test_the_real_ones_words_for_it_are_understood():
    """In the captured run, of two seconds, mdtest-hard ran out of files."""
    said = Io500.remarks(SHORT, {"results@client1": CAPTURED})
    early = [name for name in PHASES if f"list of IO500: {name} ended before its stonewall" in " | ".join(said)]
    assert said[0] == Io500.notes(SHORT)[0]
    assert early == ["mdtest-hard-write"] and len(said) == 2


# When phases took place


def test_of_the_real_one_is_told_what_is_surely_within_a_phase():
    times = io500_result.windows(CAPTURED.replace("2026-11-30", "2026-11-29"), 0.0)
    shifted = io500_result.windows(CAPTURED.replace("2026-11-30", "2026-11-29"), 100.0)
    lasted = {name: float(s) for name, s in re.findall(r"\[(\S+)\]\n(?:(?!\[).*\n)*?t_delta\s+= (\S+)", CAPTURED)}
    assert times and set(times) <= set(lasted)
    for name, (begin, end) in times.items():
        assert end - begin == pytest.approx(lasted[name] - 1, abs=1e-6)
        assert shifted[name] == pytest.approx((begin + 100, end + 100))
    assert all(name in times for name in PHASES if lasted[name] > 1.001)


def test_its_lines_are_those_of_a_kernel(tmp_path, capsys):
    # As if it had run just now: before the machine began, its monotonic clock has no moments.
    just_now = re.sub(r"(?m)^(t_start\s*=).*$", time.strftime(r"\1 %Y-%m-%d %H:%M:%S"), CAPTURED)
    (tmp_path / "result.txt").write_text(just_now)
    io500_result.main(str(tmp_path / "result.txt"))
    printed = capsys.readouterr().out
    assert printed.startswith(just_now)
    assert set(windows(printed)) == set(io500_result.windows(CAPTURED, 0.0)) != set()


# What it shows before its end


WROTE = "begin ior-easy-write 100.0\nwindow ior-easy-write 100.0 110.0\nresult ior-easy-write 0.5\n"
MADE = "begin mdtest-hard-write 110.0\nwindow mdtest-hard-write 110.0 120.0\nresult mdtest-hard-write 2.0\n"


@pytest.mark.parametrize(
    ("printed", "metrics", "bounds"),
    [
        ("", {}, {}),
        ("begin ior-hard-write 100.0\n", {}, {"ior_hard_write": 2 * 1000 * 47008 / 2**30 / (41 - BEGINNING_S)}),
        (WROTE, {"ior_easy_write": 0.5}, {}),
        # What is read is what was written: 5 GiB, and not all that could have been.
        (f"{WROTE}begin ior-easy-read 121.0\n", {"ior_easy_write": 0.5}, {"ior_easy_read": 5 / (20 - BEGINNING_S)}),
        (f"{MADE}begin mdtest-hard-stat 121.0\n", {"mdtest_hard_write": 2.0}, {"mdtest_hard_stat": 20 / 19}),
        (f"{MADE}begin find 121.0\n", {"mdtest_hard_write": 2.0}, {"find": (20 + 8 + 0.003) / 19}),
    ],
)
def test_what_ended_has_its_value_and_what_is_under_way_a_bound(printed, metrics, bounds):
    options = Io500Options.model_validate({"easy_block": "64 GiB", "hard_segments": 1000, "easy_files": 4000})
    found = Io500.so_far(options, {"io500": printed}, Running("io500", 98.0, 141.0), KERNEL)
    assert found.metrics == metrics
    assert found.bounds == pytest.approx(bounds)


def test_the_real_one_shows_what_it_has_printed():
    half = PRINTED[: PRINTED.index("ior-hard-write")]
    found = Io500.so_far(SHORT, {"io500": half}, Running("io500", 0.0, 20.0), REAL)
    assert set(found.metrics) == {"ior_easy_write", "mdtest_easy_write"} and not found.bounds


# What is refused


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"stonewall": "1.5 s"}, "whole number of seconds"),
        ({"stonewall": "100 ms"}, "whole number of seconds"),
        ({"easy_block": "3 MiB"}, "not a multiple of easy_transfer"),
        ({"easy_transfer": "12 B", "easy_block": "24 B"}, "multiple of 8 bytes"),
        ({"hard_segments": 0}, "greater than or equal to 1"),
        ({"program": "io500"}, "absolute path"),
        ({"find_ranks": 0}, "greater than or equal to 1"),
        ({"find": False}, "Extra inputs"),
    ],
)
def test_options_that_make_no_sense_are_refused(keys, what):
    with pytest.raises(ValidationError, match=what):
        Io500Options.model_validate(keys)


@pytest.mark.parametrize("line", ["-D 0", "-b 3m", "-x 1", "-n 0", "-s x"])
def test_the_kernel_refuses_what_it_cannot_do_before_it_begins(line):
    with pytest.raises(kernel.common.UsageError):
        kernel.Settings(line.split())
