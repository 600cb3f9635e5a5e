"""Runs a study: schedule -> cluster -> trials -> store. Every trial is stored the moment it ends."""

from __future__ import annotations

import platform
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean
from typing import Any, Protocol

import pliant
from pliant import mpi as mpi_
from pliant import telemetry, workplace
from pliant.calibration import TOLERANCE, calibrate_hosts
from pliant.cluster import Cluster, NotIntact
from pliant.errors import FatalError, TrialError, UserError
from pliant.machine import facts
from pliant.machine.cgroup import period_and_quota_us
from pliant.machine.deployment import HostFigures
from pliant.machine.journal import deployments
from pliant.machine.process import CommandFailed, Completed
from pliant.machine.process import run as run_program
from pliant.machine.sampling import EVERY_S
from pliant.platforms.emulated import Budget, host_figures, overdrawn
from pliant.proportions import Host
from pliant.search import Todo, schedule
from pliant.store import RunInfo, Store
from pliant.study import LabelledWorkload, Problem, Study, StudyError
from pliant.trial import Trial, TrialState
from pliant.units import format_size
from pliant.workloads import Phase, Toolbox, output_name, windows

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
        """A trial begins, the `number`th of `total`."""

    def ended(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """A trial has ended and is stored."""

    def note(self, text: str) -> None:
        """Something the user should know."""


@dataclass(frozen=True)
class Prepared:
    """A study that can run on this machine: what was found for each workload."""

    study: Study
    figures: HostFigures
    machine: facts.Facts
    tools: Mapping[str, Toolbox]
    mpi: Mapping[str, mpi_.Mpi]
    warnings: tuple[str, ...]
    scale: float = 1.0
    """What a real host's CPU, NIC and disk were divided by."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """The file system's packages, with the versions that are installed."""

    def program(self, label: str) -> str:
        """What produces a workload's numbers: the path of the real benchmark, or the built-in kernel's name."""
        workload = self.study.workload(label)
        kernel = f"pliant's built-in {workload.driver.name} kernel"
        none = "the study's own" if hasattr(workload.driver, "programs") else kernel
        return self.tools[label].program or ", ".join(programs_of(workload)) or none

    def phases(self, label: str) -> tuple[Phase, ...]:
        """The phases of a workload's trials."""
        workload = self.study.workload(label)
        return workload.driver.phases(workload.options, self.work(label), self.tools[label])

    def work(self, label: str) -> str:
        """The directory, on the mount, that a workload's trials work in: always the same.

        A file system may place files by their path, so another name would be another experiment.
        """
        return f"{self.study.composition.mount}/pliant-{label}"

    @property
    def host_figures(self) -> str:
        """What a host has, in words."""
        return _host(self.figures).words

    @property
    def real_figures(self) -> str:
        """What the real host has that the emulated one is a scaled one of, in words; "" if it is of none."""
        host = self.study.platform.host
        return ": ".join(filter(None, (host.like, host.real.words))) if host.scaled else ""

    @property
    def disk_caveat(self) -> str:
        """What must be known of the real host's disk rate; "" if it is that of its very disk, or the study's own."""
        return self.study.platform.host.disk_caveat


def _host(figures: HostFigures) -> Host:
    return Host(figures.cores, figures.nic_bit_s, figures.disk_byte_s, figures.memory_bytes)


def figures_of(study: Study, machine: facts.Facts) -> tuple[HostFigures, float]:
    """What a host of the study's platform has on this machine, and its scale. Raises StudyError."""
    try:
        return host_figures(study.platform.host, len(study.nodes), machine)
    except ValueError as error:
        raise StudyError([Problem(study.file, "platform.host.scale", str(error))]) from None


def promises() -> list[Budget]:
    """What the deployments that are up on this machine have been promised."""
    found = []
    for journal in deployments():
        content = journal.read("promise.json")
        if content is not None:
            found.append(Budget(**content))
    return found


def prepare(study: Study) -> Prepared:
    """Everything that can be known before anything is touched: budgets, programs, MPI. Raises UserError, StudyError."""
    machine = facts.look()
    figures, scale = figures_of(study, machine)
    nodes = study.nodes
    disks = sum(study.composition.role(node.role).disk is not None for node in nodes)
    host = study.platform.host
    real = host.real if host.scaled else None
    problems = overdrawn(figures, len(nodes), disks, host.disk_size, machine, promises(), real)
    if figures.latency_s and not machine.netem and not facts.missing(("tc", "unshare")):
        remedy = "`modprobe sch_netem`, or use a kernel with CONFIG_NET_SCH_NETEM, or leave `latency` out"
        problems.append(("platform.host.latency", f"this machine's kernel cannot delay packets (netem): {remedy}"))
    if problems:
        raise StudyError([Problem(study.file, key, sentence) for key, sentence in problems])
    if machine.cgroups_error:
        raise UserError(f"hosts cannot be emulated here: {machine.cgroups_error}")
    _need_programs(study)
    if unknown := facts.missing_filesystems(study.composition.kernel):
        kinds = ", ".join(unknown)
        raise UserError(
            f"this machine's kernel has no {kinds}: modprobe {' '.join(unknown)}, or use a kernel that has it"
        )
    clients = tuple(node.name for node in study.composition.clients)
    tools = {w.label: Toolbox(python=sys.executable, program=_program(w), clients=clients) for w in study.workloads}
    versions = facts.package_versions(study.composition.packages)
    prepared = Prepared(study, figures, machine, tools, {}, _warnings(study, figures, machine), scale, versions)
    for workload in study.workloads:
        _rehearse(workload, tools[workload.label])
    mpis = {label: mpi for label in study.labels if (mpi := _mpi(prepared, label)) is not None}
    return replace(prepared, mpi=mpis)


def _need_programs(study: Study) -> None:
    """UserError, with how to install them, if programs of the machine, the file system or a workload are not there."""
    absent, lacking = facts.missing(tuple(facts.PROGRAMS)), facts.missing(study.composition.programs)
    packages = {facts.PROGRAMS[program] for program in absent} | set(study.composition.packages if lacking else ())
    for workload in study.workloads:
        unfound = facts.missing(programs_of(workload))
        lacking += unfound
        packages |= set(getattr(workload.driver, "packages", ()) if unfound else ())
    if absent or lacking:
        names = ", ".join(dict.fromkeys([*absent, *lacking]))
        remedy = f"install with: apt-get install {' '.join(sorted(packages))}" if packages else "install what has them"
        raise UserError(f"missing on this machine: {names}; {remedy}")


def programs_of(workload: LabelledWorkload) -> tuple[str, ...]:
    """The programs that a workload cannot do without, for want of a built-in kernel."""
    programs = getattr(workload.driver, "programs", None)
    return () if programs is None else tuple(programs(workload.options))


def _rehearse(workload: LabelledWorkload, tools: Toolbox) -> None:
    """Let a workload's real program look at what it will be given, if it can; UserError with what it refuses."""
    rehearsal = getattr(workload.driver, "rehearsal", None)
    tried = None if rehearsal is None else rehearsal(workload.options, tools)
    if tried is None:
        return
    try:
        run_program(tried.argv, timeout_s=20, stdin=tried.stdin).check()
    except CommandFailed as error:
        said = " | ".join((error.stderr.strip() or error.stdout.strip()).splitlines()[:4])
        raise UserError(f"workload {workload.label}: {tried.argv[0]} refuses it: {said or error}") from error


def _mpi(prepared: Prepared, label: str) -> mpi_.Mpi | None:
    """What starts a workload's MPI jobs; None if it has none. Raises UserError."""
    programs = dict.fromkeys(phase.argv[0] for phase in prepared.phases(label) if not phase.each)
    asked = prepared.study.mpi.mpiexec
    paths = [None if program == sys.executable else facts.which(program) or program for program in programs]
    found = [mpi_.find(asked, path) for path in paths]
    if any(mpi != found[0] for mpi in found):
        raise UserError(f"workload {label}: {' and '.join(programs)} were built with different MPIs; use one of them")
    return found[0] if found else None


def _program(workload: LabelledWorkload) -> str | None:
    """The real benchmark that a workload names or that is on the user's PATH; None for the built-in kernel."""
    named: str | None = getattr(workload.options, "program", None)
    if named is not None:
        if shutil.which(named) is None:
            raise UserError(f"workload {workload.label}: {named} is not a program; install it, or leave `program` out")
        return named
    name = getattr(workload.driver, "program", "")
    return shutil.which(name) if name else None


def _warnings(study: Study, figures: HostFigures, machine: facts.Facts) -> tuple[str, ...]:
    found = list(study.composition.warnings)
    share = figures.cores * len(study.nodes) / machine.cores
    if share > 0.95:
        found.append(
            f"the hosts are promised {share:.0%} of this machine's CPU, which leaves little for the kernel's own work; "
            f"up to 90 % is safer"
        )
    if study.about.repetitions < 2:
        found.append(
            "with one repetition there are no intervals, so every ratio stays undecided; repetitions = 3 or more"
        )
    return tuple(found)


def _document(study: Study) -> dict[str, Any]:
    """The study as it was understood, with every default."""
    tables = {"study": study.about, "platform": study.platform, "filesystem": study.filesystem, "fold": study.fold}
    document = {
        name: table.model_dump(mode="json")
        for name, table in (tables | {"power": study.power, "mpi": study.mpi}).items()
    }
    document["filesystem"]["options"] = study.options.model_dump(mode="json")
    workloads = [{"name": w.label, "kind": w.driver.name, **w.options.model_dump(mode="json")} for w in study.workloads]
    return {**document, "workload": workloads}


def _info(prepared: Prepared) -> RunInfo:
    """What an analysis of the run needs to know."""
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
        repetitions=study.about.repetitions,
        max_loss=study.fold.max_loss,
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
    )


