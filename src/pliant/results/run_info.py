"""What an analysis needs to know of a run, beside its trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pliant.power_model import PowerModel
from pliant.trial import UNFOLDED, Trial
from pliant.workloads.model import Metric, asked_for


@dataclass(frozen=True)
class RunInfo:
    """What an analysis needs to know of one file system of a run, besides its trials; stored when the run starts.

    `hosts` maps each planned ratio to its number of hosts, `placements` each ratio to host -> nodes, `metrics` each
    workload to what it yields, in the order of the study. `max_loss` is a fraction; `host_cores` is what one host may
    use, in CPU seconds per second; `host_figures` says in words what a host is. Where that is a real host divided by
    `scale`, `real_figures` says what the real one is, `like` names it if the catalogue has it, and `disk_caveat` says
    what must be known of its disk rate, if anything.
    """

    study: str
    filesystem: str
    platform: str
    workflow: str
    seed: int
    repetitions: int
    max_loss: float
    hosts: Mapping[float, int]
    metrics: Mapping[str, Sequence[Metric]]
    roles: Mapping[str, int]
    strategy: str
    host_cores: float
    host_figures: str = ""
    placements: Mapping[float, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    power: PowerModel = field(default_factory=PowerModel)
    filesystem_options: Mapping[str, Any] = field(default_factory=dict)
    scale: float = 1.0
    like: str = ""
    real_figures: str = ""
    disk_caveat: str = ""
    label: str = ""
    """What the file system is called in the study; "" in runs from before studies had several."""
    search: str = "grid"
    """How trials were chosen: "grid", so many of each, or "adaptive", `repetitions` of each at most."""
    indifference: float = 0.0
    """So many points to each side of `max_loss` a ratio may be called either way."""
    start: float | None = None
    """Of a search: the ratio at and below which it began."""
    asked: Sequence[str] = ()
    """The metrics by which it is decided how far it folds (`workloads.model.asked_for`); all where there are none."""
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Workload through faults -> `plain`, the same workload without, and `faults`, a sentence for each."""
    baseline: float = UNFOLDED
    """The ratio that losses are against, and the smallest of `hosts`."""
    folded: Sequence[str] = ()
    """The roles whose nodes share hosts, which ratios count; all where there are none."""

    folds: str = "nodes"
    """What is folded: "nodes", or "ranks", which run on one mount of each host."""

    @property
    def placing(self) -> str:
        """How nodes are placed, in words: "spread", or "spread of client" where nodes of that role alone are folded."""
        whose = f" of {' and '.join(self.folded)}" if self.folded else ""
        return self.strategy + whose + (", with all ranks on the first one of each host" if self.of_ranks else "")

    @property
    def of_ranks(self) -> bool:
        """Whether the ranks of folded clients run on one mount."""
        return self.folds == "ranks"

    @property
    def one_ratio(self) -> bool:
        """Whether there is nothing to be compared with the baseline: the study has no other ratio."""
        return len(self.hosts) == 1

    @property
    def unfolded(self) -> bool:
        """Whether the baseline is the unfolded cluster, each node on a host of its own."""
        return self.baseline == UNFOLDED

    @property
    def name(self) -> str:
        """What the file system is called in results: its label, which is its kind unless the study says otherwise."""
        return self.label or self.filesystem

    def has(self, trial: Trial) -> bool:
        """Whether a trial was of this file system."""
        return trial.filesystem in ("", self.name)

    def of(self, workloads: Sequence[str], metrics: Sequence[str]) -> RunInfo:
        """The same of these workloads and these metrics alone, which may be patterns; all where there are none."""
        kept = {
            workload: tuple(each for each in many if asked_for(metrics, workload, each.name))
            for workload, many in self.metrics.items()
            if asked_for(workloads, workload, workload)
        }
        return replace(self, metrics={workload: many for workload, many in kept.items() if many}, asked=())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ratios become strings, as JSON's keys must. A baseline that is not there is 1."""
        document = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if self.baseline == UNFOLDED:
            del document["baseline"]
        if not self.of_ranks:  # as in the documents of runs from before there were others
            del document["folds"]
        return document | {
            "hosts": {repr(float(ratio)): count for ratio, count in self.hosts.items()},
            "metrics": {workload: [asdict(m) for m in metrics] for workload, metrics in self.metrics.items()},
            "roles": dict(self.roles),
            "placements": {
                repr(float(ratio)): {host: list(nodes) for host, nodes in placement.items()}
                for ratio, placement in self.placements.items()
            },
            "power": asdict(self.power),
            "filesystem_options": dict(self.filesystem_options),
            "asked": list(self.asked),
            "folded": list(self.folded),
            "faults": {label: dict(about) for label, about in self.faults.items()},
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> RunInfo:
        """The inverse of `to_json`; KeyError, TypeError or ValueError for what is not one."""
        metrics = {w: tuple(Metric(**m) for m in many) for w, many in document["metrics"].items()}
        return RunInfo(
            **{
                **document,
                "hosts": {float(ratio): count for ratio, count in document["hosts"].items()},
                "metrics": metrics,
                "asked": tuple(document.get("asked", ())),
                "folded": tuple(document.get("folded", ())),
                "placements": {
                    float(ratio): {host: tuple(nodes) for host, nodes in placement.items()}
                    for ratio, placement in document["placements"].items()
                },
                "power": PowerModel(**document["power"]),
            }
        )
