"""Carrying out a composition's steps on nodes: in order, in parallel where the order allows, each with a deadline."""

from __future__ import annotations

import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol

from pliant.composition import Command, Step
from pliant.errors import PliantError
from pliant.machine.process import CommandFailed, Completed

POLL_S = 0.1


class StepFailed(PliantError):
    """A step of a deployment that failed on a node; `log` is the end of what its daemon or its files said."""

    def __init__(self, step: str, node: str, reason: str, log: str = "") -> None:
        self.step, self.node, self.reason, self.log = step, node, reason, log
        super().__init__(f'step "{step}" failed on {node}: {reason}')


class Nodes(Protocol):
    """What carrying out steps needs of a cluster."""

    def execute(self, node: str, argv: Sequence[str], *, timeout_s: float) -> Completed:
        """Run a command in a node."""

    def popen(self, node: str, argv: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """Start a command in a node and leave it running."""

    def log(self, node: str, name: str) -> Path:
        """The machine's file for what a daemon of a node says."""


def waves(steps: Sequence[Step]) -> list[tuple[str, ...]]:
    """The steps by the earliest moment at which they can start; ValueError for a cycle or a step that is not there."""
    names = {step.name for step in steps}
    done: set[str] = set()
    order: list[tuple[str, ...]] = []
    for step in steps:
        if unknown := set(step.after) - names:
            raise ValueError(f'step "{step.name}" comes after "{min(unknown)}", which is not a step')
    while len(done) < len(steps):
        ready = tuple(step.name for step in steps if step.name not in done and set(step.after) <= done)
        if not ready:
            raise ValueError(f"steps wait for each other: {', '.join(sorted(names - done))}")
        order.append(ready)
        done.update(ready)
    return order


class Runner:
    """Carries out steps on nodes. `tail` gives the end of a node's log files for an error."""

    def __init__(self, nodes: Nodes, tail: Callable[[str], str]) -> None:
        self._nodes, self._tail = nodes, tail
        self._stop = threading.Event()

    def carry_out(self, steps: Sequence[Step], said: Callable[[str], None]) -> None:
        """Run every step as soon as those it comes after are done; `said` hears of each as it starts.

        Raises StepFailed for the first that fails; the others are given up then, and on any other exception.
        """
        waves(steps)
        waiting = {step.name: step for step in steps}
        done: set[str] = set()
        running: dict[Future[None], str] = {}
        left = {step.name: len(_names(step)) for step in steps}
        pool = ThreadPoolExecutor(min(64, max(4, sum(left.values()))))
        try:
            while waiting or running:
                for step in [s for s in waiting.values() if set(s.after) <= done]:
                    said(step.name)
                    del waiting[step.name]
                    until = time.monotonic() + step.timeout_s
                    for node in _names(step):
                        running[pool.submit(self._on_node, step, node, until)] = step.name
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    name = running.pop(future)
                    future.result()
                    left[name] -= 1
                done.update(name for name, count in left.items() if count == 0 and name not in waiting)
        finally:
            self._stop.set()
            # Not waiting: what still runs in the nodes ends with them.
            pool.shutdown(wait=False, cancel_futures=True)

    def _on_node(self, step: Step, node: str, until: float) -> None:
        """A step on one node: its commands, then polling until it is ready."""
        daemon: subprocess.Popen[bytes] | None = None
        log = self._nodes.log(node, step.name)
        commands = step.runs.get(node, ())
        try:
            if step.daemon and commands:
                daemon = self._nodes.popen(node, commands[0].argv, log)
            else:
                for command in commands:
                    _check(command, self._nodes.execute(node, command.argv, timeout_s=_left(until)))
            if node in step.ready:
                self._poll(step.ready[node], node, until, daemon, commands)
        except CommandFailed as error:
            said = last_lines(log.read_text(errors="replace"), 10) if log.exists() else ""
            raise StepFailed(step.name, node, str(error), "\n".join(filter(None, (said, self._tail(node))))) from error

    def _poll(
        self,
        ready: Command,
        node: str,
        until: float,
        daemon: subprocess.Popen[bytes] | None,
        commands: Sequence[Command],
    ) -> None:
        """Ask again and again whether a step is ready; CommandFailed at the deadline, or when its daemon has ended."""
        last = ""
        while time.monotonic() < until and not self._stop.is_set():
            if daemon is not None and daemon.poll() is not None:
                raise CommandFailed(commands[0].argv, daemon.returncode, "", "the daemon ended", node)
            try:
                _check(ready, self._nodes.execute(node, ready.argv, timeout_s=_left(until)))
                return
            except CommandFailed as error:
                last = f"; last: {error}"
            self._stop.wait(POLL_S)
        raise CommandFailed(ready.argv, None, "", f"not ready in time{last}", node)


def _names(step: Step) -> list[str]:
    """The nodes that a step concerns."""
    return list(dict.fromkeys([*step.runs, *step.ready]))


def _left(until: float) -> float:
    """Seconds to a deadline, at least one: a command that was started may end."""
    return max(1.0, until - time.monotonic())


def _check(command: Command, done: Completed) -> None:
    done.check()
    if command.expect is not None and not re.search(command.expect, done.stdout):
        raise CommandFailed(
            done.argv, done.exit_status, done.stdout, f"no /{command.expect}/ in: {done.stdout.strip()}", done.where
        )


def last_lines(text: str, count: int) -> str:
    """The last lines of a text."""
    return "\n".join(text.splitlines()[-count:])


def as_text(step: Step) -> list[str]:
    """What a step does, for people: a line per node and command."""
    lines = []
    for node in _names(step):
        lines += [
            f"{node}: {shlex.join(command.argv)}{' &' if step.daemon else ''}" for command in step.runs.get(node, ())
        ]
        if node in step.ready:
            ready = step.ready[node]
            expect = f" shows /{ready.expect}/" if ready.expect else " succeeds"
            lines.append(f"{node}: wait until {shlex.join(ready.argv)}{expect}")
    return lines
