"""Mounts and the root of a process, by the system calls themselves: mount(2), pivot_root(2), unshare(2)."""

from __future__ import annotations

import ctypes
import os

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
MS_REMOUNT, MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 0x20, 0x1000, 0x2000, 0x4000, 0x40000
_MNT_DETACH = 2
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203, "riscv64": 41, "s390x": 217}
OLD = "/proc"
"""Where the machine's own root is seen while a node is made: a directory that every root has, used for it later."""

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    """Raise OSError, with `what` it was, unless a system call has done it."""
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def unshare(flags: int) -> None:
    """Leave namespaces for new ones; raises OSError, as all here do."""
    check(libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    """Mount a file system; without `kind` what is there already."""
    encoded = (source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None)
    check(libc.mount(*encoded), f"mount {kind or 'bind'} {source} on {target}")


def tmpfs(target: str, mode: str, size: str = "50%") -> None:
    """Mount an empty directory in memory."""
    mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode},size={size}")


def unmount(target: str) -> None:
    """Unmount what is on a directory, once nobody uses it any more (umount2(2), MNT_DETACH)."""
    check(libc.umount2(target.encode(), _MNT_DETACH), f"umount {target}")


def pivot(root: str) -> None:
    """Make `root` the root of this mount namespace, with the machine's own still to be seen at OLD (pivot_root(2))."""
    os.makedirs(root + OLD, exist_ok=True)
    os.chdir(root)
    check(libc.syscall(_SYS_PIVOT_ROOT[os.uname().machine], b".", OLD[1:].encode()), "pivot_root")
    os.chdir("/")


def forget_machine() -> None:
    """Let go of the machine's root with all its mounts."""
    unmount(OLD)


def write(path: str, text: str) -> None:
    """Write a file, or what is called one by the kernel."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
