"""Nodes with a kernel of their own, by a virtual machine (QEMU): with KVM as fast as the machine, else far slower.

As with `uml` the place is made as any other node is, and QEMU is a process in it: in its namespaces and in its host's
control group. The kernel is one of Debian's packages, with its modules (linux-image-amd64), which begins in a file
system in memory that is put together here. That mounts the place's root, read-only (9p), and gives way to `guest`.
Sources: qemu(1); Documentation/filesystems/9p.rst and driver-api/early-userspace/buffer-format.rst of Linux 6.1.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from . import module_tree
from .journal import STATE
from .launch import DISK_DEVICE, ROOT_DEVICE
from .process import PATH, CommandFailed, environment, run

PROGRAM, SHELL = "qemu-system-x86_64", "busybox"
BOOT = Path("/boot")
MODULES = Path("/lib/modules")
_NEEDED = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "9p", "9pnet_virtio", "ext4", "overlay")
ACCELERATIONS = ("kvm", "tcg")
_BOOT_S = {"kvm": 10.0, "tcg": 60.0}
"""How long `try_boot` waits. KVM boots in about a second; where it does not, some never say so."""
BOOTED = "pliant: booted"
BEGINS = "begins.cpio"


@dataclass(frozen=True)
class Kernel:
    """A kernel that virtual machines can boot: its file, and the directory of its modules."""

    file: Path
    modules: Path


def program() -> str | None:
    """Where QEMU is; None if it is not installed."""
    return shutil.which(PROGRAM, path=PATH)


def kernel() -> Kernel | None:
    """The newest kernel that has what a node needs, with its modules; None if there is none."""
    found = [
        Kernel(file, MODULES / file.name.removeprefix("vmlinuz-"))
        for file in sorted(BOOT.glob("vmlinuz-*"), key=_version, reverse=True)
    ]
    return next((each for each in found if _suits(each.modules)), None)


def _version(file: Path) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", file.name)]


def _suits(modules: Path) -> bool:
    try:
        there = (modules / "modules.dep").read_text() + (modules / "modules.builtin").read_text()
    except OSError:
        return False
    return all(f"/{name}.ko" in there for name in _NEEDED)


def modules() -> Path | None:
    """Where the modules of its kernel are; None if there is none."""
    found = kernel()
    return found.modules if found else None


def vermagic() -> str:
    """What a module must be built for, to be loaded by its kernel; "" if something of it is not installed."""
    return module_tree.vermagic(modules() if _installed() else None)


def lacking(names: Sequence[str]) -> list[str]:
    """Those of the file systems that its kernel has not; all of them if something of it is not installed."""
    return module_tree.lacking(modules() if _installed() else None, names)


def _installed() -> bool:
    return program() is not None and kernel() is not None and shutil.which(SHELL, path=PATH) is not None


# What it begins with


def begin(file: Path, kernel: Kernel, script: str, names: Sequence[str]) -> None:
    """Write the file system in memory in which a kernel begins, which runs a script of the shell with these modules in
    /modules, to be loaded in the order of /modules/order. OSError."""
    shell = shutil.which(SHELL, path=PATH)
    if shell is None:
        raise OSError(f"{SHELL} is not installed")
    paths = module_tree.paths(kernel.modules, names)
    order = "".join(f"{path.name}\n" for path in paths)
    entries: list[tuple[str, int, bytes]] = [
        *((name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "dev", "proc", "new", "modules")),
        ("bin/busybox", stat.S_IFREG | 0o755, Path(shell).read_bytes()),
        ("init", stat.S_IFREG | 0o755, script.encode()),
        ("modules/order", stat.S_IFREG | 0o644, order.encode()),
        *((f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes()) for path in paths),
    ]
    file.write_bytes(archive(entries))


def archive(entries: Iterable[tuple[str, int, bytes]]) -> bytes:
    """An archive as kernels unpack it (cpio, "newc"), of files: name, mode, content."""
    parts = []
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        parts += [head, b"\0" * (-len(head) % 4), content, b"\0" * (-len(content) % 4)]
    return b"".join(parts)


_SCRIPT = f"""#!/bin/{SHELL} sh
b=/bin/{SHELL}
$b mount -t proc proc /proc && $b mount -t devtmpfs dev /dev
for module in $($b cat /modules/order); do $b insmod /modules/$module; done
"""


def node_begins(file: Path, python: Sequence[str]) -> None:
    """Write what a node's kernel begins with: it mounts the place's root, and its init, `python`, goes on. OSError."""
    found = kernel()
    if found is None:
        raise OSError("no kernel for virtual machines is installed")
    options = "trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000,access=any"
    script = (
        f"{_SCRIPT}$b mount -t 9p -o {options} root /new || $b poweroff -f\n"
        f"$b mount --move /dev /new/dev && $b umount /proc\nexec $b switch_root /new {shlex.join(python)}\n"
    )
    begin(file, found, script, _NEEDED)


def command(mac: str, memory_bytes: int, acceleration: str, disk: bool) -> list[str]:
    """The command that boots a node in its place; see `tapped` for {tap}. Who starts it puts the descriptor of its
    control line in the place of {line}, and the file of `node_begins` in that of {begins}. Raises OSError."""
    found = kernel()
    if found is None:
        raise OSError("no kernel for virtual machines is installed")
    # What a disk was given is in the machine's memory, which outlives the node, so a flush has nothing to wait for.
    drives = [ROOT_DEVICE, *([DISK_DEVICE] if disk else [])]
    return [
        *(PROGRAM, *machine(acceleration, memory_bytes), *starts(found, Path("{begins}"))),
        *("-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=root,mount_tag=root"),
        *("-netdev", "tap,id=link,fd={tap}", "-device", f"virtio-net-pci,netdev=link,mac={mac},romfile="),
        *("-device", "virtio-serial-pci", "-chardev", "socket,id=line,fd={line}"),
        *("-device", "virtserialport,chardev=line,name=pliant"),
        *(word for file in drives for word in ("-drive", f"file={file},format=raw,if=virtio,cache=unsafe")),
    ]


# Whether it boots


@dataclass(frozen=True)
class Booted:
    """How a kernel, a file, began: in `took_s` it ran a program, None if it did not; and the end of what was said."""

    acceleration: str
    took_s: float | None
    said: str
    kernel: str = ""

    @property
    def boots(self) -> bool:
        """Whether a kernel ran."""
        return self.took_s is not None

    @property
    def sentence(self) -> str:
        """How it went, in words."""
        name = {"kvm": "KVM", "tcg": "without KVM"}[self.acceleration]
        return f"{name}: a kernel boots in {self.took_s:.1f} s" if self.boots else f"{name}: none boots: {self.said}"


def try_boot(acceleration: str) -> Booted:
    """Boot the kernel and have it run one program, which ends it: seconds, at most a minute. Whether /dev/kvm opens
    says nothing of whether it can run a kernel. Raises OSError if something of it is not installed."""
    found, qemu = kernel(), program()
    if found is None or qemu is None:
        raise OSError("no virtual machine, or no kernel for it, is installed")
    # Nothing of it is left if this process is killed: neither the file nor the machine.
    memory = os.memfd_create("begins")
    try:
        begins = Path(f"/proc/{os.getpid()}/fd/{memory}")
        begin(begins, found, f"{_SCRIPT}echo {BOOTED}\n$b poweroff -f\n", ())
        argv = ["setpriv", "--pdeathsig", "KILL", "--", qemu, *machine(acceleration, 256 << 20), *starts(found, begins)]
        began = time.monotonic()
        try:
            done = run(argv, timeout_s=_BOOT_S[acceleration], env=environment())
            said, why = done.stdout, done.stderr
        except CommandFailed as error:
            said, why = error.stdout, error.stderr or f"nothing came of it in {_BOOT_S[acceleration]:.0f} s"
    finally:
        os.close(memory)
    took_s = time.monotonic() - began
    if BOOTED in said:
        return Booted(acceleration, took_s, "", str(found.file))
    lines = [line.strip() for line in (said + "\n" + why).splitlines() if line.strip()]
    return Booted(acceleration, None, lines[-1] if lines else "it says nothing", str(found.file))


def machine(acceleration: str, memory_bytes: int) -> list[str]:
    """QEMU's arguments for a machine without anything that nodes have no use for."""
    speed = ["-accel", "kvm", "-cpu", "host"] if acceleration == "kvm" else ["-accel", "tcg,tb-size=64", "-cpu", "max"]
    without = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-serial", "stdio"]
    return ["-machine", "q35,usb=off,vmport=off", *speed, "-smp", "1", "-m", f"{memory_bytes >> 20}M", *without]


