"""What a node sees of the machine's files: its disks copy-on-write, some directories empty, some paths shown again."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from .journal import STATE
from .launch import upper

HIDDEN = ("/tmp", "/var/tmp", "/run", str(STATE))
"""Directories of the machine that a node finds empty: sockets, scratch, and the state of deployments."""

_LAYERED = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "overlay"}
_ELSEWHERE = ("/proc", "/sys", "/dev", "/boot", "/snap", "/var/snap", "/mnt", "/media")
_CONTAINERS = tuple(f"/var/lib/{name}" for name in ("docker", "containers", "containerd", "kubelet", "lxd", "incus"))


def layers(mountinfo: str) -> tuple[str, ...]:
    """The machine's mount points that a node sees copy-on-write: "/" first, then other disks by path.

    Left out are hidden directories, the kernel's own, removable media, and the mounts of containers. `mountinfo` is the
    text of /proc/self/mountinfo (proc(5)).
    """
    left_out = (*HIDDEN, *_ELSEWHERE, *_CONTAINERS)
    found = {
        target
        for target, kind in mounts(mountinfo)
        # An overlay's options cannot hold these characters in a path.
        if kind in _LAYERED and not _below(target, left_out) and not set(target) & set("\\:,")
    }
    return ("/", *sorted(found - {"/"}))


def to_show(paths: Iterable[str], mountinfo: str) -> tuple[str, ...]:
    """Those of the paths that a node would not see, as they are hidden; and where one lies on a file system that is no
    layer (a home on NFS, a tree of modules), all of that file system: what is there needs what else is there."""
    seen = set(layers(mountinfo))
    targets = [target for target, _ in mounts(mountinfo)]
    found = []
    for path in paths:
        mount = max((target for target in targets if _below(path, (target,))), key=len, default="/")
        if _below(path, HIDDEN):
            found.append(path)
        elif mount not in seen:
            found.append(path if mount in _ELSEWHERE else mount)
    # What is below another one is there with it.
    return tuple(each for each in dict.fromkeys(found) if not _below(each, set(found) - {each}))


def log_files(directory: Path, node: str, logs: str, written: Sequence[str]) -> Iterator[Path]:
    """A node's log files as the machine has them: what pliant keeps of its daemons in `logs`, and what is in the node's
    own files and directories `written`. `directory` is the deployment's."""
    base = directory / "nodes" / node
    layers = [where for path in written for where in _in_layers(base, PurePosixPath(path))]
    yield from files_below([Path(logs), *layers])


def files_below(places: Sequence[Path]) -> Iterator[Path]:
    """The files in some directories, and those below."""
    for where in places:
        for found, _, names in os.walk(where):
            yield from (
                path for name in sorted(names) if (path := Path(found, name)).is_file() and not path.is_symlink()
            )


def _in_layers(base: Path, path: PurePosixPath) -> list[Path]:
    """Where the machine may have what a node wrote to a path: in the layer of one of the directories above it."""
    return [Path(upper(str(base), str(layer)), path.relative_to(layer)) for layer in (path, *path.parents)]


def mounts(mountinfo: str) -> list[tuple[str, str]]:
    """(mount point, file system) of each mount."""
    return [(line.split()[4], line.partition(" - ")[2].split()[0]) for line in mountinfo.splitlines()]


def _below(path: str, directories: Iterable[str]) -> bool:
    """Whether a path is one of the directories or lies in one."""
    return any(PurePosixPath(path).is_relative_to(directory) for directory in directories)
