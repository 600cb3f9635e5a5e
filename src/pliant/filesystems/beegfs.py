"""BeeGFS: one management node, metadata and storage servers with a disk each, and the kernel module's clients.

Sources: the BeeGFS 7.4 documentation (manual installation, striping, mirroring, authentication) and `beegfs-ctl --help`
of 7.4.7; for release 8 see `beegfs_releases`. No distribution has it: the user names where programs and module lie.
The module's sockets are those of its kernel's first network (client_module/source/common/net/sock/StandardSocket.c):
a client in a network of its own needs a kernel of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from pliant.composition.identity import token
from pliant.composition.model import BadOptions, Brought, Command, Composition, File, Identity, NixOS, Node, Role, Step
from pliant.composition.settings import OwnPath
from pliant.filesystems.beegfs_releases import (
    DISK,
    RELEASES,
    SECRET,
    SERVERS,
    Layout,
    Release,
    in_lines,
    path_of,
)
from pliant.units import format_size

MOUNT = "/mnt/dfs"
_STATES_S = "3"
"""How often all ask which targets are there (`sysUpdateTargetStatesSecs`). By default that is each 30 s, for which a
mount, or who writes what is mirrored, waits if the first answer was that one is not."""
_TOLD_S = "7"
"""Until all are told of who came after them, which the management service does each 5 s (requestLoop of its
HeartbeatManager.cpp). Who was not told asks after ten minutes only, and until then finds no such target; nobody else
can see what a server knows of targets."""
_LEAST_DISK = 2**30
"""For a metadata server, made with as many inodes as its documentation advises (metadata node tuning)."""
_MODULE = (
    "build client_module of BeeGFS's source (github.com/ThinkParQ/beegfs) for exactly the kernel of Debian's "
    "user-mode-linux, or of virtual machines, without RDMA (docs/file-systems.md), and say "
    'module = "FILE.ko" in [filesystem.options]'
)
_SOURCE = (
    "no package of Debian's has BeeGFS: its own are at www.beegfs.io, its source at github.com/ThinkParQ/beegfs; where "
    'it is installed, say programs = "DIRECTORY" in [filesystem.options]'
)


class BeeOptions(BaseModel):
    """`[filesystem.options]` of a study on BeeGFS."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    release: Literal["7.4", "8"] = "7.4"
    """What is deployed: 8 has another management service and other tools."""
    programs: OwnPath = Field("", examples=["/opt/beegfs"])
    """Directory in which the programs lie, or in bin and sbin below it. Without it they are on the nodes' PATH."""
    module: OwnPath = Field("", examples=["/opt/beegfs/beegfs.ko"])
    """File of the client's kernel module, built for the kernel of User Mode Linux, or of virtual machines."""
    stripe_targets: int = Field(4, ge=1, le=255, examples=[4])
    """Storage targets that a file is spread over, at most as many as there are; with `mirror`, pairs of them."""
    chunk_kib: int = Field(512, ge=64, le=2**20, examples=[512])
    """What goes to one target before the next, KiB; a power of two."""
    mirror: bool = Field(False, examples=[False])
    """Whether files are on two storage servers each (buddy mirroring), of an even number; 8 needs a licence for it."""
    cache: Literal["buffered", "native", "none"] = "buffered"
    """What clients keep of files: small buffers, the page cache, or nothing (tuneFileCacheType)."""


