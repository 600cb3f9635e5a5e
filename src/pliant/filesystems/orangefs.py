"""OrangeFS: servers with a disk each, which have data, metadata or both, and clients by FUSE or by the kernel.

Sources: the OrangeFS documentation (server configuration file, adding clients), `pvfs2-server --help`, pvfs2-genconfig
and pvfs2fuse of OrangeFS 2.10; for the kernel Documentation/filesystems/orangefs.rst of Linux 6.1. Nodes see the
programs that the user brings: no distribution has them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from pliant.composition.model import (
    BadOptions,
    Brought,
    Command,
    Composition,
    File,
    NixOS,
    Node,
    Role,
    Setting,
    Step,
)
from pliant.composition.nodeset import fold, select
from pliant.composition.settings import MountOption, OwnPath

MOUNT = "/mnt/dfs"
DISK = "/srv/orangefs"
FILESYSTEM = "orangefs"
_CONFIG = "/etc/orangefs/server.conf"
_TABLE = "/etc/pvfs2tab"
_PORT = 3334
_FIRST, _LAST = 3, 2**63 - 2
"""Handles: each server has a range of them for what it has of metadata, and one for data."""
_SERVER = ("pvfs2-server", "pvfs2-check-server")
_CLIENT = {"fuse": "pvfs2fuse", "kernel": "pvfs2-client-core"}
_SOURCE = (
    "no package of Debian's has OrangeFS: its source is at github.com/waltligon/orangefs; where it is installed, say "
    'programs = "DIRECTORY" in [filesystem.options]'
)


class OrangeOptions(BaseModel):
    """`[filesystem.options]` of a study on OrangeFS."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    programs: OwnPath = Field("", examples=["/opt/orangefs"])
    """Directory in which the programs lie, or in bin and sbin below it. Without it they are on the nodes' PATH."""
    client: Literal["fuse", "kernel"] = "fuse"
    """What a client mounts it by: a process (pvfs2fuse), or the kernel and a process (pvfs2-client-core)."""
    metadata: str = Field("", examples=["server[1-2]"])
    """The servers that have metadata; all of them if it is not there."""
    data: str = Field("", examples=["server[2-4]"])
    """The servers that have data; all of them if it is not there."""
    strip_kib: int = Field(64, ge=4, le=2**20, examples=[64])
    """What goes to one server before the next, KiB (simple_stripe, strip_size)."""
    sync_metadata: bool = Field(True, examples=[True])
    """Whether metadata is on the disk before a server answers (TroveSyncMeta)."""
    sync_data: bool = Field(False, examples=[False])
    """Whether data is (TroveSyncData)."""
    client_cache: bool = Field(False, examples=[False])
    """Whether clients by FUSE take names and attributes for right for a minute, whatever others do."""
    mount_options: tuple[MountOption, ...] = Field((), examples=[["attr_timeout=0"]])
    """Other options of the clients' mount: of FUSE ("attr_timeout=0"), or of the kernel's ("intr")."""


