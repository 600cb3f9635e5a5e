"""BeeGFS for real, where it is: PLIANT_BEEGFS names the directory of its programs (or they are on PATH), and
PLIANT_BEEGFS_MODULE the file of its client's module, built for the kernel of User Mode Linux."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import support
from test_filesystems_real import digest, healthy, out, sh, study, up, write

from pliant.machine import facts, module_file, uml

pytestmark = pytest.mark.real

PROGRAMS, MODULE = (os.environ.get(name, "") for name in ("PLIANT_BEEGFS", "PLIANT_BEEGFS_MODULE"))
needed = ("beegfs-mgmtd", "beegfs-meta", "beegfs-storage", "beegfs-ctl")
found = facts.located(needed, PROGRAMS) if PROGRAMS else {program: facts.which(program) for program in needed}
here = pytest.mark.skipif(
    not (all(found.values()) and module_file.read(MODULE)),
    reason="no BeeGFS: no registry has it; build it, and name its place in PLIANT_BEEGFS and PLIANT_BEEGFS_MODULE",
)
OPTIONS = (f'programs = "{PROGRAMS}"\n' if PROGRAMS else "") + f'module = "{MODULE}"\n'
RUN = """\
[study]
name = "bees"
search = "grid"
repetitions = 1
[platform]
kind = "emulated"
[platform.host]
cores = {cores}
nic = "400 Mbit/s"
disk = "60 MB/s"
memory = "768 MiB"
disk_size = "1 GiB"
[filesystem]
kind = "beegfs"
[filesystem.roles]
management = 1
metadata = {metadata}
storage = {storage}
client = {clients}
[filesystem.options]
{options}
[fold]
ratios = {ratios}
max_loss = "20 %"
[[workload]]
kind = "ior"
block = "4 MiB"
transfer = "1 MiB"
ranks_per_client = {ranks}
"""
COUNTS = {"metadata": 1, "storage": 2, "clients": 2, "ranks": 1, "cores": 0.2, "ratios": "[1, 2, 3]"}


def put(cluster, name: str) -> str:
    """Write from the first client, to the disks: BeeGFS has fsync reach them only from who wrote. Its SHA-256."""
    made = "head -c 8M /dev/urandom > /tmp/data && sha256sum < /tmp/data"
    return out(
        cluster, "client1", f"{made} && dd if=/tmp/data of=/mnt/dfs/{name} bs=1M conv=fsync status=none"
    ).split()[0]


@pytest.mark.together
@here
def test_data_are_there_after_the_crash_of_each_kind_of_server(machine):
    roles = {"management": 1, "metadata": 2, "storage": 2, "client": 2}
    with up(study("beegfs", roles, f"{OPTIONS}chunk_kib = 128")) as (cluster, took):
        assert took < 60 * support.PATIENCE
        assert out(cluster, "client1", "findmnt -n -o FSTYPE /mnt/dfs").strip() == "beegfs"
        assert out(cluster, "client1", "uname -r").strip() == uml.modules().name
        before = put(cluster, "before")
        assert digest(cluster, "client2", "before") == before
        stored = [
            int(out(cluster, name, "du -s /srv/beegfs/data/chunks").split()[0]) for name in ("storage1", "storage2")
        ]
        assert min(stored) > 3000, stored
        healthy(cluster)
        for name in ("metadata1", "metadata2"):  # BeeGFS itself leaves it to their file system
            out(cluster, name, "sync --file-system /srv/beegfs")
        for victim in ("storage2", "metadata1", "management1"):
            cluster.crash(victim)
            cluster.start(victim)
        healthy(cluster)
        assert digest(cluster, "client2", "before") == before
        cluster.crash("client2")
        cluster.start("client2")
        assert digest(cluster, "client2", "before") == before
        cluster.unmount()
        assert sh(cluster, "client1", "mountpoint -q /mnt/dfs").exit_status != 0
    support.nothing_left(machine, timeout_s=20)


@pytest.mark.together
@here
def test_what_is_mirrored_is_there_without_one_of_its_servers(machine):
    roles = {"management": 1, "metadata": 1, "storage": 2, "client": 1}
    with up(study("beegfs", roles, f"{OPTIONS}mirror = true")) as (cluster, _):
        before = write(cluster, "client1", "before", 4)
        stored = {
            name: out(cluster, name, "du -s /srv/beegfs/data/buddymir").split()[0] for name in ("storage1", "storage2")
        }
        assert all(int(kib) > 4000 for kib in stored.values()), stored
        cluster.reset()
        assert out(cluster, "client1", "ls /mnt/dfs").split() == []
        assert write(cluster, "client1", "before", 1) != before
    support.nothing_left(machine, timeout_s=20)


@here
@pytest.mark.parametrize(
    "counts",
    [COUNTS, COUNTS | {"metadata": 2, "storage": 1, "ranks": 2, "ratios": "[1, 6]"}],
    ids=["even", "odd"],
)
def test_a_whole_study(counts, tmp_path, machine):
    file = tmp_path / "bees.toml"
    file.write_text(RUN.format(options=OPTIONS, **counts))
    done = support.pliant("run", file, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert re.search(r"ior write bandwidth +MiB/s +[\d.]+ +[\d.]+", done.stdout), done.stdout
    assert "failed" not in done.stderr
    support.nothing_left(machine, timeout_s=20)


def refused(tmp_path, options: str) -> str:
    file = tmp_path / "bees.toml"
    file.write_text(RUN.format(options=options, **COUNTS))
    done = support.pliant("check", file)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_module_that_does_not_fit_is_told_before_anything_is_touched(tmp_path):
    other = next(uml.modules().glob("kernel/**/nfsd.ko"))
    assert f"{other} is the module nfsd, which has no beegfs; build client_module" in refused(
        tmp_path, f'module = "{other}"'
    )
    assert f"{tmp_path}/none.ko is no file of a kernel module" in refused(tmp_path, f'module = "{tmp_path}/none.ko"')
    assert 'say module = "FILE.ko" in [filesystem.options]' in refused(tmp_path, "")


@here
def test_a_module_for_another_kernel_is_told(tmp_path):
    other = tmp_path / "beegfs.ko"
    other.write_bytes(Path(MODULE).read_bytes().replace(b"vermagic=6.1.", b"vermagic=6.2."))
    said = refused(tmp_path, f'module = "{other}"')
    assert re.search(r'was built for the kernel "6\.2\.\d+ mod_unload", and that of nodes is "6\.1\.', said), said


@here
def test_programs_of_another_release_are_told(tmp_path):
    assert 'write release = "7.4"' in refused(tmp_path, f'{OPTIONS}release = "8"') or "no beegfs " in refused(
        tmp_path, f'{OPTIONS}release = "8"'
    )
