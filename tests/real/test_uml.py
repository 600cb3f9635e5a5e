"""Nodes with a kernel of their own: what a plain node has, over a line of its own, and what hosts give them."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import support

from pliant.machine import uml
from pliant.machine.parts import UML
from pliant.machine.process import CommandFailed

pytestmark = pytest.mark.real

MIB = support.MIB
FIGURES = support.HostFigures(cores=0.4, nic_bit_s=400e6, disk_byte_s=40e6, memory_bytes=640 * MIB)
DISK = "/srv/disk"


def instance(number: int, **keys):
    about = {"kind": UML, "memory_bytes": 192 * MIB, **keys}
    return support.request(f"uml{number}", number, **about)


@pytest.fixture(scope="module")
def two():
    """An instance with a disk, and one without, beside a node that shares the machine's kernel."""
    requests = [instance(1, disk=DISK, disk_bytes=512 * MIB), instance(2), support.request("plain", 9)]
    with support.deployed(requests, {"uml1": 1, "uml2": 2, "plain": 3}, FIGURES) as deployment:
        yield deployment


def shell(deployment, node: str, script: str, **keys) -> str:
    return support.out(deployment, node, "sh", "-c", script, **keys)


# Programs


def test_it_is_a_machine_with_another_kernel(two):
    assert shell(two, "uml1", "uname -r; hostname").split() == [uml.modules().name, "uml1"]
    assert shell(two, "plain", "uname -r").strip() == os.uname().release
    hosts = "cat /etc/hosts"
    assert shell(two, "uml1", hosts) == shell(two, "plain", hosts)
    assert "10.77.1.1/16" in shell(two, "uml1", "ip -4 addr show eth0")
    assert shell(two, "uml1", f"findmnt -n -o FSTYPE {DISK}; ls /tmp").split() == ["ext4"]


def test_a_program_has_input_output_status_and_environment(two):
    done = two.execute("uml1", ["sh", "-c", "cat; echo said >&2; echo $PLIANT_NODE; exit 7"], timeout_s=20, stdin="ab")
    assert (done.exit_status, done.stdout, done.stderr) == (7, "abuml1\n", "said\n")
    done = two.execute("uml2", ["/no/such/program"], timeout_s=20)
    assert (done.exit_status, done.stderr) == (127, "cannot run /no/such/program: No such file or directory\n")


def test_much_passes_whole_in_both_directions(two):
    """A terminal that is ever full is never listened to again by this kernel: see `line`."""
    text = "".join(f"{number:09d}\n" for number in range(200_000))
    said = two.execute("uml1", ["sha256sum"], timeout_s=60, stdin=text).check().stdout
    assert said.split()[0] == hashlib.sha256(text.encode()).hexdigest()
    assert len(shell(two, "uml1", "head -c 3000000 /dev/zero | tr '\\0' x", timeout_s=60)) == 3_000_000


def test_a_program_ends_at_its_deadline_and_with_who_waits_for_it(two):
    with pytest.raises(CommandFailed, match="did not end in time"):
        two.execute("uml1", ["sh", "-c", "sleep 4321 & sleep 4321"], timeout_s=1)
    process = two.start("uml1", ["sleep", "4321"], stdin=subprocess.DEVNULL)
    support.until(lambda: "sleep 4321" in shell(two, "uml1", "ps ax -o args"), "it runs")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    support.until(lambda: "sleep 4321" not in shell(two, "uml1", "ps ax -o args"), "it has ended")


