"""BeeGFS 7: one management node, metadata and storage servers with a disk each, and the kernel module's clients.

Sources: the BeeGFS 7.4 documentation (manual installation, configuration files, authentication). The client is a kernel
module that no distribution has; there was no machine to try it on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from pliant.composition.identity import token
from pliant.composition.model import Command, Composition, File, Identity, NixOS, Node, Role, Step

MOUNT = "/mnt/dfs"
DISK = "/srv/beegfs"
_CONFIG = "/etc/beegfs"
_SECRET = f"{_CONFIG}/conn.auth"
_SERVICES = ("mgmtd", "meta", "storage", "helperd")


class BeeOptions(BaseModel):
    """`[filesystem.options]` of a study on BeeGFS."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    stripe_targets: int = Field(4, ge=1, le=255, examples=[4])
    """Storage targets that a file is spread over, at most as many as there are."""
    chunk_kib: int = Field(512, ge=64, le=2**20, examples=[512])
    """What goes to one target before the next, KiB; a power of two."""


class BeeGFS:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "beegfs"
    Options: ClassVar[type[BaseModel]] = BeeOptions
    example: ClassVar[Mapping[str, int]] = {"management": 1, "metadata": 1, "storage": 4, "client": 2}

    @staticmethod
    def roles(options: BeeOptions) -> tuple[Role, ...]:
        """One management node, metadata and storage servers with a disk each, and clients."""
        return (
            Role("management", maximum=1, disk=DISK, because="BeeGFS has one management service"),
            Role("metadata", disk=DISK),
            Role("storage", disk=DISK),
            Role("client", client=True),
        )

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: BeeOptions, seed: int) -> Composition:
        """Start the management service, then those of metadata and storage, the clients' helpers, and mount it."""
        if options.chunk_kib & (options.chunk_kib - 1):
            raise ValueError(f"chunk_kib {options.chunk_kib} is not a power of two, as BeeGFS wants it")
        names = {role.name: [n for n in nodes if n.role == role.name] for role in BeeGFS.roles(options)}
        management, clients = names["management"][0].name, [node.name for node in names["client"]]
        key = Identity(token(seed, "beegfs", "connection"), secret=True)
        return Composition(
            filesystem="beegfs",
            roles=BeeGFS.roles(options),
            nodes=nodes,
            steps=_steps(names, options),
            mount=MOUNT,
            programs=(*(f"beegfs-{each}" for each in (*_SERVICES, "ctl")), "pgrep"),
            packages=(*(f"beegfs-{each}" for each in (*_SERVICES, "client", "utils")), "procps"),
            version=("beegfs-ctl", "--version"),
            warnings=_warnings(clients),
            files={node.name: _files(management, node, key) for node in nodes},
            identities={node.name: {"connection": key} for node in nodes},
            health={
                **{node.name: _known(management, node) for node in nodes if node.role in _LISTED},
                management: _answers(management),
                **{client: Command(("stat", "--file-system", MOUNT)) for client in clients},
            },
            unmount={client: (Command(("umount", MOUNT)),) for client in clients},
            kernel=("beegfs",),
            nixos=NixOS(packages=("beegfs",), settings={}, units={}, own=True),
            spare={"management": 0, "metadata": 0, "storage": 0},
        )


_PROGRAMS = {"management": "mgmtd", "metadata": "meta", "storage": "storage", "client": "client"}
_LISTED = {"metadata": "meta", "storage": "storage"}
"""Role -> what `beegfs-ctl --listnodes` calls it."""


def _files(management: str, node: Node, key: Identity) -> tuple[File, ...]:
    """A node's configuration, and the secret by which all of a cluster know each other."""
    common = {"connAuthFile": _SECRET, "logType": "syslog"}
    settings = {
        "management": {"storeMgmtdDirectory": f"{DISK}/data", "storeAllowFirstRunInit": "true"},
        "metadata": {"storeMetaDirectory": f"{DISK}/data", "storeUseExtendedAttribs": "true"},
        "storage": {"storeStorageDirectory": f"{DISK}/data"},
        "client": {},
    }[node.role]
    if node.role != "management":
        settings |= {"sysMgmtdHost": management}
    if node.role in _LISTED:
        settings |= {"storeAllowFirstRunInit": "true"}
    found = [File(_SECRET, f"{key.value}\n", secret=True), _file(_PROGRAMS[node.role], common | settings)]
    if node.role == "client":
        found.append(_file("helperd", common))
    return tuple(found)


def _file(program: str, settings: Mapping[str, str]) -> File:
    return File(_path(program), "".join(f"{key} = {value}\n" for key, value in settings.items()))


def _path(program: str) -> str:
    return f"{_CONFIG}/beegfs-{program}.conf"


def _ctl(management: str, *words: str) -> tuple[str, ...]:
    return ("beegfs-ctl", f"--mgmtd_node={management}", f"--connAuthFile={_SECRET}", *words)


def _known(management: str, node: Node) -> Command:
    """Whether the management service has heard of a server, and can reach it."""
    listed = _ctl(management, "--listnodes", f"--nodetype={_LISTED[node.role]}", "--reachable")
    return Command(listed, expect=rf"(?m)^{re.escape(node.name)} .*\n +Reachability: online")


def _answers(management: str) -> Command:
    return Command(_ctl(management, "--listnodes", "--nodetype=management"), expect=rf"(?m)^{re.escape(management)} ")


def _warnings(clients: list[str]) -> tuple[str, ...]:
    found = ["BeeGFS was never deployed by pliant: it is written from its documentation"]
    if len(clients) == 1:
        found.append("one client: what it reads was written by itself")
    return tuple(found)


def _daemon(program: str) -> tuple[Command, ...]:
    return (Command((f"beegfs-{program}", f"cfgFile={_path(program)}", "runDaemonized=false")),)


def _steps(names: Mapping[str, Sequence[Node]], options: BeeOptions) -> tuple[Step, ...]:
    (management,), clients = (node.name for node in names["management"]), [node.name for node in names["client"]]
    targets = min(options.stripe_targets, len(names["storage"]))
    layout = ("--setpattern", f"--numtargets={targets}", f"--chunksize={options.chunk_kib}k", MOUNT)
    mount = ("mount", "-t", "beegfs", "-o", f"cfgFile={_path('client')}", "beegfs_nodev", MOUNT)
    servers = [
        Step(
            role,
            {node.name: _daemon(_PROGRAMS[role]) for node in names[role]},
            requires=("prepare", "management"),
            daemon=True,
            ready={node.name: _known(management, node) for node in names[role]},
        )
        for role in _LISTED
    ]
    return (
        Step(
            "prepare",
            {
                node.name: (Command(("mkdir", "-p", f"{DISK}/data")),)
                for role in ("management", *_LISTED)
                for node in names[role]
            },
            once=True,
        ),
        Step(
            "management",
            {management: _daemon("mgmtd")},
            requires=("prepare",),
            daemon=True,
            ready={management: _answers(management)},
        ),
        *servers,
        Step(
            "helper",
            {client: _daemon("helperd") for client in clients},
            daemon=True,
            ready={client: Command(("pgrep", "--full", "beegfs-helperd cfgFile")) for client in clients},
        ),
        Step(
            "mount",
            {client: (Command(("mkdir", "-p", MOUNT)), Command(mount)) for client in clients},
            requires=("helper", *_LISTED),
            ready={client: Command(("mountpoint", "-q", MOUNT)) for client in clients},
        ),
        Step("layout", {clients[0]: (Command(_ctl(management, *layout)),)}, requires=("mount",), once=True),
    )
