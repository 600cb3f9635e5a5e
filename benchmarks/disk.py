"""Whether hosts give their nodes the disk that is promised, by dd and fio inside the nodes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pliant.machine.deployment import Deployment

from .figures import Figure
from .machine import MIB, WIDE, Bench, bring_up, drop_caches, made, parsed, promise, request, together, version

HOW = """In nodes with a disk of their own (ext4 on a loop device), sizes so that each takes about 5 s (15 s at 5 MB/s,
where one request of 1 MiB is a fifth of a second), on a quiet machine and, for reading, after `echo 3 > drop_caches`
and only of what was written before. dd: `dd if=/dev/zero bs=1M oflag=direct` and `... conv=fsync`, its own count. fio:
`--direct=1`, `--bs=1M` one at a time (psync) and `--bs=64k --iodepth=8` (libaio) over an existing file, its `bw_bytes`.
Several busy nodes: fio for that time, all begun at the same moment, the sum. *conv=fsync* counts the time in which the
page cache is filled before anything is written: at least 1 / (1 / fill + 1 / rate) of the rate is right, where *fill*
is what dd does into the cache without limits."""

RATES = (5, 20, 60, 200, 500)
TOLERANCE = 0.05
_BEYOND = 0.9
_LENGTH_S = 5.0
_SLOW = 20
_FILE = "/mnt/disk/file"
_ALONE, _BUSY, _TWO, _FOUR = ("n5",), ("n1",), ("n1", "n2"), ("n1", "n2", "n3", "n4")

ONE = ["--bs=1M", "--ioengine=psync"]
QUEUE = ["--bs=64k", "--ioengine=libaio", "--iodepth=8"]


@dataclass(frozen=True)
class Unlimited:
    """What the machine does without limits, MB/s."""

    write: float
    read: float
    fill: float

    def beyond(self, rate: float, way: str) -> str:
        """Why a rate cannot be shown here; "" if it can."""
        most = self.write if way == "write" else self.read
        return "" if rate <= _BEYOND * most else f"without limits {way} is {most:.0f} MB/s"


@dataclass(frozen=True)
class Tool:
    """One way of measuring: MB/s of all of some nodes together. `way` is "write" or "read"."""

    name: str
    way: str
    once: Callable[[Deployment, Sequence[str], float], float]
    fills: bool = False


def run(bench: Bench) -> None:
    """The grid of rates, alone, beside idle disks and shared; then again after a refold."""
    rates = (20, 60) if bench.quick else RATES
    # A dirty limit of a fifth of the host's memory, so that conv=fsync is not all cache.
    figures = replace(WIDE, memory_bytes=1 << 30)
    size = 512 * MIB if bench.quick else 4096 * MIB
    with bench.part("disk", HOW), made(figures) as deployment:
        requests = [request(number, disk="/mnt/disk", disk_bytes=size) for number in range(1, 6)]
        bring_up(deployment, requests, {"n1": 1, "n2": 1, "n3": 1, "n4": 1, "n5": 2}, 2)
        bench.say("disk: the machine without limits")
        without = _unlimited(bench, deployment, 256 if bench.quick else 2048)
        for rate in rates:
            _rate(bench, deployment, rate, without)
        bench.say("disk: refold")
        deployment.refold({"n1": 2, "n2": 2, "n3": 1, "n4": 1, "n5": 1})
        for rate in (20,) if bench.quick else (20, 200):
            for tool in TOOLS[:1] + TOOLS[2:4]:
                _figure(bench, deployment, rate, f"refolded, beside an idle disk: {tool.name}", tool, ("n1",), without)
            for tool in SHARED:
                name = f"refolded, three busy disks of a host: {tool.name}"
                _figure(bench, deployment, rate, name, tool, ("n3", "n4", "n5"), without)


def _unlimited(bench: Bench, deployment: Deployment, size_mib: int) -> Unlimited:
    deployment.limit(False)

    def fio(way: str) -> Callable[[], float]:
        argv = _fio(way, size_mib * MIB, ONE)
        return lambda: _together(deployment, {"n5": argv}, _bandwidth(way), cold=way == "read")

    found = {}
    for way in ("write", "read"):
        found[way] = bench.measure(Figure("disk", f"without limits: fio 1 MiB {way}", "MB/s"), fio(way)).median or 0.0
    fill = ["dd", "if=/dev/zero", "of=/mnt/disk/fill", "bs=1M", "count=64"]
    figure = Figure("disk", "without limits: dd into the page cache", "MB/s")
    filled = bench.measure(figure, lambda: _together(deployment, {"n5": fill}, _dd_rate))
    return Unlimited(found["write"], found["read"], filled.median or 0.0)


def _rate(bench: Bench, deployment: Deployment, rate: int, without: Unlimited) -> None:
    for tool in TOOLS:
        _figure(bench, deployment, rate, f"alone on its host: {tool.name}", tool, _ALONE, without)
    # Written first, so that the others have what they read, and are known to be idle.
    for tool in TOOLS[2:4]:
        _figure(bench, deployment, rate, f"beside three idle disks: {tool.name}", tool, _BUSY, without)
    for nodes, name in ((_TWO, "two"), (_FOUR, "four")):
        for tool in SHARED:
            _figure(bench, deployment, rate, f"{name} busy disks of a host: {tool.name}", tool, nodes, without)


def _figure(
    bench: Bench, deployment: Deployment, rate: int, what: str, tool: Tool, nodes: Sequence[str], without: Unlimited
) -> None:
    """Measure one figure under a limit, unless the machine is too slow even without any."""
    promise(deployment, disk_byte_s=rate * 1e6)
    low = 1 / (1 / without.fill + 1 / rate) if tool.fills and without.fill else None
    beyond = without.beyond(rate, tool.way)
    figure = Figure("disk", f"{rate} MB/s, {what}", "MB/s", (), "promise", rate, TOLERANCE, low, beyond)
    bench.measure(figure, lambda: tool.once(deployment, nodes, rate))


# Tools


def _length_s(rate: float) -> float:
    """How long a measurement takes: at a slow rate, MB/s, a request more or less is not to count."""
    return _LENGTH_S if rate >= _SLOW else 3 * _LENGTH_S


def _size_bytes(rate: float, nodes: int) -> int:
    """What passes at a rate, MB/s, in the time that a measurement is to take, in whole MiB."""
    return max(1, round(rate * 1e6 * _length_s(rate) / nodes / MIB)) * MIB


def _dd(*options: str) -> Callable[[Deployment, Sequence[str], float], float]:
    def once(deployment: Deployment, nodes: Sequence[str], rate: float) -> float:
        count = _size_bytes(rate, len(nodes)) // MIB
        argv = ["dd", "if=/dev/zero", f"of={_FILE}", "bs=1M", f"count={count}", *options]
        return _together(deployment, dict.fromkeys(nodes, argv), _dd_rate)

    return once


def _by_fio(way: str, how: Sequence[str]) -> Callable[[Deployment, Sequence[str], float], float]:
    def once(deployment: Deployment, nodes: Sequence[str], rate: float) -> float:
        argv = _fio(way, _size_bytes(rate, len(nodes)), how)
        if len(nodes) > 1:
            if way == "read":  # one whose file is too short would write it first, and begin late
                _together(deployment, dict.fromkeys(nodes, _fio("write", _size_bytes(rate, len(nodes)), how)), len)
            # They end at the same moment as well, or the last would have the disk for itself.
            argv += ["--time_based", f"--runtime={_length_s(rate):.0f}"]
        return _together(deployment, dict.fromkeys(nodes, argv), _bandwidth(way), cold=way == "read")

    return once


TOOLS = (
    Tool("dd direct", "write", _dd("oflag=direct")),
    Tool("dd conv=fsync", "write", _dd("conv=fsync"), fills=True),
    Tool("fio 1 MiB write", "write", _by_fio("write", ONE)),
    Tool("fio 1 MiB read", "read", _by_fio("read", ONE)),
    Tool("fio 64 KiB × 8 write", "write", _by_fio("write", QUEUE)),
    Tool("fio 64 KiB × 8 read", "read", _by_fio("read", QUEUE)),
)
SHARED = TOOLS[2:4]


def _fio(way: str, size_bytes: int, how: Sequence[str]) -> list[str]:
    what = [f"--filename={_FILE}", f"--rw={way}", f"--size={size_bytes}", "--direct=1", *how]
    return ["fio", "--name=bench", *what, "--thread", "--fallocate=none", "--output-format=json"]


def _bandwidth(way: str) -> Callable[[str], float]:
    """MB/s from fio's JSON."""
    return lambda text: float(parsed(text)["jobs"][0][way]["bw_bytes"]) / 1e6


def _dd_rate(text: str) -> float:
    """MB/s from the last line of dd, such as "104857600 bytes (105 MB, 100 MiB) copied, 5.2 s, 20.1 MB/s"."""
    found = re.search(r"(\d+) bytes .*copied, ([\d.e-]+) s", text)
    if found is None:
        raise ValueError(f"dd says: {text.strip()[-200:]}")
    return int(found[1]) / float(found[2]) / 1e6


def _together(
    deployment: Deployment, commands: dict[str, list[str]], rate: Callable[[str], float], *, cold: bool = False
) -> float:
    """MB/s of all commands together; `cold`: from disk, nothing of it in memory."""
    if cold:
        drop_caches()
        version("fio", "--version")  # in memory again: several would wait for it, and not begin at the same moment
    return sum(rate(text) for text in together(deployment, commands).values())
