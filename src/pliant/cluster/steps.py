"""Carrying out a composition's steps on nodes: in order, in parallel where the order allows, each with a deadline."""

from __future__ import annotations

import re
import shlex
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Protocol

from pliant.composition.model import Command, Composition, Step, waves
from pliant.errors import PliantError
from pliant.platforms.interface import CommandFailed, Completed, Daemon

POLL_S = 0.1


class StepFailed(PliantError):
    """A step of a deployment that failed on a node; `log` is the end of what its daemon or its files said."""

    def __init__(self, step: str, node: str, reason: str, log: str = "") -> None:
        self.step, self.node, self.reason, self.log = step, node, reason, log
        super().__init__(f'step "{step}" failed on {node}: {reason}')


class Nodes(Protocol):
    """What carrying out steps needs of a cluster."""

    def execute(self, node: str, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Completed:
        """Run a command in a node."""

    def popen(self, node: str, argv: Sequence[str], log: Path) -> Daemon:
        """Start a command in a node and leave it running."""

    def log(self, node: str, name: str) -> Path:
        """The machine's file for what a daemon of a node says."""


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
        left = {step.name: len(step.nodes) for step in steps}
        pool = ThreadPoolExecutor(min(64, max(4, sum(left.values()))))
        try:
            while waiting or running:
                for step in [s for s in waiting.values() if set(s.follows) <= done]:
                    said(step.name)
                    del waiting[step.name]
                    until = time.monotonic() + step.timeout_s
                    for node in step.nodes:
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

    def start(self, composition: Composition, node: str, said: Callable[[str], None]) -> None:
        """Start a node again: its steps that are not `once`, one after the other. Raises StepFailed."""
        for step in composition.again(node):
            said(step.name)
            until = time.monotonic() + step.timeout_s
            for required in map(composition.step, step.requires):
                if required.ready and node not in required.nodes:
                    try:
                        poll(self._nodes, required.ready, until, self._stop)
                    except CommandFailed as error:
                        reason = f'it requires "{required.name}", which is ready on no node: {error}'
                        raise StepFailed(step.name, node, reason) from error
            self._on_node(step, node, until)

    def _on_node(self, step: Step, node: str, until: float) -> None:
        """A step on one node: its commands, then polling until it is ready."""
        daemon: Daemon | None = None
        log = self._nodes.log(node, step.name)
        commands = step.runs.get(node, ())
        try:
            if step.daemon and commands:
                daemon = self._nodes.popen(node, commands[0].argv, log)
            else:
                for command in commands:
                    execute(self._nodes, node, command, _left(until))
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
        daemon: Daemon | None,
        commands: Sequence[Command],
    ) -> None:
        """Ask again and again whether a step is ready; CommandFailed at the deadline, or when its daemon has ended."""

        def ended() -> None:
            if daemon is not None and daemon.poll() is not None:
                raise CommandFailed(commands[0].argv, daemon.returncode, "", "the daemon ended", node)

        poll(self._nodes, {node: ready}, until, self._stop, ended)


def poll(
    nodes: Nodes,
    asked: Mapping[str, Command],
    until: float,
    stop: threading.Event,
    before: Callable[[], None] = lambda: None,
) -> None:
    """Ask nodes in turn until one of them says yes; `before` each round may raise. CommandFailed at the deadline."""
    last = ""
    while time.monotonic() < until and not stop.is_set():
        before()
        for node, command in asked.items():
            try:
                execute(nodes, node, command, _left(until))
                return
            except CommandFailed as error:
                last = f"; last: {error}"
        stop.wait(POLL_S)
    node, command = next(iter(asked.items()))
    raise CommandFailed(command.argv, None, "", f"not ready in time{last}", node)


def execute(nodes: Nodes, node: str, command: Command, timeout_s: float) -> None:
    """Run a command of a composition; CommandFailed unless it succeeds and says what is expected of it."""
    _check(command, nodes.execute(node, command.argv, timeout_s=timeout_s, stdin=command.stdin))


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
    for node in step.nodes:
        commands = step.runs.get(node, ())
        lines += [f"{node}: {in_words(command)}{' &' if step.daemon else ''}" for command in commands]
        if node in step.ready:
            expect = "" if step.ready[node].expect else " succeeds"
            lines.append(f"{node}: wait until {in_words(step.ready[node])}{expect}")
    return lines


def in_words(command: Command) -> str:
    """A command, for people: what it runs, reads, and has to print."""
    reads = f" <<< {shlex.quote(command.stdin)}" if command.stdin else ""
    return f"{shlex.join(command.argv)}{reads}{f' shows /{command.expect}/' if command.expect else ''}"
