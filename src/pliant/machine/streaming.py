"""A command in several nodes at once, what it says heard as it comes, and ended in all of them when that is wanted."""

from __future__ import annotations

import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, Protocol

from .cgroup import kill
from .process import marked

MARK = "PLIANT_COMMAND"
"""Environment variable of the processes of one command, by which those that left its process group can be found."""
AT_ONCE = 128
"""In so many nodes at the same time: each takes two of the open files that a process may have."""
GRACE_S = 2.0
"""What a command is given to end by itself when it is interrupted."""
_POLL_S = 0.05

Heard = Callable[[str, bytes, bool], None]
"""Called with a node, a line that it said, without its end, and whether that was on standard error."""


class Nodes(Protocol):
    """What is needed of a deployment."""

    def start(
        self, node: str, argv: Sequence[str], extra: Mapping[str, str] | None = None, **streams: Any
    ) -> subprocess.Popen[bytes]:
        """Start a command in a node."""


def stream(
    deployment: Nodes, nodes: Sequence[str], argv: Sequence[str], heard: Heard, *, timeout_s: float
) -> dict[str, int | None]:
    """Run a command in nodes, without input; node -> exit status, None where it did not end in time.

    Whatever interrupts this interrupts the command in all of them, and ends it after a moment. What a command leaves
    in the background when it ends goes on.
    """
    waiting, running, statuses = list(nodes), dict[str, _Running](), dict[str, int | None]()
    mark = secrets.token_hex(8)
    try:
        while waiting or running:
            while waiting and len(running) < AT_ONCE:
                node = waiting.pop(0)
                running[node] = _Running(deployment, node, argv, mark, time.monotonic() + timeout_s)
            _listen(running, heard)
            for node, each in list(running.items()):
                status = each.process.poll()
                if status is None and time.monotonic() < each.until:
                    continue
                if status is None:
                    _end([each.process], f"{mark}-{node}")
                each.drain(heard)
                statuses[node] = status
                del running[node]
    except BaseException:
        interrupt([each.process for each in running.values()], *(f"{mark}-{node}" for node in running))
        raise
    return {node: statuses[node] for node in nodes}


def attached(deployment: Nodes, node: str, argv: Sequence[str], *, timeout_s: float) -> int | None:
    """Run a command in one node with this process's own input and output; its exit status, None at the deadline."""
    mark = secrets.token_hex(8)
    sys.stdout.flush()
    process = deployment.start(node, argv, {MARK: mark})
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        _end([process], mark)
        return None
    except BaseException:
        interrupt([process], mark)
        raise


def interrupt(processes: Sequence[subprocess.Popen[bytes]], *marks: str) -> None:
    """Interrupt commands as Ctrl-C would, and kill what is left of them after a moment."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
    until = time.monotonic() + GRACE_S
    while time.monotonic() < until and any(process.poll() is None for process in processes):
        time.sleep(0.02)
    _end(processes, *marks)


def _end(processes: Sequence[subprocess.Popen[bytes]], *marks: str) -> None:
    """Kill commands, and what left their process groups."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    for mark in marks:
        kill(marked(MARK, mark))
    for process in processes:
        process.wait()


class _Running:
    """A command in one node, and what it has said since the last end of a line."""

    def __init__(self, deployment: Nodes, node: str, argv: Sequence[str], mark: str, until: float) -> None:
        self.node, self.until = node, until
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = deployment.start(node, argv, {MARK: f"{mark}-{node}"}, **streams)
        assert self.process.stdout is not None and self.process.stderr is not None
        self.pipes: dict[IO[bytes], bool] = {self.process.stdout: False, self.process.stderr: True}
        self.rest = {False: b"", True: b""}
        for pipe in self.pipes:
            os.set_blocking(pipe.fileno(), False)

    def hear(self, pipe: IO[bytes], heard: Heard) -> bool:
        """Read what is there and tell it by whole lines; whether there was anything."""
        error = self.pipes[pipe]
        try:
            said = os.read(pipe.fileno(), 65536)
        except BlockingIOError:
            return False
        if not said:
            self._close(pipe)
            return False
        *lines, self.rest[error] = (self.rest[error] + said).split(b"\n")
        for line in lines:
            heard(self.node, line, error)
        return True

    def drain(self, heard: Heard) -> None:
        """Tell what is still unread, also of a last line that has no end, and let go of the pipes."""
        for pipe in list(self.pipes):
            while pipe in self.pipes and self.hear(pipe, heard):
                pass
        for error, rest in self.rest.items():
            if rest:
                heard(self.node, rest, error)
        for pipe in list(self.pipes):
            self._close(pipe)

    def _close(self, pipe: IO[bytes]) -> None:
        del self.pipes[pipe]
        pipe.close()


def _listen(running: Mapping[str, _Running], heard: Heard) -> None:
    """Wait a moment for any of them to say something, and hear it."""
    with selectors.DefaultSelector() as selector:
        for each in running.values():
            for pipe in each.pipes:
                selector.register(pipe, selectors.EVENT_READ, each)
        if not selector.get_map():
            time.sleep(_POLL_S)
            return
        for key, _ in selector.select(_POLL_S):
            speaker: _Running = key.data
            for pipe in [pipe for pipe in speaker.pipes if pipe is key.fileobj]:
                speaker.hear(pipe, heard)
