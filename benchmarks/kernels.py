"""What nodes with a kernel of their own cost: time to start, memory, and how long a refold of busy ones takes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence

from pliant.machine.deployment import Deployment, HostFigures, NodeRequest
from pliant.machine.parts import UML

from .figures import Figure, Rule
from .machine import FAILURES, MIB, Bench, available_bytes, bring_up, made, request, short

HOW = """Instances of User Mode Linux of 160 MiB, each with a disk of 256 MiB, each on a host of its own. `up`:
`Deployment.up` and `limit(True)` by the clock, to the answer of each one's init. Memory: `MemAvailable` after `echo 3 >
/proc/sys/vm/drop_caches`, before and after, by instance. Refold: each writes to its disk all the time; from as many
hosts to half of them and back, by the clock; then each has to have its disk mounted and to write on."""
_HOST = HostFigures(cores=0.1, nic_bit_s=100e6, disk_byte_s=50e6, memory_bytes=1 << 30)
_DISK = "/srv/disk"
_WRITES = f"while :; do dd if=/dev/zero of={_DISK}/file bs=64k count=64 conv=fsync 2>/dev/null; done"


def run(bench: Bench) -> None:
    """Figures for a growing number of instances."""
    with bench.part("kernels", HOW):
        for count in (1, 8) if bench.quick else (1, 8, 16):
            known: dict[str, list[float]] = {}
            failed = ""
            for _ in range(bench.repeats):
                bench.quiet()
                try:
                    for what, value in once(count).items():
                        known.setdefault(what, []).append(value)
                except FAILURES as error:
                    failed = short(error)
                    break
            for what, unit in (("up", "s"), ("memory each", "MiB"), *([("refolded, busy", "s")] if count > 1 else ())):
                most = 0.5 if count == 8 and what == "refolded, busy" else None
                rule: Rule = "at most" if most else ""
                values = tuple(known.get(what, ()))
                bench.add(Figure("kernels", f"{count} instances: {what}", unit, values, rule, most, failed=failed))


def once(count: int) -> dict[str, float]:
    """What so many instances take from nothing, and to be refolded while they write."""
    found = {}
    names = [f"n{number}" for number in range(1, count + 1)]
    apart = {name: number for number, name in enumerate(names, 1)}
    before = available_bytes()
    with made(_HOST) as deployment:
        began = time.monotonic()
        bring_up(deployment, [_instance(number) for number in apart.values()], apart, count)
        found["up"] = time.monotonic() - began
        found["memory each"] = (before - available_bytes()) / count / MIB
        if count > 1:
            found["refolded, busy"] = _refolded(deployment, names, apart)
    return found


def _instance(number: int) -> NodeRequest:
    keys = {"kind": UML, "memory_bytes": 160 * MIB, "disk": _DISK, "disk_bytes": 256 * MIB}
    return request(number, **keys)


def _refolded(deployment: Deployment, names: Sequence[str], apart: dict[str, int]) -> float:
    """Seconds of the longer of two refolds; ValueError if a node does not write on afterwards."""
    busy = [
        deployment.start(name, ["sh", "-c", _WRITES], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for name in names
    ]
    took = []
    try:
        for placement in ({name: (host + 1) // 2 for name, host in apart.items()}, apart):
            time.sleep(1)
            began = time.monotonic()
            deployment.refold(placement)
            took.append(time.monotonic() - began)
        for name in names:
            argv = ["sh", "-c", f"findmnt {_DISK} && echo here > {_DISK}/after && sync -f {_DISK}"]
            if deployment.execute(name, argv, timeout_s=60).exit_status != 0:
                raise ValueError(f"{name} has lost its disk")
    finally:
        for process in busy:
            process.kill()
            process.wait()
    return max(took)
