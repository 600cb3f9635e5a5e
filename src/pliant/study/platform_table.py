"""The table [platform] of a study file, as `tables` has the others. Pure."""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Network
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from pliant.study.data_disks import disk_problems
from pliant.study.problems import show, unknown_name
from pliant.study.tables import DISK_BYTES, HostTable, Table
from pliant.units import Duration

KINDS = ("emulated", "ssh", "slurm", "oar", "grid5000")
_KEYS = {
    "emulated": "host kernel",
    "ssh": "host hosts ssh_config network",
    "slurm": "host ssh_config network front nodes walltime queue properties project begin job keep",
    "oar": "host ssh_config network front nodes walltime queue properties types project begin job keep",
    "grid5000": "host ssh_config network nodes walltime queue properties types project begin job keep site cluster "
    "environment disk",
}
"""Where hosts come from -> the keys of [platform] that say something there, beside `kind`."""
_NEEDED = {
    "emulated": (("host", "add a [platform.host] table"),),
    "ssh": (("hosts", 'add e.g. hosts = ["node[1-8]"]'),),
    "slurm": (("walltime", 'add e.g. walltime = "2 h"'),),
    "oar": (("walltime", 'add e.g. walltime = "2 h"'),),
    "grid5000": (("site", 'add e.g. site = "nancy"'), ("walltime", 'add e.g. walltime = "2 h"')),
}
_Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@-]*$", max_length=100)]
_Text = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]+$", min_length=1, max_length=300)]


class PlatformTable(Table):
    """[platform]: where hosts come from, and what one of them has.

    Real hosts are what they are without `host`; with it, its limits are laid on each of them.
    """

    kind: Literal["emulated", "ssh", "slurm", "oar", "grid5000"] = Field(
        examples=["emulated"], description="where hosts come from"
    )
    host: HostTable | None = Field(None, description="what one host has; real ones may be left as they are")
    kernel: Literal["shared", "uml", "vm"] | None = Field(
        None,
        examples=["uml"],
        description="the kernel of nodes whose file system is the kernel's: the machine's, or one of their own, "
        "by User Mode Linux or in a virtual machine; by default the machine's where it has that file system, else one "
        "of their own",
    )
    hosts: tuple[Annotated[str, StringConstraints(min_length=1, max_length=1000)], ...] = Field(
        (), max_length=1000, examples=[["node[1-8]"]], description="ssh: the hosts, as ssh knows them, or @FILE"
    )
    ssh_config: _Text | None = Field(
        None, examples=["ssh_config"], description="what ssh reads instead of ~/.ssh/config; beside the study file"
    )
    network: str | None = Field(
        None,
        examples=["10.0.0.0/16"],
        description="the network by which hosts reach each other; by default that by which they are reached",
    )
    front: _Word | None = Field(
        None, examples=["frontend"], description="where the scheduler's commands are, as ssh knows it; default: here"
    )
    nodes: int | None = Field(
        None,
        ge=1,
        le=250,
        examples=[8],
        description="how many hosts to reserve; by default as many as the baseline takes",
    )
    walltime: Annotated[Duration, Field(gt=0)] | None = Field(
        None, examples=["2 h"], description="how long the reservation is to last"
    )
    queue: _Word | None = Field(None, examples=["default"], description="OAR's queue, Slurm's partition")
    properties: _Text | None = Field(
        None, examples=["cluster='gros'"], description="what hosts must be: OAR's SQL, Slurm's constraint"
    )
    types: tuple[_Word, ...] = Field((), max_length=20, examples=[["deploy"]], description="OAR's types of the job")
    project: _Word | None = Field(None, examples=["myproject"], description="who pays: OAR's project, Slurm's account")
    begin: _Text | None = Field(
        None, examples=["2026-12-01 19:00"], description="when the reservation is to begin; by default at once"
    )
    job: Annotated[str, StringConstraints(pattern=r"^[0-9]+$", max_length=20)] | None = Field(
        None, examples=["12345"], description="a job that runs already, to be used in place of a new one"
    )
    keep: bool = Field(False, examples=[True], description="whether the reservation outlives the run")
    site: _Word | None = Field(None, examples=["nancy"], description="Grid'5000: the site")
    cluster: _Word | None = Field(None, examples=["gros"], description="Grid'5000: the cluster")
    environment: _Text | None = Field(
        None, examples=["debian12-min"], description="Grid'5000: what kadeploy is to install; default: the standard"
    )
    disk: _Text | None = Field(
        None, examples=["disk1"], description="Grid'5000: the reserved disk for what nodes write; default: the root's"
    )

    @field_validator("kind", mode="before")
    @classmethod
    def _known(cls, value: object) -> object:
        if value == "vm":
            raise ValueError(f'{show(value)} is not available yet in this version; write "{KINDS[0]}"')
        if isinstance(value, str) and value not in KINDS:
            raise ValueError(unknown_name(value, "a platform", KINDS))
        return value

    @field_validator("job", mode="before")
    @classmethod
    def _number(cls, value: object) -> object:
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value

    @field_validator("network")
    @classmethod
    def _is_network(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                IPv4Network(value)
            except ValueError as error:
                raise ValueError(f'{show(value)} is no network: {error}; write e.g. "10.0.0.0/16"') from None
        return value

    @field_validator("begin")
    @classmethod
    def _is_moment(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                datetime.fromisoformat(value)
            except ValueError:
                raise ValueError(f'{show(value)} is no moment; write e.g. "2026-12-01 19:00"') from None
        return value

    @property
    def real(self) -> bool:
        """Whether hosts are other machines."""
        return self.kind != "emulated"

    @property
    def scheduled(self) -> bool:
        """Whether a scheduler lends them."""
        return self.kind in ("slurm", "oar", "grid5000")

    @property
    def disk_size(self) -> int:
        """Bytes of each node's own disk."""
        return DISK_BYTES if self.host is None else self.host.disk_size

    @property
    def begin_s(self) -> float | None:
        """The moment at which the reservation is to begin, in seconds since the epoch; None for at once."""
        return None if self.begin is None else datetime.fromisoformat(self.begin).timestamp()

    @property
    def problems(self) -> list[tuple[str, str]]:
        """What does not go together: (key, sentence)."""
        mine = _KEYS[self.kind].split()
        strange = [key for key in type(self).model_fields if key in self.model_fields_set - {"kind", *mine}]
        said = f'says nothing with kind = "{self.kind}", whose keys are {", ".join(mine)}; remove it'
        found = [(key, said) for key in strange]
        needed = () if self.job is not None else _NEEDED[self.kind]
        found += [(key, f"is missing; {remedy}") for key, remedy in needed if not getattr(self, key)]
        lent = self.kind == "grid5000" and self.disk is not None
        return found + (disk_problems(self.disk or "", self.cluster, self.job) if lent else [])
