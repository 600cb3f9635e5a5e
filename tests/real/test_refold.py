"""Refolding: nodes change hosts while they run, and nothing in them notices but the speed."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from support import FIGURES, MBIT, MIB, background, deployed, out, python, request, study, until

from pliant.cluster.cluster import Cluster
from pliant.machine.deployment import HostFigures
from pliant.machine.network import GATEWAY, mac_of
from pliant.platforms.emulated import Emulated
from pliant.study.reading import load

pytestmark = pytest.mark.real

NAMES = [f"n{i}" for i in range(1, 9)]
APART = {name: number for number, name in enumerate(NAMES, 1)}
PAIRS = {name: (number + 1) // 2 for number, name in enumerate(NAMES, 1)}
ONE = dict.fromkeys(NAMES, 1)

ECHO = """
import socket
s = socket.create_server(("", 6000))
print("listening", flush=True)
c = s.accept()[0]
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while data := c.recv(4096): c.sendall(data)
"""
PING = """
import json, socket, sys, time
c = socket.create_connection((sys.argv[1], 6000), 5)
c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
c.settimeout(10)
times, end = [time.time()], time.time() + float(sys.argv[2])
while time.time() < end:
    message = str(len(times)).encode().zfill(100)
    c.sendall(message)
    got = b""
    while len(got) < 100: got += c.recv(100 - len(got))
    assert got == message, (got, message)
    times.append(time.time())
    time.sleep(0.001)
print(json.dumps([len(times), max(b - a for a, b in zip(times, times[1:]))]))
"""
SEND = """
import socket, sys
s = socket.create_connection((sys.argv[1], 6001), 5)
while True: s.sendall(bytes(1 << 18))
"""
COUNT = """
import socket, sys, time
s = socket.create_server(("", 6001))
print("listening", flush=True)
c, total, last = s.accept()[0], 0, 0
while got := len(c.recv(1 << 20)):
    total += got
    if time.monotonic() - last > 0.02:
        last = time.monotonic()
        with open("/total.new", "w") as file: file.write(str(total))
        __import__("os").rename("/total.new", "/total")
"""
SPIN = "while True: pass"


@pytest.fixture
def eight(tmp_path):
    figures = HostFigures(cores=0.2, nic_bit_s=100 * MBIT, disk_byte_s=50e6, memory_bytes=256 * MIB)
    requests = [request(name, number) for number, name in enumerate(NAMES, 1)]
    with deployed(requests, APART, figures) as deployment:
        deployment.logs = tmp_path
        yield deployment


@pytest.mark.speed
def test_eight_nodes_refold_in_a_fifth_of_a_second(eight):
    eight.limit(True)
    took = []
    for placement in (ONE, APART, PAIRS, APART, ONE):
        began = time.monotonic()
        eight.refold(placement)
        took.append(time.monotonic() - began)
    assert min(took) < 0.2


def test_a_connection_stays_through_refolds(eight):
    log = eight.logs / "echo"
    with background(eight, "n1", python(ECHO), log):
        until(log.read_text, "a listener")
        answer = eight.logs / "ping"
        with background(eight, "n2", python(PING, "n1", 3), answer) as ping:
            time.sleep(0.5)
            for placement in (PAIRS, APART, ONE, APART, PAIRS, {**APART, "n1": 8, "n8": 1}, APART):
                eight.refold(placement)
                time.sleep(0.2)
            assert ping.wait(20) == 0, answer.read_text()
    count, longest_s = json.loads(answer.read_text())
    assert count > 300
    assert longest_s < 0.5


@pytest.mark.speed
def test_where_a_node_is_decides_how_fast_it_sends(eight):
    """One stream that goes on: through the NIC of its host, within a host, and through a NIC again."""
    log = eight.logs / "count"
    eight.limit(True)
    nic_byte_s = 0.956 * 100e6 / 8
    with background(eight, "n1", python(COUNT), log):
        until(log.read_text, "a listener")
        with background(eight, "n2", python(SEND, "n1"), eight.logs / "send"):
            total = eight.root("n1") / "total"
            until(total.exists, "the first bytes")

            def rate(length_s=0.8):
                time.sleep(0.4)
                before, began = int(total.read_text()), time.monotonic()
                time.sleep(length_s)
                return (int(total.read_text()) - before) / (time.monotonic() - began)

            assert rate() < 1.1 * nic_byte_s
            eight.refold({**APART, "n1": 2})
            assert rate() > 1.5 * nic_byte_s
            eight.refold(APART)
            # Before that the receiver reads what its socket held: up to 6 MB (net.ipv4.tcp_rmem).
            until(lambda: rate() < 1.1 * nic_byte_s, "the rate of the NIC")
            assert 0.5 * nic_byte_s < rate() < 1.1 * nic_byte_s


def test_the_cores_of_the_new_host_count(eight):
    """Two busy nodes, each on its own host, then on one, then apart again."""
    eight.limit(True)

    def used(length_s=1.0):
        groups = {name: f"{eight.group}/host-{eight.placed[name]}/{name}" for name in ("n1", "n2")}
        before, began = {n: eight.cgroups.cpu_s(g) for n, g in groups.items()}, time.monotonic()
        time.sleep(length_s)
        elapsed_s = time.monotonic() - began
        return {n: (eight.cgroups.cpu_s(g) - before[n]) / elapsed_s for n, g in groups.items()}

    with (
        background(eight, "n1", python(SPIN), eight.logs / "a"),
        background(eight, "n2", python(SPIN), eight.logs / "b"),
    ):
        time.sleep(0.2)
        for placement, each in ((APART, 0.2), (PAIRS, 0.1), (APART, 0.2)):
            eight.refold(placement)
            got = used()
            shared = placement["n1"] == placement["n2"]
            for name in ("n1", "n2"):  # over a second the kernel's shares are even only about so much
                assert 0.6 * each < got[name] < (1.4 if shared else 1.1) * each, (placement["n2"], got)
            assert sum(got.values()) < 1.1 * 2 * each


def test_what_is_started_after_a_refold_is_on_the_new_host(eight):
    eight.refold(PAIRS)
    for name in NAMES:
        group = out(eight, name, "cat", "/proc/self/cgroup")
        assert f"/{eight.group}/host-{PAIRS[name]}/{name}\n" in group
        assert eight.cgroups.pids(f"{eight.group}/host-{PAIRS[name]}/{name}")
    empty = set(range(1, 9)) - set(PAIRS.values())
    assert not [pid for host in empty for pid in eight.cgroups.pids(f"{eight.group}/host-{host}")]


def test_a_node_that_forks_all_the_time_moves_whole(eight):
    fork = "import os\nwhile True:\n    if os.fork() == 0: os._exit(0)\n    os.wait()"
    with background(eight, "n3", python(fork), eight.logs / "fork"):
        time.sleep(0.2)
        for placement in (ONE, APART, PAIRS, APART):
            eight.refold(placement)
            old = {1, 2, 3} - {placement["n3"]}
            assert not [pid for host in old for pid in eight.cgroups.pids(f"{eight.group}/host-{host}/n3")]


# With a file system

WRITER = """
import os, sys, time
with open(sys.argv[1], "wb", buffering=0) as file:
    for number in range(100_000):
        file.write(number.to_bytes(8, "little") * 512)
        os.fsync(file.fileno())
        if os.path.exists("/stop"): break
