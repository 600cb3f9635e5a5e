"""Which nodes of a study share the machine's kernel, and which have one of their own, with how much memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pliant.composition.model import Composition, OwnKernel, Role
from pliant.composition.placement import Placement
from pliant.errors import UserError
from pliant.machine.facts import module_of
from pliant.platforms.machines import Machines
from pliant.units import format_size

PROGRAMS = {"uml": "linux.uml", "vm": "qemu-system-x86_64"}
PACKAGES = {"uml": "user-mode-linux", "vm": "qemu-system-x86 linux-image-amd64 busybox-static"}
_NAMES = {"uml": "User Mode Linux", "vm": "a virtual machine"}
_MIB = 1 << 20
LEAST_BYTES = {"uml": 160 * _MIB, "vm": 256 * _MIB}
"""Memory in which a kernel, and a Python with what an MPI rank takes, have room."""
_MOST_BYTES = 512 * _MIB
_PART = {"uml": 0.8, "vm": 0.6}
"""Part of a host's memory that its kernels' are together: what they cannot return is not all that they take, and a
virtual machine takes some for itself, a good deal more without KVM."""


@dataclass(frozen=True)
class Kernels:
    """Role -> the kernel that each of its nodes has of its own. The others share the machine's."""

    own: Mapping[str, OwnKernel]
    modules: Mapping[str, str] = field(default_factory=dict)
    """Role -> the file of the module that these load, where the user names one."""
    emulated: bool = False
    """Whether virtual machines run without KVM."""

    @property
    def sentence(self) -> str:
        """What is said of them; "" where all share one."""
        if not self.own:
            return ""
        return "; ".join(self._sentence(kind) for kind in dict.fromkeys(own.kind for own in self.own.values()))

    def _sentence(self, kind: str) -> str:
        roles = {role: own for role, own in self.own.items() if own.kind == kind}
        name = f"{_NAMES[kind]}{', emulated without KVM' if kind == 'vm' and self.emulated else ''}"
        size = format_size(next(iter(roles.values())).memory_bytes)
        return f"{' and '.join(roles)}: a kernel of its own in each node ({name}), of {size} and one CPU"

    def document(self, machines: Machines) -> dict[str, Any]:
        """What of them determines a trial."""
        kinds = {own.kind for own in self.own.values()}
        programs = {kind: PROGRAMS[kind] for kind in sorted(kinds)}
        digests = machines.digests([*programs.values(), *self.modules.values()])
        modules = {role: digests[path] for role, path in self.modules.items()}
        found: dict[str, Any] = {"memory": {role: own.memory_bytes for role, own in self.own.items()}}
        if kinds == {"uml"}:
            found["kernel"] = digests[PROGRAMS["uml"]]
        else:
            found["kinds"] = {role: own.kind for role, own in self.own.items()}
            found["programs"] = {kind: digests[program] for kind, program in programs.items()}
            found["kernels"] = machines.digests(sorted({each.kernel for each in machines.booted() if each.boots}))
            found["emulated"] = self.emulated
        return {**found, "modules": modules} if modules else found

    def warnings(self, composition: Composition) -> Iterator[str]:
        """What a user should know about it."""
        shared = [role.name for role in composition.roles if role.kernel and role.name not in self.own]
        if shared:
            yield (
                f"the machine's kernel itself does the work of {' and '.join(shared)}: on an emulated host that CPU "
                "time is nobody's, and is not limited"
            )
        if slow := [role for role, own in self.own.items() if own.kind == "uml"]:
            yield (
                f"the kernel of a node of {' and '.join(slow)} takes 10 to 50 us for each system call: rates of "
                "small requests and of metadata are its own, 1,000 to 8,000 a second, and get no verdict where a trial "
                "shows that"
            )
        if self.emulated:
            yield (
                f"the virtual machines of {' and '.join(r for r, own in self.own.items() if own.kind == 'vm')} run "
                "without KVM, which does not boot a kernel here: all that they do takes ten times the CPU time and "
                "more, and what CPU limits says nothing of the file system"
            )


def choose(
    composition: Composition, placements: Sequence[Placement], memory_bytes: int, wish: str | None, machines: Machines
) -> Kernels:
    """Whose kernel is their own: of the roles for which the machine's has not got what they need, if `wish` does not
    say otherwise. Raises UserError where neither has it, or where a host has no room for them."""
    found = {role: _kind(composition, role, wish, machines) for role in composition.roles if role.kernel}
    own = {role: kind for role, kind in found.items() if kind != "shared"}
    if not own:
        return Kernels({})
    kinds = {role.name: kind for role, kind in own.items()}
    sizes = {kind: _memory(composition, placements, kinds, kind, memory_bytes) for kind in set(kinds.values())}
    emulated = "vm" in sizes and not _at_full_speed(machines)
    modules = {role.name: role.module for role in own if role.module}
    return Kernels({name: OwnKernel(kind, sizes[kind]) for name, kind in kinds.items()}, modules, emulated)


