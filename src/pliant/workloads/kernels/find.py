"""A parallel find, as IO500 has one: files of a size, not older than a time, with something in their names. Over MPI.

It goes down a tree level by level. At each, directories are dealt out among the ranks, which list them; then what has
the right name is dealt out, whoever listed it, to be looked at (lstat). So one directory with everybody's files in it,
which one rank lists, is looked at by all. pfind, which the real io500 has, lets ranks steal work from each other.
Source: pfind's behaviour, https://github.com/VI4IO/pfind: what is counted, and that a file is new by its ctime, in
whole seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

TYPE_CHECKING = False  # that of `typing`, whose import is not worth its time here
if TYPE_CHECKING or __package__:
    from pliant.workloads.kernels import common
else:  # beside what is run as a script
    import common

_DIRECTORY, _FILE = b"d", b"f"


class Find:
    """What is looked for below `top`; `files` counts those that were seen, by this rank, and `found` what matches."""

    def __init__(self, job: common.Job, top: str, part: bytes, size: int, since_s: int, ranks: int = 0) -> None:
        """Of the first `ranks` ranks; 0 is all."""
        self.job = job
        self.top = os.fsencode(top)
        self.part = part
        self.size = size
        self.since_s = since_s
        self.ranks = min(ranks or job.size, job.size)
        self.files = 0
        self.found = 0

    def run(self) -> None:
        """Go through the whole tree; every rank must."""
        level = [self.top]
        while level:
            seen = self.job.shared([each for path in self.dealt(level) for each in self.listed(path)])
            level = [each[1:] for each in seen if each[:1] == _DIRECTORY]
            named = [each[1:] for each in seen if each[:1] == _FILE]
            self.found += sum(map(self.matches, self.dealt(named)))

    def dealt(self, paths: list[bytes]) -> list[bytes]:
        """This rank's share."""
        return paths[self.job.rank :: self.ranks] if self.job.rank < self.ranks else []

    def listed(self, directory: bytes) -> Iterator[bytes]:
        """What has to be looked at further in a directory, with its kind before it; others are only counted."""
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield _DIRECTORY + entry.path
                else:
                    self.files += 1
                    if self.part in entry.name:
                        yield _FILE + entry.path

    def matches(self, path: bytes) -> bool:
        """Whether a file has the size and is new."""
        status = os.lstat(path)
        return status.st_size == self.size and int(status.st_ctime) >= self.since_s
