"""`pliant exec`."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import click

from pliant.cli.common import chosen, need_root


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
    output begins with its node's name. The exit status is the worst of them.
    """
    from pliant.composition import Node
    from pliant.errors import UserError
    from pliant.machine import cgroup
    from pliant.machine.deployment import Deployment
    from pliant.machine.process import CommandFailed
    from pliant.nodeset import select

    # Options of COMMAND are its own, so click leaves all that follows NODES alone, the dashes too.
    argv = argv[1:] if argv[0] == "--" else argv
    if not argv:
        raise click.UsageError("there is no COMMAND after --")
    need_root("running a command in nodes")
    loaded = Deployment.load(chosen(deployment), cgroup.probe())
    if loaded is None:
        raise UserError("the deployment is not up (yet); see `pliant ps`")
    known = [Node(n.name, n.name.rstrip("0123456789"), 0, n.address) for n in loaded.nodes.values()]
    try:
        names = [node.name for node in select(nodes, known)]
    except ValueError as error:
        raise UserError(str(error)) from error
    label = len(names) > 1

    def one(node: str) -> int:
        try:
            done = loaded.execute(node, argv, timeout_s=timeout_s)
        except CommandFailed as error:
            print(f"{node}: {error}" if label else str(error), file=sys.stderr)
            return 124 if error.exit_status is None else error.exit_status
        for text, out in ((done.stdout, sys.stdout), (done.stderr, sys.stderr)):
            out.write("".join(f"{node}: {line}\n" for line in text.splitlines()) if label else text)
        # As a shell says that a signal ended a command; a negative number would not be the worst of them.
        return done.exit_status if done.exit_status >= 0 else 128 - done.exit_status

    with ThreadPoolExecutor(min(32, len(names))) as pool:
        return max(pool.map(one, names))
