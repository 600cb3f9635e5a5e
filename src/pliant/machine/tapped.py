"""Becomes a program that has the place's link: what comes there from the fabric goes to a tap, and back.

    python3 -I -S program.py tapped MAC COMMAND...

Run in the place of a node that is a virtual machine. {tap} in the command is the descriptor of the tap, which is there
as long as the program is. MAC is that of the node, so the place's own end of the link gets another one: a bridge keeps
what is for itself. Sources: Documentation/networking/tuntap.rst; bridge in ip-link(8).
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
from contextlib import suppress

from .process import environment, run

_TUN, _KVM = ("/dev/.pliant-tun", 10, 200), ("/dev/kvm", 10, 232)
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
_BRIDGE, _TAP = "pliant0", "pliant1"


def main(mac: str, *command: str) -> int:
    """Make the tap, and become the command. OSError, CommandFailed."""
    descriptor = _tap()
    _bridge(mac)
    _device(*_KVM)
    os.set_inheritable(descriptor, True)
    argv = [word.replace("{tap}", str(descriptor)) for word in command]
    os.execvpe(argv[0], argv, environment())


def _device(path: str, major: int, minor: int) -> None:
    """A device of the machine's, in the place; whoever opens it learns whether there is one."""
    with suppress(FileExistsError):
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(major, minor))


def _tap() -> int:
    _device(*_TUN)
    descriptor = os.open(_TUN[0], os.O_RDWR | os.O_CLOEXEC)
    os.unlink(_TUN[0])
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", _TAP.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
    return descriptor


def _bridge(mac: str) -> None:
    """Plug both into a bridge, which is there already where the node is switched on again."""
    first, rest = mac[:2], mac[2:]
    other = f"{int(first, 16) ^ 0x04:02x}{rest}"
    lines = [f"link set {_TAP} master {_BRIDGE} up"]
    if _BRIDGE not in (name for _, name in socket.if_nameindex()):
        lines = [
            f"link add {_BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set eth0 address {other}",
            f"link set eth0 master {_BRIDGE}",
            f"link set {_BRIDGE} up",
            *lines,
        ]
    run(["ip", "-batch", "-"], timeout_s=20, stdin="\n".join(lines) + "\n", env=environment()).check()
