"""Several file systems compared: which folds furthest, and which is fastest at each number of machines. Pure.

* **Furthest.** Each file system is judged against its own baseline, which is the same ratio for all. One folds further
  than another if it is shown to hold at a ratio by which the other is shown to break. Where the other is merely
  undecided by then, that is said, and no claim is made.
* **Fastest.** At each number of hosts that two or more of them were measured on, the best median; and that it is the
  fastest only if its interval meets no other's. Two 95 % intervals that do not meet differ at far less than the 5 %
  level (Schenker & Gentleman, *The American Statistician* 55, 2001), which leaves room for the several pairs of a row.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pliant.statistics.censoring import MedianIs
from pliant.statistics.verdict import SPELLING, RatioVerdict, Verdict, recommended_ratio
from pliant.trial import UNFOLDED
from pliant.workloads.model import Metric


@dataclass(frozen=True)
class Fold:
    """How far a file system is shown to fold; None is "not known", or for `breaks_at` "at none"."""

    filesystem: str
    holds_up_to: float | None
    hosts: int | None
    breaks_at: float | None


@dataclass(frozen=True)
class Furthest:
    """Who folds furthest. `best` are those with the largest ratio shown to hold, empty if no folding is shown to.

    `shown` says that all others are shown to break no later than that.
    """

    folds: tuple[Fold, ...]
    best: tuple[str, ...]
    shown: bool
    baseline: float = UNFOLDED
    """The ratio that losses are against."""

    @property
    def sentence(self) -> str:
        """In words, with a full stop."""
        return _furthest_sentence(self)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, the sentence among them."""
        folds = [{name: getattr(fold, name) for name in fold.__dataclass_fields__} for fold in self.folds]
        return {"filesystems": list(self.best), "shown": self.shown, "folds": folds, "sentence": self.sentence}


@dataclass(frozen=True)
class Measured:
    """What a file system reached on a number of hosts, at the ratio that needs so many: median and interval.

    Where `median_is` a bound or an end is open, the same as in `RatioVerdict`.
    """

    filesystem: str
    ratio: float
    median: float
    low: float | None
    high: float | None
    median_is: MedianIs = "exact"

    @property
    def ends(self) -> tuple[float, float]:
        """How far the interval may reach."""
        return (0.0 if self.low is None else self.low, math.inf if self.high is None else self.high)


