"""NFS version 4: the kernel's server with a disk, and the kernel's clients.

Sources: rpc.nfsd(8), exports(5), nfsdcld(8), rpc.mountd(8), nfs(5); nfsd's behaviour in a network namespace is that of
fs/nfsd/nfsctl.c of Linux 6.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from pliant.composition.model import Command, Composition, File, NixOS, Node, Role, Step
from pliant.composition.settings import MountOption

MOUNT = "/mnt/dfs"
DISK = "/srv/export"
_CONTROL = "/proc/fs/nfsd"
_PIPES = "/run/rpc_pipefs"
_RECORDS = "/var/lib/nfs/nfsdcld"


class NfsOptions(BaseModel):
    """`[filesystem.options]` of a study on NFS."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    version: Literal["4.0", "4.1", "4.2"] = "4.2"
    """Version of the protocol."""
    threads: int = Field(8, ge=1, le=1024, examples=[8])
    """Threads of the server, which is how many requests it works on at a time."""
    export: Literal["sync", "async"] = "sync"
    """`sync`: the server answers when what it was given is on its disk. `async`: before, so that a crash loses data."""
    transfer_kib: int = Field(1024, ge=4, le=1024, multiple_of=4, examples=[1024])
    """The most that one read or write carries (rsize, wsize), in KiB. A server left alone takes less where there is
    little memory, as in nodes (nfsd_get_default_max_blksize, fs/nfsd/nfssvc.c)."""
    mount_options: tuple[MountOption, ...] = Field((), examples=[["nconnect=4"]])
    """Other options of the clients' mount, as in nfs(5): ["nconnect=4"]."""

    @property
    def exports(self) -> str:
        """The server's line for exports(5), without its path."""
        return f"*(rw,{self.export},no_root_squash,no_subtree_check,fsid=0)"


class NFS:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "nfs"
    Options: ClassVar[type[BaseModel]] = NfsOptions
    example: ClassVar[Mapping[str, int]] = {"server": 1, "client": 4}

    @staticmethod
    def roles(options: NfsOptions) -> tuple[Role, ...]:
        """One server with a disk, and clients."""
        return (
            Role(
                "server",
                maximum=1,
                disk=DISK,
                private=("/var/lib/nfs",),
                kernel=("nfsd",),
                because="NFS has one server",
            ),
            Role("client", client=True, kernel=("nfs4",)),
        )

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: NfsOptions, seed: int) -> Composition:
        """Export the server's disk, let the kernel serve it, and mount it on the clients."""
        server = next(node.name for node in nodes if node.role == "server")
        clients = [node.name for node in nodes if node.role == "client"]
        return Composition(
            filesystem="nfs",
            roles=NFS.roles(options),
            nodes=nodes,
            steps=_steps(server, clients, options),
            mount=MOUNT,
            programs=("rpc.nfsd", "rpc.mountd", "nfsdcld", "exportfs", "mount.nfs4", "pgrep", "tee"),
            packages=("nfs-kernel-server", "nfs-common", "procps"),
            version=("mount.nfs4", "-V"),
            warnings=_warnings(options, clients),
            files={server: (File("/etc/exports", f"{DISK} {options.exports}\n"),)},
            health={
                server: Command(("grep", "-q", "^[1-9]", f"{_CONTROL}/threads")),
                **{client: Command(("stat", "--file-system", MOUNT)) for client in clients},
            },
            unmount={client: (Command(("umount", MOUNT)),) for client in clients},
            nixos=_nixos(options),
            spare={"server": 0},
        )


def _nixos(options: NfsOptions) -> NixOS:
    return NixOS(
        packages=("nfs-utils",),
        settings={
            "server": {
                "services.nfs.server.enable": True,
                "services.nfs.server.nproc": options.threads,
                "services.nfs.server.exports": f"{DISK} {options.exports}\n",
            },
            "client": {"boot.supportedFilesystems": ["nfs"]},
        },
        units={"serve": "nfs-server"},
        provides=("state", "records", "mountd"),
    )


def _warnings(options: NfsOptions, clients: list[str]) -> tuple[str, ...]:
    found = []
    if options.export == "async":
        found.append('export "async" answers before data is on the disk: a crash of the server loses it')
    if len(clients) == 1:
        found.append("one client: what it reads was written by itself, and its own cache may serve it")
    return tuple(found)


def _steps(server: str, clients: list[str], options: NfsOptions) -> tuple[Step, ...]:
    mounts = (("rpc_pipefs", _PIPES), ("nfsd", _CONTROL))
    state = tuple(Command(("mount", "-t", kind, kind, target)) for kind, target in mounts)
    settings = ("--no-nfs-version", "3", "--nfs-version", options.version)
    size = options.transfer_kib * 1024
    carries = Command(("tee", f"{_CONTROL}/max_block_size"), stdin=str(size))  # before there are threads
    own = (f"vers={options.version}", f"rsize={size}", f"wsize={size}", *options.mount_options)
    mount = ("mount", "-t", "nfs4", "-o", ",".join(own))
    return (
        Step(
            "state",
            {server: (Command(("mkdir", "-p", _PIPES, _RECORDS)), *state, carries, Command(("exportfs", "-ra")))},
        ),
        # Who the clients were. Without it a server waits 90 s for them to come back, even at its first start.
        Step(
            "records",
            {server: (Command(("nfsdcld", "--foreground", "--pipefsdir", _PIPES)),)},
            requires=("state",),
            daemon=True,
            ready={server: Command(("test", "-s", f"{_RECORDS}/main.sqlite"))},
        ),
        Step(
            "mountd",
            {server: (Command(("rpc.mountd", "--foreground", "--no-nfs-version", "3")),)},
            requires=("state",),
            daemon=True,
            ready={server: Command(("pgrep", "--exact", "rpc.mountd"))},
        ),
        Step(
            "serve",
            {server: (Command(("rpc.nfsd", *settings, str(options.threads))),)},
            requires=("records", "mountd"),
            ready={server: Command(("grep", "-q", "^[1-9]", f"{_CONTROL}/threads"))},
        ),
        Step(
            "mount",
            {c: (Command(("mkdir", "-p", MOUNT)), Command((*mount, f"{server}:/", MOUNT))) for c in clients},
            requires=("serve",),
            ready={client: Command(("mountpoint", "-q", MOUNT)) for client in clients},
        ),
    )
