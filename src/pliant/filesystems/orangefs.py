"""OrangeFS: servers that hold data and metadata on a disk each, and the kernel's clients with a process beside them.

Sources: the OrangeFS documentation (server configuration file, adding clients), `pvfs2-server --help`; for the kernel
Documentation/filesystems/orangefs.rst and fs/orangefs/devorangefs-req.c of Linux 6.1. There was no machine to try it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from pliant.composition.model import Command, Composition, File, NixOS, Node, Role, Step

MOUNT = "/mnt/dfs"
DISK = "/srv/orangefs"
FILESYSTEM = "orangefs"
_CONFIG = "/etc/orangefs/server.conf"
_PORT = 3334
_FIRST, _LAST = 3, 2**63 - 2
"""Handles: each server has a range of them for metadata and one for data."""


class OrangeOptions(BaseModel):
    """`[filesystem.options]` of a study on OrangeFS."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    sync_metadata: bool = Field(True, examples=[True])
    """Whether metadata is on the disk before a server answers (TroveSyncMeta)."""
    sync_data: bool = Field(False, examples=[False])
    """Whether data is (TroveSyncData)."""


class OrangeFS:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "orangefs"
    Options: ClassVar[type[BaseModel]] = OrangeOptions
    example: ClassVar[Mapping[str, int]] = {"server": 4, "client": 1}

    @staticmethod
    def roles(options: OrangeOptions) -> tuple[Role, ...]:
        """Servers with a disk each, and clients."""
        return (Role("server", disk=DISK), Role("client", client=True))

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: OrangeOptions, seed: int) -> Composition:
        """Format every server's storage, start them all, then the clients' helpers, and mount it."""
        servers = [node.name for node in nodes if node.role == "server"]
        clients = [node.name for node in nodes if node.role == "client"]
        config = File(_CONFIG, _config(servers, options))
        return Composition(
            filesystem="orangefs",
            roles=OrangeFS.roles(options),
            nodes=nodes,
            steps=_steps(servers, clients),
            mount=MOUNT,
            programs=("pvfs2-server", "pvfs2-client-core", "pvfs2-check-server", "pgrep"),
            packages=("orangefs", "procps"),
            version=("pvfs2-server", "--version"),
            warnings=_warnings(clients),
            files=dict.fromkeys(servers, (config,)),
            health={
                **{server: _answers(server) for server in servers},
                **{client: Command(("stat", "--file-system", MOUNT)) for client in clients},
            },
            unmount={client: (Command(("umount", MOUNT)),) for client in clients},
            kernel=("pvfs2",),
            one_per_kernel=("client",),
            nixos=_nixos(servers, options),
            spare={"server": 0},
        )


def _config(servers: list[str], options: OrangeOptions) -> str:
    """server.conf, the same on all servers."""
    share = (_LAST - _FIRST) // (2 * len(servers))

    def ranges(first: int) -> str:
        begins = [(server, _FIRST + (first + index) * share) for index, server in enumerate(servers)]
        return "".join(f"Range {server} {begin}-{begin + share - 1}\n" for server, begin in begins)

    aliases = "".join(f"Alias {server} tcp://{server}:{_PORT}\n" for server in servers)
    return (
        f"<Defaults>\nLogType syslog\nDataStorageSpace {DISK}/data\nMetaDataStorageSpace {DISK}/meta\n"
        f"BMIModules bmi_tcp\n</Defaults>\n<Aliases>\n{aliases}</Aliases>\n"
        f"<FileSystem>\nName {FILESYSTEM}\nID 1\nRootHandle {_FIRST}\n"
        f"<MetaHandleRanges>\n{ranges(0)}</MetaHandleRanges>\n"
        f"<DataHandleRanges>\n{ranges(len(servers))}</DataHandleRanges>\n"
        f"<StorageHints>\nTroveSyncMeta {_yes(options.sync_metadata)}\nTroveSyncData {_yes(options.sync_data)}\n"
        "</StorageHints>\n</FileSystem>\n"
    )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _answers(server: str) -> Command:
    return Command(("pvfs2-check-server", "-h", server, "-f", FILESYSTEM, "-n", "tcp", "-p", str(_PORT)))


def _nixos(servers: list[str], options: OrangeOptions) -> NixOS:
    server = "services.orangefs.server"
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
            "client": {"services.orangefs.client.enable": True, "services.orangefs.client.fileSystems": []},
        },
        units={"server": "orangefs-server", "client": "orangefs-client"},
        files=(_CONFIG,),
        words={"--owner=root": "--owner=orangefs", "--group=root": "--group=orangefs"},
        users={"format": "orangefs"},
    )


def _warnings(clients: list[str]) -> tuple[str, ...]:
    found = ["OrangeFS was never deployed by pliant: it is written from its documentation"]
    if len(clients) == 1:
        found.append("one client: what it reads was written by itself")
    return tuple(found)


def _steps(servers: list[str], clients: list[str]) -> tuple[Step, ...]:
    own = ("install", "--directory", "--owner=root", "--group=root", "--mode=0770")
    source = f"tcp://{servers[0]}:{_PORT}/{FILESYSTEM}"
    return (
        Step(
            "prepare",
            {server: (Command((*own, f"{DISK}/data", f"{DISK}/meta")),) for server in servers},
            once=True,
        ),
        Step(
            "format",
            {server: (Command(("pvfs2-server", "-f", _CONFIG, "-a", server)),) for server in servers},
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
        Step(
            "client",
            {client: (Command(("pvfs2-client-core", "--logtype=syslog")),) for client in clients},
            daemon=True,
            ready={client: Command(("pgrep", "--exact", "pvfs2-client-co")) for client in clients},
        ),
        Step(
            "mount",
            {c: (Command(("mkdir", "-p", MOUNT)), Command(("mount", "-t", "pvfs2", source, MOUNT))) for c in clients},
            requires=("client", "server"),
            ready={client: Command(("mountpoint", "-q", MOUNT)) for client in clients},
        ),
    )
