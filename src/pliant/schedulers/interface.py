"""What is asked of a scheduler that lends hosts: a job of so many of them, found again by its name, ended in order.

Times are seconds; moments are seconds since the epoch. Whatever a scheduler says of a job is put into one of four
states, which are all that pliant distinguishes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pliant.errors import PliantError

State = Literal["waiting", "running", "ended", "unknown"]
"""`waiting` until its hosts can be used, `running` while they can, `ended` for whatever reason, `unknown` where the
scheduler does not know the job (any more)."""


class SchedulerError(PliantError):
    """What a scheduler refused, or that it does not answer; one sentence, with the remedy where there is one."""


@dataclass(frozen=True)
class Wish:
    """What is to be reserved. `name` is the job's, unique, written down before it is submitted.

    `queue` is OAR's queue or Slurm's partition, `properties` OAR's SQL or Slurm's constraint, `types` OAR's job types,
    `project` who pays for it, `begin_s` an advance reservation. What is empty is left to the scheduler.
    """

    name: str
    nodes: int
    walltime_s: int
    queue: str = ""
    properties: str = ""
    types: tuple[str, ...] = ()
    project: str = ""
    begin_s: float | None = None


@dataclass(frozen=True)
class Job:
    """A job as its scheduler tells it. `said` is the scheduler's own word for its state, with its reason if it gives
    one; `hosts` are there once it runs; `ends_s` is when its walltime is over; `starts_s` when it is expected to start,
    while it waits. None where the scheduler does not say."""

    id: str
    state: State
    said: str
    hosts: tuple[str, ...] = ()
    starts_s: float | None = None
    ends_s: float | None = None


class Scheduler(Protocol):
    """One scheduler. Everything raises SchedulerError, within a deadline of its own (a minute at the most)."""

    def submit(self, wish: Wish) -> str:
        """Ask for hosts; the job's id."""

    def find(self, name: str) -> str | None:
        """The id of this user's job of that name that has not ended; None if there is none."""

    def look(self, job: str) -> Job:
        """How a job is now."""

    def extend(self, job: str, by_s: int) -> str:
        """Ask for more walltime; "" if it was granted or will be, else why not, in a sentence."""

    def release(self, job: str) -> None:
        """End a job; one that has ended is fine."""

    def release_command(self, job: str) -> Sequence[str]:
        """What a user types to end a job without pliant."""