def starts(kernel: Kernel, begins: Path, words: Sequence[str] = ()) -> list[str]:
    """QEMU's arguments for what it boots; `words` go to the kernel."""
    append = ["console=ttyS0", "quiet", "panic=-1", "net.ifnames=0", *words]
    return ["-kernel", str(kernel.file), "-initrd", str(begins), "-append", " ".join(append)]


# What is known of it


def _record() -> Path:
    return Path(f"{STATE}-booted.json")


def _about() -> dict[str, str]:
    """What the answer depends on."""
    found, qemu = kernel(), program()
    if found is None or qemu is None:
        return {}
    kvm = "/dev/kvm" if os.access("/dev/kvm", os.R_OK | os.W_OK) else ""
    return {
        "kernel": str(found.file),
        "qemu": str(Path(qemu).stat().st_mtime_ns),
        "machine": os.uname().release,
        "kvm": kvm,
    }


def look() -> list[Booted]:
    """Boot in each way, the fastest first, until one works, and remember how it went. Empty if something of it is not
    installed."""
    found: list[Booted] = []
    if not _installed():
        return found
    for acceleration in ACCELERATIONS:
        found.append(try_boot(acceleration))
        if found[-1].boots:
            break
    _record().parent.mkdir(parents=True, exist_ok=True)
    _record().write_text(json.dumps({"about": _about(), "booted": [asdict(each) for each in found]}))
    return found


def known() -> list[Booted]:
    """What `look` found on this machine as it is; empty if that was never asked, or is no longer so."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(_record().read_text())
        if kept["about"] == _about():
            return [Booted(**each) for each in kept["booted"]]
    return []


def acceleration() -> str:
    """In which way virtual machines are known to boot here: "kvm" or "tcg"; "" if that was not tried, or none does."""
    return next((each.acceleration for each in known() if each.boots), "")
