"""Trials that do not end: stopped, counted with what they showed, cleaned up after, and gone on from."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest
from doubles import Unmade
from prepared_studies import prepare, study
from test_engine import Heard, Kept, Stored

from pliant.campaign import engine, measuring
from pliant.cluster import cluster
from pliant.errors import TrialError
from pliant.machine.process import CommandFailed, Completed, run
from pliant.machine.together import Together
from pliant.statistics import patience
from pliant.statistics.search import Schedule, Todo, Within
from pliant.telemetry.disturbance import Disturbance
from pliant.telemetry.limiting import limiting
from pliant.telemetry.usage import Usage
from pliant.trial import BUDGET_SPENT, Trial
from pliant.workloads import model as workloads

HANGS = """
import sys, time
for line in sys.argv[1:]:
    print(line.format(now=time.monotonic()), flush=True)
time.sleep(60)
"""
BEGINS = ("begin write {now}",)
WROTE = ("begin write {now}", "window write {now} {now}", "result write 12.5", "begin read {now}")
BASELINE = Trial(90, "ior", 1.0, 8, 1, 1, "done", "", metrics={"write_bandwidth": 900.0, "read_bandwidth": 900.0})
SHOWN = r"its loss is shown: write bandwidth is at most [\d.]+ MiB/s, and 900 at the baseline"


class Hangs:
    """A cluster on which the ior kernel prints some lines, and never ends."""

    id = "ab12"

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines, self.log = lines, []
        self.deployment = Unmade()

    def undisturbed(self):
        return contextlib.nullcontext()

    def log_sizes(self):
        return {}

    def limit(self, on: bool) -> None:
        self.log.append(f"limit {on}")
        self.deployment.limit(on)

    def keep_logs(self, directory, since) -> None:
        self.log.append("logs")

    def refold(self, placement) -> None: ...

    def ran_out(self, before) -> str:
        return ""

    def empty(self, directory) -> None: ...

    def drop_caches(self) -> None: ...

    def mpi(self, mpi, argv, ranks, *, mark, timeout_s, watch, gate):
        gate.ready()
        try:
            return run([sys.executable, "-c", HANGS, *self.lines], timeout_s=timeout_s, watch=watch).check()
        except CommandFailed as error:
            raise cluster._of_trial(error, timeout_s) from error


@pytest.fixture
def quick(machine, monkeypatch):
    """Patience is short, and telemetry finds the machine in order."""
    monkeypatch.setattr(patience, "PATIENCE_S", 0.3)
    monkeypatch.setattr(workloads, "BEGINNING_S", 0.0)
    monkeypatch.setattr(measuring.disturbance, "disturbances", lambda *_: {})


def runner(tmp_path, monkeypatch, lines=BEGINS, before: Sequence[Trial] = (BASELINE,), *edits: str):
    made = engine._Runner([prepare(study(*edits))], Stored(before), tmp_path, Heard(), Kept())
    made.cluster = Hangs(lines)
    made.resume()
    monkeypatch.setattr(made, "take_turns", lambda todo: None)
    monkeypatch.setattr(made, "close", lambda: made.cluster.log.append("close"))
    monkeypatch.setattr(made, "deploy", lambda ratio: made.cluster.log.append("deploy"))
    return made


def new(made) -> list[Trial]:
    return [trial for trial in made.store.trials() if trial.number > BASELINE.number]


TODO = [Todo("ior", 4.0, 1)]
BUDGET = 'seed = 7 => seed = 7 \n budget = "{}"'
TIMEOUT = 'seed = 7 => seed = 7 \n trial_timeout = "{}"'
pytestmark = pytest.mark.usefixtures("quick")


# For its loss


def test_a_trial_that_hangs_is_stopped_and_counts(tmp_path, monkeypatch):
    made = runner(tmp_path, monkeypatch)
    began = time.monotonic()
    made.all(Schedule([*TODO, Todo("ior", 1.0, 1)]))
    took_s = time.monotonic() - began
    (trial,) = new(made)
    assert trial.state == "censored" and trial.counted
    assert trial.metrics == {}
    # 4 clients x 8 MiB; a fifth of 900 MiB/s cannot be had any more, and patience is at an end.
    assert 32 / took_s < trial.bounds["write_bandwidth"] <= 32 / 0.3
    assert trial.usage["write"]["duration_s"] <= trial.duration_s < took_s < 5
    assert made.over[-1] == trial and made.keeper.kept == [trial]
    assert trial.reason.startswith("its loss is shown: ") and trial.reason.endswith(" of write")
    assert (tmp_path / trial.directory / "write+read.out").read_text().startswith("begin write ")
    assert made.cluster.log == ["limit True", "limit False", "logs"], "nothing follows, so nothing is deployed"


def test_what_ended_before_has_its_value(tmp_path, monkeypatch):
    made = runner(tmp_path, monkeypatch, WROTE)
    made.all(Schedule(TODO))
    (trial,) = new(made)
    assert (trial.state, trial.metrics, set(trial.bounds)) == (
        "censored",
        {"write_bandwidth": 12.5},
        {"read_bandwidth"},
    )


def test_the_next_trial_begins_on_a_new_cluster(tmp_path, monkeypatch):
    made = runner(tmp_path, monkeypatch)
    made.all(Schedule([*TODO, Todo("ior", 4.0, 2)]))
    assert [trial.state for trial in new(made)] == ["censored"] * 2
    once = ["limit True", "limit False", "logs"]
    assert made.cluster.log == [*once, "close", "deploy", *once]
    assert made.listener.notes == ["trial 91 was stopped; deploying the cluster again"]


KILLED = {"server1": 2, "client3": 1}


def without_memory(monkeypatch, ends: bool):
    """A host's memory runs out in a trial, which comes to its end all the same, or does not."""
    monkeypatch.setattr(Hangs, "killed", lambda self, before: KILLED, raising=False)
    monkeypatch.setattr(Hangs, "ran_out", lambda self, before: "the memory of host1 ran out")

    def mpi(self, *_, gate, **__):
        gate.ready()
        gate.over()
        if not ends:
            raise TrialError("no route to host")
        return Completed((), 0, "Max Write: 850.00 MiB/sec\nMax Read: 850.00 MiB/sec\n", "")

    monkeypatch.setattr(Hangs, "mpi", mpi)


