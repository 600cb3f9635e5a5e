"""Every file system as data, without a machine: what all must declare, and what each turns a study into."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError
from study_files import GOOD

from pliant.cli import plan
from pliant.composition.model import BadOptions, Composition
from pliant.composition.placement import nodes_for
from pliant.study import registry
from pliant.study.problems import StudyError
from pliant.study.reading import parse

STUDIES = Path(__file__).parents[2] / "studies"
SSHFS, JUICEFS = (
    tomllib.loads((STUDIES / f"{name}.toml").read_text())["filesystem"]["options"] for name in ("sshfs", "juicefs")
)
GIB = 2**30


def compose(kind: str, counts: dict[str, int], seed: int = 1, disk: int = 4 * GIB, **options) -> Composition:
    driver = registry.filesystem(kind)
    checked = driver.Options.model_validate_json(json.dumps(options), strict=True)
    own = {role.name for role in driver.roles(checked) if role.disk}
    nodes = tuple(replace(n, disk_bytes=disk) if n.role in own else n for n in nodes_for(counts))
    return driver.compose(nodes, checked, seed)


def commands(composition: Composition, step: str, node: str) -> list[str]:
    return [shlex.join(command.argv) for command in composition.step(step).runs[node]]


# What all declare

ALL = [
    ("glusterfs", {"server": 1, "client": 1}, {}),
    ("glusterfs", {"server": 6, "client": 3}, {"volume": "replicate 3 arbiter 1"}),
    ("moosefs", {"master": 1, "chunkserver": 2, "client": 1}, {}),
    ("moosefs", {"master": 1, "chunkserver": 5, "client": 3}, {"goal": 3, "trash_time": "1 h"}),
    ("cephfs", {"monitor": 1, "osd": 3, "client": 2}, {}),
    ("cephfs", {"monitor": 3, "manager": 2, "metadata": 3, "osd": 5, "client": 2}, {"active_metadata": 2}),
    ("cephfs", {"monitor": 1, "osd": 3, "client": 1}, {"pool": "erasure 2+1"}),
    ("nfs", {"server": 1, "client": 2}, {}),
    ("nfs", {"server": 1, "client": 3}, {"server": "ganesha"}),
    ("nfs", {"server": 1, "client": 4}, {"version": "3"}),
    ("orangefs", {"server": 3, "client": 1}, {}),
    ("orangefs", {"server": 1, "client": 5}, {"client": "kernel"}),
    ("beegfs", {"management": 1, "metadata": 1, "storage": 2, "client": 2}, {}),
    ("beegfs", {"management": 1, "metadata": 3, "storage": 4, "client": 1}, {"release": "8"}),
    ("gfarm", {"metadata": 1, "storage": 1, "client": 1}, {}),
    ("gfarm", {"metadata": 1, "storage": 5, "client": 3}, {"replicas": 3}),
    ("seaweedfs", {"master": 1, "volume": 1, "filer": 1, "client": 1}, {}),
    ("seaweedfs", {"master": 3, "volume": 5, "filer": 1, "client": 3}, {"replication": "011", "collection": "c"}),
    ("custom", {"server": 1, "client": 2}, SSHFS),
    ("custom", {"meta": 1, "storage": 3, "client": 3}, JUICEFS),
]
NFS = {("nfsd", "nfs4"), ("nfs4",), ("nfsd", "nfs")}
KERNEL = {"nfs": NFS, "orangefs": {("fuse",), ("pvfs2",)}, "beegfs": {("beegfs",)}}
BASICS = {"mkdir", "mount", "test", "install", "mountpoint", "stat", "grep", "tee", "sync"}


@pytest.fixture(params=ALL, ids=lambda each: f"{each[0]}-{sum(each[1].values())}")
def each(request):
    kind, counts, options = request.param
    return kind, compose(kind, counts, **options)


def test_every_file_system_is_in_the_table():
    assert {kind for kind, *_ in ALL} == set(registry.filesystem_names())


def test_every_node_can_be_asked_for_its_health_and_every_client_lets_go(each):
    _, composition = each
    names = {node.name for node in composition.nodes}
    assert set(composition.health) == names
    clients = [node.name for node in composition.clients]
    assert list(composition.unmount) == clients
    assert [node for node in composition.step("mount").ready if node in clients] == clients


def test_every_program_is_declared_and_only_the_users_own_commands_meet_a_shell(each):
    kind, composition = each
    found = [c for s in composition.steps for runs in s.runs.values() for c in runs]
    found += [c for s in composition.steps for c in s.ready.values()]
    found += [*composition.health.values(), *(c for each in composition.unmount.values() for c in each)]
    found += [c for each in composition.clean.values() for c in each]
    programs = {command.argv[0] for command in found}
    if kind == "custom":
        assert programs == {"sh"}
    else:
        assert programs - BASICS - {"umount"} <= set(composition.programs)
        assert "sh" not in programs
    assert composition.packages
    assert composition.version
    assert composition.of_kernels in KERNEL.get(kind, {("fuse",)})
    assert set(composition.sources) <= set(composition.programs)
    if composition.brought:
        assert composition.sources


def test_a_node_that_starts_again_keeps_what_it_has(each):
    _, composition = each
    creating = ("mkfs", "create", "--mkfs", "format", "install", "setfattr", "mfssetgoal", "osd new")
    for node in composition.nodes:
        again = composition.again(node.name)
        assert again, f"{node.name} does nothing when it starts again"
        for step in again:
            for command in step.runs.get(node.name, ()):
                text = shlex.join(command.argv) + command.stdin
                assert not [word for word in creating if f"{word} " in text], text
        if composition.role(node.role).client:
            assert [step.name for step in again][-1] == "mount"


def test_no_secret_is_shown(each):
    _, composition = each
    secrets = {i.value for named in composition.identities.values() for i in named.values() if i.secret}
    secrets |= {file.content for files in composition.files.values() for file in files if file.secret}
    shown = repr(composition) + json.dumps(plan.document(composition)) + "\n".join(plan.lines(composition))
    assert not [secret for secret in secrets if secret in shown]


def test_the_same_seed_gives_the_same_and_another_does_not(each):
    kind, composition = each
    _, counts, options = next(row for row in ALL if row[0] == kind and sum(row[1].values()) == len(composition.nodes))
    assert compose(kind, counts, **options) == composition
    if composition.identities and any(composition.identities.values()):
        assert compose(kind, counts, seed=2, **options).identities != composition.identities


# Those of the kernel


def test_nfs():
    composition = compose("nfs", {"server": 1, "client": 2}, threads=16, export="async", mount_options=["nconnect=4"])
    assert [list(wave) for wave in plan.waves(composition.steps)] == [
        ["state"],
        ["records", "mountd"],
        ["serve"],
        ["mount"],
    ]
    assert commands(composition, "state", "server1") == [
        "mkdir -p /run/rpc_pipefs /var/lib/nfs/nfsdcld",
        "mount -t rpc_pipefs rpc_pipefs /run/rpc_pipefs",
        "mount -t nfsd nfsd /proc/fs/nfsd",
        "tee /proc/fs/nfsd/max_block_size",
        "exportfs -ra",
    ]
    assert commands(composition, "serve", "server1") == ["rpc.nfsd --no-nfs-version 3 --nfs-version 4.2 16"]
    assert commands(composition, "mount", "client2") == [
        "mkdir -p /mnt/dfs",
        "mount -t nfs4 -o vers=4.2,rsize=1048576,wsize=1048576,nconnect=4 server1:/ /mnt/dfs",
    ]
    (exports,) = composition.files["server1"]
    assert exports.content == "/srv/export *(rw,async,no_root_squash,no_subtree_check,fsid=0)\n"
    assert any("loses" in warning for warning in composition.warnings)
    with pytest.raises(ValidationError):
        compose("nfs", {"server": 1, "client": 1}, mount_options=["a,b"])


def test_nfs_by_ganesha():
    composition = compose("nfs", {"server": 1, "client": 2}, server="ganesha", threads=4, transfer_kib=64)
    assert [list(wave) for wave in plan.waves(composition.steps)] == [["portmap"], ["serve"], ["mount"]]
    assert composition.role("server").kernel == ()  # a plain node, whose kernel has nothing to do with it
    assert commands(composition, "portmap", "server1") == ["rpcbind -f"]
    assert "client1" not in composition.step("portmap").runs
    (config,) = composition.files["server1"]
    for line in ("Path = /srv/export;", "Protocols = 4;", "Nb_Worker = 4;", "MaxRead = 65536;", "Minor_Versions = 2;"):
        assert line in config.content
    assert commands(composition, "mount", "client1")[-1] == (
        "mount -t nfs4 -o vers=4.2,rsize=65536,wsize=65536 server1:/ /mnt/dfs"
    )
    with pytest.raises(BadOptions, match="the kernel's"):
        compose("nfs", {"server": 1, "client": 1}, server="ganesha", export="async")


@pytest.mark.parametrize("server", ["kernel", "ganesha"])
def test_nfs_of_version_3_has_its_locks_by_a_protocol_of_their_own(server):
    composition = compose("nfs", {"server": 1, "client": 2}, server=server, version="3")
    for name in ("portmap", "statd"):
        assert set(composition.step(name).runs) == {"server1", "client1", "client2"}
    assert composition.role("client").kernel == ("nfs",)
    assert commands(composition, "mount", "client2")[-1] == (
        "mount -t nfs -o vers=3,rsize=1048576,wsize=1048576 server1:/srv/export /mnt/dfs"
    )
    assert {"portmap", "statd"} <= set(composition.step("serve").requires)
    if server == "kernel":
        assert commands(composition, "serve", "server1") == [
            "rpc.nfsd --no-nfs-version 4 --nfs-version 3 --grace-time 10 8"
        ]
        assert "records" not in {step.name for step in composition.steps}
    else:
        assert "Enable_NLM = true;" in composition.files["server1"][0].content
    assert composition.nixos is None


# MooseFS

MOOSE = {"master": 1, "chunkserver": 3, "client": 2}


def test_moosefs():
    composition = compose("moosefs", MOOSE, goal=2)
    assert [list(wave) for wave in plan.waves(composition.steps)] == [
        ["prepare"],
        ["master"],
        ["chunkserver"],
        ["mount"],
        ["settings"],
    ]
    assert commands(composition, "master", "master1") == ["mfsmaster -a -f start"]
    assert list(composition.step("chunkserver").runs) == ["chunkserver1", "chunkserver2", "chunkserver3"]
    assert commands(composition, "chunkserver", "chunkserver3") == ["mfschunkserver -f start"]
    assert commands(composition, "mount", "client2") == [
        "mkdir -p /mnt/dfs",
        "mfsmount -H master1 -o mfsallowoomkiller /mnt/dfs",
    ]
    assert commands(composition, "settings", "client1") == [
        "mfssetgoal -r 2 /mnt/dfs",
        "mfssettrashtime -r 0 /mnt/dfs",
    ]
    files = {file.path: file for file in composition.files["master1"]}
    assert files["/var/lib/mfs/metadata.mfs"].content == "MFSM NEW"
    assert files["/var/lib/mfs/metadata.mfs"].owner == "mfs:mfs"
    assert "CHUNKS_LOOP_MIN_TIME = 60\n" in files["/etc/mfs/mfsmaster.cfg"].content
    files = {file.path: file.content for file in composition.files["chunkserver2"]}
    assert "MASTER_HOST = master1\n" in files["/etc/mfs/mfschunkserver.cfg"]
    assert files["/etc/mfs/mfshdd.cfg"] == "/srv/chunks/mfs\n"
    assert {role.name: role.disk for role in composition.roles} == {
        "master": "/var/lib/mfs",
        "chunkserver": "/srv/chunks",
        "client": None,
    }


def test_moosefs_settings_of_the_study_win():
    composition = compose(
        "moosefs",
        MOOSE,
        trash_time="1 h",
        master_options={"CHUNKS_LOOP_MIN_TIME": "300", "ATIME_MODE": "4"},
        chunkserver_options={"HDD_TEST_SPEED": "1.0"},
        mount_options=["mfswritecachesize=64", "mfsnoxattrs"],
    )
    master = composition.files["master1"][0].content
    assert "CHUNKS_LOOP_MIN_TIME = 300\n" in master
    assert master.count("CHUNKS_LOOP_MIN_TIME") == 1
    assert "ATIME_MODE = 4\n" in master
    assert "HDD_TEST_SPEED = 1.0\n" in composition.files["chunkserver1"][0].content
    assert commands(composition, "mount", "client1")[1] == (
        "mfsmount -H master1 -o mfsallowoomkiller,mfswritecachesize=64,mfsnoxattrs /mnt/dfs"
    )
    assert commands(composition, "settings", "client1")[1] == "mfssettrashtime -r 3600 /mnt/dfs"


# Recorded from MooseFS 3.0.117.
CONNECTED = "chunk servers:|10.77.1.2|9422|1|-|3.0.117|0|maintenance_off|0|0|0|-|0|0|0\n"
DISCONNECTED = "Disconnected chunk servers:|10.77.1.2|9422|1|maintenance_temp_on\n"
MATRIX = """\
all chunks matrix:|goal/copies/chunks:|2|2|202
all chunks matrix:|chunkclass missing:|0
all chunks matrix:|chunkclass endangered:|0
all chunks matrix:|chunkclass undergoal:|0
all chunks matrix:|chunkclass stable:|202
all chunks matrix:|chunkclass overgoal:|0
all chunks matrix:|chunkclass pending deletion:|0
all chunks matrix:|chunkclass to be removed:|0
"""


def test_moosefs_health_by_what_it_really_prints(says):
    health = compose("moosefs", MOOSE).health
    server, other, master = health["chunkserver1"], health["chunkserver2"], health["master1"]
    assert says(server, CONNECTED)
    assert not says(other, CONNECTED)
    assert not says(server, CONNECTED.replace("10.77.1.2", "10.77.1.20"))
    assert not says(server, DISCONNECTED)
    assert says(master, MATRIX)
    for word in ("missing", "endangered", "undergoal"):
        assert not says(master, MATRIX.replace(f"{word}:|0", f"{word}:|3"))
    assert says(master, MATRIX.replace("overgoal:|0", "overgoal:|3"))


@pytest.fixture
def says():
    return lambda command, printed: re.search(command.expect, printed) is not None


# CephFS

CEPH = {"monitor": 1, "osd": 3, "client": 2}


def described(composition: Composition) -> list[str]:
    [command] = composition.step("describe").runs["monitor1"]
    assert command.argv == ("ceph",)
    return [line for line in command.stdin.splitlines() if not line.startswith(("osd new ", "health mute "))]


def test_cephfs_steps():
    composition = compose("cephfs", CEPH)
    assert [list(wave) for wave in plan.waves(composition.steps)] == [
        ["store", "format"],
        ["monitor"],
        ["describe", "manager", "metadata"],
        ["osd"],
        ["clean"],
        ["mount"],
    ]
    assert list(composition.step("manager").runs) == list(composition.step("metadata").runs) == ["monitor1"]
    assert commands(composition, "osd", "osd3") == ["ceph-osd --foreground --id 2"]
    store = commands(composition, "store", "monitor1")
    assert "--addv monitor1 '[v2:10.77.1.1:3300,v1:10.77.1.1:6789]'" in store[0]
    assert store[1].startswith("ceph-mon --mkfs --id monitor1 ")
    uuids = {named["uuid"].value for node, named in composition.identities.items() if node.startswith("osd")}
    assert len(uuids) == 3
    for number in (1, 2, 3):
        mkfs = commands(composition, "format", f"osd{number}")[1]
        assert f"--id {number - 1} --osd-uuid {composition.identities[f'osd{number}']['uuid'].value}" in mkfs
        assert f"--bluestore-block-size {4 * GIB * 9 // 10}" in mkfs


def test_cephfs_daemons_on_nodes_of_their_own():
    counts = {"monitor": 3, "manager": 2, "metadata": 3, "osd": 3, "client": 1}
    composition = compose("cephfs", counts, active_metadata=2)
    assert list(composition.step("monitor").runs) == ["monitor1", "monitor2", "monitor3"]
    assert list(composition.step("manager").runs) == ["manager1", "manager2"]
    assert list(composition.step("metadata").runs) == ["metadata1", "metadata2", "metadata3"]
    assert "fs set pliant max_mds 2" in described(composition)
    assert not [line for line in described(composition) if "standby_count_wanted" in line]
    for node in ("monitor1", "monitor2", "monitor3"):
        assert sum(f"--addv monitor{n} " in commands(composition, "store", node)[0] for n in (1, 2, 3)) == 3
    assert "mds." not in composition.files["monitor1"][1].content


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (
            {},
            [
                "osd pool create metadata 8 8",
                "osd pool create data 32 32",
                "osd pool set data size 3",
                "osd pool set metadata size 3",
                "fs new pliant metadata data",
                "fs set pliant standby_count_wanted 0",
            ],
        ),
        (
            {"pool": " replicate  1", "pg_num": 64, "metadata_pg_num": 16},
            [
                "osd pool create metadata 16 16",
                "osd pool create data 64 64",
                "osd pool set data size 1 --yes-i-really-mean-it",
                "osd pool set metadata size 1 --yes-i-really-mean-it",
                "fs new pliant metadata data",
                "fs set pliant standby_count_wanted 0",
            ],
        ),
        (
            {"pool": "erasure 2+1"},
            [
                "osd pool create metadata 8 8",
                "osd erasure-code-profile set pliant k=2 m=1 crush-failure-domain=host",
                "osd pool create data 32 32 erasure pliant",
                "osd pool set data allow_ec_overwrites true",
                "osd pool create first 8 8",
                "osd pool set first size 2",
                "osd pool set metadata size 2",
                "fs new pliant metadata first",
                "fs add_data_pool pliant data",
                "fs set pliant standby_count_wanted 0",
            ],
        ),
    ],
)
def test_cephfs_pools(options, lines):
    composition = compose("cephfs", CEPH, **options)
    assert described(composition) == lines
    layout = [step for step in composition.steps if step.name == "layout"]
    assert [shlex.join(step.runs["client1"][0].argv) for step in layout] == (
        ["setfattr --name=ceph.dir.layout.pool --value=data /mnt/dfs"] if "erasure" in str(options) else []
    )


def test_cephfs_keys_are_each_nodes_own_and_secret():
    composition = compose("cephfs", {"monitor": 1, "manager": 1, "metadata": 1, "osd": 3, "client": 2})
    keyrings = {node: files[1].content for node, files in composition.files.items()}
    assert all(files[1].secret and files[1].mode == 0o600 for files in composition.files.values())
    assert keyrings["client1"].count("key = ") == 1
    assert "[client.pliant]" in keyrings["client2"]
    assert keyrings["osd2"].splitlines()[0] == "[osd.1]"
    assert [line for line in keyrings["monitor1"].splitlines() if line[0] == "["] == ["[mon.]", "[client.admin]"]
    everybody = composition.files["monitor1"][2]
    assert everybody.secret
    assert everybody.content.count("key = ") == 8
    assert len({named[key].value for named in composition.identities.values() for key in named if "key" in key}) == 8


def test_cephfs_settings():
    composition = compose("cephfs", CEPH, osd_memory_target="512 MiB", settings={"osd_heartbeat_grace": "20"})
    text = composition.files["osd1"][0].content
    assert f"osd_memory_target = {512 * 2**20}\n" in text
    assert "osd_heartbeat_grace = 20\n" in text
    assert text.count("osd_heartbeat_grace") == 1
    assert "mon_host = 10.77.1.1\n" in text


@pytest.mark.parametrize(
    ("printed", "done"),
    [
        ('{"mds_cache": {"num_strays": 0, "num_strays_delayed": 0}, "purge_queue": {"pq_executing": 0}}', True),
        ('{"AsyncMessenger::Worker-0": {}}', True),  # one that stands by
        ('{"mds_cache": {\n"num_strays": 12,\n}, "purge_queue": {"pq_executing": 0}}', False),
        ('{"mds_cache": {"num_strays": 0}, "purge_queue": {"pq_executing": 1, "pq_item_in_journal": 0}}', False),
        ('{"mds_cache": {"num_strays": 0}, "purge_queue": {"pq_executing": 0, "pq_item_in_journal": 10}}', False),
    ],
)
def test_cephfs_waits_until_what_was_deleted_is_gone(says, printed, done):
    [command] = compose("cephfs", CEPH).clean["monitor1"]
    assert command.argv == ("ceph", "--admin-daemon", "/var/run/ceph/ceph-mds.monitor1.asok", "perf", "dump")
    assert says(command, printed) is done


# Recorded from Ceph 16.2.
STATUS = """\
  cluster:
    id:     4e82afa9-cc82-45a0-b53c-2bb6965048e6
    health: HEALTH_OK

  services:
    mon: 1 daemons, quorum monitor1 (age 3s)
    mgr: monitor1(active, since 2s)
    mds: 1/1 daemons up
    osd: 3 osds: 3 up (since 1.28451s), 3 in (since 2s)

  data:
    volumes: 1/1 healthy
    pools:   2 pools, 40 pgs
    objects: 21 objects, 2.3 KiB
    usage:   871 MiB used, 4.5 GiB / 5.4 GiB avail
    pgs:     40 active+clean

