"""The GlusterFS driver as data: role distribution + options -> commands, refusals, and readiness by real output."""

from __future__ import annotations

import re
import shlex
import time

import pytest
from pydantic import ValidationError

from pliant.cluster.steps import waves
from pliant.composition.model import Composition, Step
from pliant.composition.placement import nodes_for
from pliant.filesystems.glusterfs import GlusterFS, GlusterOptions

# Recorded from GlusterFS 10.3: three servers, then the third one's glusterd killed.
POOL = """\
UUID					Hostname 	State
c4270a40-9fb7-4fa5-8ab6-f3f336fcc462	server2  	Connected
4acc6c14-09c6-482d-b8bf-c7cbcf468cef	server3  	Connected
1b468cb3-e843-4525-890f-31ca346d2b5d	localhost	Connected
""".replace("Connected\n", "Connected \n")  # as it is: a space at the end of the line
POOL_BROKEN = POOL.replace("server3  \tConnected", "server3  \tDisconnected")

INFO = """\

Volume Name: pliant
Type: Disperse
Volume ID: e1ee5f40-b429-49ac-91e2-1bb2f9380010
Status: Started
Snapshot Count: 0
Number of Bricks: 1 x (2 + 1) = 3
Transport-type: tcp
Bricks:
Brick1: server1:/srv/brick/pliant
Brick2: server2:/srv/brick/pliant
Brick3: server3:/srv/brick/pliant
Options Reconfigured:
network.ping-timeout: 42
storage.fips-mode-rchecksum: on
transport.address-family: inet
nfs.disable: on
"""


def compose(servers: int, clients: int = 1, **options) -> Composition:
    return GlusterFS.compose(nodes_for({"server": servers, "client": clients}), GlusterOptions(**options), seed=1)


def step(composition: Composition, name: str) -> Step:
    return next(step for step in composition.steps if step.name == name)


def commands(composition: Composition, name: str, node: str) -> list[str]:
    return [shlex.join(command.argv) for command in step(composition, name).runs[node]]


def bricks(count: int) -> str:
    return " ".join(f"server{n}:/srv/brick/pliant" for n in range(1, count + 1))


@pytest.mark.parametrize(
    ("volume", "servers", "kind"),
    [
        ("distribute", 1, ""),
        ("distribute", 4, ""),
        ("replicate 2", 2, "replica 2 "),
        ("replicate 3", 3, "replica 3 "),
        ("replicate 2", 6, "replica 2 "),
        ("replicate   3", 6, "replica 3 "),
        ("replicate 3 arbiter 1", 3, "replica 3 arbiter 1 "),
        (" replicate 3  arbiter  1", 6, "replica 3 arbiter 1 "),
        ("disperse 3", 3, "disperse 3 "),
        ("disperse 3", 6, "disperse 3 "),
        ("disperse 4+2", 6, "disperse-data 4 redundancy 2 "),
        ("disperse 4 + 2", 12, "disperse-data 4 redundancy 2 "),
        ("  disperse 2+1 ", 3, "disperse-data 2 redundancy 1 "),
    ],
)
def test_the_volume_is_created_set_up_and_started_by_the_first_server(volume, servers, kind):
    composition = compose(servers, volume=volume)
    assert set(step(composition, "volume").runs) == {"server1"}
    assert commands(composition, "volume", "server1") == [
        f"gluster --mode=script volume create pliant {kind}transport tcp {bricks(servers)}",
        "gluster --mode=script volume set pliant network.ping-timeout 42",
        "gluster --mode=script volume start pliant",
    ]


def test_settings_follow_in_the_order_of_the_study_and_the_studys_win():
    options = {"performance.io-cache": "off", "network.ping-timeout": "7", "cluster.lookup-optimize": "on"}
    composition = compose(2, ping_timeout_s=10, volume_options=options)
    settings = [line.split("volume set pliant ")[1] for line in commands(composition, "volume", "server1")[1:-1]]
    assert settings == ["network.ping-timeout 7", "performance.io-cache off", "cluster.lookup-optimize on"]
    only = compose(2, ping_timeout_s=10)
    assert "volume set pliant network.ping-timeout 10" in commands(only, "volume", "server1")[1]