@pytest.mark.parametrize("ends", [True, False])
def test_a_folded_trial_for_which_there_is_too_little_memory_counts_as_lost(tmp_path, monkeypatch, ends):
    without_memory(monkeypatch, ends)
    made = runner(tmp_path, monkeypatch)
    made.all(Schedule(TODO))
    (trial,) = new(made)
    assert trial.state == "censored" and trial.reason.startswith("the memory of host1 ran out")
    base = BASELINE.metrics
    assert trial.metrics == {} and {name: base[name] / bound for name, bound in trial.bounds.items()} == pytest.approx(
        dict.fromkeys(base, 5.0)
    )
    limit = limiting([Usage.from_json(trial.usage)], "write")
    assert limit is not None and limit.resource == "memory"
    assert limit.sentence.startswith("memory of host1, by server (67 %) and client (33 %), saturated 100 %")


def test_a_baseline_for_which_there_is_too_little_memory_has_failed(tmp_path, monkeypatch):
    without_memory(monkeypatch, ends=False)
    made = runner(tmp_path, monkeypatch, BEGINS, ())
    made.all(Schedule([Todo("ior", 1.0, 1)]))
    assert {(trial.state, trial.bounds == {}) for trial in made.store.trials()} == {("failed", True)}


def test_a_study_in_which_everything_is_stopped_comes_to_its_end(tmp_path, monkeypatch):
    made = runner(tmp_path, monkeypatch)
    made.all(Schedule([Todo("ior", ratio, n) for n in (1, 2, 3) for ratio in (2.0, 4.0)]))
    assert [trial.state for trial in new(made)] == ["censored"] * 6


