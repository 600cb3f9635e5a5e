"""The tables of a study file as frozen models: each key's type, default and bounds. Pure.

A quantity is written with its unit and kept in SI (`pliant.units`). What needs more than one table, or a driver, is
checked in `pliant.study.model`. docs/study-file.md documents every key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from pliant import proportions
from pliant.composition.placement import STRATEGIES
from pliant.power_model import PowerModel
from pliant.study import catalogue
from pliant.study.problems import show, unknown_name
from pliant.trial import UNFOLDED, Workflow
from pliant.units import (
    BitRate,
    ByteRate,
    CarbonIntensity,
    Duration,
    Fraction,
    Power,
    Share,
    Size,
    format_bit_rate,
    format_byte_rate,
    format_duration,
    format_fraction,
    format_power,
    format_size,
    parse_duration,
)

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}", re.ASCII)
_Number = TypeVar("_Number", int, float)


def checked_name(text: str) -> str:
    """A name that can be part of a file's: lower-case letters, digits and hyphens."""
    if _NAME.fullmatch(text):
        return text
    near = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:48].strip("-") or "my-study"
    raise ValueError(f'{show(text)} is not a name; write 1 to 48 lower-case letters, digits and hyphens, e.g. "{near}"')


def _at_least(least: _Number, shown: Callable[[float], str]) -> AfterValidator:
    """A bound below which an emulated host or a node's disk would not be one."""

    def check(value: _Number) -> _Number:
        if value < least:
            raise ValueError(f'"{shown(value)}" is too small; write "{shown(least)}" or more')
        return value

    return AfterValidator(check)


DISK_BYTES = 4 * 2**30
"""Size of a node's own disk where the study says none."""
_LEAST_S, _MOST_S = 1e-6, 10.0


def _checked_latency(latency_s: float) -> float:
    """What the kernel keeps, and what a file system's timeouts survive."""
    if not _LEAST_S <= latency_s <= _MOST_S:
        bounds = f'"{format_duration(_LEAST_S)}" to "{format_duration(_MOST_S)}"'
        raise ValueError(f'"{format_duration(latency_s)}" is no latency of a link; write {bounds}, e.g. "0.1 ms"')
    return latency_s


def _below_all(fraction: float) -> float:
    """A tolerated loss of everything would be no condition."""
    if fraction >= 1:
        raise ValueError('a loss of 100 % is always tolerated; write less, e.g. "10 %"')
    return fraction


Name = Annotated[str, AfterValidator(checked_name)]


