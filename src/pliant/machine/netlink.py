"""Links of a network namespace, by rtnetlink(7) itself: a process of `ip` for each node would take as long as all that
a node takes otherwise."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import suppress


class Netlink:
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

    def rename(self, index: int, name: str) -> None:
        """Call a link, which is down, by another name."""
        self._ask(self._NEWLINK, 0, self._link(index, 0) + self.attribute(3, name), f"link {name}")  # IFLA_IFNAME

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
