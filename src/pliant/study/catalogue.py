"""Hosts of real clusters, by name: "grid5000/dahu". Pure: it reads files of its own package only.

Each file in `clusters/` is one testbed and each table in it one cluster; every figure has its source there. To
add a cluster is to add a table: tests/unit/test_catalogue.py says what it needs, and `reference` makes the figures of
one from a testbed's own description. A cluster that its testbed has retired leaves a table that says so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from pliant.study.problems import unknown_name
from pliant.units import format_byte_rate, parse_bit_rate, parse_byte_rate, parse_power, parse_size

KINDS = ("HDD", "SSD", "NVMe")


@dataclass(frozen=True)
class Disk:
    """One disk of a node; `size_bytes` as its vendor counts. `data` marks the one that an emulated disk stands for."""

    kind: str
    size_bytes: int
    model: str
    data: bool


@dataclass(frozen=True)
class Cluster:
    """One node of a cluster: physical cores, bit/s of its Ethernet, bytes of memory, disks, watts.

    `read_byte_s` and `write_byte_s` are the sequential rates of its data disk, `idle_w` and `busy_w` the watts idle and
    with every core busy: None where no source says. Each `*source` says where the figures come from. Where no source
    has the rates of the very disk, `disk_bound` names the interface whose ceiling they are, or `disk_akin` the disk of
    its family that they were published of.
    """

    name: str
    nodes: int
    cpu: str
    cores: int
    nic_bit_s: float
    memory_bytes: int
    disks: tuple[Disk, ...]
    source: str
    read_byte_s: float | None = None
    write_byte_s: float | None = None
    disk_source: str = ""
    disk_bound: str = ""
    disk_akin: str = ""
    idle_w: float | None = None
    busy_w: float | None = None
    watts_source: str = ""

    @property
    def disk_byte_s(self) -> float | None:
        """The lower of the data disk's rates: an emulated disk has one rate for reads and as much for writes."""
        known = [rate for rate in (self.read_byte_s, self.write_byte_s) if rate is not None]
        return min(known, default=None)

    @property
    def disk_caveat(self) -> str:
        """What must be known of a rate that is not the data disk's own; "" if it is."""
        if self.disk_byte_s is None or not (self.disk_bound or self.disk_akin):
            return ""
        if self.disk_bound:
            what = f"an upper bound, what its interface carries ({self.disk_bound}), and not a measurement"
        else:
            what = f"the published rate of others of its family ({self.disk_akin})"
        rate, none = format_byte_rate(self.disk_byte_s), f"no rate of the {self.data_disk.model} itself was found"
        return f"{rate} is {what}: {none}; `disk = ` in the study overrides it"

    @property
    def data_disk(self) -> Disk:
        """The disk that an emulated disk stands for."""
        return next(disk for disk in self.disks if disk.data)


@dataclass(frozen=True)
class Retired:
    """A cluster that is no more: the day of its last description, and a cluster with the same CPUs, memory and NIC."""

    name: str
    last: str
    akin: str
    source: str


@cache
def clusters() -> Mapping[str, Cluster]:
    """Every cluster by its full name, in the order of the files."""
    return {name: from_table(name, table) for name, table in _tables().items() if "retired" not in table}


@cache
def retired() -> Mapping[str, Retired]:
    """What a study may still name, by its full name, though its testbed has it no more."""
    gone = {name: table for name, table in _tables().items() if "retired" in table}
    return {name: Retired(name, each["retired"], each["akin"], each["source"]) for name, each in gone.items()}


def cluster(name: str) -> Cluster:
    """The cluster of that full name; ValueError, with what was perhaps meant, if there is none."""
    known = clusters()
    if name in known:
        return known[name]
    # "dahu" alone is no misspelling that difflib would find.
    full = next((each for each in (*known, *retired()) if name.lower() in (each, each.partition("/")[2])), None)
    if full in known and "/" not in name:
        raise ValueError(f'"{name}" is not a cluster of the catalogue; write "{full}"')
    if full is not None and full in retired():
        raise ValueError(_gone(retired()[full]))
    raise ValueError(unknown_name(name, "a cluster of the catalogue", known))


def _gone(cluster: Retired) -> str:
    """The sentence for a study that names a cluster which is no more."""
    return (
        f'"{cluster.name}" was retired by its testbed (last described on {cluster.last}); write "{cluster.akin}", '
        "which has the same CPUs, memory and NIC, or the figures themselves: cores, nic, disk and a scale"
    )


@cache
def _tables() -> Mapping[str, Mapping[str, Any]]:
    """Every table of every file, by its full name."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in sorted(resources.files("pliant.study").joinpath("clusters").iterdir(), key=lambda each: each.name):
        if file.name.endswith(".toml"):
            testbed = file.name.removesuffix(".toml")
            tables = tomllib.loads(file.read_text(encoding="utf-8"))
            found |= {f"{testbed}/{name}": table for name, table in tables.items()}
    return found


def from_table(name: str, table: Mapping[str, Any]) -> Cluster:
    """One table of a file; KeyError or ValueError for what is not one."""
    watts, rates = table.get("watts", {}), table.get("disk_rates", {})
    return Cluster(
        name=name,
        nodes=table["nodes"],
        cpu=table["cpu"],
        cores=table["cores"],
        nic_bit_s=parse_bit_rate(table["nic"]),
        memory_bytes=parse_size(table["memory"]),
        disks=tuple(
            Disk(disk["kind"], parse_size(disk["size"]), disk["model"], number == table["data_disk"])
            for number, disk in enumerate(table["disks"])
        ),
        source=table["source"],
        read_byte_s=parse_byte_rate(rates["read"]) if rates else None,
        write_byte_s=parse_byte_rate(rates["write"]) if rates else None,
        disk_source=rates.get("source", ""),
        disk_bound=rates.get("bound", ""),
        disk_akin=rates.get("akin", ""),
        idle_w=parse_power(watts["idle"]) if watts else None,
        busy_w=parse_power(watts["busy"]) if watts else None,
        watts_source=watts.get("source", ""),
    )
