"""What it costs to sample what hosts and nodes use."""

from __future__ import annotations

import os
import time
from pathlib import Path

from pliant.machine.deployment import Deployment, HostFigures

from .figures import Figure
from .machine import MIB, Bench, bring_up, made, request

HOST = HostFigures(cores=0.2, nic_bit_s=100e6, disk_byte_s=50e6, memory_bytes=1 << 30)
LENGTH_S = 20.0
DISKS = 8

HOW = """Nodes on as many hosts, 8 of them with a disk, sampled by `Deployment.telemetry` as during a trial.
CPU time of the sampler by /proc/PID/stat (user and system) over {length_s:.0f} s, without its start; samples counted
in its file."""


def run(bench: Bench) -> None:
    """CPU time of the sampler, and how often it samples."""
    nodes = 64
    length_s = LENGTH_S / 4 if bench.quick else LENGTH_S
    with bench.part("telemetry", HOW.format(length_s=length_s)), made(HOST) as deployment:
        requests = [
            request(number, **({"disk": "/mnt/disk", "disk_bytes": 256 * MIB} if number <= DISKS else {}))
            for number in range(1, nodes + 1)
        ]
        bring_up(deployment, requests, {f"n{number}": number for number in range(1, nodes + 1)}, nodes)
        cores, rates = [], []
        for number in range(bench.repeats):
            bench.quiet()
            bench.say(f"telemetry: {number + 1}")
            used, rate = _once(deployment, deployment.journal.directory / f"samples-{number}", length_s)
            cores.append(100 * used)
            rates.append(rate)
        name = f"{nodes} nodes, {nodes} hosts, {DISKS} disks"
        bench.add(Figure("telemetry", f"{name}: CPU of the sampler", "% of a core", tuple(cores), "at most", 2.0))
        bench.add(Figure("telemetry", f"{name}: samples", "Hz", tuple(rates), "at least", 4.0))


def _once(deployment: Deployment, out: Path, length_s: float) -> tuple[float, float]:
    """CPU seconds a second, and samples a second."""
    with deployment.telemetry(out):
        pid = _sampler(deployment)
        time.sleep(1)
        began, used, lines = time.monotonic(), _cpu_s(pid), _lines(out)
        time.sleep(length_s)
        length = time.monotonic() - began
        return (_cpu_s(pid) - used) / length, (_lines(out) - lines) / length


def _sampler(deployment: Deployment) -> int:
    """The PID of the deployment's sampler; raises ValueError if there is none."""
    plan = str(deployment.journal.directory / "sampler.json").encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if plan in (entry / "cmdline").read_bytes().split(b"\0"):
                    return int(entry.name)
            except OSError:
                continue
    raise ValueError("no sampler runs")


def _cpu_s(pid: int) -> float:
    """User and system time of a process: proc(5), fields 14 and 15 of stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _lines(out: Path) -> int:
    return out.read_bytes().count(b"\n")