def test_a_machine_that_ran_out_meanwhile_makes_it_invalid(tmp_path, monkeypatch):
    """And the clients that were killed are no better for it."""
    lost = {"write": Disturbance(0.0, 0.0, 0.0, 0.0, 1.0, "no idle CPU")}
    monkeypatch.setattr(measuring.disturbance, "disturbances", lambda *_: lost)
    made = runner(tmp_path, monkeypatch)
    made.all(Schedule(TODO))
    assert [(trial.state, trial.reason) for trial in new(made)] == [("invalid", "no idle CPU")] * 4
    assert made.cluster.log.count("deploy") == 3


def test_while_it_lasts_it_is_told_how_long(tmp_path, monkeypatch):
    told = []
    made = runner(tmp_path, monkeypatch)
    monkeypatch.setattr(engine.Timing, "goes_on", lambda self, trial: (1.0, 2.0, 3.0))
    made.listener.lasts = lambda trial, *times: told.append((trial.number, *times))
    made.all(Schedule(TODO))
    assert set(told) == {(91, 1.0, 2.0, 3.0)}


# At its timeout


def test_a_baseline_that_hangs_fails_as_ever(tmp_path, monkeypatch):
    made = runner(tmp_path, monkeypatch, BEGINS, (BASELINE,), TIMEOUT.format("1 s"))
    made.all(Schedule([Todo("ior", 1.0, 2)]))
    assert [(trial.state, trial.reason) for trial in new(made)] == [("failed", "did not end within 1 s")] * 2


def test_a_folded_trial_whose_loss_is_shown_at_its_timeout_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE_S", 30.0)
    made = runner(tmp_path, monkeypatch, BEGINS, (BASELINE,), TIMEOUT.format("3 s"))
    made.all(Schedule(TODO))
    (trial,) = new(made)
    assert trial.state == "censored" and trial.reason.startswith("did not end within 3 s; its loss is shown: ")


def test_one_whose_loss_is_not_shown_fails(tmp_path, monkeypatch):
    slow = replace(BASELINE, metrics={"write_bandwidth": 20.0})
    made = runner(tmp_path, monkeypatch, BEGINS, (slow,), TIMEOUT.format("1 s"))
    made.all(Schedule(TODO))
    assert [(trial.state, trial.reason) for trial in new(made)] == [("failed", "did not end within 1 s")] * 2


def test_without_a_baseline_what_it_shows_is_kept_for_later(tmp_path, monkeypatch):
    made = runner(tmp_path, monkeypatch, BEGINS, (), TIMEOUT.format("2 s"))
    made.number = BASELINE.number
    made.all(Schedule(TODO))
    (trial,) = new(made)
    assert trial.state == "censored" and "nothing is known of the baseline yet" in trial.reason
    assert 10 < trial.bounds["write_bandwidth"] < 60  # 40 MiB, over the part of 2 s that the kernel's start left


def test_through_faults_a_trial_is_waited_for(tmp_path, monkeypatch):
    fault = '[[fault]]\nworkload = "ior"\nwhat = "crash"\nrole = "server"\nat = "2 s"\n'
    made = runner(
        tmp_path, monkeypatch, BEGINS, (), f'[[workload]]\nkind = "mdtest" => {fault}\n[[workload]]\nkind = "mdtest"'
    )
    (label,) = made.through_faults
    trial = Trial(1, label, 4.0, 2, 1, 1, "running", "")
    assert not made.patience(trial).folded
    assert made.patience(replace(trial, workload="ior")).folded
    assert not made.patience(replace(trial, workload="ior", ratio=1.0)).folded


# For the budget


def within(made, todos):
    return Within(Schedule(todos), None, made.study.about.budget_s)


