"""Proves that a trial starts from nothing: the workflow `verified`. What is in doubt ends the run."""

from __future__ import annotations

from pathlib import Path

from pliant.cluster.cluster import Cluster
from pliant.errors import FatalError
from pliant.platforms import here
from pliant.platforms.interface import CommandFailed, Traces


class Proof:
    """Resets of a run: `note` a cluster before it is removed, then `nothing_left`, and `new` of the next one."""

    def __init__(self, directory: Path) -> None:
        self._run = str(directory.resolve())
        self._traces: Traces | None = None

    def note(self, cluster: Cluster) -> None:
        """Take down what there is of a cluster that is about to be removed."""
        self._traces = cluster.deployment.traces()

    def nothing_left(self) -> tuple[str, ...]:
        """What was looked for and not found, a sentence each; FatalError names what was found."""
        known = [journal.id for journal in here.deployments() if (owner := journal.owner()) and owner.run == self._run]
        found = [f"deployment {each}" for each in known]
        traces = self._traces
        if traces is not None:
            found += traces.left()
        if found:
            more = f" and {len(found) - 5} more" if found[5:] else ""
            of = f" of {traces.id}" if traces else ""
            raise FatalError(
                f"the reset is in doubt, so nothing is measured: still there{of}: {'; '.join(found[:5])}{more}; "
                f"end it, then run the same command again"
            )
        return ("no deployment of this run was up",) if traces is None else (traces.sentence,)

    def new(self, cluster: Cluster) -> str:
        """That a cluster which was just deployed has no file of a trial; FatalError if it has."""
        mount, client = cluster.composition.mount, cluster.composition.clients[0].name
        look = ["find", mount, "-maxdepth", "1", "-name", "*pliant*", "-print"]
        try:
            found = cluster.execute(client, look, timeout_s=60).check().stdout.split()
        except CommandFailed as error:
            raise FatalError(f"the new file system is in doubt, so nothing is measured: {error}") from error
        if found:
            raise FatalError(f"the new file system has files of a trial, so nothing is measured: {', '.join(found)}")
        count = sum(node.device is not None for node in cluster.deployment.nodes.values())
        return f"deployed anew as {cluster.id}, with new upper layers and {count} new disks, and no file of a trial"
