"""Every rank of every launcher is in its node, also where the machine itself is called as a node is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from ranks_of_a_namesake import RANKS

pytestmark = pytest.mark.real

HELPER = Path(__file__).parent / "ranks_of_a_namesake.py"
LAUNCHERS = (str(Path(sys.executable).parent / "mpiexec"), "mpiexec.mpich", "mpirun.openmpi")


@pytest.mark.parametrize("name", ["client1", "client3", "pliant"])
def test_every_rank_is_in_its_node(name):
    launchers = [shutil.which(each) or each for each in LAUNCHERS]
    argv = ["unshare", "--uts", "--mount", sys.executable, str(HELPER), name, *launchers]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    ranks = [line.split() for line in done.stdout.splitlines()]
    found = Counter((launcher, node) for launcher, node, *_ in ranks)
    assert found == {(launcher, node): count for launcher in launchers for node, count in RANKS.items()}
    for _, node, *groups in ranks:
        host = 2 if node == "client3" else 1
        assert any(group.endswith(f"/host-{host}/{node}") for group in groups), f"{node} runs in {groups}"
