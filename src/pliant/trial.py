"""Trials: one run of one workload at one folding ratio. Plain records, shared by engine, store, verdict and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TrialState = Literal["running", "done", "failed", "invalid"]


@dataclass(frozen=True)
class Trial:
    """One attempt at a (file system, workload, ratio, repetition). Only trials whose `state` is `done` enter a verdict.

    `duration_s` is wall-clock time of the whole trial; `host_cpu_s` the CPU seconds each host used in it;
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
