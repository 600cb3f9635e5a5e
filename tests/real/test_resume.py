"""A run that is interrupted, however that happens, goes on as if nothing had been: each trial once, none half."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import random
import subprocess
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support import Running, Snapshot, nothing_left, pliant, study

from pliant.campaign.rundir import state_of
from pliant.results.store import Store

pytestmark = [pytest.mark.real, pytest.mark.paired]

SIX = {"ratios": [1, 2], "repetitions": 3}


def rows(directory: Path) -> list[dict[str, str]]:
    with (directory / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def measured(directory: Path) -> Counter[tuple[str, ...]]:
    """The trials that a run has, each with what it stands for, and how often: a busy machine may have cost attempts."""
    names = ("filesystem", "workload", "ratio", "hosts", "repetition", "metric", "key")
    table = rows(directory)
    assert [int(row["number"]) for row in table] == sorted(int(row["number"]) for row in table)
    assert not [row for row in table if row["state"] not in ("done", "invalid")]
    return Counter(tuple(row[name] for name in names) for row in table if row["state"] == "done")


@dataclass(frozen=True)
class Whole:
    """A run without an interruption, how long it took, and what was seen of it from outside while it ran."""

    out: Path
    lasts_s: float
    process: int
    second: subprocess.CompletedProcess[str]
    statuses: list[dict[str, Any]]
    shown: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study run without an interruption; its trials are in a store of their own."""
    top = tmp_path_factory.mktemp("whole")
    file, out, began = study(top, **SIX), top / "out", time.monotonic()
    with Running(file, out) as running:
        running.until("deploy")
        second = pliant("run", file, "--output", out)
        statuses = [json.loads(pliant("status", out, "--json").stdout)]
        shown = pliant("status", out)
        assert running.wait() == 0, running.said
    lasts_s = time.monotonic() - began
    statuses.append(json.loads(pliant("status", out, "--json").stdout))
    return Whole(out, lasts_s, running.process.pid, second, statuses, shown)


@pytest.mark.parametrize("seed", range(int(os.environ.get("PLIANT_KILLS", "2"))))
def test_killed_at_a_random_moment_and_resumed_it_is_the_same_run(whole, tmp_path, seed):
    """PLIANT_KILLS says how often; every second time it is killed in the midst of trials."""
    before = Snapshot.take()
    file, out, chance = study(tmp_path, **SIX), tmp_path / "out", random.Random(seed)
    with Running(file, out) as running:
        if seed % 2:
            running.until(r"\[1/6\]")
            time.sleep(chance.uniform(0, 6))
        else:
            time.sleep(chance.uniform(0, whole.lasts_s))
        running.kill(group=chance.random() < 0.5)
    done = pliant("run", file, "--output", out)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert measured(out) == measured(whole.out)
    assert set(measured(out).values()) == {1}
    assert all(row["reused"] == "" for row in rows(out))
    nothing_left(before)
    done = pliant("verify", out)
    assert (done.returncode, done.stderr) == (0, "")


def test_run_again_when_complete_measures_nothing(whole, tmp_path, store):
    out = whole.out
    before = (out / "results.sqlite").read_bytes()
    done = pliant("run", out.parent / "study.toml", "--output", out)
    assert done.returncode == 0
    assert f"{out} holds this run, and it is complete: nothing is measured" in done.stderr
    assert "deploy" not in done.stderr
    assert (out / "results.sqlite").read_bytes() == before
    other = study(tmp_path, **SIX, clients=2)
    done = pliant("run", other, "--output", out)
    assert (done.returncode, done.stdout) == (2, "")
    assert "is of another study: filesystem.roles.client was 1 and is 2; choose another directory" in done.stderr


def test_what_was_measured_before_is_not_measured_again(whole, tmp_path, monkeypatch):
    uninterrupted = whole.out
    monkeypatch.setenv("PLIANT_STORE", str(next((uninterrupted / "trials").iterdir()).readlink().parent))
    file = study(tmp_path, **SIX)
    done = pliant("run", file, "--output", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert "deploy" not in done.stderr
    assert measured(tmp_path / "again") == measured(uninterrupted)
    assert all(row["reused"].startswith(f"{uninterrupted}, 2") for row in rows(tmp_path / "again"))
    values = [[row["value"] for row in rows(each)] for each in (uninterrupted, tmp_path / "again")]
    assert values[0] == values[1]


def test_a_second_run_in_the_same_directory_is_refused_and_the_first_goes_on(whole):
    assert (whole.second.returncode, whole.second.stdout) == (2, "")
    assert f"another `pliant run` (process {whole.process}) is at work in {whole.out}" in whole.second.stderr


def test_how_far_it_is_is_seen_from_another_terminal(whole):
    during, after = whole.statuses
    assert (during["state"], after["state"]) == ("running", "complete")
    assert during["trials"]["todo"] + during["trials"]["running"] == after["trials"]["done"] == 6
    assert (whole.shown.returncode, whole.shown.stderr) == (0, "")
    assert f"{whole.out}: running; " in " ".join(whole.shown.stdout.split("\n"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "pliant-test", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_ends_the_run_with_one_sentence_and_it_goes_on_when_there_is_room(tmp_path, small_disk):
    before = Snapshot.take()
    file, out = study(tmp_path, **SIX), small_disk / "out"
    with Running(file, out) as running:
        running.until(r"\[2/6\]")
        with contextlib.suppress(OSError), (small_disk / "filler").open("wb") as filler:
            filler.write(b"x" * (os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize))
        assert running.wait() == 1
    last = running.said.rstrip().splitlines()[-1]
    assert last.startswith("failed: ")
    assert "full" in last and "make room, then run the same command again" in last
    assert "Traceback" not in running.said
    nothing_left(before)
    with Store.look(out) as store:
        assert state_of(store) == "interrupted"
        assert sum(trial.state == "done" for trial in store.trials()) >= 2
        assert store.changed() == []
    (small_disk / "filler").unlink()
    done = pliant("run", file, "--output", out)
    assert done.returncode == 0, done.stderr
    assert set(measured(out).values()) == {1}
    assert len(measured(out)) == 6 * 2


def test_an_archive_gives_the_same_verdict_elsewhere(whole, tmp_path):
    out = whole.out
    packed, there = tmp_path / "run.tar.gz", tmp_path / "there"
    assert pliant("archive", out, packed).returncode == 0
    done = pliant("unpack", packed, there)
    assert done.returncode == 0, done.stderr
    assert (there / "verdict.json").read_bytes() == (out / "verdict.json").read_bytes()
    assert pliant("verify", there).returncode == 0
    assert not [path for path in there.rglob("*") if path.is_symlink()]
    done = pliant("trials", there, "--format", "csv")
    assert done.stdout == (out / "trials.csv").read_text()


def test_a_flipped_bit_is_found(whole, monkeypatch):
    uninterrupted = whole.out
    artefact = next((uninterrupted / "trials").iterdir()).resolve()
    monkeypatch.setenv("PLIANT_STORE", str(artefact.parent))
    victim = artefact / "telemetry.txt"
    before = victim.read_bytes()
    content = bytearray(before)
    content[len(content) // 2] ^= 4
    victim.chmod(0o644)
    victim.write_bytes(content)
    for arguments in ([], [uninterrupted]):
        done = pliant("verify", *arguments)
        assert (done.returncode, done.stdout) == (1, f"{victim} was changed\n")
    victim.write_bytes(before)
    victim.chmod(0o444)
    assert pliant("verify").returncode == 0
