"""kill -9 of pliant and of nodes' own kernels, at any moment: nothing is left, no lock is held, disks are whole.

    PLIANT_KILLS=20 python -m pytest tests/real/test_uml_killed.py -s

is the long version, of 20 each.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import support
from test_nfs_real import RUN

from pliant.machine.journal import STATE
from pliant.machine.parts import UML

pytestmark = [pytest.mark.real, pytest.mark.together]

KILLS = int(os.environ.get("PLIANT_KILLS", "3"))
MIB = support.MIB
DISK = "/srv/disk"
FIGURES = support.HostFigures(cores=0.6, nic_bit_s=400e6, disk_byte_s=80e6, memory_bytes=400 * MIB)
STUDY = RUN.replace("client = 2", "client = 1").replace("ratios = [1, 3]", "ratios = [1, 2]").replace("8 MiB", "16 MiB")
WRITES = f"""
import os
number = 0
while True:
    path = "{DISK}/" + str(number)
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.write(file, b"%09d" % number * 20000)
    os.fsync(file)
    os.close(file)
    print(number, flush=True)
    number += 1
    if number > 50:
        os.unlink("{DISK}/" + str(number - 50))
"""
"""Files of 180 kB, each of which is told once it is on the disk."""


def locks(*directories: Path) -> list[str]:
    """The locks on files of deployments, and on those below directories (/proc/locks: device and inode)."""
    there = [each for each in (STATE, *directories) if each.exists()]
    inodes = {str(each.stat().st_ino) for top in there for each in top.rglob("*") if each.is_file()}
    theirs = support.foreign_loops()
    inodes |= {str(each.stat().st_ino) for each in Path("/dev").glob("loop*") if each.name not in theirs}
    lines = Path("/proc/locks").read_text().splitlines()
    return [line for line in lines if line.split()[-3].rpartition(":")[2] in inodes]


@pytest.mark.parametrize("seed", range(KILLS))
def test_pliant_is_killed(tmp_path, machine, seed):
    """At any moment of a run: while kernels boot, while NFS is mounted, in a trial, in a refold, as it goes."""
    chance, file = random.Random(seed), tmp_path / "killed.toml"
    file.write_text(STUDY)
    held = locks()
    with support.Running(file, tmp_path / "run") as running:
        support.until(running.deployments, "a deployment", 30)
        moment_s = chance.uniform(0, 16)
        time.sleep(moment_s)
        ids = running.deployments()
        ended = running.process.poll() is not None
        running.kill()
    print(f"pliant, {moment_s:.1f} s after it began to deploy{': it had ended' if ended else ''}")
    if ids:
        support.remove(ids)
    support.nothing_left(machine, timeout_s=20)
    assert [each for each in locks(tmp_path) if each not in held] == []


@pytest.fixture(scope="module")
def one(machine):
    node = support.request("uml1", 1, kind=UML, memory_bytes=192 * MIB, disk=DISK, disk_bytes=256 * MIB)
    with support.deployed([node], {"uml1": 1}, FIGURES) as deployment:
        yield deployment


def kernels(deployment) -> list[int]:
    """The processes of the instance: the first, and those that it has for its disks and its programs."""
    found = []
    for pid in deployment.cgroups.pids(deployment.group_of("uml1")):
        with suppress(OSError):  # it has gone meanwhile
            if Path(f"/proc/{pid}/exe").readlink().name == "linux.uml":
                found.append(pid)
    return found


def doors(deployment) -> list[int]:
    """The door, and who ends the instance if that is killed."""
    ran = subprocess.run(["pgrep", "--full", f"door .*{deployment.id}/doors/uml1.json"], capture_output=True, text=True)
    return sorted(int(pid) for pid in ran.stdout.split())


@pytest.mark.parametrize("seed", range(KILLS))
def test_an_instance_is_killed(one, tmp_path, seed):
    """Its first process, one of its others, all of them, or its door, while it writes; then it is switched on."""
    chance, log = random.Random(seed), tmp_path / "written"
    ways = {
        "its first process": lambda: kernels(one)[:1],
        "another of its processes": lambda: [chance.choice(kernels(one)[1:])],
        "all of its processes": lambda: kernels(one),
        "its door": lambda: doors(one)[:1],
    }
    what = list(ways)[seed % len(ways)]
    support.out(one, "uml1", "sh", "-c", f"rm -f {DISK}/[0-9]*")
    with support.background(one, "uml1", support.python(WRITES), log):
        support.until(lambda: "\n" in log.read_text(), "it writes", 30)
        time.sleep(chance.uniform(0, 2))
        for pid in ways[what]():
            with suppress(ProcessLookupError):  # it goes with one that was killed before
                os.kill(pid, signal.SIGKILL)
        if what != "another of its processes":  # that of a program goes alone
            support.until(lambda: not kernels(one), "all of it has gone", 20)
            support.until(lambda: not doors(one), "its door has gone", 20)
    one.crash("uml1")
    assert (kernels(one), doors(one)) == ([], [])
    device = one.nodes["uml1"].device
    own = {str(Path(each).stat().st_ino) for each in (device, STATE / one.id / "disks" / "uml1.root")}
    assert [line for line in locks() if line.split()[-3].rpartition(":")[2] in own] == []
    one.switch_on("uml1")
    synced = [int(each) for each in re.findall(r"^(\d+)$", log.read_text(), re.MULTILINE)]
    # Who writes removes what it wrote before, also when nobody has heard yet of what came after.
    kept = [number for number in synced if number > max(synced) - 20]
    check = f"import sys\nfor n in {kept}: assert open('{DISK}/%d' % n, 'rb').read() == b'%09d' % n * 20000, n"
    support.out(one, "uml1", *support.python(check), timeout_s=60)
    one.shut_down("uml1")
    checked = subprocess.run(["e2fsck", "-fn", device], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    one.switch_on("uml1")
    print(f"instance, {what}: {len(kept)} of {len(synced)} files looked at")
