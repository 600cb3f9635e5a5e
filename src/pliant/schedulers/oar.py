"""OAR: a job that sleeps while its hosts are used by ssh; where OAR guards them the site has a job type for that.

What OAR 2.5 prints for programs is read: JSON of `oarstat`, with times in seconds since the epoch. Whether a command
succeeded is told by its exit status alone: `oarsub` prints a job's number also where there is none.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pliant.platforms.interface import Completed
from pliant.schedulers.front import Front, LackingError, NoAnswerError, last_line
from pliant.schedulers.interface import Job, SchedulerError, State, Wish

_STATES: dict[State, str] = {
    "waiting": "Waiting Hold toLaunch toAckReservation Launching Suspended Resuming",
    "running": "Running",
    "ended": "Finishing Terminated toError Error",
}
"""What OAR says of a job's state -> what it is to pliant. A job that somebody deletes ends as `Error`."""
_DELETED = "FRAG_JOB_REQUEST"
"""The event of a job that is to be deleted: it goes on for some seconds, and nobody should begin to use it."""
_GRANTED_S, _ASKED_S = 8.0, 1.0
"""How long it is waited for more walltime to be granted, and how often it is asked: OAR decides when it schedules."""
_NODE_FILES = ("OAR_NODEFILE", "OAR_NODE_FILE", "OAR_FILE_NODES")
_NO_ANSWER = (
    "could not connect to server",
    "DB connection error",
    "connection to server",
    "Cannot connect to executor",
)
_UTC = {"TZ": "UTC"}


def own_job(env: Mapping[str, str]) -> str | None:
    """The id of the job in which a program with this environment runs; None if it runs in none."""
    return env.get("OAR_JOB_ID") if own_hosts_file(env) else None


def own_hosts_file(env: Mapping[str, str]) -> Path | None:
    """The file that names a job's hosts, with a line for each core, to whoever has the job's environment."""
    return next((Path(env[name]) for name in _NODE_FILES if env.get(name)), None)


def own_hosts(env: Mapping[str, str]) -> tuple[str, ...]:
    """The hosts of the job in which a program with this environment runs, each once; none if it runs in none.

    Raises SchedulerError if the file that names them cannot be read.
    """
    file = own_hosts_file(env)
    if file is None:
        return ()
    try:
        return tuple(dict.fromkeys(file.read_text(encoding="utf-8").split()))
    except (OSError, ValueError) as error:
        raise SchedulerError(f"{file}, which names the hosts of this job, cannot be read: {error}") from error


