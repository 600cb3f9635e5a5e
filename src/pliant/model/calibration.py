"""From a few ratios that were measured to every other: parameters that explain them, and how sure they are.

The time that a unit takes, of the whole cluster's work, is put together from how long each resource of the fullest host
is busy with it:

    main = (cpu^p + nic^p + read^p + alone^p)^(1/p)        what goes on at the same time, or nearly
    unit = (main^q + write^q)^(1/q)                        what was written is flushed, more or less after it

With p and q large the slowest alone decides, with 1 one waits for the other. `alone` is what the operation takes of one
rank that nobody is in the way of, beyond what these resources explain: latency, locks, a serial program. CPU time per
unit is what telemetry found unfolded, times `1 + growth log8(nodes on the host)`, less what is saved where
traffic stays on the host: nodes that share CPUs interrupt each other and push each other out of caches.

p, q, growth, alone and the factors by which telemetry errs have priors, which are broad; draws from them are weighted
by how well they explain what was measured (importance sampling: Robert & Casella, "Monte Carlo Statistical Methods",
2004, chapter 3). What is predicted is the weighted draws' quantiles, and so is every interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pliant.model.fluid import Floats

DRAWS = 8192
_SEED = 17
_PARAMETERS = 5
_BANDWIDTH = (4 / (_PARAMETERS + 2)) ** (1 / (_PARAMETERS + 4))
"""Times the number of draws that carry the weight, to the power of -1/9, and their deviation (Silverman 1986)."""
_FREEDOM = 4.0
"""Of Student's t by which deviations are judged: one trial in some is far off, as a daemon was busy with its own."""


@dataclass(frozen=True)
class Priors:
    """What is known beforehand of any operation of any file system: logarithms' means and standard deviations.

    Set on runs of GlusterFS, MooseFS and CephFS (benchmarks/predicted.py), and checked on others of them.
    """

    overlap: tuple[float, float] = (math.log(7.0), 0.4)
    """Of p."""
    flush: tuple[float, float] = (math.log(1.8), 0.35)
    """Of q, where an operation is to move bytes, which caches take at first, ..."""
    journal: tuple[float, float] = (math.log(7.0), 0.4)
    """... and where it is not, so that what is written is written meanwhile."""
    growth: tuple[float, float] = (0.6, 0.5)
    """Of growth itself, which is -0.3 at least."""
    own: float = 0.05
    """By how much telemetry of an operation errs in what it used of CPU, ..."""
    job: float = 0.30
    """... and that of the job that it was too short a part of."""
    affinity: float = 0.5
    """Divided by the root of the ranks: by how much a folded host's NIC carries more or less than if every client had
    its data on all servers alike; which of a few files is on whose host is a matter of chance."""
    misfit: float = 0.06
    """By how much the model errs where all is as it was when it was calibrated, ..."""
    further: float = 0.06
    """... and how much more with each doubling of the ratio beyond what was measured."""


@dataclass(frozen=True)
class Loads:
    """Seconds that a unit keeps each resource of a host busy, for hosts that differ; `nodes` on each, and which part of
    their traffic is `local`, between them; `ranks` that work at the same time, in the whole cluster."""

    cpu: Floats
    nic: Floats
    read: Floats
    write: Floats
    nodes: Floats
    local: Floats
    ranks: float


@dataclass(frozen=True)
class Level:
    """What was measured at one ratio: units per second of each trial; and, where telemetry tells, the CPU seconds of a
    unit in the whole cluster, as a part of what they were unfolded, with the deviation of its logarithm."""

    ratio: float
    loads: Loads
    rates: tuple[float, ...]
    growth: float | None = None
    growth_deviation: float = 0.0


