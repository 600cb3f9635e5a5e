"""What a model says of a cluster from runs of the same one or of others: every metric's curve, and what to doubt of it.

`modelled` has the model of a metric of a run; `predict` asks it for the curves of a target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from pliant.analysis import observed
from pliant.analysis.doubts import doubts
from pliant.analysis.modelled import PRIORS, Calibrated, Target, calibrated
from pliant.analysis.observed import Record
from pliant.composition.placement import hosts_for
from pliant.errors import UserError
from pliant.model import folding
from pliant.model.calibration import deviations
from pliant.workloads.model import Metric

_NOISE, _NOISE_TRIALS = 0.06, 12
"""A trial's deviation, in logarithms, where nothing is known, and how many trials it takes to say otherwise."""
_SIZE = 0.15
"""By how much more a prediction may be off for each doubling of the cluster or of its hosts, as a logarithm's
deviation: what an operation takes may depend on either."""
_CHANCE = 0.5
"""What part of that which chance may slow a server down is in doubt."""
_TAKEN = 0.5
"""What part of the change that two runs of different sizes show beyond the model is taken on to further sizes."""
_STEPS = (1.0, 1.5)
MOST_NODES = 1_000_000


@dataclass(frozen=True)
class Row:
    """A ratio of a curve: what is predicted, in the metric's unit, and what was measured there, if anything was; `used`
    says that the model was calibrated on it."""

    ratio: float
    hosts: int
    value: float
    low: float
    high: float
    told: folding.Told
    measured: float | None
    used: bool


@dataclass(frozen=True)
class Curve:
    """What is predicted of a metric, ratio by ratio."""

    workload: str
    metric: Metric
    rows: tuple[Row, ...]
    max_loss: float

    @property
    def breaks_at(self) -> float | None:
        """The first ratio at which it breaks more likely than not; None if it does at none."""
        return next((row.ratio for row in self.rows if row.told.breaks > 0.5), None)

    @property
    def breaks_between(self) -> tuple[float | None, float | None]:
        """Ratios between which it breaks, 19 times of 20: before the first it does not, at the second it has. None is
        beyond the last."""
        early = next((row.ratio for row in self.rows if row.told.breaks > 0.025), None)
        late = next((row.ratio for row in self.rows if row.told.breaks > 0.975), None)
        return early, late

    @property
    def at_break(self) -> Row | None:
        """The row where it breaks."""
        return next((row for row in self.rows if row.ratio == self.breaks_at), None)


@dataclass(frozen=True)
class Prediction:
    """All curves of a target, the runs that they are from, and sentences on what those do not support."""

    target: Target
    runs: tuple[str, ...]
    curves: tuple[Curve, ...]
    doubts: tuple[str, ...]
    left_out: tuple[str, ...] = field(default=())
    """Metrics of which nothing can be said, and why."""

    @property
    def breaks_at(self) -> float | None:
        """The first ratio at which some metric breaks more likely than not."""
        return min((curve.breaks_at for curve in self.curves if curve.breaks_at is not None), default=None)

    @property
    def first(self) -> Curve | None:
        """The metric that breaks first, most likely so."""
        broken = [curve for curve in self.curves if curve.breaks_at == self.breaks_at and curve.at_break is not None]
        return max(broken, key=lambda curve: curve.at_break.told.breaks if curve.at_break else 0.0, default=None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "runs": list(self.runs),
            "target": {
                "roles": dict(self.target.roles),
                "strategy": self.target.strategy,
                "folded": list(self.target.folded),
                "work": self.target.work,
                "host": self.target.host,
                "capacity": dict(self.target.capacity),
                "max_loss": self.target.max_loss,
            },
            "breaks_at": self.breaks_at,
            "curves": [_curve_json(curve) for curve in self.curves],
            "beyond_data": list(self.doubts),
            "left_out": list(self.left_out),
        }


def _curve_json(curve: Curve) -> dict[str, Any]:
    early, late = curve.breaks_between
    rows = [
        {
            "ratio": row.ratio,
            "hosts": row.hosts,
            "predicted": row.value,
            "low": row.low,
            "high": row.high,
            "loss": row.told.loss,
            "loss_low": row.told.loss_low,
            "loss_high": row.told.loss_high,
            "breaks": row.told.breaks,
            "limited_by": row.told.limit,
            "limited_by_probability": row.told.sure,
            "measured": row.measured,
            "calibrated_on": row.used,
        }
        for row in curve.rows
    ]
    return {
        "workload": curve.workload,
        "metric": curve.metric.name,
        "unit": curve.metric.unit,
        "better": curve.metric.better,
        "breaks_at": curve.breaks_at,
        "breaks_not_before": early,
        "breaks_at_latest": late,
        "ratios": rows,
    }


