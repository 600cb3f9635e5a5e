"""`pliant logs`."""

from __future__ import annotations

import sys

import click

from pliant.cli.common import usable


@click.command(short_help="Show what the daemons of nodes say.")
@click.argument("nodes", default="all")
@click.option("--id", "deployment", help="Which deployment, if several are up.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option(
    "-n", "--lines", type=click.IntRange(min=0), default=10, show_default=True, help="Last lines of each file."
)
def command(nodes: str, deployment: str | None, follow: bool, lines: int) -> None:
    """Show the log files of NODES (names, ranges, roles; all of them if left out): the last lines of each.

    Those are what its daemons print, and the files that its role names. A line that is another file's than the one
    before has a heading above it.
    """
    from pliant.campaign.workplace import opened
    from pliant.cluster.logs import Logs

    place = opened(usable(deployment, "reading the logs of nodes"))
    logs = Logs(place.cluster, place.select(nodes), lines, _Printer().say)
    logs.show()
    if follow:
        logs.follow()


class _Printer:
    """Prints lines under a heading for each run of lines of one file."""

    def __init__(self) -> None:
        self._last = ("", "")

    def say(self, node: str, file: str, line: str) -> None:
        if (node, file) != self._last:
            print(f"{'' if self._last == ('', '') else chr(10)}--- {node}: {file}")
            self._last = (node, file)
        print(line)
        sys.stdout.flush()
