"""Mininet and pliant side by side, taking turns: the same number of nodes around one bridge."""

from __future__ import annotations

import statistics
from pathlib import Path

from pliant.machine.process import environment
from pliant.machine.process import run as run_program

from . import scale
from .figures import Figure
from .machine import Bench, namespace_s, parsed, version

HOW = """Mininet of Debian in its own namespaces (`SingleSwitchTopo`, `LinuxBridge`, `controller=None`; `build` and
`start`, then `stop`, by its own clock, without the time that Python takes to load it), and pliant's nodes as in
*scale*, on one host (the same shape: one bridge) and on 16; in turns. pliant's nodes have more: namespaces of mounts,
processes and host names, a root and a control group of their own. *ratio of times* is Mininet's median divided by
pliant's."""

_OWN = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]


def run(bench: Bench) -> None:
    """Figures of both, and their ratios."""
    nodes = 64 if bench.quick else 256
    with bench.part("mininet", f"{HOW} Mininet {version('mn', '--version') or 'is missing'}."):
        found: dict[str, list[float]] = {}
        for number in range(max(3, bench.repeats)):
            bench.say(f"mininet: {nodes} nodes, {number + 1}")
            bench.quiet()
            turns = {"Mininet": mininet(nodes)}
            for hosts in (1, 16):
                bench.quiet()
                turns[f"pliant, {_hosts(hosts)}"] = scale.once(nodes, hosts)
            for who, steps in turns.items():
                for what in ("up", "removed", "namespaces gone"):
                    found.setdefault(f"{who}: {what}", []).append(steps[what])
        for what, values in found.items():
            bench.add(Figure("mininet", f"{nodes} nodes, {what}", "s", tuple(values)))
        for hosts in (1, 16):
            for what in ("up", "removed"):
                theirs = statistics.median(found[f"Mininet: {what}"])
                ratio = theirs / statistics.median(found[f"pliant, {_hosts(hosts)}: {what}"])
                name = f"{nodes} nodes, ratio of times, {_hosts(hosts)}: {what}"
                bench.add(Figure("mininet", name, "×", (ratio,), "at least", 2.0 if nodes == 256 else None))


def _hosts(hosts: int) -> str:
    return f"{hosts} host{'s' if hosts > 1 else ''}"


def mininet(nodes: int) -> dict[str, float]:
    """Seconds for each step of a star in Mininet."""
    script = Path(__file__).with_name("mininet_star.py")
    argv = [*_OWN, "/usr/bin/python3", "-I", str(script), str(nodes)]
    done = run_program(argv, timeout_s=60 + 2 * nodes, env=environment(), shown=[script.name, str(nodes)]).check()
    steps: dict[str, float] = parsed(done.stdout)
    return {**steps, "namespaces gone": namespace_s()}
