"""Measures one trial on a cluster that is up: fold, clean, limit, run, read, and judge whether it is valid."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pliant import telemetry
from pliant.cluster import Cluster
from pliant.errors import FatalError, TrialError
from pliant.faults import Outcome
from pliant.injection import Injection
from pliant.machine.cgroup import period_and_quota_us
from pliant.machine.process import CommandFailed, Completed
from pliant.machine.sampling import EVERY_S
from pliant.preparation import Prepared
from pliant.stalls import stalled_s
from pliant.study import LabelledWorkload
from pliant.survival import FILE_BYTES, Witness
from pliant.trial import Trial, TrialState
from pliant.units import format_size
from pliant.workloads import Phase, output_name, windows

_PROOF = ".pliant-proof"
_PROOF_FILES = 4


@dataclass(frozen=True)
class Measurement:
    """A file system's study on its cluster, ready for a trial; `doing` hears what is going on."""

    prepared: Prepared
    cluster: Cluster
    doing: Callable[[str], None]
    verified: bool = False
    """Whether data is checked around the workload, and a doubt about it ends the run."""

    def measure(self, trial: Trial, target: Path) -> Trial:
        """Fold, clean, limit, run the phases, and read the metrics. Limits are off again afterwards."""
        cluster, study = self.cluster, self.prepared.study
        workload = study.workload(trial.workload)
        target.mkdir(parents=True)
        logs = cluster.log_sizes()
        self.doing("fold and clean")
        cluster.refold(study.placements[trial.ratio])
        cluster.empty(self.prepared.work(trial.workload))
        injection = self._injection(workload)
        witnesses = self._witnesses() if self.verified and injection is None else ()
        self._check(witnesses, trial, "before")
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
        self._check(witnesses, trial, "after")
        used = {host: after[host] - before[host] for host in list(after)[: trial.hosts]}
        trial = replace(trial, duration_s=duration_s, host_cpu_s=used, proved=(*trial.proved, *_of_data(witnesses)))
        if injection is not None and outcome is not None:
            trial = self._told(trial, injection, outcome, sampled)
        if failed:
            return replace(trial, state="failed", reason=f"through the fault the workload failed: {failed}")
        metrics = workload.driver.parse(workload.options, outputs)
        usage, reason, starved = self._judge(trial, sampled, phases, operations(phases, outputs))
        state: TrialState = "invalid" if reason else "done"
        if outcome is not None and not outcome.intact:
            state, reason = "failed", outcome.problem
        return replace(trial, state=state, reason=reason or starved, metrics=metrics, usage=usage)

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
        clients = [node.name for node in self.prepared.study.composition.clients]
        samples = telemetry.read(sampled.read_text())
        stalled = stalled_s(samples, clients, injection.began_s, injection.first_s, injection.ended_s)
        outcome = replace(outcome, stalled_s=None if stalled is None else round(stalled, 2))
        return replace(trial, fault=outcome.to_json())

    def _judge(
        self, trial: Trial, sampled: Path, phases: telemetry.Windows, operations: telemetry.Windows
    ) -> tuple[dict[str, Any], str, str]:
        """What hosts used in each operation, why the trial is not valid, if it is not, and which nodes starved.

        Valid are whole phases: a machine that ran out between two operations may have slowed down the next.
        """
        figures, placement = self.prepared.figures, self.prepared.study.placements[trial.ratio]
        period_us, _ = period_and_quota_us(figures.cores)
        promise = telemetry.Promise(
            figures.cores, figures.nic_bit_s, figures.disk_byte_s, figures.memory_bytes, period_us / 1e6
        )
        hosts = dict(zip(placement.host_names, placement.hosts, strict=True))
        roles = {node.name: node.role for node in self.prepared.study.nodes}
        samples = telemetry.read(sampled.read_text())
        usage = telemetry.usage(samples, operations, hosts, roles, promise)
        reason = telemetry.invalid_reason(samples, phases, hosts, promise, self.prepared.machine.cores)
        return usage.to_json(), reason, telemetry.starved(samples, phases)

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
        until = time.monotonic() + self.prepared.study.about.trial_timeout
        outputs: dict[str, str] = {}
        for phase in self.prepared.phases(trial.workload):
            self.doing(phase.name)
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


def _of_data(witnesses: Sequence[Witness]) -> tuple[str, ...]:
    """What was proved of the data, in words."""
    if not witnesses:
        return ()
    files = f"{_PROOF_FILES} files of {format_size(FILE_BYTES)} that each of {len(witnesses)} clients wrote"
    return (f"{files} were read by another client as they were written, before the workload and after it",)


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
