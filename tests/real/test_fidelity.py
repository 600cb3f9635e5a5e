"""The promises of the emulation, measured from inside the nodes: NIC, CPU, disk and memory of a host."""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from support import FIGURES, MBIT, MIB, attempts, background, deployed, out, python, request, until

pytestmark = pytest.mark.real

GOODPUT = 0.956
"""What is left of a wire's rate for TCP's payload: 1448 bytes of each 1514 that the queue counts."""
DISK = "/mnt/disk"

RECEIVE = """
import socket, sys, threading, time
streams, length = int(sys.argv[1]), float(sys.argv[2])
server = socket.create_server(("", 5001), backlog=16)
# What waits to be read when counting begins is counted too: megabytes, where this process did not get to run.
server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
print("listening", flush=True)
sockets = [server.accept()[0] for _ in range(streams)]
begin = time.monotonic() + 0.4
end = begin + length
counts = [0] * streams
def read(number):
    buffer = bytearray(1 << 20)
    while (now := time.monotonic()) < end:
        got = sockets[number].recv_into(buffer)
        if now >= begin:
            counts[number] += got
threads = [threading.Thread(target=read, args=(n,)) for n in range(streams)]
[t.start() for t in threads]
[t.join() for t in threads]
print(sum(counts) * 8 / length, flush=True)
"""
SEND = """
import socket, sys
s = socket.create_connection((sys.argv[1], 5001))
data = bytes(1 << 18)
try:
    while True:
        s.sendall(data)
except OSError:
    pass
"""
SPIN = """
import sys, time
end = time.monotonic() + 0.2
while time.monotonic() < end: pass
begin, used = time.monotonic(), time.process_time()
end = begin + float(sys.argv[1])
while time.monotonic() < end: pass
print((time.process_time() - used) / (time.monotonic() - begin))
"""
WRITE = """
import mmap, os, sys, time
path, size, direct = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "direct"
buffer = mmap.mmap(-1, 1 << 20)
buffer.write(os.urandom(1 << 20))
begin = time.monotonic()
file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | (os.O_DIRECT if direct else 0))
for _ in range(size >> 20): os.write(file, buffer)
os.fsync(file)
print(size / (time.monotonic() - begin))
"""
READ = """
import os, sys, time
begin = time.monotonic()
file = os.open(sys.argv[1], os.O_RDONLY)
size = 0
while got := len(os.read(file, 1 << 20)): size += got
print(size / (time.monotonic() - begin))
"""
KEEP_WRITING = """
import os, sys, time
buffer = os.urandom(1 << 20)
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
begin, end = time.time() + 0.7, time.time() + 0.7 + float(sys.argv[2])
count = 0
while time.time() < end:
    os.pwrite(file, buffer, (count % 16) << 20)
    os.fdatasync(file)
    count += time.time() > begin
print(count * (1 << 20) / float(sys.argv[2]))
"""