@pytest.mark.parametrize(("servers", "probed"), [(1, []), (2, ["server2"]), (4, ["server2", "server3", "server4"])])
def test_the_first_server_probes_all_others_and_waits_until_each_is_connected(servers, probed):
    composition = compose(servers)
    assert set(step(composition, "pool").runs) == {"server1"}
    expected = [f"gluster --mode=script peer probe {server}" for server in probed]
    assert commands(composition, "pool", "server1") == expected
    ready = step(composition, "pool").ready
    assert {node: command.argv[2:] for node, command in ready.items()} == {"server1": ("pool", "list")}


@pytest.mark.parametrize(
    ("servers", "mount"),
    [
        (1, "mount -t glusterfs server1:/pliant /mnt/dfs"),
        (2, "mount -t glusterfs -o backup-volfile-servers=server2 server1:/pliant /mnt/dfs"),
        (3, "mount -t glusterfs -o backup-volfile-servers=server2:server3 server1:/pliant /mnt/dfs"),
    ],
)
@pytest.mark.parametrize("clients", [1, 3])
def test_every_client_mounts_and_knows_the_other_servers(servers, mount, clients):
    composition = compose(servers, clients)
    names = [f"client{n}" for n in range(1, clients + 1)]
    assert list(step(composition, "mount").runs) == names == [node.name for node in composition.clients]
    for client in names:
        assert commands(composition, "mount", client) == ["mkdir -p /mnt/dfs", mount]
        assert step(composition, "mount").ready[client].argv == ("mountpoint", "-q", "/mnt/dfs")
    assert composition.mount == "/mnt/dfs"


def test_a_daemon_runs_on_every_server_and_on_no_client():
    composition = compose(3, 2)
    daemon = step(composition, "glusterd")
    assert daemon.daemon
    assert not any(other.daemon for other in composition.steps if other is not daemon)
    servers = ["server1", "server2", "server3"]
    assert list(daemon.runs) == list(daemon.ready) == servers
    for server in servers:
        asked = ["env PYTHON=/bin/echo glusterd --no-daemon --log-level INFO"]
        assert commands(composition, "glusterd", server) == asked, "without what it starts for geo-replication"


def test_steps_come_one_after_the_other():
    assert waves(compose(4, 4).steps) == [("glusterd",), ("pool",), ("volume",), ("mount",)]
    assert all(step.timeout_s > 0 for step in compose(4, 4).steps)


def test_no_command_goes_through_a_shell():
    for each in compose(4, 4, volume="replicate 2").steps:
        argvs = [command.argv for runs in each.runs.values() for command in runs]
        argvs += [command.argv for command in each.ready.values()]
        assert {argv[0] for argv in argvs} <= {"env", "gluster", "grep", "mkdir", "mount", "mountpoint"}


def test_roles_have_what_glusterfs_needs():
    server, client = GlusterFS.roles(GlusterOptions(volume="disperse 4+2"))
    assert (server.name, server.minimum, server.disk, server.client) == ("server", 6, "/srv/brick", False)
    assert (client.name, client.minimum, client.disk, client.client) == ("client", 1, None, True)
    for role in (server, client):
        # Two glusterds with one identity refuse each other.
        assert "/var/lib/glusterd" in role.private
        assert role.logs == ("/var/log/glusterfs",)
    assert compose(6).role("server").disk == "/srv/brick"


def test_what_must_be_installed_is_declared():
    composition = compose(1)
    used = {command.argv[0] for each in composition.steps for runs in each.runs.values() for command in runs}
    assert used - {"mkdir", "mount"} <= set(composition.programs)
    assert "glusterfs-server" in composition.packages
    assert composition.version[0] in composition.programs


