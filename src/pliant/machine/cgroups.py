"""Which control groups the machine has: the layouts are `cgroup_v1` and `cgroup_v2`."""

from __future__ import annotations

from pathlib import Path

from . import cgroup_v1, cgroup_v2
from .cgroup import CgroupError, Cgroups


def probe(mountinfo: str | None = None) -> Cgroups:
    """The machine's control groups, from /proc/self/mountinfo (proc(5)); CgroupError says what is missing."""
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    mounts: dict[str, Path] = {}
    unified: Path | None = None
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup":
            for controller in options.split(","):
                mounts.setdefault(controller, Path(before.split()[4]))
        if kind == "cgroup2":
            unified = Path(before.split()[4])
    missing = [name for name in cgroup_v1.CONTROLLERS if name not in mounts]
    if not missing:
        return cgroup_v1.CgroupV1({name: mounts[name] for name in cgroup_v1.CONTROLLERS}, "hybrid" if unified else "v1")
    if unified is not None and len(missing) == len(cgroup_v1.CONTROLLERS):
        return _unified(unified)
    lacking = ", ".join(missing)
    if unified is not None and set(missing) & set(_controllers(unified)):
        raise CgroupError(
            f"this kernel has the cgroup controllers {lacking} in the unified layout only, as kernels from 6.11 on "
            "may, and the others are mounted in the old one; boot with systemd.unified_cgroup_hierarchy=1"
        )
    raise CgroupError(f"cgroup controllers {lacking} are not mounted; mount them under /sys/fs/cgroup")


def _controllers(root: Path) -> list[str]:
    """Those that the unified hierarchy has."""
    try:
        return (root / "cgroup.controllers").read_text().split()
    except OSError:
        return []


def _unified(root: Path) -> Cgroups:
    """The unified hierarchy, if it has what hosts need."""
    has = _controllers(root)
    if lacking := [name for name in cgroup_v2.CONTROLLERS if name not in has]:
        raise CgroupError(f"cgroup v2 at {root} has no controller {', '.join(lacking)}; enable it in the group above")
    return cgroup_v2.CgroupV2(root)