print(number + 1)
"""
CHECKER = """
import sys
with open(sys.argv[1], "rb") as file: data = file.read()
blocks = [data[at : at + 4096] for at in range(0, len(data), 4096)]
assert all(block == number.to_bytes(8, "little") * 512 for number, block in enumerate(blocks))
print(len(blocks))
"""


def test_a_mount_and_an_open_file_stay_through_refolds(tmp_path):
    checked = load(study(tmp_path, servers=2, clients=2, ratios=[1, 2, 4]))
    figures = HostFigures(0.4, 200 * MBIT, 60e6, FIGURES.memory_bytes * 2)
    mount = checked.composition.mount
    with Cluster.deploy(
        Emulated(), checked.composition, figures, checked.placements[1], disk_bytes=256 * MIB, title="tests"
    ) as cluster:
        nodes = cluster.deployment
        servers = out(nodes, "server1", "pgrep", "-x", "glusterfsd").split()
        nodes.limit(True)
        log = tmp_path / "writer"
        with background(nodes, "client1", python(WRITER, f"{mount}/written"), log) as writer:
            seen = Path(nodes.root("client2"), mount.lstrip("/"), "written")
            until(lambda: seen.exists() and seen.stat().st_size > 0, "the first block")
            sizes = []
            for ratio in (2, 4, 1, 4, 1):
                cluster.refold(checked.placements[ratio])
                time.sleep(0.4)
                sizes.append(int(out(nodes, "client1", "stat", "-c", "%s", f"{mount}/written")))
            out(nodes, "client1", "touch", "/stop")
            assert writer.wait(20) == 0, log.read_text()
        assert sizes == sorted(set(sizes)), "the writer came to a halt"
        nodes.limit(False)
        written = int(log.read_text())
        assert int(out(nodes, "client2", *python(CHECKER, f"{mount}/written"))) == written
        assert out(nodes, "server1", "pgrep", "-x", "glusterfsd").split() == servers
        cluster.verify()


def test_the_switch_is_reached_across_every_refold():
    """mpiexec is there. A bridge of a host that answers for its address leads nodes astray once its ports change."""
    look = "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('{}', 9)); s.send(b'x')"
    with deployed([request(name, number) for number, name in enumerate(NAMES, 1)], APART) as deployment:
        for placement in (APART, PAIRS, ONE, APART):
            deployment.refold(placement)
            for name in NAMES:
                out(deployment, name, *python(look.format(GATEWAY)))
                mac = until(
                    lambda name=name: [
                        line.split()[3]
                        for line in out(deployment, name, "cat", "/proc/net/arp").splitlines()
                        if line.startswith(f"{GATEWAY} ") and line.split()[2] != "0x0"
                    ],
                    f"{name} knows the switch",
                )
                assert mac == [mac_of(GATEWAY)]
