"""Power and links of nodes: what becomes of a machine whose plug or cable is pulled, and of one that is switched on.

A node keeps its namespaces and its init throughout, so that its host, its link and its files stay what they are. What
it loses with its power is every process, what its disk had not yet been given, and what it kept in memory.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import time
from collections.abc import Sequence
from contextlib import suppress

from . import disks, fuse, kernel, view
from .cgroup import kill_all
from .deployment import Deployment
from .process import CommandFailed, alive, environment, run, start_time

_EXT4_IOC_SHUTDOWN = 0x8004587D
_NO_FLUSH = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH, fs/ext4/ext4.h: from now on nothing more reaches the disk, not even the journal."""

_REMOTE = ("fuse", "nfs", "rpc_pipefs", "ceph", "lustre", "beegfs", "pvfs2", "9p", "cifs")
"""Beginnings of the kinds of mounts that are of no use once what is behind them has gone."""

_VOLATILE = ("/run", "/tmp", "/dev/shm")
"""Directories of a node that a machine finds empty when it is switched on."""


class PowerError(Exception):
    """What is asked of a node cannot be done in the state in which it is; the text is one sentence."""


def crash(deployment: Deployment, node: str, *, deadline_s: float = 20.0) -> None:
    """A node loses its power: first its link goes, then its disk takes nothing more, then every process is killed.

    What was written in it and not yet given to its disk is lost. Raises PowerError if it is down already.
    """
    with deployment.changing():
        _must_be_up(deployment, node)
        deployment.switch(node, down=True)
        if not deployment.is_instance(node):  # what its own kernel had not yet written goes with that
            _stop_disk(deployment, node)
        _end(deployment, node, deadline_s)


def shut_down(deployment: Deployment, node: str, *, grace_s: float = 10.0, deadline_s: float = 30.0) -> None:
    """Switch a node off in order: its processes are asked to end and given some time, its disk is written."""
    _must_be_up(deployment, node)
    _ask_to_end(deployment, node)
    until = time.monotonic() + grace_s
    while _processes(deployment, node) and time.monotonic() < until:
        time.sleep(0.02)
    with deployment.changing():
        _must_be_up(deployment, node)
        deployment.switch(node, down=True)
        _end(deployment, node, deadline_s)
        if (disk := deployment.nodes[node].disk) is not None and not deployment.is_instance(node):
            _inside(deployment, node, ["sync", "--file-system", disk])


def _ask_to_end(deployment: Deployment, node: str) -> None:
    """Tell the processes of a node to end; a kernel of its own writes its disks as well, and ends."""
    if deployment.is_instance(node):
        with suppress(CommandFailed):  # it ends before it can say so
            deployment.ask_door(node, "halt", timeout_s=10)
        return
    own = os.readlink(f"/proc/{deployment.nodes[node].pid}/ns/pid")
    for pid in _processes(deployment, node):
        with suppress(OSError):
            # Who only waits for one of them, outside, has to tell how it ended.
            if os.readlink(f"/proc/{pid}/ns/pid") == own:
                os.kill(pid, signal.SIGTERM)


def switch_on(deployment: Deployment, node: str) -> None:
    """Switch a node on that is down: its disk is mounted again as it was left, and its link goes up.

    Its daemons are the caller's to start. A link that was cut before is whole again. Raises PowerError if it is up.
    """
    with deployment.changing():
        if node not in deployment.down:
            raise PowerError(f"{node} is up already")
        if not deployment.is_instance(node):
            _tidy(deployment, node)
        deployment.switch(node, down=False, cut=False)
        if deployment.is_instance(node):
            deployment.boot([node], {node: deployment.group_of(node)})
            deployment.share_disks()


def block(deployment: Deployment, node: str) -> None:
    """Cut a node off the network: its link goes down, everything in it goes on."""
    with deployment.changing():
        _must_be_up(deployment, node)
        deployment.switch(node, cut=True)


