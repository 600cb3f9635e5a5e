"""For how long I/O stood still, from what clients moved over the network, and nodes that got no CPU. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pliant.composition.nodeset import fold
from pliant.telemetry.samples import Samples, Windows
from pliant.telemetry.usage import TRAFFIC_BYTE_S

_STALL = 0.05
"""I/O stalls while clients move less than this part of what they moved before the fault, or less than keep-alives are
(`telemetry.TRAFFIC_BYTE_S`)."""


def stalled_s(samples: Samples, clients: Sequence[str], begin_s: float, fault_s: float, end_s: float) -> float | None:
    """For how long the clients' I/O stood still between `fault_s` and `end_s`, in seconds, to a sample's interval.

    That is while they sent and received less than a twentieth of what they did from `begin_s` on until the fault; None
    if they did nothing then that could be compared. Times are of CLOCK_MONOTONIC.
    """
    columns = [f"node/{client}/{way}_bytes" for client in clients for way in ("sent", "received")]
    time_s, total = samples.time_s, samples.total(*columns)
    if len(time_s) < 2 or fault_s <= begin_s or end_s <= fault_s:
        return None
    before = np.interp([begin_s, fault_s], time_s, total)
    usual = float(before[1] - before[0]) / (fault_s - begin_s)
    if usual < TRAFFIC_BYTE_S:
        return None
    edges = np.unique(np.clip(time_s, fault_s, end_s))
    rates = np.diff(np.interp(edges, time_s, total)) / np.diff(edges)
    return float(np.diff(edges)[rates < max(_STALL * usual, TRAFFIC_BYTE_S)].sum())


def starved(samples: Samples, windows: Windows) -> str:
    """Which nodes wanted a CPU and got none for a second or more, longest first, in a sentence; "" if none did.

    That is no fault of the machine: on a host with many busy nodes and little CPU a turn can be so long in coming.
    """
    long = {}
    for name in samples.columns:
        if name.startswith("node/") and name.endswith("/starved_s"):
            total = samples.total(name)
            inside = [np.interp(window, samples.time_s, total) for window in windows.values()]
            seconds = sum(float(end - begin) for begin, end in inside) if len(samples.time_s) else 0.0
            if seconds >= 1:
                long[name.split("/")[1]] = seconds
    if not long:
        return ""
    worst = max(long, key=lambda node: long[node])
    others = f" (and {fold(sorted(long.keys() - {worst}))} for less)" if len(long) > 1 else ""
    return f"{worst} wanted a CPU and got none for {long[worst]:.0f} s{others}"
