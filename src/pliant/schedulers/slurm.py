"""Slurm: a job that sleeps on all of its nodes while they are used by ssh.

Nothing but what releases from 20.11 on print the same way is read: `squeue` in a format of our own, with times in
seconds since the epoch (SLURM_TIME_FORMAT), so that neither a column's width nor a time zone plays a part.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pliant.platforms.interface import Completed
from pliant.schedulers.front import Front, NoAnswerError, last_line
from pliant.schedulers.interface import Job, SchedulerError, State, Wish

_FIELDS = "%i|%T|%N|%S|%e|%r"
"""A job's id, state, hosts, start, end and reason (squeue(1)); the reason is last, as it is free text."""
_TIMES = {"SLURM_TIME_FORMAT": "%s"}
_STATES: dict[State, str] = {
    "waiting": "PENDING CONFIGURING REQUEUED REQUEUE_FED REQUEUE_HOLD RESV_DEL_HOLD SPECIAL_EXIT SUSPENDED STOPPED",
    "running": "RUNNING RESIZING SIGNALING STAGE_OUT",
    "ended": "BOOT_FAIL CANCELLED COMPLETED COMPLETING DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED"
    " RECONFIG_FAIL REVOKED TIMEOUT",
}
"""What Slurm says of a job's state -> what it is to pliant. On a suspended job's hosts nothing of it can run."""
_HOPELESS = {
    "PartitionConfig": "the partition does not lend such nodes, so many of them, or for so long",
    "PartitionNodeLimit": "the partition does not lend so many nodes at once",
    "PartitionTimeLimit": "the partition does not lend them for so long",
    "BadConstraints": "no nodes are as they are asked to be",
    "InvalidAccount": "the account is not valid",
    "InvalidQOS": "the quality of service is not valid",
}
"""Reasons for which a job that Slurm has taken will never start -> what they mean (squeue(1), JOB REASON CODES)."""
_UNKNOWN = "Invalid job id"
_NO_ANSWER = (
    "Unable to contact slurm controller",
    "Socket timed out",
    "Zero Bytes were transmitted",
    "in standby mode",
)


def own_job(env: Mapping[str, str]) -> str | None:
    """The id of the job in whose allocation a program with this environment runs; None if it runs in none."""
    return env.get("SLURM_JOB_ID") if env.get("SLURM_JOB_NODELIST") else None


