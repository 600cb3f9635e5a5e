"""`pliant doctor`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pliant.composition.model import Filesystem


@click.command(short_help="Say what this machine can do.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> int:
    """Say what this machine can and cannot do, and how to install what is missing; exit status 1 if it cannot."""
    findings = _findings()
    good = all(ok for _, ok, _, needed in findings if needed)
    if as_json:
        print(json.dumps([{"what": w, "ok": ok, "detail": d, "needed": n} for w, ok, d, n in findings], indent=2))
        return 0 if good else 1
    for what, ok, detail, needed in findings:
        mark = "ok" if ok else "MISSING" if needed else "no"
        print(f"{mark:<8} {what:<22} {detail}")
    print("\nthis machine can emulate clusters" if good else "\nthis machine cannot emulate clusters yet")
    return 0 if good else 1


def _layout(layout: str) -> str:
    return "v2: tried on a virtual machine only; calibration will tell" if layout == "v2" else layout


def _usable(driver: type[Filesystem]) -> tuple[bool, str]:
    """Whether a file system can be deployed here, and its version or what to do."""
    from pydantic import ValidationError

    from pliant.composition.placement import nodes_for
    from pliant.machine import facts

    try:
        options = driver.Options()
    except ValidationError:  # it has options without a default
        return True, "what it needs follows from the study"
    counts = {role.name: max(1, role.minimum) for role in driver.roles(options)}
    composition = driver.compose(nodes_for(counts), options, 0)
    if unknown := facts.missing_filesystems(composition.kernel):
        return False, f"the kernel has no {', '.join(unknown)}: {facts.loading(unknown)}"
    if facts.missing(composition.programs):
        return False, f"apt-get install {' '.join(composition.packages)}"
    return True, facts.version(composition.version) if composition.version else ""


def _findings() -> list[tuple[str, bool, str, bool]]:
    """What was looked at: (what, whether it is fine, detail or remedy, whether pliant cannot do without)."""
    import shutil
    import sys
    from pathlib import Path

    from pliant.machine import facts
    from pliant.platforms.tryout import try_a_node
    from pliant.study import registry
    from pliant.units import format_size

    machine = facts.look()
    found = [
        ("system", True, f"{machine.system}, kernel {machine.kernel}", True),
        (
            "CPU, memory, disk",
            True,
            f"{machine.cores} cores, {format_size(machine.memory_bytes)}, {format_size(machine.free_disk_bytes)} free",
            True,
        ),
        ("root", machine.root, "yes" if machine.root else "run pliant with sudo", True),
        ("control groups", not machine.cgroups_error, _layout(machine.cgroups) or machine.cgroups_error, True),
        ("overlayfs", machine.overlay, "for the roots of nodes" if machine.overlay else facts.having("overlay"), True),
        ("loop devices", machine.loop, "for the disks of nodes" if machine.loop else facts.having("loop"), True),
        ("FUSE", machine.fuse, "for the mounts of clients" if machine.fuse else facts.having("fuse"), True),
    ]
    remedy = f"no `latency`: {facts.having('sch_netem')} (CONFIG_NET_SCH_NETEM)"
    found.append(("latency of links", machine.netem, "netem" if machine.netem else remedy, False))
    for program, package in facts.PROGRAMS.items():
        where = facts.which(program)
        found.append((program, where is not None, where or f"apt-get install {package}", True))
    tmux = facts.which("tmux")
    found.append(("tmux", tmux is not None, tmux or "for `connect` to several nodes: apt-get install tmux", False))
    mpiexec = Path(sys.executable).parent / "mpiexec"
    found.append(("mpiexec", mpiexec.exists(), str(mpiexec) if mpiexec.exists() else "pip install mpich", True))
    if machine.root and all(ok for _, ok, _, needed in found if needed):
        tried = try_a_node()
        good = f"made, limited, used and removed in {tried.took_s:.1f} s"
        found.append(
            ("a node, tried", not tried.failed, f"{tried.failed}: {tried.said}" if tried.failed else good, True)
        )
    for name in registry.filesystem_names():
        driver = registry.filesystem(name)
        found.append((f"file system {name}", *_usable(driver), False))
    for name in registry.workload_names():
        program = getattr(registry.workload(name), "program", "")
        where = shutil.which(program) if program else None
        found.append(
            (f"workload {name}", True, where or "no real program on PATH: pliant's built-in kernel is used", False)
        )
    return found