class OrangeFS:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "orangefs"
    Options: ClassVar[type[BaseModel]] = OrangeOptions
    example: ClassVar[Mapping[str, int]] = {"server": 4, "client": 2}

    @staticmethod
    def roles(options: OrangeOptions) -> tuple[Role, ...]:
        """Servers with a disk each, and clients."""
        kernel = ("pvfs2",) if options.client == "kernel" else ()
        return (Role("server", disk=DISK), Role("client", client=True, kernel=kernel))

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: OrangeOptions, seed: int) -> Composition:
        """Format every server's storage, start them all, and mount it, by way of a process in each client."""
        servers = [node for node in nodes if node.role == "server"]
        clients = [node.name for node in nodes if node.role == "client"]
        chosen = {what: _chosen(servers, what, getattr(options, what)) for what in ("metadata", "data")}
        if idle := [node.name for node in servers if not any(node.name in each for each in chosen.values())]:
            raise BadOptions(f"{fold(idle)}: neither in metadata nor in data, so nothing would be there")
        names = [node.name for node in servers]
        config = File(_CONFIG, _config(names, chosen, options))
        table = File(_TABLE, f"{_source(chosen['metadata'][0])} {MOUNT} pvfs2 defaults,noauto 0 0\n")
        own = (*_SERVER, _CLIENT[options.client])
        return Composition(
            filesystem="orangefs",
            roles=OrangeFS.roles(options),
            nodes=nodes,
            steps=_steps(names, clients, chosen["metadata"][0], options),
            mount=MOUNT,
            programs=(*own, *(("pgrep", "timeout") if options.client == "kernel" else ())),
            packages=("libfuse2", "procps"),
            sources=dict.fromkeys(own, _SOURCE),
            brought=Brought(options.programs),
            version=("pvfs2-server", "--version"),
            warnings=_warnings(clients, options),
            files={**dict.fromkeys(names, (config,)), **dict.fromkeys(clients, (table,))},
            health={
                **{server: _answers(server) for server in names},
                **{client: Command(("stat", "--file-system", MOUNT)) for client in clients},
            },
            unmount={client: (Command(("umount", MOUNT)),) for client in clients},
            kernel=("fuse",) if options.client == "fuse" else (),
            one_per_kernel=("client",) if options.client == "kernel" else (),
            nixos=_nixos(names, options),
            spare={"server": 0},
        )


def _chosen(servers: list[Node], what: str, pattern: str) -> list[str]:
    """The servers of a pattern, all of them for ""; BadOptions if there are none such."""
    try:
        found = [node.name for node in (select(pattern, servers) if pattern else servers)]
    except ValueError as error:
        raise BadOptions(f"{what}: {error}") from error
    return found


def _config(servers: list[str], chosen: Mapping[str, list[str]], options: OrangeOptions) -> str:
    """server.conf, the same on all servers."""
    owners = [*chosen["metadata"], *chosen["data"]]
    share = (_LAST - _FIRST) // len(owners)
    begins = [_FIRST + index * share for index in range(len(owners))]
    ranges = [f"Range {name} {begin}-{begin + share - 1}\n" for name, begin in zip(owners, begins, strict=True)]
    meta, data = "".join(ranges[: len(chosen["metadata"])]), "".join(ranges[len(chosen["metadata"]) :])
    aliases = "".join(f"Alias {server} tcp://{server}:{_PORT}\n" for server in servers)
    return (
        f"<Defaults>\nLogFile /dev/stderr\nDataStorageSpace {DISK}/data\nMetaDataStorageSpace {DISK}/meta\n"
        # Capabilities of a client whose clock or node stood still would be refused.
        f"BMIModules bmi_tcp\n<Security>\nTurnOffTimeouts yes\n</Security>\n</Defaults>\n"
        f"<Aliases>\n{aliases}</Aliases>\n<FileSystem>\nName {FILESYSTEM}\nID 1\nRootHandle {_FIRST}\n"
        f"<MetaHandleRanges>\n{meta}</MetaHandleRanges>\n<DataHandleRanges>\n{data}</DataHandleRanges>\n"
        f"<StorageHints>\nTroveSyncMeta {_yes(options.sync_metadata)}\nTroveSyncData {_yes(options.sync_data)}\n"
        "</StorageHints>\n<Distribution>\nName simple_stripe\nParam strip_size\n"
        f"Value {options.strip_kib * 1024}\n</Distribution>\n</FileSystem>\n"
    )


def _source(server: str) -> str:
    """The file system, for clients that ask a server for the configuration."""
    return f"tcp://{server}:{_PORT}/{FILESYSTEM}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _answers(server: str) -> Command:
    return Command(("pvfs2-check-server", "-h", server, "-f", FILESYSTEM, "-n", "tcp", "-p", str(_PORT)))


