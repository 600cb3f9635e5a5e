"""For how long I/O stood still, from what clients moved over the network. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pliant.telemetry import TRAFFIC_BYTE_S, Samples

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
