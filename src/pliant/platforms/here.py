"""What is up on this machine: the deployments, whoever made them, and their removal."""

from __future__ import annotations

from pliant.machine import cgroups, remains, teardown
from pliant.machine.journal import STATE, Journal, deployments, unusable
from pliant.machine.process import alive, start_time
from pliant.machine.promised import listed, orphans, running
from pliant.platforms.interface import Traces

__all__ = [
    "STATE",
    "Journal",
    "alive",
    "deployments",
    "left",
    "listed",
    "orphans",
    "remove",
    "running",
    "start_time",
    "unusable",
]


def remove(journal: Journal) -> None:
    """Remove everything of a deployment, from its journal and its id alone. Raises TeardownError, CgroupError."""
    teardown.remove(journal, cgroups.probe())


def left(traces: Traces) -> list[str]:
    """What is still there of a deployment that was removed, in words."""
    return remains.left(traces, cgroups.probe())
