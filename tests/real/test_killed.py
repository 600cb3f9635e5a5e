"""kill -9 at any moment of a run, also while its database is made or a trial is put into the store: it goes on.

The trials themselves take no time and need no machine here; test_resume.py has the same on real clusters.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pliant.results import verifying
from pliant.results.artefacts import Artefacts
from pliant.results.store import DATABASE, Store

SCRIPT = Path(__file__).with_name("killed_run.py")
TRIALS = 2 * 3 * 2 + 2
"""Workloads x ratios x repetitions, and a second attempt at two that failed."""


def started(out: Path, store: Path, *last: int) -> subprocess.Popen[str]:
    argv = [sys.executable, str(SCRIPT), str(out), str(store), *map(str, last)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def table(out: Path) -> list[tuple[object, ...]]:
    """What two runs of the study have in common."""
    with Store.open(out) as store:
        return [
            (t.number, t.workload, t.ratio, t.repetition, t.attempt, t.state, t.directory, t.key, dict(t.metrics))
            for t in store.trials()
        ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    top = tmp_path_factory.mktemp("whole")
    with started(top / "run", top / "store") as running:
        assert running.wait(60) == 0
    return table(top / "run")


@pytest.mark.parametrize("seed", range(int(os.environ.get("PLIANT_KILLS", "2"))))
def test_killed_and_resumed_it_is_as_if_nothing_had_been(whole, tmp_path, seed):
    chance, out, store = random.Random(seed), tmp_path / "run", tmp_path / "store"
    assert len(whole) == TRIALS
    while True:
        with started(out, store) as running:
            if seed % 2 or (out / DATABASE).exists():
                running.stdout.readline()
                time.sleep(chance.uniform(0, 0.25))
            else:  # while it is made
                while not (out / "lock").exists() and running.poll() is None:
                    time.sleep(0.0005)
                time.sleep(chance.uniform(0, 0.05))
            running.send_signal(signal.SIGKILL)
            running.stdout.read()
            ended = running.wait() == 0
        if (out / DATABASE).exists():
            with Store.open(out) as database:
                assert database.changed() == []
        if ended or chance.random() < 0.4:
            break
    ends_as_if_nothing_had_been(whole, out, store)


def test_killed_after_each_trial_was_kept_and_before_it_was_stored(whole, tmp_path):
    """Also after a second attempt, which is not in the store of artefacts under a key of its own."""
    out, store = tmp_path / "run", tmp_path / "store"
    for number in range(1, TRIALS + 1):
        # Twice: what was kept is found, and the run can be killed before it is stored again.
        for _ in range(2):
            with started(out, store, number) as running:
                running.stdout.read()
                assert running.wait(60) == -signal.SIGKILL
    ends_as_if_nothing_had_been(whole, out, store)


def ends_as_if_nothing_had_been(whole, out: Path, store: Path) -> None:
    """Go on with a run: it ends, and nothing tells it from one that was never killed."""
    with started(out, store) as running:
        running.stdout.read()
        assert running.wait(60) == 0
    assert table(out) == whole
    assert list(verifying.of_run(out)) == []
    done = {row[7] for row in whole if row[5] == "done"}
    assert {path.name.partition("-")[0] for path in Artefacts(store).all()} == done
    garbage = Artefacts(store).garbage()
    assert garbage.artefacts == ()
