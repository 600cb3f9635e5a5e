"""NFS by the kernel, deployed where the kernel has it; elsewhere a study that asks for it is refused.

`scripts/test-v2 tests/real/test_nfs_real.py` runs it on a virtual machine whose kernel has it.
"""

from __future__ import annotations

import pytest
import support
from test_filesystems_real import out, sh, study, up

from pliant.machine import facts

pytestmark = pytest.mark.real

TEXT = study("nfs", {"server": 1, "client": 2})


def test_nfs_is_refused_or_deployed(tmp_path, machine):
    if not facts.missing_filesystems(("nfs4", "nfsd")):
        deployed()
        support.nothing_left(machine)
        return
    file = tmp_path / "study.toml"
    file.write_text(TEXT)
    done = support.pliant("check", file)
    assert done.returncode == 2
    assert "nfs requires nfs4 and nfsd of the kernel, which this machine's has not: " in done.stderr


def deployed():
    with up(TEXT) as (cluster, _):
        assert out(cluster, "client1", "findmnt -n -o FSTYPE /mnt/dfs").strip() == "nfs4"
        sh(cluster, "client1", "head -c 3000000 /dev/urandom > /mnt/dfs/file && sync /mnt/dfs/file").check()
        digest = out(cluster, "client1", "sha256sum < /mnt/dfs/file")
        assert out(cluster, "client2", "sha256sum < /mnt/dfs/file") == digest
        assert all(completed.exit_status == 0 for completed in health(cluster).values())
        cluster.crash("server1")
        assert sh(cluster, "client1", "timeout 2 touch /mnt/dfs/other").exit_status != 0
        cluster.start("server1")
        # Clients that had files open claim them first, at most for the grace period.
        assert out(cluster, "client2", "sha256sum < /mnt/dfs/file") == digest
        sh(cluster, "client1", "echo more > /mnt/dfs/other", timeout_s=120).check()
        # What is not written yet must not hold up the removal.
        sh(cluster, "client1", "head -c 3000000 /dev/urandom > /mnt/dfs/late").check()


def health(cluster):
    return {
        node: cluster.execute(node, command.argv, timeout_s=30) for node, command in cluster.composition.health.items()
    }