class BeeGFS:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "beegfs"
    Options: ClassVar[type[BaseModel]] = BeeOptions
    example: ClassVar[Mapping[str, int]] = {"management": 1, "metadata": 1, "storage": 4, "client": 2}

    @staticmethod
    def roles(options: BeeOptions) -> tuple[Role, ...]:
        """One management node, metadata and storage servers with a disk each, and clients with a kernel each."""
        pairs = "mirror keeps what is in files on pairs of storage servers" if options.mirror else ""
        return (
            Role("management", maximum=1, disk=DISK, because="BeeGFS has one management service"),
            Role("metadata", disk=DISK, disk_options=("-i", "2048", "-I", "512")),
            Role("storage", minimum=2 if options.mirror else 1, disk=DISK, because=pairs),
            Role(
                "client",
                client=True,
                kernel=("beegfs",),
                own_kernel="BeeGFS's module is on the machine's network, and not on that of the node that mounts it",
                module=options.module,
                module_source=_MODULE,
            ),
        )

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: BeeOptions, seed: int) -> Composition:
        """Start the management service, then those of metadata and storage, say how files are laid out, and mount."""
        if options.chunk_kib & (options.chunk_kib - 1):
            raise BadOptions(f"chunk_kib {options.chunk_kib} is not a power of two, as BeeGFS wants it")
        roles, release = BeeGFS.roles(options), RELEASES[options.release]
        names = {role.name: [n for n in nodes if n.role == role.name] for role in roles}
        if options.mirror and not release.mirrors:
            raise BadOptions(f"mirror of BeeGFS {options.release} needs a licence, which is not brought: leave it out")
        if options.mirror and len(names["storage"]) % 2:
            raise ValueError(f"mirror takes an even number of storage servers, not {len(names['storage'])}")
        if small := next((node for node in names["metadata"] if 0 < node.disk_bytes < _LEAST_DISK), None):
            raise ValueError(
                f"a metadata server's disk is to have {format_size(_LEAST_DISK)} or more (disk_size), not "
                f"{format_size(small.disk_bytes)}: BeeGFS makes 65,536 directories there, which take 256 MiB"
            )
        management, clients = names["management"][0], [node.name for node in names["client"]]
        key = Identity(token(seed, "beegfs", "connection"), secret=True)
        return Composition(
            filesystem="beegfs",
            roles=roles,
            nodes=nodes,
            steps=_steps(names, options, release),
            mount=MOUNT,
            programs=(
                *release.programs,
                *(("pkill", "flock", "sleep") if release.end else ()),
                *(("timeout", "dd", "rm") if options.mirror else ()),
            ),
            packages=("libblkid1", "libnl-route-3-200", "procps", "util-linux"),
            sources=dict.fromkeys(release.programs, _SOURCE),
            brought=Brought(options.programs, release.version, _other(options)),
            version=("beegfs-mgmtd", "--version"),
            warnings=_warnings(clients, options),
            files={node.name: _files(management, node, key, options, release) for node in nodes},
            identities={node.name: {"connection": key} for node in nodes},
            health={
                **{node.name: release.known(management, node) for role in SERVERS for node in names[role]},
                management.name: release.answers(management),
                **{client: Command(("stat", "--file-system", MOUNT)) for client in clients},
            },
            unmount={client: (Command(("umount", MOUNT)),) for client in clients},
            nixos=NixOS(packages=("beegfs",), settings={}, units={}, own=True),
            spare={"management": 0, "metadata": 0, "storage": 1 if options.mirror else 0},
        )


def _other(options: BeeOptions) -> str:
    """What to do where the programs are of another release."""
    wanted = next(name for name in RELEASES if name != options.release)
    return (
        f'release = "{options.release}" is deployed: name where that lies, or write release = "{wanted}" in '
        "[filesystem.options] if it is that"
    )


def _files(management: Node, node: Node, key: Identity, options: BeeOptions, release: Release) -> tuple[File, ...]:
    """A node's configuration, and the secret by which all of a cluster know each other."""
    secret = File(SECRET, f"{key.value}\n", secret=True)
    if node.role == "management":
        return secret, release.management
    common = {"connAuthFile": SECRET, "connUseRDMA": "false", "sysUpdateTargetStatesSecs": _STATES_S}
    if node.role in SERVERS:
        common |= {"sysMgmtdHost": management.name}
    settings = {
        # An empty name is standard output.
        "metadata": {**release.logging, "storeMetaDirectory": f"{DISK}/data", "storeUseExtendedAttribs": "true"},
        "storage": {**release.logging, "storeStorageDirectory": f"{DISK}/data"},
        # Without helperd there is nobody to be asked whether all are there; the steps have seen to that.
        "client": {**release.client, "sysMountSanityCheckMS": "0", "tuneFileCacheType": options.cache},
    }[node.role]
    program = SERVERS.get(node.role, "client")
    # The numbers that a server and its disk shall have do not depend on who comes first.
    numbers = {"metadata": ("nodeNumID",), "storage": ("nodeNumID", "targetNumID")}.get(node.role, ())
    given = (File(f"{DISK}/data/{name}", f"{node.index}\n") for name in numbers)
    return secret, File(path_of(program), in_lines(common | settings)), *given


