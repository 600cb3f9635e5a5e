"""Nodes with a kernel of their own, by User Mode Linux: a kernel that is a process in the node's place.

The place is made as any other node is: namespaces, an overlay root, a link into the host's bridge, the host's control
group. What is different is who lives in it: the instance has the link, which has no address outside, sees the place's
root read-only (hostfs), and has disks of its own: one for what it writes, one for its role. `door` starts it and speaks
with `guest`, its init. Sources: Documentation/virt/uml/user_mode_linux_howto_v2.rst, arch/um/drivers/vector_kern.c of
Linux 6.1.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import module_file, module_tree
from .launch import DISK_DEVICE, ROOT_DEVICE
from .process import PATH

PROGRAM = "linux.uml"
MODULES = Path("/usr/lib/uml/modules")
"""Where the package has its kernel's modules."""


def program() -> str | None:
    """Where User Mode Linux is; None if it is not installed."""
    return shutil.which(PROGRAM, path=PATH)


def modules() -> Path | None:
    """Where the modules of its kernel are; None if they are not there."""
    found = sorted(MODULES.glob("*/modules.dep"))
    return found[-1].parent if found else None


def lacking(names: Sequence[str]) -> list[str]:
    """Those of the file systems that its kernel neither has nor has a module for; all of them if it is not there."""
    return module_tree.lacking(modules() if program() is not None else None, names)


def vermagic() -> str:
    """What a module must be built for, to be loaded by its kernel; "" if it or its modules are not there."""
    return module_tree.vermagic(modules() if program() is not None else None)


def module(path: str) -> dict[str, Any] | None:
    """What the file of a module says of itself, as plain values; None if it is none."""
    known = module_file.read(path)
    return asdict(known) if known else None


def command(name: str, memory_bytes: int, mac: str, python: Sequence[str], disk: bool) -> list[str]:
    """The command that boots an instance in its place; `python` is that of its init, and who starts it puts the
    descriptor of its control line in the place of {line}."""
    init, *arguments = python
    disks = [f"ubd0={ROOT_DEVICE}", *([f"ubd1={DISK_DEVICE}"] if disk else [])]
    return [
        PROGRAM,
        f"mem={memory_bytes >> 20}M",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        f"umid={name}",
        "uml_dir=/run/",
        *("con=null", "con0=null,fd:1", "con1=null", "ssl0=fd:{line}"),
        f"vec0:transport=raw,ifname=eth0,gro=1,depth=128,mac={mac}",
        *disks,
        "quiet",
        f"init={init}",
        "--",
        *arguments,
    ]


def python(package: str, executable: str) -> list[str]:
    """The command of an instance's init: the machine's Python itself, without the environment that leads to it."""
    return [os.path.realpath(executable), "-I", "-S", f"{package}/program.py", "guest"]
