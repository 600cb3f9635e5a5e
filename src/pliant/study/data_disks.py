"""Which disks of Grid'5000's hosts a study may name for what its nodes write. Pure."""

from __future__ import annotations

import re

from pliant.study.problems import show


def disk_problems(disk: str, cluster: str | None, job: str | None) -> list[tuple[str, str]]:
    """What is wrong with a name of a disk on nodes of that cluster, in a new job or in `job`: (key, sentence)."""
    if disk == "tmp":
        return []
    if not re.fullmatch(r"disk[1-9]\d*", disk):
        other = '"disk0" has the system' if disk == "disk0" else f"{show(disk)} is no disk for data"
        return [("disk", f'{other}; write e.g. "disk1", or "tmp" for the partition for users\' data')]
    if cluster is None and job is None:
        return [("cluster", 'is missing: disks are reserved on nodes of one cluster; add e.g. cluster = "gros"')]
    return []