@dataclass(frozen=True)
class Draws:
    """Weighted draws of the parameters, as arrays of one length; `weight` adds up to 1."""

    weight: Floats
    overlap: Floats
    flush: Floats
    growth: Floats
    cpu: Floats
    alone_s: Floats
    """What a unit takes one rank alone, in seconds."""
    affinity: float
    """As in Priors."""
    cache: Floats
    """What caches take before they are as slow as disks, in times of what was written when it was measured."""
    origin: NDArray[np.int64] | None = None
    """Numbers of the draws that these came from, whose NICs carry the same; None for those in order."""

    def seconds(self, loads: Loads, work: float = 1.0) -> Floats:
        """Seconds that a unit of the whole cluster's work takes, for each draw, where each rank does `work` times what
        it did when it was measured."""
        return self.parts(loads, work)[0]

    def parts(self, loads: Loads, work: float = 1.0) -> tuple[Floats, dict[str, Floats]]:
        """The same, and for how long each resource, by its name in Loads, and `alone` would take it by itself."""
        on_host = loads.cpu * grown(self.growth, loads)
        one = np.ones_like(self.cpu)
        found = {
            "cpu": self.cpu * on_host.max(axis=1, initial=0.0),
            "nic": self._carried(loads) * loads.nic.max(initial=0.0),
            "read": one * loads.read.max(initial=0.0),
            "alone": self.alone_s / loads.ranks,
            "write": one * loads.write.max(initial=0.0),
        }
        main = _norm([part for name, part in found.items() if name != "write"], self.overlap)
        flushed = _norm([main, found["write"]], self.flush)
        # What is more than caches take is written while the rest goes on.
        taken = np.minimum(1.0, self.cache / work)
        return taken * flushed + (1 - taken) * np.maximum(main, found["write"]), found

    def _carried(self, loads: Loads) -> Floats:
        """By which factor NICs carry more than on average: where hosts have several nodes, drawn for each placement."""
        if loads.nodes.max(initial=0.0) <= 1:
            return np.ones_like(self.cpu)
        chance = np.random.default_rng([_SEED, len(loads.nodes), int(loads.nodes.max())])
        drawn = chance.standard_normal(len(self.cpu))
        drawn = drawn if self.origin is None else drawn[self.origin]
        return np.asarray(np.exp(self.affinity / np.sqrt(loads.ranks) * drawn))


_DOUBLINGS = 3.0
"""`growth` is by how much it grows on a host of 8 nodes, as a part of what it was."""
_LOCAL = 0.2
"""Part of the CPU time that is saved where all traffic stays on the host."""
_MOST_CACHE = 16.0
"""`cache` is between 1 and this, as likely to be in each doubling: it is only known that it took what was measured."""
_ALONE = 2
"""`alone` is a part of what a unit took unfolded, at most all of it: a uniform draw to this power, so that it is rather
little where something else explains all of that time."""


def grown(growth: Floats, loads: Loads) -> Floats:
    """By which factor CPU time per unit grows on each host (draws x hosts): with every doubling of its nodes, which
    interrupt each other, and less so where they need not send over a wire."""
    doublings = np.log2(np.maximum(loads.nodes, 1.0)) / _DOUBLINGS
    return np.asarray((1 + growth[:, None] * doublings[None, :]) * (1 - _LOCAL * loads.local[None, :]))


def _norm(parts: Sequence[Floats], power: Floats) -> Floats:
    most = np.max(parts, axis=0)
    scaled = [np.where(most > 0, part / np.maximum(most, 1e-300), 0.0) ** power for part in parts]
    return np.asarray(most * np.sum(scaled, axis=0) ** (1 / power))


