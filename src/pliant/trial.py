"""Trials: one run of one workload at one folding ratio. Plain records, shared by engine, store, verdict and report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

TrialState = Literal["todo", "running", "done", "censored", "failed", "invalid", "skipped"]
"""Those that are stored have begun: `todo` is still to come, `skipped` needed no trial; both follow from the search.
`censored` was stopped before its end, as its loss was shown already or the time was up: what it says, it says for sure,
of some metrics their value and of some how good they were at best."""
INTERRUPTED = "interrupted"
"""The reason of a trial that was cut short by the user: it says nothing, and is repeated when the run goes on."""
BUDGET_SPENT = "the budget was spent"
"""The reason of a trial that was under way when the time that a study may take was over."""
UNFOLDED = 1.0
"""The ratio at which each node has a host to itself: the baseline, unless a study cannot afford so many hosts."""
HOST_LOST = "a host was lost meanwhile: "
"""What the reason begins with of a trial that failed while a host could not be reached: it says nothing either."""
Workflow = Literal["dev", "verified"]
"""`dev`: deploy once, refold live, clean between trials. `verified`: every trial starts from a reset that is proved."""


@dataclass(frozen=True)
class Trial:
    """One attempt at a (file system, workload, ratio, repetition). Those that are `counted` enter a verdict.

    `duration_s` is wall-clock time of the whole trial; `host_cpu_s` the CPU seconds each host used in it, all of it
    taken to be as the part in which hosts were limited;
    `metrics` maps metric name to value, in the unit the workload declares. `usage` is what `telemetry.Usage.to_json`
    says that hosts used in it; empty where there was no telemetry.
    """

    number: int
    workload: str
    ratio: float
    hosts: int
    repetition: int
    attempt: int
    state: TrialState
    started_at: str
    duration_s: float = 0.0
    reason: str = ""
    program: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    host_cpu_s: Mapping[str, float] = field(default_factory=dict)
    directory: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict)
    filesystem: str = ""
    """The file system's label in the study; empty in runs from before studies had several."""
    fault: Mapping[str, Any] = field(default_factory=dict)
    """What became of it through faults: what `faults.Outcome.to_json` says; empty where there were none."""
    key: str = ""
    """The digest of all that determined it (`determined.key_of`); empty in runs from before there were keys."""
    reused: str = ""
    """The run that measured it, and when, if it was taken from the store; "" for what this run measured itself."""
    proved: tuple[str, ...] = ()
    """In the workflow `verified`: what was proved of its reset and of its data, a sentence each."""
    bounds: Mapping[str, float] = field(default_factory=dict)
    """Of a censored trial: how good the metrics were at best that were being measured when it was stopped, in their
    units: at most so much where higher is better, else at least so much. Metrics that it came to an end with are in
    `metrics`, those that it never came to in neither."""

    disturbance: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the machine did to each metric of which that is known: see `disturbance.Disturbance.to_json`. Why one does
    not count, although the trial may, is in "refused"."""
    remarks: tuple[str, ...] = ()
    """What its workload says of what it measured, a sentence each without a full stop: that it is not valid for a list
    that others keep, for instance. A verdict does not heed it."""

    @property
    def counted(self) -> bool:
        """Whether it enters a verdict: it came to its end, or was stopped and says what can be said."""
        return self.state in ("done", "censored")

    def emulated(self, metric: str) -> str:
        """Why its value of that metric is the emulation's and not the file system's; "" if it is not."""
        return str(self.disturbance.get(metric, {}).get("emulated", ""))

    def counts(self, metric: str) -> bool:
        """Whether what it says of that metric enters a verdict."""
        return self.counted and not self.disturbance.get(metric, {}).get("refused")

    @property
    def half(self) -> bool:
        """Whether it never came to an end: it counts for nothing."""
        cut = self.reason == INTERRUPTED or self.reason.startswith(HOST_LOST)
        return self.state == "running" or (self.state == "failed" and cut)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a metric that is no number becomes null."""
        metrics = {name: value + 0.0 if math.isfinite(value) else None for name, value in self.metrics.items()}
        exact = {"ratio": float(self.ratio), "duration_s": float(self.duration_s)}
        return {**asdict(self), **exact, "metrics": metrics, "proved": list(self.proved), "remarks": list(self.remarks)}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Trial:
        """The inverse of `to_json`; TypeError, KeyError or ValueError for what is not one."""
        metrics = {name: math.nan if value is None else float(value) for name, value in document["metrics"].items()}
        lists = {"proved": tuple(document["proved"]), "remarks": tuple(document.get("remarks", ()))}
        return Trial(**{**document, "metrics": metrics, **lists})
