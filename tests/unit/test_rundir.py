"""The directory of a run: one at a time, and what becomes of a run that was cut short."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import runs
from click.testing import CliRunner

from pliant import cli
from pliant.campaign import rundir
from pliant.errors import UserError
from pliant.machine import journal
from pliant.results.store import Store
from pliant.statistics.search import Todo
from pliant.trial import INTERRUPTED

STUDY = {"study": {"name": "a", "description": "", "seed": 1}, "fold": {"max_loss": 0.1}, "power": {"idle": 90}}
CONDITIONS = {"glusterfs": {"machine": {"kernel": "6.1"}}}


def begun(directory: Path, many=(), **documents: str) -> Store:
    more = {rundir.CONDITIONS: json.dumps(CONDITIONS), **documents}
    store = Store.create(directory, runs.STUDY, STUDY, [runs.info()], runs.FACTS, more)
    for trial in many:
        store.end(trial)
        (directory / trial.directory).mkdir(parents=True)
    return store


@pytest.mark.parametrize(
    ("study", "conditions", "said"),
    [
        (STUDY, CONDITIONS, ""),
        (STUDY | {"power": {"idle": 10}}, CONDITIONS, ""),
        (STUDY | {"study": STUDY["study"] | {"description": "x", "budget": 9}}, CONDITIONS, ""),
        (STUDY | {"fold": {"max_loss": 0.2}}, CONDITIONS, "it is of another study: fold.max_loss was 0.1 and is 0.2"),
        (
            STUDY | {"study": {"name": "b", "seed": 2}},
            CONDITIONS,
            'it is of another study: study.name was "a" and is "b" (1 more)',
        ),
        (
            STUDY,
            {"glusterfs": {"machine": {"kernel": "6.18"}}},
            'this is not what it was begun on: glusterfs.machine.kernel was "6.1" and is "6.18"',
        ),
        (STUDY, None, ""),
    ],
)
def test_a_run_goes_on_with_the_same_study_on_the_same_machine(tmp_path, study, conditions, said):
    with begun(tmp_path) as store:
        assert rundir.changes(store, study, conditions) == said


def test_a_run_of_an_older_version_does_not_go_on(tmp_path):
    runs.make_run(tmp_path)
    with Store.open(tmp_path) as store:
        assert rundir.changes(store, store.study(), {}) == "it was begun by an older pliant"
        assert rundir.state_of(store) == "complete"


def test_half_trials_are_struck_with_their_remains_and_nothing_else(tmp_path):
    done = runs.trials()[:2]
    failed = replace(runs.trials()[2], state="failed", reason="no route", metrics={})
    half = [
        replace(runs.trials()[3], state="running", metrics={}),
        replace(runs.trials()[4], state="failed", reason=INTERRUPTED, metrics={}),
    ]
    with begun(tmp_path, [*done, failed, *half]) as store:
        (tmp_path / "trials/0099-of-which-nobody-knows").mkdir()
        assert rundir.go_on(store) == 3
        assert store.trials() == [*done, failed]
        assert sorted(path.name for path in (tmp_path / "trials").iterdir()) == ["0001", "0002", "0003"]
        assert store.facts()["resumed"].startswith("after 3 trials, at 2")
        assert rundir.go_on(store) == 3
        assert store.facts()["resumed"].count("after 3 trials") == 2


def test_one_at_a_time(tmp_path):
    with rundir.locked(tmp_path / "run"):
        script = (
            "import pathlib, sys\nfrom pliant.campaign import rundir\n"
            "with rundir.locked(pathlib.Path(sys.argv[1])):\n    pass\n"
        )
        argv = [sys.executable, "-c", script, str(tmp_path / "run")]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=20)
        last = done.stderr.splitlines()[-1]
        assert f"another `pliant run` (process {os.getpid()}) is at work in {tmp_path}/run; wait for it" in last
    with rundir.locked(tmp_path / "run"):
        pass


HOLDER = """
import pathlib, sys, time
from pliant.campaign import rundir
with rundir.locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_state_is_known_without_a_lock(tmp_path):
    with begun(tmp_path) as store:
        assert rundir.state_of(store) == "interrupted"
        argv = [sys.executable, "-c", HOLDER, str(tmp_path)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as holder:
            holder.stdout.readline()
            assert rundir.state_of(store) == "running"
            holder.send_signal(signal.SIGKILL)
        assert rundir.state_of(store) == "interrupted"
        with rundir.locked(tmp_path):
            assert rundir.state_of(store, mine=True) == "interrupted"
        store.set_documents({rundir.FINISHED: "now"})
        assert rundir.state_of(store) == "complete"


@pytest.mark.parametrize("name", ["precious", "report.html", "trials"])
def test_what_is_in_the_way_is_left_alone(tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="exists, is not empty and holds no run"):
        rundir.check_free(tmp_path)


def test_what_an_interrupted_beginning_leaves_is_not_in_the_way(tmp_path):
    rundir.check_free(tmp_path / "not-there")
    rundir.check_free(tmp_path)
    for name in ("lock", "results.sqlite", ".results.sqlite.new", ".results.sqlite.new-journal"):
        (tmp_path / name).touch()
    rundir.check_free(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file; choose another"):
        rundir.check_free(tmp_path / "file")


def test_deployments_of_a_run_whose_maker_is_dead_are_removed(tmp_path, monkeypatch):
    made = [journal.Journal.create("x", run=run, state=tmp_path) for run in ("", "/a/run", str(tmp_path / "run"))]
    alive = journal.Journal.create("x", run=str(tmp_path / "run"), state=tmp_path)
    for each in made:
        each.write("owner.json", each.read("owner.json") | {"started": 1})
    removed = []
    monkeypatch.setattr(rundir.here, "deployments", lambda: [*made, alive])
    monkeypatch.setattr(rundir.here, "remove", lambda each: removed.append(each.id))
    monkeypatch.chdir(tmp_path)
    rundir.remove_deployments([Path("run"), Path("other")])
    assert removed == [made[2].id]


def plan(left=(), skipped=()) -> str:
    return json.dumps({"left": left, "skipped": skipped})


def test_how_far_a_run_is(tmp_path):
    done, failed = runs.trials()[0], replace(runs.trials()[1], state="failed", metrics={})
    running = replace(runs.trials()[2], state="running", metrics={})
    left = [Todo("ior", running.ratio, running.repetition), Todo("ior", 8.0, 1)]
    documents = {rundir.PLAN: plan(left, [Todo("mdtest", 4.0, 2)]), rundir.SPENT: "61.5"}
    with begun(tmp_path, [done, failed, running], **documents) as store:
        now = rundir.status(tmp_path)
        assert now.state == "interrupted"
        assert now.counts == {
            "todo": 2,
            "running": 0,
            "done": 1,
            "censored": 0,
            "failed": 1,
            "invalid": 0,
            "skipped": 1,
        }
        with rundir.locked(tmp_path):
            now = rundir.status(tmp_path)
            assert (now.state, now.counts["todo"], now.counts["running"]) == ("running", 1, 1)
        said = CliRunner().invoke(cli.cli, ["status", str(tmp_path)]).output
        assert "interrupted; 2 todo, 1 done, 1 failed, 1 skipped" in " ".join(said.split())
        for line in ("ior", "mdtest"):
            assert line in said
        shown = json.loads(CliRunner().invoke(cli.cli, ["status", str(tmp_path), "--json"]).output)
        assert shown["left"][1] == Todo("ior", 8.0, 1)._asdict()
        assert [each["state"] for each in shown["begun"]] == ["done", "failed"]
        store.end(replace(running, state="censored", bounds={"write_bandwidth": 8.0}))
        said = " ".join(CliRunner().invoke(cli.cli, ["status", str(tmp_path)]).output.split())
        assert "1 done, 1 censored, 1 failed" in said and "⊘ censored" in said
        store.set_documents({rundir.FINISHED: "now"})
        assert rundir.status(tmp_path).counts["todo"] == 0
