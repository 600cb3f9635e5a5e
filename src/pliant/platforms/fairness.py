"""How a folded host's CPU is shared among its nodes, measured before a study's first trial, as `calibration` measures
what a host gets: nodes that do not get their turns make a folding curve that no real host would show.

On the host with the most nodes all of them are busy but one, which mostly sleeps. The busy ones are to get the same,
and the other is to get a turn, when it wakes, as soon as those before it had theirs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from pliant.errors import FatalError
from pliant.machine import calibrate
from pliant.machine.cpus import width
from pliant.machine.parts import SHARED
from pliant.platforms.calibration import ATTEMPTS, LATE_S, TOLERANCE, said_by
from pliant.platforms.interface import Deployment

TURN_S = 0.002
"""What a process runs for before the next one's turn: with the metronome 1 ms, and one that was held up has two."""
_TURNS = 50
"""A busy node is watched until it is owed so many turns ..."""
_LONGEST_S = 4.0
"""... or for so long."""
_SPREAD = 0.5
"""The part of its due that a busy node may lack where the host has several CPUs: among these the kernel shares evenly
over seconds at the best, on a real machine as here (docs/emulation.md)."""
_OWN_KERNEL = 0.4
"""The part of its due that a node with a kernel of its own may lack beside others: with each of its ticks it gives a
turn back, and User Mode Linux has got 0.73 of it beside four other nodes on 0.2 core (docs/emulation.md)."""
_PATIENT = 1.5
"""How much longer than expected nine of ten waits may be."""
_LIMITING_S = 0.1
"""What it may take to switch limits on."""


@dataclass(frozen=True)
class Shared:
    """How the CPU of a host was shared among its nodes, each of the busy ones being owed `due_s`.

    `parts` maps each busy node to what it got, as a part of what all got in the mean. `waits_s` are the median, the
    90th and 100th percentile of how long the node `waked` waited for a CPU after it had wanted to wake; `expected_s` is
    how long one waits until all others had a turn. `daemons` is the part of the host's CPU that the busy ones did not
    get: what the file system's daemons take also when nothing is asked of them.
    """

    host: str
    parts: Mapping[str, float]
    due_s: float
    cpus: int
    waked: str
    waits_s: tuple[float, float, float]
    expected_s: float
    daemons: float = 0.0
    own_kernels: tuple[str, ...] = ()
    """Those of the busy nodes with a kernel of their own."""

    @property
    def off(self) -> dict[str, float]:
        """The busy nodes that got too much or too little: the difference as a part of their due, which is what all of
        their kind got in the mean. All with a kernel of their own, if these got far less than the others.

        A turn at each end of the time is nobody's fault, and daemons come between turns: those of MooseFS, which take a
        third of a host of 0.2 core before those of others (nice -19), move shares by up to 0.26.
        """
        slack = 2 * TURN_S / self.due_s + self.daemons
        low, high = (_SPREAD, float(len(self.parts))) if self.cpus > 1 else (TOLERANCE, TOLERANCE)
        own = {node: part for node, part in self.parts.items() if node in self.own_kernels}
        shared = {node: part for node, part in self.parts.items() if node not in own}
        found: dict[str, float] = {}
        for parts in filter(None, (shared, own)):
            due = fmean(parts.values()) if shared and own else 1.0
            found |= {
                n: part / due - 1 for n, part in parts.items() if not -low - slack <= part / due - 1 <= high + slack
            }
        if shared and own and fmean(own.values()) < (1 - _OWN_KERNEL) * fmean(shared.values()):
            found |= {node: part - 1 for node, part in own.items()}
        return found

    @property
    def late(self) -> bool:
        """Whether who wakes waits for too long."""
        return self.waits_s[1] > _PATIENT * self.expected_s

    @property
    def sentence(self) -> str:
        """In words: "CPU of host1 shared among 7 busy nodes, 0.97 to 1.02 of their due; ..."."""
        low, high = min(self.parts.values()), max(self.parts.values())
        waits = " / ".join(f"{wait * 1e3:.0f}" for wait in self.waits_s)
        own = min((self.parts[node] for node in self.own_kernels), default=1.0)
        return (
            f"CPU of {self.host} shared among {len(self.parts)} busy nodes, {low:.2f} to {high:.2f} of their due"
            f"{f', {own:.2f} with a kernel of its own' if self.own_kernels else ''}; "
            f"who wakes beside them waits {waits} ms (median, 90 %, longest)"
        )

    @property
    def complaint(self) -> str:
        """What is wrong and what to do about it; for one that is off or late."""
        if self.off:
            node, part = max(self.off.items(), key=lambda item: abs(item[1]))
            what = f"CPU of {self.host} is not shared fairly: {node} got {1 + part:.0%} of its due".replace("%", " %")
        else:
            waits = f"{self.waits_s[1] * 1e3:.0f} ms, where {self.expected_s * 1e3:.0f} ms are to be expected"
            what = f"{self.waked} waits too long for the CPU of {self.host}: one time in ten over {waits}"
        return f"{what}; end what else runs on this machine, or write less for platform.host.cores"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"parts": dict(self.parts), "waits_s": list(self.waits_s)}


