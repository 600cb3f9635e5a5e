"""The command `pliant`: one module per command, imported when the command is called."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import FrameType

import click

COMMANDS = {
    "init": "Write a study to begin with.",
    "check": "Check a study file and show what it would do; touches nothing.",
    "run": "Run a study and judge it.",
    "status": "Show how far a run is, also while it goes on.",
    "report": "Judge a run again and write its report.",
    "predict": "Predict the folding curve of a cluster from small runs.",
    "compare": "Compare runs: file systems, platforms, dates.",
    "trials": "Write all trials of a run as a table.",
    "verify": "Say whether what was measured is as it was written.",
    "archive": "Write a run as one file, for somebody else.",
    "unpack": "Make a run of what `pliant archive` wrote.",
    "gc": "Remove from the store what no run needs.",
    "up": "Deploy a study's cluster and leave it up.",
    "ps": "Show what is up on this machine, or on others.",
    "exec": "Run a command in nodes.",
    "connect": "Open a shell in a node, or in a pane for each of several.",
    "logs": "Show what the daemons of nodes say.",
    "driver": "Run a test script against a cluster.",
    "refold": "Change the folding ratio of a cluster that is up.",
    "reset": "Return a cluster to what it was after its deployment.",
    "down": "Remove what is up, or what a crash left.",
    "conform": "See what a file system keeps of POSIX, folded and unfolded.",
    "export": "Write a study's cluster as a project of another system.",
    "schema": "Print the study file's JSON Schema, for editors.",
    "doctor": "Say what this machine, or others, can do, and what to install.",
}
"""Command -> one line for `--help`, so that it is shown without importing any of them."""


class _Lazy(click.Group):
    """Commands by name, each imported only when it is called: `pliant --help` takes a fraction of a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"pliant.cli.{cmd_name}_").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


_EPILOG = """\b
  pliant doctor                       what is missing on this machine?
  pliant check studies/quickstart.toml
  pliant run studies/quickstart.toml  a verdict in some minutes

Exit status: 0 done, 1 failed, 2 a mistake in what was asked, 130 interrupted."""


@click.group(
    cls=_Lazy, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(package_name="pliant", message="%(prog)s %(version)s")
def cli() -> None:
    """How far does a distributed file system fold before its performance breaks?

    pliant deploys one on emulated hosts of this machine, packs its nodes on fewer and fewer of them, measures with IOR
    and mdtest, and says up to which folding ratio the loss stays tolerable.
    """
    if os.environ.get("PLIANT_STATE"):
        from pliant.errors import UserError
        from pliant.platforms.here import unusable

        if why := unusable():
            raise UserError(why)


class Interrupted(KeyboardInterrupt):
    """SIGTERM or SIGHUP: like Ctrl-C, everything is removed and what was measured is kept."""


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """End what goes on. Those that come after the first one come while all is removed, and change nothing: a second
    Ctrl-C between two steps of a removal would leave the rest of it."""
    for each in _SIGNALS:
        signal.signal(each, lambda number, frame: None)  # SIG_IGN would be handed down to the programs that remove it
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise Interrupted(signal.Signals(number).name)


def main() -> None:
    """Entry point: errors become one line and an exit status."""
    from pliant.errors import PliantError, UserError

    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        status = cli(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except (click.exceptions.Abort, KeyboardInterrupt) as error:  # click makes the first of the second
        print("interrupted", file=sys.stderr)
        _tell_notes(error)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read the output has seen enough; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except UserError as error:
        print(error, file=sys.stderr)
        _tell_notes(error)
        sys.exit(2)
    except PliantError as error:
        print(f"failed: {error}", file=sys.stderr)
        _tell_notes(error)
        if log := getattr(error, "log", ""):
            print(log, file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        machine_error = _of_the_machine(error)
        if machine_error is None:
            raise
        print(f"failed: {machine_error}", file=sys.stderr)
        _tell_notes(error)
        sys.exit(1)


def _tell_notes(error: BaseException) -> None:
    """Say what else is to be known: what could not be removed, say. Click has made another of a KeyboardInterrupt."""
    chain = (error, error.__cause__, error.__context__)
    for note in dict.fromkeys(note for each in chain for note in getattr(each, "__notes__", ())):
        print(note, file=sys.stderr)


def _of_the_machine(error: Exception) -> str | None:
    """What to say of an error of the machine layer, which does not know pliant's own; None for a fault of ours."""
    from pliant.platforms.interface import CgroupError, CommandFailed, PowerError, TeardownError

    return str(error) if isinstance(error, (CgroupError, CommandFailed, PowerError, TeardownError, OSError)) else None
