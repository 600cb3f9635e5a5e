"""What happens to nodes while a workload runs, and what became of it, as data. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pliant.composition.model import Composition
from pliant.units import format_duration

What = Literal["crash", "cut"]


VERBS: Mapping[str, tuple[str, str]] = {
    "crash": ("loses its power", "starts again"),
    "cut": ("is cut off the network", "is plugged in again"),
}
"""Kind of fault -> what happens to the node, and what heals it, in words."""


@dataclass(frozen=True)
class Fault:
    """What happens to a node: `at_s` and `heal_s` after the workload began; None: healed once it has ended."""

    what: What
    node: str
    at_s: float
    heal_s: float | None

    @property
    def sentence(self) -> str:
        """In words, without a full stop."""
        happens, heals = VERBS[self.what]
        when = "when the workload has ended" if self.heal_s is None else f"at {format_duration(self.heal_s)}"
        return f"{self.node} {happens} {format_duration(self.at_s)} after the workload begins, and {heals} {when}"


@dataclass(frozen=True)
class Outcome:
    """What became of a trial through faults.

    `happened` are the faults with the seconds after the workload's beginning at which they took place and were healed.
    `files` were written before by one client; `wrong` says of those that another could not read unchanged in the end
    what was wrong with them. `stalled_s`: for how long I/O stood still from the first fault to the workload's end; None
    if telemetry does not tell. `recovered_s`: seconds from the last healing until the data was there and all nodes were
    well; None if that was not so within `recovery_s`. `unwell`: the nodes that were not well in the end, and what they
    said.
    """

    happened: tuple[Fault, ...]
    files: int
    wrong: Mapping[str, str] = field(default_factory=dict)
    stalled_s: float | None = None
    recovered_s: float | None = None
    recovery_s: float = 0.0
    unwell: Mapping[str, str] = field(default_factory=dict)

    @property
    def intact(self) -> bool:
        """Whether everything that was written before the fault was read as it was written."""
        return not self.wrong

    @property
    def problem(self) -> str:
        """What is wrong with the data, in a sentence without a full stop; "" if nothing is."""
        if self.intact:
            return ""
        name, said = next(iter(self.wrong.items()))
        return (
            f"data is not intact: {len(self.wrong)} of {self.files} files that were written before, e.g. {name}: {said}"
        )

    @property
    def words(self) -> str:
        """What became of it, in a few words."""
        parts = ["data intact" if self.intact else f"DATA NOT INTACT ({len(self.wrong)} of {self.files} files)"]
        if self.stalled_s is not None:
            parts.append(f"I/O stood still for {self.stalled_s:.1f} s")
        if self.recovered_s is not None:
            parts.append(f"well again {self.recovered_s:.1f} s after the healing")
        else:
            parts.append(f"not well again within {self.recovery_s:g} s")
        return ", ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "happened": [asdict(fault) for fault in self.happened], "intact": self.intact}

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Outcome:
        """What `to_json` wrote."""
        known = {name: value for name, value in content.items() if name != "intact"}
        return Outcome(**{**known, "happened": tuple(Fault(**each) for each in content["happened"])})


def clashes(faults: Sequence[Fault]) -> Iterator[str]:
    """What cannot happen together: one fault of a node before the one before it is healed; a sentence each."""
    for first, second in ((a, b) for i, a in enumerate(faults) for b in faults[i + 1 :]):
        if first.node == second.node and (first.heal_s is None or second.at_s <= first.heal_s):
            yield f"{second.node} has two faults at the same time; heal the first before {format_duration(second.at_s)}"


def warnings(faults: Sequence[Fault], composition: Composition) -> Iterator[str]:
    """What a user should know of faults that can be, but may not tell what they want to know."""
    clients = {node.name for node in composition.clients}
    role_of = {node.name: node.role for node in composition.nodes}
    for fault in faults:
        if fault.node in clients and fault.what == "crash":
            yield f"{fault.node} is a client: what runs on it ends when it crashes, and most workloads fail then"
    for role in dict.fromkeys(role_of[fault.node] for fault in faults):
        hit = len({fault.node for fault in faults if role_of[fault.node] == role})
        spare = composition.spare.get(role)
        if spare is not None and hit > spare:
            what, back = (f"{hit} {role}s", "they are") if hit > 1 else (f"a {role}", "it is")
            yield f"the file system cannot do without {what}: data will be away until {back} back"
