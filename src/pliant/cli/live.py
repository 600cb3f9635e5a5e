"""A run told in a terminal: what goes on now, how far it is, and the verdicts as they firm up."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live as Region
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from pliant.analysis.words import claimed, mark, metric_title
from pliant.cli.progress import Lines, about
from pliant.cli.traffic import Traffic
from pliant.statistics.verdict import RatioVerdict, Verdict
from pliant.trial import Trial

_STYLES = {"holds": "green", "breaks": "red", "undecided": "dim"}
_A_SECOND = 2
"""How often it is drawn again: the machine is being measured meanwhile, and each time costs some milliseconds of it."""


class Live(Lines):
    """Lines that scroll by, and below them a few that are kept up to date until the end."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.console = console or Console(file=sys.stderr, highlight=False)
        self._spinner = Spinner("dots")
        self._what, self._since = "check", time.monotonic()
        self._traffic: Traffic | None = None
        # What is printed on standard output goes there, not into the region on standard error.
        self._region = Region(
            console=self.console,
            get_renderable=self._view,
            refresh_per_second=_A_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._region.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._region.stop()

    def say(self, text: str) -> None:
        """One line, above what is kept up to date."""
        self.console.print(text, markup=False, soft_wrap=True)

    def doing(self, what: str) -> None:
        """See Listener."""
        self._what, self._since = what, time.monotonic()

    def begins(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """See Listener."""
        super().begins(trial, number, total, left_s)
        self._traffic = Traffic(self.directory / trial.directory / "telemetry.txt")

    def ended(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """See Listener."""
        self._traffic = None
        super().ended(trial, number, total, left_s)

    def _view(self) -> RenderableType:
        """What is kept up to date: no more lines than there is room for."""
        parts: list[RenderableType] = [self._now()]
        if self.total:
            parts.append(self._far())
        room = self.console.height - len(parts) - 3
        if self.verdicts and room > 2:
            parts.append(_so_far(self.verdicts[: room - 1], len(self.verdicts), self.several))
        return Group(*parts)

    def _now(self) -> Table:
        """What goes on, for how long already, and what hosts move meanwhile."""
        trial, text = self.trial, Text()
        if trial is not None:
            text.append(f"{self.which(trial)} at ratio {trial.ratio:g}, repetition {trial.repetition}: ")
        text.append(f"{self._what}, {time.monotonic() - self._since:.0f} s")
        if trial is not None and self.overdue_s is not None:
            text.append(f", longer than the {about(self.overdue_s)} expected", style="yellow")
        moved = "" if self._traffic is None else self._traffic.words
        if moved:
            text.append(f"  {moved}", style="cyan")
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_row(self._spinner, text)
        return line

    def _far(self) -> Table:
        """How much is over, and how long the rest will take."""
        over = self.number if self.trial is None else self.number - 1
        left_s = 0.0 if self.until is None else self.until - time.monotonic()
        most = "at most about" if self.overdue_s is not None else "about"
        left = f"{most} {about(left_s)} left" if left_s > 0 else ""
        line = Table.grid(padding=(0, 1, 0, 0))
        bar = ProgressBar(self.total, over, width=min(30, self.console.width // 4))
        line.add_row(bar, Text(f"{over} of {self.total} trials"), Text(left, "cyan"))
        return line


def _so_far(verdicts: tuple[Verdict, ...], count: int, several: bool) -> Table:
    """For each metric its state at each folded ratio, as far as trials tell."""
    ratios = sorted({row.ratio for verdict in verdicts for row in verdict.folded})
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    more = f", {count - len(verdicts)} more" if count > len(verdicts) else ""
    table.add_column(f"verdicts so far{more}", no_wrap=True)
    for ratio in ratios:
        table.add_column(f"{ratio:.3g}", justify="center")
    for verdict in verdicts:
        name = f"{verdict.filesystem} " if several else ""
        found = {row.ratio: row for row in verdict.folded}
        cells = [_state(found[ratio]) if ratio in found else Text() for ratio in ratios]
        table.add_row(Text(f"{name}{verdict.workload} {metric_title(verdict.metric)}"), *cells)
    return table


def _state(row: RatioVerdict) -> Text:
    return Text(mark(row), _STYLES[row.state] if claimed(row) else "dim")
