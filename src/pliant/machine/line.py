"""The two ends of an instance's control line, which is a serial line: never more under way than its kernel takes.

A terminal that is full stops who writes to it; User Mode Linux 6.1 then never listens to that line again: what
`line_throttle` in arch/um/drivers/line.c takes off nothing puts back. So the door sends so much as fits, and goes on
when the instance says that it has read it: a line "+N", N bytes. What comes meanwhile can go unnoticed there as well,
until anything else comes: an empty line, which says nothing.
"""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

WINDOW_BYTES = 3000
"""What a terminal holds is 4096 bytes, and it stops who writes at 128 less (N_TTY_BUF_SIZE, drivers/tty/n_tty.c)."""
_NUDGE_S = 0.1
_BUFFER_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 16


class Near(io.RawIOBase):
    """The door's end. What is written goes out as the instance takes it; OSError once it has gone."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__()
        self._end = end
        for each in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, each, _BUFFER_BYTES)
        self._under_way = 0
        self._heard = time.monotonic()
        self._changed = threading.Condition()
        self._over = False
        threading.Thread(target=self._nudge, daemon=True).start()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Send all of it."""
        rest = memoryview(data)
        while rest:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._under_way < WINDOW_BYTES)
                if self._over:
                    raise BrokenPipeError
                part = rest[: WINDOW_BYTES - self._under_way]
                if not self._under_way:
                    self._heard = time.monotonic()
                self._under_way += len(part)
                self._end.sendall(part)
            rest = rest[len(part) :]
        return len(data)

    def lines(self) -> Iterator[bytes]:
        """What the instance says, until it ends."""
        with self._end.makefile("rb") as file, suppress(OSError):
            for said in iter(file.readline, b""):
                if said.startswith(b"+"):
                    self._taken(int(said))
                else:
                    yield said
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _taken(self, count: int) -> None:
        with self._changed:
            self._under_way -= count
            self._heard = time.monotonic()
            self._changed.notify_all()

    def _nudge(self) -> None:
        """Say nothing, but audibly, as long as what is under way is not taken."""
        while not self._over:
            time.sleep(_NUDGE_S)
            with self._changed, suppress(OSError):
                if self._under_way and time.monotonic() - self._heard > _NUDGE_S:
                    self._under_way += 1
                    self._end.sendall(b"\n")


class Far(io.RawIOBase):
    """The instance's end, a terminal."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._speaking = threading.Lock()

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Send all of it, nothing else between."""
        rest = memoryview(data)
        with self._speaking:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        return len(data)

    def lines(self) -> Iterator[bytes]:
        """What the door says; it is told what was read."""
        kept = b""
        while True:
            data = os.read(self._descriptor, _CHUNK_BYTES)
            if not data:
                return
            self.write(b"+%d\n" % len(data))
            *whole, kept = (kept + data).split(b"\n")
            yield from filter(None, whole)
