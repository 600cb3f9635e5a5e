"""Makes nodes. A program of its own: JSON on standard input, a line of JSON on standard output per node that is up.

It forks once per node, and each child unshares, wires and mounts in parallel with the others, so it must be
single-threaded and small; that is why it is not a function of the caller. See `NodeSpec` for the input.

    python3 -I -S program.py launch < {"fabric_pid": 123, "scratch": DIRECTORY, "files": {PATH: TEXT},
                                       "links": {PATH: TARGET}, "nodes": [NodeSpec, ...]}
        ->  {"node": "server1", "pid": 456}

`files` and `links` are what every node has: a layer of memory between the machine's files and what a node writes,
mounted on `scratch`. A node makes as few files on the disk as can be: ext4 looks at each that was deleted within the
last minutes before it makes another, which would make the next deployment slow.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .mounting import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    OLD,
    check,
    forget_machine,
    libc,
    mount,
    pivot,
    tmpfs,
    unmount,
    unshare,
    write,
)
from .netlink import Netlink

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWPID, _CLONE_NEWNET = 0x20000000, 0x40000000
_DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
ROOT_DEVICE, DISK_DEVICE = "/dev/.pliant-root", "/dev/.pliant-disk"
"""The disks of an instance with a kernel of its own, as its place has them."""
_PARTS = "/sys"
"""Where directories in memory are made, before it is the kernel's."""
_AT_ONCE = 4
"""Nodes that are made at the same time, per CPU."""


