"""A report says where trials come from."""

from __future__ import annotations

from dataclasses import replace

import runs

from pliant.analysis.provenance import provenance


def test_what_this_run_measured_itself_needs_no_word():
    assert list(provenance(runs.info(), runs.trials())) == []


def test_what_was_measured_before_is_said():
    first, second, *rest = runs.trials()
    reused = [replace(t, reused=f"/runs/old, {t.started_at}") for t in (first, second)]
    (said,) = provenance(runs.info(), [*reused, *rest])
    assert said.startswith(f"2 trials of {len(runs.trials())} had been measured before, in /runs/old; other trials are")


def test_what_was_proved_is_said():
    trials = [replace(trial, proved=("nothing is left of ab12", "deployed anew")) for trial in runs.trials()]
    done = sum(trial.state == "done" for trial in trials)
    (said,) = provenance(runs.info(workflow="verified"), trials)
    what = "nothing is left of ab12; deployed anew"
    assert said == f"What was proved is kept with {done} of {done} done trials; the first: {what}."
