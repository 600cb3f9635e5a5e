"""The errors pliant raises, by what the caller can do about them."""

from __future__ import annotations


class PliantError(Exception):
    """Root of pliant's errors; its text is one sentence that a user can act on."""


class UserError(PliantError):
    """The user's mistake (bad input, missing program or right): nothing was touched; exit status 2."""


class TrialError(PliantError):
    """One trial failed; the study can go on."""


class FatalError(PliantError):
    """The study cannot go on; what was measured is kept."""