def calibrate(
    levels: Sequence[Level], cpu_deviation: float, noise: float, moves: bool = True, priors: Priors | None = None
) -> Draws:
    """Draws that explain `levels`, the first of which is the unfolded cluster.

    `cpu_deviation` is how far the CPU time per unit of the unfolded cluster may be off, as a logarithm's deviation;
    `noise` a trial's, likewise. `moves` says whether units are bytes.
    """
    prior = _Prior(priors or Priors(), levels[0], cpu_deviation, moves)
    chance = np.random.default_rng(_SEED)
    normal = chance.standard_normal((_PARAMETERS, DRAWS))
    log_weight = prior.explained(prior.draws(normal, np.arange(DRAWS)), levels, noise)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    # A few draws may have nearly all of the weight: as many as before are drawn from them and spread a little, so that
    # mean and variance stay (a regularised particle filter: Musso, Oudjane & Le Gland 2001; the shrinkage: West 1993).
    origin = chance.choice(DRAWS, DRAWS, p=weight)
    narrow = _BANDWIDTH * (1 / float((weight**2).sum())) ** (-1 / (_PARAMETERS + 4))
    middle = (normal @ weight)[:, None]
    apart = np.sqrt(np.maximum((normal - middle) ** 2 @ weight, 1e-12))[:, None]
    kept = np.sqrt(max(0.0, 1 - narrow**2)) * (normal[:, origin] - middle)
    return prior.draws(middle + kept + narrow * apart * chance.standard_normal((_PARAMETERS, DRAWS)), origin)


@dataclass(frozen=True)
class _Prior:
    """What parameters mean that are drawn as standard normal numbers."""

    priors: Priors
    unfolded: Level
    cpu_deviation: float
    moves: bool

    def draws(self, normal: Floats, origin: NDArray[np.int64]) -> Draws:
        """Draws of one weight; `origin` numbers those that share what chance gave them beside the parameters."""
        priors, unfolded = self.priors, self.unfolded
        flush = priors.flush if self.moves else priors.journal
        measured_s = float(np.exp(-np.mean(np.log(unfolded.rates))))
        part = np.array([NormalDist().cdf(each) for each in normal[4].tolist()])
        return Draws(
            np.full(DRAWS, 1 / DRAWS),
            np.exp(np.clip(priors.overlap[0] + priors.overlap[1] * normal[0], 0.0, 4.0)),
            np.exp(np.clip(flush[0] + flush[1] * normal[1], 0.0, 4.0)),
            np.maximum(priors.growth[0] + priors.growth[1] * normal[2], -0.3),
            np.exp(self.cpu_deviation * normal[3]),
            measured_s * unfolded.loads.ranks * part**_ALONE,
            priors.affinity,
            _MOST_CACHE ** np.random.default_rng(_SEED).uniform(0.0, 1.0, DRAWS),
            origin,
        )

    def explained(self, draws: Draws, levels: Sequence[Level], noise: float) -> Floats:
        """How well draws explain what was measured: logarithms of likelihoods, but for a constant."""
        found = np.zeros(DRAWS)
        for level in levels:
            deviation = float(np.hypot(self.priors.misfit, noise / np.sqrt(len(level.rates))))
            found += _likely((np.mean(np.log(level.rates)) + np.log(draws.seconds(level.loads))) / deviation)
            if level.growth is not None and level.growth > 0:
                each = level.loads.cpu
                told = draws.cpu * (grown(draws.growth, level.loads) @ each) / max(each.sum(), 1e-300)
                found += _likely(np.log(level.growth / told) / level.growth_deviation)
        return found


def _likely(off: Floats) -> Floats:
    """The logarithm of Student's t's density, but for a constant."""
    return np.asarray(-(_FREEDOM + 1) / 2 * np.log1p(off**2 / _FREEDOM))


def deviations(scale: float, place: int) -> Floats:
    """For each draw how far something is off whose deviation is `scale`, in logarithms; another for each `place`."""
    return scale * _standard(place)


@cache
def _standard(place: int) -> Floats:
    return np.random.default_rng([_SEED, place + 1]).standard_t(_FREEDOM, DRAWS)


def normal_deviations(scale: float) -> Floats:
    """The same of what has no outliers, as it is a matter of many causes."""
    return np.asarray(scale * np.random.default_rng(_SEED).standard_normal(DRAWS))


def quantiles(values: Floats, weight: Floats, at: Sequence[float]) -> list[float]:
    """Quantiles of weighted values."""
    order = np.argsort(values)
    reached = np.cumsum(weight[order])
    return [float(values[order][min(int(np.searchsorted(reached, q)), len(values) - 1)]) for q in at]