@pytest.mark.parametrize(
    ("options", "clients", "words"),
    [
        ({"volume": "replicate 2"}, 2, ["split its brain"]),
        ({"volume": "replicate 3"}, 2, []),
        ({"volume": "replicate 3"}, 1, ["one client"]),
        ({"volume": "replicate  2"}, 1, ["split its brain", "one client"]),
    ],
)
def test_warnings(options, clients, words):
    found = compose(6, clients, **options).warnings
    assert len(found) == len(words)
    assert all(word in warning for word, warning in zip(words, found, strict=True))


# Health, by what GlusterFS really prints

HEALED = """\
Brick server1:/srv/brick/pliant
Status: Connected
Number of entries: 0

Brick server2:/srv/brick/pliant
/b
Status: Connected
Number of entries: 1

Brick server12:/srv/brick/pliant
Status: Transport endpoint is not connected
Number of entries: -

"""


@pytest.mark.parametrize(("server", "healthy"), [("server1", True), ("server2", False), ("server12", False)])
def test_a_server_is_healthy_when_its_brick_is_connected_and_nothing_waits_for_repair(server, healthy):
    check = compose(12, volume="replicate 3").health[server]
    assert check.argv == ("gluster", "--mode=script", "volume", "heal", "pliant", "info")
    assert check.expect is not None
    assert bool(re.search(check.expect, HEALED)) is healthy


def test_without_copies_there_is_nothing_to_repair():
    health = compose(2, volume="distribute").health
    assert set(health) == {"server1", "server2", "client1"}
    assert health["server2"].argv == ("pgrep", "--exact", "glusterfsd")
    assert health["client1"].argv[0] == "stat"


def test_a_server_that_starts_again_starts_its_daemon_alone():
    composition = compose(3, 2, volume="replicate 3")
    assert [step.name for step in composition.again("server1")] == ["glusterd"]
    assert [step.name for step in composition.again("client2")] == ["mount"]
    assert step(composition, "mount").requires == ("glusterd",)  # any of them will do


# Refusals


@pytest.mark.parametrize(
    ("volume", "servers", "size", "advice"),
    [
        ("replicate 2", 3, 2, "take 2 or 4"),
        ("replicate 3", 5, 3, "take 3 or 6"),
        ("disperse 3", 4, 3, "take 3 or 6"),
        ("disperse 4+2", 11, 6, "take 6 or 12"),
        ("replicate 3 arbiter 1", 4, 3, "take 3 or 6"),
    ],
)
def test_servers_that_are_no_multiple_of_a_set_are_refused(volume, servers, size, advice):
    with pytest.raises(ValueError) as refused:
        compose(servers, volume=volume)
    sentence = f'volume "{volume}" works with a multiple of {size} servers, not {servers}; {advice}'
    assert str(refused.value) == sentence


KINDS = (
    'is not a volume type; write "distribute", "replicate N", "replicate 3 arbiter 1", "disperse N" or "disperse D+R"'
)
ARBITER = 'GlusterFS has an arbiter as the third of three bricks; write "replicate 3 arbiter 1"'


