"""A cluster in a box, for trying: real hosts or a real scheduler on this machine, until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import user
from .hosts import box
from .oar import oar
from .slurm import slurm

MOST_HOSTS = 250
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_LOOK_S = 0.1
_HOSTS = """\
    [platform]
    kind = "ssh"
    hosts = ["node[1-{nodes}]"]
    ssh_config = "{config}"
"""
_SCHEDULER = """\
    [platform]
    kind = "{kind}"
    front = "front"
    ssh_config = "{config}"

    ssh -F {config} front     as {user}, who may ask for hosts; they are reached as root
"""


def main() -> int:
    """Bring up what is asked for, say how it is used, and remove it."""
    parser = argparse.ArgumentParser(prog="python -m box", description=__doc__)
    parser.add_argument("what", choices=["hosts", "slurm", "oar"], help="hosts by ssh, or a scheduler that lends them")
    parser.add_argument("--hosts", type=int, default=8, help="how many (default: 8)")
    parser.add_argument("--directory", type=Path, help="where to keep its files (default: one that goes with it)")
    given = parser.parse_args()
    if os.geteuid() != 0 or not 1 <= given.hosts <= MOST_HOSTS:
        parser.error(f"it needs root, and 1 to {MOST_HOSTS} hosts")
    asked: list[int] = []
    for number in _SIGNALS:
        # Only noted: whatever is just being made is finished, and known to what removes it.
        signal.signal(number, lambda number, frame: asked.append(number))
    try:
        with _directory(given.directory) as directory, _up(given.what, directory, given.hosts) as text:
            sys.stdout.write(f"up, with node1 to node{given.hosts}; Ctrl-C removes it\n\n{text}")
            sys.stdout.flush()
            while not asked:
                time.sleep(_LOOK_S)
    except RuntimeError as error:
        parser.exit(1, f"{error}\n")
    except (OSError, subprocess.SubprocessError):
        if not asked:  # a terminal's Ctrl-C ends also what is called meanwhile
            raise
    return 0


@contextlib.contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    if given is not None:
        yield given.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="pliant-box-") as made:
        yield Path(made)


@contextlib.contextmanager
def _up(what: str, directory: Path, nodes: int) -> Iterator[str]:
    """Bring it up; how it is used, in the words of a study file."""
    words = {"nodes": nodes, "config": directory / "ssh_config", "user": user.NAME, "kind": what}
    if what == "hosts":
        with box(directory, [f"node{n}" for n in range(1, nodes + 1)]):
            yield _HOSTS.format(**words)
    else:
        with {"slurm": slurm, "oar": oar}[what](directory, nodes):
            yield _SCHEDULER.format(**words)


if __name__ == "__main__":
    sys.exit(main())
