"""`pliant connect`."""

from __future__ import annotations

import os
import shutil
import sys

import click

from pliant.cli.common import usable


@click.command(short_help="Open a shell in a node, or in a pane for each of several.")
@click.argument("nodes", default="all")
@click.option("--id", "deployment", help="Which deployment, if several are up.")
@click.option("-d", "--detach", is_flag=True, help="Make the terminal of several nodes, but do not show it yet.")
def command(nodes: str, deployment: str | None, detach: bool) -> None:
    """Open a shell in NODES (names, ranges, roles; all of them if left out).

    One node: its shell takes over this terminal. Several: tmux shows a pane for each, with its name; detached
    (`C-b d`) it goes on, and the same NODES show it again. `pliant down` ends it.
    """
    from pliant.campaign.workplace import nodes_of, selected
    from pliant.composition.nodeset import fold
    from pliant.errors import UserError
    from pliant.platforms import opening, sessions
    from pliant.platforms.interface import environment

    loaded = opening.opened(usable(deployment, "opening a shell in a node"))
    if loaded is None:
        raise UserError("the deployment is not up (yet); see `pliant ps`")
    names = selected(nodes, nodes_of(loaded))
    for name in names:
        if name in loaded.down:
            raise UserError(f"{name} is down; start it first")
    if not detach and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UserError("there is no terminal here to show a shell in; use `pliant exec`, or --detach")
    if len(names) == 1 and not detach:
        env = environment(loaded.id, {"PLIANT_NODE": names[0], "TERM": os.environ.get("TERM", "dumb")})
        env = {**os.environ, **env} if not loaded.refolds_live else env  # ssh is the user's own
        os.execve(loaded.enter, [loaded.enter, names[0], *sessions.SHELL], env)
    if shutil.which("tmux") is None:
        raise UserError("several nodes at once need tmux; install it with: apt-get install tmux")
    columns, lines = shutil.get_terminal_size((160, 48))
    label = fold(names).translate(str.maketrans("[],", "()+"))
    shown = sessions.session(loaded, label, names, (columns, lines), os.environ.get("TERM", "screen"))
    if detach:
        print(f"{label}: made; the same command without --detach shows it")
    else:
        os.execvpe(shown[0], shown, sessions.terminal())
