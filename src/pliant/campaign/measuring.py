"""Measures one trial on a cluster that is up: fold, clean, limit, run, read, and judge whether it is valid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from pliant.campaign.calm import Calm
from pliant.campaign.preparation import Prepared
from pliant.cluster.cluster import Cluster, CutShort, Gate
from pliant.cluster.injection import Injection
from pliant.cluster.survival import FILE_BYTES, Witness
from pliant.composition.faults import Outcome
from pliant.errors import FatalError, TrialError
from pliant.platforms.interface import EVERY_S, CommandFailed, Completed, Watch
from pliant.statistics.patience import Patience
from pliant.study.model import LabelledWorkload
from pliant.telemetry import ceiling, disturbance
from pliant.telemetry.samples import Hosts, Promise, Samples, Windows, read
from pliant.telemetry.stalls import stalled_s, starved
from pliant.telemetry.usage import FEWEST, usage, without_memory
from pliant.trial import Trial, TrialState
from pliant.units import format_size
from pliant.workloads.model import Phase, Running, SoFar, begun, output_name, windows

_Read = TypeVar("_Read")

_PROOF = ".pliant-proof"
_PROOF_FILES = 4


class HostCpu(NamedTuple):
    """The CPU seconds that each host has used up to a moment of the monotonic clock."""

    at_s: float
    used_s: Mapping[str, float]


@dataclass
class Course:
    """How far a trial has come: when each phase took place, on the monotonic clock, and what it printed.

    `running` is the phase that goes on, as it was looked at last. `cut` says why it came no further, if it did not.
    """

    phases: dict[str, tuple[float, float]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    running: Running = field(default_factory=lambda: Running("", 0.0, 0.0))
    begins: Callable[[], None] = lambda: None
    """What is called whenever operations of a phase may begin."""
    cut: CutShort | None = None
    limited: HostCpu | None = None
    """Of hosts that are limited: what they had used when they began to be."""
    limited_s: float = 0.0
    """For how long they were limited, up to the last time that this ended, ..."""
    used_s: dict[str, float] = field(default_factory=dict)
    """... and the CPU seconds that each used in it."""

    def begin(self, now: HostCpu) -> None:
        """Hosts are limited from now on."""
        self.limited = now

    def end(self, now: HostCpu) -> None:
        """Hosts are limited no longer, if they were."""
        if self.limited is not None:
            self.limited_s += now.at_s - self.limited.at_s
            before = self.limited.used_s
            self.used_s = {host: self.used_s.get(host, 0.0) + used - before[host] for host, used in now.used_s.items()}
            self.limited = None

    def host_cpu_s(self, length_s: float) -> dict[str, float]:
        """The CPU seconds that each host uses in `length_s` seconds as it did while it was limited; empty if no host
        was. What starts and ends without limits takes more, and would show hosts busier than they can be."""
        return {host: used / self.limited_s * length_s for host, used in self.used_s.items()} if self.limited_s else {}


@dataclass(frozen=True)
class Measurement:
    """A file system's study on its cluster, ready for a trial; `doing` hears what is going on, and `lasts` is called
    some times a second while a workload runs. `patience` says for how long that may be."""

    prepared: Prepared
    cluster: Cluster
    doing: Callable[[str], None]
    verified: bool = False
    """Whether data is checked around the workload, and a doubt about it ends the run."""
    patience: Patience = field(default_factory=Patience)
    lasts: Callable[[], None] = lambda: None
    calm: Calm = field(default_factory=Calm)
    """What waits for a moment of calm before the trial."""

    def measure(self, trial: Trial, target: Path) -> Trial:
        """Fold, clean, limit, run the phases, and read the metrics. Limits are off again afterwards.

        A trial that is stopped is `censored` if it shows something. So is a folded one in which a host's memory ran
        out, whatever it came to: what the kernel kills is no part of the file system any more, and so many nodes do not
        fit on a host. At the baseline it has failed.
        """
        cluster, study = self.cluster, self.prepared.study
        target.mkdir(parents=True)
        self.doing("fold and clean")
        cluster.refold(study.placements[trial.ratio])
        killed = cluster.deployment.out_of_memory()
        try:
            trial = self._measure(trial, target)
        except (TrialError, CommandFailed, ValueError) as error:
            if why := cluster.ran_out(killed):
                return self._ran_out(trial, f"{why} ({error})", cluster.killed(killed))
            raise
        why = cluster.ran_out(killed)
        return self._ran_out(trial, why, cluster.killed(killed)) if why else trial

    def _ran_out(self, trial: Trial, why: str, killed: Mapping[str, int]) -> Trial:
        """A trial in which hosts' memory ran out, so that processes of these nodes were killed."""
        bounds = self.patience.all_lost()
        if not bounds:
            return replace(trial, state="failed", reason=why, metrics={})
        workload, placement = self.prepared.study.workload(trial.workload), self.prepared.study.placements[trial.ratio]
        roles = {node.name: node.role for node in self.prepared.study.nodes}
        hosts: dict[str, dict[str, float]] = {}
        for host, nodes in zip(placement.host_names, placement.hosts, strict=True):
            for node in filter(killed.__contains__, nodes):
                by_role = hosts.setdefault(host, {})
                by_role[roles[node]] = by_role.get(roles[node], 0.0) + killed[node]
        phases = dict.fromkeys(metric.phase for metric in workload.driver.metrics(workload.options))
        used = without_memory(phases, hosts)
        return replace(trial, state="censored", reason=why, metrics={}, bounds=bounds, usage=used.to_json())

    def _measure(self, trial: Trial, target: Path) -> Trial:
        """The same on the cluster as it is folded."""
        cluster = self.cluster
        logs = cluster.log_sizes()
        workload = self.prepared.study.workload(trial.workload)
        cluster.empty(self.prepared.work(trial.workload))
        injection = self._injection(workload)
        witnesses = self._witnesses() if self.verified and injection is None else ()
        self._check(witnesses, trial, "before")
        cluster.drop_caches()
        course = Course()
        sampled = target / "telemetry.txt"
        outcome: Outcome | None = None
        try:
            with cluster.deployment.telemetry(sampled):
                began = time.monotonic()
                failed = self._run(cluster, target, trial, course, injection)
                duration_s = time.monotonic() - began
                course.end(self._host_cpu())
                if injection is not None:
                    injection.end()
            if injection is not None:
                outcome = injection.outcome()
        finally:
            if injection is not None:
                injection.abandon()
            cluster.limit(False)
            cluster.keep_logs(target / "logs", logs)
        witnesses = witnesses if course.cut is None else ()  # what was cut short may leave nothing that can be read
        self._check(witnesses, trial, "after")
        used = dict(list(course.host_cpu_s(duration_s).items())[: trial.hosts])
        trial = replace(trial, duration_s=duration_s, host_cpu_s=used, proved=(*trial.proved, *_of_data(witnesses)))
        if injection is not None and outcome is not None:
            trial = self._told(trial, injection, outcome, sampled)
        if failed:
            return replace(trial, state="failed", reason=f"through the fault the workload failed: {failed}")
        if course.cut is not None:
            return self._stopped(trial, course, course.cut, sampled)
        metrics = _read(workload, lambda: workload.driver.parse(workload.options, course.outputs))
        remarks: Callable[..., tuple[str, ...]] = getattr(workload.driver, "remarks", lambda options, outputs: ())
        trial = replace(trial, remarks=_read(workload, lambda: remarks(workload.options, course.outputs)))
        trial, reason, hungry = self._judged(replace(trial, metrics=metrics), sampled, course)
        state: TrialState = "invalid" if reason else "done"
        if outcome is not None and not outcome.intact:
            state, reason = "failed", outcome.problem
        return replace(trial, state=state, reason=reason or hungry)

    def _witnesses(self) -> tuple[Witness, ...]:
        """Files of every client, written, that the next client is to read as they were. Raises CommandFailed."""
        self.doing("write what is to be read again")
        clients = [node.name for node in self.prepared.study.composition.clients]
        top = f"{self.prepared.study.composition.mount}/{_PROOF}"
        found = tuple(
            Witness(self.cluster, f"{top}/{client}", client, clients[(number + 1) % len(clients)], _PROOF_FILES)
            for number, client in enumerate(clients)
        )
        with ThreadPoolExecutor(min(16, len(found))) as pool:
            list(pool.map(Witness.write, found))
        return found

    def _check(self, witnesses: Sequence[Witness], trial: Trial, when: str) -> None:
        """Read what was written; FatalError if it is not as it was."""
        if not witnesses:
            return
        self.doing("check data")
        self.cluster.drop_caches()
        with ThreadPoolExecutor(min(16, len(witnesses))) as pool:
            wrong = dict(zip(witnesses, pool.map(Witness.wrong, witnesses), strict=True))
        for witness, files in wrong.items():
            for name, said in files.items():
                where = f"{witness.reader} reads {witness.directory}/{name}, which {witness.writer} wrote"
                raise FatalError(f"data is in doubt {when} the workload of trial {trial.number}: {where}: {said}")

    def _injection(self, workload: LabelledWorkload) -> Injection | None:
        """What carries out the faults of a trial, with the data that is to survive them; None if there are none."""
        if not workload.faults:
            return None
        recovery_s = max(table.recovery for table in workload.faults)
        injection = Injection(self.cluster, self.prepared.faults(workload.label), recovery_s, self.doing)
        injection.prepare()
        return injection

    def _run(self, cluster: Cluster, target: Path, trial: Trial, course: Course, injection: Injection | None) -> str:
        """Run the phases of a trial, and say why they failed, if they did and there were faults."""
        if injection is None:
            self._phases(cluster, target, trial, course)
            return ""
        course.begins, failed = injection.begin, ""
        try:
            self._phases(cluster, target, trial, course)
            if course.cut is not None:
                raise course.cut
        except (TrialError, CommandFailed) as error:
            if course.cut is not None and course.cut.why:
                raise  # it says nothing of the fault
            failed = str(error)
        injection.workload_ended()
        return failed

    def _stopped(self, trial: Trial, course: Course, cut: CutShort, sampled: Path) -> Trial:
        """A trial that was cut short, with what it has shown by then; one that shows nothing has failed."""
        found = self._so_far(trial, course)
        shown = cut.why or self.patience.decided(found)
        if not shown or not (found.metrics or found.bounds):
            return replace(trial, state="failed", reason=str(cut))
        trial = replace(trial, metrics=found.metrics, bounds=found.bounds)
        trial, reason, hungry = self._judged(trial, sampled, course)
        why = "; ".join(filter(None, (*([] if cut.why else [str(cut)]), shown, hungry)))
        return replace(trial, state="invalid" if reason else "censored", reason=reason or why)

    def _so_far(self, trial: Trial, course: Course) -> SoFar:
        """What a trial shows that has not come to its end."""
        workload = self.prepared.study.workload(trial.workload)
        told: Callable[..., SoFar] | None = getattr(workload.driver, "so_far", None)
        if told is None:
            return SoFar()
        tools = self.prepared.tools[trial.workload]
        return _read(workload, lambda: told(workload.options, course.outputs, course.running, tools))

    def _watch(self, trial: Trial, course: Course, phase: Phase) -> Watch:
        """What looks at a phase that runs, and says when nothing more is to be waited for."""
        began_s = time.monotonic()
        course.running = Running(phase.name, began_s, began_s)

        def look(printed: str) -> str:
            course.running = replace(course.running, now_s=time.monotonic())
            course.outputs[phase.name] = printed[: printed.rfind("\n") + 1]
            self.lasts()
            return self.patience.enough(self._so_far(trial, course), course.running.now_s)

        return look

    def _told(self, trial: Trial, injection: Injection, outcome: Outcome, sampled: Path) -> Trial:
        """A trial with what became of it through faults."""
        clients = [node.name for node in self.prepared.study.composition.clients]
        samples = read(sampled.read_text())
        stalled = stalled_s(samples, clients, injection.began_s, injection.first_s, injection.ended_s)
        outcome = replace(outcome, stalled_s=None if stalled is None else round(stalled, 2))
        return replace(trial, fault=outcome.to_json())

    def _judged(self, trial: Trial, sampled: Path, course: Course) -> tuple[Trial, str, str]:
        """A trial with what hosts used and what the machine did to each metric that it has; why it is not valid, which
        it is unless no metric counts; and which nodes starved."""
        figures, placement = self.prepared.figures, self.prepared.study.placements[trial.ratio]
        promise = Promise(
            figures.cores,
            figures.nic_bit_s or None,
            figures.disk_byte_s or None,
            figures.memory_bytes,
            self.cluster.deployment.period_s,
        )
        hosts = dict(zip(placement.host_names, placement.hosts, strict=True))
        roles = {node.name: node.role for node in self.prepared.study.nodes}
        samples = read(sampled.read_text())
        windows = operations(course.phases, course.outputs)
        used = usage(samples, windows, hosts, roles, promise)
        workload = self.prepared.study.workload(trial.workload)
        metrics = [m for m in workload.driver.metrics(workload.options) if m.name in {*trial.metrics, *trial.bounds}]
        known = disturbance.disturbances(samples, windows, hosts, promise, self.prepared.cores(trial.ratio))
        bearable = disturbance.bearable(self.prepared.study.fold.zone)
        found = {
            metric: each.to_json(bearable) for metric, each in disturbance.by_metric(metrics, known, windows).items()
        }
        for metric, why in self._ceilings(trial, samples, windows, hosts, promise).items():
            if metric in found:
                found[metric]["emulated"] = why
        refused = [each["refused"] for each in found.values() if each["refused"]]
        reason = refused[0] if refused and len(refused) == len(metrics) else ""
        return replace(trial, usage=used.to_json(), disturbance=found), reason, starved(samples, course.phases)

    def _ceilings(
        self, trial: Trial, samples: Samples, windows: Windows, hosts: Hosts, promise: Promise
    ) -> dict[str, str]:
        """Why what a trial came to is the ceiling of nodes' own kernels, by metric; empty where no node has one."""
        study, own = self.prepared.study, self.prepared.kernels.own
        if not own:
            return {}
        ranks = max(phase.ranks_per_client for phase in self.prepared.phases(trial.workload))
        nodes = {node.name for node in study.nodes if node.role in own}
        kernels = ceiling.Kernels(nodes, self.cluster.deployment.call_s(), ranks * len(study.composition.clients))
        workload = study.workload(trial.workload)
        values = {
            metric: trial.metrics[metric.name]
            for metric in workload.driver.metrics(workload.options)
            if metric.name in trial.metrics
        }
        return ceiling.reached(samples, windows, hosts, promise, kernels, values)

    def _phases(self, cluster: Cluster, target: Path, trial: Trial, course: Course) -> None:
        """Run each phase of a trial, until one is cut short, within the study's deadline, and keep its output; see
        `Workload.parse` for the keys."""
        until = time.monotonic() + self.prepared.study.about.trial_timeout
        for phase in self.prepared.phases(trial.workload):
            self.doing(phase.name)
            if phase.drop_caches:
                cluster.drop_caches()
            self._limit(not phase.waits, course)
            with cluster.undisturbed():
                try:
                    timeout_s = max(1.0, until - time.monotonic())
                    done, course.phases[phase.name] = self._phase(cluster, phase, trial, timeout_s, course)
                except CutShort as cut:
                    course.cut = cut
                    course.phases[phase.name] = course.running.began_s, time.monotonic()
                    done = {phase.name: Completed(phase.argv, 0, cut.printed, "")}
            course.outputs.pop(phase.name, None)
            for name, completed in done.items():
                (target / f"{name}.out").write_text(completed.stdout)
                if completed.stderr:
                    (target / f"{name}.err").write_text(completed.stderr)
                course.outputs[name] = completed.stdout
            if course.cut is not None:
                return

    def _host_cpu(self) -> HostCpu:
        return HostCpu(time.monotonic(), self.cluster.deployment.host_cpu_s())

    def _limit(self, on: bool, course: Course) -> None:
        """Put the limits on, and wait until the machine is calm; or take them off."""
        if on == self.cluster.deployment.limited:
            return
        if not on:
            course.end(self._host_cpu())
        self.cluster.limit(on)
        if on:
            self.calm.wait(self.cluster.deployment.withheld_s)
            course.begin(self._host_cpu())

    def _phase(
        self, cluster: Cluster, phase: Phase, trial: Trial, timeout_s: float, course: Course
    ) -> tuple[dict[str, Completed], tuple[float, float]]:
        """Run a phase: what was printed, by the keys of `Workload.parse`, and when it began and ended.

        What waits starts without limits, is let go on with them when it is ready, and ends without them: what a host
        takes to start and to end a program is not measured, and may take long on a slow one.
        """
        mark, watch = f"{cluster.id}-{trial.number}", self._watch(trial, course, phase)
        if not phase.waits:
            course.begins()
        if phase.each:
            together = cluster.each(phase.each, mark=mark, timeout_s=timeout_s, stdin=phase.stdin, watch=watch)
            done = {output_name(phase.name, client): one for client, one in together.completed.items()}
            return done, (together.began_s, together.ended_s)

        ended_s: list[float] = []

        def ready() -> None:
            self._limit(True, course)
            course.running = Running(phase.name, now_s := time.monotonic(), now_s)
            course.begins()

        def over() -> None:
            ended_s.append(time.monotonic())
            self._limit(False, course)

        job = cluster.mpi(
            self.prepared.mpi[trial.workload],
            phase.argv,
            self.prepared.study.ranks(trial.ratio, phase.ranks_per_client),
            mark=mark,
            timeout_s=timeout_s,
            watch=watch,
            gate=Gate(ready, over) if phase.waits else None,
        )
        return {phase.name: job}, (course.running.began_s, ended_s[0] if ended_s else time.monotonic())


