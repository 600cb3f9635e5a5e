"""What is asked of the machines that are to carry hosts before anything is made there: of this one, or of a fleet."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, TypeVar

from pliant.composition.nodeset import fold
from pliant.machine import facts, module_file, uml, vm
from pliant.machine.facts import Facts
from pliant.machine.module_file import ModuleFile
from pliant.machine.parts import UML, VM
from pliant.machine.process import Completed, environment, run
from pliant.machine.vm import Booted
from pliant.platforms.agents import HostError
from pliant.platforms.fleet import Fleet
from pliant.platforms.kit import Kit

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Own:
    """The Python and the MPI that pliant runs its own kernels with, and where these are."""

    python: str
    mpiexec: str
    kernels: str | None = None


class Machines(Protocol):
    """The machines. Where there are several, an answer is that of all of them: what each has, what any lacks."""

    @property
    def remote(self) -> bool:
        """Whether they are others than this one."""

    @property
    def facts(self) -> Mapping[str, Facts]:
        """Machine -> what it has and can do."""

    def missing(self, programs: Sequence[str]) -> dict[str, list[str]]:
        """Program -> the machines where it is not, in words; of those that are not on all of them."""

    def which(self, program: str) -> str | None:
        """Where a program is, on the path that nodes use; None if it is not."""

    def named(self, program: str) -> str | None:
        """Where a program is that the user names, or has."""

    def located(self, programs: Sequence[str], directory: str) -> dict[str, str | None]:
        """Where programs are that the user has in a directory, or in bin or sbin below it; None for what is not."""

    def module(self, path: str) -> ModuleFile | None:
        """What the file of a kernel module says of itself; None if it is none."""

    def own_kernel(self, kind: str) -> str:
        """What a module must be built for, to be loaded by a node's own kernel (`machine.uml`, `machine.vm`); "" where
        there is none."""

    def missing_filesystems(self, names: Sequence[str]) -> list[str]:
        """Those of the file systems that a kernel neither has nor would load a module for."""

    def own_kernel_lacks(self, names: Sequence[str], kind: str = UML) -> list[str]:
        """Those of the file systems that a kernel of a node's own (`machine.uml`, `machine.vm`) would not have either;
        all of them where there is none."""

    def booted(self) -> list[Booted]:
        """How virtual machines were found to boot; see `machine.vm.known`."""

    def having(self, *modules: str) -> str:
        """What makes a kernel have what is in these modules."""

    def kernel_limit(self, name: str) -> tuple[int | None, int]:
        """See `machine.facts`."""

    def package_versions(self, packages: Sequence[str]) -> dict[str, str]:
        """See `machine.facts`."""

    def version(self, argv: Sequence[str]) -> str:
        """See `machine.facts`."""

    def said(self, argv: Sequence[str]) -> str:
        """See `machine.facts`."""

    def digests(self, programs: Sequence[str]) -> dict[str, str]:
        """Program -> the SHA-256 of its file; "" of one that is not there."""

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Completed:
        """Run a program that touches nothing, on the first of them. CommandFailed."""

    @property
    def own(self) -> Own:
        """What pliant's own kernels are run with there."""

    @property
    def libraries(self) -> Mapping[str, str]:
        """The environment by which programs of the user's find their libraries."""


class Here:
    """This machine."""

    remote = False

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See Machines."""
        return {"this machine": facts.look()}

    def missing(self, programs: Sequence[str]) -> dict[str, list[str]]:
        """See Machines."""
        return {program: ["this machine"] for program in facts.missing(tuple(programs))}

    def which(self, program: str) -> str | None:
        """See Machines."""
        return facts.which(program)

    def named(self, program: str) -> str | None:
        """See Machines. Here it is on the user's own path."""
        return shutil.which(program)

    def located(self, programs: Sequence[str], directory: str) -> dict[str, str | None]:
        """See Machines."""
        return facts.located(programs, directory)

    def module(self, path: str) -> ModuleFile | None:
        """See Machines."""
        return module_file.read(path)

    def own_kernel(self, kind: str) -> str:
        """See Machines."""
        return vm.vermagic() if kind == VM else uml.vermagic()

    def missing_filesystems(self, names: Sequence[str]) -> list[str]:
        """See Machines."""
        return facts.missing_filesystems(tuple(names))

    def own_kernel_lacks(self, names: Sequence[str], kind: str = UML) -> list[str]:
        """See Machines."""
        return vm.lacking(names) if kind == VM else uml.lacking(names)

    def booted(self) -> list[Booted]:
        """See Machines."""
        return vm.known()

    def having(self, *modules: str) -> str:
        """See Machines."""
        return facts.having(*modules)

    def kernel_limit(self, name: str) -> tuple[int | None, int]:
        """See Machines."""
        return facts.kernel_limit(name)

    def package_versions(self, packages: Sequence[str]) -> dict[str, str]:
        """See Machines."""
        return facts.package_versions(tuple(packages))

    def version(self, argv: Sequence[str]) -> str:
        """See Machines."""
        return facts.version(tuple(argv))

    def said(self, argv: Sequence[str]) -> str:
        """See Machines."""
        return facts.said(tuple(argv))

    def digests(self, programs: Sequence[str]) -> dict[str, str]:
        """See Machines."""
        return {program: facts.digest(program) for program in programs}

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Completed:
        """See Machines."""
        return run(argv, timeout_s=timeout_s, stdin=stdin, env=environment(extra=self.libraries))

    @property
    def own(self) -> Own:
        """See Machines."""
        return Own(sys.executable, os.path.join(os.path.dirname(sys.executable), "mpiexec"))  # noqa: PTH118, PTH120

    @property
    def libraries(self) -> dict[str, str]:
        """See Machines."""
        return {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}


