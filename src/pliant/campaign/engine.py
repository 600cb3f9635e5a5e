"""Runs a study: search -> cluster -> trials -> store. Every trial is stored the moment it ends."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from pliant.campaign import calibrating, rundir, wattmetres
from pliant.campaign.calm import Calm
from pliant.campaign.deploying import bring_up
from pliant.campaign.determinants import Determined
from pliant.campaign.kept_trials import Keeper
from pliant.campaign.listener import Listener
from pliant.campaign.measuring import Measurement
from pliant.campaign.opening import opened
from pliant.campaign.preparation import Prepared, search_of
from pliant.campaign.reservations import Loan
from pliant.campaign.timing import Timing, which
from pliant.cluster.cluster import Cluster, NotIntact, numbers, uninterrupted
from pliant.cluster.proof import Proof
from pliant.cluster.steps import StepFailed
from pliant.errors import FatalError, PliantError, TrialError
from pliant.platforms.interface import CommandFailed, TeardownError
from pliant.results.artefacts import Artefacts
from pliant.results.store import Store
from pliant.statistics.patience import Patience, medians
from pliant.statistics.search import Key, Search, Todo, key_of
from pliant.study.model import Study
from pliant.telemetry.disturbance import neighbours
from pliant.trial import BUDGET_SPENT, HOST_LOST, INTERRUPTED, Trial, Workflow

_ATTEMPTS = 2
"""How often a trial may fail before it is given up."""
_INVALID = 4
"""How often it may be invalid, which is no fault of what is measured, before the machine is taken to be unfit."""
_LOST = 4
"""How often hosts may be lost during one trial, which is no fault of it either, before the run ends."""
_FIRST = 4
"""After so many trials it is told what the machine's neighbours take."""


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
    with rundir.locked(directory), opened(prepared, directory, workflow, fresh, listener) as store:
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
            runner.read_wattmetres()
            store.set_documents({rundir.FINISHED: datetime.now(UTC).isoformat(timespec="seconds")})
        except BaseException as error:
            runner.abandon(error)
            raise
        runner.close()
    return directory


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
        self.loan = self.prepared.place.loan
        self.timing = Timing(self.study, lambda: self.loan.ends_s if self.loan else None)
        self.extended = False
        self.number, self.began_s = 0, time.time()
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

    def read_wattmetres(self) -> None:
        """Keep what the hosts drew, where that was measured; for what folding saves, if they are what they are."""
        found = wattmetres.read(self.loan, self.prepared.place.hosts, self.store.trials(), self.began_s)
        for name, value in found.facts.items():
            self.store.set_fact(name, value)
        if found.watts and self.study.platform.host is None:
            self.store.add_watts(found.watts)

    def count(self, trial: Trial) -> bool:
        """Take notice of an attempt, and say whether the trial is over with it: it counts, or is given up.

        Through faults it may fail once, which is a result. One that the budget ended is no failure, nor over: a larger
        budget has it measured to its end, without which a baseline, say, would be lacking for ever. Nor is one during
        which a host was lost, which says nothing.
        """
        states = self.tried.setdefault(key_of(trial), [])
        if trial.reason == BUDGET_SPENT:
            states.append("stopped")
            return False
        if trial.half:
            states.append("lost")
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
        self.despite_losses(lambda: self.take_turn(todo))

    def take_turn(self, todo: Todo) -> None:
        """The same, unless a host is lost meanwhile."""
        if self.workflow == "verified":
            self.start_anew(todo)
            return
        turn = (todo.filesystem, todo.turn if self.several else 0)
        if turn == self.turn and self.cluster is not None and self.fits(todo.ratio):
            return
        self.close()
        self.turn, self.prepared = turn, self.filesystems[todo.filesystem]
        if todo.filesystem not in self.calibrated:
            self.deploy(self.study.fold.baseline)
            self.calibrate()
            self.calibrated.add(todo.filesystem)
            if self.fits(todo.ratio):
                return
            self.close()
        self.deploy(todo.ratio)
        self.calibrate_folded(todo)

    def fits(self, ratio: float) -> bool:
        """Whether the cluster that is up is folded as a ratio wants it, or can be while it runs."""
        if self.cluster is None or self.prepared.place.platform.refolds_live:
            return self.cluster is not None
        return self.cluster.deployment.placed == numbers(self.study.placements[ratio])

    def start_anew(self, todo: Todo) -> None:
        """Remove the cluster, prove that nothing of it is left, and deploy it anew. FatalError for a doubt."""
        self.prepared = self.filesystems[todo.filesystem]
        try:
            self.close()
            if todo.filesystem not in self.calibrated:
                self.deploy(self.study.fold.baseline)
                self.calibrate()
                self.calibrated.add(todo.filesystem)
                self.close()
        except TeardownError as error:
            raise FatalError(f"the reset is in doubt, so nothing is measured: {error}") from error
        self.listener.doing("prove that nothing is left")
        gone = self.proof.nothing_left()
        self.deploy(todo.ratio)
        self.calibrate_folded(todo)
        assert self.cluster is not None
        self.proved = (*gone, self.proof.new(self.cluster))

    def deploy(self, ratio: float) -> None:
        """Deploy the cluster: folded as the baseline is where that can be changed while it runs, so that a trial finds
        it the same whichever ratio came first."""
        self.listener.doing("deploy")
        started = time.monotonic()
        ratio = self.study.baseline if self.prepared.place.platform.refolds_live else ratio
        self.cluster = self.bring_up(ratio)
        took_s = time.monotonic() - started
        self.timing.expected.deployments_s.append(took_s)
        what = f"{len(self.study.nodes)} nodes{f' of {self.prepared.filesystem}' if self.several else ''}"
        if not self.prepared.place.platform.refolds_live:
            hosts = len(self.study.placements[ratio].hosts)
            what = f"{what} on {hosts} host{'' if hosts == 1 else 's'}"
        found = "found" if self.study.deployment else "deployed"
        self.listener.note(f"{found} {what} as {self.cluster.id} in {took_s:.1f} s")

    def bring_up(self, ratio: float) -> Cluster:
        """Deploy the cluster, unless the job that lends the hosts is found to have ended."""

        def said(step: str) -> None:
            self.need_hosts()
            self.listener.doing(f"deploy: {step}")

        return bring_up(self.prepared, ratio, logs=self.directory / "logs", said=said, run=self.directory)

    def despite_losses(self, do: Callable[[], None]) -> None:
        """Do what deploys the cluster, once more if a host was lost meanwhile and nothing is left of the first time."""
        platform = self.prepared.place.platform
        before = platform.losses
        try:
            do()
        except (FatalError, TrialError, CommandFailed, StepFailed, NotIntact) as error:
            over = self.loan is not None and self.loan.over
            if platform.losses == before or over or hasattr(error, "__notes__"):
                raise
            self.listener.note(f"{HOST_LOST}{error}; deploying the cluster again")
            self.close()
            do()

    def need_hosts(self) -> None:
        """FatalError if the job that lends the hosts has ended, as far as that is known."""
        if self.loan is not None and (why := self.loan.over):
            raise FatalError(ended(self.loan, why))

    def calibrate(self) -> None:
        """Measure what hosts really deliver; FatalError if that is not what they were promised."""
        assert self.cluster is not None
        if self.study.platform.host is None:
            self.survey()
            return
        kept = calibrating.keeps_promises(
            self.prepared,
            self.cluster,
            self.listener.doing,
            anew=self.workflow == "verified" or bool(self.store.document(rundir.FRESH)),
            live=self.prepared.place.platform.refolds_live,
            folds=self.fits(max(self.study.placements)),
        )
        self.calibrated |= {f"{self.prepared.filesystem}, folded"} if kept.fair else set()
        self.store.set_fact(self.fact("calibration"), kept.fact)
        self.listener.note(kept.sentence)

    def fact(self, name: str) -> str:
        """What a fact of the file system whose turn it is is called."""
        return f"{name} of {self.prepared.filesystem}" if self.several else name

    def calibrate_folded(self, todo: Todo) -> None:
        """The same where it could not be measured at the baseline, as nodes do not move: when they are first there."""
        name = f"{todo.filesystem}, folded"
        if self.prepared.place.platform.refolds_live or name in self.calibrated:
            return
        if self.study.platform.host is None or todo.ratio != max(self.study.placements):
            return
        assert self.cluster is not None
        fair = calibrating.fair(self.prepared, self.cluster, self.listener.doing)
        self.calibrated.add(name)
        self.store.set_fact(self.fact("fairness"), "; ".join(fair))

    def survey(self) -> None:
        """Measure what real hosts deliver, of which nobody has promised anything, and say where they are unlike."""
        assert self.cluster is not None
        found = calibrating.survey(self.prepared, self.cluster, self.listener.doing)
        self.store.set_fact(self.fact("hosts deliver"), "; ".join(each.range for each in found))
        for each in found:
            if each.off:
                remedy = "" if self.study.deployment else "; limits in [platform.host] make them alike"
                self.listener.note(f"hosts are unlike: {each.unlike}{remedy}")
        usual = {each.resource: each.promised for each in found}
        figures = replace(
            self.prepared.figures,
            nic_bit_s=usual.get("nic", 0.0),
            disk_byte_s=min(usual.get("disk_write", 0.0), usual.get("disk_read", 0.0)),
        )
        self.prepared = replace(self.prepared, figures=figures)
        self.filesystems[self.prepared.filesystem] = self.prepared

    @uninterrupted()
    def close(self) -> None:
        """Remove the cluster, if there is one; an interrupt has to wait for it."""
        cluster, self.cluster = self.cluster, None
        if cluster is None:
            return
        self.listener.doing("remove the cluster")
        if self.workflow == "verified":
            self.proof.note(cluster)
        try:
            cluster.keep_logs(self.directory / "logs", {})
        except (OSError, CommandFailed) as error:  # a full disk must not leave a cluster, nor hide why the run ends
            self.listener.note(f"the logs of the cluster are not kept: {error}")
        finally:
            cluster.close()

    def abandon(self, error: BaseException) -> None:
        """Remove the cluster as the run ends before its time; the error, which it ends with, is told what is left.

        It ends for the hosts' sake if they are lent no longer, whatever came of that. FatalError.
        """
        try:
            self.close()
        except (TeardownError, PliantError, CommandFailed) as left:
            error.add_note(str(left))
        known = isinstance(error, (FatalError, KeyboardInterrupt))
        if self.loan is not None and not known and (why := self.loan.look()):
            fatal = FatalError(ended(self.loan, why))
            for note in getattr(error, "__notes__", ()):
                fatal.add_note(note)
            raise fatal from error

    def all(self, search: Search) -> None:
        """Every trial, a failed one twice; FatalError when so many fail in a row that no result is to be expected."""
        given_up = 0
        self.plan(search)
        while (todo := search.next(self.over, self.timing.spent_s)) is not None:
            self.prepared = self.filesystems[todo.filesystem] if todo.filesystem else self.prepared
            self.need_time(todo, search)
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

    def need_time(self, todo: Todo, search: Search) -> None:
        """Ask for more time if the hosts are not lent for long enough, once; FatalError if there is none left."""
        if self.loan is None:
            return
        self.need_hosts()
        left_s = self.estimate(search.left(self.over))
        if not self.extended and left_s > self.timing.lent_s:
            self.extended = True
            why = self.loan.extend(left_s - self.timing.lent_s)
            much = f"the study takes about {left_s / 60:.0f} min, and job {self.loan.job.id} ends before"
            self.listener.note(
                f"{much}: {why}" if why else f"job {self.loan.job.id} was extended, as the study takes longer"
            )
        if self.timing.late and self.timing.lent_s <= 0:
            raise FatalError(
                f"job {self.loan.job.id} comes to its end; what was measured is kept, and the same command goes on in "
                "another reservation"
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
        number, lost = len(self.over) + 1, 0
        while True:
            self.take_turns(todo)
            attempt = len(self.tried.get(todo.key, ())) + 1
            trial = self.once(todo, attempt, number, search.left(self.over))
            over = self.count(trial)
            left = self.plan(search)
            self.listener.ended(trial, number, len(self.over) + len(left), self.estimate(left))
            if trial.half:
                lost += 1
                if lost == _LOST:
                    raise FatalError(f"hosts were lost {lost} times during a trial; the last time: {trial.reason}")
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
        began, platform = time.monotonic(), self.prepared.place.platform
        before = platform.losses
        try:
            trial = self.measure(trial)
            if platform.losses > before:
                raise TrialError("what was measured meanwhile is not whole")
        except (TrialError, CommandFailed, NotIntact, ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            reason = f"{HOST_LOST if platform.losses > before else ''}{error}"
            trial = replace(trial, state="failed", reason=reason, duration_s=time.monotonic() - began)
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
        base = [each for each in self.over if which(each) == (trial.filesystem, trial.workload, fold.baseline)]
        return Patience(
            workload.driver.metrics(workload.options),
            medians(base),
            fold.max_loss,
            fold.zone,
            folded=trial.ratio != fold.baseline and not workload.faults,
            until_s=self.timing.until_s(trial),
        )

    def lasts(self, trial: Trial) -> None:
        """Tell that a trial goes on, and how long it and the rest will take, as it seems now. FatalError if its hosts
        are lent no longer."""
        self.need_hosts()
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
        self.despite_losses(lambda: self.deploy(trial.ratio))

    def estimate(self, left: Sequence[Todo]) -> float:
        """Seconds that the trials that are left will take, from those that have ended, or until the budget is spent."""
        return self.timing.left_s(left, self.deployments(left))

    def deployments(self, left: Sequence[Todo]) -> int:
        """How often the trials that are left have a cluster deployed for them."""
        turns = {(each.filesystem, each.turn) for each in left} - {self.turn} if self.several else ()
        if self.workflow == "verified":
            return len(left)
        if not self.prepared.place.platform.refolds_live:
            places = [(each.filesystem, each.turn if self.several else 0, each.ratio) for each in left]
            return sum(one != other for one, other in pairwise(places)) + bool(places)
        return len(turns)


def ended(loan: Loan, why: str) -> str:
    """That the job which lends the hosts ended before the run did."""
    again = "what was measured is kept, and the same command goes on in another reservation"
    return f"job {loan.job.id}, which lends the hosts, has ended: {why}; {again}"


def broken_off(trial: Trial) -> bool:
    """Whether a trial was stopped while a workload ran; one that is not valid may have been so, too."""
    return trial.state == "censored" or bool(trial.bounds)
