"""A study whose search decides which trial is next, on a real cluster."""

from __future__ import annotations

import csv
import json

import pytest
from support import IOR, pliant, study

pytestmark = pytest.mark.real


def test_a_search_looks_at_every_ratio_and_ends_with_its_budget(tmp_path):
    file = study(tmp_path, servers=2, clients=2, ratios=[1, 2, 4], cores=0.4, workloads=IOR)
    file.write_text(file.read_text().replace('search = "grid"\nrepetitions = 1\n', "budget = 9\n"))
    done = pliant("run", file, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out/trials.csv").open() as table:
        trials = {int(row["number"]): (float(row["ratio"]), int(row["repetition"])) for row in csv.DictReader(table)}
    ratios = [ratio for ratio, _ in trials.values()]
    assert set(ratios) == {1, 2, 4} and len(trials) <= 9
    # A block is the baseline and the two ratios at which it is expected to break: all that there are.
    assert sorted(ratios[:3]) == [1, 2, 4]
    assert all(ratios.count(1) >= ratios.count(ratio) for ratio in (2, 4))
    assert len(set(trials.values())) == len(trials)
    document = json.loads((tmp_path / "out/verdict.json").read_text())
    assert (document["run"]["search"], document["run"]["indifference"]) == ("adaptive", 0.05)
    for each in document["verdicts"]:
        assert "valid after every trial" in each["method"]
        assert all(row["trials"] == ratios.count(row["ratio"]) for row in each["ratios"])
        assert all(row["expected"] == 0 for row in each["ratios"] if row["state"] != "undecided")
    saved = document["savings"]["search"]
    assert saved is None or saved["trials"] == len(trials)
