"""The init of a node with a kernel of its own, and who runs programs there for `door`, at the other end of its line.

It asks who it is ({"do": "begin"}), makes the root, link and disks that a node has, says so ({"do": "up"}), and then
does what is asked for: {"do": "run", "with": {"argv": [...], "env": {...}}} as `carrying` has it, "clock", "caches",
"halt"; what `inside` has of its kernel and its disk it does at once. The first process only waits for those that nobody
else waits for; when who serves ends, so does the instance.
"""

from __future__ import annotations

import base64
import ctypes
import glob
import os
import socket
import termios
import threading
import time
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from . import inside, mounting
from .carrying import carry_out
from .conversation import Call, Conversation, quickest
from .line import Far
from .netlink import Netlink
from .parts import VM
from .process import NOT_FOUND
from .watchdog import Disk

_BASE = "/tmp"
"""Where the new root is put together: a directory that every node has empty."""
_SYS_FINIT_MODULE = {"x86_64": 313}
_POWER_OFF = 0x4321FEDC
"""LINUX_REBOOT_CMD_POWER_OFF, reboot(2)."""
_BLKIO = "/sys/fs/cgroup/blkio"
_CALLS = 200
_LOOK_S = 1.0
"""How often disks are looked at, which takes a tenth of a millisecond or two."""


@dataclass(frozen=True)
class Hardware:
    """What an instance has: its control line, the disk for what it writes, that of its role, and its link."""

    line: str
    root: str
    disk: str
    link: str


_OF_UML = Hardware("/dev/ttyS0", "/dev/ubda", "/dev/ubdb", "vec0")
_OF_VM = Hardware("/dev/vport*p1", "/dev/vda", "/dev/vdb", "eth0")


def main(*words: str) -> int:
    """Be the first process: let another do the work, and reap. The kernel adds words of its own."""
    hardware = _OF_VM if VM in words else _OF_UML
    worker = os.fork()
    if worker == 0:
        try:
            Guest(hardware).serve()
        except BaseException as error:
            print(f"the node's init failed: {error!r}", flush=True)  # on the console, which is a log of the node
        os._exit(1)
    while True:
        with suppress(ChildProcessError):
            if os.wait()[0] == worker:
                break
    halt()
    return 0


def halt() -> None:
    """End the instance; what was not written to its disks is lost, see `Guest.do_halt`."""
    mounting.libc.reboot(_POWER_OFF)


class Guest:
    """Who serves the line."""

    def __init__(self, hardware: Hardware) -> None:
        self._hardware = hardware
        descriptor = os.open(_there(hardware.line), os.O_RDWR | os.O_NOCTTY)
        if os.isatty(descriptor):
            tty.setraw(descriptor, termios.TCSANOW)
        self._line = Far(descriptor)
        self._conversation = Conversation(self._line, self._answer, step=1)
        self._counters: inside.Counters | None = None

    def serve(self) -> None:
        """Become the node, and do what is asked for until the line ends."""
        said = (self._lines(), lambda text: None)
        listening = threading.Thread(target=self._conversation.listen, args=said, daemon=True)
        listening.start()
        about: Mapping[str, Any] = self._conversation.ask("begin", None, {}).next()["done"]
        self._set_clock()
        failed = ""
        try:
            become(about, self._hardware)
            self._counters = inside.Counters(os.path.basename(self._hardware.disk) if about["disk"] else "")
        except (OSError, KeyError) as error:
            failed = str(error)
        self._conversation.ask("up", None, {"failed": failed}).next()
        if not failed:
            threading.Thread(target=self._watch_disks, daemon=True).start()
        listening.join()

    def _lines(self) -> Iterator[bytes]:
        """What is said on the line beside what `inside` has, which is done at once."""
        for line in self._line.lines():
            if line.startswith(inside.LIMIT):
                _throttle(self._hardware.disk, *line.removeprefix(inside.LIMIT).decode().split())
            elif not line.startswith(b"?"):
                yield line
            elif self._counters is not None:
                self._line.write(self._counters.answer(line))

    def _watch_disks(self) -> None:
        """Tell of disks that do not answer."""
        names = map(os.path.basename, (self._hardware.root, self._hardware.disk))
        disks = [Disk(name) for name in names if os.path.exists(f"/sys/block/{name}")]
        while True:
            if for_s := max(disk.unanswered_s() for disk in disks):
                self._conversation.ask("stuck", None, {"s": for_s})
            time.sleep(_LOOK_S)

    def _set_clock(self) -> None:
        """Have the machine's time of the day: the kernel begins a second too late."""
        there_s, at_s, _ = quickest(lambda: self._conversation.ask("time", None, {}).next()["done"], 5)
        time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + there_s - at_s)

    def _answer(self, call: Call) -> Any:
        return getattr(self, f"do_{call.what}")(call)

    def do_run(self, call: Call) -> int | None:
        """Run a program; its output is told as it comes."""
        argv = call.given["argv"]
        try:
            return carry_out(call, argv, call.given["env"], None)
        except InterruptedError:
            raise
        except OSError as error:
            said = f"cannot run {argv[0]}: {error.strerror}\n".encode()
            call.say(stream="stderr", data=base64.b64encode(said).decode())
            return NOT_FOUND

    def do_clock(self, call: Call) -> list[float]:
        """The clocks: that of the day, and CLOCK_MONOTONIC."""
        return [time.time(), time.monotonic()]

    def do_call(self, call: Call) -> float:
        """The seconds that a system call takes."""
        return min(_calls_s() for _ in range(5)) / _CALLS

    def do_caches(self, call: Call) -> None:
        """Write back and empty the page cache."""
        os.sync()
        mounting.write("/proc/sys/vm/drop_caches", "3")

    def do_halt(self, call: Call) -> None:
        """Write what is not yet on the disks, and end the instance."""
        os.sync()
        halt()


