"""An ordinary user, who is on hosts only: schedulers want one, and the machine's own accounts stay as they are."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from .hosts import Box, box

NAME, UID, GID = "someone", 64999, 65534
HOME = "/media"
"""Where hosts show the user's home, which they share: a directory that every machine has and nobody needs."""

FRONT = "front"


@contextlib.contextmanager
def with_front(directory: Path, nodes: int) -> Iterator[Box]:
    """A box of so many hosts, and a front end that the user comes to, during the block."""
    with box(directory, [FRONT, *(f"node{n}" for n in range(1, nodes + 1))]) as hosts:
        add(hosts, FRONT)
        yield hosts


def add(hosts: Box, *fronts: str) -> None:
    """Make all hosts know the user, who comes to the front ends by the box's key as `ssh -F config FRONT`.

    Whatever is reached as root keeps being so: the other hosts, and a front end as root@FRONT.
    """
    known = Path("/etc/passwd").read_text()
    line = f"{NAME}:*:{UID}:{GID}:a user of the box:{HOME}/{NAME}:/bin/bash\n"
    (hosts.directory / "passwd").write_text(known + line)
    _home(hosts.directory / "homes" / NAME, (hosts.directory / "key.pub").read_text())
    for name in hosts.names:
        bind(hosts, name, hosts.directory / "passwd", "/etc/passwd")
        bind(hosts, name, hosts.directory / "homes", HOME)
    settings = hosts.config.read_text()
    hosts.config.write_text(f"Host {' '.join(fronts)}\n  User {NAME}\n{settings}")


def bind(hosts: Box, name: str, what: Path, where: str) -> None:
    """Show a file or a directory at another place on one host, whose mounts are its own, also when it is on again."""
    hosts.bound.setdefault(name, []).append((what, where))
    hosts.run(name, ["mount", "--bind", str(what), where])


def _home(home: Path, key: str) -> None:
    shutil.rmtree(home, ignore_errors=True)
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/authorized_keys").write_text(key)
    for path in (home, home / ".ssh", home / ".ssh/authorized_keys"):
        os.chown(path, UID, GID)