class There:
    """The machines of a fleet, all of which are asked at the same time. Everything raises HostError."""

    remote = True

    def __init__(self, fleet: Fleet, kit: Kit, state: str) -> None:
        self._fleet, self._kit, self._state = fleet, kit, state
        self.libraries: dict[str, str] = {}

    def _each(self, what: str, **given: Any) -> dict[str, Any]:
        return self._fleet.each(lambda host: self._fleet.ask(host, what, **given))

    def _agreed(self, what: str, **given: Any) -> Any:
        """What all of them answer; HostError if they do not answer the same."""
        told = self._each(what, **given)
        first_host, first = next(iter(told.items()))
        for host, other in told.items():
            if other != first:
                about = next(iter(given.values()))
                raise HostError(f"{host}: differs from {first_host} in {what.replace('_', ' ')} of {about}: {other}")
        return first

    @property
    def facts(self) -> Mapping[str, Facts]:
        """See Machines."""
        return {host: Facts(**each) for host, each in self._each("look").items()}

    def missing(self, programs: Sequence[str]) -> dict[str, list[str]]:
        """See Machines."""
        told = self._each("which", programs=list(programs))
        found = {p: [host for host, known in told.items() if known[p] is None] for p in programs}
        return {program: [fold(hosts)] for program, hosts in found.items() if hosts}

    def which(self, program: str) -> str | None:
        """See Machines."""
        path: str | None = self._agreed("which", programs=[program])[program]
        return path

    named = which

    def located(self, programs: Sequence[str], directory: str) -> dict[str, str | None]:
        """See Machines."""
        found: dict[str, str | None] = self._agreed("located", programs=list(programs), directory=directory)
        return found

    def module(self, path: str) -> ModuleFile | None:
        """See Machines."""
        told = self._agreed("module", path=path)
        if told is None:
            return None
        lists = {name: tuple(told[name]) for name in ("filesystems", "depends")}
        return ModuleFile(told["name"], told["vermagic"], **lists)

    def own_kernel(self, kind: str) -> str:
        """See Machines. Only nodes of this machine have kernels of their own."""
        return ""

    def missing_filesystems(self, names: Sequence[str]) -> list[str]:
        """See Machines."""
        told = self._each("missing_filesystems", names=list(names))
        return [name for name in names if any(name in missing for missing in told.values())]

    def own_kernel_lacks(self, names: Sequence[str], kind: str = UML) -> list[str]:
        """See Machines. Only nodes of this machine have kernels of their own."""
        return list(names)

    def booted(self) -> list[Booted]:
        """See Machines."""
        return []

    def having(self, *modules: str) -> str:
        """See Machines."""
        return str(self._fleet.ask(self._fleet.hosts[0], "having", modules=list(modules)))

    def kernel_limit(self, name: str) -> tuple[int | None, int]:
        """See Machines. The least of all that is left."""
        told = [(most, used) for most, used in self._each("kernel_limit", name=name).values()]
        return min(told, key=lambda each: float("inf") if each[0] is None else each[0] - each[1])

    def package_versions(self, packages: Sequence[str]) -> dict[str, str]:
        """See Machines."""
        found: dict[str, str] = self._agreed("package_versions", packages=list(packages))
        return found

    def version(self, argv: Sequence[str]) -> str:
        """See Machines."""
        return str(self._agreed("version", argv=list(argv)))

    def said(self, argv: Sequence[str]) -> str:
        """See Machines."""
        return str(self._fleet.ask(self._fleet.hosts[0], "said", argv=list(argv)))

    def digests(self, programs: Sequence[str]) -> dict[str, str]:
        """See Machines."""
        found: dict[str, str] = self._agreed("digests", programs=list(programs))
        return found

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> Completed:
        """See Machines."""
        return self._fleet.agent(self._fleet.hosts[0]).run(argv, timeout_s=timeout_s, stdin=stdin)

    @cached_property
    def own(self) -> Own:
        """See Machines. They are brought along, once."""
        self._fleet.provide(self._kit.name, self._kit.packed)
        place = f"{self._state}-agents/kit-{self._kit.name}"
        return Own(f"{place}/bin/python3", f"{place}/bin/mpiexec", f"{place}/kernels")


def least(machines: Mapping[str, Facts]) -> Facts:
    """What every one of the machines has at least; what is told in words is the first one's."""
    every = list(machines.values())
    return replace(
        every[0],
        cores=min(each.cores for each in every),
        memory_bytes=min(each.memory_bytes for each in every),
        free_disk_bytes=min(each.free_disk_bytes for each in every),
        netem=all(each.netem for each in every),
        cgroups_error=next((each.cgroups_error for each in every if each.cgroups_error), ""),
    )
