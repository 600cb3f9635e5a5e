"""What many nodes take of the one kernel that they share, and what `check` says where that is too little."""

from __future__ import annotations

import re

import pytest
from prepared_studies import ROOT, prepare, study

from pliant.campaign import one_kernel, preparation
from pliant.campaign.one_kernel import Crowd, crowd, lacking, tight
from pliant.errors import UserError
from pliant.machine import facts
from pliant.study.reading import load

LARGE = Crowd(512, 448, 257)


def limits(**known: int):
    return lambda name: (known.get(name.rpartition(".")[2]), 0)


def test_the_large_study_is_of_as_many_nodes_as_it_says():
    assert crowd(load(ROOT / "studies/large.toml")) == LARGE


def test_where_the_kernel_has_enough_nothing_is_said():
    assert list(lacking(LARGE, limits(), 20_000)) == list(tight(LARGE, limits())) == []
    many = limits(gc_thresh3=100_000, pid_max=32_768, max_net_namespaces=96_365)
    assert list(lacking(LARGE, many, 20_000)) == list(tight(LARGE, many)) == []


def test_too_few_addresses_are_refused_and_few_told():
    (said,) = lacking(LARGE, limits(gc_thresh3=1024), 20_000)
    assert said.startswith("512 nodes know 1024 addresses at least, and this kernel 1024: sysctl -w net.ipv4.neigh")
    assert list(tight(LARGE, limits(gc_thresh3=1024))) == []
    less = Crowd(256, 224, 65)
    assert list(lacking(less, limits(gc_thresh3=1024), 20_000)) == []
    (note,) = tight(less, limits(gc_thresh3=1024))
    assert "256 nodes know 15776 addresses" in note
    enough = int(re.search(r"gc_thresh3=(\d+)", note)[1])
    assert list(tight(less, limits(gc_thresh3=enough))) == []


@pytest.mark.parametrize(
    ("shown", "known", "files", "said"),
    [
        (LARGE, {"pid_max": 4096}, 20_000, "sysctl -w kernel.pid_max="),
        (LARGE, {"max_net_namespaces": 128}, 20_000, "sysctl -w user.max_net_namespaces=1024"),
        (LARGE, {}, 1024, "448 clients take 1992 open files of one process, which may have 1024: ulimit -n 1992"),
        (Crowd(1024, 1000, 1025), {}, 20_000, "a bridge of the kernel takes 1023 links, and 1025 would be on one"),
    ],
)
def test_each_that_is_too_little_is_told_with_its_remedy(shown, known, files, said):
    (told,) = lacking(shown, limits(**known), files)
    assert said in told


def test_a_study_is_refused_before_anything_is_touched(machine, monkeypatch):
    monkeypatch.setattr(facts, "kernel_limit", limits(gc_thresh3=16))
    with pytest.raises(UserError, match="8 nodes know 16 addresses"):
        prepare(study())
    monkeypatch.setattr(facts, "kernel_limit", limits(gc_thresh3=20))
    assert any("8 nodes know 52 addresses" in warning for warning in prepare(study()).warnings)
    monkeypatch.setattr(preparation, "open_files", lambda: 100)
    with pytest.raises(UserError, match="ulimit -n 216"):
        prepare(study())


def test_what_this_kernel_has_is_read():
    for name in (f"{one_kernel.NEIGHBOURS}3", "kernel.pid_max", "user.max_net_namespaces"):
        most, taken = facts.kernel_limit(name)
        assert most and taken == 0
    assert facts.kernel_limit("kernel.no_such_thing") == (None, 0)
    assert facts.open_files() > 0
