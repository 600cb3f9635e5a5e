"""How a host's CPU is shared among its busy nodes, and how long a node that wakes waits for it beside them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pliant.machine.deployment import Deployment
from pliant.machine.process import CommandFailed, environment

from .figures import Figure
from .machine import WIDE, Bench, bring_up, made, promise, python, request

HOW = """Nodes of one host run a Python program each that never waits, and notes each half second of the clock how much
CPU time it used (`time.process_time`), for 5 s, the first half second left out; one node more runs one that sleeps for
5 ms, notes how much later it woke, and works for 0.1 ms. *least of its due*: what the node that got least in any half
second got, as a part of what all got in the mean; *most* likewise; *over all*: in all of the time. The target is 5 %,
for half a second 5 % and one turn of 2 ms. *a whole CPU*: the same programs outside of pliant, on one CPU without a
limit: the real machine of one core to be like."""

CORES = (0.05, 0.2, 0.5, 1.0)
BUSY = (1, 2, 4, 8)
TURN_S = 0.002
_LENGTH_S = 5.0
_EDGE_S = 0.5
_BUSY = f"""
import sys, time
at, edge = float(sys.argv[1]), float(sys.argv[1]) + {_EDGE_S}
time.sleep(max(0, at - time.time()))
used, found = time.process_time(), []
while edge <= at + {_LENGTH_S}:
    now = time.time()
    if now >= edge:
        spent = time.process_time()
        found.append(spent - used)
        used = spent
        while edge <= now:
            edge += {_EDGE_S}
print(*found)
"""
_WAKE = f"""
import sys, time
at = float(sys.argv[1])
time.sleep(max(0, at - time.time()))
waits = []
while time.time() < at + {_LENGTH_S}:
    due = time.monotonic() + 0.005
    time.sleep(0.005)
    waits.append(time.monotonic() - due)
    until = time.process_time() + 0.0001
    while time.process_time() < until: pass
waits.sort()
print(waits[len(waits) // 2], waits[len(waits) * 9 // 10], waits[-1])
"""

Start = Callable[[int, list[str], Path], subprocess.Popen[bytes]]
"""Starts the nth program, with its output in a file."""


def run(bench: Bench) -> None:
    """Hosts of all sizes with few and many busy nodes, and a whole CPU beside."""
    with bench.part("sharing", HOW):
        with tempfile.TemporaryDirectory() as directory:
            for count in (4,) if bench.quick else BUSY:
                _measure(bench, "a whole CPU", None, count, _outside, Path(directory))
        with made(WIDE) as deployment:
            nodes = range(1, max(BUSY) + 2)
            bring_up(deployment, [request(n) for n in nodes], {f"n{n}": 1 for n in nodes}, 1)
            for cores in (0.2,) if bench.quick else CORES:
                for count in (4,) if bench.quick else BUSY:
                    promise(deployment, cores=cores)
                    start = _inside(deployment)
                    _measure(bench, f"{cores:g} core", cores, count, start, deployment.journal.directory)


def _outside(number: int, argv: list[str], log: Path) -> subprocess.Popen[bytes]:
    """On the last CPU, without a limit."""
    last = max(os.sched_getaffinity(0))
    with log.open("wb") as file:
        return subprocess.Popen(["taskset", "-c", str(last), *argv], stdout=file, env=environment())


def _inside(deployment: Deployment) -> Start:
    return lambda number, argv, log: deployment.popen(f"n{number + 1}", argv, log)


def _measure(bench: Bench, where: str, cores: float | None, busy: int, start: Start, directory: Path) -> None:
    """The figures of so many busy nodes and one that wakes; of a promise if `cores` is one."""
    least: list[float] = []
    most: list[float] = []
    whole: list[float] = []
    waits: list[tuple[float, ...]] = []
    bench.say(f"sharing: {where}, {busy} busy")
    for _ in range(bench.repeats):
        bench.quiet()
        parts, waited = _once(busy, cores or 1.0, start, directory)
        dues = [sum(each) / busy for each in zip(*parts, strict=True)]
        shares = [part / due for each in parts for part, due in zip(each, dues, strict=True)]
        least.append(min(shares))
        most.append(max(shares))
        whole.append(max(abs(sum(each) / sum(dues) - 1) for each in parts))
        waits.append(waited)
    due_s = (cores or 1.0) * _EDGE_S / busy
    allowed = 0.05 + TURN_S / due_s
    what = f"{where}, {busy} busy: "
    found = [
        Figure("sharing", what + "furthest from its due, over all", "", tuple(whole), "at most", 0.05),
        Figure("sharing", what + "least of its due in half a second", "", tuple(least), "at least", 1 - allowed),
        Figure("sharing", what + "most of its due in half a second", "", tuple(most), "at most", 1 + allowed),
        *(
            Figure("sharing", f"{what}one that wakes waits, {name}", "ms", tuple(1e3 * each[place] for each in waits))
            for place, name in enumerate(("median", "90 %", "longest"))
        ),
    ]
    for figure in found if busy > 1 else found[3:]:
        bench.add(figure)


def _once(busy: int, cores: float, start: Start, directory: Path) -> tuple[list[list[float]], tuple[float, ...]]:
    """What each busy one used in each half second, and the waits of the one that wakes."""
    at = time.time() + 0.5 + 0.05 * (busy + 1) / min(cores, 1.0)
    logs = [directory / f"sharing-{number}" for number in range(busy + 1)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        for number, log in enumerate(logs):
            log.unlink(missing_ok=True)
            running.append(start(number, python(_BUSY if number < busy else _WAKE, repr(at)), log))
        ends = at + _LENGTH_S + 30
        for process in running:
            if process.wait(max(1.0, ends - time.time())) != 0:
                raise CommandFailed(["python"], process.returncode, "", "it failed", "")
    finally:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
    said = [[float(word) for word in log.read_text().split()] for log in logs]
    return _whole(said[:busy]), tuple(said[busy])


def _whole(parts: Sequence[list[float]]) -> list[list[float]]:
    """As many half seconds of each, without the first: one that was not there at the end of one has none for it."""
    most = max(map(len, parts))
    return [(part + [0.0] * (most - len(part)))[1:] for part in parts]
