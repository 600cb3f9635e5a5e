"""Where a search begins by what a model of earlier runs says: it costs or saves trials, and decides nothing."""

from __future__ import annotations

from dataclasses import replace

import predicted_runs
import pytest
from prepared_studies import prepare, study

from pliant.campaign.foreseen import foreseen
from pliant.campaign.preparation import search_of
from pliant.errors import UserError


def run(directory, prepared, **changes):
    options = prepared.study.options.model_dump(mode="json")
    return predicted_runs.make_run(directory, {"server": 2, "client": 2}, **({"filesystem_options": options} | changes))


def test_a_search_begins_where_a_smaller_run_says_that_it_breaks(machine, tmp_path):
    prepared = prepare(study())
    found = foreseen([prepared], [run(tmp_path / "small", prepared)])
    assert found == {"glusterfs": 2.0}, "creating files needs all of the CPU that two nodes have"
    begun = replace(prepared, last=found["glusterfs"])
    assert begun.start == 2.0
    first = search_of([begun]).left([])
    assert {todo.ratio for todo in first} >= {1.0, 2.0}


def test_what_is_folded_is_to_be_the_same(machine, tmp_path):
    clients = 'ratios = [1, 2, 4] => ratios = [1, 2, 4] \\n roles = ["client"]'
    prepared = prepare(study(clients))
    small = run(tmp_path / "clients", prepared, folded=("client",))
    assert set(foreseen([prepared], [small])) == {"glusterfs"}
    with pytest.raises(UserError, match="which folds nodes of the same roles"):
        foreseen([prepared], [run(tmp_path / "whole", prepared)])
    with pytest.raises(UserError, match="which folds nodes of the same roles"):
        foreseen([prepare(study(f'{clients} \\n of = "ranks"'))], [small])


def test_runs_of_something_else_are_refused(machine, tmp_path):
    prepared = prepare(study())
    for name, changes in {
        "other": {"filesystem": "moosefs"},
        "options": {"filesystem_options": {"volume": "replicate 2"}},
    }.items():
        with pytest.raises(UserError, match="no run of glusterfs with the options and roles of the study"):
            foreseen([prepared], [run(tmp_path / name, prepared, **changes)])
    with pytest.raises(UserError, match="only ratio 1 was measured"):
        foreseen([prepared], [run(tmp_path / "one", prepared, ratios=(1.0,))])
