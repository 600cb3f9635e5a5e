"""NFS by the kernels of its nodes: the machine's where it has it, else, and always here, their own.

`scripts/test-v2 tests/real/test_nfs_real.py` runs it on a virtual machine whose kernel has it.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import support
from test_filesystems_real import out, sh, study, up

from pliant.machine import facts
from pliant.machine.journal import STATE
from pliant.results.store import Store

pytestmark = pytest.mark.real

ROLES = {"server": 1, "client": 2}
NFS = study("nfs", ROLES)
RUN = """\
[study]
name = "kernels"
search = "grid"
repetitions = 1
[platform]
kind = "emulated"
kernel = "uml"
[platform.host]
cores = 0.5
nic = "400 Mbit/s"
disk = "60 MB/s"
memory = "1 GiB"
disk_size = "512 MiB"
[filesystem]
kind = "nfs"
[filesystem.roles]
server = 1
client = 2
[fold]
ratios = [1, 3]
max_loss = "20 %"
[[workload]]
kind = "ior"
block = "8 MiB"
"""


def test_nfs_by_the_kernel_is_refused_or_deployed(tmp_path, machine):
    text = NFS.replace('kind = "emulated"', 'kind = "emulated"\nkernel = "shared"')
    if not facts.missing_filesystems(("nfs4", "nfsd")):
        deployed(text)
        support.nothing_left(machine)
        return
    file = tmp_path / "study.toml"
    file.write_text(text)
    done = support.pliant("check", file)
    assert done.returncode == 2
    assert "nfs requires nfsd and nfs4 of the kernel, which this machine's has not: " in done.stderr


@pytest.mark.together
def test_nfs_by_kernels_of_its_own(machine):
    deployed(NFS.replace('kind = "emulated"', 'kind = "emulated"\nkernel = "uml"'))
    support.nothing_left(machine, timeout_s=20)


@pytest.mark.together
@pytest.mark.parametrize(
    ("options", "version"),
    [('version = "3"', "3"), ('server = "ganesha"', "4.2"), ('server = "ganesha"\nversion = "3"', "3")],
    ids=["v3", "ganesha", "ganesha-v3"],
)
def test_other_versions_and_servers(machine, options, version):
    deployed(study("nfs", ROLES, options), version)
    support.nothing_left(machine, timeout_s=20)


def deployed(text, version="4.2"):
    with up(text) as (cluster, took):
        assert took < 40 * support.PATIENCE
        assert out(cluster, "client1", "findmnt -n -o FSTYPE /mnt/dfs").strip() == ("nfs" if version == "3" else "nfs4")
        mounted = out(cluster, "client1", "findmnt -n -o OPTIONS /mnt/dfs")
        assert f"vers={version}" in mounted and "rsize=1048576" in mounted and "wsize=1048576" in mounted
        # A lock of one client is seen by the other.
        sh(cluster, "client1", "touch /mnt/dfs/held").check()
        holder = ["flock", "/mnt/dfs/held", "sh", "-c", "echo held; exec sleep 60"]
        with cluster.deployment.start("client1", holder, stdout=subprocess.PIPE) as held:
            assert held.stdout is not None and held.stdout.readline() == b"held\n"
            assert sh(cluster, "client2", "flock --nonblock /mnt/dfs/held true").exit_status == 1
            held.terminate()
        support.until(lambda: sh(cluster, "client2", "flock --nonblock /mnt/dfs/held true").exit_status == 0, "free")
        sh(cluster, "client1", "head -c 8M /dev/urandom > /mnt/dfs/file && sync /mnt/dfs/file").check()
        digest = out(cluster, "client1", "sha256sum < /mnt/dfs/file")
        assert out(cluster, "client2", "sha256sum < /mnt/dfs/file") == digest
        assert all(health.good for health in cluster.health().values())
        cluster.crash("server1")
        assert sh(cluster, "client1", "timeout -s KILL 2 touch /mnt/dfs/other").exit_status != 0
        cluster.start("server1")
        assert out(cluster, "client2", "sha256sum < /mnt/dfs/file") == digest
        # Clients that had files open claim them first, at most for the grace period.
        sh(cluster, "client1", "echo more > /mnt/dfs/other", timeout_s=120).check()
        # What is not written yet must not hold up the removal.
        sh(cluster, "client1", "head -c 3000000 /dev/urandom > /mnt/dfs/late").check()


def run(directory: Path) -> tuple[subprocess.CompletedProcess[str], Path]:
    file = directory / "kernels.toml"
    file.write_text(RUN)
    return support.pliant("run", file, "--output", directory / "run"), directory / "run"


def test_a_whole_study(tmp_path, machine):
    done, where = run(tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"ior write bandwidth +MiB/s +[\d.]+ +[\d.]+", done.stdout), done.stdout
    assert (where / "report.html").exists()
    support.nothing_left(machine, timeout_s=20)


FAULT = """
[[fault]]
what = "crash"
role = "server"
at = "1 s"
heal = "3 s"
"""


def test_data_are_intact_after_a_power_cut_of_the_server_in_a_trial(tmp_path, machine):
    file, where = tmp_path / "fault.toml", tmp_path / "run"
    text = RUN.replace("ratios = [1, 3]", "ratios = [1]").replace('block = "8 MiB"', 'block = "64 MiB"')
    file.write_text(text + FAULT)
    done = support.pliant("run", file, "--output", where)
    assert done.returncode == 0, done.stderr
    with Store.look(where) as store:
        (trial,) = [each for each in store.trials() if each.workload.startswith("ior+")]
    assert trial.state == "done", trial.reason
    assert trial.fault["intact"] and trial.fault["stalled_s"] >= 2, trial.fault
    support.nothing_left(machine, timeout_s=20)


def test_a_killed_run_leaves_nothing_once_it_is_removed(tmp_path, machine):
    (tmp_path / "kernels.toml").write_text(RUN)
    with support.Running(tmp_path / "kernels.toml", tmp_path / "run") as running:
        running.until("deploy: serve")
        ids = running.deployments()
        running.kill()
    support.remove(ids)
    assert [each for each in ids if (STATE / each).exists()] == []
    support.nothing_left(machine, timeout_s=20)
