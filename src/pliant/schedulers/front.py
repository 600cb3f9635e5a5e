"""Where a scheduler's commands are run: on this machine, or on a front end by the user's own OpenSSH.

Commands are lists of arguments; only ssh's other side, which has a shell, is given text, quoted for it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pliant.platforms.interface import NOT_FOUND, CommandFailed, Completed, run
from pliant.platforms.own_ssh import asking_nobody, given_to_ssh
from pliant.schedulers.interface import SchedulerError

CONNECT_S = 10.0
"""How long a front end is given to take the connection."""
COMMAND_S = 45.0
"""How long a command may take: schedulers that are busy make their commands wait, and give up before that."""
_BEGUN = "pliant-front-end-has-begun"
"""What is printed before the command runs: what a login has printed until then is none of its output, and without it
nothing has run, whatever ssh's exit status is."""
# A connection of the user's that is there is used. One that would stay in the background would hold the output.
_MORE = {"ControlMaster": "no"}


class NoAnswerError(SchedulerError):
    """The front end, or the scheduler behind it, does not answer; it may later."""


class LackingError(SchedulerError):
    """A program is not there."""


@dataclass(frozen=True)
class Front:
    """Where commands are run: `host` as ssh knows it, "" for this machine; `config` is for ssh -F.

    >>> Front().command(["squeue", "--me"])
    ['squeue', '--me']
    """

    host: str = ""
    config: Path | None = None

    def command(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> list[str]:
        """What is called here to have a command run there, with some variables in its environment."""
        words = [*(["env", *(f"{name}={value}" for name, value in env.items())] if env else []), *argv]
        if not self.host:
            return words
        there = shlex.join(["sh", "-c", f'echo {_BEGUN}; exec "$@"', "pliant", *words])
        return [*asking_nobody(self.config, (), connect_s=CONNECT_S, more=_MORE), "--", self.host, there]

    def typed(self, argv: Sequence[str]) -> list[str]:
        """What a user types here to have a command run there."""
        return ["ssh", *given_to_ssh(self.config, ()), self.host, *argv] if self.host else list(argv)

    def run(
        self, argv: Sequence[str], *, timeout_s: float = COMMAND_S, env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a command to its end, whatever its exit status is.

        Raises NoAnswerError if the front end cannot be reached or the command does not end in time, LackingError if the
        program is not there.
        """
        deadline_s = timeout_s + (CONNECT_S if self.host else 0.0)
        try:
            # The user's environment says where the programs and their configuration are, and which ssh agent there is.
            done = run(self.command(argv, env), timeout_s=deadline_s, env=os.environ, where=self.host, shown=argv)
        except CommandFailed as error:
            if error.exit_status is None:
                raise NoAnswerError(f"{self._place()}{argv[0]} did not answer in {deadline_s:.0f} s") from None
            raise LackingError(self._lacking("ssh" if self.host else argv[0])) from None
        return self._without_login(done)

    def _without_login(self, done: Completed) -> Completed:
        """What the command itself has printed."""
        out = done.stdout
        if self.host:
            _, begun, out = out.partition(f"{_BEGUN}\n")
            if not begun:
                raise NoAnswerError(
                    f"the front end {self.host} cannot be reached: {_complaint(self.host, done.stderr)}"
                )
        if done.exit_status == NOT_FOUND:
            raise LackingError(self._lacking(done.argv[0]))
        return Completed(done.argv, done.exit_status, out, done.stderr, done.where)

    def _place(self) -> str:
        return f"{self.host}: " if self.host else ""

    def _lacking(self, program: str) -> str:
        if program == "ssh":
            return "ssh is not there: apt-get install openssh-client"
        if self.host:
            return (
                f"{self.host}: {program} is not there: a command by ssh sees the PATH of `ssh {self.host} env`, "
                "which ~/.bashrc may extend"
            )
        return f"{program} is not there: call pliant on a front end of the cluster, or name one (platform.front)"


def _complaint(host: str, stderr: str) -> str:
    """What ssh says, and what helps."""
    said = last_line(stderr) or "ssh does not say why"
    asks = any(words in said for words in ("Permission denied", "verification failed"))
    return f"{said}; `ssh {host}` has to work without a question" if asks else said


def last_line(text: str) -> str:
    """The last line in which something is said."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
