"""Whether data survives: files written by one node with their checksums, and read again by another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pliant.cluster.cluster import Cluster
from pliant.platforms.interface import CommandFailed

FILE_BYTES = 256 * 1024
"""So small that files take no time, so large that some file systems cut them into parts."""
_PATIENCE_S = 30.0
"""What reading them all may take at a time: a client may wait for a server for ever."""


@dataclass(eq=False)
class Witness:
    """Files in a directory of the file system, made by one client, that another is to read as they were written."""

    cluster: Cluster
    directory: str
    writer: str
    reader: str
    files: int
    _digests: str = field(default="", init=False)

    def write(self) -> None:
        """Write the files. Raises CommandFailed."""
        argv = ["write", self.directory, str(self.files), str(FILE_BYTES)]
        self._digests = self._run(self.writer, argv, timeout_s=120.0)

    def wrong(self) -> dict[str, str]:
        """The files that cannot be read as they were written, and why not. The page cache is to be empty."""
        try:
            said = self._run(self.reader, ["check", self.directory], timeout_s=_PATIENCE_S, stdin=self._digests)
        except CommandFailed as error:
            return {line.split()[0]: f"cannot be read: {error}" for line in self._digests.splitlines()}
        return {name: what for name, _, what in (line.partition(" ") for line in said.splitlines())}

    def _run(self, node: str, argv: Sequence[str], *, timeout_s: float, stdin: str = "") -> str:
        witness = self.cluster.deployment.own(node, "witness")
        return self.cluster.execute(node, [*witness, *argv], timeout_s=timeout_s, stdin=stdin).check().stdout