def unblock(deployment: Deployment, node: str) -> None:
    """Plug a node in again."""
    with deployment.changing():
        _must_be_up(deployment, node)
        deployment.switch(node, cut=False)


def _must_be_up(deployment: Deployment, node: str) -> None:
    if node in deployment.down:
        raise PowerError(f"{node} is down; start it first")


def _processes(deployment: Deployment, node: str) -> list[int]:
    """The processes of a node but its init."""
    init = deployment.nodes[node].pid
    return [pid for pid in deployment.cgroups.pids(deployment.group_of(node)) if pid != init and alive(pid)]


def _end(deployment: Deployment, node: str, deadline_s: float) -> None:
    """Stop what the kernel serves for a node, and kill its processes until none is left but its init."""
    kernel.stop_servers([deployment.nodes[node].pid])
    fuse.cut(fuse.connections([deployment.nodes[node].pid]))
    seen: dict[int, int | None] = {}

    def find() -> list[int]:
        for pid in _processes(deployment, node):
            seen.setdefault(pid, start_time(pid))
        # One that is about to be gone is no longer listed in its group, and still there.
        return [pid for pid, started in seen.items() if started is not None and alive(pid, started)]

    if left := kill_all(find, time.monotonic() + deadline_s):
        raise CommandFailed(["kill"], 1, "", f"processes {left} do not die", node)


def _stop_disk(deployment: Deployment, node: str) -> None:
    """Let a node's disk take nothing more; only that disk, wherever the node's paths may lead."""
    live = deployment.nodes[node]
    if live.device is None or live.disk is None:
        return
    with suppress(FileNotFoundError):  # its mount point is gone: it is not mounted
        directory = os.open(f"{deployment.root(node)}{live.disk}", os.O_RDONLY | os.O_DIRECTORY)
        try:
            found = os.fstat(directory).st_dev
            if f"{os.major(found)}:{os.minor(found)}" == disks.number(live.device):
                fcntl.ioctl(directory, _EXT4_IOC_SHUTDOWN, struct.pack("I", _NO_FLUSH))
        finally:
            os.close(directory)


def _tidy(deployment: Deployment, node: str) -> None:
    """What a machine does without when it is switched on: dead mounts, and what was in memory. Mounts its disk anew."""
    live = deployment.nodes[node]
    mountinfo = (deployment.root(node).parent / "mountinfo").read_text()
    mounts = view.mounts(mountinfo)
    for target, kind in reversed(mounts):
        if kind.startswith(_REMOTE):
            _inside(deployment, node, ["umount", "--lazy", "--", target.encode().decode("unicode_escape")])
    if live.device is not None and live.disk is not None:
        if any(target == live.disk for target, _ in mounts):
            _inside(deployment, node, ["umount", "--", live.disk])
        major, minor = disks.number(live.device).split(":")
        _inside(deployment, node, ["mknod", _DEVICE, "b", major, minor])
        _inside(deployment, node, ["mount", "-t", disks.KIND, "-o", "noinit_itable", _DEVICE, live.disk])
        _inside(deployment, node, ["rm", _DEVICE])
    volatile = [path for path in _VOLATILE if any(target == path for target, _ in mounts)]
    if volatile:
        # What is mounted in there (a program that the node must see) is busy, and stays.
        _inside(deployment, node, ["find", *volatile, "-xdev", "-mindepth", "1", "-delete"], must=False)


_DEVICE = "/dev/.pliant-disk"
"""The disk's device, in a node only for the moment at which it is mounted."""


def _inside(deployment: Deployment, node: str, argv: Sequence[str], *, must: bool = True) -> None:
    """Run a command in a node that is down, which nobody else can enter."""
    pid = str(deployment.nodes[node].pid)
    enter = ["nsenter", "--target", pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", "--"]
    done = run([*enter, *argv], timeout_s=60, env=environment(deployment.id), where=node, shown=argv)
    if must:
        done.check()
