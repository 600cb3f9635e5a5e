"""Disks of nodes: an image file each, on a loop device, with a file system of its own.

Such a disk has a rate, and no other time of its own. What it was given is in the machine's page cache, which outlives
the node, so a flush has nothing to wait for. The kernel's would wait until the machine's own disk has all that it was
given so far: 0.2 s each time the file system commits, in which nothing passes, and for which a limit never makes up:
one writer got 0.84 to 0.95 of 200 MB/s with such flushes, and 0.97 to 1.00 without.

Bandwidth is limited per loop device; `diskshare` divides a host's bandwidth among the disks of its nodes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from .cgroup import Cgroups
from .journal import Journal
from .process import CommandFailed, environment, run

KIND = "ext4"
_NODES = tuple(Path(f"/dev/loop{number}") for number in range(64))
_MAKE_NODES = "there are no loop devices in /dev, as in a container; " + (
    "make some: for n in $(seq 0 63); do mknod -m 660 /dev/loop$n b 7 $n; done"
)


DIRTY_PART = 0.2
"""Part of a host's memory that may be written and not yet be on its disk: the default of vm.dirty_ratio."""


def make(
    journal: Journal,
    sizes: dict[str, int],
    memory_bytes: int,
    options: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, str]:
    """Make a disk per node (name -> bytes) and return the loop device of each (name -> "/dev/loop7").

    Images are sparse: they take what is written to them. `memory_bytes` is what the node's host has; a disk holds back
    who writes more than such a machine would cache. `options` are arguments of mkfs.ext4, by node. Raises
    CommandFailed.
    """
    directory = journal.directory / "disks"
    directory.mkdir(exist_ok=True)

    def one(node: str) -> str:
        image = directory / f"{node}.img"
        journal.note(make="loop", file=str(image))
        with image.open("wb") as file:
            os.truncate(file.fileno(), sizes[node])
        env = environment(journal.id)
        format_(image, env, options.get(node, ()))
        attached = run(["losetup", "--find", "--show", str(image)], timeout_s=60, env=env)
        if attached.exit_status and not _NODES[0].exists():
            raise CommandFailed(attached.argv, attached.exit_status, "", f"{attached.stderr.strip()}; {_MAKE_NODES}")
        device = attached.check().stdout.strip()
        flush(device, on=False)
        limit_dirty(device, round(DIRTY_PART * memory_bytes))
        return device

    with ThreadPoolExecutor(4) as pool:
        return dict(zip(sizes, pool.map(one, sizes)))


def root_image(journal: Journal, node: str, size_bytes: int) -> str:
    """Make a disk for what a node with a kernel of its own writes, without a loop device; its file. CommandFailed."""
    image = journal.directory / "disks" / f"{node}.root"
    image.parent.mkdir(exist_ok=True)
    with image.open("wb") as file:
        os.truncate(file.fileno(), size_bytes)
    format_(image, environment(journal.id))
    return str(image)


def format_(image: Path, env: Mapping[str, str], options: Sequence[str] = ()) -> None:
    """Make an empty file system in an image. Raises CommandFailed."""
    quick = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    run(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", quick, *options, str(image)], timeout_s=120, env=env).check()


def limit_dirty(device: str, size_bytes: int | None) -> None:
    """Let so much be dirty for a block device, or as much as the machine allows (None): sysfs-class-bdi in the kernel.

    Kernels before 6.2 know no such limit. What a loop device was told stays with it, also for who gets it next.
    """
    bdi = Path("/sys/class/bdi", number(device))
    if (bdi / "strict_limit").exists():  # writing a file that sysfs does not have is "permission denied"
        (bdi / "strict_limit").write_text("0" if size_bytes is None else "1")
        (bdi / "max_ratio").write_text("100")
        if size_bytes is not None and size_bytes < int((bdi / "max_bytes").read_text()):
            (bdi / "max_bytes").write_text(str(size_bytes))


def flush(device: str, *, on: bool) -> None:
    """Have what is flushed on a block device written to what is below it, or not: Documentation/block/queue-sysfs in
    the kernel, write_cache. What a loop device was told stays with it, also for who gets it next."""
    Path("/sys/block", Path(device).name, "queue/write_cache").write_text("write back" if on else "write through")


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
        for device in devices:
            with suppress(OSError):
                flush(device, on=True)
                limit_dirty(device, None)
        failed = None
        for device in devices:
            done = run(["losetup", "--detach", device], timeout_s=30)
            failed = done if done.exit_status != 0 else failed
        if time.monotonic() > until:
            stays = next(iter(devices))
            raise CommandFailed(["losetup", "--detach", stays], 1, "", failed.stderr if failed else "it stays attached")
        time.sleep(0.02)
