"""Faults: what a study lets happen to nodes while a workload runs, and what became of it. Pure.

A workload through a fault is a workload of its own, `ior+crash-server` beside `ior`: the same trials at the same
ratios, so that its metrics are judged against its own baseline and can be held against those without the fault. Faults
of one name happen in the same trial.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pliant.composition import Composition, Node
from pliant.problems import show
from pliant.tables import Name
from pliant.units import Duration, format_duration

What = Literal["crash", "cut"]
VERBS: Mapping[str, tuple[str, str]] = {
    "crash": ("loses its power", "starts again"),
    "cut": ("is cut off the network", "is plugged in again"),
}
"""Kind of fault -> what happens to the node, and what heals it, in words."""


class FaultTable(BaseModel):
    """One [[fault]] of a study. Times are from the beginning of the workload's first phase, in seconds.

    `heal` None is once the workload has ended. `recovery` is what the file system is given afterwards to be well and
    to show what was written before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    what: What = Field(examples=["crash"])
    name: Name | None = Field(None, examples=["lost-server"])
    workload: str | None = Field(None, examples=["ior"])
    node: str | None = Field(None, examples=["server1"])
    role: str | None = Field(None, examples=["server"])
    at: Duration = Field(examples=["2 s"])
    heal: Duration | None = Field(None, examples=["10 s"])
    recovery: Duration = Field(120.0, examples=["2 min"])

    @property
    def label(self) -> str:
        """What the fault is called: its name, or what happens to whom."""
        return self.name or f"{self.what}-{self.node or self.role}"


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


def grouped(tables: Iterable[FaultTable], workload: str) -> dict[str, tuple[FaultTable, ...]]:
    """The faults of a workload by what they are called; those of one name happen together."""
    found: dict[str, tuple[FaultTable, ...]] = {}
    for table in tables:
        if table.workload in (None, workload):
            found[table.label] = (*found.get(table.label, ()), table)
    return found


def chosen(tables: Sequence[FaultTable], nodes: Sequence[Node], seed: int) -> tuple[Fault, ...]:
    """To whom faults happen: to the node that is named, or to one of the role, always the same for the same seed.

    Those of one role that happen together happen to different nodes while there are some.
    """
    taken: set[str] = set()
    found = []
    for table in tables:
        names = [node.name for node in nodes if node.name == table.node or node.role == table.role]
        free = [name for name in names if name not in taken] or names
        name = random.Random(f"{seed} {table.label}").choice(free)
        taken.add(name)
        found.append(Fault(table.what, name, table.at, table.heal))
    return tuple(sorted(found, key=lambda fault: fault.at_s))


def problems(
    table: FaultTable, composition: Composition, workloads: Sequence[str], limit_s: float
) -> Iterator[tuple[str, str]]:
    """What is wrong with a fault on a file system: (key, sentence)."""
    if table.workload is not None and table.workload not in workloads:
        yield "workload", f"{show(table.workload)} is not a workload of the study; write one of {', '.join(workloads)}"
    roles = {role.name: [n for n in composition.nodes if n.role == role.name] for role in composition.roles}
    hit: Sequence[Node] = ()
    if (table.node is None) == (table.role is None):
        yield "role", "names no node; write role or node, and not both"
    elif table.role is not None:
        hit = roles.get(table.role, ())
        if not hit:
            have = [name for name, nodes in roles.items() if nodes]
            yield "role", f"{show(table.role)} has no nodes; write one of {', '.join(have)}"
    else:
        hit = [node for node in composition.nodes if node.name == table.node]
        if not hit:
            yield (
                "node",
                f"{show(table.node)} is not a node; the nodes are {', '.join(n.name for n in composition.nodes)}",
            )
    clients = composition.clients
    if hit and table.what == "crash" and len(clients) == 1 and all(node in clients for node in hit):
        yield (
            "role" if table.role else "node",
            f"{hit[0].name} is the only client: nobody is left to do I/O; add a client",
        )
    if table.heal is not None and table.heal <= table.at:
        both = f"{format_duration(table.heal)} is not after at = {format_duration(table.at)}"
        yield "heal", f"{both}; both are counted from the workload's beginning"
    latest = max(table.at, table.heal or 0.0)
    if latest >= limit_s:
        key = "at" if latest == table.at else "heal"
        yield key, f"{format_duration(latest)} is after study.trial_timeout, {format_duration(limit_s)}; write less"


def clashes(faults: Sequence[Fault]) -> Iterator[str]:
    """What cannot happen together: one fault of a node before the one before it is healed; a sentence each."""
    for first, second in ((a, b) for i, a in enumerate(faults) for b in faults[i + 1 :]):
        if first.node == second.node and (first.heal_s is None or second.at_s <= first.heal_s):
            yield f"{second.node} has two faults at the same time; heal the first before {format_duration(second.at_s)}"


def wrong(
    tables: Mapping[int, FaultTable],
    compositions: Sequence[Composition],
    workloads: Sequence[str],
    seed: int,
    limit_s: float,
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with the faults of a study, on any of its file systems: (path of the key, sentence), each once."""
    found: dict[tuple[tuple[str | int, ...], str], None] = {}
    for composition in compositions:
        for index, table in tables.items():
            of_one = problems(table, composition, workloads, limit_s)
            found |= {(("fault", index, key), sentence): None for key, sentence in of_one}
    yield from found
    if found:
        return
    for composition in compositions:
        for workload in workloads:
            for name, together in grouped(tables.values(), workload).items():
                for sentence in clashes(chosen(together, composition.nodes, seed)):
                    found[("fault",), f'"{name}": {sentence}'] = None
    yield from found


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


# What a report says


@dataclass(frozen=True)
class Through:
    """The trials of a workload through faults at one ratio. Medians of those that tell; None if none does."""

    ratio: float
    trials: int
    intact: int
    completed: int
    recovered: int
    stalled_s: float | None
    recovered_s: float | None

    @staticmethod
    def of(ratio: float, outcomes: Sequence[Outcome], completed: int) -> Through:
        """Of these outcomes, of whose trials so many `completed` their workload."""
        stalled = [each.stalled_s for each in outcomes if each.stalled_s is not None]
        recovered = [each.recovered_s for each in outcomes if each.recovered_s is not None]
        return Through(
            ratio,
            len(outcomes),
            sum(each.intact for each in outcomes),
            completed,
            len(recovered),
            median(stalled) if stalled else None,
            median(recovered) if recovered else None,
        )