def test_a_budget_ends_a_trial_with_what_it_has_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(patience, "PATIENCE_S", 30.0)
    made = runner(tmp_path, monkeypatch, WROTE, (), BUDGET.format("1 s"))
    made.number = BASELINE.number
    began = time.monotonic()
    made.all(within(made, [*TODO, Todo("ior", 1.0, 1)]))
    assert time.monotonic() - began < 2.5
    (trial,) = new(made)
    assert (trial.state, trial.reason, trial.metrics) == ("censored", BUDGET_SPENT, {"write_bandwidth": 12.5})
    assert trial.bounds["read_bandwidth"] > 32 / 1.5
    assert "deploy" not in made.cluster.log
    monkeypatch.setattr(patience, "PATIENCE_S", 0.3)
    again = runner(tmp_path, monkeypatch, WROTE, (BASELINE, trial), BUDGET.format("1 min"))
    again.all(within(again, TODO))
    assert [(t.reason[:17], t.attempt) for t in new(again)] == [(BUDGET_SPENT[:17], 1), ("its loss is shown", 2)]


def test_one_that_has_shown_nothing_has_failed_and_is_tried_again_with_a_larger_budget(tmp_path, monkeypatch):
    made = runner(tmp_path, monkeypatch, (), (), BUDGET.format("1 s"))
    made.number = BASELINE.number
    made.all(within(made, [*TODO, Todo("ior", 1.0, 1)]))
    (trial,) = new(made)
    assert (trial.state, trial.reason) == ("failed", BUDGET_SPENT)
    assert made.over == []
    again = runner(tmp_path, monkeypatch, BEGINS, (BASELINE, trial), BUDGET.format("1 min"))
    again.all(within(again, TODO))
    assert [(t.state, t.attempt) for t in new(again)] == [("failed", 1), ("censored", 2)]


def test_however_often_a_budget_ended_a_trial_it_is_not_given_up(tmp_path, monkeypatch):
    trial = Trial(91, "ior", 4.0, 2, 1, 1, "failed", "", reason=BUDGET_SPENT)
    made = runner(tmp_path, monkeypatch, BEGINS, [BASELINE, *(replace(trial, number=91 + n) for n in range(6))])
    assert made.over == [BASELINE]
    made.all(Schedule(TODO))
    assert [t.state for t in new(made)] == ["failed"] * 6 + ["censored"]


def test_a_budget_that_ends_after_failures_ends_the_run_in_order(tmp_path, monkeypatch):
    """Not as one in which nothing works."""
    made = runner(tmp_path, monkeypatch, (), (), BUDGET.format("1 s"))
    todos = [Todo("ior", 4.0, n) for n in range(1, 9)]

    def measure(trial: Trial) -> Trial:
        if trial.repetition <= 3:
            raise TrialError("no answer")
        time.sleep(1.1)
        return replace(trial, state="failed", reason=BUDGET_SPENT)

    monkeypatch.setattr(made, "measure", measure)
    made.all(within(made, todos))
    assert [trial.reason for trial in made.store.trials()] == ["no answer"] * 6 + [BUDGET_SPENT]


# Programs that are no MPI job


def test_programs_on_each_client_are_stopped_as_well(tmp_path, monkeypatch):
    seen = []

    class Each(Hangs):
        def each(self, runs, *, mark, timeout_s, stdin, watch):
            seen.append(watch(""))
            return Together({name: Completed(argv, 0, "out", "") for name, argv in runs.items()}, 1.0, 2.0)

    made = runner(tmp_path, monkeypatch)
    course, nodes = measuring.Course(), Each(())
    phases = (workloads.Phase("run", each={"client1": ("true",)}),)
    prepared = SimpleNamespace(phases=lambda label: phases, study=made.prepared.study, tools=made.prepared.tools)
    measurement = measuring.Measurement(prepared, nodes, lambda what: None, patience=patience.Patience(until_s=0.0))
    measurement._phases(nodes, tmp_path, Trial(1, "ior", 4.0, 2, 1, 1, "running", ""), course)
    assert seen == [BUDGET_SPENT]
    assert course.outputs == {"run@client1": "out"}
