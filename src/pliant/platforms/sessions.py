"""Commands in several nodes at once, and terminals in them, for people at the machine that has the nodes."""

from __future__ import annotations

from pliant.machine.panes import SHELL, session, terminal
from pliant.machine.streaming import attached, stream

__all__ = ["SHELL", "attached", "session", "stream", "terminal"]