class Table(BaseModel):
    """What all tables have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


GRID_REPETITIONS, MOST_REPETITIONS = 3, 25


def _checked_budget(value: object) -> object:
    """A budget as it may be written: a duration as text, or a number of trials."""
    if isinstance(value, str):
        return parse_duration(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f'{show(value)} is no budget; write a duration, e.g. "20 min", or a number of trials')
    return value


_BUDGET = WithJsonSchema({"type": ["string", "integer"]}, mode="validation")


class StudyTable(Table):
    """[study]: what it is called, how trials are chosen, and how many there may be."""

    name: Name = Field(examples=["glusterfs-quickstart"], description="what the study is called")
    description: str = Field("", description="a text for the reader of the report")
    search: Literal["adaptive", "grid"] = Field(
        "adaptive",
        examples=["adaptive"],
        description="adaptive: what was measured decides what is next; grid: each workload as often at each ratio",
    )
    repetitions: int | None = Field(
        None,
        ge=1,
        le=1000,
        examples=[3],
        description="trials of each workload at each ratio; in a search at most so many",
    )
    budget: Annotated[int | float | None, BeforeValidator(_checked_budget), _BUDGET] = Field(
        None, examples=["20 min"], description="when to stop: a duration, or a number of trials"
    )
    seed: int = Field(1, ge=0, le=2**63 - 1, examples=[1], description="what is random follows from this number")
    workflow: Workflow = Field(
        "dev", examples=["dev"], description="verified: each trial starts from a reset that is proved"
    )
    trial_timeout: Duration = Field(
        600.0,
        examples=["10 min"],
        description="duration after which a trial has failed, if it has not shown its loss by then",
    )

    @property
    def adaptive(self) -> bool:
        """Whether what was measured decides what is measured next."""
        return self.search == "adaptive"

    @property
    def most(self) -> int:
        """How often a workload runs at a ratio: in a grid so often, else at most."""
        return self.repetitions or (MOST_REPETITIONS if self.adaptive else GRID_REPETITIONS)

    @property
    def fixed(self) -> int:
        """How often a workload runs at a ratio that is not searched, as it goes through faults."""
        return min(self.most, GRID_REPETITIONS) if self.adaptive else self.most

    @property
    def budget_trials(self) -> int | None:
        """How many trials there may be; None for any number."""
        return self.budget if isinstance(self.budget, int) else None

    @property
    def budget_s(self) -> float | None:
        """After how many seconds no trial begins; None for never."""
        return self.budget if isinstance(self.budget, float) else None


def _checked_scale(value: object) -> object:
    """A scale as it may be written; None, which no file can hold, is one that was left out."""
    if value is None or value == "auto":
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf:
        raise ValueError(f'{show(value)} is not a scale; write a number of 1 or more, e.g. 150, or "auto"')
    return value


class HostTable(Table):
    """[platform.host]: what one host has. Cores of one CPU, bit/s in each direction, byte/s, bytes, and the
    seconds that a crossing of its uplink takes longer.

    With a scale, `cores`, `nic` and `disk` are a real host's, and the emulated one has each divided by the scale;
    `memory` is the emulated host's, None where it follows from the real one's. `like` fills in what is left out.
    """

    cores: float = Field(
        ge=proportions.MIN_CORES, le=1024, examples=[0.2], description="CPU time, in cores of this machine"
    )
    nic: Annotated[BitRate, _at_least(proportions.MIN_NIC_BIT_S, format_bit_rate)] = Field(
        examples=["200 Mbit/s"], description="network rate, in each direction"
    )
    disk: Annotated[ByteRate, _at_least(proportions.MIN_DISK_BYTE_S, format_byte_rate)] = Field(
        examples=["60 MB/s"], description="disk rate, for reads and as much for writes"
    )
    memory: Annotated[Size, _at_least(proportions.MIN_BYTES, format_size)] | None = Field(
        examples=["1 GiB"], description="size of the memory"
    )
    disk_size: Annotated[Size, _at_least(proportions.MIN_BYTES, format_size)] = Field(
        DISK_BYTES, examples=["4 GiB"], description="size of each node's own disk"
    )
    latency: Annotated[Duration, AfterValidator(_checked_latency)] | None = Field(
        None, examples=["0.1 ms"], description="duration that one crossing of the host's uplink takes longer"
    )
    like: str | None = Field(
        None,
        examples=["grid5000/dahu"],
        description="a cluster of the catalogue whose hosts these are; it gives what is left out",
    )
    scale: Annotated[float | Literal["auto"] | None, BeforeValidator(_checked_scale)] = Field(
        None, examples=["auto"], description="what cores, nic and disk are divided by, then those of a real host"
    )

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, table: Any) -> Any:
        """With `like`, the figures that were left out; with one that is unknown any will do, as that is refused."""
        if not isinstance(table, dict):
            return table
        if table.get("like") is None:
            return {key: value for key, value in table.items() if key != "memory" or value is not None}
        known = catalogue.clusters()
        real = known.get(table["like"]) if isinstance(table["like"], str) else None
        real = real or next(each for each in known.values() if each.disk_byte_s is not None)
        disk = real if real.disk_byte_s is None else f"{real.disk_byte_s:.0f} B/s"
        return {"cores": real.cores, "nic": f"{real.nic_bit_s:.0f} bit/s", "disk": disk, "memory": None} | table

    @field_validator("disk", mode="before")
    @classmethod
    def _published(cls, disk: object) -> object:
        """A cluster in place of a rate is one whose disk has none in the catalogue."""
        if isinstance(disk, catalogue.Cluster):
            lacking = f"the catalogue has no rate of the {disk.data_disk.model} in {disk.name}"
            raise PydanticCustomError("missing", "", {"remedy": f'{lacking}; add the real one, e.g. disk = "400 MB/s"'})
        return disk

    @field_validator("like")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        return name if name is None else catalogue.cluster(name).name

    @property
    def cluster(self) -> catalogue.Cluster | None:
        """The real cluster that `like` names."""
        return None if self.like is None else catalogue.cluster(self.like)

    @property
    def scaled(self) -> bool:
        """Whether the figures are a real host's, so that a remedy is another scale, not another figure."""
        return self.like is not None or self.scale is not None

    @property
    def wanted_scale(self) -> float | Literal["auto"]:
        """The scale as the study means it: a cluster without one is as large as fits, figures without one are meant."""
        return self.scale or ("auto" if self.like is not None else 1.0)

    @property
    def real(self) -> proportions.Host:
        """The host that the figures describe; its memory is known only of a cluster's."""
        memory = None if self.cluster is None else self.cluster.memory_bytes
        return proportions.Host(self.cores, self.nic, self.disk, memory)

    @property
    def disk_caveat(self) -> str:
        """What must be known of a disk rate that is the catalogue's, if anything; "" of one that the study gives."""
        real = self.cluster
        return real.disk_caveat if real is not None and self.disk == real.disk_byte_s else ""

    @property
    def power(self) -> PowerModel:
        """The watts of the real cluster; pliant's default where there is none, or the catalogue has none of it."""
        real = self.cluster
        if real is None:
            return PowerModel()
        if real.idle_w is None or real.busy_w is None:
            return PowerModel(origin=f"{PowerModel().source}; the catalogue has none of {real.name}")
        return PowerModel(real.idle_w, real.busy_w, f"{real.name} in the catalogue: {real.watts_source}")

    @property
    def scale_problem(self) -> str:
        """What is wrong with a scale that is a number, if anything: it leaves too little of a host."""
        scale = self.wanted_scale
        lacking = [] if scale == "auto" else proportions.too_small(proportions.emulated(self.real, scale, self.memory))
        if not lacking:
            return ""
        most = proportions.largest_scale(self.real)
        return f"{scale:g} leaves a host {' and '.join(lacking)}; write {most:g} or less"


