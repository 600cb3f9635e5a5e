"""MooseFS: one master that knows where everything is, chunkservers with a disk each, and FUSE clients.

Sources: mfsmaster.cfg(5), mfschunkserver.cfg(5), mfshdd.cfg(5), mfsexports.cfg(5), mfsmount(8), mfscli(1).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from pliant.composition.model import BadOptions, Command, Composition, File, NixOS, Node, Role, Step
from pliant.composition.settings import BY_NAME, Digit, MountOption, named
from pliant.units import Duration

MOUNT = "/mnt/dfs"
DISK = "/srv/chunks"
DATA = "/var/lib/mfs"
_CHUNKS = f"{DISK}/mfs"
_CONFIG = "/etc/mfs"

_Option = Annotated[str, named(r"[A-Z][A-Z0-9_]{0,63}", "WORKERS_MAX")]


_COMMON = {"DISABLE_OOM_KILLER": "0"}
_MASTER = {
    # The shortest there is: what was deleted leaves the disks within a minute, not within five.
    "CHUNKS_LOOP_MIN_TIME": "60",
    "CHUNKS_SOFT_DEL_LIMIT": "1000",
    "CHUNKS_HARD_DEL_LIMIT": "1000",
    "REPLICATIONS_DELAY_INIT": "5",
}
_CHUNKSERVER = {
    "MASTER_RECONNECTION_DELAY": "1",
    "HDD_LEAVE_SPACE_DEFAULT": "64MiB",
    # Reading what is stored again and again, to see whether it is intact, is work beside the workload.
    "HDD_TEST_SPEED": "0",
}
_EXPORTS = ("* / rw,alldirs,admin,maproot=0:0", "* . rw")
_OWN = ("DATA_PATH", "WORKING_USER", "WORKING_GROUP", "EXPORTS_FILENAME", "HDD_CONF_FILENAME", "MASTER_HOST")


class MooseOptions(BaseModel):
    """`[filesystem.options]` of a study on MooseFS."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    goal: int = Field(2, ge=1, le=9, examples=[2])
    """Copies of every chunk, each on another chunkserver. MooseFS's own default is 2."""
    trash_time: Duration = Field(0.0, ge=0, le=365 * 86400, examples=["0 s"])
    """How long what was deleted stays in the trash, on the chunkservers' disks. MooseFS's own default is a day."""
    master_options: Annotated[dict[_Option, Digit], BY_NAME] = Field(default_factory=dict)
    """Other settings of the master, as in mfsmaster.cfg(5)."""
    chunkserver_options: Annotated[dict[_Option, Digit], BY_NAME] = Field(default_factory=dict)
    """Other settings of every chunkserver, as in mfschunkserver.cfg(5)."""
    mount_options: tuple[MountOption, ...] = Field((), examples=[["mfswritecachesize=64"]])
    """Options of the clients' mount, as in mfsmount(8): ["mfswritecachesize=64"]."""


class MooseFS:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "moosefs"
    Options: ClassVar[type[BaseModel]] = MooseOptions
    example: ClassVar[Mapping[str, int]] = {"master": 1, "chunkserver": 4, "client": 3}

    @staticmethod
    def roles(options: MooseOptions) -> tuple[Role, ...]:
        """One master, at least as many chunkservers as there are copies, and clients. The master's changelogs are on a
        disk of its own, so that its host's disk is what limits them."""
        copies = (
            f"goal {options.goal} is {options.goal} copies, each on another chunkserver" if options.goal > 1 else ""
        )
        return (
            Role("master", minimum=1, maximum=1, disk=DATA, because="one master knows where everything is"),
            Role("chunkserver", minimum=options.goal, disk=DISK, private=(DATA,), because=copies),
            Role("client", minimum=1, client=True),
        )

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: MooseOptions, seed: int) -> Composition:
        """Start the master, the chunkservers once it listens, and mount it; then say how many copies to keep."""
        for table, given in (("master", options.master_options), ("chunkserver", options.chunkserver_options)):
            if own := sorted(set(given) & set(_OWN)):
                raise BadOptions(f"{table}_options: {own[0]} is set by pliant; leave it out")
        names = {role: [node for node in nodes if node.role == role] for role in ("master", "chunkserver", "client")}
        master, clients = names["master"][0].name, [node.name for node in names["client"]]
        return Composition(
            filesystem="moosefs",
            roles=MooseFS.roles(options),
            nodes=nodes,
            steps=_steps(master, names["chunkserver"], clients, options),
            mount=MOUNT,
            programs=("mfsmaster", "mfschunkserver", "mfsmount", "mfscli", "mfssetgoal", "mfssettrashtime"),
            packages=("moosefs-master", "moosefs-chunkserver", "moosefs-client", "moosefs-cli"),
            version=("mfsmaster", "-v"),
            warnings=_warnings(options, len(names["chunkserver"]), clients),
            files=_files(master, names["chunkserver"], options),
            health=_health(master, names["chunkserver"], clients),
            unmount={client: (Command(("umount", MOUNT)),) for client in clients},
            kernel=("fuse",),
            nixos=_nixos(master, options),
            spare={"master": 0, "chunkserver": options.goal - 1},
        )


