"""OrangeFS for real, where it is: PLIANT_ORANGEFS names the directory in which it was installed, or it is on PATH."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import support
from test_filesystems_real import crash, digest, healthy, out, sh, study, up, write

from pliant.machine import facts

pytestmark = pytest.mark.real

PROGRAMS = os.environ.get("PLIANT_ORANGEFS", "")
needed = ("pvfs2-server", "pvfs2-check-server", "pvfs2fuse", "pvfs2-client-core")
found = facts.located(needed, PROGRAMS) if PROGRAMS else {program: facts.which(program) for program in needed}
here = pytest.mark.skipif(
    not all(found.values()), reason="no OrangeFS: no registry has it; build it, and name its prefix in PLIANT_ORANGEFS"
)
OPTIONS = f'programs = "{PROGRAMS}"\n' if PROGRAMS else ""
RUN = """\
[study]
name = "orange"
search = "grid"
repetitions = 1
[platform]
kind = "emulated"
[platform.host]
cores = {cores}
nic = "400 Mbit/s"
disk = "60 MB/s"
memory = "512 MiB"
disk_size = "256 MiB"
[filesystem]
kind = "orangefs"
[filesystem.roles]
server = {servers}
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


@pytest.mark.together
@here
def test_several_clients_by_fuse_and_metadata_on_a_chosen_server(machine):
    with up(study("orangefs", {"server": 3, "client": 3}, f'{OPTIONS}metadata = "server2"')) as (cluster, took):
        assert took < 20 * support.PATIENCE
        before = write(cluster, "client1", "before")
        assert digest(cluster, "client3", "before") == before
        assert out(cluster, "client2", "findmnt -n -o FSTYPE /mnt/dfs").strip() == "fuse"
        # What one client makes anew under an old name another finds at once.
        for _ in range(3):
            out(cluster, "client1", "rm -rf /mnt/dfs/again && mkdir /mnt/dfs/again && touch /mnt/dfs/again/file")
            assert out(cluster, "client2", "ls /mnt/dfs/again").strip() == "file"
        stored = {name: out(cluster, name, "find /srv/orangefs/data -name '*.bstream' | wc -l") for name in SERVERS}
        assert all(int(count) > 0 for count in stored.values()), stored
        healthy(cluster)
        crash(cluster, "server3")
        support.until(lambda: not cluster.health()["server3"].good, "server3 is known to be down", 30)
        cluster.start("server3")
        cluster.crash("client2")
        cluster.start("client2")
        healthy(cluster)
        assert digest(cluster, "client2", "before") == before
        cluster.reset()
        assert "before" not in out(cluster, "client1", "ls /mnt/dfs")
        cluster.unmount()
        assert sh(cluster, "client1", "mountpoint -q /mnt/dfs").exit_status != 0
    support.nothing_left(machine)


SERVERS = ("server1", "server2", "server3")


@pytest.mark.together
@here
def test_clients_by_kernels_of_their_own(machine):
    with up(study("orangefs", {"server": 1, "client": 2}, f'{OPTIONS}client = "kernel"')) as (cluster, _):
        assert out(cluster, "client2", "findmnt -n -o FSTYPE /mnt/dfs").strip() == "pvfs2"
        before = write(cluster, "client1", "before", 4)
        assert digest(cluster, "client2", "before") == before
        healthy(cluster)
        cluster.crash("client1")
        cluster.start("client1")
        assert digest(cluster, "client1", "before") == before
    support.nothing_left(machine, timeout_s=20)


@here
@pytest.mark.parametrize(
    ("servers", "clients", "ranks", "cores", "ratios"),
    [(2, 2, 2, 0.25, "[1, 2, 4]"), (3, 2, 1, 0.1, "[1, 5]")],
    ids=["even", "odd-and-slow"],
)
def test_a_whole_study(servers, clients, ranks, cores, ratios, tmp_path, machine):
    file = tmp_path / "orange.toml"
    about = {"servers": servers, "clients": clients, "ranks": ranks, "cores": cores, "ratios": ratios}
    file.write_text(RUN.format(options=OPTIONS, **about))
    done = support.pliant("run", file, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert re.search(r"ior write bandwidth +MiB/s +[\d.]+ +[\d.]+", done.stdout), done.stdout
    assert "failed" not in done.stderr
    support.nothing_left(machine)


def test_programs_that_are_not_there_are_told_before_anything_is_touched(tmp_path):
    file = tmp_path / "orange.toml"
    about = {"servers": 1, "clients": 1, "ranks": 1, "cores": 0.1, "ratios": "[1]"}
    file.write_text(RUN.format(options=f'programs = "{tmp_path}"', **about))
    done = support.pliant("check", file)
    assert done.returncode == 2
    assert f"orangefs: no pvfs2-server, pvfs2-check-server, pvfs2fuse in {tmp_path}, its bin or its sbin" in done.stderr
    assert "github.com/waltligon/orangefs" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_that_is_none_is_a_sentence(tmp_path):
    file = Path(tmp_path, "orange.toml")
    about = {"servers": 1, "clients": 1, "ranks": 1, "cores": 0.1, "ratios": "[1]"}
    file.write_text(RUN.format(options='programs = "opt/orangefs"', **about))
    done = support.pliant("check", file)
    assert done.returncode == 2
    assert '"opt/orangefs" is not an absolute path' in done.stderr
