"""The pure parts of running a study: what is written down, how it goes on, how long it will take."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest
from doubles import Unmade
from prepared_studies import MACHINE, prepare, quickstart, study

from pliant.campaign import description, engine, measuring, opening, rundir
from pliant.errors import FatalError, TrialError, UserError
from pliant.machine.process import CommandFailed, Completed
from pliant.machine.together import Together
from pliant.results.artefacts import Artefacts
from pliant.results.run_info import RunInfo
from pliant.results.store import Store
from pliant.statistics.search import Schedule, Todo
from pliant.telemetry.disturbance import Disturbance
from pliant.trial import Trial
from pliant.workloads.kernels.common import window_lines
from pliant.workloads.model import Phase

# What is written down


def test_the_documents_of_a_run_are_json(machine):
    prepared = quickstart()
    info = description.info_of(prepared)
    assert RunInfo.from_json(json.loads(json.dumps(info.to_json(), allow_nan=False))) == info
    assert dict(info.hosts) == {1.0: 8, 2.0: 4, 4.0: 2, 8.0: 1}
    assert info.placements[8.0] == {"host1": tuple(node.name for node in prepared.study.nodes)}
    assert info.max_loss == 0.1
    assert [metric.better for metric in info.metrics["ior"]] == ["higher", "higher"]
    written = description.document_of(prepared.study)
    assert json.loads(json.dumps(written, allow_nan=False)) == written
    assert written["study"]["seed"] == 1
    assert written["filesystem"]["options"]["ping_timeout_s"] == 42  # a default that the file does not have
    assert [workload["kind"] for workload in written["workload"]] == ["ior", "mdtest"]


def test_the_facts_of_a_run_are_texts(machine):
    found = description.facts_of([quickstart()])
    assert all(isinstance(value, str) and value for value in found.values())
    assert json.loads(json.dumps(found)) == found
    assert found["file system"] == "glusterfs 10.3"
    assert found["CPU"] == "2 x a CPU"
    assert found["MPI of ior"] == "MPICH 4.2"


# When operations took place

PHASES = {"write+read": (10.0, 30.0)}
STATED = {"write": (12.0, 20.0), "read": (20.5, 29.0)}


def test_operations_that_a_phase_tells_of_take_its_place():
    phases = {**PHASES, "remove": (31.0, 32.0)}
    found = measuring.operations(phases, {"write+read": window_lines(STATED), "remove": "window\n"})
    assert found == {**STATED, "remove": (31.0, 32.0)}


def test_a_phase_speaks_for_operations_that_are_too_short_for_telemetry():
    stated = {"write": (12.0, 20.0), "read": (20.5, 20.8)}
    assert measuring.operations(PHASES, {"write+read": window_lines(stated)}) == {**stated, **PHASES}


def test_an_operation_that_did_not_end_took_place_until_the_phase_was_cut_short():
    printed = f"begin write 11.9\n{window_lines({'write': (12.0, 20.0)})}result write 3.5\nbegin read 20.4\n"
    assert measuring.operations(PHASES, {"write+read": printed}) == {"write": (12.0, 20.0), "read": (20.4, 30.0)}


@pytest.mark.parametrize("wrong", [(9.9, 20.0), (12.0, 30.1), (12.0, 12.0), (15.0, 12.0), (1e6, 2e6)])
def test_a_clock_that_is_not_ours_is_not_used(wrong):
    output = window_lines({**STATED, "write": wrong})
    assert measuring.operations(PHASES, {"write+read": output}) == PHASES


def judged(runner, monkeypatch, tmp_path, lost, metrics):
    """A trial with these metrics, of whose operations so much was lost."""
    asked = []
    usage = SimpleNamespace(to_json=lambda: {"write": 1})
    monkeypatch.setattr(measuring, "usage", lambda samples, of, *rest: asked.append(of) or usage)
    known = {name: Disturbance(0.5, 0.2, 0.1, 0.0, part, f"so it was with {name}") for name, part in lost.items()}
    monkeypatch.setattr(measuring.disturbance, "disturbances", lambda samples, of, *rest: asked.append(of) or known)
    (tmp_path / "telemetry.txt").write_text("")
    trial = Trial(1, "ior", 1.0, 8, 1, 1, "running", "", metrics=dict.fromkeys(metrics, 1.0))
    measurement = measuring.Measurement(runner.prepared, SimpleNamespace(deployment=Unmade()), lambda what: None)
    course = measuring.Course(PHASES, {"write+read": window_lines(STATED)})
    found, reason, starved = measurement._judged(trial, tmp_path / "telemetry.txt", course)
    assert asked == [STATED, STATED] and found.usage == {"write": 1} and starved == ""
    return found, reason


BANDWIDTHS = ("write_bandwidth", "read_bandwidth")


def test_one_metric_of_a_trial_may_count_while_another_does_not(runner, monkeypatch, tmp_path):
    trial, reason = judged(runner, monkeypatch, tmp_path, {"write": 0.02, "read": 0.03}, BANDWIDTHS)
    assert reason == ""
    assert trial.disturbance["write_bandwidth"] == {
        "limited": 0.5, "stolen": 0.2, "withheld": 0.1, "second_s": 0.0, "lost": 0.02, "refused": ""
    }  # fmt: skip
    assert trial.disturbance["read_bandwidth"]["refused"] == "so it was with read"


def test_a_trial_of_which_no_metric_counts_is_invalid(runner, monkeypatch, tmp_path):
    lost = {"write": 0.03, "read": 0.03}
    assert judged(runner, monkeypatch, tmp_path, lost, BANDWIDTHS)[1] == "so it was with write"
    # What it did not come to does not count either way, and nor does what is not known of one.
    assert judged(runner, monkeypatch, tmp_path, lost, BANDWIDTHS[:1])[1] == "so it was with write"
    assert judged(runner, monkeypatch, tmp_path, {"write": 0.03}, BANDWIDTHS)[1] == ""


# Going on


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.left: list[float] = []
        self.notes: list[str] = []

    def starts(self, directory, infos, trials) -> None: ...

    def doing(self, what: str) -> None: ...

    def begins(self, trial, number, total, left_s) -> None:
        self.left.append(left_s)

    def lasts(self, trial, lasted_s, expected_s, left_s) -> None: ...

    def ended(self, trial, number, total, left_s) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


class Stored:
    def __init__(self, before: Sequence[Trial] = ()) -> None:
        self.known: dict[int, Trial] = {trial.number: trial for trial in before}

    def trials(self) -> list[Trial]:
        return list(self.known.values())

    def begin(self, trial: Trial) -> None:
        assert trial.number not in self.known
        self.known[trial.number] = trial

    def end(self, trial: Trial) -> None:
        assert trial.reused or self.known[trial.number].state == "running"
        self.known[trial.number] = trial

    def document(self, name: str) -> str:
        return ""

    def set_documents(self, documents) -> None: ...

    @property
    def states(self) -> list[tuple[str, int, str]]:
        return [(t.workload, t.attempt, t.state) for t in self.known.values()]


class Kept:
    """A keeper that keeps nothing, and has what it is given."""

    def __init__(self) -> None:
        self.before: dict[object, Trial] = {}
        self.kept: list[Trial] = []

    def key(self, todo: Todo) -> str:
        return "key"

    def reuse(self, todo, number, attempt, directory, said):
        found = self.before.get(todo.key)
        return found and replace(found, number=number, attempt=attempt, directory=directory, reused="another")

    def keep(self, trial: Trial, todo: Todo) -> None:
        self.kept.append(trial)

    def need_room(self) -> None: ...


@pytest.fixture
def runner(machine, tmp_path, monkeypatch):
    made = engine._Runner([prepare(study())], Stored(), tmp_path, Heard(), Kept())
    monkeypatch.setattr(made, "recover", lambda trial: None)
    monkeypatch.setattr(made, "take_turns", lambda todo: None)
    return made


def runs(runner, monkeypatch, *outcomes) -> None:
    """Each trial does the next of these: an exception, or True for one that works."""
    following = iter(outcomes)

    def measure(trial: Trial) -> Trial:
        outcome = next(following)
        if isinstance(outcome, BaseException):
            raise outcome
        return replace(trial, state="done", metrics={"write": 1.0})

    monkeypatch.setattr(runner, "measure", measure)


def test_trials_that_work_run_once(runner, monkeypatch):
    runs(runner, monkeypatch, True, True)
    runner.all(Schedule([Todo("ior", 1.0, 1), Todo("mdtest", 2.0, 1)]))
    assert runner.store.states == [("ior", 1, "done"), ("mdtest", 1, "done")]
    first, second = runner.store.known.values()
    assert (first.hosts, second.hosts) == (8, 4)
    assert first.directory == "trials/0001-ior-ratio1"


def test_a_trial_that_fails_is_kept_and_tried_once_more(runner, monkeypatch):
    runs(runner, monkeypatch, TrialError("no answer"), True, TrialError("a"), TrialError("b"), True)
    runner.all(Schedule([Todo("ior", 1.0, 1), Todo("mdtest", 2.0, 1), Todo("ior", 4.0, 1)]))
    assert runner.store.states == [
        ("ior", 1, "failed"),
        ("ior", 2, "done"),
        ("mdtest", 1, "failed"),
        ("mdtest", 2, "failed"),
        ("ior", 1, "done"),
    ]
    assert [trial.reason for trial in runner.store.known.values()] == ["no answer", "", "a", "b", ""]


class Losing:
    """A platform whose hosts can be lost."""

    refolds_live, losses = False, 0


@pytest.fixture
def losing(runner, monkeypatch):
    platform = Losing()
    place = replace(runner.prepared.place, platform=platform)
    runner.prepared = replace(runner.prepared, place=place)
    runner.filesystems = {runner.prepared.filesystem: runner.prepared}
    return platform


def test_a_trial_during_which_a_host_is_lost_says_nothing_and_is_repeated(runner, losing, monkeypatch):
    outcomes = iter([True, TrialError("no way"), False, True])

    def measure(trial: Trial) -> Trial:
        outcome = next(outcomes)
        losing.losses += outcome is not False and trial.attempt < 3
        if isinstance(outcome, Exception):
            raise outcome
        return replace(trial, state="done", metrics={"write": 1.0})

    monkeypatch.setattr(runner, "measure", measure)
    runner.all(Schedule([Todo("ior", 1.0, 1)]))
    assert runner.store.states == [("ior", 1, "failed"), ("ior", 2, "failed"), ("ior", 3, "done")]
    reasons = [trial.reason for trial in runner.store.known.values()]
    assert reasons[:2] == [
        "a host was lost meanwhile: what was measured meanwhile is not whole",
        "a host was lost meanwhile: no way",
    ]
    assert [trial.half for trial in runner.store.known.values()] == [True, True, False]


def test_hosts_that_are_lost_again_and_again_end_the_run(runner, losing, monkeypatch):
    def measure(trial: Trial) -> Trial:
        losing.losses += 1
        raise TrialError("no way")

    monkeypatch.setattr(runner, "measure", measure)
    with pytest.raises(FatalError, match=r"hosts were lost 4 times during a trial; the last time: .*no way"):
        runner.all(Schedule([Todo("ior", 1.0, 1)]))


def test_what_deploys_is_done_once_more_if_a_host_was_lost_and_nothing_is_left(runner, losing, monkeypatch):
    done: list[str] = []

    def fails(times: int, *, lost: bool = True, note: str = "") -> None:
        def do() -> None:
            done.append("try")
            losing.losses += lost
            if len(done) <= times:
                error = CommandFailed(["up"], 1, "", "gone", "node2")
                if note:
                    error.add_note(note)
                raise error

        done.clear()
        runner.despite_losses(do)

    fails(1)
    assert len(done) == 2
    for keys in ({"times": 2}, {"times": 1, "lost": False}, {"times": 1, "note": "something is left"}):
        with pytest.raises(CommandFailed):
            fails(**keys)
        assert len(done) == keys["times"]


def test_a_study_in_which_everything_fails_ends_early(runner, monkeypatch):
    runs(runner, monkeypatch, *(TrialError(f"no {n}") for n in range(100)))
    with pytest.raises(
        FatalError, match=r"^4 trials in a row were given up, each after 2 failures or 4 .*; the last: no 7$"
    ):
        runner.all(Schedule([Todo("ior", 1.0, n) for n in range(1, 40)]))


def test_a_trial_that_was_not_valid_is_repeated_on_the_same_cluster(runner, monkeypatch):
    outcomes = iter(["invalid", "invalid", "done"])
    monkeypatch.setattr(engine._Runner, "measure", lambda self, trial: replace(trial, state=next(outcomes)))
    monkeypatch.setattr(engine._Runner, "recover", lambda self, trial: pytest.fail("nothing was broken"))
    runner.all(Schedule([Todo("ior", 1.0, 1)]))
    assert runner.store.states == [("ior", 1, "invalid"), ("ior", 2, "invalid"), ("ior", 3, "done")]


def test_a_machine_that_is_never_quiet_ends_a_study(runner, monkeypatch):
    busy = lambda self, trial: replace(trial, state="invalid", reason="no idle CPU")  # noqa: E731
    monkeypatch.setattr(engine._Runner, "measure", busy)
    with pytest.raises(FatalError, match=r"4 trials in a row were given up.*not valid; the last: no idle CPU"):
        runner.all(Schedule([Todo("ior", 1.0, n) for n in range(1, 40)]))
    assert runner.store.states[:5] == [("ior", n, "invalid") for n in (1, 2, 3, 4, 1)]


def test_an_interrupted_trial_is_kept_as_failed(runner, monkeypatch):
    runs(runner, monkeypatch, True, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        runner.all(Schedule([Todo("ior", 1.0, 1), Todo("mdtest", 2.0, 1)]))
    assert runner.store.states == [("ior", 1, "done"), ("mdtest", 1, "failed")]
    assert runner.store.known[2].reason == "interrupted"


def test_the_cluster_is_removed_whatever_happens(machine, tmp_path, monkeypatch):
    log: list[str] = []
    cluster = SimpleNamespace(id="ab12", keep_logs=lambda directory, since: None, close=lambda: log.append("closed"))
    monkeypatch.setattr(engine, "bring_up", lambda *args, **kwargs: cluster)

    def broken(self, trial):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine._Runner, "calibrate", lambda self: None)
    monkeypatch.setattr(engine._Runner, "measure", broken)
    with pytest.raises(KeyboardInterrupt):
        engine.run([prepare(study())], tmp_path / "run", Heard(), Artefacts(tmp_path / "store"))
    assert log == ["closed"]
    assert (tmp_path / "run/results.sqlite").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"run", "store"}


# Going on after an interruption

TODOS = [Todo(workload, ratio, n) for n in (1, 2) for ratio in (1.0, 2.0) for workload in ("ior", "mdtest")]


def outcomes_of(monkeypatch, runner, fate) -> None:
    """Trials end as `fate` says of (workload, ratio, repetition, attempt)."""

    def measure(trial: Trial) -> Trial:
        state = fate(trial)
        return replace(trial, state=state, metrics={"write": 1.0} if state == "done" else {})

    monkeypatch.setattr(runner, "measure", measure)


def fate(trial: Trial) -> str:
    """Some fail once, one twice, one is invalid three times."""
    which = (trial.workload, trial.ratio, trial.repetition)
    if which == ("mdtest", 2.0, 1):
        return "failed"
    if which == ("ior", 1.0, 2) and trial.attempt < 4:
        return "invalid"
    return "failed" if which == ("ior", 2.0, 1) and trial.attempt == 1 else "done"


def told(trial: Trial) -> Trial:
    return replace(trial, started_at="", duration_s=0.0)


def made(tmp_path, monkeypatch, before: Sequence[Trial] = ()):
    new = engine._Runner([prepare(study())], Stored(before), tmp_path, Heard(), Kept())
    monkeypatch.setattr(new, "recover", lambda trial: None)
    monkeypatch.setattr(new, "take_turns", lambda todo: None)
    return new


def test_killed_after_any_attempt_and_resumed_it_has_the_same_trials(machine, tmp_path, monkeypatch):
    whole = made(tmp_path, monkeypatch)
    outcomes_of(monkeypatch, whole, fate)
    whole.all(Schedule(TODOS))
    trials = whole.store.trials()
    assert len(trials) == 8 + 1 + 1 + 3
    for ended in range(len(trials) + 1):
        again = made(tmp_path, monkeypatch, trials[:ended])
        outcomes_of(monkeypatch, again, fate)
        again.resume()
        again.all(Schedule(TODOS))
        assert [told(trial) for trial in again.store.trials()] == [told(trial) for trial in trials], ended
        assert again.over == again.store.trials() or len(again.over) == 8
        assert len(again.keeper.kept) == len(trials) - ended


def test_a_trial_that_the_store_has_is_not_measured(runner, monkeypatch):
    known = Trial(99, "ior", 2.0, 4, 1, 1, "done", "2026", metrics={"write": 3.0}, key="key")
    runner.keeper.before[TODOS[2].key] = known
    runs(runner, monkeypatch, True, True)
    monkeypatch.setattr(engine._Runner, "take_turns", lambda self, todo: pytest.fail("nothing is deployed for it"))
    runner.all(Schedule(TODOS[2:3]))
    (trial,) = runner.store.trials()
    assert (trial.number, trial.reused, trial.metrics) == (1, "another", {"write": 3.0})
    assert trial.directory == "trials/0001-ior-ratio2"


def test_a_full_disk_ends_the_run_and_the_trial_is_repeated_later(runner, monkeypatch):
    runs(runner, monkeypatch, True, OSError(28, "No space left on device", "/out/write.out"))
    with pytest.raises(FatalError, match=r"No space left on device.*: the disk is full; make room, then run the same"):
        runner.all(Schedule(TODOS))
    assert [(trial.state, trial.half) for trial in runner.store.trials()] == [("done", False), ("failed", True)]


def test_the_last_interrupted_run_of_the_same_study_goes_on_by_itself(machine, tmp_path, monkeypatch):
    prepared = [prepare(study())]
    interrupted = lambda self, search: (_ for _ in ()).throw(KeyboardInterrupt)  # noqa: E731
    store = Artefacts(tmp_path / "store")
    runs_ = [tmp_path / name for name in ("small-1", "small-2", "small-other", "small-fresh", "small-done")]
    monkeypatch.setattr(engine._Runner, "all", interrupted)
    for directory, of, fresh in (
        (runs_[0], prepared, False),
        (runs_[1], prepared, False),
        (runs_[2], [prepare(study("seed = 7 => seed = 8"))], False),
        (runs_[3], prepared, True),
    ):
        with pytest.raises(KeyboardInterrupt):
            engine.run(of, directory, Heard(), store, fresh=fresh)
    monkeypatch.setattr(engine._Runner, "all", lambda self, search: None)
    engine.run(prepared, runs_[4], Heard(), store)
    for number, directory in enumerate(runs_):
        os.utime(directory / "results.sqlite", (number, number))
    found = lambda fresh, directories=runs_: opening.unfinished(prepared, "dev", fresh, directories)  # noqa: E731
    assert found(False) == runs_[3]
    assert found(True) == runs_[3]
    assert found(False, runs_[:3]) == runs_[1]
    assert found(True, runs_[:3]) is None
    assert opening.unfinished(prepared, "verified", False, runs_) is None
    with rundir.locked(runs_[1]):
        assert found(False, runs_[:3]) == runs_[0], "that of somebody else is his"


def test_a_complete_run_is_left_as_it_is_unless_its_budget_changes(machine, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(engine._Runner, "all", lambda self, search: asked.append(1))
    for _ in range(2):
        engine.run([prepare(study())], tmp_path / "run", Heard(), Artefacts(tmp_path / "store"))
    assert asked == [1]
    heard = Heard()
    engine.run([prepare(study())], tmp_path / "run", heard, Artefacts(tmp_path / "store"))
    assert heard.notes[0].startswith(f"{tmp_path}/run holds this run, and it is complete: nothing is measured; ")
    with pytest.raises(UserError, match=r"holds a run that cannot go on: .*study\.seed was 7 and is 8; choose another"):
        engine.run([prepare(study("seed = 7 => seed = 8"))], tmp_path / "run", Heard(), Artefacts(tmp_path / "store"))
    machine.facts = replace(MACHINE, kernel="6.19")
    engine.run([prepare(study())], tmp_path / "run", Heard(), Artefacts(tmp_path / "store"))
    with Store.open(tmp_path / "run") as store:
        store.set_documents({rundir.FINISHED: ""})
    said = r"cannot go on: this is not what it was begun on: glusterfs\.machine\.kernel was \"6\.18\" and is \"6\.19\""
    with pytest.raises(UserError, match=said):
        engine.run([prepare(study())], tmp_path / "run", Heard(), Artefacts(tmp_path / "store"))
    assert asked == [1]


# One trial


def test_what_each_client_prints_is_kept_and_given_to_the_workload(runner, tmp_path):
    """Phases that are MPI jobs and phases that are not, as a trial runs them: one that waits starts without limits."""
    phases = (
        Phase("prepare", each={"client1": ("mkdir", "x")}),
        Phase("run", ("prog",), drop_caches=True),
        Phase("kernel", ("own",), waits=True),
    )
    log: list[str] = []

    class Nodes:
        id = "ab12"
        deployment = Unmade()

        def limit(self, on):
            log.append(f"limit {on}")
            self.deployment.limit(on)

        def drop_caches(self):
            log.append("drop")

        def undisturbed(self):
            return contextlib.nullcontext()

        def each(self, runs, *, mark, timeout_s, stdin, watch):
            log.append("each")
            done = {client: Completed(argv, 0, f"out of {client}", "err") for client, argv in runs.items()}
            return Together(done, 10.0, 11.0)

        def mpi(self, mpi, argv, ranks, *, mark, timeout_s, watch, gate):
            log.append(argv[0])
            if gate is not None:
                gate.ready()
                log.append("measures")
                gate.over()
            return Completed(argv, 0, f"printed by {argv[0]}", "")

    prepared = SimpleNamespace(phases=lambda label: phases, mpi={"w": None}, study=runner.prepared.study)
    course = measuring.Course()
    measurement = measuring.Measurement(prepared, Nodes(), lambda what: None)
    measurement._phases(Nodes(), tmp_path, Trial(1, "w", 1.0, 8, 1, 1, "running", ""), course)
    limited = ["limit False", "own", "limit True", "measures", "limit False"]
    assert log == ["limit True", "each", "drop", "prog", *limited]
    outputs = {"prepare@client1": "out of client1", "run": "printed by prog", "kernel": "printed by own"}
    assert course.outputs == outputs
    assert course.phases["prepare"] == (10.0, 11.0)
    assert {path.name: path.read_text() for path in tmp_path.iterdir() if path.suffix in (".out", ".err")} == {
        "prepare@client1.out": "out of client1",
        "prepare@client1.err": "err",
        "run.out": "printed by prog",
        "kernel.out": "printed by own",
    }
