"""How a run is told: a live line in a terminal, plain lines elsewhere, nothing when asked to be quiet."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from pliant.faults import Outcome
from pliant.trial import Trial
from pliant.units import format_duration


def _about(seconds: float) -> str:
    """A duration without false precision."""
    return format_duration(max(1, round(seconds)) if seconds < 60 else round(seconds / 10) * 10)


class _Left(ProgressColumn):
    """Time left: the last estimate, counted down by the clock."""

    def render(self, task: Task) -> Text:
        until = task.fields.get("until")
        return Text("" if until is None else f"about {_about(max(0.0, until - time.monotonic()))} left", style="cyan")


class Display:
    """A `Listener` for people. Use it as a context manager around the run; `several` file systems are told apart."""

    def __init__(self, *, quiet: bool = False, several: bool = False) -> None:
        self.console = Console(stderr=True, highlight=False)
        self.quiet, self.several = quiet, several
        self.live = self.console.is_terminal and not quiet
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            _Left(),
        )
        self._progress = Progress(*columns, console=self.console, transient=True, disable=not self.live)
        self._task = self._progress.add_task("check", total=1)
        self._trial = ""

    def __enter__(self) -> Self:
        if self.live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def _say(self, text: str) -> None:
        if self.live:
            self._progress.console.print(text, markup=False)
        elif not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def doing(self, what: str) -> None:
        """See Listener."""
        self._progress.update(self._task, description=f"{self._trial}{what}")
        if not self.live and not self._trial:
            self._say(what)

    def begins(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """See Listener."""
        self._trial = f"{self._which(trial)} at ratio {trial.ratio:g}, repetition {trial.repetition}: "
        self._progress.update(self._task, completed=number - 1, total=total, until=time.monotonic() + left_s)

    def ended(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """See Listener."""
        self._progress.update(self._task, completed=number, until=time.monotonic() + left_s)
        again = f" (attempt {trial.attempt})" if trial.attempt > 1 else ""
        if trial.state == "done":
            said = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in trial.metrics.items())
        else:
            said = f"{trial.state}: {trial.reason}"
        if trial.fault:
            said += f"; {Outcome.from_json(trial.fault).words}"
        left = "" if self.live or left_s <= 0 else f"; about {_about(left_s)} left"
        which = f"{self._which(trial)} at ratio {trial.ratio:g}{again}"
        self._say(f"[{number}/{total}] {which}, {trial.duration_s:.1f} s: {said}{left}")
        self._trial = ""

    def _which(self, trial: Trial) -> str:
        return f"{trial.workload} on {trial.filesystem}" if self.several else trial.workload

    def note(self, text: str) -> None:
        """See Listener."""
        self._say(text)
