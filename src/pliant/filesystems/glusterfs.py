"""GlusterFS: storage servers that pool one brick each into a volume, and FUSE clients.

Sources: the GlusterFS administrator guide (volume types, `gluster` commands), gluster(8), mount.glusterfs(8).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pliant.composition.model import Command, Composition, NixOS, Node, Role, Step
from pliant.composition.settings import BY_NAME, Switch, named

MOUNT = "/mnt/dfs"
DISK = "/srv/brick"
VOLUME = "pliant"

_WITHOUT_SYNC = ("env", "PYTHON=/bin/echo")
"""glusterd prepares for geo-replication whenever it starts: some twenty times it starts `gsyncd`, a program in Python,
which takes a second of CPU time and is asked for nothing here. That starts what PYTHON says (gsyncd.c), and is
content with what `echo` says of the version."""
_LISTENS = "00010000"
"""The flag of a socket that listens, in /proc/net/unix (__SO_ACCEPTCON, linux/net.h)."""

_Option = Annotated[str, named(r"[a-z0-9][A-Za-z0-9._-]{0,127}", "performance.io-cache")]
_VOLUME = re.compile(
    r"^(?:distribute|replicate +(\d+)(?: +arbiter +(\d+))?|disperse +(\d+)(?: *\+ *(\d+))?)$", re.ASCII
)


class GlusterOptions(BaseModel):
    """`[filesystem.options]` of a study on GlusterFS."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    volume: str = "distribute"
    """`distribute`; `replicate N` (N copies); `replicate 3 arbiter 1` (of three bricks the third has names and
    attributes only, and settles which of the two others is right); `disperse N` or `disperse D+R` (erasure coding over
    D + R bricks, any R of which may be lost; `disperse N` leaves R to GlusterFS). More servers than a set needs:
    distributed over sets."""
    transport: Literal["tcp"] = "tcp"
    """Transport between clients and servers. RDMA was removed from GlusterFS in release 8."""
    ping_timeout_s: int = Field(default=42, ge=1, le=3600)
    """Seconds after which a silent server is taken for dead (volume option network.ping-timeout)."""
    volume_options: Annotated[dict[_Option, Switch], BY_NAME] = Field(
        default_factory=dict, examples=[{"performance.io-cache": False}]
    )
    """Any other volume options, as in `gluster volume set`: {"performance.io-cache" = false}."""

    @field_validator("volume")
    @classmethod
    def _known_volume(cls, text: str) -> str:
        match = _VOLUME.match(text.strip())
        if match is None:
            raise ValueError(
                f'"{text}" is not a volume type; write "distribute", "replicate N", "replicate 3 arbiter 1", '
                '"disperse N" or "disperse D+R"'
            )
        copies, arbiters, data, redundancy = (int(group) if group else None for group in match.groups())
        if arbiters is not None and (copies, arbiters) != (3, 1):
            raise ValueError(
                f'"{text}": GlusterFS has an arbiter as the third of three bricks; write "replicate 3 arbiter 1"'
            )
        if copies is not None and copies < 2:
            raise ValueError(f'"{text}" keeps one copy, which is "distribute"; write "replicate 2" or more')
        if data is not None and redundancy is None and data < 3:
            raise ValueError(f'"{text}" has too few bricks to survive a loss; write "disperse 3" or more')
        if data is not None and redundancy is not None and not 1 <= redundancy < data:
            raise ValueError(
                f'"{text}": GlusterFS wants 1 redundant brick or more, and fewer than data bricks; '
                'write e.g. "disperse 2+1"'
            )
        return " ".join(text.split())

    @property
    def set_size(self) -> int:
        """Bricks in one set of copies or fragments; 1 for a distributed volume."""
        copies, _, data, redundancy = (int(group) if group else 0 for group in _match(self.volume).groups())
        return max(1, copies, data + redundancy)

    @property
    def spare(self) -> int:
        """Servers of a set that may be away while all data can be read and written: three copies or more want most of
        their bricks (cluster.quorum-type auto)."""
        copies, _, data, redundancy = (int(group) if group else 0 for group in _match(self.volume).groups())
        if copies:
            return 1 if copies == 2 else (copies - 1) // 2
        return redundancy or (1 if data else 0)

    @property
    def create_arguments(self) -> tuple[str, ...]:
        """The volume type as `gluster volume create` takes it."""
        copies, arbiters, data, redundancy = _match(self.volume).groups()
        if copies:
            return ("replica", copies, "arbiter", arbiters) if arbiters else ("replica", copies)
        if data and redundancy:
            return ("disperse-data", data, "redundancy", redundancy)
        return ("disperse", data) if data else ()


def _match(volume: str) -> re.Match[str]:
    match = _VOLUME.match(volume)
    assert match is not None  # validated
    return match