@dataclass(frozen=True)
class Slurm:
    """A cluster's Slurm, called where `front` says."""

    front: Front = field(default_factory=Front)
    _hosts: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    def submit(self, wish: Wish) -> str:
        """Ask for hosts, which nobody else gets meanwhile; the job's id.

        A job that Slurm takes and, as it says at once, will never start, is taken back: SchedulerError.
        """
        if wish.types:
            raise SchedulerError(f"Slurm has no job types: {', '.join(wish.types)}; leave out platform.types")
        done = self._ask(_submission(wish, time.time()))
        job = done.stdout.strip().partition(";")[0]
        if done.exit_status != 0 or not job.isdigit():
            raise SchedulerError(f"Slurm refused a job of {wish.nodes} nodes: {_said(done)}")
        if (reason := self._reason(job)) in _HOPELESS:
            self.release(job)
            wanted = f"a job of {wish.nodes} nodes for {math.ceil(wish.walltime_s / 60)} min"
            raise SchedulerError(f"Slurm will not start {wanted}: {_HOPELESS[reason]} ({reason})")
        return job

    def _reason(self, job: str) -> str:
        """Why a job waits, in Slurm's word; "" if it does not, or if Slurm does not answer: the job is there."""
        with suppress(NoAnswerError):
            return self.look(job).said.partition("(")[2].rstrip(")")
        return ""

    def find(self, name: str) -> str | None:
        """The id of this user's job of that name that has not ended; None if there is none."""
        done = self._ask(["squeue", "--noheader", "--me", "--name", name, "--format", _FIELDS])
        if done.exit_status != 0:
            raise SchedulerError(f"Slurm does not say which jobs there are: {_said(done)}")
        jobs = [_job(line) for line in done.stdout.splitlines() if line.strip()]
        return next((job.id for job, _ in jobs if job.state in ("waiting", "running")), None)

    def look(self, job: str) -> Job:
        """How a job is now. Slurm knows one that has ended for some minutes more (MinJobAge)."""
        done = self._ask(["squeue", "--noheader", "--jobs", job, "--states", "all", "--format", _FIELDS])
        if _UNKNOWN in done.stderr or (done.exit_status == 0 and not done.stdout.strip()):
            return Job(job, "unknown", "Slurm does not know it (any more)")
        if done.exit_status != 0:
            raise SchedulerError(f"Slurm does not say how job {job} is: {_said(done)}")
        found, nodes = _job(done.stdout.splitlines()[0])
        if found.state != "running":
            return found
        return Job(found.id, found.state, found.said, self._expand(nodes), found.starts_s, found.ends_s)

    def extend(self, job: str, by_s: int) -> str:
        """Ask for more time, in whole minutes; "" if it was granted. Most sites leave that to their operators."""
        minutes = math.ceil(by_s / 60)
        done = self._ask(["scontrol", "update", f"JobId={job}", f"TimeLimit+={minutes}"])
        if done.exit_status == 0:
            return ""
        return f"Slurm does not give job {job} {minutes} min more: {_said(done)}"

    def release(self, job: str) -> None:
        """End a job; one that has ended is fine."""
        done = self._ask(["scancel", job])
        if done.exit_status != 0 and self.look(job).state not in ("ended", "unknown"):
            raise SchedulerError(f"Slurm does not end job {job}: {_said(done)}")

    def release_command(self, job: str) -> Sequence[str]:
        """What a user types to end a job without pliant."""
        return self.front.typed(["scancel", job])

    def _expand(self, nodes: str) -> tuple[str, ...]:
        """The hosts of a list as Slurm writes it: node[1-3,5]."""
        if nodes not in self._hosts:
            done = self._ask(["scontrol", "show", "hostnames", nodes])
            if done.exit_status != 0 or not done.stdout.split():
                raise SchedulerError(f"Slurm does not say which hosts {nodes} are: {_said(done)}")
            self._hosts[nodes] = tuple(done.stdout.split())
        return self._hosts[nodes]

    def _ask(self, argv: Sequence[str]) -> Completed:
        done = self.front.run(argv, env=_TIMES)
        if done.exit_status != 0 and any(words in done.stderr for words in _NO_ANSWER):
            raise NoAnswerError(f"Slurm does not answer: {_said(done)}")
        return done


def _submission(wish: Wish, now_s: float) -> list[str]:
    """How a job is asked for. It runs nowhere but for its time: hosts that fail end it, and do not begin it anew."""
    asked = {
        "--partition": wish.queue,
        "--constraint": wish.properties,
        "--account": wish.project,
        # As a time from now it means the same in every time zone.
        "--begin": f"now+{max(0, math.ceil(wish.begin_s - now_s))}" if wish.begin_s is not None else "",
    }
    return [
        *("sbatch", "--parsable", "--job-name", wish.name, "--nodes", str(wish.nodes), "--exclusive", "--no-requeue"),
        *("--time", str(math.ceil(wish.walltime_s / 60))),
        *(word for option, value in asked.items() if value for word in (option, value)),
        *("--chdir", "/", "--output", "/dev/null", "--error", "/dev/null", "--wrap", "exec sleep infinity"),
    ]


def _job(line: str) -> tuple[Job, str]:
    """A job as one line of squeue tells it, and its hosts as Slurm writes them. SchedulerError."""
    fields = line.strip().split("|", _FIELDS.count("|"))
    if len(fields) != _FIELDS.count("|") + 1:
        raise SchedulerError(f'squeue printed what is no job: "{line.strip()}"')
    number, word, nodes, starts, ends, reason = fields
    state: State = next((state for state, words in _STATES.items() if word in words.split()), "unknown")
    said = word if reason in ("", "None") else f"{word} ({reason})"
    waiting, running = state == "waiting", state == "running"
    return Job(number, state, said, (), _moment(starts) if waiting else None, _moment(ends) if running else None), nodes


def _moment(text: str) -> float | None:
    return float(text) if text.isdigit() else None


def _said(done: Completed) -> str:
    """Slurm's own words, without the name of the program."""
    line = last_line(done.stderr) or last_line(done.stdout) or f"status {done.exit_status}"
    return line.removeprefix(f"{done.argv[0]}: ").removeprefix("error: ")
