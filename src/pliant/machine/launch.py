"""Makes nodes. A program of its own: JSON on standard input, a line of JSON on standard output per node that is up.

It forks once per node, and each child unshares, wires and mounts in parallel with the others, so it must be
single-threaded and small; that is why it is not a function of the caller. See `NodeSpec` for the input.

    python3 -I launch.py < {"fabric_pid": 123, "scratch": DIRECTORY, "files": {PATH: TEXT}, "links": {PATH: TARGET},
                            "nodes": [NodeSpec, ...]}  ->  {"node": "server1", "pid": 456}

`files` and `links` are what every node has: a layer of memory between the machine's files and what a node writes,
mounted on `scratch`. A node makes as few files on the disk as can be: ext4 looks at each that was deleted within the
last minutes before it makes another, which would make the next deployment slow.

Links are made by rtnetlink(7) itself: a process of `ip` for each node would take as long as all the rest.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import stat
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWPID, _CLONE_NEWNET = 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 0x1, 0x2, 0x4, 0x8
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203, "riscv64": 41, "s390x": 217}
_DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))
_OLD = "/proc"
"""Where the machine's own root is seen while a node is made: a directory that every root has, used for it later."""
_AT_ONCE = 4
"""Nodes that are made at the same time, per CPU."""

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class NodeSpec:
    """One node to make.

    `directory` holds what the node writes (upper layers) and where its root is assembled; it lies on a file system
    that can carry an overlay's upper layer. `layers` are the machine's mount points that the node sees copy-on-write,
    "/" first. `hidden` are directories that the node sees empty, `private` those that it owns and finds empty,
    `visible` those that it must see, read-only, although a hidden one covers them. `disk` is {device, target, kind}.
    `link` is the fabric's end of its link, plugged into `bridge`; an `mtu` of 0 and a `mac` of "" are the kernel's own.
    `files` are {path, content, mode, owner} to write before it starts.
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


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def _unshare(flags: int) -> None:
    _check(_libc.unshare(flags), "unshare")


def _mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    encoded = (source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), data.encode() or None)
    _check(_libc.mount(*encoded), f"mount {kind or 'bind'} {source} on {target}")


def _tmpfs(target: str, mode: str, size: str = "50%") -> None:
    _mount("tmpfs", target, "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode={mode},size={size}")


def _pivot(root: str) -> None:
    """Make `root` the root of this mount namespace, with the machine's own still to be seen at _OLD (pivot_root(2))."""
    os.makedirs(root + _OLD, exist_ok=True)
    os.chdir(root)
    _check(_libc.syscall(_SYS_PIVOT_ROOT[os.uname().machine], b".", _OLD[1:].encode()), "pivot_root")
    os.chdir("/")


def _forget_machine() -> None:
    """Let go of the machine's root with all its mounts."""
    _check(_libc.umount2(_OLD.encode(), _MNT_DETACH), "umount the machine's root")


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


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