class GlusterFS:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "glusterfs"
    Options: ClassVar[type[BaseModel]] = GlusterOptions
    example: ClassVar[Mapping[str, int]] = {"server": 4, "client": 4}

    @staticmethod
    def roles(options: GlusterOptions) -> tuple[Role, ...]:
        """Servers with a disk each (a brick on the root file system is refused by GlusterFS), and clients."""
        logs = ("/var/log/glusterfs",)
        private = ("/var/lib/glusterd", "/var/log/glusterfs")
        because = f'volume "{options.volume}" is sets of {options.set_size} servers' if options.set_size > 1 else ""
        return (
            Role("server", minimum=options.set_size, disk=DISK, private=private, logs=logs, because=because),
            Role("client", minimum=1, client=True, private=private, logs=logs),
        )

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: GlusterOptions, seed: int) -> Composition:
        """Start glusterd everywhere, pool the servers, make and start the volume, mount it on the clients."""
        servers = [node.name for node in nodes if node.role == "server"]
        clients = [node.name for node in nodes if node.role == "client"]
        if len(servers) % options.set_size:
            lower = len(servers) - len(servers) % options.set_size
            raise ValueError(
                f'volume "{options.volume}" works with a multiple of {options.set_size} servers, not {len(servers)}; '
                f"take {lower} or {lower + options.set_size}"
            )
        return Composition(
            filesystem="glusterfs",
            roles=GlusterFS.roles(options),
            nodes=nodes,
            steps=_steps(servers, clients, options),
            mount=MOUNT,
            programs=("glusterd", "glusterfs", "gluster", "mount.glusterfs", "pgrep", "grep", "env"),
            packages=("glusterfs-server", "glusterfs-client", "procps"),
            version=("glusterfs", "--version"),
            warnings=_warnings(options, clients),
            health=_health(servers, clients, options),
            unmount={client: (Command(("umount", MOUNT)),) for client in clients},
            kernel=("fuse",),
            nixos=NixOS(("glusterfs",), {"server": {"services.glusterfs.enable": True}}, {"glusterd": "glusterd"}),
            spare={"server": options.spare},
        )


def _steps(servers: list[str], clients: list[str], options: GlusterOptions) -> tuple[Step, ...]:
    first, others = servers[0], servers[1:]
    gluster = ("gluster", "--mode=script")
    bricks = tuple(f"{server}:{DISK}/{VOLUME}" for server in servers)
    create = (*gluster, "volume", "create", VOLUME, *options.create_arguments, "transport", options.transport, *bricks)
    settings = {"network.ping-timeout": str(options.ping_timeout_s), **options.volume_options}
    configure = tuple(Command((*gluster, "volume", "set", VOLUME, key, value)) for key, value in settings.items())
    backups = ("-o", "backup-volfile-servers=" + ":".join(others)) if others else ()
    mount = Command(("mount", "-t", "glusterfs", *backups, f"{first}:/{VOLUME}", MOUNT))
    # Atomic groups: without them a pool that lacks one server takes time exponential in the number of servers.
    connected = f"(?s)^(?!.*Disconnected)(?>.*?\\bConnected\\b){{{len(servers)}}}"
    return (
        Step(
            "glusterd",
            dict.fromkeys(servers, (Command((*_WITHOUT_SYNC, "glusterd", "--no-daemon", "--log-level", "INFO")),)),
            daemon=True,
            # Who asks `gluster` before it listens waits for three seconds (rpc-clnt.c).
            ready=dict.fromkeys(servers, Command(("grep", "glusterd.socket", "/proc/net/unix"), expect=_LISTENS)),
        ),
        Step(
            "pool",
            {first: tuple(Command((*gluster, "peer", "probe", server)) for server in others)},
            requires=("glusterd",),
            once=True,
            ready={first: Command((*gluster, "pool", "list"), expect=connected)},
        ),
        Step(
            "volume",
            {first: (Command(create), *configure, Command((*gluster, "volume", "start", VOLUME)))},
            requires=("pool",),
            once=True,
            ready={first: Command((*gluster, "volume", "info", VOLUME), expect="Status: Started")},
        ),
        Step(
            "mount",
            {client: (Command(("mkdir", "-p", MOUNT)), mount) for client in clients},
            after=("volume",),
            requires=("glusterd",),
            ready={client: Command(("mountpoint", "-q", MOUNT)) for client in clients},
        ),
    )


def _health(servers: list[str], clients: list[str], options: GlusterOptions) -> dict[str, Command]:
    """A client's mount answers; a server's brick is there and, where there are copies, nothing waits for its repair.

    `gluster volume status` would say it of every brick, but locks the whole cluster: asked by two at once it fails.
    """
    brick = r"(?m)^Brick {}:\S+\nStatus: Connected\nNumber of entries: 0$"
    info = ("gluster", "--mode=script", "volume", "heal", VOLUME, "info")
    found = {client: Command(("stat", "--file-system", MOUNT)) for client in clients}
    for server in servers:
        copies = Command(info, expect=brick.format(server))
        found[server] = copies if options.set_size > 1 else Command(("pgrep", "--exact", "glusterfsd"))
    return found


def _warnings(options: GlusterOptions, clients: list[str]) -> tuple[str, ...]:
    found = []
    if options.volume == "replicate 2":
        found.append('volume "replicate 2" can split its brain when a server is lost; GlusterFS advises 3 copies')
    if len(clients) == 1:
        found.append("one client: what it reads was written by itself, and GlusterFS's own cache may serve it")
    return tuple(found)