@pytest.mark.parametrize(
    ("volume", "sentence"),
    [
        ("", KINDS),
        ("stripe 2", KINDS),
        ("Distribute", KINDS),
        ("distribute 2", KINDS),
        ("replicate", KINDS),
        ("replicate two", KINDS),
        ("replicate -2", KINDS),
        ("replicate 2.5", KINDS),
        ("replicate 2 arbiter 1", ARBITER),
        ("replicate 3 arbiter 2", ARBITER),
        ("replicate 3 arbiter", KINDS),
        ("disperse 3 arbiter 1", KINDS),
        ("replicate ٣", KINDS),
        ("disperse 4+", KINDS),
        ("disperse 4+2+1", KINDS),
        ("disperse", KINDS),
        ("distribute; reboot", KINDS),
        ("replicate 0", 'keeps one copy, which is "distribute"; write "replicate 2" or more'),
        ("replicate 1", 'keeps one copy, which is "distribute"; write "replicate 2" or more'),
        ("disperse 0", 'has too few bricks to survive a loss; write "disperse 3" or more'),
        ("disperse 2", 'has too few bricks to survive a loss; write "disperse 3" or more'),
        ("disperse 4+0", "GlusterFS wants 1 redundant brick or more, and fewer than data bricks"),
        ("disperse 2+2", "GlusterFS wants 1 redundant brick or more, and fewer than data bricks"),
        ("disperse 1+2", 'write e.g. "disperse 2+1"'),
    ],
)
def test_volumes_that_are_none_are_refused_with_what_would_be_right(volume, sentence):
    with pytest.raises(ValidationError) as refused:
        GlusterOptions(volume=volume)
    [error] = refused.value.errors()
    assert f'"{volume}"' in error["msg"]
    assert sentence in error["msg"]


@pytest.mark.parametrize(
    "options",
    [
        {"transport": "rdma"},
        {"ping_timeout_s": 0},
        {"ping_timeout_s": 3601},
        {"volume_options": {"a b": "c"}},
        {"volume_options": {"--force": "on"}},
        {"volume_options": {"a": "x\ny"}},
        {"volume_options": {"a": ["x"]}},
        {"volume_options": {"a": ""}},
        {"volumes": "distribute"},
    ],
)
def test_other_options_are_checked(options):
    with pytest.raises(ValidationError):
        GlusterOptions(**options)


# Readiness, by what GlusterFS really prints


def pool_ready(servers: int, printed: str) -> bool:
    expect = step(compose(servers), "pool").ready["server1"].expect
    assert expect is not None
    return re.search(expect, printed) is not None


def test_the_pool_is_ready_when_all_are_connected():
    assert pool_ready(3, POOL)


@pytest.mark.parametrize(
    ("servers", "printed"),
    [
        (3, POOL_BROKEN),
        (2, POOL_BROKEN),  # enough are connected, and yet one is not
        (4, POOL),
        (3, ""),
        (3, "UUID\t\t\t\t\tHostname \tState\n"),
        (3, "".join(line for line in POOL.splitlines(keepends=True) if "server2" not in line)),
        (3, POOL.replace("\tConnected", "\tDisconnected")),
        (3, "".join(POOL.splitlines(keepends=True)[:3]) + POOL_BROKEN.splitlines()[2]),
        (1, "Connection failed. Please check if gluster daemon is operational.\n"),
    ],
)
def test_the_pool_is_not_ready_while_one_is_missing_or_disconnected(servers, printed):
    assert not pool_ready(servers, printed)


def test_a_large_pool_that_lacks_one_is_told_at_once():
    line = "c4270a40-9fb7-4fa5-8ab6-f3f336fcc462\tserver{}\tConnected \n"
    printed = "UUID\t\t\t\t\tHostname \tState\n" + "".join(line.format(n) for n in range(199))
    before = time.process_time()
    assert not pool_ready(200, printed)
    assert pool_ready(199, printed)
    assert time.process_time() - before < 1


SOCKET = "0000000031d3ce3f: 00000002 00000000 {flags} 0001 {state} 22893 /var/run/glusterd.socket\n"


def test_glusterd_is_ready_when_it_listens_to_gluster():
    expect = step(compose(3), "glusterd").ready["server1"].expect
    assert expect is not None
    assert re.search(expect, SOCKET.format(flags="00010000", state="01"))
    assert not re.search(expect, SOCKET.format(flags="00000000", state="01")), "it is only bound"
    assert not re.search(expect, "")


def test_the_volume_is_ready_when_it_is_started():
    expect = step(compose(3), "volume").ready["server1"].expect
    assert expect is not None
    assert re.search(expect, INFO)
    assert not re.search(expect, INFO.replace("Status: Started", "Status: Created"))
    assert not re.search(expect, INFO.replace("Status: Started", "Status: Stopped"))
