"""What a node's own kernel counts, and what its disk may pass, as files on the machine: like those that the machine's
kernel has for other nodes, for `diskshare` and `sampler`. The door keeps them; `inside` is who tells.

Of a node there are: "disk", the counters of its disk; "told", what telemetry has of it; both with the moment that they
are of (CLOCK_MONOTONIC of the machine, in ns); and "asked", a pipe. A line "look" there has "told" brought up to date;
"read 1000000 1" or "write 0 0" is a limit, in bytes/s, 0 for none, and whether "disk" is to be kept up to date.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from . import inside
from .cgroup import DiskLimit
from .line import Near

WAYS = ("read", "write")
AT = inside.DISK_WORDS
"""Which word of "disk" is the moment."""
LOOK = "look"
LOOK_S = 0.05
"""How often it is looked whether the instance uses its disk; asking it takes of its host's CPU, looking does not."""
_ANSWER_S = 1.0
_PIPE_BYTES = 1 << 16


def limits(asked: str, watched: bool) -> dict[str, DiskLimit]:
    """How a disk is limited by the pipe of its node; `watched` if it shares its host's with others."""
    return {way: DiskLimit(asked, f"{way} {{rate}} {int(watched)}", "0") for way in WAYS}


class Window:
    """Keeps the files of one instance, at the paths that `about` names, and asks it over its line.

    `main` is its first process; its CLOCK_MONOTONIC is `ahead_s` ahead of the machine's.
    """

    def __init__(self, about: Mapping[str, Any], main: int, ahead_s: float, line: Near) -> None:
        self._line, self._ahead_ns = line, round(ahead_s * 1e9)
        has_disk = bool(about["guest"]["disk"])
        self._disk = inside.Kept(about["disk"], inside.DISK_WORDS + 1)
        self._told = inside.Kept(about["told"], 1 + len(inside.columns(has_disk)))
        self._io = _busiest(main) if has_disk else None
        self._watched = threading.Event()
        self._answered = threading.Event()
        with suppress(FileNotFoundError):
            os.unlink(about["asked"])
        os.mkfifo(about["asked"], 0o600)
        # For writing as well: its end would be told again and again while nobody writes.
        self._pipe = os.open(about["asked"], os.O_RDWR | os.O_CLOEXEC)
        for serve in (self._listen, self._watch):
            threading.Thread(target=serve, daemon=True).start()

    def told(self, line: bytes) -> None:
        """Take in what the instance answers."""
        what, *words = line.split()
        there_ns, *numbers = map(int, words)
        at_ns = there_ns - self._ahead_ns
        if what == inside.SAY_DISK:
            self._disk.put((*numbers, at_ns))
            self._answered.set()
        elif what == inside.SAY_ALL:
            self._told.put((at_ns, *numbers))

    def _listen(self) -> None:
        with suppress(OSError):
            for lines in self._lines():
                for words in lines:
                    if words[0] in WAYS:
                        way, rate, watched = words
                        self._line.write(f"{inside.LIMIT.decode()}{way} {rate}\n".encode())
                        self._watched.set() if int(watched) else self._watched.clear()
                if [LOOK] in lines:
                    self._line.write(inside.ASK_ALL + b"\n")

    def _lines(self) -> Iterator[list[list[str]]]:
        kept = b""
        while True:
            *whole, kept = (kept + os.read(self._pipe, _PIPE_BYTES)).split(b"\n")
            yield [words for line in whole if (words := line.decode(errors="replace").split())]

    def _watch(self) -> None:
        """Ask for the disk's counters when the instance has used a disk, and once more: it counts what is done."""
        if self._io is None:
            return
        before, again = -1, False
        with suppress(OSError, ValueError):
            while True:
                self._watched.wait()
                time.sleep(LOOK_S)
                now = _moved(self._io)
                if now != before or again:
                    again, before = now != before, now
                    self._answered.clear()
                    self._line.write(inside.ASK_DISK + b"\n")
                    self._answered.wait(_ANSWER_S)


def _busiest(main: int) -> int | None:
    """What the process that serves an instance's disks reads and writes, as an open file of /proc: of the children of
    its first the one that has read most by now (start_io_thread in arch/um/drivers/ubd_user.c of Linux 6.1: there is
    one); a virtual machine is one process."""
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split() or [str(main)]
    moved: dict[str, int] = {}
    for child in children:
        # Those that run programs come and go.
        with suppress(OSError, ValueError), open(f"/proc/{child}/io", "rb") as file:
            moved[child] = _moved(file.fileno())
    if not moved:
        return None
    return os.open(f"/proc/{max(moved, key=lambda child: moved[child])}/io", os.O_RDONLY | os.O_CLOEXEC)


def _moved(io: int) -> int:
    """The bytes that a process has read and written (proc(5): rchar, wchar)."""
    _, read, _, written, *_ = os.pread(io, 512, 0).split()
    return int(read) + int(written)