TAKE = """
import sys, time
held = bytearray(int(sys.argv[1]))
print(len(held), flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """Two nodes with a disk on host 1, one on host 2 and one on host 3."""
    requests = [
        request("a1", 1, disk=DISK, disk_bytes=512 * MIB),
        request("a2", 2, disk=DISK, disk_bytes=512 * MIB),
        request("b1", 3, disk=DISK, disk_bytes=512 * MIB),
        request("c1", 4),
    ]
    with deployed(requests, {"a1": 1, "a2": 1, "b1": 2, "c1": 3}) as deployment:
        deployment.logs = tmp_path_factory.mktemp("logs")
        yield deployment


def promise(deployment, **figures):
    """Limits of these figures on all hosts; those that are not named are too wide to matter."""
    wide = replace(FIGURES, cores=4.0, nic_bit_s=20_000 * MBIT, disk_byte_s=5e9)
    deployment.figures = replace(wide, **figures)
    deployment.limit(True)


def stream(deployment, receiver, senders, length_s=1.5):
    """Bit/s of payload that a node receives from all senders together."""
    log = deployment.logs / "receiver"
    log.unlink(missing_ok=True)
    with ExitStack() as stack:
        server = stack.enter_context(background(deployment, receiver, python(RECEIVE, len(senders), length_s), log))
        until(lambda: "listening" in log.read_text(), "a receiver")
        for sender in senders:
            stack.enter_context(background(deployment, sender, python(SEND, receiver), deployment.logs / "senders"))
        assert server.wait(length_s + 20) == 0, log.read_text()
    return float(log.read_text().split()[-1])


def together(deployment, commands, timeout_s=60.0):
    """What commands in nodes that run at the same time print, by node."""
    logs = {node: deployment.logs / f"together-{node}" for node in commands}
    for log in logs.values():
        log.unlink(missing_ok=True)
    processes = {node: deployment.popen(node, argv, logs[node]) for node, argv in commands.items()}
    for node, process in processes.items():
        assert process.wait(timeout_s) == 0, logs[node].read_text()
    return {node: float(log.read_text()) for node, log in logs.items()}


# NIC


@pytest.mark.parametrize("rate", [50, 200, 1000])
@pytest.mark.parametrize(("sender", "receiver"), [("a1", "b1"), ("b1", "a1")])
def test_a_stream_between_hosts_gets_the_rate_of_the_nic(hosts, rate, sender, receiver):
    promise(hosts, nic_bit_s=rate * MBIT)
    allowed = GOODPUT * rate * MBIT
    attempts(lambda: stream(hosts, receiver, [sender]), 0.97 * allowed, 1.03 * allowed)


def test_nodes_of_one_host_share_what_it_sends(hosts):
    promise(hosts, nic_bit_s=200 * MBIT)
    allowed = GOODPUT * 200 * MBIT
    attempts(lambda: stream(hosts, "b1", ["a1", "a2"]), 0.97 * allowed, 1.03 * allowed)


def test_what_a_host_receives_is_limited_too(hosts):
    promise(hosts, nic_bit_s=200 * MBIT)
    allowed = GOODPUT * 200 * MBIT
    attempts(lambda: stream(hosts, "a1", ["b1", "c1"]), 0.97 * allowed, 1.03 * allowed)


def test_sending_and_receiving_do_not_share(hosts):
    """Full duplex: the rate holds in each direction at the same time."""
    promise(hosts, nic_bit_s=200 * MBIT)
    allowed = GOODPUT * 200 * MBIT
    log = hosts.logs / "busy"

    def measure():
        log.unlink(missing_ok=True)
        with (
            background(hosts, "c1", python(RECEIVE.replace("5001", "5002"), 1, 9), log),
            background(hosts, "a2", python(SEND.replace("5001", "5002"), "c1"), hosts.logs / "senders")
            if until(lambda: "listening" in log.read_text(), "a receiver")
            else None,
        ):
            return stream(hosts, "a1", ["b1"])

    attempts(measure, 0.97 * allowed, 1.03 * allowed)


def test_traffic_within_a_host_does_not_cross_its_nic(hosts):
    promise(hosts, nic_bit_s=50 * MBIT)
    assert stream(hosts, "a2", ["a1"], 0.5) > 10 * 50 * MBIT


def test_without_limits_the_nic_is_wide_open(hosts):
    hosts.limit(False)
    assert stream(hosts, "b1", ["a1"], 0.5) > 1000 * MBIT


# CPU


@pytest.mark.parametrize("cores", [0.1, 0.5, 0.75])  # a whole CPU is nobody's on a machine with neighbours
def test_a_busy_process_gets_the_cores_of_its_host(hosts, cores):
    promise(hosts, cores=cores)
    attempts(lambda: float(out(hosts, "a1", *python(SPIN, 1.5))), 0.97 * cores, 1.03 * cores)


def test_nodes_of_one_host_share_its_cores_and_those_of_another_do_not(hosts):
    promise(hosts, cores=0.3)

    def shares():
        got = together(hosts, {node: python(SPIN, 1.5) for node in ("a1", "a2", "b1")})
        assert got["b1"] <= 1.05 * 0.3
        shared = got["a1"] == pytest.approx(got["a2"], rel=0.3)
        return (got["a1"] + got["a2"]) if shared else 0.0  # what others take of the machine may fall on one of them

    # The three start one after the other, so that for a moment one of the two may be alone.
    attempts(shares, 0.95 * 0.3, 1.10 * 0.3)


def test_an_idle_node_leaves_its_host_to_the_other(hosts):
    promise(hosts, cores=0.3)
    attempts(lambda: float(out(hosts, "a2", *python(SPIN, 1.0))), 0.97 * 0.3, 1.03 * 0.3)


# Disk


def write(deployment, node, size, how, file="file"):
    return float(out(deployment, node, *python(WRITE, f"{DISK}/{file}", size, how)))


def cold_read(deployment, node):
    out(deployment, node, "sync")
    Path("/proc/sys/vm/drop_caches").write_text("3")
    return float(out(deployment, node, *python(READ, f"{DISK}/file")))


@pytest.mark.parametrize("how", ["buffered", "direct"])
def test_writing_gets_the_rate_of_the_disk(hosts, how):
    promise(hosts, disk_byte_s=30e6)
    attempts(lambda: write(hosts, "b1", 96 * MIB, how), 0.95 * 30e6, 1.05 * 30e6)


def test_reading_what_is_not_in_memory_gets_the_rate_of_the_disk(hosts):
    hosts.limit(False)
    write(hosts, "b1", 96 * MIB, "buffered")
    promise(hosts, disk_byte_s=30e6)
    attempts(lambda: cold_read(hosts, "b1"), 0.95 * 30e6, 1.05 * 30e6)


def test_disks_of_one_host_share_its_rate(hosts):
    promise(hosts, disk_byte_s=40e6)
    for node in ("a1", "a2"):
        write(hosts, node, 16 * MIB, "buffered", "again")

    def both():
        argv = python(KEEP_WRITING, f"{DISK}/again", 2.0)
        return sum(together(hosts, {"a1": argv, "a2": argv}).values())

    attempts(both, 0.95 * 40e6, 1.05 * 40e6)


def test_a_busy_disk_gets_what_the_idle_one_leaves(hosts):
    promise(hosts, disk_byte_s=40e6)
    write(hosts, "a1", 16 * MIB, "buffered", "again")
    attempts(lambda: float(out(hosts, "a1", *python(KEEP_WRITING, f"{DISK}/again", 1.5))), 0.95 * 40e6, 1.05 * 40e6)


def test_a_node_that_flushes_its_disk_waits_for_its_own_writes_only(hosts):
    """... and not for the disk of the machine, which would be the noise of whatever else is written on it."""
    hosts.limit(False)
    name = Path(hosts.nodes["b1"].device).name
    flushed = lambda: int(Path("/sys/block", name, "stat").read_text().split()[15])  # noqa: E731
    before = flushed()
    write(hosts, "b1", MIB, "buffered")
    assert flushed() == before


def test_whoever_gets_its_loop_device_next_has_one_that_is_flushed(tmp_path):
    with deployed([request("a1", 1, disk=DISK, disk_bytes=16 * MIB)], {"a1": 1}) as deployment:
        device = deployment.nodes["a1"].device
    image = tmp_path / "image"
    image.write_bytes(bytes(MIB))
    subprocess.run(["losetup", device, image], check=True)
    try:
        assert Path("/sys/block", Path(device).name, "queue/write_cache").read_text() == "write back\n"
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_without_limits_the_disk_is_fast(hosts):
    hosts.limit(False)
    assert attempts(lambda: write(hosts, "b1", 48 * MIB, "direct"), 100e6, 1e12)


# Memory


def test_who_takes_more_memory_than_the_host_has_is_killed_and_other_hosts_are_not(hosts):
    hosts.limit(False)
    log = hosts.logs / "other-host"
    with background(hosts, "b1", python(TAKE, 128 * MIB, 30), log) as other:
        until(log.read_text, "the memory of another host")
        done = hosts.execute("a1", python(TAKE, 2 * FIGURES.memory_bytes, 0), timeout_s=30)
        assert done.exit_status in (-9, 137)
        assert done.stdout == ""
        assert {node: count for node, count in hosts.out_of_memory().items() if count} == {"a1": 1}
        assert other.poll() is None
    for node in ("a1", "a2", "b1"):
        assert out(hosts, node, "hostname").strip() == node
    assert out(hosts, "a1", *python(TAKE, FIGURES.memory_bytes // 2, 0)).strip() == str(FIGURES.memory_bytes // 2)


def test_nodes_of_one_host_share_its_memory(hosts):
    size = FIGURES.memory_bytes * 2 // 3
    log = hosts.logs / "first"
    with background(hosts, "a1", python(TAKE, size, 30), log) as first:
        until(log.read_text, "the memory of the first")
        second = hosts.execute("a2", python(TAKE, size, 0), timeout_s=30)
        assert second.exit_status != 0 or first.poll() is not None


def test_the_limits_are_as_written_down(hosts):
    """What other commands read of a deployment that is up."""
    promise(hosts, cores=0.25)
    began = time.monotonic()
    saved = json.loads((hosts.journal.directory / "deployment.json").read_text())
    assert saved["limits"] == ["cpu", "disk", "nic"]
    assert saved["figures"]["cores"] == 0.25
    hosts.limit(False)
    assert json.loads((hosts.journal.directory / "deployment.json").read_text())["limits"] == []
    assert time.monotonic() - began < 2
