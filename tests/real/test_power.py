"""Nodes that lose their power or their network, and come back: with nothing but bare nodes."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from support import background, deployed, out, python, request, until

from pliant.machine import cgroups, power
from pliant.machine.deployment import Deployment
from pliant.machine.process import CommandFailed, alive

pytestmark = [pytest.mark.real, pytest.mark.together]

SPREAD = {"server1": 1, "client1": 2}
ECHO = """
import socket
server = socket.create_server(("", 7))
while True:
    connection, _ = server.accept()
    while data := connection.recv(64):
        connection.sendall(data)
"""
ASK = 'import socket; s = socket.create_connection(("server1", 7), 1); s.sendall(b"x"); print(s.recv(1))'
# One connection for all questions: a line for each answer.
TALK = """
import socket, time
talk = socket.create_connection(("server1", 7), 5)
while True:
    talk.sendall(b"x")
    print(len(talk.recv(64)), flush=True)
    time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def deployment(machine):
    requests = [request("server1", 1, disk="/srv/disk", disk_bytes=64 << 20), request("client1", 2)]
    with deployed(requests, SPREAD) as made:
        yield made


@pytest.fixture
def echo(deployment, tmp_path):
    with background(deployment, "server1", python(ECHO), tmp_path / "echo"):
        until(lambda: answers(deployment), "the server answers")
        yield


def answers(deployment):
    return deployment.execute("client1", python(ASK), timeout_s=10).exit_status == 0


def inside(deployment, node):
    """Living processes in a node's PID namespace, seen from outside."""
    init = deployment.nodes[node].pid
    own = Path(f"/proc/{init}/ns/pid").readlink()
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "ns/pid").readlink() == own and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def test_a_crash_takes_processes_link_and_what_the_disk_had_not_got(deployment, echo):
    script = "echo kept > /srv/disk/a; sync; echo lost > /srv/disk/b; echo 1 > /run/pid; echo kept > /etc/written"
    out(deployment, "server1", "sh", "-c", script)
    assert len(inside(deployment, "server1")) > 1
    power.crash(deployment, "server1")
    assert inside(deployment, "server1") == [deployment.nodes["server1"].pid]
    assert not answers(deployment)
    with pytest.raises(CommandFailed, match="server1 is down"):
        deployment.execute("server1", ["true"], timeout_s=10).check()
    for refused in (power.crash, power.shut_down, power.block, power.unblock):
        with pytest.raises(power.PowerError, match="server1 is down; start it first"):
            refused(deployment, "server1")
    power.switch_on(deployment, "server1")
    assert out(deployment, "server1", "ls", "/srv/disk").split() == ["a", "lost+found"]
    assert out(deployment, "server1", "cat", "/srv/disk/a", "/etc/written") == "kept\nkept\n"
    assert out(deployment, "server1", "ls", "-A", "/run") == ""
    assert ".pliant-disk" not in out(deployment, "server1", "ls", "-A", "/dev")
    with pytest.raises(power.PowerError, match="up already"):
        power.switch_on(deployment, "server1")


def test_a_node_that_is_on_again_serves_again(deployment, echo):
    out(deployment, "server1", "sh", "-c", "echo more > /srv/disk/more; sync; test -s /srv/disk/more")


def test_switched_off_in_order_nothing_is_lost(deployment):
    out(deployment, "server1", "sh", "-c", "echo unsynced > /srv/disk/c")
    with ThreadPoolExecutor(1) as pool:
        script = 'trap "echo ended > /srv/disk/ended; exit 0" TERM; > /run/ready; while :; do sleep 0.05; done'
        future = pool.submit(deployment.execute, "server1", ["sh", "-c", script], timeout_s=30)
        ready = ["test", "-e", "/run/ready"]
        until(lambda: deployment.execute("server1", ready, timeout_s=10).exit_status == 0, "it runs")
        power.shut_down(deployment, "server1")
        assert future.result().exit_status == 0
    power.switch_on(deployment, "server1")
    assert out(deployment, "server1", "cat", "/srv/disk/c", "/srv/disk/ended") == "unsynced\nended\n"


def test_nobody_gets_into_a_node_that_crashes(deployment):
    """Commands that enter at the very moment are killed with the others, or refused."""
    stop = threading.Event()

    def enter():
        while not stop.is_set():
            deployment.execute("client1", ["sleep", "4711"], timeout_s=20)

    with ThreadPoolExecutor(6) as pool:
        entering = [pool.submit(enter) for _ in range(6)]
        try:
            for last in (*[False] * 20, True):
                time.sleep(0.05)
                if last:
                    stop.set()
                power.crash(deployment, "client1")
                for _ in range(10):
                    assert inside(deployment, "client1") == [deployment.nodes["client1"].pid]
                    time.sleep(0.01)
                if last:
                    for each in entering:
                        each.result(20)
                power.switch_on(deployment, "client1")
        finally:
            stop.set()  # or the pool would wait for ever


def test_a_node_that_is_cut_off_keeps_its_connections(deployment, echo, tmp_path):
    log = tmp_path / "talk"
    with background(deployment, "client1", python(TALK), log):
        until(lambda: log.exists() and log.read_text(), "they talk")
        power.block(deployment, "server1")
        time.sleep(0.2)
        said = log.read_text()
        time.sleep(0.5)
        assert log.read_text() == said
        power.unblock(deployment, "server1")
        until(lambda: log.read_text() != said, "they go on talking")


def test_refolding_switches_nothing_on(deployment, echo):
    together = {"server1": 1, "client1": 1}
    power.block(deployment, "server1")
    deployment.refold(together)
    assert not answers(deployment)
    power.unblock(deployment, "server1")
    until(lambda: answers(deployment), "it answers on its new host")
    power.crash(deployment, "client1")
    deployment.refold(SPREAD)
    assert deployment.execute("client1", ["true"], timeout_s=10).exit_status == 255
    power.switch_on(deployment, "client1")
    assert answers(deployment)
    assert "host-2/client1" in out(deployment, "client1", "cat", "/proc/self/cgroup")


def test_crashes_and_refolds_at_the_same_time(deployment):
    """By two that know nothing of each other, as two commands do."""
    other = Deployment.load(deployment.journal, cgroups.probe())
    assert other is not None
    folds = ({"server1": 1, "client1": 1}, SPREAD)

    def refold():
        for each in (*folds * 6,):
            other.refold(each)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(refold)
        times = 0
        while not done.done() or times < 3:
            power.crash(deployment, "client1")
            power.switch_on(deployment, "client1")
            times += 1
        done.result()
    with deployment.changing():
        assert deployment.placed == SPREAD
        assert not deployment.down
    assert out(deployment, "client1", "hostname") == "client1\n"
    assert "host-2/client1" in out(deployment, "client1", "cat", "/proc/self/cgroup")
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{deployment.group}/host-1/client1"))
