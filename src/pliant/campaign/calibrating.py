"""Whether hosts deliver what a study promises, looked at before its first trial; or what real ones deliver."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pliant.campaign import recently
from pliant.campaign.preparation import Prepared
from pliant.cluster.cluster import Cluster, numbers
from pliant.platforms import fairness
from pliant.platforms.calibration import TOLERANCE, Delivered, calibrate_hosts, survey_hosts

_TOLERANCE = f"{TOLERANCE * 100:g} %"


@dataclass(frozen=True)
class Kept:
    """Promises that are kept: what was measured as one text, what is said of it, and whether how nodes share a host
    was looked at."""

    fact: str
    sentence: str
    fair: bool


def keeps_promises(
    prepared: Prepared, cluster: Cluster, doing: Callable[[str], None], *, anew: bool, folds: bool
) -> Kept:
    """Measure what hosts really deliver, and if they can be folded now how nodes share them; unless that is known and
    need not be measured anew. FatalError if it is not what was promised."""
    began = time.monotonic()
    delivered, shared = recently.hosts(prepared), recently.fairness(prepared) if folds and _several(prepared) else None
    known = None if anew else recently.known(delivered)
    known_shared = None if anew or shared is None else recently.known(shared)
    if known is None:
        with cluster.undisturbed():
            found = calibrate_hosts(cluster.deployment, _disks(prepared), doing)
        delivered = replace(delivered, sentences=tuple(each.sentence for each in found))
        recently.keep(delivered)
    if shared is not None and known_shared is None:
        shared = replace(shared, sentences=tuple(fair(prepared, cluster, doing)))
        recently.keep(shared)
    return Kept(
        "; ".join(_told(delivered, known) + (_told(shared, known_shared) if shared is not None else [])),
        _sentence(known, shared is not None, known_shared, time.monotonic() - began),
        shared is not None,
    )


def fair(prepared: Prepared, cluster: Cluster, doing: Callable[[str], None]) -> list[str]:
    """Measure how a host's nodes share its CPU at the largest ratio, in a sentence, if any host has several."""
    if not _several(prepared):
        return []
    doing("calibrate: how nodes share a CPU")
    with cluster.undisturbed():
        folded = numbers(prepared.study.placements[max(prepared.study.placements)])
        return [fairness.measure(cluster.deployment, folded).sentence]


def survey(prepared: Prepared, cluster: Cluster, doing: Callable[[str], None]) -> list[Delivered]:
    """Measure what real hosts deliver, of which nobody has promised anything."""
    with cluster.undisturbed():
        return survey_hosts(cluster.deployment, _disks(prepared), doing)


def _told(wanted: recently.Calibrated, known: recently.Calibrated | None) -> list[str]:
    return [*known.sentences, f"so {known.ago}"] if known else list(wanted.sentences)


def _sentence(
    known: recently.Calibrated | None, shares: bool, known_shared: recently.Calibrated | None, took_s: float
) -> str:
    measured = f", as measured in {took_s:.1f} s"
    if known is None:
        shared = ", and its nodes share it fairly" if shares else ""
        return f"every host delivers what it was promised within {_TOLERANCE}, all at once{shared}{measured}"
    shared = f", and their nodes share them fairly{measured}" if shares and known_shared is None else ""
    remedy = "`pliant run --fresh` measures anew"
    return f"hosts with this promise delivered it within {_TOLERANCE} {known.ago}{shared}; {remedy}"


def _several(prepared: Prepared) -> bool:
    """Whether any host has several nodes at the largest ratio."""
    study = prepared.study
    return len(study.placements[max(study.placements)].hosts) < len(study.nodes)


def _disks(prepared: Prepared) -> dict[str, str]:
    """Where the disks of nodes that have one are mounted."""
    composition = prepared.study.composition
    disks = {node.name: composition.role(node.role).disk for node in prepared.study.nodes}
    return {node: disk for node, disk in disks.items() if disk is not None}
