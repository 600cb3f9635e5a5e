"""One node, made, limited, used and removed: whether this machine can do it, and if not which step fails.

To look whether a kernel or a container has what is needed says little: that a file system is known does not mean that
it can be mounted, nor that there is a control group that it can be limited by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import cgroups
from .cgroup import CgroupError
from .deployment import Deployment
from .journal import Journal
from .network import GATEWAY
from .parts import HostFigures, NodeRequest
from .process import CommandFailed
from .teardown import TeardownError

FIGURES = HostFigures(cores=0.1, nic_bit_s=100e6, disk_byte_s=20e6, memory_bytes=64 << 20)
_DISK = "/srv/disk"
_NODE = NodeRequest("node1", "10.77.1.1", disk=_DISK, disk_bytes=32 << 20)


@dataclass(frozen=True)
class Tried:
    """How it went: `failed` names the step that failed, "" if none did, and `said` what was said of it."""

    failed: str
    said: str
    took_s: float


def try_a_node(visible: Sequence[str] = ()) -> Tried:
    """Make a node with a disk on a limited host, run something in it, and remove it: a second at most. Needs root.

    `visible` are files and directories that nodes must see.
    """
    began_s = time.monotonic()
    step = "a deployment"
    write = ["dd", "if=/dev/zero", f"of={_DISK}/x", "bs=64k", "count=16", "conv=fsync"]
    try:
        deployment = Deployment(Journal.create("doctor"), cgroups.probe(), FIGURES)
        steps: dict[str, Callable[[], object]] = {
            "a node": lambda: deployment.up([_NODE], {_NODE.name: 1}, 1, visible),
            "limits of CPU, NIC and disk": lambda: deployment.limit(True),
            "a program in the node": lambda: deployment.execute(_NODE.name, ["hostname"], timeout_s=10).check(),
            "writing on its disk": lambda: deployment.execute(_NODE.name, write, timeout_s=20).check(),
            "a way to another address": lambda: deployment.execute(
                _NODE.name, ["ip", "route", "get", GATEWAY], timeout_s=10
            ).check(),
        }
        try:
            for step, do in steps.items():  # noqa: B007 - it is told if one fails
                do()
        finally:
            deployment.remove()
    except (CgroupError, CommandFailed, TeardownError, OSError) as error:
        return Tried(step, str(error), time.monotonic() - began_s)
    return Tried("", "", time.monotonic() - began_s)
