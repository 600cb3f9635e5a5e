"""Running programs: always a list of arguments, always a deadline, never a shell."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin"
"""Where programs are; the last is NixOS's own place."""
MARK = "PLIANT_ID"
"""Environment variable that every process started for a deployment carries: the deployment's id."""
NOT_FOUND = 127
"""Exit status that stands for a program that cannot be started, as in a shell."""
Watch = Callable[[str], str]
"""Is given what a program has printed so far, again and again, and says why it is to be ended; "" to let it go on."""
WATCH_S = 0.25
"""How often. It has to be seldom beside what is measured meanwhile, and often beside what is waited for."""


class CommandFailed(Exception):
    """A program that ended badly or did not end in time; `where` is a node's name or "" for the machine."""

    def __init__(self, argv: Sequence[str], exit_status: int | None, stdout: str, stderr: str, where: str = "") -> None:
        self.argv, self.exit_status, self.stdout, self.stderr, self.where = (
            tuple(argv),
            exit_status,
            stdout,
            stderr,
            where,
        )
        super().__init__(argv, exit_status)

    def __str__(self) -> str:
        how = "did not end in time" if self.exit_status is None else f"ended with status {self.exit_status}"
        said = (self.stderr.strip() or self.stdout.strip()).splitlines()
        text = f"{f'{self.where}: ' if self.where else ''}`{shlex.join(self.argv)}` {how}"
        return f"{text}: {' | '.join(line.strip() for line in said[-3:])}" if said else text


class CommandStopped(CommandFailed):
    """A program that was ended before its deadline, for what watched it; `why` is what that said."""

    def __init__(self, argv: Sequence[str], stdout: str, stderr: str, where: str = "", *, why: str) -> None:
        super().__init__(argv, None, stdout, stderr, where)
        self.why = why

    def __str__(self) -> str:
        return f"{f'{self.where}: ' if self.where else ''}`{shlex.join(self.argv)}` was stopped: {self.why}"


@dataclass(frozen=True)
class Completed:
    """How a program ended.

    >>> Completed(("true",), 0, "", "").check().exit_status
    0
    """

    argv: tuple[str, ...]
    exit_status: int
    stdout: str
    stderr: str
    where: str = ""

    def check(self) -> Completed:
        """Itself if the exit status is 0, else raises CommandFailed."""
        if self.exit_status != 0:
            raise CommandFailed(self.argv, self.exit_status, self.stdout, self.stderr, self.where)
        return self


def environment(deployment: str = "", extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A small, known environment: what a user has exported must not change a measurement."""
    env = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    if deployment:
        env[MARK] = deployment
    return {**env, **(extra or {})}


def run(
    argv: Sequence[str],
    *,
    timeout_s: float,
    stdin: str | int = "",
    env: Mapping[str, str] | None = None,
    where: str = "",
    shown: Sequence[str] | None = None,
    watch: Watch | None = None,
) -> Completed:
    """Run a program to its end and capture its output (undecodable bytes replaced).

    `stdin` is what it finds on its input, or the file descriptor that is its input.

    The program gets a session of its own, so that at the deadline everything it started is ended with it.
    Raises CommandFailed at the deadline (exit_status None) or if the program is not there (127), CommandStopped as soon
    as `watch`, which goes without text for `stdin`, wants it to be ended. `shown` is the command to name in errors,
    where `argv` wraps what the user knows.
    """
    text, given = ("", stdin) if isinstance(stdin, int) else (stdin, subprocess.PIPE)
    if watch is not None and text:
        raise ValueError(
            "a program that is watched has no input: `communicate` sends it only as long as it is not left"
        )
    name = tuple(shown if shown is not None else argv)
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env) if env is not None else environment(),
            start_new_session=True,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise CommandFailed(name, NOT_FOUND, "", str(error), where) from error
    try:
        out, err = (
            process.communicate(text, timeout=timeout_s) if watch is None else _watched(process, timeout_s, watch)
        )
    except subprocess.TimeoutExpired:
        end_session(process)
        raise CommandFailed(name, None, *_rest(process), where) from None
    except _Enough as enough:
        end_session(process)
        raise CommandStopped(name, *_rest(process), where, why=enough.why) from None
    except BaseException:
        end_session(process)
        close_pipes(process)
        raise
    return Completed(name, process.returncode, out, err, where)


class _Enough(Exception):
    """What watches a program wants it to be ended."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def _watched(process: subprocess.Popen[str], timeout_s: float, watch: Watch) -> tuple[str, str]:
    """Let a program without input come to its end, and show what it has printed meanwhile. TimeoutExpired, _Enough."""
    until, printed = time.monotonic() + timeout_s, ""
    while True:
        left_s = until - time.monotonic()
        try:
            return process.communicate(timeout=min(WATCH_S, max(0.0, left_s)))
        except subprocess.TimeoutExpired as error:
            if left_s <= WATCH_S:
                raise
            printed = _decoded(error.stdout) or printed  # nothing is told of a program that has closed its output
            if why := watch(printed):
                raise _Enough(why) from None


def _rest(process: subprocess.Popen[str], patience_s: float = 1.0) -> tuple[str, str]:
    """What a program that was ended had printed; a daemon that left its session may hold its output open for ever."""
    try:
        return process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired as error:
        close_pipes(process)
        return _decoded(error.stdout), _decoded(error.stderr)


def close_pipes(process: subprocess.Popen[Any]) -> None:
    """Let go of a program's input and output."""
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _decoded(output: str | bytes | None) -> str:
    """`TimeoutExpired` carries bytes also where text was asked for."""
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def end_session(process: subprocess.Popen[Any]) -> None:
    """Kill a program started with `start_new_session`, and all that is still in its session's process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def alive(pid: int, started: int | None = None) -> bool:
    """Whether a process runs: a zombie does not, nor does another that got its number (`started`: see `start_time`)."""
    stat = _stat(pid)
    return stat is not None and stat[0] not in "ZX" and (started is None or int(stat[19]) == started)


def living() -> Iterator[int]:
    """The processes that run on this machine."""
    return filter(alive, map(int, filter(str.isdigit, os.listdir("/proc"))))


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot (proc(5), stat field 22); None if there is none."""
    stat = _stat(pid)
    return int(stat[19]) if stat is not None else None


def ticks() -> int:
    """This moment, as `start_time` counts."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; the name before them may contain anything."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None


def marked(variable: str, value: str) -> list[int]:
    """Living processes that carry a mark in their environment: also those that are in no control group of ours yet."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0") and alive(int(entry)):
                        found.append(int(entry))
            except OSError:
                continue
    return found
