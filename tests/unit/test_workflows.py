"""Both workflows of one study, compared."""

from __future__ import annotations

import json

import pytest

from pliant.cli.both import _loss
from pliant.statistics.verdict import RatioVerdict, Verdict
from pliant.statistics.workflows import compare
from pliant.workloads.model import Metric


def verdict(*states: str) -> Verdict:
    rows = [RatioVerdict(2.0**n, 8, 3, 1.0, 0.9, 1.1, 0.1 * n, 0.0, 0.2, s) for n, s in enumerate(("holds", *states))]
    return Verdict("glusterfs", "ior", Metric("write_bandwidth", "MiB/s", "higher", "write"), 0.1, 0.95, tuple(rows))


def test_a_loss_that_is_at_least_so_much_is_told_as_such():
    row = RatioVerdict(2.0, 4, 3, 20.0, None, 21.0, 0.8, 0.78, None, "breaks", at_least=True, median_is="at most")
    stopped = Verdict("glusterfs", "ior", Metric("write_bandwidth", "MiB/s", "higher", "write"), 0.1, 0.95, (row,))
    found = compare({"dev": [stopped], "verified": [verdict("breaks")]}, {"dev": 1.0, "verified": 2.0})
    assert found.rows[0].at_least == ("dev",)
    assert json.loads(json.dumps(found.to_json()))["rows"][0]["at_least"] == ["dev"]
    assert [_loss(found.rows[0], workflow) for workflow in ("dev", "verified")] == ["> 80 %", "10 %"]


@pytest.mark.parametrize(
    ("dev", "verified", "agreements", "sentence"),
    [
        (
            ("holds", "breaks"),
            ("holds", "breaks"),
            ["agree", "agree"],
            "The workflows agree on 2 of 2 states, and contradict each other nowhere.",
        ),
        (
            ("holds", "undecided"),
            ("breaks", "breaks"),
            ["contradict", "dev"],
            "The workflows agree on 0 of 2 states, contradict each other on 1; on 1 only one of them decides.",
        ),
        (
            ("undecided", "holds"),
            ("undecided", "undecided"),
            ["agree", "verified"],
            "The workflows agree on 1 of 2 states, and contradict each other nowhere; on 1 only one of them decides.",
        ),
    ],
)
def test_whether_they_agree(dev, verified, agreements, sentence):
    found = compare({"dev": [verdict(*dev)], "verified": [verdict(*verified)]}, {"dev": 2.0, "verified": 9.0})
    assert [row.agreement for row in found.rows] == agreements
    assert found.sentence == sentence
    document = json.loads(json.dumps(found.to_json()))
    assert document["trial_s"] == {"dev": 2.0, "verified": 9.0}
    assert [row["states"] for row in document["rows"]] == [
        {"dev": a, "verified": b} for a, b in zip(dev, verified, strict=True)
    ]
