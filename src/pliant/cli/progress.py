"""How a run is told while it goes on: what all ways of telling share, and plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from pliant.analysis.conclusions import judged, plain
from pliant.analysis.words import at_best, bounds, loss, metric_title
from pliant.composition.faults import Outcome
from pliant.results.run_info import RunInfo
from pliant.statistics.verdict import RatioVerdict, Verdict
from pliant.trial import Trial
from pliant.units import format_duration


def about(seconds: float) -> str:
    """A duration without false precision."""
    return format_duration(max(1, round(seconds)) if seconds < 60 else round(seconds / 10) * 10)


class Firm(NamedTuple):
    """A state that was not there before the last trial: it holds or breaks now, or no longer does."""

    verdict: Verdict
    row: RatioVerdict

    @property
    def sentence(self) -> str:
        """In words, without a full stop."""
        what = f"{self.verdict.workload} {metric_title(self.verdict.metric)} at ratio {self.row.ratio:.3g}"
        if self.row.state == "undecided":
            return f"so far: {what} is undecided again"
        ends = bounds(self.row.loss_low, self.row.loss_high)
        return f"so far: {what} {self.row.state}: loss {loss(self.row)} {ends}".rstrip()


class Told:
    """A `Listener` that says nothing: what is known of a run as it goes on. A context manager around the run."""

    def __init__(self) -> None:
        self.directory = Path()
        self.infos: Sequence[RunInfo] = ()
        self.trials: list[Trial] = []
        self.verdicts: tuple[Verdict, ...] = ()
        self.trial: Trial | None = None
        self.number, self.total = 0, 0
        self.until: float | None = None
        """When the run is expected to end, on the monotonic clock."""
        self.overdue_s: float | None = None
        """What the trial under way was expected to take, if it takes much longer."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left to be undone."""

    @property
    def several(self) -> bool:
        """Whether file systems have to be told apart."""
        return len(self.infos) > 1

    def starts(self, directory: Path, infos: Sequence[RunInfo], trials: Sequence[Trial]) -> None:
        """See Listener."""
        self.directory, self.infos, self.trials = directory, infos, list(trials)
        self.verdicts = self._judged()

    def doing(self, what: str) -> None:
        """See Listener."""

    def begins(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """See Listener."""
        self.trial, self.number, self.total, self.until = trial, number, total, time.monotonic() + left_s
        self.overdue_s = None

    def lasts(self, trial: Trial, lasted_s: float, expected_s: float | None, left_s: float) -> None:
        """See Listener."""
        self.until, self.overdue_s = time.monotonic() + left_s, expected_s

    def ended(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """See Listener."""
        self.trials.append(trial)
        self.trial, self.number, self.total, self.until = None, number, total, time.monotonic() + left_s

    def note(self, text: str) -> None:
        """See Listener."""

    def firmed(self) -> list[Firm]:
        """Judge again, and say which states are new."""
        before = {_key(verdict, row): row.state for verdict, row in _states(self.verdicts)}
        self.verdicts = self._judged()
        return [
            Firm(verdict, row)
            for verdict, row in _states(self.verdicts)
            if row.state != before.get(_key(verdict, row), "undecided")
        ]

    def which(self, trial: Trial) -> str:
        """A trial's workload, and its file system if there are several."""
        return f"{trial.workload} on {trial.filesystem}" if self.several else trial.workload

    def at_best(self, trial: Trial) -> str:
        """How good each metric was at best that a trial was stopped in; "" if there is none."""
        metrics = [each for info in self.infos if info.has(trial) for each in info.metrics.get(trial.workload, ())]
        return ", ".join(
            f"{metric_title(each)} {at_best(trial.bounds[each.name], each, 4)}"
            for each in metrics
            if each.name in trial.bounds
        )

    def _judged(self) -> tuple[Verdict, ...]:
        found: tuple[Verdict, ...] = ()
        for info in self.infos:
            found += plain(info, judged(info, [trial for trial in self.trials if info.has(trial)]))
        return found


def _states(verdicts: Sequence[Verdict]) -> Iterator[tuple[Verdict, RatioVerdict]]:
    return ((verdict, row) for verdict in verdicts for row in verdict.folded)


def _key(verdict: Verdict, row: RatioVerdict) -> tuple[str, str, str, float]:
    return verdict.filesystem, verdict.workload, verdict.metric.name, row.ratio


class Lines(Told):
    """Plain lines on standard error: one when a trial ends, one for each state that it made firm."""

    def say(self, text: str) -> None:
        """One line."""
        print(text, file=sys.stderr, flush=True)

    def doing(self, what: str) -> None:
        """See Listener."""
        if self.trial is None:
            self.say(what)

    def lasts(self, trial: Trial, lasted_s: float, expected_s: float | None, left_s: float) -> None:
        """See Listener."""
        known = self.overdue_s
        super().lasts(trial, lasted_s, expected_s, left_s)
        if known is None and expected_s is not None:
            takes = f"{self.which(trial)} at ratio {trial.ratio:g} takes longer than the {about(expected_s)} expected"
            self.say(f"{takes}; at most about {about(left_s)} left")

    def ended(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """See Listener."""
        super().ended(trial, number, total, left_s)
        left = f"; about {about(left_s)} left" if left_s > 0 else ""
        self.say(f"[{number}/{total}] {self.outcome(trial)}{left}")
        for firm in self.firmed():
            self.say(f"  {firm.sentence}")

    def note(self, text: str) -> None:
        """See Listener."""
        self.say(text)

    def outcome(self, trial: Trial) -> str:
        """What a trial was and what came of it."""
        if trial.counted:
            said = ", ".join([f"{name.replace('_', ' ')} {value:.4g}" for name, value in trial.metrics.items()])
            if trial.state == "censored":
                said = "; ".join(filter(None, (f"stopped: {trial.reason}", said, self.at_best(trial))))
            elif trial.reason:
                said += f"; {trial.reason}"
        else:
            said = f"{trial.state}: {trial.reason}"
        if trial.fault:
            said += f"; {Outcome.from_json(trial.fault).words}"
        again = f" (attempt {trial.attempt})" if trial.attempt > 1 else ""
        reused = ", from the store" if trial.reused else ""
        return f"{self.which(trial)} at ratio {trial.ratio:g}{again}{reused}, {trial.duration_s:.1f} s: {said}"
