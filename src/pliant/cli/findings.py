"""What `pliant doctor` looks at, on this machine or on another one, and what helps where something is missing."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from pliant.campaign.kernels import PACKAGES
from pliant.composition.model import Composition, Filesystem, Role
from pliant.composition.placement import nodes_for
from pliant.machine import facts
from pliant.platforms.agents import Agent
from pliant.study import registry
from pliant.units import format_size

CLOCKS_MAY_DIFFER_S = 0.1
"""What clocks that NTP keeps may be apart over a campus and more; those of one cluster are within a millisecond."""


class Finding(NamedTuple):
    """What was looked at, whether it is fine, detail or remedy, and whether pliant cannot do without."""

    what: str
    ok: bool
    detail: str
    needed: bool

    @property
    def mark(self) -> str:
        """How it is, in a word."""
        return "ok" if self.ok else "MISSING" if self.needed else "no"


Ask = Callable[..., Any]
"""Asks a machine for one of what `machine.agent` knows: its name, and what it is given by keyword."""


def only_here(ask: Ask) -> list[Finding]:
    """What commands need on this machine, and hosts do not; virtual machines are nodes of this machine only."""
    tmux = facts.which("tmux")
    mpiexec = Path(sys.executable).parent / "mpiexec"
    found = [
        Finding("tmux", tmux is not None, tmux or "for `connect` to several nodes: apt-get install tmux", False),
        Finding("mpiexec", mpiexec.exists(), str(mpiexec) if mpiexec.exists() else "pip install mpich", True),
    ]
    for name in registry.workload_names():
        program = getattr(registry.workload(name), "program", "")
        where = shutil.which(program) if program else None
        detail = where or "no real program on PATH: pliant's built-in kernel is used"
        found.append(Finding(f"workload {name}", True, detail, False))
    return [*found, _of_machines(ask)]


def only_there(agent: Agent) -> list[Finding]:
    """What matters of another machine only: that its clock is right."""
    off_s, within_s = agent.clock_s, agent.clock_within_s
    detail = f"as here, within {within_s * 1e3:.1f} ms"
    if differs := abs(off_s) > within_s + CLOCKS_MAY_DIFFER_S:
        detail = f"{abs(off_s):.3g} s {'ahead of' if off_s > 0 else 'behind'} this machine's: set it by NTP or PTP"
    return [Finding("clock", not differs, detail, False)]


def findings(ask: Ask, own: Sequence[Finding], seen: Sequence[str] = ()) -> list[Finding]:
    """All that is looked at; `own` is what is of that machine only, `seen` what its nodes must see of it."""
    machine = facts.Facts(**ask("look"))
    found = [
        Finding("system", True, f"{machine.system}, kernel {machine.kernel}", True),
        Finding(
            "CPU, memory, disk",
            True,
            f"{machine.cores} cores, {format_size(machine.memory_bytes)}, {format_size(machine.free_disk_bytes)} free",
            True,
        ),
        Finding("root", machine.root, "yes" if machine.root else "run pliant with sudo", True),
        Finding("control groups", not machine.cgroups_error, _layout(machine.cgroups) or machine.cgroups_error, True),
        _of_the_kernel(ask, "overlayfs", machine.overlay, "for the roots of nodes", "overlay"),
        _of_the_kernel(ask, "loop devices", machine.loop, "for the disks of nodes", "loop"),
        _of_the_kernel(ask, "FUSE", machine.fuse, "for the mounts of clients", "fuse"),
    ]
    netem = "netem" if machine.netem else f"no `latency`: {ask('having', modules=['sch_netem'])} (CONFIG_NET_SCH_NETEM)"
    found.append(Finding("latency of links", machine.netem, netem, False))
    for program, where in ask("which", programs=list(facts.PROGRAMS)).items():
        detail = where or f"apt-get install {facts.PROGRAMS[program]}"
        found.append(Finding(program, where is not None, detail, True))
    found += own
    if machine.root and all(finding.ok for finding in found if finding.needed):
        tried = ask("try", visible=list(seen))
        how = f"made, limited, used and removed in {tried['took_s']:.1f} s"
        how = f"{tried['failed']}: {tried['said']}" if tried["failed"] else how
        found.append(Finding("a node, tried", not tried["failed"], how, True))
    found += [usable(ask, name, registry.filesystem(name)) for name in registry.filesystem_names()]
    return found


def _of_machines(ask: Ask) -> Finding:
    """Whether nodes can be virtual machines: one is booted."""
    what = "a virtual machine"
    tried = ask("boot")
    if not tried:
        return Finding(what, False, f"for nodes of that kind: apt-get install {PACKAGES['vm']}", False)
    return Finding(what, tried[-1]["boots"], "; ".join(each["sentence"] for each in tried), False)


def _layout(layout: str) -> str:
    return "v2: tried on a virtual machine only; calibration will tell" if layout == "v2" else layout


def _of_the_kernel(ask: Ask, what: str, there: bool, purpose: str, module: str) -> Finding:
    return Finding(what, there, purpose if there else ask("having", modules=[module]), True)


def usable(ask: Ask, name: str, driver: type[Filesystem]) -> Finding:
    """Whether a file system can be deployed there, and its version or what to do."""
    what = f"file system {name}"
    try:
        options = driver.Options()
    except ValidationError:  # it has options without a default
        return Finding(what, True, "what it needs follows from the study", False)
    counts = {role.name: max(1, role.minimum) for role in driver.roles(options)}
    composition = driver.compose(nodes_for(counts), options, 0)
    if composition.brought and not all(ask("which", programs=list(composition.sources)).values()):
        return Finding(what, False, next(iter(composition.sources.values())), False)
    if unknown := ask("missing_filesystems", names=composition.kernel):
        remedy = ask("having", modules=list(map(facts.module_of, unknown)))
        return Finding(what, False, f"the kernel has no {', '.join(unknown)}: {remedy}", False)
    for role in composition.roles:
        if why := _no_kernel(ask, role):
            return Finding(what, False, why, False)
    if lacking := [program for program, where in ask("which", programs=composition.programs).items() if where is None]:
        packaged = set(lacking) - set(composition.sources)
        remedies = [f"apt-get install {' '.join(composition.packages)}"] if packaged else []
        remedies += [how for program, how in composition.sources.items() if program in lacking]
        return Finding(what, False, "; ".join(remedies), False)
    return Finding(what, True, _version(ask, composition), False)


def _no_kernel(ask: Ask, role: Role) -> str:
    """Why no kernel is there for the nodes of a role, the machine's or one of their own; "" if one is."""
    unknown = ask("missing_filesystems", names=role.kernel)
    if role.module_source and role.own_kernel:
        return f"its {role.name} needs a kernel module: {role.module_source}"
    if unknown and ask("own_kernel_lacks", names=unknown):
        remedy = ask("having", modules=list(map(facts.module_of, unknown)))
        return f"the kernel has no {', '.join(unknown)}: {remedy}; or apt-get install user-mode-linux"
    return ""


def _version(ask: Ask, composition: Composition) -> str:
    """What a file system says of its version, on a line."""
    if not composition.version:
        return ""
    if composition.brought and composition.brought.release:
        found = re.search(composition.brought.release, ask("said", argv=composition.version))
        return found[1] if found else composition.brought.other
    return str(ask("version", argv=composition.version))