@dataclass(frozen=True)
class NodeSpec:
    """One node to make.

    `directory` holds what the node writes (upper layers) and where its root is assembled; it lies on a file system
    that can carry an overlay's upper layer. `layers` are the machine's mount points that the node sees copy-on-write,
    "/" first. `hidden` are directories that the node sees empty, `private` those that it owns and finds empty,
    `visible` those that it must see, read-only, although a hidden one covers them. `disk` is {device, target, kind}.
    `link` is the fabric's end of its link, plugged into `bridge`; an `mtu` of 0 and a `mac` of "" are the kernel's own.
    `files` are {path, content, mode, owner} to write before it starts, `links` are (path, target).

    With a `root_image`, a file, the node is the place of an instance with a kernel of its own (see `uml`): that has the
    link, with the same MAC, and its disks, which the place has as devices.
    """

    name: str
    number: int
    address: str
    prefix: int
    link: str
    bridge: str
    directory: str
    cgroups: tuple[str, ...]
    mtu: int = 0
    mac: str = ""
    layers: tuple[str, ...] = ("/",)
    hidden: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    visible: tuple[str, ...] = ()
    disk: dict[str, str] | None = None
    files: tuple[dict[str, Any], ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    root_image: str = ""


def upper(directory: str, layer: str) -> str:
    """Where a node's `directory` has what the node wrote to a layer: "/" -> upper, "/home" -> upper_home.

    No two layers share one: "/a_b" and "/a/b" differ.
    """
    escaped = layer.replace("%", "%25").replace("_", "%5f").replace("/", "_")
    return f"{directory}/upper{'' if layer == '/' else escaped}"


def _work(upper_directory: str) -> str:
    """The work directory of an overlay, beside its upper one."""
    return "/work".join(upper_directory.rsplit("/upper", 1))


def _like(lower: str, upper: str) -> None:
    """Make `upper` with the mode and owner of the machine's directory, which a new upper directory would hide."""
    os.makedirs(upper, exist_ok=True)
    try:
        found = os.stat(lower)
    except OSError:
        return
    os.chmod(upper, stat.S_IMODE(found.st_mode))
    os.chown(upper, found.st_uid, found.st_gid)


def _wire(spec: NodeSpec, fabric: Netlink, bridge: int) -> None:
    """Link this network namespace to the fabric; see `network` for the other end."""
    # IPv6 would announce each new link to all others: with a thousand of them, a million packets.
    if os.path.exists("/proc/sys/net/ipv6"):
        write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
    fabric.add_veth(spec.link, bridge, "eth0", os.getpid(), spec.mtu, spec.mac)
    fabric.close()
    own = Netlink()
    eth0 = socket.if_nametoindex("eth0")
    if not spec.root_image:
        own.add_address(eth0, spec.address, spec.prefix)
    for index in (socket.if_nametoindex("lo"), eth0):
        own.set_up(index)
    own.close()
    # A socket that nobody holds any more must not keep the namespace alive for a minute.
    write("/proc/sys/net/ipv4/tcp_orphan_retries", "1")


def _share(scratch: str, files: dict[str, str], links: dict[str, str]) -> None:
    """Mount what all nodes have in common on `scratch`, and a place for roots; see the top of this file."""
    mount("tmpfs", scratch, "tmpfs", 0, "mode=700")
    os.mkdir(f"{scratch}/root")
    _like("/", f"{scratch}/common")
    for path in (*files, *links):
        directory = ""
        for part in path.split("/")[1:-1]:
            directory += f"/{part}"
            _like(directory, f"{scratch}/common{directory}")
        if path in files:
            write(f"{scratch}/common{path}", files[path])
        else:
            os.symlink(links[path], f"{scratch}/common{path}")


def _populate(spec: NodeSpec) -> None:
    """Make what a node writes to: an upper and a work directory for each layer."""
    os.mkdir(spec.directory)
    for layer in spec.layers:
        _like(layer, upper(spec.directory, layer))
        os.mkdir(_work(upper(spec.directory, layer)))


def _in_memory(hidden: Sequence[str]) -> None:
    """Empty directories in memory, parts of one file system: with each more the kernel has to look at it for every
    control group that comes or goes, so that many nodes would take a time that grows with their square."""
    tmpfs(_PARTS, "755")
    places = [*(path for path in hidden if os.path.isdir(path)), "/dev"]
    for number, path in enumerate(places):
        part = f"{_PARTS}/{number}"
        os.mkdir(part)
        os.chmod(part, 0o1777 if path in ("/tmp", "/var/tmp") else 0o755)
        if os.path.isdir(path):  # one below another is hidden with it
            mount(part, path, "", MS_BIND)
    mount("", "/dev", "", MS_REMOUNT | MS_BIND | MS_NOSUID)
    os.mkdir("/dev/shm")
    os.chmod("/dev/shm", 0o1777)
    mount("/dev/shm", "/dev/shm", "", MS_BIND)
    mount("", "/dev/shm", "", MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV)
    unmount(_PARTS)


def _devices() -> None:
    """What its /dev has: the harmless devices, FUSE and terminals; no disk of the machine."""
    os.umask(0)
    for name, major, minor in _DEVICES:
        os.mknod(f"/dev/{name}", 0o666 | stat.S_IFCHR, os.makedev(major, minor))
    if os.path.exists(f"{OLD}/dev/fuse"):
        os.mknod("/dev/fuse", 0o666 | stat.S_IFCHR, os.stat(f"{OLD}/dev/fuse").st_rdev)
    os.umask(0o022)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"/dev/{name}")
    os.mkdir("/dev/pts")
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    os.symlink("pts/ptmx", "/dev/ptmx")


def _layers(spec: NodeSpec, scratch: str) -> str:
    """Mount the machine's file systems copy-on-write under one directory, and return it."""
    root = f"{scratch}/root"
    for layer in spec.layers:
        above = upper(spec.directory, layer)
        target, lower = (root, f"{scratch}/common:/") if layer == "/" else (root + layer, layer)
        try:
            options = f"lowerdir={lower},upperdir={above},workdir={_work(above)}"
            mount(f"pliant-{spec.name}", target, "overlay", 0, options)
        except OSError as error:
            where = os.path.dirname(os.path.dirname(os.path.dirname(spec.directory)))
            raise OSError(
                f"cannot mount an overlay of {layer}: {error.strerror}. If {where} lies on a file system that cannot "
                "carry one, as overlays (of containers, of live systems) and NFS, name another with PLIANT_STATE"
            ) from error
    return root


