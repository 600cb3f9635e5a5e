"""Which deployments on this machine still run, and what they were promised of it, for those who come beside them."""

from __future__ import annotations

import contextlib
from typing import Any

from . import journal
from .cgroup import CgroupError, probe

PROMISE = "promise.json"
"""Where a deployment writes down what it was promised: cores, memory_bytes, disk_bytes, of all its hosts together."""


def running() -> list[journal.Journal]:
    """The deployments of which something still runs, oldest first: the maker, or a process in a control group."""
    return [
        each
        for each in journal.deployments()
        if ((owner := each.owner()) is not None and owner.alive) or _pids(each.id)
    ]


def promised(apart_from: str = "") -> list[dict[str, Any]]:
    """What was promised to the deployments that run.

    What is left of others (a crash, a reboot) takes no CPU and no memory; the disk that it has filled is not free any
    more, and it will not fill more.
    """
    found = [each.read(PROMISE) for each in running() if each.id != apart_from]
    return [content for content in found if content]


def _pids(deployment: str) -> list[int]:
    with contextlib.suppress(CgroupError):
        return probe().pids(f"pliant-{deployment}")
    return []
