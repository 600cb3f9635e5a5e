"""The tables of a study file as frozen models: each key's type, default and bounds. Pure.

A quantity is written with its unit and kept in SI (`pliant.units`). What needs more than one table, or a driver, is
checked in `pliant.study`. docs/study-file.md documents every key.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from pliant.placement import STRATEGIES
from pliant.problems import show, unknown_name
from pliant.savings import PowerModel
from pliant.units import (
    BitRate,
    ByteRate,
    Duration,
    Fraction,
    Power,
    Size,
    format_bit_rate,
    format_byte_rate,
    format_power,
    format_size,
)

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,47}", re.ASCII)
_KINDS = ("emulated", "vm", "ssh", "oar", "slurm", "grid5000")
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


def _below_all(fraction: float) -> float:
    """A tolerated loss of everything would be no condition."""
    if fraction >= 1:
        raise ValueError('a loss of 100 % is always tolerated; write less, e.g. "10 %"')
    return fraction


Name = Annotated[str, AfterValidator(checked_name)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class StudyTable(_Table):
    """[study]: what it is called, and how often each trial is repeated."""

    name: Name = Field(examples=["glusterfs-quickstart"])
    description: str = Field("")
    repetitions: int = Field(3, ge=1, le=1000, examples=[3])
    seed: int = Field(1, ge=0, le=2**63 - 1, examples=[1])
    trial_timeout: Duration = Field(600.0, examples=["10 min"])


class HostTable(_Table):
    """[platform.host]: what one host has. Cores of one CPU, bit/s in each direction, byte/s, bytes."""

    cores: float = Field(ge=0.01, le=1024, examples=[0.2])
    nic: Annotated[BitRate, _at_least(1e6, format_bit_rate)] = Field(examples=["200 Mbit/s"])
    disk: Annotated[ByteRate, _at_least(1e6, format_byte_rate)] = Field(examples=["60 MB/s"])
    memory: Annotated[Size, _at_least(64 * 2**20, format_size)] = Field(examples=["1 GiB"])
    disk_size: Annotated[Size, _at_least(64 * 2**20, format_size)] = Field(4 * 2**30, examples=["4 GiB"])


class PlatformTable(_Table):
    """[platform]: where hosts come from, and what one of them has."""

    kind: Literal["emulated"] = Field(examples=["emulated"])
    host: HostTable

    @field_validator("kind", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        if value in _KINDS[1:]:
            raise ValueError(f'{show(value)} is not available yet in this version; write "{_KINDS[0]}"')
        if isinstance(value, str) and value != _KINDS[0]:
            raise ValueError(unknown_name(value, "a platform", _KINDS[:1]))
        return value


class FilesystemTable(_Table):
    """[filesystem]: the driver's name, how many nodes each role gets, and the driver's own options as written."""

    kind: str = Field(examples=["glusterfs"])
    roles: dict[str, Annotated[int, Field(ge=0, examples=[4])]] = Field(examples=[{"server": 4}])
    options: dict[str, Any] = Field(default_factory=dict)


class FoldTable(_Table):
    """[fold]: the folding ratios, ascending from 1, how nodes are placed, and the loss that is tolerated."""

    ratios: tuple[Annotated[float, Field(ge=1)], ...] = Field(min_length=1, max_length=64, examples=[[1, 2, 4]])
    strategy: str = Field("spread", examples=["spread"])
    max_loss: Annotated[Fraction, AfterValidator(_below_all)] = Field(0.1, examples=["10 %"])
    placement: dict[str, list[list[str]]] = Field(default_factory=dict)

    @field_validator("strategy")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in (*STRATEGIES, "explicit"):
            raise ValueError(unknown_name(value, "a strategy", (*STRATEGIES, "explicit")))
        return value

    @field_validator("ratios")
    @classmethod
    def _distinct(cls, ratios: tuple[float, ...]) -> tuple[float, ...]:
        twice = next((ratio for ratio in ratios if ratios.count(ratio) > 1), None)
        if twice is not None:
            raise ValueError(f"{twice:g} is there twice; write each ratio once")
        if 1 not in ratios:
            written = ", ".join(f"{ratio:g}" for ratio in sorted(ratios))
            raise ValueError(f"1 is missing, the baseline that losses are measured against; write [1, {written}]")
        return tuple(sorted(ratios))


class PowerTable(_Table):
    """[power]: watts of one host, idle and with every core busy; None stands for the default of `pliant.savings`."""

    idle: Power | None = Field(None, examples=["95 W"])
    busy: Power | None = Field(None, examples=["190 W"])

    @model_validator(mode="after")
    def _ordered(self) -> PowerTable:
        idle_w, busy_w = self._watts()
        if busy_w < idle_w:
            raise ValueError(
                f"a busy host ({format_power(busy_w)}) would draw less than an idle one ({format_power(idle_w)}); "
                f'write busy = "{format_power(idle_w)}" or more'
            )
        return self

    def _watts(self) -> tuple[float, float]:
        default = PowerModel()
        return (
            default.idle_w if self.idle is None else self.idle,
            default.busy_w if self.busy is None else self.busy,
        )

    @property
    def model(self) -> PowerModel:
        """The power model of one host, with pliant's defaults for what the study leaves out."""
        return PowerModel(*self._watts())


class MpiTable(_Table):
    """[mpi]: which MPI launches the workloads; None is the one that pliant comes with."""

    mpiexec: str | None = Field(None, examples=["/usr/bin/mpiexec"])

    @field_validator("mpiexec")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        if path is not None and (not path.startswith("/") or not path.isprintable()):
            raise ValueError(f'{show(path)} is not an absolute path; write e.g. "/usr/bin/mpiexec"')
        return path
