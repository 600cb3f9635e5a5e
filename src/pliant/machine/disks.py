"""Disks of nodes: an image file each, on a loop device, with a file system of its own.

Bandwidth is limited per loop device; `diskshare` divides a host's bandwidth among the disks of its nodes.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from .cgroup import Cgroups
from .journal import Journal
from .process import CommandFailed, environment, run

KIND = "ext4"


def make(journal: Journal, sizes: dict[str, int]) -> dict[str, str]:
    """Make a disk per node (name -> bytes) and return the loop device of each (name -> "/dev/loop7").

    Images are sparse: they take what is written to them. Raises CommandFailed.
    """
    directory = journal.directory / "disks"
    directory.mkdir(exist_ok=True)

    def one(node: str) -> str:
        image = directory / f"{node}.img"
        journal.note(make="loop", file=str(image))
        with image.open("wb") as file:
            os.truncate(file.fileno(), sizes[node])
        env = environment(journal.id)
        quick = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
        run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", quick, str(image)], timeout_s=120, env=env).check()
        return run(["losetup", "--find", "--show", str(image)], timeout_s=60, env=env).check().stdout.strip()

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(sizes, pool.map(one, sizes), strict=True))


def number(device: str) -> str:
    """ "MAJOR:MINOR" of a block device."""
    found = os.stat(device).st_rdev
    return f"{os.major(found)}:{os.minor(found)}"


def attached(directory: Path) -> dict[str, str]:
    """Loop devices whose image lies below a directory: device -> image."""
    found = {}
    for entry in Path("/sys/block").glob("loop*"):
        with suppress(OSError):
            image = (entry / "loop/backing_file").read_text().strip().removesuffix(" (deleted)")
            if image.startswith(f"{directory}/"):
                found[f"/dev/{entry.name}"] = image
    return found


def detach(directory: Path, cgroups: Cgroups, deadline_s: float = 20.0) -> None:
    """Detach every loop device whose image lies below a directory, and lift its limits.

    The mount namespace of a node that just died holds its disk for some milliseconds more, and a device detached
    meanwhile goes by itself later: this waits for both. Raises CommandFailed if one stays.
    """
    until = time.monotonic() + deadline_s
    while devices := attached(directory):
        with suppress(OSError):
            cgroups.lift_disks([number(device) for device in devices])
        failed = None
        for device in devices:
            done = run(["losetup", "--detach", device], timeout_s=30)
            failed = done if done.exit_status != 0 else failed
        if time.monotonic() > until:
            stays = next(iter(devices))
            raise CommandFailed(["losetup", "--detach", stays], 1, "", failed.stderr if failed else "it stays attached")
        time.sleep(0.02)
