"""Deployments as they are written down."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import threading
import time

import pytest

from pliant.machine.journal import Journal, Owner, deployments
from pliant.machine.process import start_time


def create(tmp_path, title="a study", **options) -> Journal:
    return Journal.create(title, state=tmp_path / "state", **options)


def rewrite(journal: Journal, **changes) -> None:
    content = json.loads((journal.directory / "owner.json").read_text())
    journal.write("owner.json", content | changes)


def test_a_new_deployment_belongs_to_this_process(tmp_path):
    before = time.time()
    journal = create(tmp_path)
    owner = journal.owner()
    assert owner is not None
    assert (owner.id, owner.pid, owner.title, owner.keep) == (journal.id, os.getpid(), "a study", False)
    assert before <= owner.created <= time.time()
    assert owner.alive
    assert len(journal.id) == 4
    assert set(journal.id) <= set("0123456789abcdef")
    assert stat.S_IMODE(journal.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(journal.directory.parent.stat().st_mode) == 0o700


def test_keep_is_remembered(tmp_path):
    owner = create(tmp_path, keep=True).owner()
    assert owner is not None
    assert owner.keep


def test_deployments_differ(tmp_path):
    journals = [create(tmp_path) for _ in range(50)]
    assert len({journal.id for journal in journals}) == len({journal.directory for journal in journals}) == 50


def test_an_id_that_is_taken_is_not_given_again(tmp_path, monkeypatch):
    ids = iter(["aaaa", "aaaa", "aaaa", "bbbb"])
    monkeypatch.setattr("secrets.token_hex", lambda size: next(ids))
    first = create(tmp_path, "first")
    second = create(tmp_path, "second")
    assert (first.id, second.id) == ("aaaa", "bbbb")
    found = first.owner()
    assert found is not None
    assert found.title == "first"


def test_another_process_can_take_a_deployment_over(tmp_path):
    journal = create(tmp_path)
    rewrite(journal, pid=1, started=0)
    journal.own("mine now", keep=True)
    owner = journal.owner()
    assert owner is not None
    assert (owner.pid, owner.title, owner.keep) == (os.getpid(), "mine now", True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"id": "ab"}', '{"id": 1, "what": 2}', "\0\0\0"])
def test_an_owner_that_cannot_be_read_is_none(tmp_path, text):
    journal = create(tmp_path)
    (journal.directory / "owner.json").write_text(text)
    assert journal.owner() is None


def test_no_owner_without_a_file(tmp_path):
    assert Journal("abcd", tmp_path).owner() is None


# Is its maker alive?


def test_a_maker_that_ended_is_not_alive(tmp_path):
    maker = subprocess.Popen(["sleep", "60"])
    started = start_time(maker.pid)
    assert started is not None
    assert Owner("ab", maker.pid, started, 0.0, "").alive
    maker.kill()
    os.waitid(os.P_PID, maker.pid, os.WEXITED | os.WNOWAIT)
    assert not Owner("ab", maker.pid, started, 0.0, "").alive  # a zombie, not reaped yet
    maker.wait()
    assert not Owner("ab", maker.pid, started, 0.0, "").alive


def test_a_process_that_got_the_makers_number_is_not_the_maker(tmp_path):
    journal = create(tmp_path)
    rewrite(journal, started=(start_time(os.getpid()) or 0) - 1)
    owner = journal.owner()
    assert owner is not None
    assert owner.pid == os.getpid()
    assert not owner.alive


# What was about to be made


def test_entries_are_kept_in_order(tmp_path):
    journal = create(tmp_path)
    assert journal.entries() == []
    journal.note(make="cgroup", group="pliant-ab")
    journal.note(make="loop", file='/x/"quoted"\n.img')
    Journal(journal.id, tmp_path / "state").note(make="nodes", names=["server1"])
    assert journal.entries() == [
        {"make": "cgroup", "group": "pliant-ab"},
        {"make": "loop", "file": '/x/"quoted"\n.img'},
        {"make": "nodes", "names": ["server1"]},
    ]


def test_a_note_is_on_disk_when_it_returns(tmp_path):
    journal = create(tmp_path)
    journal.note(make="loop", file="a")
    assert (journal.directory / "journal.jsonl").read_text() == '{"make": "loop", "file": "a"}\n'


def test_a_last_line_that_was_cut_short_is_left_out(tmp_path):
    journal = create(tmp_path)
    journal.note(make="cgroup", group="pliant-ab")
    journal.note(make="loop", file="a")
    whole = (journal.directory / "journal.jsonl").read_text()
    second = whole.index("\n") + 1
    for end in range(second, len(whole) - 1):
        (journal.directory / "journal.jsonl").write_text(whole[:end])
        assert journal.entries() == [{"make": "cgroup", "group": "pliant-ab"}], whole[:end]


def test_files_are_replaced_whole(tmp_path):
    journal = create(tmp_path)
    assert journal.read("deployment.json") is None
    journal.write("deployment.json", {"hosts": 1})
    with (journal.directory / "deployment.json").open() as reader:
        journal.write("deployment.json", {"hosts": 2})
        assert json.load(reader) == {"hosts": 1}  # who had it open sees the old one, not half of the new
    assert journal.read("deployment.json") == {"hosts": 2}
    assert sorted(path.name for path in journal.directory.iterdir()) == ["deployment.json", "owner.json"]


# Several


def test_there_are_none_where_there_is_no_directory(tmp_path):
    assert deployments(tmp_path / "none") == []
    (tmp_path / "file").touch()
    assert deployments(tmp_path) == []


def test_deployments_come_oldest_first_whatever_was_written_to_them_since(tmp_path):
    journals = [create(tmp_path, f"number {n}") for n in range(4)]
    for age, journal in zip((400, 300, 200, 100), journals, strict=True):
        rewrite(journal, created=time.time() - age)
    for journal in reversed(journals):
        journal.write("deployment.json", {})
    assert [journal.id for journal in deployments(tmp_path / "state")] == [journal.id for journal in journals]


def test_a_deployment_without_an_owner_is_listed_too(tmp_path):
    known = create(tmp_path)
    (tmp_path / "state/dead").mkdir()
    assert {journal.id for journal in deployments(tmp_path / "state")} == {known.id, "dead"}


def test_a_deployment_that_goes_while_it_is_listed_does_no_harm(tmp_path, monkeypatch):
    journal = create(tmp_path)

    def removed(self) -> None:
        shutil.rmtree(self.directory)

    monkeypatch.setattr(Journal, "owner", removed)
    assert [found.id for found in deployments(tmp_path / "state")] == [journal.id]


def test_a_second_remover_waits_for_the_first(tmp_path):
    journal = create(tmp_path)
    order = []

    def second() -> None:
        with Journal(journal.id, tmp_path / "state").locked():
            order.append("second")

    with journal.locked():
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(timeout=5)
    assert order == ["first", "second"]


def test_a_deployment_that_is_gone_cannot_be_locked(tmp_path):
    with pytest.raises(FileNotFoundError), Journal("abcd", tmp_path).locked():
        pass
