"""A real Slurm on the hosts of a box: slurmctld on its front end, a slurmd on each of the others, and MUNGE.

All of it lies in the box's directory, which hosts show as /etc/slurm; no control groups are made.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pliant.schedulers.front import Front

from . import user
from .hosts import Box, needs, until

PARTITIONS = ("main", "other")
"""The partitions, each of all hosts; the first is the default."""
_IN_HOSTS = "/etc/slurm"
_SETTINGS = """\
ClusterName=box
SlurmctldHost={front}({front_address})
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={munge}
StateSaveLocation=/etc/slurm/state
SlurmdSpoolDir=/etc/slurm/spool-%n
SlurmctldPidFile=/etc/slurm/slurmctld.pid
SlurmdPidFile=/etc/slurm/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/linear
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,bf_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=1
MailProg=/bin/true
"""


@dataclass(frozen=True)
class SlurmBox:
    """A Slurm that is up: `front` is where it is called, as an ordinary user; `operator` the same as root.

    `config_here` is what SLURM_CONF is set to where its commands are called on the machine itself, as root.
    """

    hosts: Box
    front: Front
    operator: Front
    config_here: Path
    nodes: tuple[str, ...]


@contextlib.contextmanager
def slurm(directory: Path, nodes: int) -> Iterator[SlurmBox]:
    """A box of so many hosts and a front end, with a Slurm, during the block."""
    with user.with_front(directory, nodes) as hosts:
        yield start(hosts)


def start(hosts: Box, front: str = user.FRONT, nodes: Sequence[str] = ()) -> SlurmBox:
    """Start Slurm on hosts that are up and know the user; it ends with them.

    `nodes` are those that it lends: all but the front end unless they are named.
    """
    needs("munged", "slurmctld", "slurmd", "sbatch")
    nodes = tuple(nodes or (name for name in hosts.names if name != front))
    directory = hosts.directory / "slurm"
    _configure(hosts, front, nodes, directory)
    files = {
        "socket": "munge",
        "key-file": "key",
        "pid-file": "munge.pid",
        "log-file": "munge.log",
        "seed-file": "seed",
    }
    munged = ["munged", "--foreground", "--force", *(f"--{what}={_IN_HOSTS}/{file}" for what, file in files.items())]
    hosts.start(front, munged, "munged")
    until((directory / "munge").exists, "munged")
    hosts.start(front, ["slurmctld", "-D"], "slurmctld")
    for name in nodes:
        hosts.start(name, ["slurmd", "-D", "-N", name], "slurmd")
    until(lambda: _idle(hosts, front) == len(nodes), "Slurm")
    return SlurmBox(
        hosts, Front(front, hosts.config), Front(f"root@{front}", hosts.config), directory / "here.conf", nodes
    )


def _configure(hosts: Box, front: str, nodes: Sequence[str], directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    (directory / "state").mkdir(parents=True)
    (directory / "key").write_bytes(os.urandom(1024))
    (directory / "key").chmod(0o600)
    lines = [f"NodeName={name} NodeAddr={hosts.addresses[name]} CPUs=1 RealMemory=1000 State=UNKNOWN" for name in nodes]
    lines += [
        f"PartitionName={name} Nodes=ALL MaxTime=1-0 DefaultTime=10 State=UP{' Default=YES' * (name == PARTITIONS[0])}"
        for name in PARTITIONS
    ]
    # A hybrid layout is none that Slurm finds by itself, though it is asked to make no groups.
    (directory / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\nCgroupAutomount=no\n")
    for file, munge in (("slurm.conf", f"{_IN_HOSTS}/munge"), ("here.conf", f"{directory}/munge")):
        settings = _SETTINGS.format(front=front, front_address=hosts.addresses[front], munge=munge)
        (directory / file).write_text(settings + "\n".join([*lines, ""]))
    for name in hosts.names:
        user.bind(hosts, name, directory, _IN_HOSTS)


def _idle(hosts: Box, front: str) -> int:
    """How many nodes Slurm could lend."""
    with contextlib.suppress(subprocess.CalledProcessError):
        return int(hosts.run(front, ["sinfo", "-h", "-N", "-p", PARTITIONS[0], "-t", "idle", "-o", "%N"]).count("\n"))
    return 0
