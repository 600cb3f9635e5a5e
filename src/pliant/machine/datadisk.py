"""A disk of its own for what deployments write: mounted where they are written down, in place of the root's.

What is done is written down first, beside that directory, which the disk hides: whoever comes later, after a crash too,
can undo it. The choice of the disk is the other side's; what is in use is refused here, by the kernel's word.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from contextlib import suppress
from typing import Any

from .journal import STATE, deployments
from .process import CommandFailed, run

_LABEL = "pliant"
_FORMAT_S, _MOUNT_S, _BUSY_S = 600.0, 60.0, 20.0


def record() -> str:
    """Where it is written down."""
    return f"{STATE}-agents/disk.json"


def take(device: str, directory: str = "") -> str:
    """Have what deployments write go to a block device, which is formatted for that; the kernel's name of it.

    With a directory of a file system that is mounted from that device already, it goes there, and nothing is formatted.
    What was taken before is kept as it is. Raises ValueError if the device is in use, or deployments are there already.
    """
    real = os.path.realpath(device)
    wanted = {"device": device, "real": real, "directory": directory}
    known = taken()
    if known and known != wanted:
        raise ValueError(f"{known['device']} was taken for what deployments write, not {device}: give it back first")
    if known and _mounted():
        return real
    if up := [each.id for each in deployments()]:
        raise ValueError(f"what is up is written elsewhere than to {device}: remove {', '.join(up)} first")
    if not directory and (why := why_not(real)):
        raise ValueError(f"{device} is not taken for data: {why}")
    os.makedirs(STATE, mode=0o700, exist_ok=True)
    os.makedirs(os.path.dirname(record()), mode=0o700, exist_ok=True)
    _write(wanted)
    try:
        _mount(real, directory)
    except BaseException:
        give_back()
        raise
    return real


def taken() -> dict[str, Any]:
    """What was taken; {} if nothing is."""
    try:
        with open(record(), encoding="utf-8") as file:
            found: dict[str, Any] = json.load(file)
            return found
    except (OSError, ValueError):
        return {}


def give_back() -> str:
    """Let what deployments write go to the root's disk again; the device, "" if none was taken.

    Raises ValueError if deployments are there, or if the disk stays in use.
    """
    known = taken()
    if not known:
        return ""
    until = time.monotonic() + _BUSY_S
    while _mounted():
        if up := [each.id for each in deployments()]:
            raise ValueError(f"{', '.join(up)} is on {known['device']}: remove that first")
        done = run(["umount", str(STATE)], timeout_s=_MOUNT_S)
        if done.exit_status and time.monotonic() > until:
            raise ValueError(f"{known['device']} stays mounted on {STATE}: {done.stderr.strip()}")
        if done.exit_status:
            time.sleep(0.2)
    if known["directory"]:
        with suppress(OSError):  # not empty: whatever it is, it is not pliant's
            os.rmdir(known["directory"])
    os.unlink(record())
    return str(known["device"])


def why_not(real: str) -> str:
    """Why a block device must not be formatted, as the kernel sees it; "" if nothing and nobody uses it.

    Exclusive use (open(2), O_EXCL) is refused for what is mounted, swapped to, or a part of something that is.
    """
    try:
        if not stat.S_ISBLK(os.stat(real).st_mode):
            return f"{real} is no block device"
        os.close(os.open(real, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        return f"{real} is in use" if error.errno == errno.EBUSY else f"{real}: {error.strerror}"
    return ""


def _mount(real: str, directory: str) -> None:
    """Show it at the place of STATE."""
    if directory:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        _run(["mount", "--bind", directory, str(STATE)], _MOUNT_S)
        return
    quick = "lazy_itable_init=1,lazy_journal_init=1"
    _run(["mkfs.ext4", "-q", "-F", "-m", "0", "-L", _LABEL, "-E", quick, real], _FORMAT_S)
    _run(["mount", "-t", "ext4", "-o", "noatime", real, str(STATE)], _MOUNT_S)
    os.chmod(STATE, 0o700)
    with suppress(OSError):
        os.rmdir(os.path.join(STATE, "lost+found"))  # it would look like a deployment


def _run(argv: list[str], timeout_s: float) -> None:
    try:
        run(argv, timeout_s=timeout_s).check()
    except CommandFailed as error:
        raise ValueError(str(error)) from None


def _mounted() -> bool:
    """Whether something is mounted at STATE."""
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return any(line.split()[4] == str(STATE) for line in file)


def _write(content: dict[str, Any]) -> None:
    part = f"{record()}.{os.getpid()}"
    with open(part, "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(part, record())
