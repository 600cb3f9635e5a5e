"""The study file: a file system x a platform x workloads x ratios, and the loss that is tolerated.

A frozen `Study` has everything that follows from the file: nodes, compositions, placements, workloads. `reading.load`
makes one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from pydantic import BaseModel

from pliant.composition.model import Composition, Filesystem, Node
from pliant.composition.placement import Placement, ranks_on
from pliant.errors import UserError
from pliant.power_model import PowerModel
from pliant.study.faults import FaultTable
from pliant.study.platform_table import PlatformTable
from pliant.study.tables import (
    FilesystemTable,
    FoldTable,
    MpiTable,
    NixosComposeTable,
    PowerTable,
    StudyTable,
)
from pliant.workloads.model import Workload


class LabelledWorkload(NamedTuple):
    """One [[workload]] of a study: what it is called there, what runs it, and the driver's own options."""

    label: str
    driver: type[Workload]
    options: BaseModel
    faults: tuple[FaultTable, ...] = ()
    """What happens to nodes while it runs."""
    plain: str = ""
    """With faults: what the same workload is called without."""


@dataclass(frozen=True)
class LabelledFilesystem:
    """One [[filesystem]] of a study: what it is called there, what deploys it, and where its nodes are."""

    label: str
    table: FilesystemTable
    driver: type[Filesystem]
    options: BaseModel
    composition: Composition
    placements: Mapping[float, Placement]
    """Folding ratio -> placement, by ascending ratio; the first is the baseline's."""


@dataclass(frozen=True)
class Study:
    """A study file that has been checked, and what follows from it. `text` is the file as it was.

    What is said of one file system (`filesystem`, `composition`, `placements`, `nodes`, ...) is said of the study's
    only one; where there are several, take the study `of` each.
    """

    file: str
    text: str
    about: StudyTable
    platform: PlatformTable
    filesystems: tuple[LabelledFilesystem, ...]
    fold: FoldTable
    power: PowerTable
    mpi: MpiTable
    nixos_compose: NixosComposeTable
    workloads: tuple[LabelledWorkload, ...]
    most_hosts: int
    """The hosts of the placement with most of them, of any file system: so many are promised something, whichever is
    deployed."""
    left_out: tuple[str, ...] = ()
    """The workloads of the file that are not run, as none of their metrics is asked for."""
    deployment: str = ""
    """The deployment file of nxc whose machines are the nodes, if they are not pliant's own."""

    def of(self, filesystem: str) -> Study:
        """The same study of one of its file systems alone; KeyError if none is called that."""
        for each in self.filesystems:
            if each.label == filesystem:
                return replace(self, filesystems=(each,))
        raise KeyError(filesystem)

    def without(self, filesystems: Collection[str]) -> Study:
        """The same study without some of its file systems."""
        return replace(self, filesystems=tuple(each for each in self.filesystems if each.label not in filesystems))

    def chosen(self, filesystem: str | None) -> Study:
        """The study of the file system that a user asks for, or of its only one; UserError if that is not one."""
        labels = [each.label for each in self.filesystems]
        if filesystem is None and len(labels) > 1:
            raise UserError(
                f"{self.file} has {len(labels)} file systems; add --filesystem with one of {', '.join(labels)}"
            )
        if filesystem is not None and filesystem not in labels:
            raise UserError(f'--filesystem "{filesystem}" is not one of the study\'s: {", ".join(labels)}')
        return self.of(filesystem or labels[0])

    @property
    def alone(self) -> LabelledFilesystem:
        """The study's only file system; ValueError if it has several."""
        (only,) = self.filesystems
        return only

    @property
    def filesystem(self) -> FilesystemTable:
        """The table of the file system."""
        return self.alone.table

    @property
    def driver(self) -> type[Filesystem]:
        """What deploys it."""
        return self.alone.driver

    @property
    def options(self) -> BaseModel:
        """Its own options."""
        return self.alone.options

    @property
    def composition(self) -> Composition:
        """What it is made of."""
        return self.alone.composition

    @property
    def placements(self) -> Mapping[float, Placement]:
        """Folding ratio -> placement, by ascending ratio; the first is the baseline's."""
        return self.alone.placements

    def ranks(self, ratio: float, each: int) -> dict[str, int]:
        """Client -> the MPI ranks in it at a ratio, of a job that has `each` in every client unfolded."""
        clients = [node.name for node in self.composition.clients]
        if self.fold.of == "nodes":
            return dict.fromkeys(clients, each)
        return ranks_on(self.placements[ratio], clients, each)

    def need_ratio(self, ratio: float, named: str = "--ratio") -> None:
        """UserError unless a ratio that a user asks for, which is `named` so, is one of the study's."""
        if ratio not in self.placements:
            known = ", ".join(f"{each:g}" for each in self.ratios)
            raise UserError(f"{named} {ratio:g} is not one of the study's: {known}")

    @property
    def name(self) -> str:
        """What the study is called."""
        return self.about.name

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes of the cluster, role by role in the order in which the file system declares its roles."""
        return self.composition.nodes

    @property
    def ratios(self) -> tuple[float, ...]:
        """The folding ratios, ascending from the baseline."""
        return self.fold.ratios

    @property
    def baseline(self) -> float:
        """The ratio that losses are against, and the smallest: 1 unless so many hosts cannot be had."""
        return self.fold.baseline

    @property
    def power_model(self) -> PowerModel:
        """The watts of one host: the study's own, else those of the real cluster it names, else pliant's default."""
        return self.power.over(PowerModel() if self.platform.host is None else self.platform.host.power)

    @property
    def labels(self) -> tuple[str, ...]:
        """What the workloads are called, in the order of the file."""
        return tuple(workload.label for workload in self.workloads)

    @property
    def total_trials(self) -> int:
        """How many trials there are at most, without retries; a search needs a few more of the baseline."""
        searched = self.about.most * sum(1 for each in self.workloads if not each.faults)
        fixed = self.about.fixed * sum(1 for each in self.workloads if each.faults)
        most = len(self.filesystems) * len(self.ratios) * (searched + fixed)
        return most if self.about.budget_trials is None else min(most, self.about.budget_trials)

    def workload(self, label: str) -> LabelledWorkload:
        """The workload that is called `label`; KeyError if there is none."""
        for each in self.workloads:
            if each.label == label:
                return each
        raise KeyError(label)
