"""Where `far` asks: a socket of this machine, and for each program that is asked for there somebody who has it run."""

from __future__ import annotations

import json
import os
import queue
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

_CHUNK_BYTES = 1 << 16


def ask(path: str, place: str, argv: Sequence[str], timeout_s: float) -> tuple[int | None, str]:
    """Have something done by who listens at `path`, as `far` does with a program's own input and output: how it ended
    (None: not known, or not in time) and what it said. Raises OSError if nobody listens."""
    request = json.dumps({"place": place, "argv": list(argv), "env": {}}).encode()
    until = time.monotonic() + timeout_s
    null, (heard, said) = os.open(os.devnull, os.O_RDONLY), os.pipe()
    text, answer = b"", b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, open(heard, "rb", buffering=0) as out:
        try:
            connection.connect(path)
            socket.send_fds(connection, [struct.pack("=I", len(request))], [null, said, said])
            connection.sendall(request)
        finally:
            os.close(null)
            os.close(said)
        while select.select([out], [], [], max(0.0, until - time.monotonic()))[0]:
            if more := out.read(_CHUNK_BYTES):
                text += more
                continue
            connection.settimeout(max(0.01, until - time.monotonic()))
            with suppress(OSError):
                answer = connection.recv(4, socket.MSG_WAITALL)
            break
    return struct.unpack("=i", answer)[0] if len(answer) == 4 else None, text.decode(errors="replace")


@dataclass(frozen=True)
class Wanted:
    """A program that is to run elsewhere: where, with which arguments, environment, and descriptors of input and
    output. `inputs` gets the signals that are meant for it, and None when it is to be ended."""

    place: str
    argv: tuple[str, ...]
    env: dict[str, str]
    descriptors: tuple[int, int, int]
    inputs: queue.SimpleQueue[int | None] = field(default_factory=queue.SimpleQueue)


class Relay:
    """Listens at `path`, which root alone may use, until `close`. `carry` has a program run; it says how that ended."""

    def __init__(self, path: str, carry: Callable[[Wanted], int]) -> None:
        self.path, self._carry = path, carry
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with suppress(FileNotFoundError):
            os.unlink(path)
        before = os.umask(0o077)
        try:
            self._socket.bind(path)
        finally:
            os.umask(before)
        self._socket.listen(512)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no longer; what runs goes on."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with suppress(FileNotFoundError):
            os.unlink(self.path)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError, KeyError, struct.error):
            head, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
            try:
                (length,) = struct.unpack("=I", head)
                text = b""
                while len(text) < length and (more := connection.recv(length - len(text))):
                    text += more
                request: dict[str, Any] = json.loads(text)
                stdin, stdout, stderr = descriptors
                wanted = Wanted(request["place"], tuple(request["argv"]), request["env"], (stdin, stdout, stderr))
                threading.Thread(target=_watch, args=(connection, wanted.inputs), daemon=True).start()
                connection.sendall(struct.pack("=i", self._carry(wanted)))
            finally:
                for each in descriptors:
                    os.close(each)


def _watch(connection: socket.socket, inputs: queue.SimpleQueue[int | None]) -> None:
    """Take in signals; the end of the connection, before there is an answer, is the end of who wanted it."""
    with suppress(OSError, ValueError):
        while number := connection.recv(1):
            inputs.put(number[0])
    inputs.put(None)
