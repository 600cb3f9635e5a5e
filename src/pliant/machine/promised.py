"""What the deployments on this machine were promised of it, for those who want to have a share beside them."""

from __future__ import annotations

import contextlib
from typing import Any

from . import journal
from .cgroup import CgroupError, probe

PROMISE = "promise.json"
"""Where a deployment writes down what it was promised: cores, memory_bytes, disk_bytes, of all its hosts together."""


def promised(apart_from: str = "") -> list[dict[str, Any]]:
    """What was promised to the deployments of which something still runs: the maker, or a process in a control group.

    What is left of others (a crash, a reboot) takes no CPU and no memory; the disk that it has filled is not free any
    more, and it will not fill more.
    """
    running: list[dict[str, Any]] = []
    for each in journal.deployments():
        owner = each.owner()
        if each.id != apart_from and ((owner is not None and owner.alive) or _pids(each.id)):
            running += [content] if (content := each.read(PROMISE)) else []
    return running


def _pids(deployment: str) -> list[int]:
    with contextlib.suppress(CgroupError):
        return probe().pids(f"pliant-{deployment}")
    return []
