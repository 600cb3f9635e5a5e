"""What all parts share: a quiet machine, bare nodes on emulated hosts, commands in them, repetitions, and progress."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pliant.cluster.cluster import uninterrupted
from pliant.machine import cgroup, cgroups
from pliant.machine.deployment import Deployment, HostFigures, NodeRequest
from pliant.machine.facts import look
from pliant.machine.journal import Journal, deployments
from pliant.machine.needing import visible
from pliant.machine.process import CommandFailed, environment, run
from pliant.machine.teardown import TeardownError

from .figures import Figure, Results

MIB = 1 << 20
WIDE = HostFigures(cores=64.0, nic_bit_s=40e9, disk_byte_s=20e9, memory_bytes=2 << 30)
"""Limits that are switched on and too wide to matter; parts narrow the one that they measure."""
FAILURES = (
    CommandFailed,
    TeardownError,
    cgroup.CgroupError,
    subprocess.TimeoutExpired,
    OSError,
    ValueError,
    KeyError,
)
"""What one measurement may fail with without ending the others."""

_IDLE = 0.05
"""A machine is idle if less than this part of its CPU time is used ..."""
_LOOK_S = 0.4
_NAMESPACE_S = 0.05
"""... and if a new network namespace takes less than this: the kernel makes none while it removes others."""
_PATIENCE_S = 120.0
"""After so long it is measured all the same, and said that it was disturbed."""


@dataclass
class Bench:
    """A run: what it is asked for, and what it has found so far."""

    results: Results
    quick: bool = False
    repeats: int = 3
    began: float = field(default_factory=time.monotonic)
    disturbed: int = 0

    def passed_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began

    def say(self, text: str) -> None:
        """One line of progress."""
        passed = int(self.passed_s())
        print(f"[{passed // 60:3d}:{passed % 60:02d}] {text}", file=sys.stderr, flush=True)

    def add(self, figure: Figure) -> Figure:
        """Keep a figure, and say it."""
        self.results.figures.append(figure)
        _, what, promised, measured, ratio, verdict = figure.row()
        self.say(f"{figure.part}: {what}: {' | '.join(t for t in (measured, promised, ratio, verdict) if t)}")
        return figure

    def measure(self, figure: Figure, once: Callable[[], float]) -> Figure:
        """Measure a figure as often as this run repeats things, on a quiet machine each time, and keep it."""
        values: list[float] = []
        try:
            for _ in range(self.repeats):
                self.quiet()
                values.append(once())
        except FAILURES as error:
            return self.add(replace(figure, values=tuple(values), failed=short(error)))
        return self.add(replace(figure, values=tuple(values)))

    def quiet(self) -> None:
        """Wait until the machine is idle and nothing of what was before is still being written or removed."""
        begin = told = time.monotonic()
        os.sync()
        while (busy := _busy()) > _IDLE or namespace_s() > _NAMESPACE_S:
            now = time.monotonic()
            if now - begin > _PATIENCE_S:
                self.say(f"the machine does not become idle ({busy:.0%} busy): what comes next is disturbed")
                self.disturbed += 1
                return
            if now - told > 5:
                told = now
                self.say(f"waiting for the machine to become idle ({busy:.0%} busy)")

    @contextlib.contextmanager
    def part(self, name: str, how: str) -> Iterator[None]:
        """A part of the run: what fails in it does not stop the others."""
        self.results.how[name] = " ".join(how.split())
        self.say(name)
        try:
            yield
        except FAILURES as error:
            self.add(Figure(name, "the rest of this part", "", failed=short(error)))


def short(error: BaseException) -> str:
    """An error in a cell of a table."""
    text = " ".join((str(error) or type(error).__name__).split())
    return text if len(text) <= 160 else f"{text[:157]}..."


# The machine


def describe(command: str) -> dict[str, str]:
    """What the figures are from."""
    facts = look()
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{facts.cores} CPUs ({facts.cpu}), {facts.memory_bytes / (1 << 30):.0f} GiB of memory",
        "system": facts.system,
        "kernel": f"{platform.system()} {facts.kernel}, control groups {facts.cgroups or facts.cgroups_error}",
        "command": f"`{command}`",
    }


def stolen_s() -> float:
    """CPU time that the hypervisor gave to others since boot: proc(5), /proc/stat."""
    return int(Path("/proc/stat").read_text().split()[8]) / os.sysconf("SC_CLK_TCK")


def others() -> int:
    """Deployments of other people that are up: they take CPU, and are spared by ours."""
    own = os.getpid()
    return sum(1 for journal in deployments() if (owner := journal.owner()) is not None and owner.pid != own)


def namespace_s() -> float:
    """How long a new network namespace takes: as long as the kernel still removes former ones."""
    begin = time.monotonic()
    run(["unshare", "--net", "true"], timeout_s=600).check()
    return time.monotonic() - begin


def _busy() -> float:
    """The part of the machine's CPU time that is used now; waiting for disks is not."""

    def read() -> tuple[int, int]:
        words = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        return sum(words), words[3] + words[4]

    total, idle = read()
    time.sleep(_LOOK_S)
    total_now, idle_now = read()
    return 1 - (idle_now - idle) / max(1, total_now - total)