def _nixos(master: str, options: MooseOptions) -> NixOS:
    base = "services.moosefs"
    return NixOS(
        packages=("moosefs",),
        common={f"{base}.masterHost": master},
        settings={
            "master": {
                f"{base}.master.enable": True,
                f"{base}.master.exports": _EXPORTS,
                f"{base}.master.settings": {**_COMMON, **_MASTER, **options.master_options},
            },
            "chunkserver": {
                f"{base}.chunkserver.enable": True,
                f"{base}.chunkserver.hdds": [_CHUNKS],
                f"{base}.chunkserver.settings": {**_COMMON, **_CHUNKSERVER, **options.chunkserver_options},
            },
            "client": {f"{base}.client.enable": True},
        },
        units={"master": "mfs-master", "chunkserver": "mfs-chunkserver"},
        files=tuple(f"{_CONFIG}/{name}.cfg" for name in ("mfsmaster", "mfsexports", "mfschunkserver", "mfshdd")),
        words={"--owner=mfs": "--owner=moosefs", "--group=mfs": "--group=moosefs", "mfs:mfs": "moosefs:moosefs"},
    )


def _settings(*tables: dict[str, str]) -> str:
    merged = {key: value for table in tables for key, value in table.items()}
    return "".join(f"{key} = {value}\n" for key, value in merged.items())


def _files(master: str, chunkservers: list[Node], options: MooseOptions) -> dict[str, tuple[File, ...]]:
    """Configurations; for the master also the metadata of an empty file system, as its package has it."""
    found: dict[str, tuple[File, ...]] = {
        master: (
            File(f"{_CONFIG}/mfsmaster.cfg", _settings(_COMMON, _MASTER, options.master_options)),
            File(f"{_CONFIG}/mfsexports.cfg", "".join(f"{line}\n" for line in _EXPORTS)),
            File(f"{DATA}/metadata.mfs", "MFSM NEW", owner="mfs:mfs"),
        )
    }
    for server in chunkservers:
        settings = _settings(_COMMON, {"MASTER_HOST": master}, _CHUNKSERVER, options.chunkserver_options)
        disks = File(f"{_CONFIG}/mfshdd.cfg", f"{_CHUNKS}\n")
        found[server.name] = (File(f"{_CONFIG}/mfschunkserver.cfg", settings), disks)
    return found


def _cli(master: str, *sets: str) -> tuple[str, ...]:
    return ("mfscli", "-H", master, "-n", "-s", "|", *sets)


def _connected(master: str, server: Node) -> Command:
    """Whether the master has a chunkserver among those that are connected."""
    return Command(_cli(master, "-SCS"), expect=rf"(?m)^chunk servers:\|{re.escape(server.address)}\|")


def _health(master: str, chunkservers: list[Node], clients: list[str]) -> dict[str, Command]:
    """A client's mount answers; a chunkserver is connected; the master lacks no copy of anything."""
    whole = r"(?s)missing:\|0\n.*endangered:\|0\n.*undergoal:\|0\n"
    return {
        master: Command(_cli("localhost", "-SIC"), expect=whole),
        **{server.name: _connected(master, server) for server in chunkservers},
        **{client: Command(("stat", "--file-system", MOUNT)) for client in clients},
    }


_IDLE_CHUNKSERVER, _IDLE_CLIENT = 0.013, 0.0085
"""What each takes of a CPU (Intel Xeon) with nothing to do: their threads wake up all the time."""


def _warnings(options: MooseOptions, chunkservers: int, clients: list[str]) -> tuple[str, ...]:
    found = []
    idle = _IDLE_CHUNKSERVER * chunkservers + _IDLE_CLIENT * len(clients)
    if idle >= 1:
        found.append(
            f"{chunkservers} chunkservers and {len(clients)} clients with nothing to do take about {idle:.1f} CPUs of "
            f"a machine that runs all of them: {100 * _IDLE_CHUNKSERVER:.2g} % and {100 * _IDLE_CLIENT:.2g} % each"
        )
    if options.goal == 1:
        found.append("goal 1 keeps one copy: what is on a chunkserver is away while it is down")
    if options.trash_time:
        found.append("what is deleted stays on the disks for the trash time; the disks must have room for it")
    if len(clients) == 1:
        found.append("one client: what it reads was written by itself, and its own cache may serve it")
    return tuple(found)


def _steps(master: str, chunkservers: list[Node], clients: list[str], options: MooseOptions) -> tuple[Step, ...]:
    own, disk = ("install", "--directory", "--owner=mfs", "--group=mfs"), [server.name for server in chunkservers]
    prepare = {master: (Command((*own, DATA)),), **{name: (Command((*own, DATA, _CHUNKS)),) for name in disk}}
    mount_options = ",".join(("mfsallowoomkiller", *options.mount_options))
    mount = Command(("mfsmount", "-H", master, "-o", mount_options, MOUNT))
    trash = ("mfssettrashtime", "-r", f"{options.trash_time:.0f}", MOUNT)
    return (
        Step("prepare", prepare, once=True),
        Step(
            "master",
            {master: (Command(("mfsmaster", "-a", "-f", "start")),)},
            requires=("prepare",),
            daemon=True,
            ready={master: Command(_cli("localhost", "-SIG"), expect="(?m)^master info:")},
        ),
        Step(
            "chunkserver",
            {server.name: (Command(("mfschunkserver", "-f", "start")),) for server in chunkservers},
            requires=("prepare", "master"),
            daemon=True,
            ready={server.name: _connected(master, server) for server in chunkservers},
        ),
        Step(
            "mount",
            {client: (Command(("mkdir", "-p", MOUNT)), mount) for client in clients},
            requires=("master",),
            after=("chunkserver",),
            ready={client: Command(("mountpoint", "-q", MOUNT)) for client in clients},
        ),
        Step(
            "settings",
            {clients[0]: (Command(("mfssetgoal", "-r", str(options.goal), MOUNT)), Command(trash))},
            requires=("mount",),
            once=True,
        ),
    )
