"""The way into a node with a kernel of its own: starts the instance in its place, and has programs run in it.

    python3 -I -S program.py door STATE/ID/doors/NODE.json

Outside of the node, its host and their limits; one for each instance, and as long as that. Who wants something run asks
at a socket, by `far`; it passes on the instance's line what its input says and hears what the program says. See `guest`
for what is at the other end.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import carrying
from .cgroup import kill
from .conversation import Call, Conversation, Failed, Lost, quickest
from .line import Near
from .parts import UML
from .relay import Relay, Wanted
from .watchdog import Watchdog
from .window import Window

DOOR = ":"
"""The place by which the door itself is asked, and not the node: its first word is what for."""
BUFFER_BYTES = 16 << 20
"""What may wait for an instance: the default, 208 KiB, loses packets by the thousand."""
_SYS_PIDFD_OPEN, _SYS_PIDFD_GETFD = 434, 438
_SO_RCVBUFFORCE = 33
_ETH_P_ALL = 3
_libc = ctypes.CDLL(None, use_errno=True)


def main(path: str) -> int:
    """Start the instance and serve it until it ends; how it ended."""
    about: dict[str, Any] = json.loads(Path(path).read_text())
    return Door(about).serve()


class Door:
    """One instance. `about` says: "node", "socket", "ready" (the file that says that it is up), "lost" (the file of its
    `Watchdog`), "start" (the command that boots it, with the descriptor {line}), what `guest` is told: "guest", and the
    files of its `Window`; "kind", and of a virtual machine the file "begins" by which it begins ({begins})."""

    def __init__(self, about: dict[str, Any]) -> None:
        self._about = about
        self._watchdog: Watchdog | None = None
        self._window: Window | None = None
        own, theirs = socket.socketpair()
        # The file is nowhere in the place, where it is opened.
        begins = open(about["begins"], "rb") if "begins" in about else None  # noqa: SIM115 - closed below
        descriptors = (theirs.fileno(), *([begins.fileno()] if begins else []))
        argv = [word.replace("{line}", str(theirs.fileno())) for word in about["start"]]
        argv = [word.replace("{begins}", f"/proc/self/fd/{descriptors[-1]}") for word in argv]
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=descriptors, start_new_session=True)
        theirs.close()
        if begins:
            begins.close()
        _guard(self._process.pid)
        self._end, self._main = own, 0
        threading.Thread(target=self._watch, daemon=True).start()
        self._line = Near(own)
        self._conversation = Conversation(self._line, self._answer, step=-1)

    def serve(self) -> int:
        """Take in what the instance says, until it ends."""
        self._conversation.listen(self._lines(), lambda text: print(text, flush=True))
        return self._process.wait()

    def _lines(self) -> Iterator[bytes]:
        """What the instance says beside what its kernel counts."""
        for line in self._line.lines():
            if not line.startswith(b"="):
                yield line
            elif self._window is not None:
                self._window.told(line)

    def _watch(self) -> None:
        """End what is left of the instance once its first process has: others hold its line, and locks of its disks."""
        self._process.wait()
        if self._main:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._main, signal.SIGKILL)
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RDWR)

    def _answer(self, call: Call) -> Any:
        if call.what == "begin":
            return self._about["guest"]
        if call.what == "time":
            return time.time()
        if call.what == "stuck" and self._watchdog is not None:
            self._watchdog.count(call.given["s"])
        if call.what == "up":
            threading.Thread(target=self._open, args=(call.given["failed"],), daemon=True).start()
        return None

    def _open(self, failed: str) -> None:
        """The node is there: let others in, and say so."""
        told: dict[str, Any] = {"failed": failed}
        try:
            _, self._main, *_ = descendants(self._process.pid)
            if not failed:
                if self._about["kind"] == UML:
                    self._watchdog = Watchdog(widened(self._process.pid), self._main, Path(self._about["lost"]))
                Relay(self._about["socket"], self._carry)
                told["monotonic_s"] = self._ahead_s()
                self._window = Window(self._about, self._main, told["monotonic_s"], self._line)
        except (OSError, Lost, Failed) as error:
            told["failed"] = str(error) or "its line ended"
        ready = Path(self._about["ready"])
        part = ready.with_name(f".{ready.name}")
        part.write_text(json.dumps(told))
        part.replace(ready)

    def _ahead_s(self) -> float:
        """How far the instance's CLOCK_MONOTONIC is ahead of the machine's."""
        clocks = lambda: self._conversation.ask("clock", 10, {}).next(time.monotonic() + 10)["done"]  # noqa: E731
        (_, there_s), at_s, _ = quickest(clocks, 10)
        return float(there_s - at_s)

    def _carry(self, wanted: Wanted) -> int:
        stdin, stdout, stderr = wanted.descriptors
        try:
            if wanted.place == DOOR:
                os.write(stdout, json.dumps(self._asked(*wanted.argv)).encode() + b"\n")
                return 0
            asked = self._conversation.ask("run", None, {"argv": wanted.argv, "env": wanted.env})
        except (Lost, Failed, TypeError) as error:
            os.write(stderr, f"{self._about['node']}: {error or 'it has gone'}\n".encode())
            return carrying.LOST
        return carrying.connect(asked, stdin, stdout, stderr, wanted.inputs)

    def _asked(self, what: str, *given: str) -> Any:
        """What the door is asked for by programs of pliant."""
        if what == "drops":
            return self._watchdog.count() if self._watchdog else 0
        if what == "ahead":
            return self._ahead_s()
        return self._conversation.ask(what, 60, {}).next(time.monotonic() + 60)["done"]


def _guard(pid: int) -> None:
    """Have another process end an instance if its door, this one, is killed: without it nobody gets in, and it would
    go on. One end of a pipe stays open as long as the door is there. Called before there are threads."""
    alive = _pidfd(pid)
    ends, held = os.pipe()
    if os.fork() == 0:
        os.close(held)
        os.read(ends, 1)
        if not select.select([alive], [], [], 0)[0]:  # it is not the one that ended
            kill([*descendants(pid)])
        os._exit(0)
    os.close(ends)
    os.close(alive)


def _pidfd(pid: int) -> int:
    """A descriptor of a process (pidfd_open(2)). Raises OSError."""
    found = int(_libc.syscall(_SYS_PIDFD_OPEN, pid, 0))
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return found


def widened(pid: int) -> socket.socket:
    """The socket by which an instance takes in packets, its buffer enlarged; `pid` is an ancestor of the instance.
    Raises OSError."""
    for process in descendants(pid):
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{process}/fd"):
                found = _packet_socket(process, int(name))
                if found is not None:
                    found.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
                    if found.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < BUFFER_BYTES:
                        raise OSError("what may wait for the node's kernel could not be made more")
                    return found
    raise OSError("the node's kernel listens to no link")


def _packet_socket(pid: int, descriptor: int) -> socket.socket | None:
    """A copy of a process's descriptor if it takes in all packets of a link (pidfd_getfd(2), packet(7))."""
    with contextlib.suppress(OSError):
        if not os.readlink(f"/proc/{pid}/fd/{descriptor}").startswith("socket:"):
            return None
        pidfd = _pidfd(pid)
        try:
            copy = _libc.syscall(_SYS_PIDFD_GETFD, pidfd, descriptor, 0)
        finally:
            os.close(pidfd)
        if copy >= 0:
            found = socket.socket(fileno=copy)
            if found.family == socket.AF_PACKET and found.getsockname()[1] == _ETH_P_ALL:
                return found
            found.close()
    return None


def descendants(pid: int) -> Iterator[int]:
    """A process and what comes from it."""
    yield pid
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from descendants(int(child))