@dataclass(frozen=True)
class Oar:
    """A testbed's OAR, called where `front` says."""

    front: Front = field(default_factory=Front)

    def submit(self, wish: Wish) -> str:
        """Ask for hosts; the job's id. An advance reservation is granted or refused at once."""
        # oarsub reads an advance reservation as a time of where it runs.
        done = self._ask(_submission(wish), _UTC if wish.begin_s is not None else None)
        found = re.search(r"^OAR_JOB_ID=(\d+)$", done.stdout, re.MULTILINE)
        if done.exit_status != 0 or found is None:
            raise SchedulerError(f"OAR refused a job of {wish.nodes} nodes: {_said(done)}")
        return found[1]

    def find(self, name: str) -> str | None:
        """The id of this user's job of that name that has not ended; None if there is none."""
        jobs = self._jobs(["--user"])
        named = (_job(each) for each in jobs.values() if each.get("name") == name)
        return next((job.id for job in named if job.state in ("waiting", "running")), None)

    def look(self, job: str) -> Job:
        """How a job is now. OAR knows also those that have ended; one that is being deleted has."""
        found = self._jobs(["--job", job]).get(job)
        return Job(job, "unknown", "OAR does not know it") if found is None else _job(found)

    def extend(self, job: str, by_s: int) -> str:
        """Ask for more walltime; "" if it was granted, else what OAR says, or that it has not yet decided."""
        try:
            done = self._ask(["oarwalltime", job, f"+{hours(by_s)}"])
        except LackingError as error:  # it came with OAR 2.5.8
            return f"OAR does not give job {job} {hours(by_s)} more: {error}"
        if done.exit_status != 0:
            return f"OAR does not give job {job} {hours(by_s)} more: {_said(done)}"
        until = time.monotonic() + _GRANTED_S
        while _pending(self._ask(["oarwalltime", job]).stdout):
            if time.monotonic() > until:
                return f"OAR has not given job {job} {hours(by_s)} more yet: it does when no other job is in the way"
            time.sleep(_ASKED_S)
        return ""

    def release(self, job: str) -> None:
        """End a job, which takes some seconds; one that has ended is fine."""
        done = self._ask(["oardel", job])
        if done.exit_status != 0 and self.look(job).state not in ("ended", "unknown"):
            raise SchedulerError(f"OAR does not end job {job}: {_said(done)}")

    def release_command(self, job: str) -> Sequence[str]:
        """What a user types to end a job without pliant."""
        return self.front.typed(["oardel", job])

    def _jobs(self, which: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """Jobs by their ids, as oarstat tells them; one that is not known is not told."""
        done = self._ask(["oarstat", "--full", "--json", *which])
        if done.exit_status != 0:
            raise SchedulerError(f"OAR does not say which jobs there are: {_said(done)}")
        try:
            jobs = json.loads(done.stdout or "{}")
        except ValueError:
            raise SchedulerError(f'oarstat printed what is no JSON: "{done.stdout.strip()[:80]}"') from None
        if not (isinstance(jobs, dict) and all(isinstance(each, dict) for each in jobs.values())):
            raise SchedulerError("oarstat printed JSON that names no jobs")
        return jobs

    def _ask(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Completed:
        done = self.front.run(argv, env=env)
        if any(words in done.stderr for words in _NO_ANSWER):
            raise NoAnswerError(f"OAR does not answer: {_said(done)}")
        return done


def _submission(wish: Wish) -> list[str]:
    """How a job is asked for."""
    begin = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(wish.begin_s)) if wish.begin_s is not None else ""
    asked = {
        "--queue": wish.queue,
        "--property": wish.properties,
        "--project": wish.project,
        "--reservation": begin,
    }
    return [
        *("oarsub", "--name", wish.name, "--resource", f"nodes={wish.nodes},walltime={hours(wish.walltime_s)}"),
        *(word for option, value in asked.items() if value for word in (option, value)),
        *(word for each in wish.types for word in ("--type", each)),
        *("--directory", "/", "--stdout", "/dev/null", "--stderr", "/dev/null", "sleep infinity"),
    ]


def _pending(said: str) -> bool:
    """Whether oarwalltime says that there is more walltime asked for than has been granted."""
    found = re.search(r"^ *Pending/unsatisfied: +(\S+)", said, re.MULTILINE)
    return found is not None and found[1] != "0:0:0"


def hours(duration_s: int) -> str:
    """A duration as OAR writes it, its API too: hours:minutes:seconds."""
    return f"{duration_s // 3600}:{duration_s // 60 % 60:02}:{duration_s % 60:02}"


def _job(told: Mapping[str, Any]) -> Job:
    """A job as oarstat tells it. SchedulerError."""
    try:
        word, number = str(told["state"]), str(told["Job_Id"])
        events = [str(event["type"]) for event in told.get("events") or ()]
        state: State = next((state for state, words in _STATES.items() if word in words.split()), "unknown")
        if _DELETED in events:
            state = "ended"
        said = f"{word}{_why(told, state)}"
        if state == "waiting":
            return Job(number, state, said, starts_s=_moment(told.get("scheduledStart") or told.get("startTime")))
        if state == "running":
            hosts = tuple(dict.fromkeys(str(host) for host in told["assigned_network_address"]))
            begun, walltime = _moment(told.get("startTime")), _moment(told.get("walltime"))
            return Job(number, state, said, hosts, ends_s=begun + walltime if begun and walltime else None)
        return Job(number, state, said)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SchedulerError(f"oarstat told a job without what belongs to one: {error!r}") from None


def _why(told: Mapping[str, Any], state: State) -> str:
    """Why a job is in its state, in OAR's words, as far as it says."""
    if state == "ended":
        events = {str(event["type"]): str(event["description"]) for event in told.get("events") or ()}
        if "(Elapsed)" in events.get("WALLTIME", ""):  # an event of that type also tells that more was granted
            return " (its walltime is over)"
        return f" ({events[_DELETED]})" if _DELETED in events else ""
    if state == "waiting":
        # What is in the way, without the share of the user, which changes all the time.
        words = re.sub(r"Karma=[^,)]*,?|quota_ok,?", "", str(told.get("message") or "").partition("(")[2].rstrip(") "))
        return f" ({words.strip(', ')})" if words.strip(", ") else ""
    return ""


def _moment(value: Any) -> float | None:
    """A number of seconds; none that is 0, which is how OAR says that it does not know."""
    return float(value) or None if value is not None else None


def _said(done: Completed) -> str:
    """What OAR complains of: what it says first is nearest to the cause."""
    line = next((line.strip() for line in done.stderr.splitlines() if line.strip()), "")
    line = line or last_line(done.stdout) or f"status {done.exit_status}"
    return re.sub(r"^(\[(ADMISSION RULE|ERROR)\] *)?((Error|ERROR) *: *)?", "", line).rstrip(".")
