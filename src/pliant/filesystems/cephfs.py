"""CephFS: monitors, managers, metadata servers, object storage daemons (OSDs) with a disk each, and ceph-fuse clients.

Sources: the Ceph documentation (manual deployment, pools, erasure code, CephFS), ceph-mon(8), ceph-osd(8),
ceph-fuse(8). What is set to make it start quickly was measured with Ceph 16.2.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from pliant.composition.identity import derive, uuid
from pliant.composition.model import Command, Composition, File, Identity, NixOS, Node, Role, Setting, Step
from pliant.composition.settings import BY_NAME, Truth, named
from pliant.units import Size

MOUNT = "/mnt/dfs"
DISK = "/srv/osd"
STORE = "/var/lib/ceph/mon"
FILESYSTEM = "pliant"
_CONFIG, _KEYRING = "/etc/ceph/ceph.conf", "/etc/ceph/keyring"
_LEAST_DISK = 2**30

_Option = Annotated[
    str,
    named(r"[a-z][a-z0-9_ -]{0,79}", "osd_heartbeat_grace"),
    AfterValidator(lambda name: re.sub("[ -]", "_", name)),  # Ceph takes all three for the same
]
_OWN = frozenset(
    (
        *("fsid", "mon_host", "mon_initial_members", "keyring", "mon_data", "osd_data", "osd_memory_target"),
        *(f"auth_{who}_required" for who in ("cluster", "service", "client")),
    )
)
_AIO_OF_OSD = 2048
"""Asynchronous requests that an OSD reserves (twice bdev_aio_max_queue_depth): fs.aio-nr grows by it."""
_POOL = re.compile(r"replicate +(\d+)|erasure +(\d+) *\+ *(\d+)", re.ASCII)


class CephOptions(BaseModel):
    """`[filesystem.options]` of a study on CephFS."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    pool: str = Field("replicate 3", examples=["replicate 3"])
    """How file data is kept: `replicate N` (N copies), or `erasure K+M` (K pieces and M more, of which any M may be
    lost), each on another OSD."""
    pg_num: int = Field(32, ge=1, le=4096, examples=[32])
    """Placement groups of the data pool."""
    metadata_pg_num: int = Field(8, ge=1, le=1024, examples=[8])
    """Placement groups of the metadata pool."""
    osd_memory_target: Size = Field(256 * 2**20, ge=256 * 2**20, le=2**40, examples=["256 MiB"])
    """Memory that an OSD tries to keep within; Ceph's own default is 4 GiB."""
    active_metadata: int = Field(1, ge=1, le=64, examples=[1])
    """Metadata servers that share the work; all others stand by."""
    settings: Annotated[dict[_Option, Truth], BY_NAME] = Field(
        default_factory=dict, examples=[{"osd_heartbeat_grace": 20}]
    )
    """Any other settings, as in the section [global] of ceph.conf."""

    @field_validator("settings")
    @classmethod
    def _free(cls, settings: dict[str, str]) -> dict[str, str]:
        if own := sorted(_OWN.intersection(settings)):
            raise ValueError(f"{own[0]} is set by pliant; leave it out")
        return settings

    @field_validator("pool")
    @classmethod
    def _known_pool(cls, text: str) -> str:
        match = _POOL.fullmatch(text.strip())
        if match is None:
            raise ValueError(f'"{text}" is not a pool; write "replicate N" or "erasure K+M"')
        copies, data, coding = (int(group) if group else None for group in match.groups())
        if copies is not None and not 1 <= copies <= 10:
            raise ValueError(f'"{text}" is refused by Ceph, which keeps 1 to 10 copies; write e.g. "replicate 3"')
        if data is not None and coding is not None and (data < 2 or coding < 1 or data + coding > 32):
            raise ValueError(
                f'"{text}" is refused by Ceph, which wants K = 2 or more, M = 1 or more, K + M up to 32; '
                'write e.g. "erasure 2+1"'
            )
        return " ".join(text.split())

    @property
    def copies(self) -> int | None:
        """Copies of file data; None for an erasure-coded pool."""
        copies = _pool(self.pool)[0]
        return int(copies) if copies else None

    @property
    def erasure(self) -> tuple[int, int]:
        """K and M of an erasure-coded pool; (0, 0) for a replicated one."""
        _, data, coding = _pool(self.pool)
        return (int(data), int(coding)) if data and coding else (0, 0)

    @property
    def width(self) -> int:
        """OSDs that a placement group is on."""
        return self.copies or sum(self.erasure)

    @property
    def survives(self) -> int:
        """OSDs that may be lost without losing data."""
        return self.width - (1 if self.copies else self.erasure[0])

    @property
    def spare(self) -> int:
        """OSDs that may be away while data can be read and written: Ceph's default pool min_size leaves so many."""
        return self.copies // 2 if self.copies else self.erasure[1] - 1


