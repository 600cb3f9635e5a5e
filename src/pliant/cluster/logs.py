"""What the daemons of nodes say: the end of their log files, and what is added to them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pliant.cluster.cluster import Cluster

POLL_S = 0.25
_TAIL_BYTES = 2**20
"""The end of a file in which its last lines are looked for."""

Heard = Callable[[str, str, str], None]
"""Called with a node, the name of a log file, and a line of it, without its end."""


class Logs:
    """The log files of some nodes, each read up to somewhere; `lines` of each are told of what was there before."""

    def __init__(self, cluster: Cluster, nodes: Sequence[str], lines: int, heard: Heard) -> None:
        self._cluster, self._nodes, self._lines, self._heard = cluster, nodes, lines, heard
        self._read_to: dict[Path, int] = {}
        self._rest: dict[Path, bytes] = {}

    def show(self) -> None:
        """Tell the last lines of each file, and remember where it ended."""
        for node in self._nodes:
            for path in self._cluster.log_files(node):
                content, end = _end_of(path)
                self._read_to[path] = end
                for line in content.splitlines()[-self._lines :] if self._lines else []:
                    self._heard(node, path.name, line)

    def follow(self, again: Callable[[], bool] = lambda: True) -> None:
        """Tell what is added to the files, and new files as a whole, until `again` says no (or an interrupt)."""
        while again():
            for node in self._nodes:
                for path in self._cluster.log_files(node):
                    self._gained(node, path)
            time.sleep(POLL_S)

    def _gained(self, node: str, path: Path) -> None:
        """Tell the whole lines that a file gained; one that is shorter than it was has begun anew."""
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                begin = self._read_to.get(path, 0)
                if size < begin:
                    begin, self._rest[path] = 0, b""
                file.seek(begin)
                gained = file.read(size - begin)
        except FileNotFoundError:  # deleted since it was found
            return
        self._read_to[path] = begin + len(gained)
        *lines, self._rest[path] = (self._rest.get(path, b"") + gained).split(b"\n")
        for line in lines:
            self._heard(node, path.name, line.decode(errors="replace"))


def _end_of(path: Path) -> tuple[str, int]:
    """The end of a file, and how long it is."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read(min(size, _TAIL_BYTES)).decode(errors="replace"), size
    except FileNotFoundError:
        return "", 0
