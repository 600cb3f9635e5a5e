"""Which deployments on this machine still run, and what they were promised of it, for those who come beside them."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

from . import journal
from .cgroup import CgroupError
from .cgroups import probe
from .process import alive

PROMISE = "promise.json"
"""Where a deployment writes down what it was promised: cores, memory_bytes, disk_bytes, of all its hosts together, and
`cpus`, the cores on each CPU."""

HOSTS = "hosts.json"
"""Where a deployment on other machines has written down which they are."""


def running() -> list[journal.Journal]:
    """The deployments of which something still runs, oldest first: the maker, or a process in a control group."""
    return [
        each
        for each in journal.deployments()
        if ((owner := each.owner()) is not None and owner.alive) or _pids(each.id)
    ]


def orphans() -> list[str]:
    """The ids of deployments of which there are control groups and no journal, here or elsewhere; CgroupError."""
    known = {each.id for each in journal.deployments()}
    found = {group.removeprefix("pliant-") for group in probe().groups()} - known
    return sorted(each for each in found if not _of_another_state(each))


def listed() -> list[dict[str, Any]]:
    """What is up here or was left, oldest first, in plain values: `id`, `title`, `since_s` (since the epoch; None where
    nobody wrote it down) and `state`: `running` while its maker lives, `elsewhere` if it is on other machines, which
    have to be asked, `up` if its maker left it so and every node of it lives, else `stale`."""
    found = []
    for each in journal.deployments():
        owner, content = each.owner(), each.read("deployment.json") or {"nodes": []}
        state = "stale"
        if owner is not None and owner.alive:
            state = "running"
        elif each.read(HOSTS) is not None:
            state = "elsewhere"
        elif owner is not None and owner.keep and content["nodes"] and all(alive(n["pid"]) for n in content["nodes"]):
            state = "up"
        title, since_s = (owner.title, owner.created) if owner else ("?", None)
        found.append({"id": each.id, "state": state, "title": title, "since_s": since_s})
    without: list[str] = []
    with contextlib.suppress(CgroupError):
        without = orphans()
    only = {"state": "stale", "title": "(only control groups)", "since_s": None}
    return [*found, *({"id": each, **only} for each in without)]


def _of_another_state(deployment: str) -> bool:
    """Whether one writes elsewhere than here (PLIANT_STATE, or what a container has there), as its group says; where
    the kernel lets nobody write that there, its nodes have their roots in that state, and so its journal."""
    if whose := probe().whose(f"pliant-{deployment}"):
        return whose != journal.Journal(deployment).whose
    for pid in _pids(deployment):
        with contextlib.suppress(OSError):
            mounts = Path(f"/proc/{pid}/mountinfo").read_text()
            for state in re.findall(rf"(/[A-Za-z0-9._/-]+)/{deployment}/", mounts):
                if journal.Journal(deployment, Path(state)).owner() is not None:
                    return True
    return False


def promised(apart_from: str = "") -> list[dict[str, Any]]:
    """What was promised to the deployments that run.

    What is left of others (a crash, a reboot) takes no CPU and no memory; the disk that it has filled is not free any
    more, and it will not fill more.
    """
    found = [each.read(PROMISE) for each in running() if each.id != apart_from]
    return [content for content in found if content]


def promised_cpus(apart_from: str = "") -> dict[int, float]:
    """The CPUs of this machine that pliant may use, and the cores that each of them was promised for."""
    found = dict.fromkeys(sorted(os.sched_getaffinity(0)), 0.0)
    for content in promised(apart_from):
        # What an older pliant deployed may run anywhere.
        loads = content.get("cpus") or dict.fromkeys(found, content["cores"] / len(found))
        for cpu, cores in loads.items():
            if int(cpu) in found:
                found[int(cpu)] += cores
    return found


def _pids(deployment: str) -> list[int]:
    with contextlib.suppress(CgroupError):
        return probe().pids(f"pliant-{deployment}")
    return []