def drop_caches() -> None:
    """Write back what is dirty, and empty the page cache and what the kernel keeps of files."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def available_bytes() -> int:
    """Memory that is not in use; caches are emptied first."""
    drop_caches()
    time.sleep(0.5)
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


# Nodes


def request(number: int, **keys: Any) -> NodeRequest:
    """Node number N, from 1, with the N-th address of the emulated network."""
    return NodeRequest(f"n{number}", f"10.77.{1 + (number - 1) // 250}.{1 + (number - 1) % 250}", **keys)


@contextlib.contextmanager
def made(figures: HostFigures) -> Iterator[Deployment]:
    """A deployment that is not up yet; whatever becomes of it, it is removed."""
    deployment = Deployment(Journal.create("bench"), cgroups.probe(), figures)
    try:
        yield deployment
    finally:
        with uninterrupted():
            deployment.remove()


def bring_up(deployment: Deployment, requests: Sequence[NodeRequest], placement: Mapping[str, int], hosts: int) -> None:
    """Nodes up, and the limits on CPU, NIC and disk on."""
    deployment.up(requests, placement, hosts, visible())
    deployment.limit(True)


def promise(
    deployment: Deployment,
    *,
    cores: float = WIDE.cores,
    nic_bit_s: float = WIDE.nic_bit_s,
    disk_byte_s: float = WIDE.disk_byte_s,
) -> None:
    """Limits of these figures on all hosts, the others too wide to matter."""
    deployment.figures = replace(deployment.figures, cores=cores, nic_bit_s=nic_bit_s, disk_byte_s=disk_byte_s)
    deployment.limit(True)


def python(code: str, *arguments: object) -> list[str]:
    """The command line of a Python program that works inside a node."""
    return [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)]


_AT = "import os, sys, time; time.sleep(max(0, float(sys.argv[1]) - time.time())); os.execvp(sys.argv[2], sys.argv[2:])"
_LEAD_S = 0.6
"""Time for which commands wait for each other, so that all begin at the same moment."""


def together(deployment: Deployment, commands: Mapping[str, Sequence[str]], timeout_s: float = 120.0) -> dict[str, str]:
    """What commands print that run at the same time, one in each of some nodes."""
    at = time.time() + _LEAD_S
    logs = {node: deployment.journal.directory / f"bench-{node}" for node in commands}
    processes = {}
    for node, argv in commands.items():
        logs[node].unlink(missing_ok=True)
        processes[node] = deployment.popen(node, python(_AT, at, *argv), logs[node])
    until = time.monotonic() + timeout_s
    for node, process in processes.items():
        status = process.wait(max(1.0, until - time.monotonic()))
        if status != 0:
            raise CommandFailed(commands[node], status, "", logs[node].read_text(), node)
    return {node: log.read_text() for node, log in logs.items()}


def parsed(text: str) -> Any:
    """The JSON object in what a program printed, warnings around it left out; raises ValueError."""
    begin, end = text.find("{"), text.rfind("}")
    return json.loads(text[begin : end + 1])


def version(*argv: str) -> str:
    """The first line that a program says of itself."""
    try:
        done = run(argv, timeout_s=20, env=environment())
        return ((done.stdout or done.stderr).splitlines() or [""])[0].strip()
    except CommandFailed:
        return ""