def _facts(prepared: Prepared) -> dict[str, str]:
    """The machine and the versions of everything that had a part in the numbers."""
    machine, study = prepared.machine, prepared.study
    return {
        "pliant": pliant.__version__,
        "file system": facts.version(study.composition.version) if study.composition.version else "",
        **{f"package {name}": version for name, version in prepared.versions.items()},
        "kernel": machine.kernel,
        "system": machine.system,
        "CPU": f"{machine.cores} x {machine.cpu}",
        "memory": format_size(machine.memory_bytes),
        "control groups": machine.cgroups,
        "Python": platform.python_version(),
        **{f"MPI of {label}": mpi.version for label, mpi in prepared.mpi.items()},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def run(prepared: Prepared, directory: Path, listener: Listener) -> Path:
    """Run a study to its end and return the directory of its results.

    On an interruption (KeyboardInterrupt) or a failure what was measured is kept there, and the cluster is removed.
    """
    study = prepared.study
    todo = schedule(study.labels, study.ratios, study.about.repetitions, study.about.seed)
    with Store.create(directory, study.text, _document(study), _info(prepared), _facts(prepared)) as store:
        runner = _Runner(prepared, store, directory, listener)
        try:
            runner.deploy()
            runner.calibrate()
            runner.all(todo)
        finally:
            runner.close()
    return directory


class _Runner:
    """One run: the cluster as it is now, and how long trials have taken so far."""

    def __init__(self, prepared: Prepared, store: Store, directory: Path, listener: Listener) -> None:
        self.prepared, self.store, self.directory, self.listener = prepared, store, directory, listener
        self.study = prepared.study
        self.cluster: Cluster | None = None
        self.spent: dict[tuple[str, float], list[float]] = {}
        self.number = 0

    def deploy(self) -> None:
        self.listener.doing("deploy")
        started = time.monotonic()
        logs = self.directory / "logs"
        self.cluster = bring_up(self.prepared, 1.0, logs=logs, said=lambda step: self.listener.doing(f"deploy: {step}"))
        self.listener.note(
            f"deployed {len(self.study.nodes)} nodes as {self.cluster.id} in {time.monotonic() - started:.1f} s"
        )

    def calibrate(self) -> None:
        """Measure what hosts really deliver; FatalError if that is not what they were promised."""
        assert self.cluster is not None
        composition, started = self.study.composition, time.monotonic()
        disks = {n.name: disk for n in self.study.nodes if (disk := composition.role(n.role).disk) is not None}
        with self.cluster.undisturbed():
            found = calibrate_hosts(self.cluster.deployment, disks, self.listener.doing)
        self.store.set_fact("calibration", "; ".join(delivered.sentence for delivered in found))
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

    def all(self, todo: Sequence[Todo]) -> None:
        """Every trial, a failed one twice; FatalError when so many fail in a row that no result is to be expected."""
        given_up = 0
        for index, each in enumerate(todo, 1):
            trial = self.persist(each, index, todo)
            given_up = 0 if trial.state == "done" else given_up + 1
            # All workloads may fail at one ratio, and the study still be worth its time.
            if given_up > len(self.study.labels) + 1:
                raise FatalError(
                    f"{given_up} trials in a row were given up, each after {_ATTEMPTS} failures or {_INVALID} attempts "
                    f"that were not valid; the last: {trial.reason}"
                )

    def persist(self, each: Todo, index: int, todo: Sequence[Todo]) -> Trial:
        """The `index`th trial, until it is done or given up."""
        states: list[str] = []
        while True:
            trial = self.once(each, len(states) + 1, index, todo)
            states.append(trial.state)
            over = trial.state == "done" or states.count("failed") >= _ATTEMPTS or states.count("invalid") >= _INVALID
            if trial.state == "failed" and not (over and index == len(todo)):
                self.recover(trial)
            if over:
                return trial

    def once(self, each: Todo, attempt: int, index: int, todo: Sequence[Todo]) -> Trial:
        """One attempt at the `index`th trial, stored before it begins and the moment it ends."""
        self.number += 1
        placement = self.study.placements[each.ratio]
        where = Path("trials") / f"{self.number:04d}-{each.workload}-ratio{each.ratio:g}"
        trial = Trial(
            number=self.number,
            workload=each.workload,
            ratio=each.ratio,
            hosts=len(placement.hosts),
            repetition=each.repetition,
            attempt=attempt,
            state="running",
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            program=self.prepared.program(each.workload),
            directory=str(where),
        )
        self.store.begin(trial)
        self.listener.begins(trial, index, len(todo), self.estimate(todo[index - 1 :]))
        began = time.monotonic()
        try:
            trial = self.measure(trial)
        except (TrialError, CommandFailed, NotIntact, ValueError, OSError) as error:
            trial = replace(trial, state="failed", reason=str(error), duration_s=time.monotonic() - began)
        except BaseException:
            self.store.end(replace(trial, state="failed", reason="interrupted"))
            raise
        self.spent.setdefault((each.workload, each.ratio), []).append(time.monotonic() - began)
        self.store.end(trial)
        self.listener.ended(trial, index, len(todo), self.estimate(todo[index:]))
        return trial

    def measure(self, trial: Trial) -> Trial:
        """Fold, clean, limit, run the phases, and read the metrics. Limits are off again afterwards."""
        cluster = self.cluster
        assert cluster is not None
        workload = self.study.workload(trial.workload)
        target = self.directory / trial.directory
        target.mkdir(parents=True)
        logs = cluster.log_sizes()
        work = self.prepared.work(trial.workload)
        self.listener.doing("fold and clean")
        cluster.refold(self.study.placements[trial.ratio])
        cluster.empty(work)
        cluster.drop_caches()
        cluster.limit(True)
        phases: dict[str, tuple[float, float]] = {}
        sampled = target / "telemetry.txt"
        try:
            with cluster.deployment.telemetry(sampled):
                before, began = cluster.deployment.host_cpu_s(), time.monotonic()
                outputs = self._phases(cluster, target, trial, phases)
                duration_s = time.monotonic() - began
                after = cluster.deployment.host_cpu_s()
        finally:
            cluster.limit(False)
            cluster.keep_logs(target / "logs", logs)
        metrics = workload.driver.parse(workload.options, outputs)
        used = {host: after[host] - before[host] for host in list(after)[: trial.hosts]}
        usage, reason = self._judge(trial, sampled, phases, operations(phases, outputs))
        state: TrialState = "invalid" if reason else "done"
        return replace(
            trial, state=state, reason=reason, duration_s=duration_s, metrics=metrics, host_cpu_s=used, usage=usage
        )

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
        """After a failure: deploy anew, so that the next trial does not pay for what became of the last.

        A check would not do: half of a distributed file system may be gone, and a file on the other half still be fine.
        """
        self.listener.note(f"trial {trial.number} failed; deploying the cluster again")
        self.close()
        self.deploy()

    def estimate(self, left: Sequence[Todo]) -> float:
        """Seconds that the trials that are left will take, from those that have ended: the most alike there are."""
        everything = [s for times in self.spent.values() for s in times]
        total = 0.0
        for each in left:
            same = self.spent.get((each.workload, each.ratio))
            alike = [s for (workload, _), times in self.spent.items() if workload == each.workload for s in times]
            known = same or alike or everything
            total += mean(known) if known else _GUESS_S
        return total


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
