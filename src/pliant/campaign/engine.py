"""Runs a study: search -> cluster -> trials -> store. Every trial is stored the moment it ends."""

from __future__ import annotations

import errno
import json
import platform
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pliant
from pliant import fairness, rundir, workplace
from pliant.artefacts import Artefacts
from pliant.calibration import TOLERANCE, calibrate_hosts
from pliant.calm import Calm
from pliant.cluster import Cluster, NotIntact, numbers
from pliant.determined import Determined
from pliant.disturbance import neighbours
from pliant.errors import FatalError, TrialError, UserError
from pliant.keeping import Keeper
from pliant.machine import facts
from pliant.machine.process import CommandFailed
from pliant.machine.teardown import TeardownError
from pliant.measuring import Measurement
from pliant.patience import Patience, medians
from pliant.preparation import Prepared, search_of
from pliant.proof import Proof
from pliant.search import Key, Search, Todo, key_of
from pliant.store import RunInfo, Store, holds_run
from pliant.study import Study
from pliant.timing import Timing, which
from pliant.trial import BUDGET_SPENT, INTERRUPTED, Trial, Workflow
from pliant.units import format_size
from pliant.verdict import BASELINE

_ATTEMPTS = 2
"""How often a trial may fail before it is given up."""
_INVALID = 4
"""How often it may be invalid, which is no fault of what is measured, before the machine is taken to be unfit."""
_FIRST = 4
"""After so many trials it is told what the machine's neighbours take."""


