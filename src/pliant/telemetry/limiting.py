"""What limits a ratio: which resource was saturated, of which hosts, and which roles used it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pliant.composition.nodeset import fold
from pliant.telemetry.samples import NAMES, RESOURCES
from pliant.telemetry.usage import PhaseUsage, ResourceUse, Usage, shares

LIMITING = 0.20
"""Share of the active time for which a resource has to be saturated to be called limiting: with ever so much more of
it a phase would take at least 1 - share of its time (Amdahl), so below this it explains no loss of 20 %."""


@dataclass(frozen=True)
class Limit:
    """The resource that limits a phase: one of RESOURCES, or "none".

    `share` is the part of the active time in which it was saturated on the one of `hosts` where it was so longest,
    `least` where it was so shortest; `mean` how much of the promise was used there. `roles` are the roles' shares of
    its use on these hosts. `next` is the resource that comes after it, whether it was saturated or not.
    """

    resource: str
    hosts: tuple[str, ...]
    share: float
    least: float
    mean: float
    roles: Mapping[str, float]
    next: Limit | None = None

    @property
    def sentence(self) -> str:
        """In words, without a full stop."""
        if self.resource == "none":
            long = " for long" if self.share > 0 else ""
            text = f"nothing was saturated{long}: latency, locks or a serial program limit it"
            if self.next is not None:
                text += f"; nearest was {self.next.what}, used to {self.next.mean:.0%}"
            return text.replace("%", " %")
        text = f"{self.what}{_by(self.roles)}, saturated {_percents(self.least, self.share)} of the time"
        if self.next is not None and self.next.share >= LIMITING:
            text += f"; then {self.next.what}, {_percents(self.next.least, self.next.share)}"
        return text.replace("%", " %")

    @property
    def what(self) -> str:
        """The resource and its hosts: "CPU of host1 and host2"."""
        hosts = self.hosts if len(self.hosts) <= 3 else (fold(self.hosts),)
        return f"{NAMES[self.resource]} of {_listed(hosts)}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the sentence among them."""
        names = ("resource", "share", "least", "mean", "sentence")
        after = None if self.next is None else self.next.to_json()
        return {
            **{name: getattr(self, name) for name in names},
            "hosts": list(self.hosts),
            "roles": dict(self.roles),
            "next": after,
        }


def limiting(usages: Sequence[Usage], phase: str) -> Limit | None:
    """What limits a phase at one ratio, from the usage of the workload's done trials there; None if none is known.

    It is the resource that was saturated longest on some host: all ranks wait for the slowest. Each share is the mean
    over the trials. Saturated hosts are those where it was so for at least half as long.
    """
    known = [found for found in (usage.phases.get(phase) for usage in usages) if found is not None]
    if not known:
        return None
    limits = [limit for resource in RESOURCES if (limit := _limit(known, resource)) is not None]
    if not limits:
        return None
    limits.sort(key=lambda limit: (round(limit.share, 2), limit.mean), reverse=True)
    first = limits[0]
    if first.share < LIMITING:
        nearest = max(limits, key=lambda limit: limit.mean)
        return Limit("none", (), first.share, 0.0, 0.0, {}, nearest)
    return Limit(
        first.resource,
        first.hosts,
        first.share,
        first.least,
        first.mean,
        first.roles,
        limits[1] if limits[1:] else None,
    )


def _limit(phases: Sequence[PhaseUsage], resource: str) -> Limit | None:
    uses: dict[str, list[ResourceUse]] = {}
    for phase in phases:
        for host, used in phase.hosts.items():
            if resource in used.resources:
                uses.setdefault(host, []).append(used.resources[resource])
    if not uses:
        return None
    share = {host: float(np.mean([use.saturated for use in found])) for host, found in uses.items()}
    mean = {host: float(np.mean([use.mean for use in found])) for host, found in uses.items()}
    most = max(share.values())
    if most > 0:
        hosts = tuple(host for host in uses if share[host] >= most / 2)
    else:
        hosts = (max(mean, key=lambda host: mean[host]),)
    roles: dict[str, float] = {}
    for host in hosts:
        for use in uses[host]:
            for role, part in use.roles.items():
                roles[role] = roles.get(role, 0.0) + part * use.mean
    least = min(share[host] for host in hosts)
    return Limit(resource, hosts, most, least, float(np.mean([mean[host] for host in hosts])), shares(roles))


def _by(roles: Mapping[str, float]) -> str:
    """ ", by server (71%) and client (29%)", the greatest first; what rounds to nothing is left out."""
    ranked = sorted(roles.items(), key=lambda item: -item[1])
    parts = [f"{role} ({share:.0%})" for role, share in ranked if share >= 0.005]
    return f", by {_listed(parts)}" if parts else ""


def _percents(least: float, most: float) -> str:
    low, high = f"{100 * least:.0f}", f"{100 * most:.0f}"
    return f"{high}%" if most - least < 0.05 or low == high else f"{low} to {high}%"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