def _memory(
    composition: Composition, placements: Sequence[Placement], kinds: Mapping[str, str], kind: str, memory_bytes: int
) -> int:
    """The memory of each kernel of a kind, where hosts have so much. Raises UserError if that is too little."""
    inside = {node.name for node in composition.nodes if node.role in kinds}
    most = max((len(inside.intersection(nodes)) for each in placements for nodes in each.hosts), default=1)
    each = min(_MOST_BYTES, int(memory_bytes * _PART[kind] / max(1, most))) // _MIB * _MIB
    if each < LEAST_BYTES[kind]:
        needed = int(LEAST_BYTES[kind] * most / _PART[kind])
        raise UserError(
            f"a host carries up to {most} nodes with a kernel of their own, each of which takes at least "
            f"{format_size(LEAST_BYTES[kind])}: give hosts `memory` of {needed / _MIB:.0f} MiB or more in "
            "[platform.host]"
        )
    return each


def _kind(composition: Composition, role: Role, wish: str | None, machines: Machines) -> str:
    """The kind of a role's nodes. Raises UserError where there is none that can be."""
    missing = machines.missing_filesystems(role.kernel)
    crowded = role.name in composition.one_per_kernel and sum(node.role == role.name for node in composition.nodes) > 1
    if wish == "shared" and role.own_kernel:
        raise UserError(f'{role.own_kernel}: leave kernel = "shared" out of [platform]')
    if wish == "shared" or (wish is None and not missing and not crowded and not role.own_kernel):
        if missing:
            raise UserError(requires(composition, missing, machines))
        return "shared"
    if machines.remote:
        raise UserError(_not_elsewhere(composition, role, missing, machines))
    if wish == "vm":
        if why := _no_machine(composition, role, machines):
            raise UserError(f"{composition.filesystem}: {why}")
        return "vm"
    why = _no_uml(composition, role, missing, machines)
    # One that is known to run at full speed does where User Mode Linux cannot.
    if why and wish is None and _at_full_speed(machines) and not _no_machine(composition, role, machines):
        return "vm"
    if why:
        raise UserError(why)
    return "uml"


def _at_full_speed(machines: Machines) -> bool:
    """Whether a virtual machine was seen to boot by KVM."""
    return any(each.acceleration == "kvm" and each.boots for each in machines.booted())


def _not_elsewhere(composition: Composition, role: Role, missing: Sequence[str], machines: Machines) -> str:
    where = "nodes have kernels of their own on the platform emulated only"
    if role.own_kernel:
        return f"{composition.filesystem}: {role.own_kernel}, and {where}"
    return f"{requires(composition, missing or role.kernel, machines)}; {where}"


def _no_uml(composition: Composition, role: Role, missing: Sequence[str], machines: Machines) -> str:
    """Why nodes of a role cannot be User Mode Linux, and what helps; "" if they can."""
    if role.module:
        why = unfit(role, machines, "uml")
        return f"{composition.filesystem}: {why}" if why else ""
    if role.module_source:
        need = f"the kernel of each {role.name} is one of its own, and has no {' and '.join(role.kernel)}"
        return f"{composition.filesystem}: {need}; {role.module_source}"
    if lacking := machines.own_kernel_lacks(role.kernel):
        return (
            f"{requires(composition, missing or lacking, machines)}. Or give nodes a kernel of their own, which needs "
            f"no hardware for it: apt-get install {PACKAGES['uml']}"
        )
    return ""


def _no_machine(composition: Composition, role: Role, machines: Machines) -> str:
    """Why nodes of a role cannot be virtual machines, and what helps; "" if they can."""
    if role.module_source and not role.module:
        return f"each {role.name} needs a module for the kernel of its virtual machine; {role.module_source}"
    if role.module and (why := unfit(role, machines, "vm")):
        return why
    if not role.module and (lacking := machines.own_kernel_lacks(role.kernel, "vm")):
        return (
            f"virtual machines, whose kernel is to have {' and '.join(lacking)}, need: apt-get install {PACKAGES['vm']}"
        )
    tried = machines.booted()
    if not tried:
        return "whether a virtual machine boots here is known once one was booted: run `pliant doctor` first"
    if not any(each.boots for each in tried):
        return "no virtual machine boots here: " + "; ".join(each.sentence for each in tried)
    return ""


def unfit(role: Role, machines: Machines, kind: str) -> str:
    """Why the module that the user names for a role cannot be loaded by a node's own kernel of this kind, with what is
    to be done; "" if it can."""
    module, own = machines.module(role.module), machines.own_kernel(kind)
    if module is None:
        return f"{role.module} is no file of a kernel module; {role.module_source}"
    if absent := [name for name in role.kernel if name not in module.filesystems]:
        return f"{role.module} is the module {module.name}, which has no {' and '.join(absent)}; {role.module_source}"
    if not own:
        return f"nodes with kernels of their own, which load {role.module}, need: apt-get install {PACKAGES[kind]}"
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