def grid(nodes: int) -> tuple[float, ...]:
    """Ratios of a whole curve: 1, 1.5, 2, 3, 4, 6 and so on, to all nodes on one host; of one number of hosts once."""
    steps = [base * 2.0**power for power in range(nodes.bit_length()) for base in _STEPS]
    found = sorted({1.0, *(step for step in steps if step < nodes), float(nodes)})
    hosts = [hosts_for(nodes, ratio) for ratio in found]
    return tuple(ratio for ratio, (before, now) in zip(found, pairwise([0, *hosts]), strict=True) if before != now)


def predict(records: Sequence[Record], target: Target, on: Sequence[float] = ()) -> Prediction:
    """Every metric's curve. Of several runs the one that is most like the target is what it rests on; what another one
    shows beyond the model of how it changes with the cluster's size is partly taken on. Models are calibrated `on`
    these ratios alone if there are any; what was measured at others is then beside what is predicted.

    Raises:
        UserError: a run lacks what a model needs, the runs are of different file systems, or the target cannot be.
    """
    used = [record.at(on) if on else record for record in records]
    _check(used, target)
    whole = {record.name: record for record in records}
    nearest = sorted(used, key=lambda record: _distance(record, target))
    curves, left_out, shown = [], [], []
    for workload, metrics in nearest[0].info.metrics.items():
        if workload in nearest[0].info.faults:
            continue
        for metric in metrics:
            made = [
                calibrated(each, workload, metric, _noise(each)) for each in nearest if _has(each, workload, metric)
            ]
            models = [each for each in made if isinstance(each, Calibrated)]
            if not models:
                left_out.append(str(made[0]))
                continue
            curves.append(_curve(models, target, _measured(whole[models[0].record.name], models[0])))
            shown.append(models[0])
    if not curves:
        raise UserError(
            f"{nearest[0].name}: nothing can be predicted from it: {left_out[0] if left_out else 'no metric'}"
        )
    return Prediction(
        target,
        tuple(record.name for record in nearest),
        tuple(curves),
        tuple(doubts(shown, target)),
        tuple(left_out),
    )


def foretold(record: Record) -> Prediction | None:
    """What a run's two smallest ratios predict of all that it planned; None where they say too little."""
    info = record.info
    ratios, folded = tuple(sorted(info.hosts)), tuple(info.folded)
    target = Target(info.roles, info.strategy, record.capacity, ratios, info.max_loss, folded=folded)
    try:
        return predict([record], target, on=record.measured[:2])
    except (UserError, ValueError):
        return None


def _noise(record: Record) -> float:
    return observed.noise(record, _NOISE, _NOISE_TRIALS)


def _has(record: Record, workload: str, metric: Metric) -> bool:
    return metric.name in {each.name for each in record.info.metrics.get(workload, ())}


def _check(records: Sequence[Record], target: Target) -> None:
    for record in records:
        observed.unfolded(record)
        if record.info.filesystem != records[0].info.filesystem:
            raise UserError(
                f"{record.name} is of {record.info.filesystem} and {records[0].name} of {records[0].info.filesystem}: "
                "a model is of one file system; name runs of one"
            )
        if dict(record.info.filesystem_options) != dict(records[0].info.filesystem_options):
            differ = _differing(record.info.filesystem_options, records[0].info.filesystem_options)
            raise UserError(
                f"{record.name} and {records[0].name} have other options ({differ}), which may change all that an "
                "operation uses; name runs of the same"
            )
    for record in records:
        if set(record.info.folded) != set(target.folded):
            raise UserError(
                f"{record.name} folds {_folds(record.info.folded)} and {_folds(target.folded)} are asked about: what "
                "nodes cost each other is known of those that shared hosts; name a run that folds the same"
            )
    known = records[0].info.roles
    if unknown := [role for role in target.roles if role not in known]:
        raise UserError(f'"{unknown[0]}" is not a role of these runs; they have {", ".join(known)}')
    if target.nodes > MOST_NODES:
        raise UserError(f"{target.nodes} nodes are more than can be predicted; ask for {MOST_NODES} at most")
    if bad := [ratio for ratio in target.ratios if not 1 <= ratio <= target.shared]:
        raise UserError(f"ratio {bad[0]:g}: {target.shared} nodes fold to ratios from 1 to {target.shared}")