def _written(value: str) -> str:
    """A value as ceph.conf has it: in quotes where it would be taken for a comment, or lose a part."""
    if value == value.strip() and not re.search(r"""[;#"'\\]""", value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def _pool(text: str) -> tuple[str | None, ...]:
    match = _POOL.fullmatch(text)
    assert match is not None  # validated
    return match.groups()


class CephFS:
    """The driver; see `pliant.composition.model.Filesystem`."""

    name: ClassVar[str] = "cephfs"
    Options: ClassVar[type[BaseModel]] = CephOptions
    example: ClassVar[Mapping[str, int]] = {"monitor": 1, "manager": 1, "metadata": 1, "osd": 3, "client": 2}

    @staticmethod
    def roles(options: CephOptions) -> tuple[Role, ...]:
        """Monitors and OSDs have a disk each: so their host's disk is what limits their I/O."""
        logs = ("/var/log/ceph",)
        private = ("/var/log/ceph", "/var/lib/ceph", "/etc/ceph")
        because = f'pool "{options.pool}" keeps everything on {options.width} OSDs' if options.width > 1 else ""
        return (
            Role("monitor", disk=STORE, private=private, logs=logs),
            Role("manager", minimum=0, private=private, logs=logs),
            Role("metadata", minimum=0, private=private, logs=logs),
            Role("osd", minimum=options.width, disk=DISK, private=private, logs=logs, because=because),
            Role("client", client=True, private=private, logs=logs),
        )

    @staticmethod
    def compose(nodes: tuple[Node, ...], options: CephOptions, seed: int) -> Composition:
        """Make stores and keys, start the monitors, describe OSDs and pools to them, start all others, and mount it."""
        cluster = _Cluster(nodes, options, seed)
        if options.active_metadata > len(cluster.metadata):
            raise ValueError(
                f"{options.active_metadata} active metadata servers need as many nodes that run one, not "
                f"{len(cluster.metadata)}; add nodes to the role metadata, or write active_metadata = "
                f"{len(cluster.metadata)}"
            )
        small = next((node for node in cluster.osds if 0 < node.disk_bytes < _LEAST_DISK), None)
        if small is not None:
            raise ValueError('an OSD needs a disk of 1 GiB or more; write platform.host.disk_size = "1 GiB" or more')
        return Composition(
            filesystem="cephfs",
            roles=CephFS.roles(options),
            nodes=nodes,
            steps=cluster.steps(),
            mount=MOUNT,
            programs=("ceph-mon", "monmaptool", "ceph-mgr", "ceph-mds", "ceph-osd", "ceph", "ceph-fuse", "setfattr"),
            packages=("ceph-mon", "ceph-mgr", "ceph-mds", "ceph-osd", "ceph-common", "ceph-fuse", "attr"),
            version=("ceph", "--version"),
            warnings=cluster.warnings(),
            files={node.name: cluster.files(node) for node in nodes},
            identities={node.name: cluster.identities(node) for node in nodes},
            health=cluster.health(),
            unmount={client: (Command(("umount", MOUNT)),) for client in cluster.clients},
            clean={node.name: (cluster.purged(node),) for node in cluster.metadata},
            kernel=("fuse",),
            nixos=cluster.nixos(),
            kernel_limits={"fs.aio-max-nr": _AIO_OF_OSD * len(cluster.osds)},
            spare={"osd": options.spare, "monitor": (sum(node.role == "monitor" for node in nodes) - 1) // 2},
        )


_ALL = "allow *"
_CAPS = {
    "mon": {"mon": _ALL},
    "admin": {"mon": _ALL, "mgr": _ALL, "osd": _ALL, "mds": _ALL},
    "mgr": {"mon": "allow profile mgr", "osd": _ALL, "mds": _ALL},
    "mds": {"mon": "allow profile mds", "mgr": "allow profile mds", "osd": "allow rwx", "mds": "allow *"},
    "osd": {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": _ALL},
    "client": {"mon": "allow r", "mds": "allow rwp", "osd": f"allow rw tag cephfs data={FILESYSTEM}"},
}
_UNWANTED = (
    "alerts balancer crash devicehealth diskprediction_local influx insights iostat k8sevents localpool nfs "
    "orchestrator osd_perf_query osd_support pg_autoscaler progress prometheus rbd_support restful rook selftest "
    "snap_schedule stats status telegraf telemetry test_orchestrator volumes zabbix dashboard cephadm"
)
_SETTINGS = {
    # Placement groups stay laggy for ten seconds without these, and states are told late.
    "osd_heartbeat_interval": "1",
    "osd_heartbeat_grace": "10",
    "mon_tick_interval": "1",
    "mon_mgr_digest_period": "1",
    "mgr_tick_period": "1",
    "mgr_stats_period": "1",
    "mds_beacon_interval": "1",
    "mds_tick_interval": "1",
    # In the first minute of a monitor nobody else would take over from a metadata server that is gone.
    "mds_beacon_mon_down_grace": "1",
    "paxos_propose_interval": "0.1",
    "mgr_disabled_modules": _UNWANTED,
    "bluestore_fsck_on_mkfs": "false",
    "bdev_aio_poll_ms": "10",
    # Health says what is broken, not what is small.
    "mon_max_pg_per_osd": "10000",
    "mon_warn_on_pool_no_redundancy": "false",
    "mon_pg_warn_min_per_osd": "0",
    "auth_allow_insecure_global_id_reclaim": "false",
    "mon_allow_pool_size_one": "true",
    "mon_data_avail_warn": "1",
    "mon_osd_down_out_interval": "3600",
}


def _socket(daemon: str) -> str:
    """Where a daemon listens to its own node."""
    return f"/var/run/ceph/ceph-{daemon}.asok"


class _Cluster:
    """One Ceph cluster: who runs what, and what follows from it."""

    def __init__(self, nodes: tuple[Node, ...], options: CephOptions, seed: int) -> None:
        self.options, self.seed = options, seed
        of = {role.name: [node for node in nodes if node.role == role.name] for role in CephFS.roles(options)}
        self.monitors, self.osds = of["monitor"], of["osd"]
        # With none of their own, each monitor's node runs one as well.
        self.managers = of["manager"] or self.monitors
        self.metadata = of["metadata"] or self.monitors
        self.clients = [node.name for node in of["client"]]
        self.fsid = uuid(seed, "cephfs", "fsid")

    # Identities and files

    def key(self, entity: str) -> str:
        """A cephx key (CryptoKey::encode in Ceph: type 1 is AES, a time, the length): base64 of 16 secret bytes."""
        secret = derive(self.seed, "cephfs", "key", entity)
        return base64.b64encode(struct.pack("<HIIH", 1, 0, 0, len(secret)) + secret).decode()

    def entities(self, node: Node) -> dict[str, str]:
        """Who a node is, to Ceph: entity -> kind."""
        found: dict[str, str] = {}
        if node in self.monitors:
            found |= {"mon.": "mon", "client.admin": "admin"}
        if node in self.managers:
            found[f"mgr.{node.name}"] = "mgr"
        if node in self.metadata:
            found[f"mds.{node.name}"] = "mds"
        if node in self.osds:
            found[f"osd.{self.number(node)}"] = "osd"
        if node.name in self.clients:
            found["client.pliant"] = "client"
        return found

    def number(self, osd: Node) -> int:
        """An OSD's id, from 0."""
        return self.osds.index(osd)

    def osd_uuid(self, osd: Node) -> str:
        """The uuid by which an OSD's disk is known."""
        return uuid(self.seed, "cephfs", "osd", osd.name)

    def identities(self, node: Node) -> dict[str, Identity]:
        """What makes a node itself."""
        found = {"fsid": Identity(self.fsid)}
        if node in self.osds:
            found |= {"id": Identity(str(self.number(node))), "uuid": Identity(self.osd_uuid(node))}
        return found | {f"key of {entity}": Identity(self.key(entity), secret=True) for entity in self.entities(node)}

    def keyring(self, entities: dict[str, str]) -> str:
        """Keys with what they are allowed, as ceph-authtool(8) has them."""
        lines = []
        for entity, kind in entities.items():
            lines += [f"[{entity}]", f"  key = {self.key(entity)}"]
            lines += [f'  caps {service} = "{caps}"' for service, caps in _CAPS[kind].items()]
        return "\n".join((*lines, ""))

    def files(self, node: Node) -> tuple[File, ...]:
        """The configuration, the node's own keys, and for monitors everybody's: they have to know them."""
        own = (
            File(_CONFIG, self.configuration()),
            File(_KEYRING, self.keyring(self.entities(node)), secret=True),
        )
        if node not in self.monitors:
            return own
        everybody: dict[str, str] = {}
        for each in (*self.monitors, *self.managers, *self.metadata, *self.osds):
            everybody |= self.entities(each)
        everybody |= {"client.pliant": "client"}
        return (*own, File("/etc/ceph/everybody.keyring", self.keyring(everybody), secret=True))

    def configuration(self) -> str:
        """ceph.conf, the same everywhere."""
        general = {
            "fsid": self.fsid,
            "mon_host": ",".join(node.address for node in self.monitors),
            "mon_initial_members": ",".join(node.name for node in self.monitors),
            "auth_cluster_required": "cephx",
            "auth_service_required": "cephx",
            "auth_client_required": "cephx",
            **self.settings(),
        }
        lines = [f"{key} = {_written(value)}" for key, value in general.items()]
        return "\n".join(("[global]", *lines, ""))

    def settings(self) -> dict[str, str]:
        """What ceph.conf says beside who the cluster is."""
        options = self.options
        return {
            "keyring": _KEYRING,
            "ms_bind_ipv4": "true",
            "ms_bind_ipv6": "false",
            "mon_data": f"{STORE}/$id",
            "osd_data": f"{DISK}/osd",
            "osd_objectstore": "bluestore",
            "osd_memory_target": str(options.osd_memory_target),
            "osd_memory_base": str(options.osd_memory_target // 2),
            "osd_memory_cache_min": str(options.osd_memory_target // 8),
            "osd_pool_default_pg_autoscale_mode": "off",
            "osd_pool_default_size": str(self.copies),
            "osd_class_update_on_start": "false",
            "osd_crush_chooseleaf_type": "1",
            "fuse_disable_pagecache": "false",
            **_SETTINGS,
            **options.settings,
        }

    def nixos(self) -> NixOS:
        """NixOS's own services for Ceph's daemons wait for keys where these daemons do not look for them: so of
        `services.ceph` there is the configuration, and the daemons are those of the steps."""
        options: dict[str, Setting] = {
            "services.ceph.enable": True,
            "services.ceph.global.fsid": self.fsid,
            "services.ceph.global.monHost": ",".join(node.name for node in self.monitors),
            "services.ceph.global.monInitialMembers": ",".join(node.name for node in self.monitors),
            "services.ceph.extraConfig": self.settings(),
        }
        return NixOS(("ceph",), settings={}, units={}, common=options, files=(_CONFIG,))

    @property
    def copies(self) -> int:
        """Copies of what is in replicated pools: with an erasure-coded one, that survive what it survives."""
        return self.options.copies or self.options.survives + 1

    # Steps

    def steps(self) -> tuple[Step, ...]:
        """From nothing to mounted: what can go on at the same time does."""
        monitors = [node.name for node in self.monitors]
        mount = Command(("ceph-fuse", "--id", "pliant", "--client_fs", FILESYSTEM, MOUNT))
        steps = [
            Step("store", {node.name: self._store(node) for node in self.monitors}, once=True),
            Step("format", {node.name: self._format(node) for node in self.osds}, once=True),
            self._daemon("monitor", "mon", {node.name: node.name for node in self.monitors}, ("store",)),
            Step(
                "describe",
                {monitors[0]: (Command(("ceph",), stdin=self._description()),)},
                requires=("monitor",),
                once=True,
                ready={monitors[0]: Command(("ceph", "fs", "ls"), expect=f"name: {FILESYSTEM},")},
            ),
            self._daemon("manager", "mgr", {node.name: node.name for node in self.managers}, ("monitor",)),
            self._daemon("metadata", "mds", {node.name: node.name for node in self.metadata}, ("monitor",)),
            self._daemon(
                "osd",
                "osd",
                {node.name: str(self.number(node)) for node in self.osds},
                ("monitor", "format", "describe"),
            ),
            Step(
                "clean",
                {},
                requires=("manager", "metadata", "osd"),
                ready={monitors[0]: self.clean},
                once=True,
                timeout_s=120,
            ),
            Step(
                "mount",
                {client: (Command(("mkdir", "-p", MOUNT)), mount) for client in self.clients},
                after=("clean",),
                requires=("monitor",),
                ready={client: Command(("mountpoint", "-q", MOUNT)) for client in self.clients},
            ),
        ]
        if self.options.erasure[0]:
            layout = Command(("setfattr", "--name=ceph.dir.layout.pool", "--value=data", MOUNT))
            steps.append(Step("layout", {self.clients[0]: (layout,)}, requires=("mount",), once=True))
        return tuple(steps)

    def _daemon(self, name: str, kind: str, ids: dict[str, str], requires: Sequence[str]) -> Step:
        """One daemon of a kind on each node. It has begun when its socket is there; `clean` says when all work."""
        runs = {node: (Command((f"ceph-{kind}", "--foreground", "--id", id_)),) for node, id_ in ids.items()}
        ready = {node: Command(("test", "-S", _socket(f"{kind}.{id_}"))) for node, id_ in ids.items()}
        return Step(name, runs, requires=tuple(requires), daemon=True, ready=ready)

    def _store(self, node: Node) -> tuple[Command, ...]:
        """A monitor's store, with everybody's keys in it."""
        addresses = [
            argument
            for each in self.monitors
            for argument in ("--addv", each.name, f"[v2:{each.address}:3300,v1:{each.address}:6789]")
        ]
        keys, map_ = "/etc/ceph/everybody.keyring", "/etc/ceph/monmap"
        return (
            Command(("monmaptool", "--create", "--clobber", "--fsid", self.fsid, *addresses, map_)),
            Command(("ceph-mon", "--mkfs", "--id", node.name, "--monmap", map_, "--keyring", keys)),
        )

    def _format(self, node: Node) -> tuple[Command, ...]:
        """An OSD's store: BlueStore in a file on the node's own disk.

        Its I/O then goes directly (O_DIRECT) to the disk's loop device, where the host's limit is. The file leaves some
        of the disk to the file system that it is in.
        """
        size = (node.disk_bytes or _LEAST_DISK) * 9 // 10
        mkfs = ("ceph-osd", "--mkfs", "--no-mon-config", "--id", str(self.number(node)))
        block = ("--osd-uuid", self.osd_uuid(node), "--bluestore-block-size", str(size))
        return (Command(("mkdir", "-p", f"{DISK}/osd")), Command((*mkfs, *block)))

    def _description(self) -> str:
        """What the monitors must know, in one conversation with `ceph`, each call of which costs half a second."""
        options = self.options
        # Modules that are left out on purpose, for they take seconds to load, would be told as an error.
        # Slow operations are what slow hosts have, and from 18.2.5 and 19.2.1 on Ceph warns of one for a day.
        lines = [f"health mute {code} --sticky" for code in ("MGR_MODULE_ERROR", "BLUESTORE_SLOW_OP_ALERT")]
        lines += [f"osd new {self.osd_uuid(node)}" for node in self.osds]
        lines += [f"osd pool create metadata {options.metadata_pg_num} {options.metadata_pg_num}"]
        data, copies = options.erasure[0], self.copies
        if data:
            lines += [
                f"osd erasure-code-profile set pliant k={data} m={options.erasure[1]} crush-failure-domain=host",
                f"osd pool create data {options.pg_num} {options.pg_num} erasure pliant",
                "osd pool set data allow_ec_overwrites true",
                f"osd pool create first {options.metadata_pg_num} {options.metadata_pg_num}",
                *self._replicated("first", copies),
            ]
        else:
            lines += [f"osd pool create data {options.pg_num} {options.pg_num}", *self._replicated("data", copies)]
        lines += self._replicated("metadata", copies)
        lines += [f"fs new {FILESYSTEM} metadata {'first' if data else 'data'}"]
        if data:
            lines += [f"fs add_data_pool {FILESYSTEM} data"]
        if options.active_metadata > 1:
            lines += [f"fs set {FILESYSTEM} max_mds {options.active_metadata}"]
        if len(self.metadata) <= options.active_metadata:
            lines += [f"fs set {FILESYSTEM} standby_count_wanted 0"]
        return "\n".join((*lines, ""))

    def _replicated(self, pool: str, copies: int) -> list[str]:
        sure = " --yes-i-really-mean-it" if copies == 1 else ""
        return [f"osd pool set {pool} size {copies}{sure}"]

    @property
    def clean(self) -> Command:
        """Every daemon takes part, and every placement group is active and clean."""
        count, active = len(self.osds), self.options.active_metadata
        osds = rf"osd: {count} osds: {count} up\b[^\n]* {count} in\b"
        return Command(
            ("ceph", "status"),
            expect=rf"(?s)mds: {active}/{active} daemons up.*{osds}.*pgs: +\d+ active\+clean *\n(?! *\d)",
        )

    def purged(self, node: Node) -> Command:
        """A metadata server has nothing left of what was deleted: files go in the background, after their names."""
        left = r'(?s)\A(?!.*"num_strays": [1-9])(?!.*"pq_(?:executing|item_in_journal)": [1-9])'
        return self._asked(f"mds.{node.name}", "perf dump", left)

    # What is known of it

    def health(self) -> dict[str, Command]:
        """A daemon answers on its own node; a monitor also says whether anything of the cluster is broken."""
        found: dict[str, Command] = {client: Command(("stat", "--file-system", MOUNT)) for client in self.clients}
        for node in self.osds:
            found[node.name] = self._asked(f"osd.{self.number(node)}", "status", '"state": "active"')
        for node in self.managers:
            found[node.name] = self._asked(f"mgr.{node.name}", "status", None)
        for node in self.metadata:
            found[node.name] = self._asked(
                f"mds.{node.name}", "status", '"state": "up:(?:active|standby|standby-replay)"'
            )
        for node in self.monitors:
            found[node.name] = Command(("ceph", "--connect-timeout", "5", "health"), expect="^HEALTH_OK")
        return found

    def _asked(self, daemon: str, command: str, expect: str | None) -> Command:
        """A question to a daemon by its socket, which needs no monitor."""
        return Command(("ceph", "--admin-daemon", _socket(daemon), *command.split()), expect=expect)

    def warnings(self) -> tuple[str, ...]:
        """What a user should know about this choice of options and counts."""
        found = []
        if len(self.monitors) % 2 == 0:
            fewer = len(self.monitors) - 1
            found.append(
                f"{len(self.monitors)} monitors survive the loss of no more than {fewer} do: a majority must be up; "
                f"take an odd number"
            )
        if not self.options.survives:
            found.append(f'pool "{self.options.pool}" keeps one copy: what is on an OSD is away while it is down')
        if len(self.clients) == 1:
            found.append("one client: what it reads was written by itself, and its own cache may serve it")
        return tuple(found)
