"""Removing a deployment, from its journal and its id alone, whatever became of its maker.

The order matters: processes first (with them go namespaces, links, and mounts, all of which live in namespaces without
a name), then loop devices, control groups, files.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import cgroup, disks, fuse, kernel
from .journal import Journal
from .process import MARK, CommandFailed, alive, living, marked, run, start_time, ticks


class TeardownError(Exception):
    """Something of a deployment could not be removed; the text says what, and the journal stays."""


def remove(journal: Journal, cgroups: cgroup.Cgroups, *, grace_s: float = 60.0) -> None:
    """Remove everything of a deployment. Its maker, if it still runs, is asked to do it first and given `grace_s`.

    Idempotent: what is gone already is fine. Raises TeardownError.
    """
    owner = journal.owner()
    if owner is not None and owner.alive and owner.pid != os.getpid():
        stop(owner.pid, owner.started, grace_s)
    try:
        # Without its files only control groups can be left, and there is nothing to hold.
        with journal.locked() if journal.directory.exists() else contextlib.nullcontext():
            _kill(journal.id, cgroups)
            _unmount(journal.directory)
            disks.detach(journal.directory, cgroups)
            _remove_groups(journal.id, cgroups)
            _delete(journal.directory)
    except FileNotFoundError:
        if journal.directory.exists():
            raise
    except (OSError, cgroup.CgroupError, CommandFailed) as error:
        raise TeardownError(f"deployment {journal.id}: {error}") from error


@dataclass(frozen=True)
class Gone:
    """What was of the nodes of a deployment, and is shown to be no more: how many of each."""

    nodes: int
    processes: int
    mounts: int
    disks: int


def remove_nodes(journal: Journal, cgroups: cgroup.Cgroups, groups: Sequence[str], inits: Sequence[int]) -> Gone:
    """Remove the nodes of a deployment that stays up, with all that they wrote; `groups` hold them and nothing else.

    Afterwards it looks for what there was: processes, namespaces and with them mounts, loop devices, files. Raises
    TeardownError, CommandFailed.
    """
    processes = {pid: start_time(pid) for group in groups for pid in cgroups.pids(group)}
    namespaces = {name for pid in inits for name in namespaces_of(pid)}
    mounts = sum(_read(f"/proc/{pid}/mountinfo").count("\n") for pid in inits)
    images = disks.attached(journal.directory)
    noted, until = ticks(), time.monotonic() + 20

    def find() -> list[int]:
        return [pid for group in groups for pid in cgroups.pids(group) if alive(pid)]

    _let_go(find)
    # Also of those that have ended but for a thread that waits for itself.
    fuse.cut(fuse.connections(pid for group in groups for pid in cgroups.pids(group)))
    _end(journal.id, find, until)
    _unmount(journal.directory)
    disks.detach(journal.directory, cgroups)
    written = [journal.directory / name for name in ("nodes", "disks", "logs", "enter.d", "doors", "scratch")]
    for directory in written:
        _remove(directory)
    while found := [
        *(f"process {pid}" for pid, started in processes.items() if started and alive(pid, started)),
        *(f"process {pid} in a node's {name}" for pid, name in inside(namespaces, noted)),
        *(f"{device}, of {image}" for device, image in disks.attached(journal.directory).items()),
        *(str(path) for path in written if path.exists()),
    ]:
        if time.monotonic() > until:  # the init of a PID namespace ends after all others in it
            raise TeardownError(f"deployment {journal.id}: still there of its nodes: {', '.join(found)}")
        time.sleep(0.02)
    return Gone(len(inits), len(processes), mounts, len(images))


def namespaces_of(pid: int) -> set[str]:
    """The namespaces of a process that a node has for itself: "mnt:[4026532]"; none if it is gone."""
    found = set()
    for kind in ("mnt", "net", "pid", "uts", "ipc"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
    return found


def inside(namespaces: Collection[str], noted: int) -> Iterator[tuple[int, str]]:
    """Who is in one of these namespaces, which were noted at a moment (`process.ticks`): process and namespace.

    Who started later is not: the kernel gives the number of a namespace that is gone to the next one, whosever it is.
    What nodes started since carries their mark, and is looked for by that.
    """
    for pid in living():
        if found := namespaces_of(pid) & set(namespaces):
            started = start_time(pid)
            yield from ((pid, name) for name in sorted(found) if started is not None and started <= noted)


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text()
    return ""


def stop(pid: int, started: int, grace_s: float) -> None:
    """Ask the maker to end, which makes it tear down; kill it if it does not."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + grace_s
    while alive(pid, started):
        if time.monotonic() > until:
            cgroup.kill([pid])
        time.sleep(0.05)