def _there(pattern: str) -> str:
    """The device of that name, which may take a moment to be there. OSError."""
    until = time.monotonic() + 10
    while not (found := glob.glob(pattern)):
        if time.monotonic() > until:
            raise OSError(f"there is no {pattern}")
        time.sleep(0.01)
    return found[0]


def _throttle(disk: str, way: str, rate: str) -> None:
    """Limit what passes between the node and its disk one way, "read" or "write", in bytes/s; 0 is no limit."""
    try:
        number = os.stat(disk).st_rdev
        limit = f"{os.major(number)}:{os.minor(number)} {rate}"
        mounting.write(f"{_BLKIO}/blkio.throttle.{way}_bps_device", limit)
    except OSError as error:
        print(f"the disk cannot be limited: {error}", flush=True)


def _calls_s() -> float:
    began = time.perf_counter()
    for _ in range(_CALLS):
        os.getppid()
    return time.perf_counter() - began


def become(about: Mapping[str, Any], hardware: Hardware) -> None:
    """Make the root, the link and the disks of a node. Raises OSError."""
    load(about["modules"], ("overlay", *about["load"]))
    if about["module"]:
        _insert(about["module"])  # before there is a new /tmp, in which it may be
    _make_root(hardware.root)
    _furnish(about["modules"], about["visible"])
    mounting.libc.sethostname(about["name"].encode(), len(about["name"]))
    _wire(hardware.link, about["address"], about["prefix"])
    for target, kind in about["disk"]:
        os.makedirs(target, exist_ok=True)
        mounting.mount(hardware.disk, target, kind, 0, "noinit_itable")


def load(directory: str, names: tuple[str, ...]) -> None:
    """Load modules and those they need, in the order of modules.dep (modules.dep(5)); those that are in are fine."""
    with open(f"{directory}/modules.dep") as file:
        needs = {line.partition(":")[0]: line.partition(":")[2].split() for line in file}
    paths = {os.path.basename(path).partition(".")[0].replace("-", "_"): path for path in needs}
    for name in names:
        path = paths.get(name.replace("-", "_"))
        if path is None:
            continue  # it is built in, or whoever needs it will say so
        for each in (*reversed(needs[path]), path):
            _insert(f"{directory}/{each}")


def _insert(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if mounting.libc.syscall(_SYS_FINIT_MODULE[os.uname().machine], descriptor, b"", 0) != 0:
            error = ctypes.get_errno()
            if error != 17:  # EEXIST: it is in
                raise OSError(error, f"module {path}: {os.strerror(error)}")
    finally:
        os.close(descriptor)


def _make_root(device: str) -> None:
    """Put what is written, on a disk of its own, over the place's root, and make that the root."""
    mounting.mount("tmpfs", _BASE, "tmpfs")
    disk, root = f"{_BASE}/disk", f"{_BASE}/root"
    os.mkdir(disk)
    os.mkdir(root)
    mounting.mount(device, disk, "ext4", 0, "noinit_itable")
    for name in ("upper", "work"):
        os.makedirs(f"{disk}/{name}", exist_ok=True)
    mounting.mount("pliant", root, "overlay", 0, f"lowerdir=/,upperdir={disk}/upper,workdir={disk}/work")
    mounting.pivot(root)
    mounting.mount(f"{mounting.OLD}/dev", "/dev", "", mounting.MS_MOVE)
    mounting.forget_machine()


def _furnish(modules: str, visible: Sequence[str]) -> None:
    """What a node has beside files; see `launch`. A directory in which it must see something is left as it is there."""
    mounting.mount("proc", "/proc", "proc")
    mounting.mount("sysfs", "/sys", "sysfs")
    for path, mode in (("/run", "755"), ("/tmp", "1777"), ("/dev/shm", "1777"), ("/sys/fs/cgroup", "755")):
        os.makedirs(path, exist_ok=True)
        if not any(each.startswith(f"{path}/") for each in visible):
            mounting.mount("tmpfs", path, "tmpfs", 0, f"mode={mode}")
    os.mkdir(_BLKIO)
    mounting.mount("cgroup", _BLKIO, "cgroup", 0, "blkio")
    os.makedirs("/dev/pts", exist_ok=True)
    mounting.mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=0666,mode=620")
    for name, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        with suppress(FileExistsError):
            os.symlink(target, f"/dev/{name}")
    os.makedirs("/lib/modules", exist_ok=True)
    with suppress(FileExistsError):
        os.symlink(modules, f"/lib/modules/{os.uname().release}")


def _wire(link: str, address: str, prefix: int) -> None:
    """Give the link the name that it has in every node, and the node's address."""
    if os.path.exists("/proc/sys/net/ipv6"):
        mounting.write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
        mounting.write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1")
    links = Netlink()
    index = socket.if_nametoindex(link)
    if link != "eth0":
        links.rename(index, "eth0")
    links.add_address(index, address, prefix)
    links.set_up(socket.if_nametoindex("lo"))
    links.set_up(index)
    links.close()
    if link == _OF_UML.link:
        _take_in_by_a_thread()


def _take_in_by_a_thread() -> None:
    # Else interrupts that come while one is served are lost at times, and with them what a disk has answered.
    threaded = "/sys/class/net/eth0/threaded"
    mounting.write(threaded, "1")
    with open(threaded) as file:
        if file.read().strip() != "1":
            raise OSError("the link's packets are not taken in by a thread")