def _read(workload: LabelledWorkload, read: Callable[[], _Read]) -> _Read:
    """What a driver makes of what programs printed. TrialError where it did not expect that, whatever it raises:
    programs of all releases, and other people's, are no reason to end a run."""
    try:
        return read()
    except ValueError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise TrialError(f"what {workload.driver.name} printed cannot be read ({said}); see its .out files") from error


def _of_data(witnesses: Sequence[Witness]) -> tuple[str, ...]:
    """What was proved of the data, in words."""
    if not witnesses:
        return ()
    files = f"{_PROOF_FILES} files of {format_size(FILE_BYTES)} that each of {len(witnesses)} clients wrote"
    return (f"{files} were read by another client as they were written, before the workload and after it",)


def operations(phases: Windows, outputs: Mapping[str, str]) -> dict[str, tuple[float, float]]:
    """When each operation took place: as a phase's output says, of itself or of one before, else the phase as a whole.
    One that began and did not end took place until the phase was cut short.

    One time outside that phase, or without length, shows that the output's clock is not ours: then none of it is used.
    Where one is too short for telemetry the phase as a whole is there as well, to speak for it.
    """
    found: dict[str, tuple[float, float]] = {}
    for name, (begin_s, end_s) in phases.items():
        printed = outputs.get(name, "")
        stated = windows(printed) | {each: (begin, end_s) for each, begin in begun(printed).items()}
        sound = any(all(b <= begin < end <= e for begin, end in stated.values()) for b, e in phases.values())
        found |= stated if sound else {}
        short = any(end - begin < FEWEST * EVERY_S for begin, end in stated.values())
        if not (stated and sound) or short:
            found[name] = begin_s, end_s
    return found
