"""What became of workloads through faults: the data, the time I/O stood still, the recovery, the metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from pliant.analysis.words import join, metric_title, number, percent, plural
from pliant.composition.faults import Outcome
from pliant.results.run_info import RunInfo
from pliant.trial import Trial
from pliant.workloads.model import Metric


@dataclass(frozen=True)
class Change:
    """The medians of a metric at one ratio: without the fault and through it; None where no trial tells."""

    metric: Metric
    ratio: float
    without: float | None
    through: float | None

    @property
    def loss(self) -> float | None:
        """The part that the fault costs, positive is worse; None if it is not known."""
        if self.without is None or self.through is None:
            return None
        sign = 1.0 if self.metric.better == "higher" else -1.0
        return sign * (1 - self.through / self.without)


@dataclass(frozen=True)
class FaultReport:
    """A workload through faults: `plain` is the same workload without, `happens` says what happens, a sentence each."""

    workload: str
    plain: str
    happens: tuple[str, ...]
    ratios: tuple[Through, ...]
    changes: tuple[Change, ...]
    problems: tuple[str, ...]
    """What is wrong with the data of each trial in which it is not intact, and which trial that is."""

    @property
    def trials(self) -> int:
        """How many trials tell of it."""
        return sum(each.trials for each in self.ratios)

    @property
    def lost(self) -> int:
        """In how many of them data that was written before the fault was not intact in the end."""
        return self.trials - sum(each.intact for each in self.ratios)

    @property
    def sentence(self) -> str:
        """What became of it, in a sentence."""
        if not self.trials:
            return f"{self.workload}: no trial tells what becomes of it."
        parts = [self._data, *self._times]
        incomplete = self.trials - sum(each.completed for each in self.ratios)
        if incomplete:
            parts.append(f"the workload itself failed in {self._of(incomplete)}")
        return f"{self.workload} ({join(self.happens)}): {'; '.join(parts)}."

    @property
    def _data(self) -> str:
        if self.lost:
            return f"DATA IS NOT INTACT in {self._of(self.lost)}"
        return f"what was written before is intact in {self._of(self.trials)}"

    def _of(self, count: int) -> str:
        """So many of the trials."""
        if self.trials == 1:
            return "the trial"
        return f"{'each' if count == self.trials else count} of {plural(self.trials, 'trial')}"

    @property
    def _times(self) -> list[str]:
        found = []
        if stalled := [each.stalled_s for each in self.ratios if each.stalled_s is not None]:
            found.append(f"I/O stood still for {_range(stalled)}")
        if recovered := [each.recovered_s for each in self.ratios if each.recovered_s is not None]:
            found.append(f"all was well again {_range(recovered)} after the healing")
        if ill := self.trials - sum(each.recovered for each in self.ratios):
            found.append(f"not all was well again in time in {self._of(ill)}")
        return found

    def at(self, ratio: float) -> list[Change]:
        """The metrics at one ratio."""
        return [change for change in self.changes if change.ratio == ratio]

    def costs(self, ratio: float) -> str:
        """What the fault costs at one ratio, metric by metric, in words; "" if nothing is known."""
        known = [change for change in self.at(ratio) if change.loss is not None]
        return "; ".join(
            f"{metric_title(change.metric)} {number(change.without)} → {number(change.through)} {change.metric.unit}"
            f" (loss {percent(change.loss)})"
            for change in known
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, as `verdict.json` has them."""
        ratios = []
        for each in self.ratios:
            metrics = {
                change.metric.name: {"without": change.without, "through": change.through, "loss": change.loss}
                for change in self.at(each.ratio)
            }
            ratios.append({**asdict(each), "metrics": metrics})
        return {
            "workload": self.workload,
            "without": self.plain,
            "faults": list(self.happens),
            "intact": self.lost == 0 if self.trials else None,
            "problems": list(self.problems),
            "ratios": ratios,
            "sentence": self.sentence,
        }


def fault_reports(
    info: RunInfo, trials: Sequence[Trial], values: Mapping[tuple[str, str], Mapping[float, Sequence[float]]]
) -> tuple[FaultReport, ...]:
    """Every workload through faults of a run."""
    found = []
    for workload, about in info.faults.items():
        told = [(t, Outcome.from_json(t.fault)) for t in trials if t.workload == workload and t.fault]
        ratios = []
        for ratio in sorted(info.hosts):
            here = [(trial, outcome) for trial, outcome in told if trial.ratio == ratio]
            completed = sum(bool(trial.metrics) for trial, _ in here)
            ratios.append(Through.of(ratio, [outcome for _, outcome in here], completed))
        changes = [
            Change(
                metric, ratio, _median(values, about["plain"], metric, ratio), _median(values, workload, metric, ratio)
            )
            for metric in info.metrics[workload]
            for ratio in sorted(info.hosts)
        ]
        problems = tuple(f"trial {trial.number}: {outcome.problem}" for trial, outcome in told if not outcome.intact)
        found.append(
            FaultReport(workload, about["plain"], tuple(about["faults"]), tuple(ratios), tuple(changes), problems)
        )
    return tuple(found)


def _median(
    values: Mapping[tuple[str, str], Mapping[float, Sequence[float]]], workload: str, metric: Metric, ratio: float
) -> float | None:
    known = values.get((workload, metric.name), {}).get(ratio, ())
    return float(median(known)) if known else None


def _range(seconds: Sequence[float]) -> str:
    low, high = f"{min(seconds):.1f}", f"{max(seconds):.1f}"
    return f"{low} s" if low == high else f"{low} to {high} s"


@dataclass(frozen=True)
class Through:
    """The trials of a workload through faults at one ratio. Medians of those that tell; None if none does."""

    ratio: float
    trials: int
    intact: int
    completed: int
    recovered: int
    stalled_s: float | None
    recovered_s: float | None

    @staticmethod
    def of(ratio: float, outcomes: Sequence[Outcome], completed: int) -> Through:
        """Of these outcomes, of whose trials so many `completed` their workload."""
        stalled = [each.stalled_s for each in outcomes if each.stalled_s is not None]
        recovered = [each.recovered_s for each in outcomes if each.recovered_s is not None]
        return Through(
            ratio,
            len(outcomes),
            sum(each.intact for each in outcomes),
            completed,
            len(recovered),
            median(stalled) if stalled else None,
            median(recovered) if recovered else None,
        )
