"""What the kernel itself does for nodes, which no signal ends: it serves NFS, and writes what its clients still hold.

Sources: nfsd(7); fs/nfsd/nfsctl.c of Linux 6.1 (the control files belong to the network namespace of their mount).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def clients(pids: Iterable[int]) -> list[int]:
    """Those of the processes that see a file system of the kernel's NFS client: their mounts have to go first.

    When the last process of a node has gone the kernel writes what it holds of it, for which it needs the server.
    """
    return [pid for pid in pids if _serves() and " - nfs4 " in _read(f"/proc/{pid}/mountinfo")]


def stop_servers(pids: Iterable[int]) -> None:
    """Stop the kernel's NFS servers of the nodes that these processes are of; its threads hold their namespaces."""
    if _serves():
        for pid in pids:
            with suppress(OSError):  # it serves nothing, or has gone
                Path(f"/proc/{pid}/root/proc/fs/nfsd/threads").write_text("0\n")


def _serves() -> bool:
    return "\tnfsd\n" in _read("/proc/filesystems")


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text()
    return ""
