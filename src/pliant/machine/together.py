"""Several programs that start at the same moment, each in a place of its own: the clients of a workload without MPI.

To enter a node takes some milliseconds, and more on a busy machine. So each program waits behind a gate in its place,
a shell that reads a line and then becomes the program; the gates open when all are there.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass

from .process import (
    NOT_FOUND,
    WATCH_S,
    CommandFailed,
    CommandStopped,
    Completed,
    Watch,
    close_pipes,
    end_session,
)

_GATE = ("/bin/sh", "-c", 'echo; read -r go; exec "$@"', "gate")


@dataclass(frozen=True)
class Job:
    """A program to run, `argv`, in the place (a node's name) that the command `enter` leads to."""

    enter: tuple[str, ...]
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Together:
    """How the programs ended, by place; they ran from `began_s` to `ended_s` of CLOCK_MONOTONIC."""

    completed: Mapping[str, Completed]
    began_s: float
    ended_s: float


def run_together(
    jobs: Mapping[str, Job],
    *,
    timeout_s: float,
    env: Mapping[str, str],
    stdin: str = "",
    watch: Watch | None = None,
) -> Together:
    """Run each place's program to its end; each finds `stdin` on its standard input.

    Raises CommandFailed for the first that cannot be started, ends badly, or does not end in time; the others are ended
    then, as they are on any other exception. CommandStopped, with the first place, as soon as `watch` wants them to be
    ended; what they have printed it does not see.
    """
    until = time.monotonic() + timeout_s
    running: dict[str, subprocess.Popen[str]] = {}
    try:
        for place, job in jobs.items():
            running[place] = _start(place, job, env)
        _wait_for_gates(jobs, running, until)
        began_s = time.monotonic()
        for process in running.values():
            assert process.stdin is not None
            os.write(process.stdin.fileno(), b"\n")
        completed = _finish(jobs, running, stdin, until, watch)
        return Together({place: completed[place] for place in jobs}, began_s, time.monotonic())
    finally:
        for process in running.values():
            if process.poll() is None:
                end_session(process)
            close_pipes(process)


def _start(place: str, job: Job, env: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(
            [*job.enter, *_GATE, *job.argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            start_new_session=True,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise CommandFailed(job.argv, NOT_FOUND, "", str(error), place) from error


def _wait_for_gates(jobs: Mapping[str, Job], running: Mapping[str, subprocess.Popen[str]], until: float) -> None:
    """Wait until every program is behind its gate, which says so by one empty line."""
    with selectors.DefaultSelector() as waiting:
        for place, process in running.items():
            assert process.stdout is not None
            waiting.register(process.stdout.fileno(), selectors.EVENT_READ, place)
        while waiting.get_map():
            ready = waiting.select(max(0.0, until - time.monotonic()))
            if not ready:
                late = str(next(iter(waiting.get_map().values())).data)
                raise CommandFailed(jobs[late].argv, None, "", "it could not be started in time", late)
            for key, _ in ready:
                if not os.read(key.fd, 1):
                    raise _failed(jobs[key.data], key.data, running[key.data])
                waiting.unregister(key.fd)


def _failed(job: Job, place: str, process: subprocess.Popen[str]) -> CommandFailed:
    """Why a program did not come as far as its gate: what entering its place said."""
    try:
        out, err = process.communicate(timeout=1.0)
    except subprocess.TimeoutExpired:
        return CommandFailed(job.argv, None, "", "its output ended before it began", place)
    return CommandFailed(job.argv, process.returncode, out, err, place)


def _finish(
    jobs: Mapping[str, Job],
    running: Mapping[str, subprocess.Popen[str]],
    stdin: str,
    until: float,
    watch: Watch | None,
) -> dict[str, Completed]:
    """Wait for all of them, for the first that fails, or until `watch` has enough."""

    def one(place: str) -> Completed:
        process, argv = running[place], jobs[place].argv
        try:
            out, err = process.communicate(stdin, timeout=max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise CommandFailed(argv, None, "", "", place) from None
        return Completed(argv, process.returncode, out, err, place).check()

    with ThreadPoolExecutor(len(running)) as pool:
        waiting = {pool.submit(one, place): place for place in running}
        try:
            left = set(waiting)
            while left:
                ended, left = wait(left, None if watch is None else WATCH_S, FIRST_COMPLETED)
                for each in ended:
                    each.result()
                if left and watch is not None and (why := watch("")):
                    place = waiting[next(iter(left))]
                    raise CommandStopped(jobs[place].argv, "", "", place, why=why)
            return {place: done.result() for done, place in waiting.items()}
        finally:  # the pool waits for its threads, and they for the programs
            for process in running.values():
                if process.poll() is None:
                    end_session(process)
