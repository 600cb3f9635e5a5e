"""Nodes with a kernel of their own, beside others: a host's disk by demand, and what telemetry has of them."""

from __future__ import annotations

import statistics
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import support

from pliant.machine.parts import UML
from pliant.telemetry.samples import read

pytestmark = pytest.mark.real

MIB = support.MIB
RATE = 40e6
FIGURES = support.HostFigures(cores=0.8, nic_bit_s=400e6, disk_byte_s=RATE, memory_bytes=640 * MIB)
DISK = "/srv/disk"
TOGETHER = {"uml1": 1, "uml2": 1, "plain": 1, "other": 2}

WRITE = """
import mmap, os, sys, time
buffer = mmap.mmap(-1, 1 << 20)
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
began, count = time.monotonic(), 0
while time.monotonic() < began + float(sys.argv[2]):
    os.pwrite(file, buffer, (count % 64) << 20)
    count += 1
print(count * 2**20 / (time.monotonic() - began))
"""
PACED = """
import mmap, os, sys, time
buffer = mmap.mmap(-1, 1 << 16)
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
began = time.monotonic()
log = []
while time.monotonic() < began + 4:
    time.sleep(0.005)
    os.pwrite(file, buffer, (len(log) % 64) << 16)
    log.append(time.monotonic())
print(*log)
"""
"""Says when, on its own clock, each 64 KiB of what it writes were on the disk."""


def instance(number: int, **keys):
    return support.request(f"uml{number}", number, kind=UML, memory_bytes=160 * MIB, **keys)


@pytest.fixture(scope="module")
def four():
    disk = {"disk": DISK, "disk_bytes": 256 * MIB}
    requests = [instance(1, **disk), instance(2, **disk)]
    requests += [support.request("plain", 8, **disk), support.request("other", 9)]
    with support.deployed(requests, TOGETHER, FIGURES) as deployment:
        yield deployment


def written(deployment, *nodes: str, for_s: float = 6.0) -> dict[str, float]:
    """Bytes/s that each of some nodes writes meanwhile, by its own clock and count."""
    found: dict[str, float] = {}

    def one(node: str) -> None:
        argv = support.python(WRITE, f"{DISK}/file", for_s)
        found[node] = float(support.out(deployment, node, *argv, timeout_s=60))

    writing = [threading.Thread(target=one, args=(node,)) for node in nodes]
    for each in writing:
        each.start()
    for each in writing:
        each.join()
    print(", ".join(f"{node} {found[node] / 1e6:.1f}" for node in nodes), "MB/s")
    return found


def test_a_hosts_disk_is_shared_by_demand_whatever_its_nodes_kernels_are(four):
    four.limit(["disk"])
    try:
        # An idle neighbour's part goes to who asks; what was limited before is idle after a second.
        for node in ("uml1", "uml2", "plain"):
            time.sleep(1.2)
            support.attempts(lambda one=node: sum(written(four, one).values()), 0.95 * RATE, 1.05 * RATE)

        def least(due: dict[str, float]) -> float:
            """The least of what these get while all of them write, as a part of what is due to each."""
            time.sleep(1.2)
            got = written(four, *due, for_s=8)
            assert sum(got.values()) < 1.05 * sum(due.values())
            return min(got[node] / due[node] for node in due)

        third = dict.fromkeys(("uml1", "uml2", "plain"), RATE / 3)
        support.attempts(lambda: least(third), 0.92, 1.05)
        four.refold({**TOGETHER, "uml2": 2})
        support.attempts(lambda: least({"uml1": RATE / 2, "uml2": RATE, "plain": RATE / 2}), 0.92, 1.05)
    finally:
        four.refold(TOGETHER)
        four.limit(False)


def test_who_shares_with_nobody_is_asked_nothing(four):
    """What its disk moves is of no use then, and each question takes of its host's CPU."""
    four.limit(["disk"])
    try:
        four.refold({"uml1": 1, "uml2": 2, "plain": 2, "other": 2})
        time.sleep(0.2)
        kept = four._doors("uml1", "disk")
        before = kept.read_text()
        written(four, "uml1", for_s=1)
        assert kept.read_text() == before
    finally:
        four.refold(TOGETHER)
        four.limit(False)


def sampled(deployment, directory: Path, node: str, code: str, *arguments: object):
    """What a program printed that ran in a node while telemetry was taken, and the samples."""
    with deployment.telemetry(directory / "samples"):
        time.sleep(0.5)
        said = support.out(deployment, node, *support.python(code, *arguments))
        time.sleep(0.5)
    return said, read((directory / "samples").read_text())


def test_telemetry_and_a_nodes_own_clock_agree_within_10_ms(four, tmp_path):
    said, samples = sampled(four, tmp_path, "uml1", PACED, f"{DISK}/paced")
    ahead_s = four.ahead_s("uml1")[1]
    moments = np.array([float(each) for each in said.split()]) - ahead_s
    own = np.arange(1, len(moments) + 1) * 2**16
    counted = samples.total("node/uml1/written_bytes")
    counted += own[-1] - counted[-1]  # the file system wrote some beside, at its beginning
    inside = (samples.time_s > moments[0] + 0.5) & (samples.time_s < moments[-1] - 0.2)
    assert inside.sum() >= 12
    late_s = [
        at - float(np.interp(count, own, moments))
        for at, count in zip(samples.time_s[inside], counted[inside], strict=True)
    ]
    print(f"of {len(late_s)} samples: {1e3 * statistics.median(late_s):.1f} ms, ", end="")
    print(f"{1e3 * min(late_s):.1f} to {1e3 * max(late_s):.1f} ms")
    assert abs(statistics.median(late_s)) < 0.010
    assert sum(abs(each) < 0.010 for each in late_s) >= 0.8 * len(late_s)


def test_telemetry_has_what_a_nodes_own_kernel_counts(four, tmp_path):
    code = (
        "import time\nkept = bytearray(40 << 20)\nfor at in range(0, len(kept), 4096): kept[at] = 1\n"
        "began = time.process_time()\nwhile time.process_time() < began + 1.5: pass"
    )
    _, samples = sampled(four, tmp_path, "uml2", code)
    columns = {name.removeprefix("node/uml2/") for name in samples.columns if name.startswith("node/uml2/")}
    plain = {name.removeprefix("node/plain/") for name in samples.columns if name.startswith("node/plain/")}
    assert plain < columns
    whole = ("user", "system", "idle", "waiting", "stolen")
    length_s = samples.time_s[-1] - samples.time_s[0]
    # What others take of the machine meanwhile its kernel takes to be its programs'.
    assert 1.4 < samples.total("node/uml2/own_user_s")[-1] <= length_s
    assert samples.total(*(f"node/uml2/own_{kind}_s" for kind in whole))[-1] == pytest.approx(length_s, rel=0.1)
    memory = samples.columns["node/uml2/own_memory_bytes"]
    assert memory.max() - memory[0] > 38 * MIB
    assert memory.max() < 160 * MIB
    assert samples.total("node/uml2/own_killed")[-1] == 0


def test_what_a_nodes_own_kernel_kills_is_told(four, tmp_path):
    code = (
        "import os\nif os.fork() == 0:\n kept = [bytearray(b'x') * (1 << 20) for _ in range(400)]\nprint(os.wait()[1])"
    )
    said, samples = sampled(four, tmp_path, "uml2", code)
    assert said.strip() == "9"
    assert samples.total("node/uml2/own_killed")[-1] >= 1
    assert support.out(four, "uml2", "echo", "here").strip() == "here"
