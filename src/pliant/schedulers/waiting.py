"""Waiting until a job runs: asking seldom, saying why it does not yet, and not for ever."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass

from pliant.schedulers.front import NoAnswerError
from pliant.schedulers.interface import Job, Scheduler, SchedulerError

FIRST_S, LONGEST_S, GROWTH = 0.5, 10.0, 1.3
"""How long is waited between two looks at a job: little at first, for one that begins at once, then longer."""
BORNE_S = 60.0
"""How long a front end or a scheduler may fail to answer."""


@dataclass(frozen=True)
class Clock:
    """The time, in seconds since the epoch, and how it is let pass."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


def wait(
    scheduler: Scheduler,
    job: str,
    until_s: float,
    said: Callable[[str], None] = lambda text: None,
    clock: Clock = Clock(),
) -> Job:
    """Wait until a job runs, until a moment at the latest; the job, with its hosts.

    `said` is given a line whenever there is news: why the job waits, and when it is expected to start.

    Raises SchedulerError if the job ends before it runs, if it does not run by then (nothing is released: the error
    names the command that does), or if nobody has answered for a minute.
    """
    pause_s, news, unanswered_s = FIRST_S, "", None
    while True:
        try:
            found, unanswered_s = scheduler.look(job), None
            text = _news(found, clock.now())
        except NoAnswerError as error:
            unanswered_s = unanswered_s if unanswered_s is not None else clock.now()
            if clock.now() - unanswered_s >= BORNE_S:
                raise
            found, text = None, f"{error}; it is asked again"
        if found is not None and found.state == "running" and found.hosts:
            return found
        if found is not None and found.state in ("ended", "unknown"):
            raise SchedulerError(f"job {job} ended before it ran: {found.said}")
        if text != news:
            said(text)
            news = text
        left_s = until_s - clock.now()
        if left_s <= 0:
            command = shlex.join(scheduler.release_command(job))
            raise SchedulerError(f"{text}; nothing waits for it any longer, and `{command}` ends it")
        clock.sleep(min(pause_s, left_s))
        pause_s = min(LONGEST_S, pause_s * GROWTH)


def _news(job: Job, now_s: float) -> str:
    """Why a job does not run yet, in a line."""
    text = f"job {job.id} waits: {job.said}"
    if job.starts_s is None:
        return text
    begin, today = time.localtime(job.starts_s), time.localtime(now_s)
    form = "%H:%M" if begin[:3] == today[:3] else "%Y-%m-%d %H:%M"
    return f"{text}; expected to start at {time.strftime(form, begin)}"
