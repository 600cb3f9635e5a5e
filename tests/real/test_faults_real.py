"""Studies with faults, for real: servers that lose their power while IOR runs, on two copies and on one."""

from __future__ import annotations

import csv
import json

import pytest
from support import listed, pliant, study

pytestmark = [pytest.mark.real, pytest.mark.paired]

IOR = '[[workload]]\nkind = "ior"\nblock = "{block}"\noperations = ["write"]\n'
FAULT = '[[fault]]\nwhat = "{what}"\nrole = "server"\nat = "{at}"\nheal = "{heal}"\nrecovery = "1 min"\n'


def run(directory, *, block="24 MiB", what="crash", at="2 s", heal="5 s", **keys):
    """The verdict on the faults of a run, and the rows of the trials through them."""
    workloads = IOR.format(block=block) + FAULT.format(what=what, at=at, heal=heal)
    file = study(directory, servers=2, clients=2, ratios=[1], workloads=workloads, **keys)
    done = pliant("run", file, "--output", directory / "run")
    assert listed() == []
    verdict = json.loads((directory / "run/verdict.json").read_text())
    rows = list(csv.DictReader((directory / "run/trials.csv").read_text().splitlines()))
    [told] = verdict["faults"]
    return done, told, [row for row in rows if row["workload"] == told["workload"]]


def test_on_two_copies_the_workload_goes_on_and_the_data_is_intact(tmp_path):
    done, told, rows = run(tmp_path, volume="replicate 2", options="ping_timeout_s = 1")
    assert done.returncode == 0, done.stderr
    assert [row["state"] for row in rows] == ["done"]
    assert rows[0]["data_intact"] == "True"
    [ratio] = told["ratios"]
    assert (told["intact"], ratio["intact"], ratio["completed"]) == (True, 1, 1)
    assert 0 < ratio["recovered_s"] < 60
    assert 0.3 < ratio["stalled_s"] < 10, "no longer than until the server is given up, and it is deployed again"
    assert ratio["metrics"]["write_bandwidth"]["through"] > 0
    assert "data intact, I/O stood still for" in done.stderr
    assert "what was written before is intact in the trial" in " ".join(done.stdout.split())


def test_on_one_copy_io_fails_and_the_data_is_back_when_the_server_is(tmp_path):
    """With two servers of one copy each, a rank whose file is on the one that crashes has nowhere to write."""
    done, told, rows = run(tmp_path, volume="distribute", options="ping_timeout_s = 1", block="32 MiB")
    assert done.returncode == 0, done.stderr
    assert len(rows) == 1, "what fails through a fault is not tried again"
    [ratio] = told["ratios"]
    assert (ratio["intact"], told["intact"]) == (1, True)
    if rows[0]["state"] == "failed":
        assert "through the fault the workload failed" in rows[0]["reason"]
    else:  # both files may be on the other server
        assert rows[0]["state"] == "done"


def test_a_server_that_is_cut_off_is_waited_for(tmp_path):
    done, told, rows = run(tmp_path, volume="distribute", what="cut", at="1.5 s", heal="4.5 s", block="16 MiB")
    assert done.returncode == 0, done.stderr
    assert [row["state"] for row in rows] == ["done"], rows
    [ratio] = told["ratios"]
    assert (ratio["intact"], ratio["completed"], ratio["recovered"]) == (1, 1, 1)