@dataclass(frozen=True)
class AtHosts:
    """The file systems on so many hosts, best median first. `fastest` is None where the best are not told apart."""

    hosts: int
    measured: tuple[Measured, ...]
    fastest: str | None
    together: tuple[str, ...]
    """Those whose intervals meet that of the best median, itself among them; empty where one is the fastest."""

    def of(self, filesystem: str) -> Measured | None:
        """What that one reached here; None if it was not measured on so many hosts."""
        return next((each for each in self.measured if each.filesystem == filesystem), None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        measured = [{name: getattr(each, name) for name in each.__dataclass_fields__} for each in self.measured]
        return {
            "hosts": self.hosts,
            "filesystems": measured,
            "fastest": self.fastest,
            "not_told_apart": list(self.together),
        }


@dataclass(frozen=True)
class MetricComparison:
    """One metric of one workload: who folds furthest in it, and who is fastest at each number of hosts, most first."""

    workload: str
    metric: Metric
    furthest: Furthest
    at: tuple[AtHosts, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "workload": self.workload,
            "metric": self.metric.name,
            "unit": self.metric.unit,
            "better": self.metric.better,
            "furthest": self.furthest.to_json(),
            "fastest": [each.to_json() for each in self.at],
        }


@dataclass(frozen=True)
class Comparison:
    """All file systems of a study: as a whole, and metric by metric."""

    filesystems: tuple[str, ...]
    max_loss: float
    furthest: Furthest
    metrics: tuple[MetricComparison, ...]

    @property
    def hosts(self) -> tuple[int, ...]:
        """The numbers of hosts at which anything is compared, most first."""
        return tuple(sorted({at.hosts for metric in self.metrics for at in metric.at}, reverse=True))

    @property
    def fastest_sentences(self) -> tuple[str, ...]:
        """For each number of hosts, who is the fastest in how many metrics."""
        return tuple(_fastest_sentence(self, hosts) for hosts in self.hosts)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: `comparison` of verdict.json."""
        return {
            "filesystems": list(self.filesystems),
            "max_loss": self.max_loss,
            "furthest": self.furthest.to_json(),
            "fastest": list(self.fastest_sentences),
            "metrics": [each.to_json() for each in self.metrics],
        }


def compare(verdicts: Mapping[str, Sequence[Verdict]], max_loss: float) -> Comparison:
    """Compare file systems by their verdicts, label -> those of all metrics, in the same order for each."""
    baseline = max((verdict.baseline for many in verdicts.values() for verdict in many), default=UNFOLDED)
    whole = _furthest({label: _fold(label, many) for label, many in verdicts.items()}, baseline)
    metrics = []
    for same in zip(*verdicts.values(), strict=True):
        each = dict(zip(verdicts, same, strict=True))
        folds = _furthest({label: _fold(label, [verdict]) for label, verdict in each.items()}, baseline)
        metrics.append(MetricComparison(same[0].workload, same[0].metric, folds, tuple(_at_hosts(each))))
    return Comparison(tuple(verdicts), max_loss, whole, tuple(metrics))


def _fold(label: str, verdicts: Sequence[Verdict]) -> Fold:
    ratio = recommended_ratio(verdicts)
    broken = [verdict.breaks_at for verdict in verdicts if verdict.breaks_at is not None]
    hosts = None if ratio is None else verdicts[0].at(ratio).hosts
    return Fold(label, ratio, hosts, min(broken, default=None))


def _furthest(folds: Mapping[str, Fold], baseline: float) -> Furthest:
    reached = {label: fold.holds_up_to for label, fold in folds.items() if fold.holds_up_to is not None}
    most = max(reached.values(), default=baseline)
    if most <= baseline:
        return Furthest(tuple(folds.values()), (), False, baseline)
    best = tuple(label for label, ratio in reached.items() if ratio == most)
    others = [fold for label, fold in folds.items() if label not in best]
    shown = all(fold.breaks_at is not None and fold.breaks_at <= most for fold in others)
    return Furthest(tuple(folds.values()), best, shown, baseline)


def _at_hosts(verdicts: Mapping[str, Verdict]) -> Iterator[AtHosts]:
    rows: dict[int, list[tuple[str, RatioVerdict]]] = {}
    for label, verdict in verdicts.items():
        for row in verdict.ratios:
            if row.median is not None:
                rows.setdefault(row.hosts, []).append((label, row))
    better = next(iter(verdicts.values())).metric.better
    for hosts in sorted(rows, reverse=True):
        if len(rows[hosts]) > 1:
            found = [_measured(label, row) for label, row in rows[hosts]]
            found.sort(key=lambda each: each.median, reverse=better == "higher")
            together = tuple(each.filesystem for each in found[1:] if _meet(found[0], each))
            fastest = None if together else found[0].filesystem
            yield AtHosts(hosts, tuple(found), fastest, (found[0].filesystem, *together) if together else ())


def _measured(label: str, row: RatioVerdict) -> Measured:
    return Measured(label, row.ratio, row.median or 0.0, row.low, row.high, row.median_is)


def _meet(one: Measured, other: Measured) -> bool:
    """Whether two intervals meet; those that are not known may."""
    (low, high), (lowest, highest) = one.ends, other.ends
    return low <= highest and lowest <= high


def spelled(label: str) -> str:
    """A file system's label as people write it: "GlusterFS" where it is just its kind."""
    return SPELLING.get(label, label)


def _furthest_sentence(furthest: Furthest) -> str:
    folds = {fold.filesystem: fold for fold in furthest.folds}
    base = furthest.baseline
    against = "" if base == UNFOLDED else f" All of it is against ratio {base:.3g}, which is itself folded."
    if not furthest.best:
        further = "fold" if base == UNFOLDED else "fold further"
        return f"None of {_listed(list(folds))} is shown to {further}.{against}"
    first = folds[furthest.best[0]]
    hosts = {folds[label].hosts for label in furthest.best}
    count = hosts.pop() if len(hosts) == 1 else None
    place = f"ratio {first.holds_up_to:.3g}" + ("" if count is None else f" ({count} host{'s' if count != 1 else ''})")
    others = [fold for fold in furthest.folds if fold.filesystem not in furthest.best]
    if len(furthest.best) > 1:
        text = f"{_listed(furthest.best)} are shown to fold equally far, to {place}"
    elif furthest.shown:
        text = f"{spelled(first.filesystem)} folds furthest, to {place}"
    else:
        text = f"{spelled(first.filesystem)} is shown to fold to {place}"
    parts = [text, *(_other(fold, first.holds_up_to or base, base) for fold in others)]
    return "; ".join(parts) + f".{against}"


def _other(fold: Fold, most: float, baseline: float) -> str:
    """One that is not shown to fold as far."""
    name = spelled(fold.filesystem)
    if fold.holds_up_to is None:
        return f"nothing is known about {name}"
    text = f"{name} is not shown to fold"
    if fold.holds_up_to > baseline:
        text = f"{name} to ratio {fold.holds_up_to:.3g}"
    if fold.breaks_at is not None and fold.breaks_at <= most:
        return f"{text}, and breaks at {fold.breaks_at:.3g}"
    return f"{text}, and is undecided up to {most:.3g}, so the two are not told apart"


def _fastest_sentence(comparison: Comparison, hosts: int) -> str:
    rows = [at for metric in comparison.metrics for at in metric.at if at.hosts == hosts]
    total = f" of {len(rows)} metric{'s' if len(rows) != 1 else ''}"
    parts: list[str] = []
    alone = Counter(at.fastest for at in rows if at.fastest is not None)
    for label, count in alone.most_common():
        parts.append(f"{spelled(label)} {'' if parts else 'is fastest '}in {count}{'' if parts else total}")
    together = Counter(tuple(f for f in comparison.filesystems if f in at.together) for at in rows if at.together)
    for labels, count in together.most_common():
        parts.append(f"{_listed(labels)} are not told apart in {count}{'' if parts else total}")
    return f"On {hosts} host{'s' if hosts != 1 else ''}, {'; '.join(parts)}."


def _listed(labels: Sequence[str]) -> str:
    names = [spelled(label) for label in labels]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
