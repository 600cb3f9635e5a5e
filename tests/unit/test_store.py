"""The store: what goes in comes out, a crash loses at most the trial that ran, and damage is told in one sentence."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import runs
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.digest import sha256
from pliant.errors import FatalError, UserError
from pliant.power_model import PowerModel
from pliant.report.writing import write_report
from pliant.results.run_info import RunInfo
from pliant.results.store import DATABASE, SCHEMA_VERSION, Store, write_atomically
from pliant.results.trial_table import CSV_HEADER, write_trials_csv
from pliant.trial import Trial

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)


def stored(directory):
    with Store.open(directory) as store:
        return store.trials()


@pytest.fixture
def store(tmp_path):
    with Store.create(tmp_path, "", {}, [runs.info()], {"kernel": "6.1"}) as store:
        yield store


def test_a_run_comes_back_as_it_was_stored(tmp_path):
    runs.make_run(tmp_path / "a" / "run")
    with Store.open(tmp_path / "a" / "run") as store:
        assert store.trials() == runs.trials()
        assert store.infos() == (runs.info(),)
        assert store.facts() == runs.FACTS
        assert list(store.facts()) == list(runs.FACTS)
        assert store.study_toml() == runs.STUDY
        assert store.study() == {"study": {"name": "synthetic"}}


def test_a_begun_trial_is_kept_as_running_until_it_ends(tmp_path, store):
    begun = runs.trial(1, "ior", 1.0, 1, "running")
    store.begin(begun)
    assert stored(tmp_path) == [begun]
    ended = replace(begun, state="done", metrics={"write_bandwidth": 1.5, "read_bandwidth": math.pi})
    store.end(ended)
    store.end(ended)
    assert stored(tmp_path) == [ended]
    assert list(store.trials()[0].metrics) == ["write_bandwidth", "read_bandwidth"]


JSON = st.recursive(NUMBERS | TEXT | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))


@settings(max_examples=20)
@given(
    st.dictionaries(TEXT, NUMBERS),
    st.dictionaries(TEXT, NUMBERS),
    TEXT,
    st.dictionaries(TEXT, JSON, max_size=3),
    st.dictionaries(TEXT, NUMBERS),
)
def test_any_trial_comes_back(tmp_path_factory, metrics, cpu, reason, usage, bounds):
    trial = Trial(7, "ior", 4 / 3, 6, 2, 1, "censored", "now", 1.25, reason, "ior", metrics, cpu, "trials/7", usage)
    trial = replace(trial, bounds=bounds)
    with Store.create(tmp_path_factory.mktemp("run"), "", {}, [runs.info()], {}) as store:
        store.end(trial)
        assert store.trials() == [trial]
        assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial
        assert store.changed() == []


# What the first version of pliant made, word for word.
SCHEMA_1 = """
CREATE TABLE document (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trial (
    number INTEGER PRIMARY KEY, workload TEXT NOT NULL, ratio REAL NOT NULL, hosts INTEGER NOT NULL,
    repetition INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL, started_at TEXT NOT NULL,
    duration_s REAL NOT NULL, reason TEXT NOT NULL, program TEXT NOT NULL, host_cpu_s TEXT NOT NULL,
    directory TEXT NOT NULL
);
CREATE TABLE value (
    trial INTEGER NOT NULL REFERENCES trial (number) ON DELETE CASCADE, metric TEXT NOT NULL, value REAL,
    UNIQUE (trial, metric)
);
PRAGMA user_version = 1;
"""


@pytest.fixture
def first_version(tmp_path):
    """The directory of a run that was written before there was telemetry."""
    document = runs.info().to_json()
    document["metrics"] = {
        workload: [{key: metric[key] for key in ("name", "unit", "better")} for metric in metrics]
        for workload, metrics in document["metrics"].items()
    }
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.executescript(SCHEMA_1)
    documents = {"study.toml": runs.STUDY, "study": "{}", "run": json.dumps(document)}
    connection.executemany("INSERT INTO document VALUES (?, ?)", documents.items())
    for t in runs.trials():
        row = (t.number, t.workload, t.ratio, t.hosts, t.repetition, t.attempt, t.state, t.started_at, t.duration_s)
        row = (*row, t.reason, t.program, json.dumps(t.host_cpu_s), t.directory)
        connection.execute(f"INSERT INTO trial VALUES ({', '.join('?' * len(row))})", row)
        connection.executemany("INSERT INTO value VALUES (?, ?, ?)", [(t.number, *pair) for pair in t.metrics.items()])
    connection.commit()
    connection.close()
    return tmp_path


def version(directory):
    connection = sqlite3.connect(directory / DATABASE)
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
    return found


@pytest.mark.parametrize("writable", [True, False])
def test_a_run_of_the_first_version_is_read_and_left_as_it_is(first_version, monkeypatch, writable):
    monkeypatch.setattr(os, "access", lambda path, mode: writable)  # root may write whatever the mode says
    before = (first_version / DATABASE).read_bytes()
    with Store.open(first_version) as store:
        assert store.trials() == runs.trials()
        assert all(trial.usage == {} for trial in store.trials())
        metrics = {w: tuple(replace(m, phase="") for m in many) for w, many in runs.METRICS.items()}
        assert store.infos() == (runs.info(metrics=metrics),)
        if not writable:
            with pytest.raises(FatalError, match="readonly"):
                store.end(runs.trial(1, "ior", 1.0, 1, "done"))
    assert (first_version / DATABASE).read_bytes() == before


@pytest.mark.parametrize("writable", [True, False])
def test_a_run_of_the_first_version_can_be_reported(first_version, monkeypatch, writable):
    monkeypatch.setattr(os, "access", lambda path, mode: writable)
    result = write_report(first_version)
    assert result.analysis.recommended == 2
    assert version(first_version) == 1


def test_a_trial_added_to_a_run_of_the_first_version_keeps_what_was_used(first_version):
    with Store.open(first_version) as store, Store.open(first_version) as reader:
        store.set_fact("kernel", "6.1")
        assert version(first_version) == 1
        added = replace(runs.trial(1000, "ior", 1.0, 1, "done"), usage={"write": {"active_s": 1.5}})
        store.begin(added)
        store.end(added)
        assert store.trials() == reader.trials() == [*runs.trials(), added]
    assert version(first_version) == SCHEMA_VERSION
    assert stored(first_version) == [*runs.trials(), added]


_NEWER = ("bounds", "disturbance", "remarks")


def test_a_trial_from_before_any_was_stopped_is_read_and_was_not_changed(tmp_path, store):
    """Its record has no bounds, and its digest knows of none."""
    trial = runs.trials()[0]
    old = {name: value for name, value in trial.to_json().items() if name not in _NEWER}
    assert Trial.from_json(old) == trial
    store.end(trial)
    digest = sha256(json.dumps(old, sort_keys=True).encode())
    with sqlite3.connect(tmp_path / DATABASE) as connection:
        assert connection.execute("SELECT digest FROM trial").fetchone()[0] == digest
        for column in _NEWER:
            connection.execute(f"ALTER TABLE trial DROP COLUMN {column}")
        connection.execute("PRAGMA user_version = 5")
    connection.close()
    with Store.open(tmp_path) as again:
        assert again.trials() == [trial] and again.changed() == []
        stopped = replace(runs.trial(2, "ior", 8.0, 1, "censored"), bounds={"write_bandwidth": 8.5})
        again.end(stopped)
        assert again.trials() == [trial, stopped] and again.changed() == []
        assert version(tmp_path) == SCHEMA_VERSION


def test_a_value_that_is_not_a_number_is_kept_as_such(store):
    store.end(replace(runs.trial(1, "ior", 1.0, 1, "done"), metrics={"write_bandwidth": math.nan}))
    assert math.isnan(store.trials()[0].metrics["write_bandwidth"])


def test_facts_can_be_added_and_corrected(store):
    store.set_fact("glusterfs", "10.3")
    store.set_fact("kernel", "6.18")
    assert store.facts() == {"kernel": "6.18", "glusterfs": "10.3"}


def test_run_info_survives_json_with_odd_ratios():
    info = runs.info(hosts={1.0: 8, 8 / 3: 3}, placements={8 / 3: {"host1": ("server1",)}})
    assert RunInfo.from_json(json.loads(json.dumps(info.to_json()))) == info
    info = runs.info(scale=150.0, like="grid5000/dahu", real_figures="32 cores", power=PowerModel(1.0, 2.0, "a meter"))
    assert RunInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


def test_a_run_from_before_there_were_scales():
    document = runs.info().to_json()
    for key in ("scale", "like", "real_figures", "disk_caveat"):
        del document[key]
    del document["power"]["origin"]
    info = RunInfo.from_json(document)
    assert (info.scale, info.like, info.real_figures, info.power.origin) == (1.0, "", "", "")
    assert info == runs.info()


def test_a_second_run_in_the_same_directory_is_refused(tmp_path, store):
    with pytest.raises(UserError, match="already holds a run"):
        Store.create(tmp_path, "", {}, [runs.info()], {})


def test_a_directory_that_cannot_be_made_is_the_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make the run directory"):
        Store.create(tmp_path / "file" / "run", "", {}, [runs.info()], {})


def damage_missing(path):
    path.unlink()


def damage_text(path):
    path.write_text("these are not the results that you are looking for" * 50)


def damage_truncated(path):
    path.write_bytes(path.read_bytes()[:5000])


def damage_empty(path):
    path.write_bytes(b"")


def damage_newer(path):
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()


def damage_documents(path):
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM document")
    connection.close()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_missing, "holds no run"),
        (damage_text, "not a database"),
        (damage_truncated, r"damaged|malformed"),
        (damage_empty, "interrupted before it began"),
        (damage_newer, "newer pliant"),
        (damage_documents, "does not say what the run was"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_sentence(tmp_path, damage, words):
    runs.make_run(tmp_path)
    damage(tmp_path / DATABASE)
    with pytest.raises(UserError, match=words) as caught, Store.open(tmp_path) as store:
        store.infos()
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_fatal_and_what_was_stored_stays_readable(tmp_path, store):
    store.end(runs.trial(1, "ior", 1.0, 1, "done"))
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(FatalError, match="full"):
        store.end(replace(runs.trial(2, "ior", 1.0, 1, "failed"), reason="x" * 100_000))
    assert [t.number for t in stored(tmp_path)] == [1]


WRITER = """
import sys, pathlib
sys.path.insert(0, sys.argv[2])
import runs
from pliant.results.store import Store
store = Store.open(pathlib.Path(sys.argv[1]))
for number in range(1, 100000):
    store.begin(runs.trial(number, "ior", 1.0, 1, "running"))
    store.end(runs.trial(number, "ior", 1.0, 1, "done", metrics={"write_bandwidth": float(number)}))
    print(number, flush=True)
"""


@pytest.mark.parametrize("after_s", [0.02, 0.1, 0.23])
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path, after_s):
    runs.make_run(tmp_path, [])
    here = os.path.dirname(__file__)  # noqa: PTH120
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), here], stdout=subprocess.PIPE, text=True
    ) as writer:
        first = writer.stdout.readline()
        time.sleep(after_s)
        writer.send_signal(signal.SIGKILL)
        acknowledged = int(([first, *writer.stdout.read().split()])[-1])
    trials = stored(tmp_path)
    assert [t.number for t in trials] == list(range(1, len(trials) + 1))
    done = [t for t in trials if t.state == "done"]
    assert acknowledged <= len(done) <= acknowledged + 1
    assert all(t.metrics == {"write_bandwidth": t.number} for t in done)


def test_another_process_reads_while_one_writes(tmp_path):
    runs.make_run(tmp_path, [])
    with Store.open(tmp_path) as writer, Store.open(tmp_path) as reader:
        for number in range(1, 20):
            writer.end(runs.trial(number, "ior", 1.0, 1, "done"))
            assert len(reader.trials()) == number


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE value SET value = value + 0.001 WHERE trial = 3 AND rowid % 2", "trial 3 was changed"),
        ("UPDATE trial SET state = 'done' WHERE state = 'failed'", "trial [0-9]+ was changed"),
        ("UPDATE trial SET proved = '[\"all well\"]' WHERE number = 2", "trial 2 was changed"),
        ("UPDATE fact SET value = '6.19' WHERE name = 'kernel'", "what it says of the run was changed"),
        ("UPDATE document SET body = '' WHERE name = 'study.toml'", "what it says of the run was changed"),
        ("DELETE FROM document WHERE name = 'study'", "what it says of the run was changed"),
    ],
)
def test_what_was_changed_by_hand_is_found(tmp_path, statement, said):
    runs.make_run(tmp_path)
    with Store.open(tmp_path) as store:
        assert store.changed() == []
        store._connection.execute(statement)
        (found,) = store.changed()
    assert re.fullmatch(f"{tmp_path}/{DATABASE}: {said}", found)


def test_trials_that_say_nothing_are_struck(tmp_path):
    runs.make_run(tmp_path)
    with Store.open(tmp_path) as store:
        before = store.trials()
        store.forget([before[-1].number, 2])
        assert store.trials() == [trial for trial in before[:-1] if trial.number != 2]
        assert store._connection.execute("SELECT count(*) FROM value WHERE trial = 2").fetchone() == (0,)


def test_documents_are_kept_beside_the_run(tmp_path):
    with Store.create(tmp_path, "", {}, [runs.info()], {}, {"conditions": "{}"}) as store:
        store.set_documents({"finished": "now", "conditions": "[]"})
        assert (store.document("conditions"), store.document("finished"), store.document("no")) == ("[]", "now", "")
        assert store.changed() == []


def test_a_run_whose_making_was_killed_is_made_again(tmp_path):
    (tmp_path / DATABASE).touch()
    (tmp_path / f".{DATABASE}.new").write_bytes(b"half")
    (tmp_path / f".{DATABASE}.new-journal").write_bytes(b"of it")
    runs.make_run(tmp_path)
    assert stored(tmp_path) == runs.trials()
    assert [path.name for path in tmp_path.iterdir()] == [DATABASE]


def test_who_looks_sees_whole_transactions_and_is_not_waited_for(tmp_path):
    """Each trial that is done has its metric; a reader that holds its lock for ever would stop the writer."""
    runs.make_run(tmp_path, [])
    here = os.path.dirname(__file__)  # noqa: PTH120
    argv = [sys.executable, "-c", WRITER, str(tmp_path), here]
    looked = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writer:
        writer.stdout.readline()
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            with Store.look(tmp_path) as store:
                looked.append(store.trials())
        held = Store.look(tmp_path)
        held._connection.execute("BEGIN")
        seen = held.trials()
        writer.stdout.readline()
        for _ in range(3):
            assert writer.stdout.readline(), "it goes on"
        assert held.trials() == seen
        held.close()
        writer.send_signal(signal.SIGKILL)
    lengths = [len(trials) for trials in looked]
    assert lengths == sorted(lengths)
    assert lengths[-1] > lengths[0]
    for trials in looked:
        assert all(t.metrics == {"write_bandwidth": t.number} for t in trials if t.state == "done")
        assert [t.state for t in trials[:-1]] == ["done"] * (len(trials) - 1)
    with Store.look(tmp_path) as store, Store.open(tmp_path) as writer:
        assert store.trials() == writer.trials()


@pytest.mark.parametrize(("damage", "words"), [(damage_missing, "holds no run"), (damage_text, "not a database")])
def test_to_look_at_what_cannot_be_read(tmp_path, damage, words):
    runs.make_run(tmp_path)
    damage(tmp_path / DATABASE)
    with pytest.raises(UserError, match=words):
        Store.look(tmp_path)


def test_csv_has_one_row_for_each_trial_and_metric(tmp_path):
    write_trials_csv(tmp_path / "trials.csv", runs.trials(), [runs.info()])
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_HEADER
    expected = sum(max(len(t.metrics), 1) for t in runs.trials())
    assert len(rows) == expected
    failed = [row for row in rows if row["state"] == "failed"]
    assert [row["metric"] for row in failed] == [""] and "no route" in failed[0]["reason"]
    first = rows[0]
    assert (first["workload"], first["metric"], first["unit"], first["better"]) == (
        "ior",
        "write_bandwidth",
        "MiB/s",
        "higher",
    )
    assert float(first["value"]) == runs.trials()[0].metrics["write_bandwidth"]


def test_writing_atomically_leaves_no_temporary_file(tmp_path):
    write_atomically(tmp_path / "a", b"1")
    write_atomically(tmp_path / "a", b"2")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("a", b"2")]
    with pytest.raises(OSError):
        write_atomically(tmp_path / "no" / "a", b"3")
