"""Connections of FUSE clients to the kernel, which are cut before their processes are killed.

A client's own thread can be at work in what it has mounted itself, waiting for an answer that only it could give: once
it is killed it waits for ever, with all that is its, and its control group cannot be removed. Whoever cuts its
connection ends that (Documentation/filesystems/fuse.rst, "Aborting a filesystem connection").
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator

from .mounting import check, libc

_CONTROL = "/sys/fs/fuse/connections"
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""System calls, by the same numbers everywhere (Linux 5.2)."""
_CREATE = 6
"""FSCONFIG_CMD_CREATE, linux/mount.h."""


def connections(pids: Iterable[int]) -> set[int]:
    """The connections of what FUSE has mounted where these processes are, but not where this one or the machine's init
    is: those are nobody's of ours. A number is that of the mount's device."""
    ours = {number for pid in ("self", "1") for number in _mounted(f"/proc/{pid}")}
    return {number for pid in pids for thread in _threads(pid) for number in _mounted(thread)} - ours


def _threads(pid: int) -> list[str]:
    """Where the kernel tells of a process: one whose first thread has ended tells by those that have not."""
    with contextlib.suppress(OSError):
        return [entry.path for entry in os.scandir(f"/proc/{pid}/task")] if _ended(pid) else [f"/proc/{pid}"]
    return []


def _ended(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[0] in "ZX"


def _mounted(place: str) -> Iterator[int]:
    with contextlib.suppress(OSError), open(f"{place}/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            # ... major:minor ... - type source options (proc_pid_mountinfo(5))
            before, _, after = line.partition(" - ")
            kind, (major, _, minor) = after.partition(" ")[0], before.split()[2].partition(":")
            if (kind == "fuse" or kind.startswith("fuse.")) and major == "0":
                yield int(minor)


def cut(numbers: Iterable[int]) -> None:
    """Cut connections; those that are gone are fine, and where the kernel lets nobody cut them none is."""
    if not (found := sorted(numbers)):
        return
    with contextlib.suppress(OSError), _control() as control:
        for number in found:
            with contextlib.suppress(OSError):
                file = os.open(f"{number}/abort", os.O_WRONLY, dir_fd=control)
                try:
                    os.write(file, b"1")
                finally:
                    os.close(file)


@contextlib.contextmanager
def _control() -> Iterator[int]:
    """The directory of all connections: where the machine has it mounted, else mounted nowhere, so that nothing can be
    left of it (fsopen, fsmount)."""
    with contextlib.ExitStack() as opened:
        if os.path.ismount(_CONTROL):
            control = os.open(_CONTROL, os.O_RDONLY | os.O_DIRECTORY)
            opened.callback(os.close, control)
        else:
            context = libc.syscall(_FSOPEN, b"fusectl", 0)
            check(min(context, 0), "fsopen fusectl")
            opened.callback(os.close, context)
            check(libc.syscall(_FSCONFIG, context, _CREATE, None, None, 0), "fsconfig fusectl")
            control = libc.syscall(_FSMOUNT, context, 0, 0)
            check(min(control, 0), "fsmount fusectl")
            opened.callback(os.close, control)
        yield control
