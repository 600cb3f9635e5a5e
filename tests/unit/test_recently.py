"""What was calibrated a moment ago: for whom it holds, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prepared_studies import Machine, prepare, study

from pliant.campaign import recently


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pliant"


@pytest.fixture
def prepared(cache, monkeypatch):
    Machine().stand_in(monkeypatch.setattr)
    return prepare(study())


def test_it_is_known_for_a_quarter_of_an_hour(prepared, monkeypatch):
    assert recently.known(prepared) is None
    recently.keep(prepared, ["CPU 0.2 cores"], ["shares 0.5"])
    found = recently.known(prepared)
    assert (found.delivered, found.fair, found.ago) == (("CPU 0.2 cores",), ("shares 0.5",), "less than a minute ago")
    now_s = recently._now_s()
    monkeypatch.setattr(recently, "_now_s", lambda: now_s + 600)
    assert recently.known(prepared).ago == "10 min ago"
    monkeypatch.setattr(recently, "_now_s", lambda: now_s + 901)
    assert recently.known(prepared) is None


def test_it_is_not_known_of_another_promise_placement_machine_or_boot(prepared, tmp_path, monkeypatch):
    recently.keep(prepared, ["CPU 0.2 cores"], [])
    assert recently.known(prepared) is not None
    more = replace(prepared, figures=replace(prepared.figures, cores=0.25))
    fewer = prepare(study("client = 4 => client = 2"))
    packed = prepare(study('strategy = "spread" => strategy = "pack"'))
    moved = replace(prepared, machine=replace(prepared.machine, kernel="6.1"))
    assert [recently.known(each) for each in (more, fewer, packed, moved)] == [None] * 4
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr(recently, "_BOOT", tmp_path / "boot")
    assert recently.known(prepared) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 3}', '{"a": {"delivered": [], "fair": []}}'])
def test_a_file_that_is_none_is_no_harm(prepared, cache, content):
    cache.mkdir(parents=True)
    (cache / "calibrated.json").write_text(content)
    assert recently.known(prepared) is None
    recently.keep(prepared, ["x"], [])
    assert recently.known(prepared) is not None


def test_that_it_cannot_be_kept_is_no_harm(prepared, cache):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file")
    recently.keep(prepared, ["x"], [])
    assert recently.known(prepared) is None
