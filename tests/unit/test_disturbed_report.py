"""A run on a machine with neighbours: what they took is told, taken out of the losses, and listed for every value."""

from __future__ import annotations

import csv
import json
import math
import random
from dataclasses import replace

import pytest
import runs
from test_report import Page, small_run

from pliant.analysis.conclusions import judged
from pliant.report.writing import write_report
from pliant.trial import Trial
from pliant.units import format_duration

REFUSED = "the machine swapped 20 MiB"
TAKEN = (0.02, 0.12, 0.06, 0.10, 0.04)
"""Of the CPU, from one trial of a ratio to the next."""


def disturb(trial: Trial) -> Trial:
    """Lowered as its neighbours have it: by twice what they took, where it is folded; not at all where it is not."""
    taken = TAKEN[(trial.repetition - 1) % len(TAKEN)] if trial.ratio > 1 else 0.01
    about = {"limited": 1.0, "stolen": taken, "withheld": taken / 2, "second_s": 4e-4, "lost": 0.0, "refused": ""}
    metrics = {name: value * math.exp(2 * math.log1p(-taken)) for name, value in trial.metrics.items()}
    return replace(trial, metrics=metrics, disturbance={name: dict(about) for name in metrics})


@pytest.fixture(scope="module")
def calm():
    return [t for t in runs.trials(5, failures=False) if t.workload == "ior"]


@pytest.fixture(scope="module")
def disturbed(calm):
    many = [disturb(trial) for trial in calm]
    last = next(t for t in many if t.ratio == 1 and t.repetition == 5)
    last.disturbance["read_bandwidth"]["refused"] = REFUSED
    return many


@pytest.fixture(scope="module")
def result(tmp_path_factory, disturbed):
    return write_report(small_run(tmp_path_factory.mktemp("run"), disturbed))


def test_losses_are_those_without_neighbours(result, calm, disturbed):
    """Within what a noise of 1.5 % leaves of a slope, and far nearer than those with them."""
    blind = [replace(trial, disturbance={}) for trial in disturbed]
    info = result.analysis.info
    true, told, seen = (judged(info, many)[0] for many in (calm, disturbed, blind))
    assert true.metric.name == "write_bandwidth"
    for ratio in (4.0, 8.0):
        loss = true.at(ratio).loss
        assert told.at(ratio).loss == pytest.approx(loss, abs=0.03)
        assert seen.at(ratio).loss - loss > 2 * abs(told.at(ratio).loss - loss)
        assert told.at(ratio).loss_disturbed == pytest.approx(seen.at(ratio).loss, abs=0.02)
        assert seen.at(ratio).loss_disturbed is None
    assert told.slopes["withheld"] == pytest.approx(2.0, abs=0.6)
    assert seen.slopes == {}
    assert told.noise < seen.noise


def test_one_metric_of_a_trial_does_not_count_and_the_other_does(result):
    write, read = result.analysis.verdicts
    assert (write.at(1.0).trials, read.at(1.0).trials) == (5, 4)


def test_the_report_tells_what_was_taken_and_lists_every_value(result, disturbed):
    notes = " ".join(result.analysis.notes)
    assert "withheld 1 to 12 % of the CPU from hosts" in notes
    assert "which do not count: read bandwidth of trial" in notes
    text = " ".join(" ".join(Page(result.html.read_text()).text).split()).replace("\N{NO-BREAK SPACE}", " ")
    assert "What the machine did" in text and REFUSED in text
    assert f"{2 * len(disturbed)} values" in text
    document = json.loads((result.html.parent / "verdict.json").read_text())
    assert document["verdicts"][0]["slopes"]["withheld"] > 1
    with (result.html.parent / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["stolen"] for row in rows} == {"0.01", *map(str, TAKEN)}
    assert [row["metric"] for row in rows if row["refused"]] == ["read_bandwidth"]


def test_a_quiet_run_says_nothing_of_it(tmp_path, calm):
    result = write_report(small_run(tmp_path, calm))
    assert not any("withheld" in note for note in result.analysis.notes)
    assert "What the machine did" not in result.html.read_text()


def undecided_note(directory, many):
    """What is said of undecided states, and the verdicts that it is said of."""
    analysis = write_report(small_run(directory, many)).analysis
    (note,) = [each for each in analysis.notes if "undecided: " in each]
    return note, analysis.verdicts


def test_what_would_decide_what_is_undecided_is_told(tmp_path, calm):
    """Of each ratio that is undecided, and of the baseline, as many as the metric that wants most; each lasts 7 s."""
    rng = random.Random(5)
    noisy = [
        replace(t, duration_s=7.0, metrics={name: v * rng.lognormvariate(0, 0.09) for name, v in t.metrics.items()})
        for t in calm
    ]
    note, verdicts = undecided_note(tmp_path, noisy)
    wanted = {}
    for row in (row for verdict in verdicts for row in verdict.undecided):
        wanted[row.ratio] = max(wanted.get(row.ratio, 0), row.expected)
    count = sum(wanted.values()) + max(wanted.values())
    assert len(wanted) > 1
    assert f"undecided: about {count} more trials, {format_duration(7 * count)} of them, would decide" in note


def test_one_trial_of_a_ratio_says_little_of_what_would_decide(tmp_path, calm):
    """A single trial shows no noise, so that nobody knows how many more it takes."""
    note, _ = undecided_note(tmp_path, [trial for trial in calm if trial.repetition == 1])
    assert note.endswith("undecided: more trials, or less noise, would decide.")
