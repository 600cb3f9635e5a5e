"""Whether programs could run in a node, found by looking from inside of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pliant.machine.trying import FIGURES
from pliant.platforms.emulated import Emulated, EmulatedDeployment
from pliant.platforms.interface import NodeRequest


def lacking(programs: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Program -> why it could not run in a node, of those of which that is seen in one (ldd(1)).

    `environment` has what they find libraries by. Needs root; raises what making a node does.
    """
    node = NodeRequest("node1", "10.77.1.1")
    deployment = Emulated().new(FIGURES, title="programs")
    try:
        deployment.up([node], {node.name: 1}, 1, programs)
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