"""


def test_cephfs_is_ready_when_every_daemon_is_up_and_every_group_clean(says):
    ready = compose("cephfs", CEPH).step("clean").ready["monitor1"]
    assert says(ready, STATUS)
    for old, new in (
        ("3 up", "2 up"),
        ("3 in", "2 in"),
        ("1/1 daemons up", "0/1 daemons up"),
        ("40 active+clean\n", "8 active+clean\n             32 creating+peering\n"),
        ("40 active+clean", "40 unknown"),
        ("40 active+clean", "40 active+clean+scrubbing"),
    ):
        assert not says(ready, STATUS.replace(old, new)), new


# Refusals and warnings


@pytest.mark.parametrize(
    ("kind", "counts", "options", "sentence"),
    [
        ("cephfs", CEPH, {"active_metadata": 2}, "2 active metadata servers need as many nodes that run one, not 1"),
        ("cephfs", {**CEPH, "metadata": 2}, {"active_metadata": 3}, "or write active_metadata = 2"),
        ("cephfs", CEPH, {"disk": GIB // 2}, "an OSD needs a disk of 1 GiB or more"),
        ("moosefs", MOOSE, {"master_options": {"DATA_PATH": "a"}}, "master_options: DATA_PATH is set by pliant"),
        ("moosefs", MOOSE, {"chunkserver_options": {"MASTER_HOST": "a"}}, "chunkserver_options: MASTER_HOST is set"),
    ],
)
def test_what_cannot_work_is_refused(kind, counts, options, sentence):
    with pytest.raises(ValueError) as refused:
        compose(kind, counts, **options)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "roles", "options", "line"),
    [
        (
            "cephfs",
            "monitor = 1\nosd = 2\nclient = 1",
            "",
            'osd: 2 is too small; cephfs needs 3 or more: pool "replicate 3" keeps everything on 3 OSDs',
        ),
        (
            "cephfs",
            "monitor = 0\nosd = 3\nclient = 1",
            "",
            "monitor: 0 is too small; cephfs needs 1 or more",
        ),
        (
            "moosefs",
            "master = 2\nchunkserver = 2\nclient = 1",
            "",
            "master: 2 is too large; moosefs can have 1 at most: one master knows where everything is",
        ),
        (
            "moosefs",
            "master = 1\nchunkserver = 2\nclient = 1",
            "goal = 3",
            "chunkserver: 2 is too small; moosefs needs 3 or more: goal 3 is 3 copies, each on another chunkserver",
        ),
        (
            "glusterfs",
            "server = 2\nclient = 1",
            'volume = "replicate 3 arbiter 1"',
            'server: 2 is too small; glusterfs needs 3 or more: volume "replicate 3 arbiter 1" is sets of 3 servers',
        ),
    ],
)
def test_counts_that_cannot_be_are_refused_with_the_reason(kind, roles, options, line):
    text = GOOD.replace('kind = "glusterfs"', f'kind = "{kind}"').replace('volume = "distribute"', options)
    with pytest.raises(StudyError) as refused:
        parse(text.replace("server = 4\nclient = 4", roles).replace("[1, 2, 4]", "[1]"), "a.toml")
    assert str(refused.value) == f"a.toml: filesystem.roles.{line}"


@pytest.mark.parametrize(
    ("kind", "options", "sentence"),
    [
        ("cephfs", {"pool": "replicate"}, '"replicate" is not a pool; write "replicate N" or "erasure K+M"'),
        ("cephfs", {"pool": "replicate 0"}, "keeps 1 to 10 copies"),
        ("cephfs", {"pool": "replicate 11"}, "keeps 1 to 10 copies"),
        ("cephfs", {"pool": "erasure 1+1"}, "K = 2 or more"),
        ("cephfs", {"pool": "erasure 2+0"}, "K = 2 or more"),
        ("cephfs", {"pool": "erasure 4"}, "is not a pool"),
        ("cephfs", {"pg_num": 0}, "greater than or equal to 1"),
        ("cephfs", {"osd_memory_target": "128 MiB"}, "greater than or equal to 268435456"),
        ("cephfs", {"settings": {"A": "c"}}, "is not the name of an option"),
        ("cephfs", {"settings": {"a": "b\nc = d"}}, "cannot be in a line of text"),
        ("cephfs", {"settings": {"fsid": "x"}}, "fsid is set by pliant"),
        ("moosefs", {"goal": 0}, "greater than or equal to 1"),
        ("moosefs", {"goal": 10}, "less than or equal to 9"),
        ("moosefs", {"mount_options": ["a,b"]}, "is not one option"),
        ("moosefs", {"chunkserver_options": {"A": "b\nc"}}, "cannot be in a line of text"),
        ("moosefs", {"chunkserver_options": {"a": "b"}}, "is not the name of an option"),
        ("moosefs", {"unknown": 1}, "Extra inputs"),
    ],
)
def test_options_are_checked(kind, options, sentence):
    with pytest.raises(ValidationError) as refused:
        registry.filesystem(kind).Options.model_validate_json(json.dumps(options), strict=True)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "options", "least"),
    [
        ("cephfs", {"pool": "replicate 2"}, {"monitor": 1, "manager": 0, "metadata": 0, "osd": 2, "client": 1}),
        ("cephfs", {"pool": "erasure 4+2"}, {"monitor": 1, "manager": 0, "metadata": 0, "osd": 6, "client": 1}),
        ("moosefs", {"goal": 3}, {"master": 1, "chunkserver": 3, "client": 1}),
        ("moosefs", {"goal": 1}, {"master": 1, "chunkserver": 1, "client": 1}),
        ("glusterfs", {"volume": "replicate 3 arbiter 1"}, {"server": 3, "client": 1}),
    ],
)
def test_as_many_servers_as_the_options_need(kind, options, least):
    driver = registry.filesystem(kind)
    roles = driver.roles(driver.Options(**options))
    assert {role.name: role.minimum for role in roles} == least
    assert [role.maximum for role in roles if role.name == "master"] == ([1] if kind == "moosefs" else [])


@pytest.mark.parametrize(
    ("kind", "counts", "options", "words"),
    [
        ("cephfs", {"monitor": 2, "osd": 3, "client": 2}, {}, ["take an odd number"]),
        ("cephfs", {"monitor": 3, "osd": 3, "client": 2}, {}, []),
        ("cephfs", CEPH, {"pool": "replicate 1"}, ["keeps one copy"]),
        ("cephfs", {"monitor": 1, "osd": 3, "client": 1}, {"pool": "erasure 2+1"}, ["one client"]),
        ("moosefs", MOOSE, {"goal": 1}, ["goal 1 keeps one copy"]),
        ("moosefs", MOOSE, {"trash_time": "1 h"}, ["what is deleted stays"]),
        ("moosefs", MOOSE, {}, []),
        ("moosefs", {"master": 1, "chunkserver": 63, "client": 448}, {}, ["with nothing to do take about 4.6 CPUs"]),
    ],
)
def test_warnings(kind, counts, options, words):
    found = compose(kind, counts, **options).warnings
    assert len(found) == len(words)
    assert all(word in warning for word, warning in zip(words, found, strict=True))
