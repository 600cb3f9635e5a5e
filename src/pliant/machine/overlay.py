"""Whether the nodes of several hosts can reach each other: the addresses of this machine, and packets sent to see.

What the kernel knows of a way says little: a firewall between two hosts, or a switch with a smaller MTU, drops packets
and says nothing. So every host sends some of each size to every other one, on the way that the nodes use.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from .process import CommandFailed, run

_CLONE_NEWNET = 0x40000000
_HEADERS = 28
"""Bytes of a packet before what UDP carries: IPv4 and UDP."""
_IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE = 10, 3
"""ip(7): send a packet as it is, whole, whatever is known of the way."""
_REPEATED = 3
_PAUSE_S = 0.05
_QUIET_S = 0.3
"""Nothing more comes when nothing has come for so long ..."""
_LONGEST_S = 5.0
"""... or after this."""
_SO_RCVBUFFORCE, _BUFFER_BYTES = 33, 8 << 20


def addresses(first: str) -> list[tuple[str, str, int, float | None]]:
    """The IPv4 addresses of this machine, loopback's left out, with the interface, its MTU and its rate (bit/s, None
    where the kernel does not know); `first` comes first, then that of the way to everywhere."""
    try:
        told: list[dict[str, Any]] = json.loads(run(["ip", "-json", "-4", "addr"], timeout_s=10).check().stdout)
        way: list[dict[str, Any]] = json.loads(run(["ip", "-json", "-4", "route"], timeout_s=10).check().stdout)
    except (CommandFailed, ValueError):
        return []
    default = next((each.get("dev") for each in way if each.get("dst") == "default"), None)
    found = []
    for link in told:
        for each in link.get("addr_info", ()):
            if "LOOPBACK" not in link.get("flags", ()) and "local" in each:
                order = (each["local"] != first, link["ifname"] != default)
                found.append((order, (each["local"], link["ifname"], int(link["mtu"]), _rate(link["ifname"]))))
    return [about for _, about in sorted(found)]


def _rate(interface: str) -> float | None:
    with suppress(OSError, ValueError):
        rate = int(Path(f"/sys/class/net/{interface}/speed").read_text())
        return rate * 1e6 if rate > 0 else None
    return None


class Ear:
    """Takes in packets at an address of a fabric (the network namespace of a process), and can send some from there."""

    def __init__(self, fabric_pid: int, address: str) -> None:
        self._heard: set[tuple[str, int]] = set()
        self._last = time.monotonic()
        self._socket = _socket_in(fabric_pid)
        self._socket.bind((address, 0))
        self._socket.settimeout(_QUIET_S)
        # What all other hosts send at once is not to be lost here.
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._closed = threading.Event()
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def send(self, to: Mapping[str, int], sizes: Sequence[int]) -> None:
        """Send packets of these sizes, as IPv4 counts them, to addresses -> ports; some are lost, so several."""
        self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
        for _ in range(_REPEATED):
            for address, port in to.items():
                for size in sizes:
                    with suppress(OSError):  # no way there, or too large for the own link: it is not heard then
                        self._socket.sendto(b"\0" * (size - _HEADERS), (address, port))
            time.sleep(_PAUSE_S)

    def heard(self) -> set[tuple[str, int]]:
        """What has come when nothing more does: (address, size)."""
        began = time.monotonic()
        while time.monotonic() < min(began + _LONGEST_S, max(began, self._last) + _QUIET_S):
            time.sleep(0.02)
        return set(self._heard)

    def close(self) -> None:
        """Take in no more."""
        self._closed.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._closed.is_set():
            with suppress(OSError):
                data, (address, _) = self._socket.recvfrom(65536)
                self._heard.add((address, len(data) + _HEADERS))
                self._last = time.monotonic()


def _socket_in(pid: int) -> socket.socket:
    """A socket for UDP in the network namespace of a process. A thread of its own enters that, and ends."""
    made: list[socket.socket] = []
    failed: list[str] = []

    def make() -> None:
        descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
                failed.append(os.strerror(ctypes.get_errno()))
                return
            made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        finally:
            os.close(descriptor)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise OSError(f"cannot enter the fabric: {failed[0] if failed else 'unknown'}")
    return made[0]
