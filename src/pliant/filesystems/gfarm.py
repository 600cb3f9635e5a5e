"""Gfarm: a metadata server (gfmd, over PostgreSQL), file system daemons (gfsd) with a spool each, and FUSE clients.

Sources: gfarm2.conf(5), gfmd(8), gfsd(8), gfhost(1), gfncopy(1), gfkey(1), gfarm2fs(1), initdb(1), and what Gfarm's own
`config-gfarm` puts into a new database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from pliant.composition.identity import token
from pliant.composition.model import BadOptions, Command, Composition, File, Identity, NixOS, Node, Role, Step
from pliant.composition.settings import BY_NAME, MountOption, Validity, named

MOUNT = "/mnt/dfs"
DISK = "/srv/gfarm"
_DATABASE, _SOCKET, _JOURNAL = f"{DISK}/database", f"{DISK}/socket", f"{DISK}/journal"
_SPOOL = f"{DISK}/spool"
_CONFIG, _SERVER_CONFIG, _GROUPS = "/etc/gfarm2.conf", "/etc/gfmd.conf", "/etc/gfarm-groups"
_TABLES = "/usr/share/gfarm/config/gfarm.sql"
_POSTGRESQL = "/usr/lib/postgresql/15/bin"
_PORT = 600
"""Of gfsd, as Gfarm has it."""
_KEYS = {"root": "/root", "_gfarmfs": "/var/lib/gfarmfs"}
"""Who is known to Gfarm by a key of its own, and where its home is: who mounts it, and as whom gfsd works."""
_NEVER = "7fffffff"
"""When keys expire, in seconds since the epoch: in 2038, the last that fits (gfkey(1) gives them a day)."""

_Option = Annotated[str, named(r"[a-z][a-z0-9_]{0,63}", "client_file_bufsize")]
_Directory = Annotated[str, StringConstraints(pattern=r"^/[A-Za-z0-9._/+-]+$", max_length=200)]
_OWN = ("metadb_server_host", "metadb_journal_dir", "admin_user", "auth", "spool", "shared_key_file", "local_group_map")

_COMMON = {
    "sockopt": "keepalive",
    # 512 MiB otherwise, below which nothing is written to a disk: too much of one that is small.
    "minimum_free_disk_space": "64M",
    # The load average is that of the whole machine, under which no host would be less busy than another.
    "schedule_busy_load_thresh": "1000",
}


class GfarmOptions(BaseModel):
    """`[filesystem.options]` of a study on Gfarm."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    replicas: int = Field(1, ge=1, le=64, examples=[2])
    """Copies of every file, each on another storage node. The first is written by the client, the others are made once
    the file is closed."""
    settings: Annotated[dict[_Option, Validity], BY_NAME] = Field(
        default_factory=dict, examples=[{"client_file_bufsize": 524288}]
    )
    """Other settings of storage nodes and clients, as in gfarm2.conf(5)."""
    metadata_settings: Annotated[dict[_Option, Validity], BY_NAME] = Field(
        default_factory=dict, examples=[{"synchronous_journaling": False}]
    )
    """Other settings of the metadata server, as in gfarm2.conf(5) for gfmd.conf."""
    mount_options: tuple[MountOption, ...] = Field(("big_writes",), examples=[["big_writes"]])
    """Options of the clients' mount, as in gfarm2fs(1). Without `big_writes` (fuse(8)) what is written goes in pieces
    of 4 KiB."""
    postgresql: _Directory = Field(_POSTGRESQL, examples=[_POSTGRESQL])
    """Where initdb, postgres and psql are: Debian has them outside of the PATH, by PostgreSQL's version."""