def _nixos(servers: list[str], options: OrangeOptions) -> NixOS:
    server, kernel = "services.orangefs.server", options.client == "kernel"
    client: Mapping[str, Setting] = {
        "services.orangefs.client.enable": True,
        "services.orangefs.client.fileSystems": [],
    }
    return NixOS(
        packages=("orangefs",),
        settings={
            "server": {
                f"{server}.enable": True,
                f"{server}.dataStorageSpace": f"{DISK}/data",
                f"{server}.metadataStorageSpace": f"{DISK}/meta",
                f"{server}.servers": {name: f"tcp://{name}:{_PORT}" for name in servers},
                f"{server}.fileSystems": {
                    FILESYSTEM: {"troveSyncMeta": options.sync_metadata, "troveSyncData": options.sync_data}
                },
            },
            **({"client": client} if kernel else {}),
        },
        units={"server": "orangefs-server", **({"client": "orangefs-client"} if kernel else {})},
        files=(_CONFIG,),
        words={"--owner=root": "--owner=orangefs", "--group=root": "--group=orangefs"},
        users={"format": "orangefs"},
    )


def _warnings(clients: list[str], options: OrangeOptions) -> tuple[str, ...]:
    found = ["OrangeFS keeps one copy: what is on a server is away while that is down"]
    if options.client_cache and options.client == "fuse":
        found.append("client_cache: what another client made anew under an old name is not found for up to a minute")
    if len(clients) == 1:
        found.append("one client: what it reads was written by itself")
    return tuple(found)


def _steps(servers: list[str], clients: list[str], first: str, options: OrangeOptions) -> tuple[Step, ...]:
    own = ("install", "--directory", "--owner=root", "--group=root", "--mode=0770")
    return (
        Step(
            "prepare",
            {server: (Command((*own, f"{DISK}/data", f"{DISK}/meta")),) for server in servers},
            once=True,
        ),
        Step(
            "format",
            # What a server begins with is on its disk by itself only after some seconds, as with any disk.
            {
                server: (
                    Command(("pvfs2-server", "-f", _CONFIG, "-a", server)),
                    Command(("sync", "--file-system", DISK)),
                )
                for server in servers
            },
            requires=("prepare",),
            once=True,
        ),
        Step(
            "server",
            {server: (Command(("pvfs2-server", "-d", _CONFIG, "-a", server)),) for server in servers},
            requires=("format",),
            daemon=True,
            ready={server: _answers(server) for server in servers},
        ),
        *_mounting(clients, first, options),
    )


def _mounting(clients: list[str], first: str, options: OrangeOptions) -> tuple[Step, ...]:
    """The steps by which clients come to their mount."""
    source = _source(first)
    mounted = {client: Command(("mountpoint", "-q", MOUNT)) for client in clients}
    directory = Command(("mkdir", "-p", MOUNT))
    if options.client == "fuse":
        # The process stays: it is the client. Without big_writes FUSE hands on 4 KiB at a time.
        # By its table of file systems it asks for names and attributes each time, by this option of its own it keeps
        # them for a minute (pvfs2fuse.c of 2.10).
        kept = (f"fs_spec={source}",) if options.client_cache else ()
        given = ",".join(("big_writes", *kept, *options.mount_options))
        mount = Command(("pvfs2fuse", "-f", "-o", given, MOUNT))
        return (
            # It tries to connect for half a second, and ends: a node that was switched on may need longer.
            Step(
                "reach",
                dict.fromkeys(clients, (directory,)),
                requires=("server",),
                ready=dict.fromkeys(clients, _answers(first)),
            ),
            Step(
                "mount",
                dict.fromkeys(clients, (mount,)),
                requires=("server", "reach"),
                daemon=True,
                ready=mounted,
            ),
        )
    core = ("pvfs2-client-core", "--logtype=file", "--logfile=/dev/stderr", "--acache-timeout=0", "--ncache-timeout=0")
    words = (*(("-o", ",".join(options.mount_options)) if options.mount_options else ()), source, MOUNT)
    return (
        Step(
            "client",
            dict.fromkeys(clients, (Command(core),)),
            daemon=True,
            ready={client: Command(("pgrep", "--exact", "pvfs2-client-co")) for client in clients},
        ),
        Step(
            "mount",
            dict.fromkeys(clients, (directory,)),
            requires=("client", "server"),
            # At times its first question is never answered (Linux 6.1, OrangeFS 2.10): asked again, it is.
            ready=dict.fromkeys(clients, Command(("timeout", "--signal=KILL", "8", "mount", "-t", "pvfs2", *words))),
        ),
    )
