"""`pliant exec`."""

from __future__ import annotations

import sys

import click

from pliant.cli.common import usable

_TIMED_OUT = 124
"""Exit status that says so, as that of timeout(1)."""


@click.command(
    short_help="Run a command in nodes.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--id", "deployment", help="Which deployment, if several are up.")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1),
    default=3600.0,
    show_default=True,
    help="Seconds for the command.",
)
@click.argument("nodes")
@click.argument("argv", nargs=-1, required=True, metavar="-- COMMAND...")
def command(deployment: str | None, timeout_s: float, nodes: str, argv: tuple[str, ...]) -> int:
    """Run COMMAND in NODES, in parallel, as root.

    NODES are names, ranges, roles or `all`: `client[1-4]`, `server`, `client1,server2`. With several nodes each line of
    output begins with its node's name; one node alone gets this command's input and output. The exit status is the
    worst of them. Ctrl-C ends COMMAND in all nodes.
    """
    from pliant.campaign.workplace import nodes_of, selected
    from pliant.errors import UserError
    from pliant.platforms import opening
    from pliant.platforms.sessions import attached, stream

    # Options of COMMAND are its own, so click leaves all that follows NODES alone, the dashes too.
    argv = argv[1:] if argv[0] == "--" else argv
    if not argv:
        raise click.UsageError("there is no COMMAND after --")
    loaded = opening.opened(usable(deployment, "running a command in nodes"))
    if loaded is None:
        raise UserError("the deployment is not up (yet); see `pliant ps`")
    names = selected(nodes, nodes_of(loaded))
    if len(names) == 1:
        statuses = {names[0]: attached(loaded, names[0], argv, timeout_s=timeout_s)}
    else:
        statuses = stream(loaded, names, argv, _say, timeout_s=timeout_s)
    for node, status in statuses.items():
        if status is None:
            print(f"{node}: did not end in time ({timeout_s:g} s), and was ended", file=sys.stderr)
    return max(map(_as_a_shell, statuses.values()))


def _say(node: str, line: bytes, error: bool) -> None:
    """A line of one node, with its name before it."""
    out = (sys.stderr if error else sys.stdout).buffer
    out.write(node.encode() + b": " + line + b"\n")
    out.flush()


def _as_a_shell(status: int | None) -> int:
    """An exit status as a shell says that a signal ended a command; a negative number would not be the worst."""
    if status is None:
        return _TIMED_OUT
    return status if status >= 0 else 128 - status
