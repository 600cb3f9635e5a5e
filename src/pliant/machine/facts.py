"""What this machine has and can do, found by looking: for budgets, `pliant doctor` and the versions in a report."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cgroups
from .cgroup import CgroupError
from .journal import STATE
from .process import PATH, CommandFailed, run

PROGRAMS = {
    "ip": "iproute2",
    "tc": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "losetup": "mount",
    "mkfs.ext4": "e2fsprogs",
}
"""Programs that the machine layer runs, and the Debian packages that have them."""
MODULES = Path("/lib/modules")
UNNAMED = {"pvfs2": "orangefs"}
"""Modules that are not known by the file system that they have (fs/orangefs/orangefs-mod.c of Linux 6.1: no alias)."""


@dataclass(frozen=True)
class Facts:
    """One machine. `cgroups` is its layout, or why it cannot be used (`cgroups_error`); sizes in bytes."""

    root: bool
    cores: int
    memory_bytes: int
    free_disk_bytes: int
    cgroups: str
    cgroups_error: str
    fuse: bool
    loop: bool
    overlay: bool
    kernel: str
    system: str
    cpu: str
    netem: bool = False
    """Whether links can be given a latency; False also where that could not be tried."""


def which(program: str) -> str | None:
    """Where a program is on the path that nodes use; an absolute path stands for itself if it is executable."""
    return shutil.which(program, path=PATH)


def located(programs: Sequence[str], directory: str) -> dict[str, str | None]:
    """Where programs are that lie in a directory, or in bin or sbin below it; None for what does not."""
    path = ":".join((directory, f"{directory}/bin", f"{directory}/sbin"))
    return {program: shutil.which(program, path=path) for program in programs}


def missing(programs: tuple[str, ...]) -> list[str]:
    """Those of the programs that are not there."""
    return [program for program in programs if which(program) is None]


def missing_filesystems(names: tuple[str, ...]) -> list[str]:
    """Those of the file systems that the kernel neither has nor would load a module for (alias fs-NAME)."""
    known = _read("/proc/filesystems").split()
    return [name for name in names if name not in known and not _loadable(module_of(name))]


def module_of(name: str) -> str:
    """What modprobe(8) knows the module of a file system by."""
    return UNNAMED.get(name, f"fs-{name}")


def having(*modules: str) -> str:
    """What makes a kernel have what is in these modules, or aliases: one without modules cannot load any."""
    if MODULES.joinpath(platform.release()).is_dir():
        return f"modprobe -a {' '.join(modules)}, or use a kernel that has it"
    return "use a kernel that has it; this one has no modules that could be loaded"


def loading(names: Sequence[str]) -> str:
    """The same for file systems."""
    return having(*map(module_of, names))


_TAKEN = {"fs.aio-max-nr": "fs.aio-nr"}
"""A limit of the kernel's own, and where it counts what is taken of it (proc(5)); of others it does not."""


def kernel_limit(name: str) -> tuple[int | None, int]:
    """How much there is of something that the whole kernel has so much of, by its sysctl's name, and how much of it is
    taken; None where it is not limited."""
    limit, taken = (_read(f"/proc/sys/{each.replace('.', '/')}").strip() for each in (name, _TAKEN.get(name, "")))
    return int(limit) if limit else None, int(taken or 0)


def open_files() -> int:
    """How many files a process may have open that is started from here."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def load_filesystems(names: tuple[str, ...]) -> None:
    """Have the kernel load the modules of file systems that it has as modules; raises CommandFailed."""
    known = _read("/proc/filesystems").split()
    for name in names:
        if name not in known:
            run(["modprobe", module_of(name)], timeout_s=30).check()


def _loadable(alias: str) -> bool:
    try:
        return run(["modprobe", "--quiet", "--dry-run", alias], timeout_s=10).exit_status == 0
    except CommandFailed:
        return False


def package_versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Package -> version, of those that are installed; empty where there is no dpkg."""
    if not packages:
        return {}
    argv = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package} ${Version}\n", *packages]
    try:
        lines = run(argv, timeout_s=20).stdout.splitlines()
    except CommandFailed:
        return {}
    words = [line.split() for line in lines]
    return {
        name: version for status, name, version in (each for each in words if len(each) == 3) if status == "installed"
    }


def look() -> Facts:
    """The facts of this machine, in some ten milliseconds and without changing anything."""
    layout = error = ""
    try:
        layout = cgroups.probe().layout
    except CgroupError as problem:
        error = str(problem)
    filesystems = _read("/proc/filesystems").split()
    where = next(path for path in (STATE, *STATE.parents) if path.exists())
    return Facts(
        root=os.geteuid() == 0,
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=_memory_bytes(),
        free_disk_bytes=shutil.disk_usage(where).free,
        cgroups=layout,
        cgroups_error=error,
        fuse=Path("/dev/fuse").exists(),
        loop=Path("/dev/loop-control").exists(),
        overlay="overlay" in filesystems,
        kernel=platform.release(),
        system=_system(),
        cpu=_cpu(),
        netem=_netem(),
    )


def version(argv: tuple[str, ...]) -> str:
    """First line of what a program says of its version; "" if it says nothing."""
    return next(iter(said(argv).splitlines()), "").strip()


def digest(program: str) -> str:
    """The SHA-256 of a program's file; "" of one that is not there."""
    try:
        with Path(which(program) or program).resolve().open("rb") as file:
            found = hashlib.sha256()
            while chunk := file.read(1 << 20):
                found.update(chunk)
            return found.hexdigest()
    except OSError:
        return ""


def said(argv: tuple[str, ...]) -> str:
    """What a program says of itself; "" if it cannot be run."""
    try:
        done = run(argv, timeout_s=20)
    except CommandFailed:
        return ""
    return done.stdout or done.stderr


def _netem() -> bool:
    """Try it, in a network namespace that is gone at once. This makes the kernel load the module if it is one."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--net"]
    try:
        tried = run([*unshare, "--", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"], timeout_s=5)
    except CommandFailed:
        return False
    return tried.exit_status == 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _memory_bytes() -> int:
    """MemTotal: what promises are held against is what the machine has, not what is free at the moment."""
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 0


def _system() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def _cpu() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
