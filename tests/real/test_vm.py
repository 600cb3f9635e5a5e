"""Nodes that are virtual machines: what other nodes with kernels of their own have, at whatever speed one boots."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import support
from test_filesystems_real import out, sh, study, up

from pliant.machine import vm
from pliant.machine.parts import VM

pytestmark = pytest.mark.real

MIB = support.MIB
FIGURES = support.HostFigures(cores=0.9, nic_bit_s=100e6, disk_byte_s=20e6, memory_bytes=900 * MIB)
DISK = "/srv/disk"
APART = {"vm1": 1, "plain": 2}


@pytest.fixture(scope="module")
def booted():
    """How a virtual machine boots here; one does, by KVM or without."""
    found = vm.look()
    print("; ".join(each.sentence for each in found))
    assert found and found[-1].boots, found
    return found[-1]


@pytest.fixture(scope="module")
def two(booted):
    disk = {"disk": DISK, "disk_bytes": 256 * MIB}
    requests = [support.request("vm1", 1, kind=VM, memory_bytes=256 * MIB, **disk), support.request("plain", 9, **disk)]
    began = time.monotonic()
    with support.deployed(requests, APART, FIGURES) as deployment:
        print(f"there after {time.monotonic() - began:.1f} s")
        yield deployment


def shell(deployment, node: str, script: str) -> str:
    return support.out(deployment, node, "sh", "-c", script, timeout_s=60)


def reaches(deployment, node: str, other: str) -> bool:
    """Whether packets pass between two nodes, both ways: at a port where nobody listens they are answered."""
    said = deployment.execute(node, ["bash", "-c", f"exec 3<> /dev/tcp/{other}/9"], timeout_s=20).stderr
    return "Connection refused" in said


def test_it_is_a_machine_with_another_kernel(two):
    kernel = vm.kernel()
    assert kernel is not None
    assert shell(two, "vm1", "uname -r; hostname").split() == [kernel.modules.name, "vm1"]
    assert shell(two, "vm1", "cat /etc/hosts") == shell(two, "plain", "cat /etc/hosts")
    assert "10.77.1.1/16" in shell(two, "vm1", "ip -4 addr show eth0")
    assert shell(two, "vm1", f"findmnt -n -o FSTYPE {DISK}; ls /tmp").split() == ["ext4"]
    done = two.execute("vm1", ["sh", "-c", "cat; echo said >&2; exit 7"], timeout_s=60, stdin="ab")
    assert (done.exit_status, done.stdout, done.stderr) == (7, "ab", "said\n")
    print(f"a system call takes {1e6 * two.call_s():.2f} us")


def test_its_host_gives_it_cpu_nic_and_disk(two):
    two.limit(["cpu"])
    try:
        assert support.cores_used(two, "vm1", "host1", 2, 3) == pytest.approx(FIGURES.cores, rel=0.03)
        two.limit(["disk"])
        time.sleep(0.3)
        write = f"dd if=/dev/zero of={DISK}/file bs=1M count=80 oflag=direct 2>&1"

        def written() -> float:
            return 80 * MIB / float(re.search(r"copied, ([\d.]+) s", shell(two, "vm1", write)).group(1))

        support.attempts(written, 0.95 * FIGURES.disk_byte_s, 1.05 * FIGURES.disk_byte_s)
        two.limit(["nic"])
        serve = "import socket\nc = socket.create_server(('', 7000)).accept()[0]\nwhile c.recv(1 << 18): pass"
        send = (
            "import socket, sys, time; c = socket.create_connection((sys.argv[1], 7000)); d = bytes(1 << 18)\n"
            "b = time.time()\nfor _ in range(100): c.sendall(d)\nprint(25 * 2**20 * 8 / (time.time() - b))"
        )

        def sent() -> float:
            with support.background(two, "plain", support.python(serve), Path("/dev/null")):
                support.until(lambda: ":7000" in shell(two, "plain", "ss -ltn"), "it listens")
                return float(support.out(two, "vm1", *support.python(send, "plain"), timeout_s=60))

        support.attempts(sent, 0.9 * FIGURES.nic_bit_s, 1.1 * FIGURES.nic_bit_s)
    finally:
        two.limit(False)


def test_its_clock_is_known(two):
    code = "import sys, time; sys.stdin.readline(); print(time.time(), time.monotonic(), flush=True)"
    with two.start("vm1", support.python(code), stdin=-1, stdout=-1, bufsize=0) as process:
        time.sleep(3)
        day, began = time.time(), time.monotonic()
        process.stdin.write(b"\n")
        there = [float(each) for each in process.stdout.readline().split()]
        took = time.monotonic() - began
    ahead = two.ahead_s("vm1")[1]
    assert -0.01 < there[1] - ahead - began < took + 0.01
    assert -0.05 < there[0] - day < took + 0.05


def test_a_refold_moves_all_of_it_and_power_is_cut(two):
    two.refold({"vm1": 2, "plain": 2})
    assert two.cgroups.pids(f"{two.group}/host-1") == []
    assert reaches(two, "vm1", "plain")
    two.refold(APART)
    shell(two, "vm1", f"echo kept > {DISK}/kept; sync; echo lost > {DISK}/lost")
    two.crash("vm1")
    assert two.execute("vm1", ["true"], timeout_s=20).stderr == "vm1 is down\n"
    two.switch_on("vm1")
    assert shell(two, "vm1", f"cat {DISK}/kept").strip() == "kept"
    assert "lost" not in shell(two, "vm1", f"ls {DISK}").split()
    shell(two, "vm1", f"echo more > {DISK}/more")
    two.shut_down("vm1")
    two.switch_on("vm1")
    assert shell(two, "vm1", f"cat {DISK}/more").strip() == "more"
    assert reaches(two, "plain", "vm1")


@pytest.mark.together
def test_nfs_by_virtual_machines(booted):
    text = study("nfs", {"server": 1, "client": 2})
    with up(text.replace('kind = "emulated"', 'kind = "emulated"\nkernel = "vm"')) as (cluster, took):
        print(f"NFS is there after {took:.1f} s")
        assert out(cluster, "client1", "findmnt -n -o FSTYPE /mnt/dfs").strip() == "nfs4"
        sh(cluster, "client1", "head -c 4M /dev/urandom > /mnt/dfs/file && sync /mnt/dfs/file", timeout_s=60).check()
        digest = out(cluster, "client1", "sha256sum < /mnt/dfs/file")
        assert out(cluster, "client2", "sha256sum < /mnt/dfs/file") == digest
        cluster.crash("server1")
        cluster.start("server1")
        assert out(cluster, "client2", "sha256sum < /mnt/dfs/file") == digest
