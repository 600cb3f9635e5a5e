"""Whether hosts give their nodes the NIC and the CPU that are promised, by independent tools inside the nodes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from pliant.machine.deployment import Deployment
from pliant.machine.process import CommandFailed

from .figures import Figure
from .machine import WIDE, Bench, bring_up, made, parsed, promise, python, request, together

PAYLOAD = 1448 / 1514
"""What is left of a wire's rate for TCP's payload."""
_BEYOND = 0.9
"""What is promised above this part of what the machine does without limits cannot be shown on it."""
TOLERANCE = 0.03

Pairs = Sequence[tuple[str, str]]


def pairs_name(pairs: Pairs) -> str:
    """The streams of one measurement, in words."""
    return " and ".join(f"{sender} → {receiver}" for sender, receiver in pairs)


# NIC

NIC_HOW = """`iperf3 -c NODE -J -t 4 -O 1` (TCP, one stream, the first second left out; `-t 15` at 10 Mbit/s, where
the bucket's 128 KiB and what sockets hold are more than 2 % of 4 s) between nodes of different hosts, what the receiver
got; with two streams their sum, both started at the same moment. The promise is the rate on the wire; TCP's payload is
1448 of each 1514 bytes, so a ratio of 1 is 0.956 of the rate."""

_SLOW_MBIT_S = 10
NIC_RATES = (10, 50, 200, 1000, 5000)
_SEPARATE: Pairs = [("n1", "n3")]
_BACK: Pairs = [("n3", "n1")]
_SENDING: Pairs = [("n1", "n3"), ("n2", "n4")]
_RECEIVING: Pairs = [("n3", "n1"), ("n4", "n2")]


def run_nic(bench: Bench) -> None:
    """The grid of rates, both directions, alone and shared; then again after a refold."""
    rates = (50, 1000) if bench.quick else NIC_RATES
    with bench.part("nic", NIC_HOW), made(WIDE) as deployment:
        bring_up(deployment, [request(n) for n in range(1, 5)], {"n1": 1, "n2": 1, "n3": 2, "n4": 3}, 3)
        for node in deployment.nodes:
            deployment.popen(node, ["iperf3", "-s"], deployment.journal.directory / "iperf3.log")
        for node in deployment.nodes:
            _answers(deployment, node)
        deployment.limit(False)
        wide = bench.measure(
            Figure("nic", "without limits: one stream", "Mbit/s"), lambda: _iperf(deployment, _SEPARATE)
        )
        most = _BEYOND * (wide.median or 0.0)
        shapes = {
            "from one host to another": _SEPARATE,
            "the other way": _BACK,
            "two nodes of one host send": _SENDING,
            "two nodes of one host receive": _RECEIVING,
        }
        for rate in rates:
            for name, pairs in shapes.items():
                _nic(bench, deployment, rate, f"{rate} Mbit/s: {name}", pairs, most)
        bench.say("nic: refold")
        deployment.refold({"n1": 3, "n2": 2, "n3": 1, "n4": 1})
        for rate in rates if bench.quick else (50, 1000):
            _nic(bench, deployment, rate, f"{rate} Mbit/s, refolded: one stream", [("n1", "n3")], most)
            pairs = [("n3", "n1"), ("n4", "n2")]
            _nic(bench, deployment, rate, f"{rate} Mbit/s, refolded: two nodes of one host send", pairs, most)


def _nic(bench: Bench, deployment: Deployment, rate: float, what: str, pairs: Pairs, most: float) -> None:
    promise(deployment, nic_bit_s=rate * 1e6)
    beyond = "" if rate * PAYLOAD <= most else f"without limits it is {most / _BEYOND:.0f} Mbit/s"
    figure = Figure("nic", what, "Mbit/s", (), "promise", rate * PAYLOAD, TOLERANCE, beyond=beyond)
    bench.measure(figure, lambda: _iperf(deployment, pairs, 15 if rate <= _SLOW_MBIT_S else 4))


def _iperf(deployment: Deployment, pairs: Pairs, length_s: int = 4) -> float:
    """Mbit/s of payload that all receivers get together."""
    commands = {s: ["iperf3", "-c", r, "-J", "-t", str(length_s), "-O", "1"] for s, r in pairs}
    found = together(deployment, commands)
    return sum(float(parsed(text)["end"]["sum_received"]["bits_per_second"]) for text in found.values()) / 1e6


_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 5201), 1)"


def _answers(deployment: Deployment, node: str) -> None:
    """Wait until iperf3 listens in a node; raises CommandFailed."""
    until = time.monotonic() + 20
    while deployment.execute(node, python(_CONNECT, node), timeout_s=10).exit_status != 0:
        if time.monotonic() > until:
            said = (deployment.journal.directory / "iperf3.log").read_text()
            raise CommandFailed(["iperf3", "-s"], None, "", said, node)
        time.sleep(0.05)


# CPU

CPU_HOW = """A Python process that spins for 4 s in a node: the CPU time that it used, by its own count
(`time.process_time`), by the clock's. With two nodes of a host the sum, both over the same 4 s."""

CORES = (0.05, 0.1, 0.2, 0.5, 1.0)
_SPIN = """
import sys, time
end = time.monotonic() + 0.3
while time.monotonic() < end: pass
begin, used = time.monotonic(), time.process_time()
end = begin + float(sys.argv[1])
while time.monotonic() < end: pass
print((time.process_time() - used) / (time.monotonic() - begin))
"""


def run_cpu(bench: Bench) -> None:
    """The grid of shares, one and two busy nodes; then again after a refold."""
    with bench.part("cpu", CPU_HOW), made(WIDE) as deployment:
        bring_up(deployment, [request(n) for n in range(1, 4)], {"n1": 1, "n2": 1, "n3": 2}, 2)
        grid = (0.1, 0.5) if bench.quick else CORES
        _cpu_grid(bench, deployment, grid, "", {"one busy node": ["n1"], "two busy nodes": ["n1", "n2"]})
        bench.say("cpu: refold")
        deployment.refold({"n1": 1, "n2": 2, "n3": 1})
        shapes = {"one busy node": ["n2"], "two busy nodes": ["n1", "n3"]}
        _cpu_grid(bench, deployment, grid if bench.quick else (0.1, 0.5), ", refolded", shapes)


def _cpu_grid(
    bench: Bench, deployment: Deployment, grid: Sequence[float], when: str, shapes: Mapping[str, Sequence[str]]
) -> None:
    for cores in grid:
        promise(deployment, cores=cores)
        for name, nodes in shapes.items():
            figure = Figure("cpu", f"{cores} core{when}: {name}", "core", (), "promise", cores, TOLERANCE)
            bench.measure(figure, lambda nodes=nodes: _spin(deployment, nodes))  # type: ignore[misc]


def _spin(deployment: Deployment, nodes: Sequence[str]) -> float:
    found = together(deployment, {node: python(_SPIN, 4.0) for node in nodes})
    return sum(map(float, found.values()))
