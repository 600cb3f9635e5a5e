"""Ranks of every launcher that is given, on a machine that is called as one of the nodes is: NAME MPIEXEC...

Prints a line for each rank: its launcher, the host name that it sees, and its control groups. To be run in namespaces
of its own (unshare --uts --mount).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
import support

from pliant.cluster import mpi
from pliant.machine.process import environment
from pliant.platforms.interface import Deployment
from pliant.platforms.machines import Here

NODES = {"client1": 1, "client2": 1, "client3": 2}
RANKS = {"client1": 3, "client2": 1, "client3": 2}
SAID = "hostname; cut -d: -f3 /proc/self/cgroup | sort -u | tr '\\n' ' '"


def main(name: str, *launchers: str) -> None:
    """Call the machine NAME, deploy bare nodes, and start ranks in each of them by each launcher."""
    Path("/proc/sys/kernel/hostname").write_text(name)
    with tempfile.NamedTemporaryFile("w") as hosts:
        hosts.write(f"127.0.0.1 localhost\n127.0.1.1 {name}\n127.0.1.1 client2\n")
        hosts.flush()
        subprocess.run(["mount", "--bind", hosts.name, "/etc/hosts"], check=True)
        requests = [support.request(node, number) for number, node in enumerate(NODES, 1)]
        with support.deployed(requests, NODES) as deployment:
            for launcher in launchers:
                launch(deployment, launcher)


def launch(deployment: Deployment, launcher: str) -> None:
    """Different numbers of ranks in each node, by one launcher."""
    found = mpi._described(launcher, Here())
    argv = found.launch(deployment.remote_shell, RANKS, ["/bin/sh", "-c", f'echo "rank $({SAID})"'])
    env = environment(deployment.id, found.environment)
    done = subprocess.run(deployment.in_fabric(argv), env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{launcher}: {done.stderr or done.stdout}"
    for rank in done.stdout.split("rank ")[1:]:
        print(launcher, *rank.split())


if __name__ == "__main__":
    main(*sys.argv[1:])
