"""Runs a study: search -> cluster -> trials -> store. Every trial is stored the moment it ends."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any, Protocol

import pliant
from pliant import telemetry, workplace
from pliant.calibration import TOLERANCE, calibrate_hosts
from pliant.cluster import Cluster, NotIntact
from pliant.errors import FatalError, TrialError
from pliant.faults import Outcome
from pliant.injection import Injection
from pliant.machine import facts
from pliant.machine.cgroup import period_and_quota_us
from pliant.machine.process import CommandFailed, Completed
from pliant.machine.sampling import EVERY_S
from pliant.preparation import Prepared, search_of
from pliant.search import Search, Todo
from pliant.stalls import stalled_s
from pliant.store import RunInfo, Store
from pliant.study import LabelledWorkload, Study
from pliant.trial import Trial, TrialState
from pliant.units import format_size
from pliant.workloads import Phase, output_name, windows

_ATTEMPTS = 2
"""How often a trial may fail before it is given up."""
_INVALID = 4
"""How often it may be invalid, which is no fault of what is measured, before the machine is taken to be unfit."""
_GUESS_S = 15.0
"""What a trial is taken to last until one has ended."""


class Listener(Protocol):
    """Hears how a run goes on. Times are seconds; `left_s` is an estimate."""

    def doing(self, what: str) -> None:
        """What is going on now, within a deployment or a trial."""

    def begins(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """A trial begins, the `number`th of `total`, which may be an estimate too."""

    def ended(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """A trial has ended and is stored."""

    def note(self, text: str) -> None:
        """Something the user should know."""


def _document(study: Study) -> dict[str, Any]:
    """The study as it was understood, with every default."""
    tables = {"study": study.about, "platform": study.platform, "fold": study.fold}
    document: dict[str, Any] = {
        name: table.model_dump(mode="json")
        for name, table in (tables | {"power": study.power, "mpi": study.mpi}).items()
    }
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


def _info(prepared: Prepared) -> RunInfo:
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
        workflow="dev",
        seed=study.about.seed,
        repetitions=study.about.most,
        max_loss=study.fold.max_loss,
        search=study.about.search,
        indifference=study.fold.zone,
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


def run(prepared: Sequence[Prepared], directory: Path, listener: Listener) -> Path:
    """Run a study, prepared for each of its file systems, to its end and return the directory of its results.

    On an interruption (KeyboardInterrupt) or a failure what was measured is kept there, and the cluster is removed.
    """
    study, search = prepared[0].all_of_it, search_of(prepared)
    infos = [_info(each) for each in prepared]
    with Store.create(directory, study.text, _document(study), infos, _facts(prepared)) as store:
        runner = _Runner(prepared, store, directory, listener)
        try:
            runner.all(search)
        finally:
            runner.close()
    return directory


class _Runner:
    """One run: the file system whose turn it is, its cluster as it is now, and how long trials have taken so far."""

    def __init__(self, prepared: Sequence[Prepared], store: Store, directory: Path, listener: Listener) -> None:
        self.filesystems = {each.filesystem: each for each in prepared}
        self.prepared, self.store, self.directory, self.listener = prepared[0], store, directory, listener
        self.cluster: Cluster | None = None
        self.turn: tuple[str, int] | None = None
        self.calibrated: set[str] = set()
        self.spent: dict[tuple[str, str, float], list[float]] = {}
        self.deploying_s: list[float] = []
        self.number = 0
        self.over: list[Trial] = []
        self.began = time.monotonic()

    @property
    def study(self) -> Study:
        """The study of the file system whose turn it is."""
        return self.prepared.study

    @property
    def several(self) -> bool:
        """Whether file systems take turns."""
        return len(self.filesystems) > 1

    def take_turns(self, todo: Todo) -> None:
        """Have the file system of a trial deployed: one alone once; several anew for each pass, one after the other."""
        turn = (todo.filesystem, todo.turn if self.several else 0)
        if turn == self.turn and self.cluster is not None:
            return
        self.close()
        self.turn, self.prepared = turn, self.filesystems[todo.filesystem]
        self.deploy()
        if todo.filesystem not in self.calibrated:
            self.calibrate()
            self.calibrated.add(todo.filesystem)

    def deploy(self) -> None:
        self.listener.doing("deploy")
        started = time.monotonic()
        logs = self.directory / "logs"
        self.cluster = bring_up(self.prepared, 1.0, logs=logs, said=lambda step: self.listener.doing(f"deploy: {step}"))
        self.deploying_s.append(time.monotonic() - started)
        what = f"{len(self.study.nodes)} nodes{f' of {self.prepared.filesystem}' if self.several else ''}"
        self.listener.note(f"deployed {what} as {self.cluster.id} in {self.deploying_s[-1]:.1f} s")

    def calibrate(self) -> None:
        """Measure what hosts really deliver; FatalError if that is not what they were promised."""
        assert self.cluster is not None
        composition, started = self.study.composition, time.monotonic()
        disks = {n.name: disk for n in self.study.nodes if (disk := composition.role(n.role).disk) is not None}
        with self.cluster.undisturbed():
            found = calibrate_hosts(self.cluster.deployment, disks, self.listener.doing)
        fact = f"calibration of {self.prepared.filesystem}" if self.several else "calibration"
        self.store.set_fact(fact, "; ".join(delivered.sentence for delivered in found))
        self.listener.note(
            f"every host delivers what it was promised within {TOLERANCE:.0%}".replace("%", " %")
            + f", all at once, as measured in {time.monotonic() - started:.1f} s"
        )

    def close(self) -> None:
        if self.cluster is not None:
            self.listener.doing("remove the cluster")
            try:
                self.cluster.keep_logs(self.directory / "logs", {})
            finally:  # a full disk must not leave a cluster
                self.cluster.close()
                self.cluster = None

    def all(self, search: Search) -> None:
        """Every trial, a failed one twice; FatalError when so many fail in a row that no result is to be expected."""
        given_up = 0
        while (todo := search.next(self.over, time.monotonic() - self.began)) is not None:
            self.take_turns(todo)
            trial = self.persist(todo, search)
            if trial.state == "done":
                given_up = 0
            elif not self.study.workload(todo.workload).faults:  # what fails through a fault is a result
                given_up += 1
            # All workloads may fail at one ratio, and the study still be worth its time.
            if given_up > len(self.study.labels) + 1:
                raise FatalError(
                    f"{given_up} trials in a row were given up, each after {_ATTEMPTS} failures or {_INVALID} attempts "
                    f"that were not valid; the last: {trial.reason}"
                )

    def persist(self, todo: Todo, search: Search) -> Trial:
        """A trial until it is over: done or given up; through faults it may fail once, which is a result."""
        states: list[str] = []
        faults = self.study.workload(todo.workload).faults
        attempts, number = 1 if faults else _ATTEMPTS, len(self.over) + 1
        while True:
            trial = self.once(todo, len(states) + 1, number, search.left(self.over))
            states.append(trial.state)
            over = trial.state == "done" or states.count("failed") >= attempts or states.count("invalid") >= _INVALID
            if over:
                self.over.append(trial)
            left = search.left(self.over)
            self.listener.ended(trial, number, len(self.over) + len(left), self.estimate(left))
            if (trial.state == "failed" or faults) and left:
                self.recover(trial)
            if over:
                return trial

    def once(self, todo: Todo, attempt: int, number: int, left: Sequence[Todo]) -> Trial:
        """One attempt at the `number`th trial, stored before it begins and when it ends; `left` begins with it."""
        self.number += 1
        placement = self.study.placements[todo.ratio]
        which = f"{todo.filesystem}-" if self.several else ""
        where = Path("trials") / f"{self.number:04d}-{which}{todo.workload}-ratio{todo.ratio:g}"
        trial = Trial(
            number=self.number,
            workload=todo.workload,
            ratio=todo.ratio,
            hosts=len(placement.hosts),
            repetition=todo.repetition,
            attempt=attempt,
            state="running",
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            program=self.prepared.program(todo.workload),
            directory=str(where),
            filesystem=todo.filesystem,
        )
        self.store.begin(trial)
        self.listener.begins(trial, number, number - 1 + len(left), self.estimate(left))
        began = time.monotonic()
        try:
            trial = self.measure(trial)
        except (TrialError, CommandFailed, NotIntact, ValueError, OSError) as error:
            trial = replace(trial, state="failed", reason=str(error), duration_s=time.monotonic() - began)
        except BaseException:
            self.store.end(replace(trial, state="failed", reason="interrupted"))
            raise
        self.spent.setdefault((todo.filesystem, todo.workload, todo.ratio), []).append(time.monotonic() - began)
        self.store.end(trial)
        return trial

    def measure(self, trial: Trial) -> Trial:
        """Fold, clean, limit, run the phases, and read the metrics. Limits are off again afterwards."""
        cluster = self.cluster
        assert cluster is not None
        workload = self.study.workload(trial.workload)
        target = self.directory / trial.directory
        target.mkdir(parents=True)
        logs = cluster.log_sizes()
        self.listener.doing("fold and clean")
        cluster.refold(self.study.placements[trial.ratio])
        cluster.empty(self.prepared.work(trial.workload))
        injection = self._injection(workload)
        cluster.drop_caches()
        cluster.limit(True)
        phases: dict[str, tuple[float, float]] = {}
        sampled = target / "telemetry.txt"
        outcome: Outcome | None = None
        try:
            with cluster.deployment.telemetry(sampled):
                before, began = cluster.deployment.host_cpu_s(), time.monotonic()
                outputs, failed = self._outputs(cluster, target, trial, phases, injection)
                duration_s = time.monotonic() - began
                after = cluster.deployment.host_cpu_s()
                if injection is not None:
                    injection.end()
            if injection is not None:
                outcome = injection.outcome()
        finally:
            if injection is not None:
                injection.abandon()
            cluster.limit(False)
            cluster.keep_logs(target / "logs", logs)
        used = {host: after[host] - before[host] for host in list(after)[: trial.hosts]}
        trial = replace(trial, duration_s=duration_s, host_cpu_s=used)
        if injection is not None and outcome is not None:
            trial = self._told(trial, injection, outcome, sampled)
        if failed:
            return replace(trial, state="failed", reason=f"through the fault the workload failed: {failed}")
        metrics = workload.driver.parse(workload.options, outputs)
        usage, reason = self._judge(trial, sampled, phases, operations(phases, outputs))
        state: TrialState = "invalid" if reason else "done"
        if outcome is not None and not outcome.intact:
            state, reason = "failed", outcome.problem
        return replace(trial, state=state, reason=reason, metrics=metrics, usage=usage)

    def _injection(self, workload: LabelledWorkload) -> Injection | None:
        """What carries out the faults of a trial, with the data that is to survive them; None if there are none."""
        if not workload.faults or self.cluster is None:
            return None
        recovery_s = max(table.recovery for table in workload.faults)
        injection = Injection(self.cluster, self.prepared.faults(workload.label), recovery_s, self.listener.doing)
        injection.prepare()
        return injection

    def _outputs(
        self,
        cluster: Cluster,
        target: Path,
        trial: Trial,
        phases: dict[str, tuple[float, float]],
        injection: Injection | None,
    ) -> tuple[dict[str, str], str]:
        """What the phases of a trial printed, and why they failed, if they did and there were faults."""
        if injection is None:
            return self._phases(cluster, target, trial, phases), ""
        injection.begin()
        outputs, failed = dict[str, str](), ""
        try:
            outputs = self._phases(cluster, target, trial, phases)
        except (TrialError, CommandFailed) as error:
            failed = str(error)
        injection.workload_ended()
        return outputs, failed

    def _told(self, trial: Trial, injection: Injection, outcome: Outcome, sampled: Path) -> Trial:
        """A trial with what became of it through faults."""
        clients = [node.name for node in self.study.composition.clients]
        samples = telemetry.read(sampled.read_text())
        stalled = stalled_s(samples, clients, injection.began_s, injection.first_s, injection.ended_s)
        outcome = replace(outcome, stalled_s=None if stalled is None else round(stalled, 2))
        return replace(trial, fault=outcome.to_json())

    def _judge(
        self, trial: Trial, sampled: Path, phases: telemetry.Windows, operations: telemetry.Windows
    ) -> tuple[dict[str, Any], str]:
        """What hosts used in each operation, and why the trial is not valid, if it is not.

        Valid are whole phases: a machine that ran out between two operations may have slowed down the next.
        """
        figures, placement = self.prepared.figures, self.study.placements[trial.ratio]
        period_us, _ = period_and_quota_us(figures.cores)
        promise = telemetry.Promise(
            figures.cores, figures.nic_bit_s, figures.disk_byte_s, figures.memory_bytes, period_us / 1e6
        )
        hosts = dict(zip(placement.host_names, placement.hosts, strict=True))
        roles = {node.name: node.role for node in self.study.nodes}
        samples = telemetry.read(sampled.read_text())
        usage = telemetry.usage(samples, operations, hosts, roles, promise)
        reason = telemetry.invalid_reason(samples, phases, hosts, promise, self.prepared.machine.cores)
        return usage.to_json(), reason

    def _phases(
        self,
        cluster: Cluster,
        target: Path,
        trial: Trial,
        phases: dict[str, tuple[float, float]],
    ) -> dict[str, str]:
        """Run each phase of a trial within the study's deadline and keep its output; see `Workload.parse` for the keys.

        `phases` gets the time of each phase, on the monotonic clock.
        """
        until = time.monotonic() + self.study.about.trial_timeout
        outputs: dict[str, str] = {}
        for phase in self.prepared.phases(trial.workload):
            self.listener.doing(phase.name)
            if phase.drop_caches:
                cluster.drop_caches()
            with cluster.undisturbed():
                done, phases[phase.name] = self._phase(cluster, phase, trial, max(1.0, until - time.monotonic()))
            for name, completed in done.items():
                (target / f"{name}.out").write_text(completed.stdout)
                if completed.stderr:
                    (target / f"{name}.err").write_text(completed.stderr)
                outputs[name] = completed.stdout
        return outputs

    def _phase(
        self, cluster: Cluster, phase: Phase, trial: Trial, timeout_s: float
    ) -> tuple[dict[str, Completed], tuple[float, float]]:
        """Run a phase: what was printed, by the keys of `Workload.parse`, and when it began and ended."""
        mark = f"{cluster.id}-{trial.number}"
        if phase.each:
            together = cluster.each(phase.each, mark=mark, timeout_s=timeout_s, stdin=phase.stdin)
            done = {output_name(phase.name, client): one for client, one in together.completed.items()}
            return done, (together.began_s, together.ended_s)
        began_s = time.monotonic()
        mpi = self.prepared.mpi[trial.workload]
        job = cluster.mpi(mpi, phase.argv, phase.ranks_per_client, mark=mark, timeout_s=timeout_s)
        return {phase.name: job}, (began_s, time.monotonic())

    def recover(self, trial: Trial) -> None:
        """After a failure or a fault: deploy anew, so that the next trial does not pay for what became of the last.

        A check would not do: half of a distributed file system may be gone, and a file on the other half still be fine.
        """
        why = "failed" if trial.state == "failed" else "went through a fault"
        self.listener.note(f"trial {trial.number} {why}; deploying the cluster again")
        self.close()
        self.deploy()

    def estimate(self, left: Sequence[Todo]) -> float:
        """Seconds that the trials that are left will take, from those that have ended: the most alike there are."""
        everything = [s for times in self.spent.values() for s in times]
        total = 0.0
        for each in left:
            same = self.spent.get((each.filesystem, each.workload, each.ratio))
            alike = [s for (_, workload, _), times in self.spent.items() if workload == each.workload for s in times]
            known = same or alike or everything
            total += mean(known) if known else _GUESS_S
        turns = {(each.filesystem, each.turn) for each in left} - {self.turn} if self.several else ()
        return total + len(turns) * (mean(self.deploying_s) if self.deploying_s else 0.0)


def operations(phases: telemetry.Windows, outputs: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """When each operation took place: as a phase's output says, else the phase as a whole.

    One time outside the phase, or without length, shows that the output's clock is not ours: then none of it is used.
    Where one is too short for telemetry the phase as a whole is there as well, to speak for it.
    """
    found: dict[str, tuple[float, float]] = {}
    for name, (begin_s, end_s) in phases.items():
        stated = windows(outputs.get(name, ""))
        sound = all(begin_s <= begin < end <= end_s for begin, end in stated.values())
        found |= stated if sound else {}
        short = any(end - begin < telemetry.FEWEST * EVERY_S for begin, end in stated.values())
        if not (stated and sound) or short:
            found[name] = begin_s, end_s
    return found


def bring_up(
    prepared: Prepared,
    ratio: float,
    *,
    keep: bool = False,
    logs: Path | None = None,
    said: Callable[[str], None] = lambda step: None,
) -> Cluster:
    """Deploy the study's cluster at a ratio, without limits, and write down what it was promised."""
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
        logs=logs,
        said=said,
    )
    try:
        workplace.write_down(cluster, study)
    except BaseException:
        cluster.close()
        raise
    return cluster
