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


@dataclass(frozen=True)
class _Looked:
    """What was looked at; `known` if that was before."""

    at: recently.Calibrated
    known: bool

    @property
    def fact(self) -> str:
        return "; ".join([*self.at.sentences, *([f"so {self.at.ago}"] if self.known else [])])


def keeps_promises(
    prepared: Prepared, cluster: Cluster, doing: Callable[[str], None], *, anew: bool, live: bool, folds: bool
) -> Kept:
    """Measure what hosts really deliver, and if they can be folded now how nodes share them. FatalError if it is not
    what was promised. What hosts of this machine, which are folded `live`, did recently is not measured again, unless
    it is to be `anew`."""
    began = time.monotonic()

    def look(wanted: recently.Calibrated, measure: Callable[[], list[str]]) -> _Looked:
        if live and not anew and (known := recently.known(wanted)) is not None:
            return _Looked(known, True)
        measured = replace(wanted, sentences=tuple(measure()))
        if live:
            recently.keep(measured)
        return _Looked(measured, False)

    hosts = look(recently.hosts(prepared), lambda: _delivered(prepared, cluster, doing))
    shared = None
    if folds and _several(prepared):
        shared = look(recently.fairness(prepared), lambda: fair(prepared, cluster, doing))
    fact = "; ".join(each.fact for each in (hosts, shared) if each is not None)
    return Kept(fact, _sentence(hosts, shared, time.monotonic() - began), shared is not None)


def _delivered(prepared: Prepared, cluster: Cluster, doing: Callable[[str], None]) -> list[str]:
    with cluster.undisturbed():
        found = calibrate_hosts(cluster.deployment, prepared.study.composition.disks, doing)
    return [each.sentence for each in found]


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
        return survey_hosts(cluster.deployment, prepared.study.composition.disks, doing)


def _sentence(hosts: _Looked, shared: _Looked | None, took_s: float) -> str:
    measured, remedy = f", as measured in {took_s:.1f} s", "; `pliant run --fresh` measures anew"
    if hosts.known:
        fairly = f", and their nodes share them fairly{measured}" if shared and not shared.known else ""
        return f"hosts with this promise delivered it within {_TOLERANCE} {hosts.at.ago}{fairly}{remedy}"
    delivered = f"every host delivers what it was promised within {_TOLERANCE}, all at once"
    if shared and shared.known:
        return f"{delivered}{measured}, and its nodes shared it fairly {shared.at.ago}{remedy}"
    return f"{delivered}{', and its nodes share it fairly' if shared else ''}{measured}"


def _several(prepared: Prepared) -> bool:
    """Whether any host has several nodes at the largest ratio."""
    study = prepared.study
    return len(study.placements[max(study.placements)].hosts) < len(study.nodes)
