"""What a deployment is asked for, and what it is made of: hosts and nodes, as plain records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class HostFigures:
    """What one host has: CPUs' worth of time, bit/s each way, bytes/s of reads and of writes, bytes, and the seconds
    that a crossing of its uplink takes longer. What of a real one is not known is 0."""

    cores: float
    nic_bit_s: float
    disk_byte_s: float
    memory_bytes: int
    latency_s: float = 0.0


@dataclass(frozen=True)
class Overlay:
    """How the nodes of a host reach those of other hosts: packets travel in VXLAN number `vni` from the host's address
    `local`, UDP port `port`, to those of the other hosts, the keys of `peers`; these map to what is there: the
    addresses of its switch and nodes. `mtu` is the nodes' own, in bytes; `switch` the address of this host's switch
    among them, and `names` has those of the nodes of all hosts (address -> name)."""

    vni: int
    port: int
    local: str
    peers: Mapping[str, Sequence[str]]
    mtu: int
    switch: str
    names: Mapping[str, str]


@dataclass(frozen=True)
class NodeFile:
    """A file to write into a node before anything runs in it; `owner` is `user` or `user:group`, by name."""

    path: str
    content: str = field(repr=False)
    mode: int = 0o644
    owner: str = "root"


SHARED, UML, VM = "shared", "uml", "vm"
"""Kinds of nodes: those that share the machine's kernel, and those that have one of their own (`uml`, `vm`)."""
MACHINE = "machine"
"""The kind of a node that is the machine itself (`standing`)."""


@dataclass(frozen=True)
class NodeRequest:
    """One node to make. `disk` is where its own disk of `disk_bytes` is mounted, which is made with `disk_options`
    (mkfs.ext4); `private` as in `launch.NodeSpec`.

    Of the kind "uml" or "vm" it has a kernel of its own, with `memory_bytes`, the file systems `modules`, and what is
    in the file `module` of one, if that is not ""; of "shared" it has the machine's. `links` are symbolic links that
    it has beside the machine's files: (path, target).
    """

    name: str
    address: str
    disk: str | None = None
    disk_bytes: int = 0
    private: tuple[str, ...] = ()
    files: tuple[NodeFile, ...] = ()
    kind: str = SHARED
    memory_bytes: int = 0
    modules: tuple[str, ...] = ()
    module: str = ""
    links: tuple[tuple[str, str], ...] = ()
    disk_options: tuple[str, ...] = ()


@dataclass(frozen=True)
class LiveNode:
    """A node: its number in the deployment, the PID of its init, its disk's loop device and where that is mounted."""

    name: str
    number: int
    address: str
    pid: int
    device: str | None
    logs: str
    disk: str | None = None
    kind: str = SHARED
