"""One node, made, limited, used and removed: whether this machine can do it, and if not which step fails.

To look whether a kernel or a container has what is needed says little: that a file system is known does not mean that
it can be mounted, nor that there is a control group that it can be limited by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pliant.machine.cgroup import CgroupError
from pliant.machine.process import CommandFailed
from pliant.machine.teardown import TeardownError
from pliant.platforms.emulated import Emulated, EmulatedDeployment
from pliant.platforms.interface import HostFigures, NodeRequest
from pliant.platforms.programs import visible

_FIGURES = HostFigures(cores=0.1, nic_bit_s=100e6, disk_byte_s=20e6, memory_bytes=64 << 20)
_DISK = "/srv/disk"
_NODE = NodeRequest("node1", "10.77.1.1", disk=_DISK, disk_bytes=32 << 20)


@dataclass(frozen=True)
class Tried:
    """How it went: `failed` names the step that failed, "" if none did, and `said` what was said of it."""

    failed: str
    said: str
    took_s: float


def try_a_node() -> Tried:
    """Make a node with a disk on a limited host, run something in it, and remove it: a second at most. Needs root."""
    began_s = time.monotonic()
    step = "a deployment"
    try:
        deployment = Emulated().new(_FIGURES, title="doctor")
        steps: dict[str, Callable[[], object]] = {
            "a node": lambda: deployment.up([_NODE], {_NODE.name: 1}, 1, visible()),
            "limits of CPU, NIC and disk": lambda: deployment.limit(True),
            "a program in the node": lambda: deployment.execute(_NODE.name, ["hostname"], timeout_s=10).check(),
            "writing on its disk": lambda: deployment.execute(
                _NODE.name, ["dd", "if=/dev/zero", f"of={_DISK}/x", "bs=64k", "count=16", "conv=fsync"], timeout_s=20
            ).check(),
            "reaching another address": lambda: deployment.execute(
                _NODE.name, ["ip", "route", "get", "10.77.255.254"], timeout_s=10
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


def lacking(programs: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Program -> why it could not run in a node, of those of which that is seen in one (ldd(1)).

    `environment` has what they find libraries by. Needs root; raises what making a node does.
    """
    node = NodeRequest("node1", "10.77.1.1")
    deployment = Emulated().new(_FIGURES, title="programs")
    try:
        deployment.up([node], {node.name: 1}, 1, visible(programs))
        found = {program: _lacks(deployment, program, environment) for program in programs}
    finally:
        deployment.remove()
    return {program: why for program, why in found.items() if why}


def _lacks(deployment: EmulatedDeployment, program: str, environment: Mapping[str, str]) -> str:
    """Why a program could not run in the node; "" if nothing is seen."""
    settings = [f"{name}={value}" for name, value in environment.items()]
    there = deployment.execute("node1", ["test", "-x", program], timeout_s=10)
    if there.exit_status:
        return "it is not there"
    said = deployment.execute("node1", ["env", *settings, "ldd", program], timeout_s=20).stdout
    missing = [line.split()[0] for line in said.splitlines() if line.rstrip().endswith("not found")]
    return f"its libraries {', '.join(missing)} are not there" if missing else ""
