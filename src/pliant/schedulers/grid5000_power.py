"""What hosts of Grid'5000 drew in a span of time, from the testbed's wattmetres; few of its nodes have one.

The metric is `wattmetre_power_watt`, a sample a second by default (Grid5000:Monitoring_Using_Kwollect). What a node's
own BMC says is another thing, and not taken for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from pliant.schedulers.grid5000_api import Api
from pliant.schedulers.interface import SchedulerError

METRIC = "wattmetre_power_watt"
LONGEST_GAP_S = 5.0
"""Samples further apart than this say nothing of what was between them: the period is a second."""

_MOST_SAMPLES = 50_000

Series = Sequence[tuple[float, float]]
"""(Seconds since the epoch, watts), in order, one for each moment."""


@dataclass(frozen=True)
class Drawn:
    """What one host drew: watts on average, joules over the whole span at that average, and from how much of it.

    `covered` is the share of the span (0 to 1) that samples speak of; of the rest the average is taken.
    """

    host: str
    mean_w: float
    energy_j: float
    covered: float
    samples: int


def drawn(
    api: Api, site: str, hosts: Sequence[str], begin_s: float, end_s: float, with_one: Sequence[str] | None = None
) -> dict[str, Drawn]:
    """Host -> what it drew from then to then; only hosts that have a wattmetre, and samples, are in it. `with_one` is
    what `metered` says of the hosts, for who knows it."""
    with_one = metered(api, site, hosts) if with_one is None else with_one
    samples: list[Mapping[str, Any]] = []
    for names, begin, end in _requests(with_one, begin_s, end_s):
        # A second more on either side: the first sample of the span may be a moment after its begin.
        span = {"start_time": math.floor(begin) - 1, "end_time": math.ceil(end) + 1}
        answer = api.get(f"sites/{site}/metrics", nodes=",".join(names), metrics=METRIC, **span)
        if not isinstance(answer, list):
            raise SchedulerError(f"what Grid'5000 says of the metrics of {', '.join(names)} is no list")
        samples += answer
    by_name = series(samples)
    found = {host: mean(host, by_name.get(_short(host), ()), begin_s, end_s) for host in hosts}
    return {host: each for host, each in found.items() if each is not None}


def with_wattmetre(cluster: Mapping[str, Any], hosts: Iterable[str]) -> list[str]:
    """The short names of those hosts of a cluster that have a wattmetre, by the cluster's description. Pure."""
    metrics = cluster.get("metrics")
    own = [each for each in metrics if isinstance(each, Mapping)] if isinstance(metrics, list) else []
    metric = next((each for each in own if each.get("name") == METRIC), None)
    if metric is None:
        return []
    only = metric.get("only_for")
    return [name for name in map(_short, hosts) if not isinstance(only, list) or name in only]


def series(samples: Iterable[object]) -> dict[str, Series]:
    """Short name -> its samples, in order. Pure.

    What is no sample of the metric is left out; of several at one moment the mean is taken.
    """
    found: dict[str, dict[float, list[float]]] = {}
    for each in samples:
        if isinstance(each, Mapping) and each.get("metric_id") == METRIC:
            moment, watts = _moment(each.get("timestamp")), each.get("value")
            if moment is not None and isinstance(watts, int | float) and math.isfinite(watts) and watts >= 0:
                found.setdefault(_short(str(each.get("device_id"))), {}).setdefault(moment, []).append(float(watts))
    return {
        name: [(moment, sum(values) / len(values)) for moment, values in sorted(by_moment.items())]
        for name, by_moment in found.items()
    }


def mean(
    host: str, samples: Series, begin_s: float, end_s: float, longest_gap_s: float = LONGEST_GAP_S
) -> Drawn | None:
    """The average over a span, by trapezoids between samples. None if they speak of none of it. Pure."""
    if end_s <= begin_s:
        raise ValueError(f"a span from {begin_s} to {end_s} has no length")
    joules = covered_s = 0.0
    used = sum(begin_s <= moment <= end_s for moment, _ in samples)
    for (t0, w0), (t1, w1) in pairwise(samples):
        begin, end = max(t0, begin_s), min(t1, end_s)
        if begin < end and t1 - t0 <= longest_gap_s:
            slope = (w1 - w0) / (t1 - t0)
            joules += (end - begin) * (w0 + slope * ((begin + end) / 2 - t0))
            covered_s += end - begin
    if not covered_s:
        return None
    watts = joules / covered_s
    return Drawn(host, watts, watts * (end_s - begin_s), covered_s / (end_s - begin_s), used)


def metered(api: Api, site: str, hosts: Sequence[str]) -> list[str]:
    """The short names of hosts with a wattmetre, whatever clusters they are of."""
    clusters = dict.fromkeys(_short(host).rpartition("-")[0] for host in hosts)
    found: list[str] = []
    for cluster in clusters:
        described = api.get(f"sites/{site}/clusters/{cluster}")
        if not isinstance(described, Mapping):
            raise SchedulerError(f"what Grid'5000 says of the cluster {cluster} is no description")
        found += with_wattmetre(described, [host for host in hosts if _short(host).rpartition("-")[0] == cluster])
    return found


def _requests(names: Sequence[str], begin_s: float, end_s: float) -> Iterator[tuple[Sequence[str], float, float]]:
    """Spans and hosts of which each makes an answer of a bearable size."""
    at_once = 20
    for first in range(0, len(names), at_once):
        some = names[first : first + at_once]
        step_s = _MOST_SAMPLES / len(some)
        for number in range(math.ceil((end_s - begin_s) / step_s)):
            begin = begin_s + number * step_s
            yield some, begin, min(end_s, begin + step_s)


def _moment(value: object) -> float | None:
    """A timestamp in seconds since the epoch; None if it is none, or has no zone."""
    if isinstance(value, int | float):
        return float(value)
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found.timestamp() if found.tzinfo else None


def _short(host: str) -> str:
    return host.partition(".")[0]
