"""What hears how a run goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pliant.results.run_info import RunInfo
from pliant.trial import Trial


class Listener(Protocol):
    """Hears how a run goes on. Times are seconds; `left_s` is an estimate."""

    def starts(self, directory: Path, infos: Sequence[RunInfo], trials: Sequence[Trial]) -> None:
        """The run begins or goes on: its results are in `directory`, these trials have ended before."""

    def doing(self, what: str) -> None:
        """What is going on now, within a deployment or a trial."""

    def begins(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """A trial begins, the `number`th of `total`, which may be an estimate too."""

    def lasts(self, trial: Trial, lasted_s: float, expected_s: float | None, left_s: float) -> None:
        """A trial that has begun goes on, as is told every second. `expected_s` is what it was expected to take, if it
        takes so much longer that nobody knows when it ends: `left_s` is then until it is stopped, and what follows."""

    def ended(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """A trial has ended and is stored."""

    def note(self, text: str) -> None:
        """Something the user should know."""
