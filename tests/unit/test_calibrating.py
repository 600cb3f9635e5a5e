"""When hosts are calibrated anew, when what was found before is told, and what is kept for later."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from prepared_studies import Machine, prepare, study

from pliant.campaign import calibrating, recently


@pytest.fixture
def look(tmp_path, monkeypatch):
    """Has the promises of a study looked at; what it returns is that, and what was measured for it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Machine().stand_in(monkeypatch.setattr)
    measured: list[str] = []

    def hosts(deployment, disks, doing):
        measured.append("hosts")
        return [SimpleNamespace(sentence="CPU 0.2 cores")]

    def shared(deployment, folded):
        measured.append("shared")
        return SimpleNamespace(sentence="shared evenly")

    monkeypatch.setattr(calibrating, "calibrate_hosts", hosts)
    monkeypatch.setattr(calibrating.fairness, "measure", shared)
    cluster = SimpleNamespace(deployment=None, undisturbed=contextlib.nullcontext)

    def do(prepared, **how):
        measured.clear()
        keys = {"anew": False, "live": True, "folds": True} | how
        return calibrating.keeps_promises(prepared, cluster, lambda what: None, **keys), list(measured)

    return do


def test_it_is_measured_once(look):
    prepared = prepare(study())
    kept, measured = look(prepared)
    assert measured == ["hosts", "shared"]
    assert (kept.fact, kept.fair) == ("CPU 0.2 cores; shared evenly", True)
    assert "all at once, and its nodes share it fairly, as measured in " in kept.sentence
    kept, measured = look(prepared)
    ago = "so less than a minute ago"
    assert (measured, kept.fact) == ([], f"CPU 0.2 cores; {ago}; shared evenly; {ago}")
    assert "delivered it within 5 % less than a minute ago; `pliant run --fresh`" in kept.sentence


def test_what_is_to_be_measured_anew_is_and_is_known_later(look):
    prepared = prepare(study())
    assert look(prepared, anew=True)[1] == look(prepared, anew=True)[1] == ["hosts", "shared"]
    assert look(prepared)[1] == []


def test_each_is_measured_by_itself_where_the_other_is_known(look):
    prepared = prepare(study())
    kept, measured = look(prepared, folds=False)
    assert (measured, kept.fair) == (["hosts"], False) and "fairly" not in kept.sentence
    kept, measured = look(prepared)
    assert measured == ["shared"]
    assert "5 % less than a minute ago, and their nodes share them fairly, as measured in " in kept.sentence
    recently.keep(recently.fairness(more := prepare(study("client = 4 => client = 5")), ["among five"]))
    kept, measured = look(more)
    assert measured == ["hosts"]
    assert ", and its nodes shared it fairly less than a minute ago; `pliant run --fresh`" in kept.sentence


def test_of_hosts_on_other_machines_nothing_is_kept_or_known(look):
    """They may look like this one."""
    prepared = prepare(study())
    assert look(prepared, live=False)[1] == ["hosts", "shared"]
    assert look(prepared)[1] == ["hosts", "shared"]
    assert look(prepared, live=False)[1] == ["hosts", "shared"]
