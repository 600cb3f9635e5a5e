"""The command line that starts an MPI job in nodes: pure, for MPICH's Hydra and for Open MPI.

Both are told to reach a node through a launcher, a program of ours that enters it, instead of ssh. Nodes that are
namespaces of one machine look alike to an MPI library (same kernel, same boot), which may then try shared memory or
the loopback between them: what they do not share. So the transport between nodes is named: TCP, on the nodes' network.
Within a node, shared memory stays on.

Sources: https://github.com/pmodels/mpich/blob/main/doc/wiki/how_to/Using_the_Hydra_Process_Manager.md;
fi_tcp(7) and ucx_info -c for the environment; mpirun(1) and ompi_info --all of Open MPI 4.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Flavour = Literal["mpich", "openmpi"]


@dataclass(frozen=True)
class Wiring:
    """The network that a job uses.

    `head_interface` is the machine's interface in the nodes' network, through which the nodes reach mpiexec;
    `node_interface` is the nodes' own; `network` is that network, as CIDR.
    """

    head_interface: str
    node_interface: str
    network: str


def flavour_of(version_output: str) -> Flavour:
    """Which MPI an mpiexec belongs to, from what `mpiexec --version` prints; ValueError if it is neither."""
    if "HYDRA" in version_output:
        return "mpich"
    if "Open MPI" in version_output or "OpenRTE" in version_output:
        return "openmpi"
    first = version_output.strip().partition("\n")[0]
    raise ValueError(f"mpiexec is neither MPICH's nor Open MPI's: its version is {first!r}")


def launch_argv(
    flavour: Flavour,
    mpiexec: str,
    launcher: str,
    ranks: Mapping[str, int],
    wiring: Wiring,
    argv: Sequence[str],
    directory: str = "/",
) -> list[str]:
    """The command that runs `argv` on so many ranks in each of the nodes, ranks of one node next to each other.

    Args:
        flavour: whose command line to write.
        mpiexec: path of mpiexec, run outside the nodes.
        launcher: path of an executable that is called as `[-x] HOST PROGRAM ARGS...`, and runs the rest in that node
            through a shell (both flavours quote for one).
        ranks: name of a node -> MPI ranks in it, at least 1, in the order of the ranks; names need not resolve, only
            the launcher must know them.
        wiring: the network to bind to.
        argv: the program and its arguments; the same paths must exist in the nodes.
        directory: working directory in the nodes.

    Raises:
        ValueError: no nodes, or one without ranks.
    """
    if not ranks or min(ranks.values()) < 1:
        raise ValueError(f"an MPI job needs nodes, and at least one rank in each; it was given {dict(ranks)}")
    build = _hydra if flavour == "mpich" else _open_mpi
    hosts = ",".join(f"{node}:{count}" for node, count in ranks.items())
    return [mpiexec, *build(launcher, hosts, sum(ranks.values()), wiring, directory), *argv]


def _hydra(launcher: str, hosts: str, count: int, wiring: Wiring, directory: str) -> list[str]:
    environment = {
        "FI_PROVIDER": "tcp",
        "FI_TCP_IFACE": wiring.node_interface,
        "UCX_TLS": "tcp,self",  # MPICH has shared memory of its own within a node
        "UCX_NET_DEVICES": wiring.node_interface,
    }
    return [
        *("-launcher", "ssh", "-launcher-exec", launcher),
        *("-iface", wiring.head_interface),
        *("-hosts", hosts),
        *("-wdir", directory),
        *(word for name, value in environment.items() for word in ("-genv", name, value)),
        *("-n", str(count)),
    ]


def _open_mpi(launcher: str, hosts: str, count: int, wiring: Wiring, directory: str) -> list[str]:
    parameters = {
        "plm_rsh_agent": launcher,
        "plm_rsh_no_tree_spawn": "1",  # there is no launcher inside a node to start the next one from
        "oob_tcp_if_include": wiring.network,
        "btl_tcp_if_include": wiring.network,
        "pml": "ob1",
        "btl": "tcp,vader,self",
        "mpi_yield_when_idle": "1",
    }
    return [
        "--allow-run-as-root",
        # Each node would bind its first rank to the machine's first core.
        *("--bind-to", "none"),
        *("--map-by", "slot"),
        *(word for name, value in parameters.items() for word in ("--mca", name, value)),
        *("--host", hosts),
        *("--wdir", directory),
        *("-np", str(count)),
    ]