def measure(deployment: Deployment, folded: Mapping[str, int]) -> Shared:
    """Fold a deployment as `folded` says, let the nodes of its fullest host be busy, and put it back as it was.

    Takes a few seconds. Raises FatalError if the host's CPU is not shared fairly, ATTEMPTS times.
    """
    before = dict(deployment.placed)
    deployment.refold(folded)
    try:
        for _ in range(ATTEMPTS):
            shared = _measure(deployment)
            if not (shared.off or shared.late):
                return shared
        raise FatalError(f"the emulation does not keep its promise: {shared.complaint}")
    finally:
        deployment.limit(False)
        deployment.refold(before)


def _measure(deployment: Deployment) -> Shared:
    on: dict[int, list[str]] = {}
    for node, number in deployment.placed.items():
        on.setdefault(number, []).append(node)
    host, (*busy, waked) = max(on.items(), key=lambda item: len(item[1]))
    cores, own = deployment.figures.cores, min(width(deployment.figures.cores), len(deployment.kept_on[host - 1]))
    length_s = min(_LONGEST_S, max(1.0, _TURNS * TURN_S * len(busy) / cores))
    programs = {node: ["cpu"] for node in busy} | {waked: ["wake"]}
    rates: dict[str, float] = {}

    def watch(at: float) -> None:
        """They start without a limit: Python takes seconds to do so on a host of a twentieth of a core. What each gets
        is what its control group says: a node's own kernel does not know when it is held back."""
        time.sleep(max(0.0, at - _LIMITING_S - time.time()))
        deployment.limit(["cpu"])
        time.sleep(max(0.0, at + calibrate.WARM_UP_S - time.time()))
        began_s, before = time.monotonic(), deployment.node_cpu_s()
        time.sleep(length_s)
        took_s, after = time.monotonic() - began_s, deployment.node_cpu_s()
        rates.update({node: (after[node] - before[node]) / took_s for node in busy})

    deployment.limit(False)
    said = said_by(deployment, programs, length_s + LATE_S, watch)
    mean = sum(rates.values()) / len(rates)
    median, most, longest = map(float, said[waked].split())
    period_s = deployment.period_s
    # All of them have a turn before it, and what one had too much is taken from the next periods.
    expected_s = (len(busy) + 1) * TURN_S / cores * own + 2 * period_s
    parts = {node: rate / mean if mean else 0.0 for node, rate in rates.items()}
    due_s = max(mean * length_s, calibrate.WAKE_WORK_S)
    daemons = max(0.0, 1 - mean * len(rates) / min(cores, float(own)))
    kernels = tuple(node for node in busy if deployment.nodes[node].kind != SHARED)
    return Shared(f"host{host}", parts, due_s, own, waked, (median, most, longest), expected_s, daemons, kernels)