def _kill(deployment: str, cgroups: cgroup.Cgroups, deadline_s: float = 20.0) -> None:
    """Kill the deployment's processes until none is left, by control group and by the mark in their environment.

    The second finds what was started and had not yet joined; a process of our own ancestry is spared.
    """
    spared = _ancestry()

    def find() -> set[int]:
        inside = [pid for pid in cgroups.pids(f"pliant-{deployment}") if alive(pid)]
        return set(inside or marked(MARK, deployment)) - spared

    _let_go(find)
    fuse.cut(fuse.connections(cgroups.pids(f"pliant-{deployment}")))
    _end(deployment, find, time.monotonic() + deadline_s)


def _let_go(find: Callable[[], Iterable[int]], deadline_s: float = 10.0) -> None:
    """End what the kernel does for nodes: clients before their server, which they may need a last time."""
    cgroup.kill_all(lambda: kernel.clients(find()), time.monotonic() + deadline_s)
    kernel.stop_servers(find())


def _end(deployment: str, find: Callable[[], Iterable[int]], until: float) -> None:
    """Kill what is found of a deployment until nothing is; TeardownError if something is left."""
    if left := cgroup.kill_all(find, until):
        raise TeardownError(f"deployment {deployment}: processes {left} do not die")


def _remove_groups(deployment: str, cgroups: cgroup.Cgroups) -> None:
    """Remove the deployment's control groups, and who entered them meanwhile.

    A process that is just executing a program has no environment that could be read, so that it may not have been found
    while it had not joined its group yet either.
    """
    try:
        cgroups.remove(f"pliant-{deployment}")
    except cgroup.CgroupError:
        _kill(deployment, cgroups)
        cgroups.remove(f"pliant-{deployment}")


def _ancestry() -> set[int]:
    """This process and those it comes from."""
    found, pid = set(), os.getpid()
    while pid > 0 and pid not in found:
        found.add(pid)
        with open(f"/proc/{pid}/stat") as file:
            pid = int(file.read().rpartition(")")[2].split()[1])
    return found


def _unmount(directory: Path) -> None:
    """Unmount what is mounted below a directory in this mount namespace: nothing, unless somebody looked inside."""
    below = [
        target
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if (target := line.split()[4]).startswith(f"{directory}/")
    ]
    for target in reversed(below):
        run(["umount", "--lazy", target], timeout_s=30).check()


def _delete(directory: Path) -> None:
    """Delete the deployment's files, the journal last, never across a mount."""
    entries = [path for path in directory.iterdir() if path.name not in ("journal.jsonl", "owner.json", "lock")]
    for path in (*entries, directory):
        _remove(path)


def _remove(path: Path) -> None:
    """Delete one of a deployment's files or directories: by `rm`, with its own protection, because what nodes wrote
    can be anything."""
    done = subprocess.run(
        ["rm", "-rf", "--one-file-system", "--", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        start_new_session=True,  # out of reach of a Ctrl-C, which goes to the whole group of a terminal
    )
    if done.returncode != 0:
        raise TeardownError(f"{path}: {done.stderr.strip()}")