class _Netlink:
    """A conversation with the kernel about the links of one network namespace: that in which it was opened."""

    _REQUEST, _ACK, _CREATE, _EXCL = 0x1, 0x4, 0x400, 0x200
    _NEWLINK, _DELLINK, _NEWADDR, _ERROR = 16, 17, 20, 2
    UP = 0x1

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.settimeout(30)

    @staticmethod
    def attribute(kind: int, content: bytes | str | int) -> bytes:
        """One attribute: its length, its kind, its content, padded to four bytes."""
        if isinstance(content, int):
            content = struct.pack("=I", content)
        elif isinstance(content, str):
            content = content.encode() + b"\0"
        return struct.pack("=HH", 4 + len(content), kind) + content + b"\0" * (-len(content) % 4)

    def _ask(self, kind: int, flags: int, body: bytes, what: str) -> None:
        flags |= self._REQUEST | self._ACK
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answer = self._socket.recv(65536)
        answered, error = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=i", answer, 16)[0]
        if answered != self._ERROR or error:
            raise OSError(-error, f"{what}: {os.strerror(-error)}")

    @staticmethod
    def _link(index: int, flags: int) -> bytes:
        """`struct ifinfomsg`: sets those of the flags that are given."""
        return struct.pack("=BxHiII", 0, 0, index, flags, flags)

    def add_veth(self, name: str, bridge: int, peer: str, peer_pid: int, mtu: int, mac: str) -> None:
        """A pair of links: `name` here, up and in a bridge, and `peer`, down, in the namespace of a process.

        The kernel takes its time to remove the links of a node that has gone: its own, of the same name, goes now.
        """
        hardware, name_, size, master, info, netns = 1, 3, 4, 10, 18, 19  # IFLA_*
        kind, data, veth_peer = 1, 2, 1  # IFLA_INFO_*, VETH_INFO_PEER
        one = self.attribute
        long = one(size, mtu) if mtu else b""
        own = one(hardware, bytes.fromhex(mac.replace(":", ""))) if mac else b""
        other = self._link(0, 0) + one(name_, peer) + one(netns, peer_pid) + long + own
        about = one(kind, "veth") + one(data, one(veth_peer, other))
        body = self._link(0, self.UP) + one(name_, name) + one(master, bridge) + long + one(info, about)
        try:
            self._ask(self._NEWLINK, self._CREATE | self._EXCL, body, f"link {name}")
        except FileExistsError:
            with suppress(OSError):  # it went meanwhile
                self._ask(self._DELLINK, 0, self._link(0, 0) + one(name_, name), f"link {name}")
            self._ask(self._NEWLINK, self._CREATE | self._EXCL, body, f"link {name}")

    def set_up(self, index: int) -> None:
        """Switch a link on."""
        self._ask(self._NEWLINK, 0, self._link(index, self.UP), "link up")

    def add_address(self, index: int, address: str, prefix: int) -> None:
        """Give a link an IPv4 address."""
        raw = socket.inet_aton(address)
        body = struct.pack("=BBBBi", socket.AF_INET, prefix, 0, 0, index)
        body += self.attribute(2, raw) + self.attribute(1, raw)  # IFA_LOCAL, IFA_ADDRESS
        self._ask(self._NEWADDR, self._CREATE | self._EXCL, body, f"address {address}")

    def close(self) -> None:
        """End it."""
        self._socket.close()


def _wire(spec: NodeSpec, fabric: _Netlink, bridge: int) -> None:
    """Link this network namespace to the fabric; see `network` for the other end."""
    # IPv6 would announce each new link to all others: with a thousand of them, a million packets.
    if os.path.exists("/proc/sys/net/ipv6"):
        _write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
    fabric.add_veth(spec.link, bridge, "eth0", os.getpid(), spec.mtu, spec.mac)
    fabric.close()
    own = _Netlink()
    eth0 = socket.if_nametoindex("eth0")
    own.add_address(eth0, spec.address, spec.prefix)
    for index in (socket.if_nametoindex("lo"), eth0):
        own.set_up(index)
    own.close()
    # A socket that nobody holds any more must not keep the namespace alive for a minute.
    _write("/proc/sys/net/ipv4/tcp_orphan_retries", "1")


def _share(scratch: str, files: dict[str, str], links: dict[str, str]) -> None:
    """Mount what all nodes have in common on `scratch`, and a place for roots; see the top of this file."""
    _mount("tmpfs", scratch, "tmpfs", 0, "mode=700")
    os.mkdir(f"{scratch}/root")
    _like("/", f"{scratch}/common")
    for path in (*files, *links):
        directory = ""
        for part in path.split("/")[1:-1]:
            directory += f"/{part}"
            _like(directory, f"{scratch}/common{directory}")
        if path in files:
            _write(f"{scratch}/common{path}", files[path])
        else:
            os.symlink(links[path], f"{scratch}/common{path}")


def _populate(spec: NodeSpec) -> None:
    """Make what a node writes to: an upper and a work directory for each layer."""
    os.mkdir(spec.directory)
    for layer in spec.layers:
        _like(layer, upper(spec.directory, layer))
        os.mkdir(_work(upper(spec.directory, layer)))


