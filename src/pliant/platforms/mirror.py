"""Log files of other machines' nodes, as this machine has them: brought here piece by piece."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any


class Mirror:
    """The log files of nodes, under `directory`, each with how much of it is here and the inode it had there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._known: dict[str, dict[str, list[int]]] = {}
        self._places: dict[str, dict[str, Path]] = {}
        self._mine: dict[str, threading.Lock] = {}

    def forget(self) -> None:
        """The nodes are others now."""
        self._known.clear()

    @contextlib.contextmanager
    def of(self, node: str) -> Iterator[dict[str, list[int]]]:
        """What is known of a node's files, by their paths there: size and inode. One at a time works with it."""
        with self._mine.setdefault(node, threading.Lock()):
            yield dict(self._known.setdefault(node, {}))

    def take(self, node: str, logs: str, told: Sequence[Sequence[Any]]) -> None:
        """Write down what `Serving.do_logs` told; `logs` is where, there, pliant keeps what its daemons print."""
        for _, path, inode, begin, mtime, text in told:
            data = base64.b64decode(text)
            where = self._place(node, logs, path)
            where.parent.mkdir(parents=True, exist_ok=True)
            size, known = self._known[node].get(path, [0, inode])
            goes_on = known == inode and size == begin and where.exists()
            with where.open("ab" if goes_on else "wb") as file:
                file.write(data)
            os.utime(where, (mtime, mtime))
            self._known[node][path] = [begin + len(data), inode]

    def files(self, node: str) -> list[Path]:
        """The files of a node that are here."""
        return sorted(self._places.get(node, {})[path] for path in self._known.get(node, {}))

    def _place(self, node: str, logs: str, path: str) -> Path:
        """Where a file of a node is kept here: with its own name, and apart from others of the same name."""
        there = PurePosixPath(path)
        apart = "" if str(there.parent) == logs else hashlib.sha256(str(there.parent).encode()).hexdigest()[:8]
        return self._places.setdefault(node, {}).setdefault(path, self.directory / node / apart / there.name)
