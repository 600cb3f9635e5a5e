"""What is up on this machine: the deployments, whoever made them, and their removal."""

from __future__ import annotations

from pliant.machine import cgroups, teardown
from pliant.machine.journal import STATE, THERE, Journal, deployments, unusable
from pliant.machine.needing import elsewhere, visible
from pliant.machine.process import alive, start_time
from pliant.machine.promised import HOSTS, listed, orphans, running

__all__ = [
    "STATE",
    "THERE",
    "Journal",
    "alive",
    "deployments",
    "elsewhere",
    "is_elsewhere",
    "is_part",
    "listed",
    "orphans",
    "remove",
    "running",
    "start_time",
    "unusable",
    "visible",
]


def is_part(journal: Journal) -> bool:
    """Whether a deployment is what another machine has here, as one of the hosts of its own."""
    return "-" in journal.id


def is_elsewhere(journal: Journal) -> bool:
    """Whether a deployment is on other machines."""
    return journal.read(HOSTS) is not None


def remove(journal: Journal) -> None:
    """Remove everything of a deployment, from its journal and its id alone. Raises TeardownError, CgroupError."""
    teardown.remove(journal, cgroups.probe())
