"""Which nodes of a study share the machine's kernel, and which have one of their own, with how much memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pliant.composition.model import Composition, Role
from pliant.composition.placement import Placement
from pliant.errors import UserError
from pliant.machine.facts import module_of
from pliant.platforms.machines import Machines
from pliant.units import format_size

PROGRAM, PACKAGE = "linux.uml", "user-mode-linux"
LEAST_BYTES = 160 << 20
"""Memory in which a kernel, and a Python with what an MPI rank takes, have room."""
_MOST_BYTES = 512 << 20
_PART = 0.8
"""Part of a host's memory that its kernels' are together: what they cannot return is not all that they take."""


@dataclass(frozen=True)
class Kernels:
    """Role -> the memory, in bytes, of each of its nodes' own kernels. The others share the machine's."""

    own: Mapping[str, int]
    modules: Mapping[str, str] = field(default_factory=dict)
    """Role -> the file of the module that these load, where the user names one."""

    @property
    def sentence(self) -> str:
        """What is said of them; "" where all share one."""
        if not self.own:
            return ""
        size = format_size(next(iter(self.own.values())))
        return f"{' and '.join(self.own)}: a kernel of its own in each node (User Mode Linux), of {size} and one CPU"

    def document(self, machines: Machines) -> dict[str, Any]:
        """What of them determines a trial."""
        digests = machines.digests([PROGRAM, *self.modules.values()])
        modules = {role: digests[path] for role, path in self.modules.items()}
        found = {"memory": dict(self.own), "kernel": digests[PROGRAM]}
        return {**found, "modules": modules} if modules else found

    def warnings(self, composition: Composition) -> Iterator[str]:
        """What a user should know about it."""
        shared = [role.name for role in composition.roles if role.kernel and role.name not in self.own]
        if shared:
            yield (
                f"the machine's kernel itself does the work of {' and '.join(shared)}: on an emulated host that CPU "
                "time is nobody's, and is not limited"
            )
        if self.own:
            yield (
                f"the kernel of a node of {' and '.join(self.own)} takes 10 to 50 us for each system call: rates of "
                "small requests and of metadata are its own, 1,000 to 8,000 a second, and get no verdict where a trial "
                "shows that"
            )


def choose(
    composition: Composition, placements: Sequence[Placement], memory_bytes: int, wish: str | None, machines: Machines
) -> Kernels:
    """Whose kernel is their own: of the roles for which the machine's has not got what they need, if `wish` does not
    say otherwise. Raises UserError where neither has it, or where a host has no room for them."""
    own = [role for role in composition.roles if role.kernel and _wants_own(composition, role, wish, machines)]
    if not own:
        return Kernels({})
    names = {role.name for role in own}
    inside = {node.name for node in composition.nodes if node.role in names}
    most = max((len(inside.intersection(nodes)) for each in placements for nodes in each.hosts), default=1)
    each = min(_MOST_BYTES, int(memory_bytes * _PART / max(1, most))) >> 20 << 20
    if each < LEAST_BYTES:
        needed = int(LEAST_BYTES * most / _PART)
        raise UserError(
            f"a host carries up to {most} nodes with a kernel of their own, each of which takes at least "
            f"{format_size(LEAST_BYTES)}: give hosts `memory` of {needed / 2**20:.0f} MiB or more in [platform.host]"
        )
    return Kernels({role.name: each for role in own}, {role.name: role.module for role in own if role.module})


def _wants_own(composition: Composition, role: Role, wish: str | None, machines: Machines) -> bool:
    missing = machines.missing_filesystems(role.kernel)
    crowded = role.name in composition.one_per_kernel and sum(node.role == role.name for node in composition.nodes) > 1
    if wish == "shared" and role.own_kernel:
        raise UserError(f'{role.own_kernel}: leave kernel = "shared" out of [platform]')
    if wish == "shared" or (wish is None and not missing and not crowded and not role.own_kernel):
        if missing:
            raise UserError(requires(composition, missing, machines))
        return False
    if role.own_kernel and machines.remote:
        where = "nodes have kernels of their own on the platform emulated only"
        raise UserError(f"{composition.filesystem}: {role.own_kernel}, and {where}")
    if role.module and not machines.remote:
        if why := unfit(role, machines):
            raise UserError(f"{composition.filesystem}: {why}")
        return True
    if role.module_source and not machines.remote:
        need = f"the kernel of each {role.name} is one of its own, and has no {' and '.join(role.kernel)}"
        raise UserError(f"{composition.filesystem}: {need}; {role.module_source}")
    if lacking := machines.own_kernel_lacks(role.kernel):
        if machines.remote:
            raise UserError(
                f"{requires(composition, missing or lacking, machines)}; nodes have kernels of their own "
                "on the platform emulated only"
            )
        raise UserError(
            f"{requires(composition, missing or lacking, machines)}. Or give nodes a kernel of their own, which needs "
            f"no hardware for it: apt-get install {PACKAGE}"
        )
    return True


def unfit(role: Role, machines: Machines) -> str:
    """Why the module that the user names for a role cannot be loaded by a kernel of a node's own, with what is to be
    done; "" if it can."""
    module, own = machines.module(role.module), machines.own_kernel
    if module is None:
        return f"{role.module} is no file of a kernel module; {role.module_source}"
    if absent := [name for name in role.kernel if name not in module.filesystems]:
        return f"{role.module} is the module {module.name}, which has no {' and '.join(absent)}; {role.module_source}"
    if not own:
        return f"nodes with kernels of their own, which load {role.module}, need: apt-get install {PACKAGE}"
    if module.vermagic != own:
        return (
            f'{role.module} was built for the kernel "{module.vermagic}", and that of nodes is "{own}"; '
            f"{role.module_source}"
        )
    return ""


def requires(composition: Composition, names: Sequence[str], machines: Machines) -> str:
    """What a file system requires of the machine's kernel, which has not got these, and how it comes to have it."""
    every = machines.missing_filesystems(composition.of_kernels) or names
    return (
        f"{composition.filesystem} requires {' and '.join(every)} of the kernel, which this machine's has not: "
        f"{machines.having(*map(module_of, every))}"
    )