def _folds(roles: Sequence[str]) -> str:
    return f"nodes of {' and '.join(roles)} alone" if roles else "nodes of all roles"


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The names of options that are not the same."""
    return ", ".join(sorted(name for name in {*one, *other} if one.get(name) != other.get(name)))


def _distance(record: Record, target: Target) -> float:
    """How unlike the target a run is: doublings of its nodes, role by role, and of what its hosts have."""
    roles = sum(abs(math.log2(count / record.info.roles[role])) for role, count in target.roles.items() if count)
    return roles + _host_distance(record.capacity, target.capacity)


def _host_distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Doublings between two hosts: those of the resource that differs most."""
    known = [abs(math.log2(other[name] / value)) for name, value in one.items() if name in other]
    return max(known, default=0.0)


def _size(roles: Mapping[str, int]) -> float:
    return math.log2(sum(roles.values()))


def _measured(record: Record, model: Calibrated) -> dict[float, float]:
    """What was measured of a metric at each ratio, as a rate: geometric means of trials that count as undisturbed."""
    found = observed.observed(record, model.workload, model.metric)
    return {
        ratio: float(np.exp(np.mean(np.log([one.rate for one in observed.undisturbed(many)]))))
        for ratio, many in found.items()
    }


def _curve(models: Sequence[Calibrated], target: Target, measured: Mapping[float, float]) -> Curve:
    model = models[0]
    factor, unsure = _trend(models, target)
    size = abs(_size(target.roles) - _size(model.record.info.roles)) + abs(math.log2(target.work))
    # What is folded on the same hosts is less in doubt than hosts of another kind.
    beyond = math.hypot(unsure, _SIZE * size, _SIZE * _host_distance(model.record.capacity, target.capacity))
    there = model.same(target) and dict(target.capacity) == dict(model.record.capacity) and target.work == 1
    calibrated_on = {level.ratio for level in model.levels}
    scatter = model.noise / math.sqrt(float(np.mean([len(level.rates) for level in model.levels])))
    base = model.timed(target, target.nodes)
    if there:  # as it was measured: the model's own may be off
        baseline = np.mean(np.log(model.levels[0].rates)) + deviations(scatter, len(target.ratios))
    else:
        alone = model.loads(target, target.nodes)
        baseline = -np.log(model.draws.seconds(alone, target.work)) + math.log(factor)
    rows = []
    for place, ratio in enumerate(target.ratios):
        hosts = target.hosts(ratio)
        further = PRIORS.further * max(0.0, math.log2(ratio / model.last))
        deviation = math.hypot(PRIORS.misfit, further, scatter, _CHANCE * model.crowded(target, hosts))
        timed = factor * model.timed(target, hosts) / base
        asked = folding.Asked(
            deviation,
            beyond,
            timed,
            target.max_loss,
            target.confidence,
            place,
            target.work,
            lower=model.metric.better == "lower",
        )
        told = folding.tell(model.draws, model.loads(target, hosts), baseline, asked)
        if hosts == target.nodes:
            told = replace(told, loss=0.0, loss_low=0.0, loss_high=0.0, breaks=0.0)
        known = measured.get(ratio) if there and target.strategy == model.record.info.strategy else None
        rows.append(_row(model.metric, ratio, hosts, told, known, ratio in calibrated_on))
    return Curve(model.workload, model.metric, tuple(rows), target.max_loss)


def _row(metric: Metric, ratio: float, hosts: int, told: folding.Told, measured: float | None, used: bool) -> Row:
    def value(rate: float) -> float:
        return rate if metric.better == "higher" else 1 / rate

    low, high = sorted((value(told.low), value(told.high)))
    known = None if measured is None else value(measured)
    return Row(ratio, hosts, value(told.rate), low, high, told, known, used and measured is not None)


def _trend(models: Sequence[Calibrated], target: Target) -> tuple[float, float]:
    """By which factor runs of other sizes say that the model errs at the target's, and how unsure that is."""
    first = models[0]
    slopes = []
    for other in models[1:]:
        apart = _size(other.record.info.roles) - _size(first.record.info.roles)
        if abs(apart) < 0.3:
            continue
        there = replace(
            target,
            roles=other.record.info.roles,
            strategy=other.record.info.strategy,
            capacity=other.record.capacity,
        )
        off = []
        for level in other.levels:
            at = first.loads(there, there.hosts(level.ratio))
            told = float(np.average(np.log(first.draws.seconds(at)), weights=first.draws.weight))
            off.append(float(np.mean(np.log(level.rates))) + told)
        slopes.append(float(np.mean(off)) / apart)
    if not slopes:
        return 1.0, 0.0
    far = _size(target.roles) - _size(first.record.info.roles)
    moved = _TAKEN * float(np.mean(slopes)) * far
    return math.exp(moved), abs(moved)
