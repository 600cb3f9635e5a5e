"""A run told to a program: one JSON object a line on standard output. docs/report.md lists the events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from pliant.cli.progress import Told
from pliant.results.run_info import RunInfo
from pliant.trial import Trial

_OF_A_STATE = ("ratio", "state", "loss", "loss_low", "loss_high", "at_least", "trials")


class Events(Told):
    """Every event as a line; with `quiet` only the last one, the verdict."""

    def __init__(self, *, quiet: bool = False) -> None:
        super().__init__()
        self.quiet = quiet

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            state = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self._emit("stopped", state=state, reason=str(error))

    def starts(self, directory: Path, infos: Sequence[RunInfo], trials: Sequence[Trial]) -> None:
        """See Listener."""
        super().starts(directory, infos, trials)
        names = [info.name for info in infos]
        self._emit("run", directory=str(directory), study=infos[0].study, filesystems=names, trials=len(trials))

    def doing(self, what: str) -> None:
        """See Listener."""
        self._emit("doing", what=what, trial=self.trial and self.trial.number)

    def begins(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """See Listener."""
        super().begins(trial, number, total, left_s)
        self._emit("trial-begins", **self._about(trial), left_s=round(left_s, 1))

    def lasts(self, trial: Trial, lasted_s: float, expected_s: float | None, left_s: float) -> None:
        """See Listener."""
        known = self.overdue_s
        super().lasts(trial, lasted_s, expected_s, left_s)
        if known is None and expected_s is not None:
            times = {"lasted_s": lasted_s, "expected_s": expected_s, "left_s": left_s}
            self._emit("trial-overdue", **self._about(trial), **{name: round(s, 1) for name, s in times.items()})

    def ended(self, trial: Trial, number: int, total: int, left_s: float) -> None:
        """See Listener."""
        super().ended(trial, number, total, left_s)
        self._emit(
            "trial-ended",
            **self._about(trial),
            state=trial.state,
            reason=trial.reason,
            duration_s=round(trial.duration_s, 3),
            metrics=dict(trial.metrics),
            bounds=dict(trial.bounds),
            reused=trial.reused,
            left_s=round(left_s, 1),
        )
        for verdict, row in self.firmed():
            self._emit(
                "state",
                filesystem=verdict.filesystem,
                workload=verdict.workload,
                metric=verdict.metric.name,
                **{name: getattr(row, name) for name in _OF_A_STATE},
            )

    def note(self, text: str) -> None:
        """See Listener."""
        self._emit("note", text=text)

    def _about(self, trial: Trial) -> dict[str, Any]:
        names = ("workload", "ratio", "hosts", "repetition", "attempt", "directory")
        place = {"trial": trial.number, "number": self.number, "total": self.total}
        return place | {"filesystem": trial.filesystem} | {name: getattr(trial, name) for name in names}

    def _emit(self, event: str, **content: Any) -> None:
        if not self.quiet:
            print(_line(event, content), flush=True)


def last(event: str, document: Mapping[str, Any]) -> None:
    """What comes after the end: all that verdict.json has, or what compares workflows."""
    print(_line(event, document), flush=True)


def _line(event: str, content: Mapping[str, Any]) -> str:
    """A finite number is what JSON has: what is not one becomes null."""
    head = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
    return json.dumps(_finite(head | dict(content)), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
