"""What was calibrated a moment ago: for whom it holds, and for how long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prepared_studies import Machine, prepare, study

from pliant.campaign import recently
from pliant.campaign.recently import fairness, hosts, keep, known


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "pliant"


@pytest.fixture
def prepared(cache, monkeypatch):
    Machine().stand_in(monkeypatch.setattr)
    return prepare(study())


def test_it_is_known_for_a_quarter_of_an_hour(prepared, monkeypatch):
    assert known(hosts(prepared)) is None
    keep(hosts(prepared, ["CPU 0.2 cores"]))
    keep(fairness(prepared, ["shares 0.5"]))
    found = known(hosts(prepared))
    assert (found.sentences, found.ago) == (("CPU 0.2 cores",), "less than a minute ago")
    assert known(fairness(prepared)).sentences == ("shares 0.5",)
    now_s = recently._now_s()
    monkeypatch.setattr(recently, "_now_s", lambda: now_s + 600)
    assert known(hosts(prepared)).ago == "10 min ago"
    monkeypatch.setattr(recently, "_now_s", lambda: now_s + 901)
    assert known(hosts(prepared)) is None


def test_it_is_not_known_of_another_promise_machine_or_boot(prepared, tmp_path, monkeypatch):
    keep(hosts(prepared, ["CPU 0.2 cores"]))
    assert known(hosts(prepared)) is not None
    more = replace(prepared, figures=replace(prepared.figures, cores=0.25))
    larger = prepare(study('memory = "1 GiB" => memory = "1 GiB" \\n disk_size = "1 GiB"'))
    moved = replace(prepared, machine=replace(prepared.machine, kernel="6.1"))
    assert [known(hosts(each)) for each in (more, larger, moved)] == [None] * 3
    (tmp_path / "boot").write_text("another\n")
    monkeypatch.setattr(recently, "_BOOT", tmp_path / "boot")
    assert known(hosts(prepared)) is None


def test_what_many_hosts_did_at_once_fewer_do_as_well_and_not_the_other_way_round(prepared):
    fewer, more = prepare(study("client = 4 => client = 2")), prepare(study("client = 4 => client = 5"))
    disks = prepare(study("server = 4 => server = 5", "client = 4 => client = 3"))
    keep(hosts(prepared, ["CPU 0.2 cores"]))
    assert known(hosts(fewer)) is not None
    assert known(hosts(more)) is None
    assert known(hosts(disks)) is None, "as many hosts, but more of them have disks"


def test_how_many_nodes_share_a_host_is_also_true_of_fewer_of_the_same_file_system(prepared):
    fewer = prepare(study("ratios = [1, 2, 4] => ratios = [1, 2]"))
    keep(fairness(fewer, ["fair"]))
    assert known(fairness(prepared)) is None
    keep(fairness(prepared, ["fair among four"]))
    assert known(fairness(prepared)).sentences == known(fairness(fewer)).sentences == ("fair among four",)
    moosefs = (
        'kind = "glusterfs" => kind = "moosefs"',
        "server = 4 => master = 1 \\n chunkserver = 4",
        "client = 4 => client = 3",
    )
    other = prepare(study(*moosefs, '[filesystem.options] \\n volume = "distribute" =>'))
    assert known(fairness(other)) is None


def test_what_is_measured_again_takes_the_place_of_what_it_covers(prepared):
    fewer = prepare(study("client = 4 => client = 2"))
    for each in (hosts(fewer, ["old"]), hosts(prepared, ["older"]), hosts(prepared, ["new"])):
        keep(each)
    assert known(hosts(fewer)).sentences == ("new",)
    assert len(recently._read()) == 1


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"a": 3}', '["a"]', '[{"sentences": [], "at_s": 1}]', '{"a": {"delivered": [], "fair": []}}'],
)
def test_a_file_that_is_none_is_no_harm(prepared, cache, content):
    cache.mkdir(parents=True)
    (cache / "calibrated.json").write_text(content)
    assert known(hosts(prepared)) is None
    keep(hosts(prepared, ["x"]))
    assert known(hosts(prepared)) is not None


def test_that_it_cannot_be_kept_is_no_harm(prepared, cache):
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file")
    keep(hosts(prepared, ["x"]))
    assert known(hosts(prepared)) is None
