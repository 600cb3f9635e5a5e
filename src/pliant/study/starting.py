"""The text of a study to begin with: commented, small, and of hosts that leave the machine slack. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pliant.proportions import MIN_BYTES, MIN_CORES
from pliant.units import format_size

SLACK = 0.6
"""The part of a machine's CPU and memory that hosts are promised: a calm machine gives a verdict sooner, and there may
be neighbours."""
_MOST_CORES, _MOST_BYTES, _MOST_DISK_BYTES = 0.5, 2**30, 4 * 2**30
_STEP_BYTES = 64 * 2**20
_DEFAULT_WORKLOADS = {
    "ior": 'block = "16 MiB"              # what each client writes and reads in one piece',
    "mdtest": "files_per_rank = 50            # files, and directories, that each client makes",
    "fio": 'rw = "randread"\nbs = "4 KiB"\nsize = "16 MiB"',
    "io500": (
        'stonewall = "5 s"              # of each phase that writes; the list wants 300 s\neasy_block = "64 MiB"\n'
        "easy_files = 1000\nhard_segments = 500\nhard_files = 500"
    ),
    "command": (
        '[[workload.phase]]\nname = "measure"\nshell = "dd if=/dev/zero of={{ directory }}/{{ client }} bs=1M count=16 '
        'conv=fsync 2>&1"\n\n[[workload.metric]]\nname = "took"\nunit = "s"\nbetter = "lower"\ncombine = "max"\n'
        'regex = "copied, ([0-9.]+) s"'
    ),
}


@dataclass(frozen=True)
class Slice:
    """What one of several hosts of a machine may have: cores, bytes of memory, and bytes of a node's own disk."""

    cores: float
    memory_bytes: int
    disk_bytes: int


def host_of(nodes: int, disks: int, cores: int, memory_bytes: int, free_bytes: int) -> Slice:
    """A host of which as many as there are nodes leave a machine slack.

    >>> host_of(8, 4, 2, 24 * 2**30, 100 * 2**30)
    Slice(cores=0.15, memory_bytes=1073741824, disk_bytes=4294967296)
    """
    # Hosts below a core stay on one CPU: so many of them share the fullest.
    own = SLACK / math.ceil(nodes / cores)
    memory = min(_MOST_BYTES, SLACK * memory_bytes / nodes) // _STEP_BYTES * _STEP_BYTES
    disk = min(_MOST_DISK_BYTES, SLACK * free_bytes / max(1, disks)) // _STEP_BYTES * _STEP_BYTES
    return Slice(
        max(MIN_CORES, math.floor(100 * min(_MOST_CORES, own) + 1e-9) / 100),
        max(MIN_BYTES, int(memory)),
        max(MIN_BYTES, int(disk)),
    )


def ratios_of(nodes: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to all nodes on one host."""
    powers = [2**power for power in range(nodes.bit_length()) if 2**power < nodes]
    return (*powers, nodes) if nodes > 1 else (1,)


def workload_kinds() -> tuple[str, ...]:
    """Those that a study can begin with."""
    return tuple(_DEFAULT_WORKLOADS)


def text(name: str, filesystem: str, roles: Mapping[str, int], workloads: Sequence[str], host: Slice) -> str:
    """The study file. `roles` and `workloads` are in the order in which they are to be written."""
    nodes = sum(roles.values())
    counts = "\n".join(f"{role} = {count}" for role, count in roles.items())
    measured = "\n\n".join(f'[[workload]]\nkind = "{kind}"\n{_DEFAULT_WORKLOADS[kind]}' for kind in workloads)
    disk = "" if host.disk_bytes == _MOST_DISK_BYTES else f'\ndisk_size = "{format_size(host.disk_bytes)}"'
    return f"""\
#:schema study.schema.json
# pliant check {name}.toml     checks this file and shows the plan
# pliant run {name}.toml       measures, and writes a report
# pliant schema -o study.schema.json    lets an editor that knows JSON Schema complete and check it
# docs/study-file.md explains every key and its default.

[study]
name = "{name}"
budget = "10 min"              # the search ends after this, or when all that matters is decided

[platform]
kind = "emulated"              # this machine is cut into hosts

[platform.host]                # what each host has, shared by the nodes on it; at ratio 1 there are {nodes} hosts
cores = {host.cores:g}
nic = "200 Mbit/s"             # in each direction; nodes on one host talk to each other without it
disk = "60 MB/s"               # for reads, and as much for writes
memory = "{format_size(host.memory_bytes)}"{disk}

[filesystem]
kind = "{filesystem}"

[filesystem.roles]             # how many nodes of each kind
{counts}

[fold]
ratios = {list(ratios_of(nodes))}    # nodes per host
max_loss = "10 %"              # the loss against ratio 1 that is tolerated
# metrics = ["*_bandwidth"]    # what decides how far it folds; all metrics if left out

{measured}
"""
