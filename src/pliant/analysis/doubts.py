"""What a prediction asks of its data beyond what they say, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pliant.analysis.modelled import Calibrated, Target
from pliant.analysis.words import join, percent

_FAR = 2.0
"""A number of nodes, a ratio or a host that is more than so many times what was measured is far from it."""
_NEAR = 0.6
"""A resource of which no trial used this part of its promise was never seen to limit anything."""
_RESOURCES = {
    "cpu": ("cpu", "CPU"),
    "nic": ("nic_up", "NIC"),
    "read": ("disk_read", "disk reads"),
    "write": ("disk_write", "disk writes"),
}
NAMES = {
    "cpu": "CPU",
    "nic": "NIC",
    "read": "disk reads",
    "write": "disk writes",
    "alone": "nothing that hosts share (latency, locks or a serial program)",
}


def doubts(models: Sequence[Calibrated], target: Target) -> Iterator[str]:
    """What a reader must know before believing a prediction, the gravest first; none where it stays within its data."""
    info = models[0].record.info
    yield from _sizes(info.roles, target.roles)
    yield from _hosts(models[0].record.capacity, target.capacity)
    if target.host:
        yield (
            f"CPU seconds of the cores that these runs had are taken for those of {target.host}, and latency, memory "
            "and caches are taken to be as they were"
        )
    if target.work != 1:
        yield (
            f"each rank does {target.work:.3g} times what was measured: how much caches take of that is not known, nor "
            "what part of a trial takes its time whatever is done"
        )
    if target.strategy != info.strategy and dict(target.roles) == dict(info.roles):
        yield f'nodes were placed by "{info.strategy}" in what was measured, not by "{target.strategy}"'
    last = max(model.last for model in models)
    if (far := max(target.ratios, default=1.0)) > 4 * last:
        yield (
            f"the largest ratio that was measured is {last:.3g}; what is said up to {far:.3g} rests on the model alone"
        )
    yield from _unseen(models, target)
    if short := [model for model in models if not model.own]:
        names = join([f"{model.workload} {model.metric.name}" for model in short])
        yield (
            f"{names} {'was' if len(short) == 1 else 'were'} too short for telemetry, so that what is used is taken to "
            "be what the job does: let trials take longer"
        )
    if alone := [model for model in models if all(len(level.rates) < 2 for level in model.levels)]:
        names = join(sorted({model.workload for model in alone}))
        yield f"one trial at each ratio does not show how much they scatter ({names}): run two or more"


def _sizes(known: Mapping[str, int], asked: Mapping[str, int]) -> Iterator[str]:
    for role, count in asked.items():
        if count > _FAR * known[role]:
            yield f"{count} {role} nodes are {count / known[role]:.3g} times those that were measured ({known[role]})"
        elif count * _FAR < known[role]:
            yield f"{count} {role} nodes are far fewer than those that were measured ({known[role]})"


def _hosts(known: Mapping[str, float], asked: Mapping[str, float]) -> Iterator[str]:
    pairs = (("cpu", "cores"), ("nic_up", "NIC"), ("disk_read", "disk"))
    for resource, name in pairs:
        if resource not in known or resource not in asked:
            continue
        times = asked[resource] / known[resource]
        if times > _FAR or times < 1 / _FAR:
            much = f"{times:.3g} times" if times >= 0.1 else f"{times:.2g} of"
            yield f"a host's {name} is {much} what hosts had that were measured"


def _unseen(models: Sequence[Calibrated], target: Target) -> Iterator[str]:
    """Resources that are said to limit something, and that no trial saw used to anywhere near what was promised."""
    for limit, (resource, name) in _RESOURCES.items():
        unseen = []
        for model in models:
            most = model.most.get(resource, 0.0)
            if most < _NEAR and limit in _limits(model, target):
                unseen.append((model, most))
        if unseen:
            metrics = join(sorted({f"{model.workload} {model.metric.name}" for model, _ in unseen}))
            most = max(most for _, most in unseen)
            yield (
                f"{name} is said to limit {metrics} at some ratio, and no trial used more than {percent(most)} of it"
            )


def _limits(model: Calibrated, target: Target) -> set[str]:
    """What limits a metric at the ratios of the target, most likely."""
    found = set()
    for ratio in target.ratios:
        _, parts = model.draws.parts(model.loads(target, target.hosts(ratio)))
        found.add(max(parts, key=lambda name: float(parts[name] @ model.draws.weight)))
    return found
