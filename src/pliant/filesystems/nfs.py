"""NFS: a server with a disk, by the kernel or by NFS-Ganesha, and the kernel's clients.

Sources: rpc.nfsd(8), exports(5), nfsdcld(8), rpc.mountd(8), nfs(5), rpcbind(8), rpc.statd(8); nfsd's behaviour in a
network namespace is that of fs/nfsd/nfsctl.c of Linux 6.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from pliant.composition.model import BadOptions, Command, Composition, File, NixOS, Node, Role, Step
from pliant.composition.settings import MountOption
from pliant.filesystems import nfs_ganesha as ganesha

MOUNT = "/mnt/dfs"
DISK = "/srv/export"
_CONTROL = "/proc/fs/nfsd"
_PIPES = "/run/rpc_pipefs"
_STATE = "/var/lib/nfs"
_RECORDS = f"{_STATE}/nfsdcld"
_GRACE_S = 10
"""Nobody says to version 3's server that there were no clients before, so that it waits for them to claim their locks;
the kernel allows no less."""


class NfsOptions(BaseModel):
    """`[filesystem.options]` of a study on NFS."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    server: Literal["kernel", "ganesha"] = "kernel"
    """Who serves: the kernel under the server's node, or NFS-Ganesha, a program, which needs nothing of it."""
    version: Literal["3", "4.0", "4.1", "4.2"] = "4.2"
    """Version of the protocol."""
    threads: int = Field(8, ge=1, le=1024, examples=[8])
    """Threads of the server, which is how many requests it works on at a time."""
    export: Literal["sync", "async"] = "sync"
    """`sync`: the server answers when what it was given is on its disk. `async`: before, so that a crash loses data;
    the kernel's only."""
    transfer_kib: int = Field(1024, ge=4, le=1024, multiple_of=4, examples=[1024])
    """The most that one read or write carries (rsize, wsize), in KiB. A server left alone takes less where there is
    little memory, as in nodes (nfsd_get_default_max_blksize, fs/nfsd/nfssvc.c)."""
    mount_options: tuple[MountOption, ...] = Field((), examples=[["nconnect=4"]])
    """Other options of the clients' mount, as in nfs(5): ["nconnect=4"]."""

    @property
    def exports(self) -> str:
        """The server's line for exports(5), without its path."""
        return f"*(rw,{self.export},no_root_squash,no_subtree_check,fsid=0)"

    @property
    def transfer_bytes(self) -> int:
        """The most that one read or write carries."""
        return self.transfer_kib * 1024

    @property
    def stateless(self) -> bool:
        """Whether it is version 3, whose locks are a protocol of their own, and whose servers are asked for by name."""
        return self.version == "3"