def _furnish(spec: NodeSpec) -> None:
    """What a node has beside its layers. Done inside its root, where a symbolic link cannot lead out of it."""
    _in_memory(spec.hidden)
    for path in spec.private:
        if os.path.islink(path):  # the node gets a directory in its place; what it leads to is not the role's
            os.unlink(path)
        elif os.path.isdir(path):
            shutil.rmtree(path)
        os.makedirs(path)
    for path in spec.visible:
        if os.path.isdir(OLD + path):
            os.makedirs(path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write(path, "")
        mount(OLD + path, path, "", MS_BIND | MS_REC)
        mount("", path, "", MS_REMOUNT | MS_BIND | MS_RDONLY)
    _devices()
    mount("sysfs", "/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if spec.root_image:
        _show_disks(spec)
    elif spec.disk:
        os.makedirs(spec.disk["target"], exist_ok=True)
        mount(OLD + spec.disk["device"], spec.disk["target"], spec.disk["kind"], 0, "noinit_itable")


def _show_disks(spec: NodeSpec) -> None:
    """The disks of an instance with a kernel of its own, under the names that `uml` gives it."""
    write(ROOT_DEVICE, "")
    mount(OLD + spec.root_image, ROOT_DEVICE, "", MS_BIND)
    if spec.disk:
        device = os.stat(OLD + spec.disk["device"]).st_rdev
        os.mknod(DISK_DEVICE, 0o600 | stat.S_IFBLK, device)


def _write_files(spec: NodeSpec) -> None:
    """Write the files of the node's role, each with its mode and owner from the first byte on; inside its root."""
    for file in spec.files:
        path = file["path"]
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if os.path.lexists(path):
                os.unlink(path)  # the machine's own may be a link, or have other names
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w", encoding="utf-8") as out:
                user, _, group = file["owner"].partition(":")
                shutil.chown(path, user, group or None)
                os.fchmod(descriptor, file["mode"])
                out.write(file["content"])
        except (OSError, LookupError) as error:
            raise OSError(f"cannot write {path}: {error}") from error
    for path, target in spec.links:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.lexists(path):
            os.unlink(path)
        os.symlink(target, path)


def _init() -> None:
    """PID 1 of a node. With SIGCHLD ignored the kernel itself reaps every orphan, so any program that waits will do."""
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.closerange(3, 256)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.execv("/bin/sleep", ["sleep", "infinity"])


def _make(spec: NodeSpec, scratch: str) -> int:
    """Become the node's namespaces, start its init, and return the init's PID as the machine knows it.

    Called in the fabric's network namespace.
    """
    for file in spec.cgroups:
        write(file, str(os.getpid()))
    fabric, bridge = Netlink(), socket.if_nametoindex(spec.bridge)
    unshare(_CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWNET)
    _wire(spec, fabric, bridge)
    check(libc.sethostname(spec.name.encode(), len(spec.name)), "sethostname")
    _populate(spec)
    pivot(_layers(spec, scratch))
    _furnish(spec)
    _write_files(spec)
    forget_machine()
    unshare(_CLONE_NEWPID)
    ready_in, ready_out = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.set_inheritable(ready_out, False)  # closed by the exec: the parent then knows that the init runs
            _init()
        except BaseException as error:
            os.write(ready_out, str(error).encode())
        os._exit(1)
    os.close(ready_out)
    failed = os.read(ready_in, 4096).decode()
    if failed:
        raise OSError(failed)
    return pid


def _child(spec: NodeSpec, scratch: str, out: int) -> None:
    try:
        line: dict[str, Any] = {"node": spec.name, "pid": _make(spec, scratch)}
    except Exception as error:
        line = {"node": spec.name, "error": str(error)}
    os.write(out, (json.dumps(line) + "\n").encode())
    os._exit(0)


def main() -> int:
    """Read the specification and make every node, several at a time: making one is mostly waiting for the kernel."""
    work = json.load(sys.stdin)
    specs = [NodeSpec(**node) for node in work["nodes"]]
    with open(f"/proc/{work['fabric_pid']}/ns/net") as fabric:
        check(libc.setns(fabric.fileno(), _CLONE_NEWNET), "setns")
    unshare(_CLONE_NEWNS)
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    _share(work["scratch"], work["files"], work["links"])
    running: set[int] = set()
    most = _AT_ONCE * (os.cpu_count() or 1)
    for spec in specs:
        if len(running) >= most:
            running.discard(os.wait()[0])
        pid = os.fork()
        if pid == 0:
            _child(spec, work["scratch"], 1)
        running.add(pid)
    while running:
        running.discard(os.wait()[0])
    return 0
