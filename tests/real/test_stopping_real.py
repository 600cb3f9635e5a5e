"""Trials that hang for real: the brick of a GlusterFS stands still in the midst of a write; the run ends in time."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from support import IOR, Running, Snapshot, brick, listed, nothing_left, pliant, study, until

pytestmark = [pytest.mark.real, pytest.mark.paired]

LONG = IOR.replace("4 MiB", "24 MiB")
PATIENT = "ping_timeout_s = 600"
"""Clients that wait for ever: as it is, they give a silent brick up after 42 s, and a trial fails."""


@pytest.fixture
def before():
    return Snapshot.take()


def rows(directory):
    with (directory / "trials.csv").open() as file:
        return {row["number"]: row for row in csv.DictReader(file)}.values()


def written(pid: int) -> int:
    """Bytes that a process has written so far."""
    return int(re.search(r"^wchar: (\d+)$", Path(f"/proc/{pid}/io").read_text(), re.M)[1])


def hang(running: Running, number: int) -> None:
    """Stop the brick when the workload of the `number`th trial has written some of its data."""
    until(lambda: list(running.output.glob(f"trials/{number:04d}-*/telemetry.txt")), f"trial {number}", 90)
    pid = until(lambda: brick(running), "a brick")
    began = written(pid)
    until(lambda: written(pid) > began + 2 * 2**20, "some data", 30)
    os.kill(pid, signal.SIGSTOP)


def trial(running: Running, number: int) -> Path | None:
    """The directory of a trial once it has begun; None if the run ends without it."""
    found = lambda: list(running.output.glob(f"trials/{number:04d}-*"))  # noqa: E731
    until(lambda: found() or running.process.poll() is not None, f"trial {number}", 120)
    return next(iter(found()), None)


def test_folded_trials_that_hang_are_stopped_and_the_ratio_breaks(tmp_path, before):
    """With this seed the baseline is first. What the machine makes invalid is repeated."""
    out = tmp_path / "out"
    file = study(tmp_path, repetitions=2, trial_timeout="10 min", workloads=LONG, options=PATIENT)
    with Running(file, out) as running:
        for number in range(1, 17):
            directory = trial(running, number)
            if directory is None:
                break
            if directory.name.endswith("ratio2"):
                hang(running, number)
        assert running.wait() == 0, running.said
        said = running.said
    nothing_left(before)
    assert listed() == []
    assert "Traceback" not in said and "was stopped; deploying the cluster again" in said
    trials = [row for row in rows(out) if row["state"] != "invalid"]
    assert [row["state"] for row in trials if row["ratio"] == "1"] == ["done"] * 2
    folded = [row for row in trials if row["ratio"] == "2"]
    assert len(folded) == 2
    for row in folded:
        assert row["state"] == "censored", row["reason"]
        assert row["reason"].startswith("its loss is shown: write bandwidth is at most ")
        assert 30 < float(row["duration_s"]) < 45, "patience, and not the timeout"
    verdicts = {each["metric"]: each for each in json.loads((out / "verdict.json").read_text())["verdicts"]}
    assert verdicts["write_bandwidth"]["breaks_at"] == 2


def test_a_budget_ends_a_trial_that_hangs_and_a_larger_one_goes_on(tmp_path, before):
    out = tmp_path / "out"
    file = study(tmp_path, repetitions=1, workloads=LONG, options=PATIENT)
    text = file.read_text()
    file.write_text(text.replace("seed = 3", 'seed = 3\nbudget = "30 s"'))
    began = time.monotonic()
    with Running(file, out) as running:
        hang(running, 1)
        status = running.wait()
        said = running.said
    took_s = time.monotonic() - began
    assert 30 <= took_s < 50, said
    nothing_left(before)
    (trial,) = rows(out) if (out / "trials.csv").exists() else [{}]
    assert status == 0, said
    assert (trial["state"], trial["reason"]) == ("censored", "the budget was spent")
    file.write_text(text.replace("seed = 3", 'seed = 3\nbudget = "5 min"'))
    done = pliant("run", file, "--output", out)
    assert done.returncode == 0, done.stderr
    assert "goes on: 1 trials have ended" in done.stderr
    first, second, *others = rows(out)
    assert (first["state"], first["ratio"], first["attempt"]) == ("censored", "1", "1")
    assert (second["ratio"], second["attempt"]) == ("1", "2")
    assert {row["state"] for row in (second, *others)} <= {"done", "invalid"}, "whatever else the machine does"
    assert {row["ratio"] for row in others if row["state"] == "done"} <= {"1", "2"}
    nothing_left(before)
