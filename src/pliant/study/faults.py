"""Faults: what a study lets happen to nodes while a workload runs, and what became of it. Pure.

A workload through a fault is a workload of its own, `ior+crash-server` beside `ior`: the same trials at the same
ratios, so that its metrics are judged against its own baseline and can be held against those without the fault. Faults
of one name happen in the same trial.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from pliant.composition.faults import Fault, What, clashes
from pliant.composition.model import Composition, Node
from pliant.study.problems import show
from pliant.study.tables import Name
from pliant.units import Duration, format_duration


class FaultTable(BaseModel):
    """One [[fault]] of a study. Times are from the beginning of the workload's first phase, in seconds.

    `heal` None is once the workload has ended. `recovery` is what the file system is given afterwards to be well and
    to show what was written before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    what: What = Field(examples=["crash"], description="crash: the node loses its power; cut: its network")
    name: Name | None = Field(None, examples=["lost-server"], description="what it is called in results")
    workload: str | None = Field(
        None, examples=["ior"], description="the workload it happens in; every one if left out"
    )
    node: str | None = Field(None, examples=["server1"], description="the node it happens to")
    role: str | None = Field(None, examples=["server"], description="the role of which it happens to one node")
    at: Duration = Field(examples=["2 s"], description="duration after the first operation of the workload may begin")
    heal: Duration | None = Field(
        None, examples=["10 s"], description="when it is healed; when the workload has ended if left out"
    )
    recovery: Duration = Field(
        120.0, examples=["2 min"], description="duration within which data is to be there and every node well"
    )

    @property
    def label(self) -> str:
        """What the fault is called: its name, or what happens to whom."""
        return self.name or f"{self.what}-{self.node or self.role}"


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


def idle(
    tables: Mapping[int, FaultTable], compositions: Sequence[Composition]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Faults of nodes that stand idle where ranks are folded, of which nothing would be seen: (path, sentence)."""
    for index, table in tables.items():
        for composition in compositions:
            first, clients = composition.clients[0].name, composition.clients
            if any(node.role == table.role or node.name == table.node != first for node in clients):
                what = show(table.role or table.node)
                yield (
                    ("fault", index, "role" if table.role else "node"),
                    f'{what} may stand idle where ranks are folded; write node = "{first}", which never does, or '
                    'fold.of = "nodes"',
                )
                break


# What a report says