def _warnings(clients: list[str], options: BeeOptions) -> tuple[str, ...]:
    found = []
    if options.release == "8":
        found.append("BeeGFS 8 was never deployed by pliant: it is written from its documentation and its source")
    if not options.mirror:
        found.append("BeeGFS keeps one copy: what is on a storage server is away while that is down")
    if len(clients) == 1:
        found.append("one client: what it reads was written by itself")
    return tuple(found)


def _daemon(program: str) -> tuple[Command, ...]:
    return (Command((f"beegfs-{program}", f"cfgFile={path_of(program)}", "runDaemonized=false")),)


def _steps(names: Mapping[str, Sequence[Node]], options: BeeOptions, release: Release) -> tuple[Step, ...]:
    (management,), clients = names["management"], [node.name for node in names["client"]]
    halves = 2 if options.mirror else 1
    layout = Layout(min(options.stripe_targets, len(names["storage"]) // halves), options.chunk_kib, options.mirror)
    # A kernel knows no names of nodes.
    given = f"cfgFile={path_of('client')},sysMgmtdHost={management.address}"
    mount = ("mount", "-t", "beegfs", "-o", given, "beegfs_nodev", MOUNT)
    directory = Command(("mkdir", "-p", f"{DISK}/data"))
    disks = [node for role in ("management", *SERVERS) for node in names[role]]
    first = "founding" if release.end else "management"
    servers = [
        Step(
            role,
            {node.name: _daemon(SERVERS[role]) for node in names[role]},
            requires=("prepare", first),
            daemon=True,
            ready={node.name: release.known(management, node) for node in names[role]},
        )
        for role in SERVERS
    ]
    return (
        Step(
            "prepare",
            {n.name: (directory, *(release.first if n is management else ())) for n in disks},
            once=True,
        ),
        *_management(management, release),
        *servers,
        Step(
            "layout",
            {management.name: release.layout(management, layout)},
            requires=("management", *SERVERS),
            once=True,
            # Who mounts, or writes what is mirrored, waits for a server that is not known to be there.
            ready=release.online(management, names),
        ),
        # What servers know themselves by is on their disks by itself only after some seconds, as with any disk.
        Step(
            "founded",
            {node.name: (Command(("sync", "--file-system", DISK)),) for node in disks},
            requires=("management", *SERVERS),
            after=("layout",),
            once=True,
        ),
        Step(
            "mount",
            {client: (Command(("mkdir", "-p", MOUNT)), Command(mount)) for client in clients},
            requires=("management", *SERVERS),
            after=("founded",),
            ready={client: Command(("mountpoint", "-q", MOUNT)) for client in clients},
        ),
        *(_mirrored(clients[0]) if options.mirror else ()),
    )


def _mirrored(client: str) -> tuple[Step, ...]:
    """Wait until what is written is mirrored: storage servers learn only after some seconds that the other of a pair is
    there, and a client whose first write comes before that waits for long, and may fail."""
    file = f"{MOUNT}/.mirrored"
    write = ("dd", "if=/dev/zero", f"of={file}", "bs=64k", "count=1", "conv=fsync", "status=none")
    return (
        Step(
            "mirrored",
            {},
            requires=("mount",),
            once=True,
            ready={client: Command(("timeout", "-s", "KILL", "4", *write))},
        ),
        Step("tidied", {client: (Command(("rm", "-f", file)),)}, requires=("mirrored",), once=True),
    )


def _management(management: Node, release: Release) -> tuple[Step, ...]:
    """The management service. Where it writes down who is there each quarter of an hour, and when it ends in order, it
    is ended once all are: else a power cut within the first quarter would lose them, which no older cluster does.
    Before that it has to tell the others of those that came after them, and of their targets."""
    node, runs, ready = management.name, {management.name: (release.daemon,)}, release.answers(management)
    if not release.end:
        return (Step("management", runs, requires=("prepare",), daemon=True, ready={node: ready}),)
    gone = Command(("flock", "--nonblock", f"{DISK}/data/lock.pid", "true"))
    return (
        Step("founding", runs, requires=("prepare",), daemon=True, once=True, ready={node: ready}),
        Step("told", {node: (Command(("sleep", _TOLD_S)),)}, requires=tuple(SERVERS), once=True),
        # Before anything is mirrored: then it would wait 180 s for clients before it ends.
        Step("written", {node: (release.end,)}, requires=("told",), once=True, ready={node: gone}),
        Step("management", runs, after=("written",), daemon=True, ready={node: ready}),
    )
