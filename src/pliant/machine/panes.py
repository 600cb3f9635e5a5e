"""A terminal with a pane for each of several nodes, by tmux(1); it goes on when nobody looks.

Each deployment has a tmux server of its own, whose socket lies with the deployment's files. Server and shells carry the
deployment's mark, so that they go with it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from .process import environment, run

PANES = 16
"""Panes in one window; more nodes get more windows."""
SHELL = ("/bin/bash", "-l")


class Nodes(Protocol):
    """What is needed of a deployment."""

    id: str

    @property
    def directory(self) -> Path:
        """Where its files are."""

    @property
    def enter(self) -> str:
        """The program that runs a command in a node."""


def session(deployment: Nodes, name: str, nodes: Sequence[str], size: tuple[int, int], term: str) -> list[str]:
    """Make sure that the session of that name has a pane with a shell for each of the nodes, `size` columns and lines.

    Panes that are there stay as they are, with what runs in them. Returns the command that attaches a terminal to it.
    """
    tmux = ["tmux", "-S", str(deployment.directory / "tmux")]
    env = environment(deployment.id, {"TERM": term})

    def call(*argv: str) -> str:
        return run([*tmux, *argv], timeout_s=30, env=env).check().stdout

    there = run([*tmux, "has-session", "-t", f"={name}"], timeout_s=30, env=env).exit_status == 0
    known: dict[str, str] = {}
    if there:
        shown = call("list-panes", "-s", "-t", f"={name}", "-F", "#{@node} #{window_id}")
        known = dict(line.rsplit(" ", 1) for line in shown.splitlines())
    sizes = ("-x", str(size[0]), "-y", str(size[1]))
    windows = list(dict.fromkeys(known.values()))
    for node in [node for node in nodes if node not in known]:
        shell = shlex.join([deployment.enter, node, *SHELL])  # tmux takes words for a shell
        room = next((window for window in windows if list(known.values()).count(window) < PANES), None)
        if not there:
            made = call("new-session", "-d", "-s", name, *sizes, "-P", "-F", "#{pane_id} #{window_id}", shell)
            for option, value in _OPTIONS.items():
                call("set-option", "-t", f"={name}:", option, value)
            there = True
        elif room is None:
            made = call("new-window", "-d", "-t", f"={name}:", "-P", "-F", "#{pane_id} #{window_id}", shell)
        else:
            made = call("split-window", "-d", "-t", room, "-P", "-F", "#{pane_id} #{window_id}", shell)
        pane, window = made.split()
        call("set-option", "-p", "-t", pane, "@node", node)
        call("set-option", "-w", "-t", window, "pane-border-status", "top")
        call("set-option", "-w", "-t", window, "pane-border-format", " #{@node} ")
        call("select-layout", "-t", window, "tiled")
        known[node] = window
        windows = list(dict.fromkeys([*windows, window]))
    return [*tmux, "attach-session", "-t", f"={name}"]


_OPTIONS: Mapping[str, str] = {"mouse": "on", "status-left": " #{session_name}  ", "status-left-length": "60"}


def terminal(outside: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a program that shows a session: the user's, but not inside another tmux."""
    return {name: value for name, value in outside.items() if name not in ("TMUX", "TMUX_PANE")}