class Listener(Protocol):
    """Hears how a run goes on. Times are seconds; `left_s` is an estimate."""

    def starts(self, directory: Path, infos: Sequence[RunInfo], trials: Sequence[Trial]) -> None:
        """The run begins or goes on: its results are in `directory`, these trials have ended before."""

    def doing(self, what: str) -> None:
        """What is going on now, within a deployment or a trial."""

    def begins(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """A trial begins, the `number`th of `total`, which may be an estimate too."""

    def lasts(self, trial: Trial, lasted_s: float, expected_s: float | None, left_s: float) -> None:
        """A trial that has begun goes on, as is told every second. `expected_s` is what it was expected to take, if it
        takes so much longer that nobody knows when it ends: `left_s` is then until it is stopped, and what follows."""

    def ended(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """A trial has ended and is stored."""

    def note(self, text: str) -> None:
        """Something the user should know."""


def _document(study: Study, workflow: Workflow = "dev") -> dict[str, Any]:
    """The study as it was understood, with every default, and the workflow that was asked for."""
    tables = {"study": study.about, "platform": study.platform, "fold": study.fold}
    document: dict[str, Any] = {
        name: table.model_dump(mode="json")
        for name, table in (tables | {"power": study.power, "mpi": study.mpi}).items()
    }
    document["study"]["workflow"] = workflow
    filesystems = [
        {**each.table.model_dump(mode="json"), "name": each.label, "options": each.options.model_dump(mode="json")}
        for each in study.filesystems
    ]
    workloads = [
        {"name": w.label, "kind": w.driver.name, **w.options.model_dump(mode="json")}
        | ({"faults": [table.model_dump(mode="json") for table in w.faults]} if w.faults else {})
        for w in study.workloads
    ]
    return {**document, "filesystem": filesystems if filesystems[1:] else filesystems[0], "workload": workloads}


def _info(prepared: Prepared, workflow: Workflow = "dev") -> RunInfo:
    """What an analysis of the run needs to know of one file system."""
    study = prepared.study
    placements = {
        ratio: dict(zip(placement.host_names, placement.hosts, strict=True))
        for ratio, placement in study.placements.items()
    }
    return RunInfo(
        study=study.name,
        filesystem=study.filesystem.kind,
        platform=study.platform.kind,
        workflow=workflow,
        seed=study.about.seed,
        repetitions=study.about.most,
        max_loss=study.fold.max_loss,
        search=study.about.search,
        indifference=study.fold.zone,
        start=prepared.start if study.about.adaptive else None,
        hosts={ratio: len(placement.hosts) for ratio, placement in study.placements.items()},
        metrics={w.label: w.driver.metrics(w.options) for w in study.workloads},
        roles=dict(study.filesystem.roles),
        strategy=study.fold.strategy,
        host_cores=prepared.figures.cores,
        host_figures=prepared.host_figures,
        placements=placements,
        power=study.power_model,
        filesystem_options=study.options.model_dump(mode="json"),
        scale=prepared.scale,
        like=study.platform.host.like or "",
        real_figures=prepared.real_figures,
        disk_caveat=prepared.disk_caveat,
        label=prepared.filesystem,
        faults={
            w.label: {"plain": w.plain, "faults": [fault.sentence for fault in prepared.faults(w.label)]}
            for w in study.workloads
            if w.faults
        },
    )


def _facts(prepared: Sequence[Prepared]) -> dict[str, str]:
    """The machine and the versions of everything that had a part in the numbers."""
    machine, mpi = prepared[0].machine, prepared[0].mpi
    return {
        "pliant": pliant.__version__,
        **dict(_versions(prepared)),
        "kernel": machine.kernel,
        "system": machine.system,
        "CPU": f"{machine.cores} x {machine.cpu}",
        "memory": format_size(machine.memory_bytes),
        "control groups": machine.cgroups,
        "Python": platform.python_version(),
        **{f"MPI of {label}": each.version for label, each in mpi.items()},
        **prepared[0].program_versions,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _versions(prepared: Sequence[Prepared]) -> Iterator[tuple[str, str]]:
    """What each file system, and its packages, say of their versions."""
    for each in prepared:
        what = "file system" if len(prepared) == 1 else f"file system {each.filesystem}"
        version = each.study.composition.version
        yield what, facts.version(version) if version else ""
        yield from ((f"package {name}", number) for name, number in each.versions.items())


def run(
    prepared: Sequence[Prepared],
    directory: Path,
    listener: Listener,
    artefacts: Artefacts,
    *,
    workflow: Workflow = "dev",
    fresh: bool = False,
) -> Path:
    """Run a study, prepared for each of its file systems, to its end and return the directory of its results.

    A run that was interrupted goes on, one that is complete is left as it is. What was measured before is taken from
    `artefacts`, unless the run is to be `fresh`. On an interruption (KeyboardInterrupt) or a failure what was measured
    is kept, and the cluster is removed. Raises UserError if the directory is another's.
    """
    rundir.check_free(directory)
    with rundir.locked(directory), _opened(prepared, directory, workflow, fresh, listener) as store:
        if store.document(rundir.FINISHED):
            return directory
        # As it began: another run of the study may have ended since then.
        search = search_of([replace(each, last=i.start) for each, i in zip(prepared, store.infos(), strict=True)])
        named = store.document(rundir.FRESH)
        determined = {each.filesystem: Determined(each, workflow, named) for each in prepared}
        listener.starts(directory, store.infos(), store.trials())
        runner = _Runner(prepared, store, directory, listener, Keeper(directory, artefacts, determined), workflow)
        try:
            runner.resume()
            runner.all(search)
            store.set_documents({rundir.FINISHED: datetime.now(UTC).isoformat(timespec="seconds")})
        finally:
            runner.close()
    return directory


def _opened(
    prepared: Sequence[Prepared], directory: Path, workflow: Workflow, fresh: bool, listener: Listener
) -> Store:
    """The store of a new run, or of the run that is there, ready to go on. Raises UserError if that cannot be."""
    study = prepared[0].all_of_it
    document, infos = _document(study, workflow), [_info(each, workflow) for each in prepared]
    conditions = _conditions(prepared, workflow)
    if not holds_run(directory):
        more = {rundir.CONDITIONS: json.dumps(conditions), rundir.FRESH: secrets.token_hex(8) if fresh else ""}
        return Store.create(directory, study.text, document, infos, _facts(prepared), more)
    store = Store.open(directory)
    try:
        same_budget = store.study().get("study", {}).get("budget") == document["study"].get("budget")
        complete = rundir.state_of(store, mine=True) == "complete" and same_budget
        if why := rundir.changes(store, document, None if complete else conditions):
            raise UserError(f"{directory} holds a run that cannot go on: {why}; choose another directory with --output")
        if complete:
            again = "to measure again, add --fresh and another --output"
            listener.note(f"{directory} holds this run, and it is complete: nothing is measured; {again}")
        else:
            over = rundir.go_on(store)
            begun = [replace(info, start=old.start) for info, old in zip(infos, store.infos(), strict=True)]
            runs = json.dumps([each.to_json() for each in begun])
            named = store.document(rundir.FRESH) or (secrets.token_hex(8) if fresh else "")
            more = {"study.toml": study.text, "study": json.dumps(document), "run": runs}
            store.set_documents({**more, rundir.FRESH: named, rundir.FINISHED: ""})
            listener.note(f"the run in {directory} goes on: {over} trials have ended")
    except BaseException:
        store.close()
        raise
    return store


def _conditions(prepared: Sequence[Prepared], workflow: Workflow) -> dict[str, Any]:
    """What determines all trials of a run, by file system."""
    return {each.filesystem: dict(Determined(each, workflow).common) for each in prepared}


def unfinished(
    prepared: Sequence[Prepared], workflow: Workflow, fresh: bool, directories: Iterable[Path]
) -> Path | None:
    """The last of the directories with a run of the same study that was interrupted; None if none has."""
    document, conditions = _document(prepared[0].all_of_it, workflow), _conditions(prepared, workflow)
    for directory in rundir.newest(directories):
        try:
            with Store.look(directory) as store:
                same = rundir.state_of(store) == "interrupted" and not rundir.changes(store, document, conditions)
                if same and (not fresh or store.document(rundir.FRESH)):
                    return directory
        except UserError:  # what cannot be read is nothing that goes on
            continue
    return None


class _Runner:
    """One run: the file system whose turn it is, its cluster as it is now, and how long trials have taken so far."""

    def __init__(
        self,
        prepared: Sequence[Prepared],
        store: Store,
        directory: Path,
        listener: Listener,
        keeper: Keeper,
        workflow: Workflow = "dev",
    ) -> None:
        self.filesystems = {each.filesystem: each for each in prepared}
        self.prepared, self.store, self.directory, self.listener = prepared[0], store, directory, listener
        self.keeper, self.workflow = keeper, workflow
        self.cluster: Cluster | None = None
        self.turn: tuple[str, int] | None = None
        self.calibrated: set[str] = set()
        self.timing = Timing(self.study)
        self.number = 0
        self.over: list[Trial] = []
        self.tried: dict[Key, list[str]] = {}
        """How the attempts at trials that are not over ended."""
        self.proof, self.calm = Proof(directory), Calm(listener.note)
        self.proved: tuple[str, ...] = ()
        """What was proved of the reset that the next trial starts from."""

    @property
    def study(self) -> Study:
        """The study of the file system whose turn it is."""
        return self.prepared.study

    @property
    def several(self) -> bool:
        """Whether file systems take turns."""
        return len(self.filesystems) > 1

    def resume(self) -> None:
        """Take over what was measured before the run was interrupted."""
        self.timing.resume(float(self.store.document(rundir.SPENT) or 0))
        for trial in self.store.trials():
            self.number = max(self.number, trial.number)
            self.timing.ended(trial, trial.duration_s)
            self.count(trial)

    def count(self, trial: Trial) -> bool:
        """Take notice of an attempt, and say whether the trial is over with it: it counts, or is given up.

        Through faults it may fail once, which is a result. One that the budget ended is no failure, nor over: a larger
        budget has it measured to its end, without which a baseline, say, would be lacking for ever.
        """
        states = self.tried.setdefault(key_of(trial), [])
        if trial.reason == BUDGET_SPENT:
            states.append("stopped")
            return False
        states.append(trial.state)
        attempts = 1 if trial.workload in self.through_faults else _ATTEMPTS
        over = trial.counted or states.count("failed") >= attempts or states.count("invalid") >= _INVALID
        if over:
            self.over.append(trial)
            if len(self.over) == _FIRST and (said := neighbours(self.over)):
                self.listener.note(said)
            del self.tried[key_of(trial)]
        return over

    @property
    def through_faults(self) -> set[str]:
        """The workloads that go through faults."""
        return {workload.label for workload in self.study.workloads if workload.faults}

    def take_turns(self, todo: Todo) -> None:
        """Have the file system of a trial deployed: one alone once; several anew for each pass, one after the other."""
        if self.workflow == "verified":
            self.start_anew(todo)
            return
        turn = (todo.filesystem, todo.turn if self.several else 0)
        if turn == self.turn and self.cluster is not None:
            return
        self.close()
        self.turn, self.prepared = turn, self.filesystems[todo.filesystem]
        self.deploy()
        if todo.filesystem not in self.calibrated:
            self.calibrate()
            self.calibrated.add(todo.filesystem)

    def start_anew(self, todo: Todo) -> None:
        """Remove the cluster, prove that nothing of it is left, and deploy it anew. FatalError for a doubt."""
        self.prepared = self.filesystems[todo.filesystem]
        try:
            self.close()
            if todo.filesystem not in self.calibrated:
                self.deploy()
                self.calibrate()
                self.calibrated.add(todo.filesystem)
                self.close()
        except TeardownError as error:
            raise FatalError(f"the reset is in doubt, so nothing is measured: {error}") from error
        self.listener.doing("prove that nothing is left")
        gone = self.proof.nothing_left()
        self.deploy()
        assert self.cluster is not None
        self.proved = (*gone, self.proof.new(self.cluster))

    def deploy(self) -> None:
        self.listener.doing("deploy")
        started = time.monotonic()
        logs = self.directory / "logs"
        said = lambda step: self.listener.doing(f"deploy: {step}")  # noqa: E731
        self.cluster = bring_up(self.prepared, 1.0, logs=logs, said=said, run=self.directory)
        took_s = time.monotonic() - started
        self.timing.expected.deployments_s.append(took_s)
        what = f"{len(self.study.nodes)} nodes{f' of {self.prepared.filesystem}' if self.several else ''}"
        self.listener.note(f"deployed {what} as {self.cluster.id} in {took_s:.1f} s")

    def calibrate(self) -> None:
        """Measure what hosts really deliver; FatalError if that is not what they were promised."""
        assert self.cluster is not None
        composition, started = self.study.composition, time.monotonic()
        disks = {n.name: disk for n in self.study.nodes if (disk := composition.role(n.role).disk) is not None}
        with self.cluster.undisturbed():
            said = [each.sentence for each in calibrate_hosts(self.cluster.deployment, disks, self.listener.doing)]
            folded = self.study.placements[max(self.study.placements)]
            if len(folded.hosts) < len(self.study.nodes):
                self.listener.doing("calibrate: how nodes share a CPU")
                said.append(fairness.measure(self.cluster.deployment, numbers(folded)).sentence)
        fact = f"calibration of {self.prepared.filesystem}" if self.several else "calibration"
        self.store.set_fact(fact, "; ".join(said))
        self.listener.note(
            f"every host delivers what it was promised within {TOLERANCE:.0%}".replace("%", " %")
            + f", all at once, and its nodes share it fairly, as measured in {time.monotonic() - started:.1f} s"
        )

    def close(self) -> None:
        cluster, self.cluster = self.cluster, None
        if cluster is None:
            return
        self.listener.doing("remove the cluster")
        if self.workflow == "verified":
            self.proof.note(cluster)
        try:
            cluster.keep_logs(self.directory / "logs", {})
        except OSError as error:  # a full disk must not leave a cluster, nor hide why the run ends
            self.listener.note(f"the logs of the cluster are not kept: {error}")
        finally:
            cluster.close()

    def all(self, search: Search) -> None:
        """Every trial, a failed one twice; FatalError when so many fail in a row that no result is to be expected."""
        given_up = 0
        self.plan(search)
        while (todo := search.next(self.over, self.timing.spent_s)) is not None:
            self.prepared = self.filesystems[todo.filesystem] if todo.filesystem else self.prepared
            trial = self.reuse(todo, search) or self.persist(todo, search)
            if trial is None:
                continue
            if trial.counted:
                given_up = 0
            elif todo.workload not in self.through_faults:  # what fails through a fault is a result
                given_up += 1
            # All workloads may fail at one ratio, and the study still be worth its time.
            if given_up > len(self.study.labels) + 1:
                raise FatalError(
                    f"{given_up} trials in a row were given up, each after {_ATTEMPTS} failures or {_INVALID} attempts "
                    f"that were not valid; the last: {trial.reason}"
                )

    def reuse(self, todo: Todo, search: Search) -> Trial | None:
        """A trial that was measured before and is in the store; None if it has to be measured."""
        number, attempt = self.number + 1, len(self.tried.get(todo.key, ())) + 1
        found = self.keeper.reuse(todo, number, attempt, self.place(todo, number), self.listener.note)
        if found is not None:
            self.number = number
            self.store.end(found)
            self.count(found)
            if found.reused:
                self.listener.note(
                    f"trial {found.number} was measured before, by {found.reused}; --fresh measures anew"
                )
            left = self.plan(search)
            total = len(self.over) + len(left)
            self.listener.begins(found, len(self.over), total, self.estimate(left))
            self.listener.ended(found, len(self.over), total, self.estimate(left))
        return found

    def persist(self, todo: Todo, search: Search) -> Trial | None:
        """A trial until it is over; None if the budget is spent before."""
        number = len(self.over) + 1
        while True:
            self.take_turns(todo)
            attempt = len(self.tried.get(todo.key, ())) + 1
            trial = self.once(todo, attempt, number, search.left(self.over))
            over = self.count(trial)
            left = self.plan(search)
            self.listener.ended(trial, number, len(self.over) + len(left), self.estimate(left))
            late = self.timing.late
            broken = trial.state == "failed" or broken_off(trial) or trial.workload in self.through_faults
            if broken and left and not late:
                self.recover(trial)
            if over or late:
                return trial if over else None

    def place(self, todo: Todo, number: int) -> str:
        """Where the `number`th trial of the run leaves what it printed, in the run's directory."""
        which = f"{todo.filesystem}-" if self.several else ""
        return f"trials/{number:04d}-{which}{todo.workload}-ratio{todo.ratio:g}"

    def once(self, todo: Todo, attempt: int, number: int, left: Sequence[Todo]) -> Trial:
        """One attempt at the `number`th trial, stored before it begins and when it ends; `left` begins with it."""
        self.keeper.need_room()
        self.number += 1
        trial = Trial(
            number=self.number,
            workload=todo.workload,
            ratio=todo.ratio,
            hosts=len(self.study.placements[todo.ratio].hosts),
            repetition=todo.repetition,
            attempt=attempt,
            state="running",
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            program=self.prepared.program(todo.workload),
            directory=self.place(todo, self.number),
            filesystem=todo.filesystem,
            key=self.keeper.key(todo),
            proved=self.proved,
        )
        self.store.begin(trial)
        self.listener.begins(trial, number, number - 1 + len(left), self.estimate(left))
        self.timing.begins(left[1:], self.deployments(left[1:]))
        try:
            trial = self.attempt(trial)
            self.keeper.keep(trial, todo)
        except BaseException as error:
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            self.store.end(replace(trial, state="failed", reason=INTERRUPTED, metrics={}))
            if full:
                raise FatalError(f"{error}: the disk is full; make room, then run the same command again") from error
            raise
        self.timing.ended(trial)
        self.store.end(trial)
        return trial

    def plan(self, search: Search) -> list[Todo]:
        """What is left, as far as it is known; it is written down for who looks at the run."""
        left, skipped = list(search.left(self.over)), search.skipped(self.over)
        plan = {"left": left, "skipped": list(skipped)}
        self.store.set_documents({rundir.SPENT: f"{self.timing.spent_s:.3f}", rundir.PLAN: json.dumps(plan)})
        return left

    def attempt(self, trial: Trial) -> Trial:
        """Measure a trial; how it failed, if it did, is no reason to end the run, unless a disk is full."""
        began = time.monotonic()
        try:
            trial = self.measure(trial)
        except (TrialError, CommandFailed, NotIntact, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            trial = replace(trial, state="failed", reason=str(error), duration_s=time.monotonic() - began)
        if trial.state != "done":
            self.keeper.need_room()
        return trial

    def measure(self, trial: Trial) -> Trial:
        """What a trial gives on the cluster as it is."""
        assert self.cluster is not None
        doing, verified, lasts = self.listener.doing, self.workflow == "verified", lambda: self.lasts(trial)
        patience = self.patience(trial)
        measurement = Measurement(self.prepared, self.cluster, doing, verified, patience, lasts, self.calm)
        return measurement.measure(trial, self.directory / trial.directory)

    def patience(self, trial: Trial) -> Patience:
        """How long a trial that is about to begin is waited for."""
        workload, fold = self.study.workload(trial.workload), self.study.fold
        base = [each for each in self.over if which(each) == (trial.filesystem, trial.workload, BASELINE)]
        return Patience(
            workload.driver.metrics(workload.options),
            medians(base),
            fold.max_loss,
            fold.zone,
            folded=trial.ratio != BASELINE and not workload.faults,
            until_s=self.timing.until_s(trial),
        )

    def lasts(self, trial: Trial) -> None:
        """Tell that a trial goes on, and how long it and the rest will take, as it seems now."""
        told = self.timing.goes_on(trial)
        if told is not None:
            self.listener.lasts(trial, *told)

    def recover(self, trial: Trial) -> None:
        """After a failure, a fault, or what was stopped: deploy anew, so that the next trial does not pay for the last.

        A check would not do: half of a distributed file system may be gone, and a file on the other half still be fine.
        Clients that were killed leave files open, which servers hold on to.
        """
        why = "failed" if trial.state == "failed" else "was stopped" if broken_off(trial) else "went through a fault"
        self.listener.note(f"trial {trial.number} {why}; deploying the cluster again")
        if self.workflow == "verified":
            return  # every trial is on a new one
        self.close()
        self.deploy()

    def estimate(self, left: Sequence[Todo]) -> float:
        """Seconds that the trials that are left will take, from those that have ended, or until the budget is spent."""
        return self.timing.left_s(left, self.deployments(left))

    def deployments(self, left: Sequence[Todo]) -> int:
        """How often the trials that are left have a cluster deployed for them."""
        turns = {(each.filesystem, each.turn) for each in left} - {self.turn} if self.several else ()
        return len(left) if self.workflow == "verified" else len(turns)


def broken_off(trial: Trial) -> bool:
    """Whether a trial was stopped while a workload ran; one that is not valid may have been so, too."""
    return trial.state == "censored" or bool(trial.bounds)


def bring_up(
    prepared: Prepared,
    ratio: float,
    *,
    keep: bool = False,
    run: Path | None = None,
    logs: Path | None = None,
    said: Callable[[str], None] = lambda step: None,
) -> Cluster:
    """Deploy the study's cluster at a ratio, without limits, and write down what it was promised.

    `run` is the directory of the run that it is for, by which it is found if the run is killed.
    """
    study = prepared.study
    programs = {tools.program for tools in prepared.tools.values() if tools.program}
    cluster = Cluster.deploy(
        study.composition,
        prepared.figures,
        study.placements[ratio],
        disk_bytes=study.platform.host.disk_size,
        title=study.name,
        programs=sorted(programs | {mpi.mpiexec for mpi in prepared.mpi.values()}),
        keep=keep,
        run="" if run is None else str(run.resolve()),
        logs=logs,
        said=said,
    )
    try:
        workplace.write_down(cluster, study)
    except BaseException:
        cluster.close()
        raise
    return cluster