def test_programs_start_together_and_clocks_are_known(two):
    done = two.together({node: ["sh", "-c", "date +%s.%N"] for node in two.nodes}, timeout_s=30, extra={})
    moments = [float(each.stdout) for each in done.completed.values()]
    assert max(moments) - min(moments) < 0.5
    for node in ("uml1", "uml2"):
        code = "import sys, time; sys.stdin.readline(); print(time.time(), time.monotonic(), flush=True)"
        with two.start(node, support.python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
            time.sleep(1)
            day, began = time.time(), time.monotonic()
            process.stdin.write(b"\n")
            there = [float(each) for each in process.stdout.readline().split()]
            took = time.monotonic() - began
        ahead = two.ahead_s(node)
        assert -0.01 < there[0] - ahead[0] - day < took + 0.01
        assert -0.01 < there[1] - ahead[1] - began < took + 0.01


# What hosts give


def test_cpu_and_disk_are_the_hosts(two):
    two.limit(["cpu"])
    try:
        assert support.cores_used(two, "uml1", "host1", 1, 2) == pytest.approx(FIGURES.cores, rel=0.03)
        two.limit(["disk"])
        # Its kernel lets pass what is due every tenth of a second, one or two of which a beginning gains or loses.
        write = f"dd if=/dev/zero of={DISK}/file bs=1M count=320 oflag=direct 2>&1; rm {DISK}/file"

        def written() -> float:
            return 320 * MIB / float(re.search(r"copied, ([\d.]+) s", shell(two, "uml1", write)).group(1))

        support.attempts(written, 0.95 * FIGURES.disk_byte_s, 1.05 * FIGURES.disk_byte_s)
    finally:
        two.limit(False)


def test_packets_reach_other_nodes_at_the_hosts_rate_and_none_is_dropped(two):
    code = (
        "import socket; s = socket.create_server(('', 7000))\n"
        "while 1:\n c = s.accept()[0]\n while c.recv(1 << 18): pass"
    )
    send = (
        "import socket, sys, time; c = socket.create_connection((sys.argv[1], 7000)); d = bytes(1 << 18)\n"
        "b = time.time()\nfor _ in range(80): c.sendall(d)\nprint(20 * 2**20 * 8 / (time.time() - b))"
    )
    two.limit(["nic"])
    try:
        for sender, receiver in (("uml1", "uml2"), ("uml2", "plain"), ("plain", "uml1")):
            with support.background(two, receiver, support.python(code), Path("/dev/null")):
                support.until(lambda at=receiver: ":7000" in shell(two, at, "ss -ltn"), "it listens")
                argv = support.python(send, two.nodes[receiver].address)
                # What is still in buffers at the end counts.
                support.attempts(
                    lambda at=sender, what=argv: float(support.out(two, at, *what)),
                    0.9 * FIGURES.nic_bit_s,
                    1.15 * FIGURES.nic_bit_s,
                )
        assert two.drops() == {"uml1": 0, "uml2": 0}
    finally:
        two.limit(False)


def processes(node: str) -> list[int]:
    """The first process of an instance, and then those that it has for itself, as for its disks."""
    ran = subprocess.run(
        ["pgrep", "--full", f" umid={node} "], capture_output=True, text=True, check=True
    ).stdout.split()
    states = {int(pid): Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in ran}
    named = {pid: words for pid, words in states.items() if Path(f"/proc/{pid}/comm").read_text() == "linux.uml\n"}
    first = next(pid for pid, words in named.items() if int(words[1]) not in named)
    return [first, *(pid for pid, words in named.items() if int(words[1]) == first and words[0] in "SD")]


def asleep_s(deployment, node: str) -> float:
    return int(Path(deployment._lost_files()[node]).read_text().split()[3]) / 1e9


@pytest.mark.parametrize("what", ["packets", "a disk's answer"])
def test_what_a_kernel_sleeps_over_is_counted(two, what):
    """It loses an event by chance, seldom. To who looks, a process that is stopped and takes nothing in is the same."""
    before = asleep_s(two, "uml1")
    first, *others = processes("uml1")
    write = f"while :; do dd if=/dev/zero of={DISK}/file bs=1M count=200 conv=fsync; done"
    ping = f"while :; do echo x > /dev/udp/{two.nodes['uml1'].address}/9; sleep 0.1; done"
    node, argv = ("uml1", ["sh", "-c", write]) if others and what != "packets" else ("plain", ["bash", "-c", ping])
    with support.background(two, node, argv, Path("/dev/null")):
        time.sleep(0.5)
        assert asleep_s(two, "uml1") == before
        for pid in [first] if node == "plain" else others:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(4)
        for pid in [first] if node == "plain" else others:
            os.kill(pid, signal.SIGCONT)
        support.until(lambda: asleep_s(two, "uml1") >= before + 2, "it is counted", 5)
        assert asleep_s(two, "uml1") < before + 6
    assert shell(two, "uml1", f"rm -f {DISK}/file; echo here").strip() == "here"


def test_a_refold_moves_all_of_it(two):
    two.refold({"uml1": 2, "uml2": 2, "plain": 3})
    assert two.cgroups.pids(f"{two.group}/host-1") == []
    assert shell(two, "uml1", "cat /proc/uptime")
    two.refold({"uml1": 1, "uml2": 2, "plain": 3})


# Power


def test_power_and_what_a_disk_has_after_it(two):
    shell(two, "uml1", f"echo kept > {DISK}/kept; sync; echo lost > {DISK}/lost")
    two.crash("uml1")
    assert two.execute("uml1", ["true"], timeout_s=20).stderr == "uml1 is down\n"
    two.switch_on("uml1")
    assert shell(two, "uml1", f"cat {DISK}/kept; ls {DISK}").split() == ["kept", "kept", "lost+found"]
    shell(two, "uml1", f"echo more > {DISK}/more")
    two.shut_down("uml1")
    two.switch_on("uml1")
    assert shell(two, "uml1", f"cat {DISK}/more").strip() == "more"


def test_a_kernel_that_dies_is_told_with_all_of_it():
    with support.deployed([instance(1)], {"uml1": 1}, FIGURES) as deployment:
        process = deployment.start("uml1", ["sleep", "100"], stdin=subprocess.DEVNULL)
        group = deployment.cgroups.pids(deployment.group_of("uml1"))
        kernels = [pid for pid in group if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"linux.uml")]
        os.kill(min(kernels), signal.SIGKILL)
        support.until(lambda: not deployment.cgroups.pids(deployment.group_of("uml1"))[1:], "all of it has gone")
        assert process.wait(20) == 255
        with pytest.raises(CommandFailed):
            deployment.execute("uml1", ["true"], timeout_s=20).check()