class Gfarm:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "gfarm"
    Options: ClassVar[type[BaseModel]] = GfarmOptions
    example: ClassVar[Mapping[str, int]] = {"metadata": 1, "storage": 3, "client": 2}

    @staticmethod
    def roles(options: GfarmOptions) -> tuple[Role, ...]:
        """One metadata server, whose database and journal are on a disk of its own; storage nodes, at least as many as
        there are copies, with a spool each; and clients."""
        copies = f"{options.replicas} replicas, each on another storage node" if options.replicas > 1 else ""
        return (
            Role("metadata", maximum=1, disk=DISK, because="one gfmd is the master, and has the database"),
            Role("storage", minimum=options.replicas, disk=DISK, because=copies),
            Role("client", client=True),
        )

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: GfarmOptions, seed: int) -> Composition:
        """Make a database, start gfmd on it, tell it of the storage nodes, start them, and mount it."""
        for table, given in (("settings", options.settings), ("metadata_settings", options.metadata_settings)):
            if own := sorted(each for each in given if each in _OWN or each.startswith("postgresql_")):
                raise BadOptions(f"{table}: {own[0]} is set by pliant; leave it out")
        names = {role: [node.name for node in nodes if node.role == role] for role in ("metadata", "storage", "client")}
        (metadata,), storage, clients = names["metadata"], names["storage"], names["client"]
        keys = {user: Identity(token(seed, "gfarm", "key", user, size=32), secret=True) for user in _KEYS}
        return Composition(
            filesystem="gfarm",
            roles=Gfarm.roles(options),
            nodes=nodes,
            steps=_steps(metadata, storage, clients, options),
            mount=MOUNT,
            programs=_programs(options),
            packages=("gfmd", "gfsd", "gfarm2fs", "gfarm-client", "postgresql", "util-linux"),
            version=("gfkey", "-V"),
            warnings=_warnings(options, clients),
            files={node.name: _files(metadata, node, keys, options) for node in nodes},
            identities={
                node.name: {f"key of {user}": key for user, key in keys.items() if _has(node, user)} for node in nodes
            },
            health=_health(metadata, storage, clients, _psql(options)),
            unmount={client: (Command(("umount", MOUNT)),) for client in clients},
            kernel=("fuse",),
            nixos=NixOS(packages=("gfarm", "postgresql"), settings={}, units={}, words=_on_nixos(options), own=True),
            spare={"metadata": 0, "storage": options.replicas - 1},
        )


def _programs(options: GfarmOptions) -> tuple[str, ...]:
    of_postgresql = (f"{options.postgresql}/{program}" for program in ("initdb", "postgres", "psql"))
    return (
        "gfmd",
        "gfsd",
        "gfarm2fs",
        "gfhost",
        "gfdf",
        "gfgroup",
        "gfchown",
        "gfncopy",
        "gfstat",
        "setpriv",
        *of_postgresql,
    )


def _on_nixos(options: GfarmOptions) -> dict[str, str]:
    """Programs that are on the PATH there."""
    return {f"{options.postgresql}/{program}": program for program in ("initdb", "postgres", "psql")}


def _has(node: Node, user: str) -> bool:
    """Whether a node has a user's key: clients are root only."""
    return user == "root" or node.role != "client"


def _files(metadata: str, node: Node, keys: Mapping[str, Identity], options: GfarmOptions) -> tuple[File, ...]:
    """Configuration, and the keys of those who work on a node. Who has a user's key is that user, to all."""
    common = {"metadb_server_host": metadata, "auth": "enable sharedsecret *", **_COMMON}
    found = [
        File(_CONFIG, _written(common | {"local_group_map": _GROUPS} | options.settings)),
        # Whoever administers Gfarm has a group of its own, which no machine knows.
        File(_GROUPS, "gfarmadm root\n"),
    ]
    for user, key in keys.items():
        if _has(node, user):
            owner = user if user == "root" else f"{user}:{user}"
            found.append(File(f"{_KEYS[user]}/.gfarm_shared_key", f"{_NEVER} {key.value}\n", owner=owner, secret=True))
    if node.role == "metadata":
        own = {
            "admin_user": "root",
            "metadb_journal_dir": _JOURNAL,
            # A socket that only this node can reach stands for a password.
            "postgresql_server_host": _SOCKET,
            "postgresql_server_port": "5432",
            "postgresql_dbname": "postgres",
            "postgresql_user": "postgres",
            "postgresql_password": '""',
        }
        found.append(File(_SERVER_CONFIG, _written(common | own | options.metadata_settings)))
    return tuple(found)


def _written(settings: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in settings.items())


def _known(node: str) -> Command:
    """Whether gfmd has a storage node as connected, and knows how much room it has: others are not in the list."""
    return Command(("gfdf", node), expect=rf"(?m)^(?: +-?\d+){{3}} +\S+ +{re.escape(node)}$")


