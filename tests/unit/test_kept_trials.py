"""Trials go into the store when they are done, and come out of it again."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from dataclasses import replace

import kept_runs
import pytest
import runs
from kept_runs import Determined, todo_of

from pliant.campaign import kept_trials as keeping
from pliant.campaign.kept_trials import Keeper
from pliant.digest import key
from pliant.errors import FatalError
from pliant.results.artefacts import Artefacts, changed


@pytest.fixture
def store(tmp_path):
    return Artefacts(tmp_path / "store")


def keeper(run, store, **determined) -> Keeper:
    run.mkdir(exist_ok=True)
    return Keeper(run, store, {"": Determined(**determined)})


def kept(run, store):
    """A done trial of a run, kept."""
    of = keeper(run, store)
    trial = runs.trials()[0]
    trial = replace(trial, key=of.key(todo_of(trial)))
    kept_runs.output(run, trial)
    of.keep(trial, todo_of(trial))
    return trial


def test_a_done_trial_is_in_the_store_with_its_record_and_what_determined_it(tmp_path, store):
    trial = kept(tmp_path / "run", store)
    (artefact,) = store.all()
    assert artefact.name == f"{trial.key}-{trial.workload}-ratio{trial.ratio:g}"
    link = tmp_path / "run" / trial.directory
    assert link.readlink() == artefact
    assert changed(artefact) == []
    assert key(json.loads((link / "determined-by.json").read_text())) == trial.key
    record = json.loads((link / "trial.json").read_text())
    assert record == {"trial": trial.to_json(), "run": str(tmp_path / "run")}


def test_another_run_has_it_without_measuring(tmp_path, store):
    trial = kept(tmp_path / "run", store)
    other = keeper(tmp_path / "other", store)
    found = other.reuse(todo_of(trial), 7, 2, "trials/0007-x", pytest.fail)
    assert found == replace(
        trial, number=7, directory="trials/0007-x", reused=f"{tmp_path}/run, {trial.started_at}", attempt=2
    )
    assert (tmp_path / "other/trials/0007-x/write.out").read_text() == "trial 1\n"
    assert keeper(tmp_path / "other", store, kernel="6.19").reuse(todo_of(trial), 8, 1, "trials/0008", print) is None
    shutil.rmtree(tmp_path / "run")
    assert store.garbage().artefacts == (), "the other run needs it"


def test_what_this_run_measured_and_could_not_store_is_its_own(tmp_path, store):
    """Killed between keeping a trial and storing it: the link is there, and a trial that is half."""
    trial = kept(tmp_path / "run", store)
    again = keeper(tmp_path / "run", store)
    found = again.reuse(todo_of(trial), 1, 1, trial.directory, pytest.fail)
    assert found == trial
    assert changed((tmp_path / "run" / trial.directory).resolve()) == []


def test_what_was_changed_is_not_believed(tmp_path, store):
    trial = kept(tmp_path / "run", store)
    (artefact,) = store.all()
    (artefact / "write.out").chmod(0o644)
    (artefact / "write.out").write_text("trial 2\n")
    said = []
    assert keeper(tmp_path / "other", store).reuse(todo_of(trial), 1, 1, "trials/0001", said.append) is None
    assert said == [f"{artefact}/write.out was changed: measured anew; see `pliant verify`"]
    assert not (tmp_path / "other/trials").exists()


def test_what_failed_stays_in_the_run_and_is_sealed(tmp_path, store):
    of = keeper(tmp_path / "run", store)
    failed = replace(runs.trials()[0], state="failed", reason="no route", metrics={})
    of.keep(failed, todo_of(failed))
    assert store.all() == []
    assert changed(tmp_path / "run" / failed.directory) == []
    assert sorted(p.name for p in (tmp_path / "run" / failed.directory).iterdir()) == ["SHA256SUMS", "trial.json"]


def test_what_was_stopped_stays_in_the_run_and_is_sealed(tmp_path, store):
    """What it was held against is its own run's; another may have to wait longer, or less long."""
    of = keeper(tmp_path / "run", store)
    stopped = replace(runs.trials()[0], state="censored", metrics={}, bounds={"write_bandwidth": 8.5})
    of.keep(stopped, todo_of(stopped))
    assert store.all() == [] and of.reuse(todo_of(stopped), 2, 1, "trials/0002", pytest.fail) is None
    assert changed(tmp_path / "run" / stopped.directory) == []
    record = json.loads((tmp_path / "run" / stopped.directory / "trial.json").read_text())
    assert record["trial"]["bounds"] == {"write_bandwidth": 8.5}


def test_two_that_measured_the_same_keep_both(tmp_path, store):
    kept(tmp_path / "run", store)
    kept(tmp_path / "other", store)
    trial = runs.trials()[0]
    assert len(store.all()) == 1
    assert (tmp_path / "run" / trial.directory).is_symlink()
    assert not (tmp_path / "other" / trial.directory).is_symlink()
    assert changed(tmp_path / "other" / trial.directory) == []


def test_a_disk_without_room_ends_the_run_before_a_trial_begins(tmp_path, store, monkeypatch):
    of = keeper(tmp_path / "run", store)
    of.need_room()
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(keeping.shutil, "disk_usage", lambda path: usage(keeping.ROOM_BYTES // 2))
    with pytest.raises(FatalError, match=r"^the disk of .*/run is full: 4 MiB are free, and a trial needs 8 MiB; make"):
        of.need_room()