class FilesystemTable(Table):
    """[filesystem]: the driver's name, how many nodes each role gets, and the driver's own options as written.

    `name` is what it is called in results; None is its kind.
    """

    kind: str = Field(examples=["glusterfs"], description="the file system")
    name: Name | None = Field(None, examples=["glusterfs-replicated"], description="what it is called in results")
    roles: dict[str, Annotated[int, Field(ge=0, examples=[4])]] = Field(
        examples=[{"server": 4}], description="the role distribution: for each role, how many nodes"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="the file system's own options")
    optional: bool = Field(
        False,
        examples=[True],
        description="whether it is left out, with a note, where what it needs is not there and others are compared",
    )


INDIFFERENCE = 0.05
MOST_RATIOS = 64
_RATIOS = {
    "anyOf": [
        {"type": "array", "items": {"type": "number", "minimum": 1}, "minItems": 1, "maxItems": MOST_RATIOS},
        {"const": "all"},
    ]
}


class FoldTable(Table):
    """[fold]: the folding ratios, ascending from the baseline, how nodes are placed, and the loss that is tolerated.

    `metrics` are those by which it is decided how far the file system folds; all if there are none.
    """

    # Before the ratios, which are held against it.
    baseline: Annotated[float, Field(ge=UNFOLDED)] = Field(
        UNFOLDED,
        examples=[2],
        description="the smallest ratio, which losses are against, where one cannot have so many hosts as nodes",
    )
    ratios: Annotated[tuple[Annotated[float, Field(ge=1)], ...], WithJsonSchema(_RATIOS)] = Field(
        min_length=1,
        max_length=MOST_RATIOS,
        examples=[[1, 2, 4]],
        description='the folding ratios, nodes per host, the baseline (1) among them; "all": every number of hosts',
    )
    roles: tuple[str, ...] = Field(
        (),
        examples=[["client"]],
        description="the roles whose nodes are folded, and counted by ratios; of others each keeps a host; all if none",
    )
    of: Literal["nodes", "ranks"] = Field(
        "nodes",
        description="what is folded: nodes; or the ranks of clients, of those on one host all on the first one's mount",
    )
    strategy: str = Field("spread", examples=["spread"], description="how nodes are placed")
    max_loss: Annotated[Fraction, AfterValidator(_below_all)] = Field(
        0.1, examples=["10 %"], description="the tolerated loss against the baseline"
    )
    indifference: Share | None = Field(
        None,
        examples=["5 %"],
        description="a ratio whose loss is no further than this from max_loss may be called either way",
    )
    metrics: tuple[Annotated[str, StringConstraints(min_length=1, max_length=128)], ...] = Field(
        (),
        max_length=64,
        examples=[["*_bandwidth"]],
        description="the metrics by which it is decided how far it folds; all if left out",
    )
    placement: dict[str, list[list[str]]] = Field(
        default_factory=dict, description='for strategy = "explicit": ratio -> a list of nodes for each host'
    )

    @property
    def zone(self) -> float:
        """So far to each side of the tolerated loss a ratio may be called either way."""
        return min(INDIFFERENCE, self.max_loss / 2) if self.indifference is None else self.indifference

    @property
    def zone_problem(self) -> str:
        """What is wrong with the zone, if anything."""
        most = min(self.max_loss, 0.99 - self.max_loss)
        if self.zone <= most:
            return ""
        wide = f"reaches {format_fraction(self.zone)} to each side of max_loss, {format_fraction(self.max_loss)}"
        return f'{wide}, and a loss is more than nothing and less than all; write "{format_fraction(most)}" or less'

    @field_validator("strategy")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in (*STRATEGIES, "explicit"):
            raise ValueError(unknown_name(value, "a strategy", (*STRATEGIES, "explicit")))
        return value

    @property
    def tolerated(self) -> str:
        """The tolerated loss in words, and what it is against unless that is the unfolded cluster."""
        zone = f", give or take {format_fraction(self.zone)}" if self.zone else ""
        folded = f", against ratio {self.baseline:g}, which is itself folded"
        return f"a loss of {format_fraction(self.max_loss)}{zone}{'' if self.baseline == UNFOLDED else folded}"

    @field_validator("ratios")
    @classmethod
    def _distinct(cls, ratios: tuple[float, ...], read: ValidationInfo) -> tuple[float, ...]:
        twice = next((ratio for ratio in ratios if ratios.count(ratio) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice:g} is there twice; write each ratio once")
        baseline = read.data.get("baseline")  # not there if it is wrong itself
        if baseline is None:
            return tuple(sorted(ratios))
        if baseline not in ratios:
            written = ", ".join(f"{ratio:g}" for ratio in sorted({baseline, *(r for r in ratios if r > baseline)}))
            raise ValueError(
                f"{baseline:g} is missing, the baseline that losses are measured against; write [{written}]"
            )
        if (least := min(ratios)) < baseline:
            raise ValueError(
                f"{least:g} is smaller than the baseline, {baseline:g}, which is the smallest ratio there is; leave it "
                f"out, or write baseline = {least:g}"
            )
        return tuple(sorted(ratios))


class PowerTable(Table):
    """[power]: watts of one host, idle and with every core busy; None stands for those of the platform's host.

    `carbon` is what its electricity emits; None stands for pliant's default.
    """

    idle: Power | None = Field(None, examples=["95 W"], description="power of an idle host")
    busy: Power | None = Field(None, examples=["190 W"], description="power of a host with every core busy")
    carbon: CarbonIntensity | None = Field(None, examples=["56 g/kWh"], description="what a kilowatt-hour emits")

    def over(self, base: PowerModel) -> PowerModel:
        """`base` with what the study gives; ValueError if a busy host would draw less than an idle one."""
        idle_w = base.idle_w if self.idle is None else self.idle
        busy_w = base.busy_w if self.busy is None else self.busy
        if busy_w < idle_w:
            raise ValueError(
                f"a busy host ({format_power(busy_w)}) would draw less than an idle one ({format_power(idle_w)}); "
                f'write busy = "{format_power(idle_w)}" or more'
            )
        origin = base.origin if self.idle is None and self.busy is None else ""
        carbon = base.carbon_g_kwh if self.carbon is None else self.carbon
        return PowerModel(idle_w, busy_w, origin, carbon)


class MpiTable(Table):
    """[mpi]: which MPI launches the workloads; None is the one that pliant comes with."""

    mpiexec: str | None = Field(
        None,
        examples=["/usr/bin/mpiexec"],
        description="absolute path of the mpiexec that real benchmarks were built with",
    )

    @field_validator("mpiexec")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        if path is not None and (not path.startswith("/") or not path.isprintable()):
            raise ValueError(f'{show(path)} is not an absolute path; write e.g. "/usr/bin/mpiexec"')
        return path


_FlakeRef = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9+]*:[A-Za-z0-9._~/?=&%+-]+$", max_length=300)]


class NixosComposeTable(Table):
    """[nixos_compose]: what `pliant export nixos-compose` builds with, as references of flakes."""

    nixpkgs: _FlakeRef = Field("github:NixOS/nixpkgs/23.05", examples=["github:NixOS/nixpkgs/23.05"])
    """The flavours of NixOS Compose are made for this release."""
    nxc: _FlakeRef = Field(
        "git+https://gitlab.inria.fr/nixos-compose/nixos-compose.git?rev=0c994a91ec163c051d8ef48e4ca5ba11766926c9"
    )
    disk: Literal["file", "directory"] = Field("file", examples=["file"])
    """What a node's disk is where no partition is set aside for it: a file with its own file system, or a directory."""
    filesystem: _FlakeRef | None = Field(None, examples=["github:me/beegfs-nix"])
    """Where a file system comes from that nixpkgs has not: its default overlay has a package of that name, its default
    NixOS module the kernel's part."""
