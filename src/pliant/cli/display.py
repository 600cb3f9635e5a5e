"""Which way a run is told."""

from __future__ import annotations

import sys

from pliant.cli.progress import Lines, Told


def display(*, quiet: bool = False, events: bool = False) -> Told:
    """The way to tell a run that was asked for: nothing, events, a live view in a terminal, else lines."""
    if events:
        from pliant.cli.events import Events

        return Events(quiet=quiet)
    if quiet:
        return Told()
    if sys.stderr.isatty():
        from pliant.cli.live import Live

        return Live()
    return Lines()
