"""Which nodes of a study share the machine's kernel, and which have one of their own, with how much memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pliant.composition.model import Composition, Role
from pliant.composition.placement import Placement
from pliant.errors import UserError
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

    @property
    def sentence(self) -> str:
        """What is said of them; "" where all share one."""
        if not self.own:
            return ""
        size = format_size(next(iter(self.own.values())))
        return f"{' and '.join(self.own)}: a kernel of its own in each node (User Mode Linux), of {size} and one CPU"

    def document(self, machines: Machines) -> dict[str, Any]:
        """What of them determines a trial."""
        return {"memory": dict(self.own), "kernel": machines.digests([PROGRAM])[PROGRAM]}

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
    return Kernels({role.name: each for role in own})


def _wants_own(composition: Composition, role: Role, wish: str | None, machines: Machines) -> bool:
    missing = machines.missing_filesystems(role.kernel)
    if wish == "shared" or (wish is None and not missing):
        if missing:
            raise UserError(requires(composition, missing, machines))
        return False
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


def requires(composition: Composition, names: Sequence[str], machines: Machines) -> str:
    """What a file system requires of the machine's kernel, which has not got these, and how it comes to have it."""
    every = machines.missing_filesystems(composition.of_kernels) or names
    return (
        f"{composition.filesystem} requires {' and '.join(every)} of the kernel, which this machine's has not: "
        f"{machines.having(*(f'fs-{name}' for name in every))}"
    )
