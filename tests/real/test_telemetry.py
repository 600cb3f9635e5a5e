"""What telemetry says of nodes that are known to use all of something, and what it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from support import FIGURES, MBIT, MIB, background, deployed, out, python, request, until

from pliant.machine import sampler, sampling
from pliant.machine.cgroup import period_and_quota_us
from pliant.telemetry.limiting import limiting
from pliant.telemetry.samples import Promise, read
from pliant.telemetry.usage import usage

pytestmark = pytest.mark.real

DISK = "/mnt/disk"
HOSTS = {"host1": ("a1", "a2"), "host2": ("b1",)}
ROLES = {"a1": "client", "a2": "server", "b1": "server"}
LENGTH_S = 2.5

SPIN = """
import sys, time
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end: pass
"""
RECEIVE = """
import socket
server = socket.create_server(("", 5001))
print("listening", flush=True)
connection, _ = server.accept()
buffer = bytearray(1 << 20)
total = 0
while got := connection.recv_into(buffer): total += got
print(total, flush=True)
"""
SEND = """
import socket, sys, time
connection = socket.create_connection((sys.argv[1], 5001))
end = time.monotonic() + float(sys.argv[2])
data = bytes(1 << 17)
while time.monotonic() < end: connection.sendall(data)
"""
WRITE = """
import mmap, os, sys, time
buffer = mmap.mmap(-1, 1 << 20)
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
end = time.monotonic() + float(sys.argv[2])
count = 0
while time.monotonic() < end:
    os.pwrite(file, buffer, (count % 64) << 20)
    count += 1
"""


@pytest.fixture(scope="module")
def hosts():
    requests = [request("a1", 1, disk=DISK, disk_bytes=256 * MIB), request("a2", 2), request("b1", 3)]
    with deployed(requests, {"a1": 1, "a2": 1, "b1": 2}) as deployment:
        yield deployment


def measured(deployment, directory, work, **figures):
    """Usage by host while something is done, with limits that are too wide to matter but for those that are named."""
    wide = replace(FIGURES, cores=4.0, nic_bit_s=20_000 * MBIT, disk_byte_s=5e9)
    deployment.figures = replace(wide, **figures)
    deployment.limit(True)
    try:
        with deployment.telemetry(directory / "samples"):
            begin = time.monotonic()
            work()
            end = time.monotonic()
    finally:
        deployment.limit(False)
    samples = read((directory / "samples").read_text())
    mine = deployment.figures
    promise = Promise(
        mine.cores, mine.nic_bit_s, mine.disk_byte_s, mine.memory_bytes, period_and_quota_us(mine.cores)[0] / 1e6
    )
    result = usage(samples, {"phase": (begin, end)}, HOSTS, ROLES, promise)
    return samples, result


def test_a_spinning_node_uses_its_hosts_cpu(hosts, tmp_path):
    _, result = measured(hosts, tmp_path, lambda: out(hosts, "a1", *python(SPIN, LENGTH_S)), cores=0.2)
    host1, host2 = (result.phases["phase"].hosts[host] for host in ("host1", "host2"))
    assert host1.resources["cpu"].mean == pytest.approx(1.0, abs=0.08)
    assert host1.resources["cpu"].saturated > 0.9
    assert host1.resources["cpu"].roles["client"] > 0.95
    assert host1.throttled_s > 1
    assert host2.resources["cpu"].saturated == 0
    assert limiting([result], "phase").sentence.startswith("CPU of host1, by client (")


def test_a_stream_uses_one_nic_up_and_another_down(hosts, tmp_path):
    log = tmp_path / "receiver"

    def stream():
        with background(hosts, "b1", python(RECEIVE), log) as receiver:
            until(lambda: "listening" in log.read_text(), "a receiver")
            out(hosts, "a1", *python(SEND, "b1", LENGTH_S))
            assert receiver.wait(10) == 0

    samples, result = measured(hosts, tmp_path, stream, nic_bit_s=100 * MBIT)
    host1, host2 = (result.phases["phase"].hosts[host].resources for host in ("host1", "host2"))
    assert host1["nic_up"].mean == pytest.approx(1.0, abs=0.1)
    assert host2["nic_down"].mean == pytest.approx(1.0, abs=0.1)
    assert min(host1["nic_up"].saturated, host2["nic_down"].saturated) > 0.7
    assert max(host1["nic_down"].mean, host2["nic_up"].mean) < 0.1
    assert host1["nic_up"].roles["client"] > 0.95
    # Bytes are those of the wire: each segment of 1448 bytes with 66 of headers, whatever GSO made of it meanwhile.
    payload = int(log.read_text().split()[-1])
    assert samples.total("host/host1/up_bytes")[-1] == pytest.approx(payload * 1514 / 1448, rel=0.01)
    assert limiting([result], "phase").resource in ("nic_up", "nic_down")


def test_direct_writing_uses_the_disk(hosts, tmp_path):
    work = lambda: out(hosts, "a1", *python(WRITE, f"{DISK}/file", LENGTH_S))  # noqa: E731
    _, result = measured(hosts, tmp_path, work, disk_byte_s=30e6)
    host1, host2 = (result.phases["phase"].hosts[host].resources for host in ("host1", "host2"))
    assert host1["disk_write"].mean == pytest.approx(1.0, abs=0.2)
    assert host1["disk_write"].saturated > 0.7
    assert host1["disk_write"].roles == {"client": 1.0, "server": 0.0}
    assert host1["disk_read"].saturated == 0
    assert "disk_write" not in host2  # none of its nodes has one
    assert limiting([result], "phase").sentence.startswith("disk writes of host1, by client (100 %)")


def test_idle_hosts_are_limited_by_nothing_and_sampling_costs_little(hosts, tmp_path):
    samples, result = measured(hosts, tmp_path, lambda: time.sleep(LENGTH_S), cores=0.2)
    steps = samples.time_s[1:] - samples.time_s[:-1]
    assert len(steps) / steps.sum() > 4  # Hz
    used = samples.total("sampler/cpu_s")
    assert used[-1] / steps.sum() < 0.02
    assert limiting([result], "phase").resource == "none"


def test_it_ends_with_the_deployment(tmp_path):
    with deployed([request("a1", 1)], {"a1": 1}) as deployment:
        plan = sampling.plan(
            deployment.cgroups,
            deployment.group,
            hosts=1,
            placement={"a1": 1},
            links={"a1": 1},
            disks={},
            beats={},
            out=str(tmp_path / "samples"),
        )
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        # In no group of the deployment: its removal does not kill it.
        argv = [sys.executable, "-I", "-S", sampler.__file__, str(tmp_path / "plan.json")]
        process = subprocess.Popen(argv, start_new_session=True, env={"PATH": os.environ["PATH"]})
        until(lambda: (tmp_path / "samples").exists() and "\n" in (tmp_path / "samples").read_text(), "a sample")
        assert process.poll() is None
    assert process.wait(10) == 0
