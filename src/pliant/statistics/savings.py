"""What folding saves: hosts, machine-hours, energy and CO2e of one pass over a study's workloads, and what the study
itself took. Pure.

What hosts drew is measured where a testbed does that. Else power is linear in CPU utilisation between an idle and a
busy host (Fan, Weber & Barroso, "Power provisioning for a warehouse-sized computer", ISCA 2007), which ignores what
disks and NICs draw beyond that. Neither has cooling, nor the network between hosts. Emissions are energy times the
carbon intensity of the grid; what it took to make the hosts is not in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from types import MappingProxyType
from typing import Any

from pliant.power_model import PowerModel
from pliant.trial import UNFOLDED, Trial


@dataclass(frozen=True)
class Pass:
    """One trial of each workload at one ratio. `utilisation` is the hosts' mean, 0 to 1; None if not measured."""

    hosts: int
    duration_s: float
    utilisation: float | None
    energy_kwh: float

    @property
    def machine_hours(self) -> float:
        """Hosts times hours."""
        return self.hosts * self.duration_s / 3600


@dataclass(frozen=True)
class Spent:
    """What trials took, of whatever state, as if their hosts were real ones; what was measured before took nothing."""

    trials: int
    machine_hours: float
    energy_kwh: float


@dataclass(frozen=True)
class Savings:
    """The baseline against the recommended ratio; None where a workload has no done trial at one of them.

    `study` is what the study itself took. `measured` is what a host drew at each ratio, in W, where that is what energy
    is of, and empty where it is modelled.
    """

    ratio: float | None
    full: Pass | None
    folded: Pass | None
    power: PowerModel
    study: Spent = Spent(0, 0.0, 0.0)
    measured: Mapping[float, float] = field(default_factory=dict)

    @property
    def how(self) -> str:
        """How the energy is known, in a word."""
        return "measured" if self.measured else "modelled"

    def to_json(self) -> dict[str, Any]:
        """What `verdict.json` has under "savings", and what it rests on. Plain JSON; null is "not known"."""
        numbers: dict[str, Any] = {"ratio": self.ratio}
        for name, side in (("full", self.full), ("folded", self.folded)):
            numbers[f"hosts_{name}"] = side and side.hosts
            numbers[f"machine_hours_{name}"] = side and side.machine_hours
            numbers[f"energy_kwh_{name}"] = side and side.energy_kwh
            numbers[f"co2e_kg_{name}"] = side and self.power.co2e_kg(side.energy_kwh)
            numbers[f"utilisation_{name}"] = side and side.utilisation
        power = {"idle_w": self.power.idle_w, "busy_w": self.power.busy_w, "source": self.power.source}
        power |= {"energy": self.how, "measured_w": {f"{ratio:g}": watts for ratio, watts in self.measured.items()}}
        power |= {"carbon_g_kwh": self.power.carbon_g_kwh, "carbon_source": self.power.carbon_source}
        study = asdict(self.study) | {"co2e_kg": self.power.co2e_kg(self.study.energy_kwh)}
        return numbers | {"study": study, "power": power}


def savings(
    trials: Iterable[Trial],
    workloads: Sequence[str],
    hosts: Mapping[float, int],
    ratio: float | None,
    power: PowerModel,
    host_cores: float,
    baseline: float = UNFOLDED,
    measured: Mapping[float, float] = MappingProxyType({}),
) -> Savings:
    """One pass over `workloads` at the baseline against one at `ratio`, from the median durations of done trials.

    `host_cores` is what one host may use, in CPU seconds per second. Where CPU use was not measured a host counts as
    busy, the upper bound. `measured` is what a host drew at ratios, in W; it counts if it is known of every ratio that
    trials took, so that like is compared with like. Raises ValueError unless `host_cores` is positive.
    """
    if host_cores <= 0:
        raise ValueError(f"a host with {host_cores} cores cannot run anything")
    trials = list(trials)
    measured = dict(measured) if {t.ratio for t in trials if t.duration_s > 0} <= measured.keys() else {}
    watts = _Watts(power, host_cores, measured)
    done = [t for t in trials if t.state == "done"]  # how long one that was stopped would have taken nobody knows
    full = _one_pass(done, workloads, hosts, baseline, watts)
    folded = None if ratio is None else _one_pass(done, workloads, hosts, ratio, watts)
    took = spent([t for t in trials if not t.reused], power, host_cores, measured)
    return Savings(ratio, full, folded, power, took, measured)


@dataclass(frozen=True)
class _Watts:
    """What one host draws: as `measured` at a ratio, else by the model."""

    power: PowerModel
    host_cores: float
    measured: Mapping[float, float]

    def at(self, ratio: float, level: float | None) -> float:
        """At a ratio and a CPU utilisation, which counts as 1 if it is not known."""
        known = self.measured.get(ratio)
        return self.power.watts(1.0 if level is None else level) if known is None else known


def spent(
    trials: Iterable[Trial],
    power: PowerModel,
    host_cores: float,
    measured: Mapping[float, float] = MappingProxyType({}),
) -> Spent:
    """What these trials took; those that were stopped, failed or were not valid took it too."""
    ended = [t for t in trials if t.duration_s > 0]
    hours = sum(t.hosts * t.duration_s for t in ended) / 3600
    joules, watts = 0.0, _Watts(power, host_cores, measured)
    for trial in ended:
        level = _utilisation(trial, trial.hosts, host_cores)
        joules += trial.hosts * watts.at(trial.ratio, level) * trial.duration_s
    return Spent(len(ended), hours, joules / 3.6e6)


def _one_pass(
    done: Sequence[Trial],
    workloads: Sequence[str],
    hosts: Mapping[float, int],
    ratio: float,
    watts: _Watts,
) -> Pass | None:
    duration_s = joules = busy_s = 0.0
    measured = True
    for workload in workloads:
        mine = [t for t in done if t.workload == workload and t.ratio == ratio and t.duration_s > 0]
        if not mine or ratio not in hosts:
            return None
        typical_s = median(t.duration_s for t in mine)
        used = [
            utilisation for t in mine if (utilisation := _utilisation(t, hosts[ratio], watts.host_cores)) is not None
        ]
        measured = measured and bool(used)
        level = median(used) if used else 1.0
        duration_s += typical_s
        busy_s += level * typical_s
        joules += hosts[ratio] * watts.at(ratio, level) * typical_s
    if not duration_s:
        return None
    return Pass(hosts[ratio], duration_s, busy_s / duration_s if measured else None, joules / 3.6e6)


def _utilisation(trial: Trial, hosts: int, host_cores: float) -> float | None:
    """CPU seconds of all hosts over what they had, clipped to 1; None if they were not measured."""
    if not trial.host_cpu_s:
        return None
    return min(sum(trial.host_cpu_s.values()) / (host_cores * hosts * trial.duration_s), 1.0)
