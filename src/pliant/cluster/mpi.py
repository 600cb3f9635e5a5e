"""Which MPI starts a workload: the one that pliant comes with, or the one that the user's benchmark was built with.

A program started by another MPI's mpiexec runs as many lone ranks, each of which measures by itself: numbers that look
right and are not. So the two are matched here, before anything is deployed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pliant.errors import UserError
from pliant.platforms.interface import NOT_FOUND, CommandFailed, RemoteShell
from pliant.platforms.machines import Machines
from pliant.workloads.mpi import Flavour, Wiring, flavour_of, launch_argv

_LIBRARIES: tuple[tuple[str, Flavour], ...] = (
    ("libmpi.so.12", "mpich"),
    ("libmpich.so", "mpich"),
    ("libmpi.so.40", "openmpi"),
)
"""Shared libraries by which a program tells its MPI: the MPICH ABI initiative's, Debian's MPICH, Open MPI 2 to 5."""

_NAMES = ("mpiexec", "mpirun", "mpiexec.mpich", "mpiexec.hydra", "mpiexec.openmpi", "mpirun.openmpi")
"""What it is called on PATH; where several MPIs are installed (Debian), the first two are of one of them only."""

_REMEDY = 'name its mpiexec in the study: [mpi] mpiexec = "/path/mpiexec"'


@dataclass(frozen=True)
class Mpi:
    """An mpiexec that can start ranks in nodes. `environment` is what it needs beside the usual."""

    flavour: Flavour
    mpiexec: str
    version: str
    environment: Mapping[str, str]

    def launch(self, shell: RemoteShell, ranks: Mapping[str, int], argv: Sequence[str]) -> list[str]:
        """The command, to be run on the switch, that runs `argv` on so many ranks in each of these nodes."""
        # Both quote for a shell, which the program gives them on request; Hydra asks by itself. Open MPI's daemons look
        # for the first word in their nodes, although they start nothing with it, and end if it is not there.
        launcher = shell.program if self.flavour == "mpich" else f"/bin/sh {shell.program} -x"
        wiring = Wiring(head_interface=shell.interface, node_interface=shell.node_interface, network=shell.network)
        return launch_argv(self.flavour, self.mpiexec, launcher, ranks, wiring, argv)


def find(asked: str | None, program: str | None, machines: Machines) -> Mpi:
    """The mpiexec for `program` on the machines that carry hosts. `asked` is the one that the study names for its real
    programs, if it does.

    A built-in kernel (None) always gets the one that pliant comes with, which its mpi4py was built for. Raises
    UserError if there is none that fits.
    """
    if program is None:
        return _described(machines.own.mpiexec, machines)
    linked, library = _linked(program, machines)
    beside = [str(Path(program).resolve().parent / "mpiexec")]
    if library is not None:
        beside.append(str(library.parent.parent / "bin" / "mpiexec"))
    candidates = [asked] if asked else [*beside, *map(machines.named, _NAMES)]
    for candidate in filter(None, candidates):
        if asked or machines.named(candidate):
            try:
                mpi = _described(candidate, machines)
            except UserError:
                if asked:
                    raise
                continue  # another's mpiexec, a site's wrapper: one of the others may be right
            if linked in (None, mpi.flavour) and (asked or linked):
                return mpi
    if linked is None and not asked:
        raise UserError(f"cannot tell which MPI {program} was built with; {_REMEDY}")
    raise UserError(f"{program} was built with {linked or 'an MPI'}, and no mpiexec of it was found; {_REMEDY}")


def _linked(program: str, machines: Machines) -> tuple[Flavour | None, Path | None]:
    """The MPI that a program is linked with and where its library is; None if it does not say (a script, or static)."""
    try:
        libraries = machines.run(["ldd", program], timeout_s=20).stdout
    except CommandFailed:
        return None, None
    flavour = next((flavour for name, flavour in _LIBRARIES if name in libraries), None)
    place = re.search(r"^\s*libmpi\S* => (/\S+)", libraries, re.MULTILINE)
    return flavour, Path(place[1]) if place else None


def _described(mpiexec: str, machines: Machines) -> Mpi:
    """An mpiexec and what it says of itself; UserError if it is none that pliant knows."""
    libraries = dict(machines.libraries)
    try:
        said = machines.run([mpiexec, "--version"], timeout_s=20).check().stdout
        flavour = flavour_of(said)
    except CommandFailed as error:
        if error.exit_status == NOT_FOUND:
            raise UserError(f"{mpiexec} is not a program; reinstall pliant's dependencies, or {_REMEDY}") from error
        raise UserError(f"{mpiexec}: {error}") from error
    except ValueError as error:
        raise UserError(f"{mpiexec}: {error}") from error
    if flavour == "mpich":
        libraries["HYDRA_LAUNCHER_AUTOFORK"] = "0"  # every rank through the launcher, whatever its node is called
    number = re.search(r"(?:Version:|\(Open ?\w+\)) +(\d\S*)", said)
    name = "MPICH" if flavour == "mpich" else "Open MPI"
    return Mpi(flavour, mpiexec, f"{name} {number[1]}" if number else name, libraries)