def _health(metadata: str, storage: Sequence[str], clients: Sequence[str], psql: tuple[str, ...]) -> dict[str, Command]:
    """gfmd answers from its memory even where its database is gone: so it is the database that is asked, whether gfmd
    is connected to it. Storage nodes are those that gfmd has as connected."""
    others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
    connected = f"--command=SELECT count(*) > 0 AS gfmd FROM pg_stat_activity WHERE {others}"
    return {
        metadata: Command((*psql, "--tuples-only", "--no-align", connected), expect="^t$"),
        **{node: _known(node) for node in storage},
        **{client: Command(("stat", "--file-system", MOUNT)) for client in clients},
    }


def _warnings(options: GfarmOptions, clients: Sequence[str]) -> tuple[str, ...]:
    found = []
    if options.replicas == 1:
        found.append("one replica: what is on a storage node is away while it is down")
    if len(clients) == 1:
        found.append("one client: what it reads was written by itself, and its own cache may serve it")
    return tuple(found)


def _psql(options: GfarmOptions) -> tuple[str, ...]:
    """PostgreSQL's own client, by the socket."""
    return (f"{options.postgresql}/psql", f"--host={_SOCKET}", "--username=postgres", "--quiet", "--no-psqlrc")


def _database(metadata: str, options: GfarmOptions) -> tuple[Step, ...]:
    """PostgreSQL, and in it what a new Gfarm begins with."""
    as_postgres = ("setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--")
    own = ("install", "--directory", "--owner=postgres", "--group=postgres", _DATABASE, _SOCKET)
    made = ("--no-locale", "--encoding=SQL_ASCII", "--auth=trust", "--no-sync", f"--pgdata={_DATABASE}")
    reached = ("-c", "listen_addresses=", "-c", f"unix_socket_directories={_SOCKET}")
    psql = _psql(options)
    begins = "INSERT INTO SeqNum (name, value) VALUES ('', '1')"
    return (
        Step(
            "prepare",
            {
                metadata: (
                    Command(own),
                    Command(("mkdir", "-p", _JOURNAL)),
                    Command((*as_postgres, f"{options.postgresql}/initdb", *made)),
                )
            },
            once=True,
        ),
        Step(
            "database",
            {metadata: (Command((*as_postgres, f"{options.postgresql}/postgres", "-D", _DATABASE, *reached)),)},
            requires=("prepare",),
            daemon=True,
            ready={metadata: Command((*psql, "--command=SELECT 1"))},
        ),
        Step(
            "tables",
            {metadata: (Command((*psql, "--set=ON_ERROR_STOP=1", f"--file={_TABLES}", f"--command={begins}")),)},
            requires=("database",),
            once=True,
        ),
    )


def _steps(metadata: str, storage: list[str], clients: list[str], options: GfarmOptions) -> tuple[Step, ...]:
    spool = ("install", "--directory", "--owner=_gfarmfs", "--group=_gfarmfs", "--mode=0700", _SPOOL)
    # Who administers Gfarm may not yet do everything in it, as root may elsewhere.
    root = (("gfgroup", "-m", "gfarmroot", "root"), ("gfchown", "root", "/"))
    replicas = ("gfncopy", "-s", str(options.replicas), "/")
    register = ("gfhost", "-c", "-a", "linux", "-p", str(_PORT), "-n", "1")
    mounted = ("-o", ",".join(options.mount_options)) if options.mount_options else ()
    return (
        *_database(metadata, options),
        Step("spool", {node: (Command(spool),) for node in storage}, once=True),
        Step(
            "gfmd",
            {metadata: (Command(("gfmd", "-d", "-L", "notice", "-f", _SERVER_CONFIG)),)},
            after=("tables",),
            requires=("database",),
            daemon=True,
            ready={metadata: Command(("gfstat", "/"), expect="directory")},
        ),
        Step(
            "register",
            {metadata: tuple(map(Command, (*root, *((*register, node) for node in storage), replicas)))},
            requires=("gfmd",),
            once=True,
        ),
        Step(
            "gfsd",
            {node: (Command(("gfsd", "-d", "-L", "notice", "-r", _SPOOL, "-h", node)),) for node in storage},
            after=("register",),
            requires=("spool", "gfmd"),
            daemon=True,
            ready={node: _known(node) for node in storage},
        ),
        Step(
            "mount",
            {client: (Command(("mkdir", "-p", MOUNT)), Command(("gfarm2fs", *mounted, MOUNT))) for client in clients},
            after=("gfsd",),
            requires=("gfmd",),
            ready={client: Command(("mountpoint", "-q", MOUNT)) for client in clients},
        ),
    )