def _devices() -> None:
    """A /dev of its own: the harmless devices, FUSE, terminals and shared memory; no disk of the machine."""
    _mount("tmpfs", "/dev", "tmpfs", _MS_NOSUID, "mode=755,size=1m")
    os.umask(0)
    for name, major, minor in _DEVICES:
        os.mknod(f"/dev/{name}", 0o666 | stat.S_IFCHR, os.makedev(major, minor))
    if os.path.exists(f"{_OLD}/dev/fuse"):
        os.mknod("/dev/fuse", 0o666 | stat.S_IFCHR, os.stat(f"{_OLD}/dev/fuse").st_rdev)
    os.umask(0o022)
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        os.symlink(target, f"/dev/{name}")
    os.mkdir("/dev/pts")
    _mount("devpts", "/dev/pts", "devpts", _MS_NOSUID | _MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    os.symlink("pts/ptmx", "/dev/ptmx")
    os.mkdir("/dev/shm")
    _tmpfs("/dev/shm", "1777")


def _layers(spec: NodeSpec, scratch: str) -> str:
    """Mount the machine's file systems copy-on-write under one directory, and return it."""
    root = f"{scratch}/root"
    for layer in spec.layers:
        above = upper(spec.directory, layer)
        target, lower = (root, f"{scratch}/common:/") if layer == "/" else (root + layer, layer)
        try:
            options = f"lowerdir={lower},upperdir={above},workdir={_work(above)}"
            _mount(f"pliant-{spec.name}", target, "overlay", 0, options)
        except OSError as error:
            where = os.path.dirname(os.path.dirname(os.path.dirname(spec.directory)))
            raise OSError(
                f"cannot mount an overlay of {layer}: {error.strerror}. If {where} lies on a file system that cannot "
                "carry one, as overlays (of containers, of live systems) and NFS, name another with PLIANT_STATE"
            ) from error
    return root


def _furnish(spec: NodeSpec) -> None:
    """What a node has beside its layers. Done inside its root, where a symbolic link cannot lead out of it."""
    for path in spec.hidden:
        if os.path.isdir(path):
            _tmpfs(path, "1777" if path in ("/tmp", "/var/tmp") else "755")
    for path in spec.private:
        if os.path.islink(path):  # the node gets a directory in its place; what it leads to is not the role's
            os.unlink(path)
        elif os.path.isdir(path):
            shutil.rmtree(path)
        os.makedirs(path)
    for path in spec.visible:
        if os.path.isdir(_OLD + path):
            os.makedirs(path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            _write(path, "")
        _mount(_OLD + path, path, "", _MS_BIND | _MS_REC)
        _mount("", path, "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY)
    _devices()
    _mount("sysfs", "/sys", "sysfs", _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    if spec.disk:
        os.makedirs(spec.disk["target"], exist_ok=True)
        _mount(_OLD + spec.disk["device"], spec.disk["target"], spec.disk["kind"], 0, "noinit_itable")


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


def _init() -> None:
    """PID 1 of a node. With SIGCHLD ignored the kernel itself reaps every orphan, so any program that waits will do."""
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
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
        _write(file, str(os.getpid()))
    fabric, bridge = _Netlink(), socket.if_nametoindex(spec.bridge)
    _unshare(_CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | _CLONE_NEWNET)
    _wire(spec, fabric, bridge)
    _check(_libc.sethostname(spec.name.encode(), len(spec.name)), "sethostname")
    _populate(spec)
    _pivot(_layers(spec, scratch))
    _furnish(spec)
    _write_files(spec)
    _forget_machine()
    _unshare(_CLONE_NEWPID)
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
        _check(_libc.setns(fabric.fileno(), _CLONE_NEWNET), "setns")
    _unshare(_CLONE_NEWNS)
    _mount("none", "/", "", _MS_REC | _MS_PRIVATE)
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


if __name__ == "__main__":
    sys.exit(main())