class NFS:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "nfs"
    Options: ClassVar[type[BaseModel]] = NfsOptions
    example: ClassVar[Mapping[str, int]] = {"server": 1, "client": 4}

    @staticmethod
    def roles(options: NfsOptions) -> tuple[Role, ...]:
        """One server with a disk, and clients."""
        own = options.server == "ganesha"
        return (
            Role(
                "server",
                maximum=1,
                disk=DISK,
                private=(_STATE, *((ganesha.STATE,) if own else ())),
                logs=(ganesha.LOG,) if own else (),
                kernel=() if own else ("nfsd",),
                because="NFS has one server",
            ),
            Role(
                "client",
                client=True,
                private=(_STATE,) if options.stateless else (),
                kernel=("nfs",) if options.stateless else ("nfs4",),
            ),
        )

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: NfsOptions, seed: int) -> Composition:
        """Export the server's disk, let it be served, and mount it on the clients."""
        server = next(node.name for node in nodes if node.role == "server")
        clients = [node.name for node in nodes if node.role == "client"]
        own = options.server == "ganesha"
        if own and options.export == "async":
            raise BadOptions('export = "async" is the kernel\'s: NFS-Ganesha has what it was told to keep on its disk')
        config = ganesha.configuration(DISK, options.version, options.threads, options.transfer_bytes)
        export = File("/etc/exports", f"{DISK} {options.exports}\n")
        portmap = [*([server] if own or options.stateless else []), *(clients if options.stateless else [])]
        steps = (
            *_portmap(portmap, [server, *clients] if options.stateless else []),
            *(_ganesha(server, options) if own else _kernel(server, options)),
            _mount(server, clients, options),
        )
        return Composition(
            filesystem="nfs",
            roles=NFS.roles(options),
            nodes=nodes,
            steps=steps,
            mount=MOUNT,
            programs=(
                *(("ganesha.nfsd",) if own else ("rpc.nfsd", "rpc.mountd", "exportfs", "tee")),
                *(() if own or options.stateless else ("nfsdcld",)),
                *(("rpcbind", "rpcinfo") if portmap else ()),
                *(("rpc.statd",) if options.stateless else ()),
                *("mount.nfs4", "pgrep"),
            ),
            packages=(
                *(("nfs-ganesha", "nfs-ganesha-vfs") if own else ("nfs-kernel-server",)),
                *(("rpcbind",) if portmap else ()),
                *("nfs-common", "procps"),
            ),
            version=("ganesha.nfsd", "-v") if own else ("mount.nfs4", "-V"),
            warnings=_warnings(options, clients),
            files={server: (File(ganesha.CONFIG, config) if own else export,)},
            health={
                server: ganesha.HEALTH if own else Command(("grep", "-q", "^[1-9]", f"{_CONTROL}/threads")),
                **{client: Command(("stat", "--file-system", MOUNT)) for client in clients},
            },
            unmount={client: (Command(("umount", MOUNT)),) for client in clients},
            nixos=None if own or options.stateless else _nixos(options),
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


def _portmap(nodes: list[str], lockers: list[str]) -> tuple[Step, ...]:
    """Who says on which port a service is, and who remembers whose locks are to be claimed again."""
    if not nodes:
        return ()
    names = Step(
        "portmap",
        {node: (Command(("rpcbind", "-f")),) for node in nodes},
        daemon=True,
        ready={node: Command(("rpcinfo", "-p")) for node in nodes},
    )
    if not lockers:
        return (names,)
    places = tuple(f"{_STATE}/{name}" for name in ("sm", "sm.bak"))
    make = Command(("install", "-d", "-o", "statd", "-g", "nogroup", *places))
    return (
        names,
        Step("lockers", dict.fromkeys(lockers, (make,)), once=True),
        Step(
            "statd",
            {node: (Command(("rpc.statd", "--foreground")),) for node in lockers},
            requires=("portmap", "lockers"),
            daemon=True,
            ready={node: Command(("rpcinfo", "-T", "tcp", "127.0.0.1", "status")) for node in lockers},
        ),
    )


def _kernel(server: str, options: NfsOptions) -> tuple[Step, ...]:
    """The kernel serves; `mountd` says to it who may."""
    mounts = (("rpc_pipefs", _PIPES), ("nfsd", _CONTROL))
    state = tuple(Command(("mount", "-t", kind, kind, target)) for kind, target in mounts)
    carries = Command(("tee", f"{_CONTROL}/max_block_size"), stdin=str(options.transfer_bytes))  # before any thread
    only = ("--no-nfs-version", "4" if options.stateless else "3")
    grace = ("--grace-time", str(_GRACE_S)) if options.stateless else ()
    served = ("rpc.nfsd", *only, "--nfs-version", options.version, *grace, str(options.threads))
    # Who the clients were. Without it a server waits 90 s for them to come back, even at its first start.
    records = Step(
        "records",
        {server: (Command(("nfsdcld", "--foreground", "--pipefsdir", _PIPES)),)},
        requires=("state",),
        daemon=True,
        ready={server: Command(("test", "-s", f"{_RECORDS}/main.sqlite"))},
    )
    before = ("portmap", "statd") if options.stateless else ("records",)
    return (
        Step(
            "state",
            {server: (Command(("mkdir", "-p", _PIPES, _RECORDS)), *state, carries, Command(("exportfs", "-ra")))},
        ),
        *(() if options.stateless else (records,)),
        Step(
            "mountd",
            {server: (Command(("rpc.mountd", "--foreground", *(() if options.stateless else only))),)},
            requires=("state", *(("portmap",) if options.stateless else ())),
            daemon=True,
            ready={server: Command(("pgrep", "--exact", "rpc.mountd"))},
        ),
        Step(
            "serve",
            {server: (Command(served),)},
            requires=(*before, "mountd"),
            ready={server: Command(("grep", "-q", "^[1-9]", f"{_CONTROL}/threads"))},
        ),
    )


def _ganesha(server: str, options: NfsOptions) -> tuple[Step, ...]:
    return (
        Step(
            "serve",
            {server: (ganesha.COMMAND,)},
            requires=("portmap", *(("statd",) if options.stateless else ())),
            daemon=True,
            ready={server: ganesha.HEALTH},
        ),
    )


def _mount(server: str, clients: list[str], options: NfsOptions) -> Step:
    size = options.transfer_bytes
    own = (f"vers={options.version}", f"rsize={size}", f"wsize={size}", *options.mount_options)
    kind, path = ("nfs", DISK) if options.stateless else ("nfs4", "/")
    mount = Command(("mount", "-t", kind, "-o", ",".join(own), f"{server}:{path}", MOUNT))
    return Step(
        "mount",
        {client: (Command(("mkdir", "-p", MOUNT)), mount) for client in clients},
        requires=("serve", *(("statd",) if options.stateless else ())),
        ready={client: Command(("mountpoint", "-q", MOUNT)) for client in clients},
    )
