"""What `sampler` is to read for a deployment: the names of its columns, and where the kernel has their numbers.

Columns are named host/HOST/WHAT, node/NODE/WHAT and machine/WHAT, and WHAT ends with its unit. Except for memory, what
waits in a queue and `in_flight`, all of them count up; a queue's begin again when limits are switched on or off.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from . import network
from .cgroup import Cgroups

EVERY_S = 0.2
"""Telemetry is to have 4 samples a second or more; a fifth makes up for one that comes late."""

_CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""/proc/stat's first line, after its name (proc(5)); in ticks."""
_DISK_FIELDS = {
    "read_bytes": (2, 512.0),
    "read_wait_s": (3, 1e-3),
    "written_bytes": (6, 512.0),
    "write_wait_s": (7, 1e-3),
    "in_flight": (8, 1.0),
    "disk_busy_s": (9, 1e-3),
}
"""Documentation/block/stat.rst: sectors of 512 bytes, ms that requests took all together, ms with any. The time for
which blk-throttle holds a request back comes before all that, and is in none of them."""
_LINK_FIELDS = {"sent": "rx", "received": "tx"}
"""The fabric's end of a node's link receives what the node sends."""


def plan(
    cgroups: Cgroups,
    group: str,
    *,
    hosts: int,
    placement: Mapping[str, int],
    links: Mapping[str, int],
    disks: Mapping[str, str | None],
    beats: Mapping[int, Mapping[int, str]],
    lost: Mapping[str, str] = MappingProxyType({}),
    inside: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    out: str,
    every_s: float = EVERY_S,
) -> dict[str, Any]:
    """The plan of `sampler` for a deployment as it is folded now; it is JSON.

    `group` is the deployment's ("pliant-ID"), `placement` maps each node to its host (1 to `hosts`), `links` to its
    number in the fabric, `disks` to its disk's "MAJOR:MINOR", `beats` a host to its CPUs, and each to the file in
    which the metronome tells how late it was there, `lost` a node with a kernel of its own to the file of its
    `watchdog`, `inside` to what `sampler.Inside` is told of it, its columns' names without the node's. `out` is the
    file to write, `every_s` the time between two samples. After a refold another plan is needed.
    """
    numbers = range(1, hosts + 1)
    found: dict[str, Any] = {"every_s": every_s, "out": out}
    found["hosts"] = [
        counter for host in numbers for counter in of_group(cgroups, f"{group}/host-{host}", f"host/host{host}")
    ]
    files = of_machine() + [each for host in numbers for each in _withheld(f"host/host{host}", beats.get(host, {}))]
    for node, host in placement.items():
        own = of_group(cgroups, f"{group}/host-{host}/{node}", f"node/{node}")
        files += [counter for counter in own if counter["name"].endswith(("/cpu_s", "/memory_bytes"))]
        if disk := disks.get(node):
            files += of_disk(disk, f"node/{node}")
        if node in lost:
            files += _lost(lost[node], f"node/{node}")
    found["files"] = files
    found["inside"] = [_inside(about, f"node/{node}") for node, about in inside.items()]
    found["starving"] = [
        {
            "name": f"node/{node}/starved_s",
            "cpu": f"node/{node}/cpu_s",
            "procs": cgroups.join_files(f"{group}/host-{host}/{node}")[-1],
        }
        for node, host in placement.items()
    ]
    found["links"] = [
        {"name": f"node/{node}/{way}_{unit}", "factor": 1.0, "link": network.link(number), "field": f"{field}_{unit}"}
        for node, number in links.items()
        if node in placement
        for way, field in _LINK_FIELDS.items()
        for unit in ("bytes", "packets")
    ]
    found["queues"] = [
        {"name": f"host/host{host}/{way}_{what}", "factor": 1.0, "link": link(host), "field": what}
        for host in numbers
        for way, link in (("up", network.uplink), ("down", network.downlink))
        for what in ("bytes", "packets", "drops", "backlog_bytes")
    ]
    return found


def _withheld(prefix: str, beats: Mapping[int, str]) -> list[dict[str, Any]]:
    return [{"name": f"{prefix}/withheld_cpu{cpu}_s", "factor": 1e-9, "file": file} for cpu, file in beats.items()]


def _lost(file: str, prefix: str) -> list[dict[str, Any]]:
    counts = (("lost_packets", "drops ", 1.0), ("asleep_s", "asleep ", 1e-9))
    return [{"name": f"{prefix}/{what}", "factor": factor, "file": file, "key": key} for what, key, factor in counts]


def _inside(about: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {**about, "columns": [[f"{prefix}/{name}", factor] for name, factor in about["columns"]]}


def of_group(cgroups: Cgroups, group: str, prefix: str) -> list[dict[str, Any]]:
    """What a control group used."""
    return [
        {"name": f"{prefix}/{what}", "factor": counter.factor, "file": counter.file, "key": counter.key}
        for what, counter in cgroups.counters(group).items()
    ]


def of_disk(disk: str, prefix: str) -> list[dict[str, Any]]:
    """What a disk, "MAJOR:MINOR", did."""
    return [
        {"name": f"{prefix}/{what}", "factor": factor, "file": f"/sys/dev/block/{disk}/stat", "field": field}
        for what, (field, factor) in _DISK_FIELDS.items()
    ]


def of_machine() -> list[dict[str, Any]]:
    """CPU time by kind, swapping, and for how long something waited for CPU, disk or memory."""
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    page = float(os.sysconf("SC_PAGE_SIZE"))
    found: list[dict[str, Any]] = [
        {"name": f"machine/{kind}_s", "factor": tick_s, "file": "/proc/stat", "field": field}
        for field, kind in enumerate(_CPU_FIELDS, 1)
    ]
    for what, key in (("swapped_in_bytes", "pswpin "), ("swapped_out_bytes", "pswpout ")):
        found.append({"name": f"machine/{what}", "factor": page, "file": "/proc/vmstat", "key": key})
    for what in ("cpu", "io", "memory"):
        file = f"/proc/pressure/{what}"
        found.append({"name": f"machine/{what}_pressure_s", "factor": 1e-6, "file": file, "key": "total="})
    return found
