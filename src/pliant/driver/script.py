"""Test scripts: a cluster and its nodes as Python objects, with the methods of the NixOS test driver.

    from pliant.driver import attach, deploy

    with deploy("studies/quickstart.toml", ratio=2) as cluster:     # or attach("4f2a"), one that is up
        cluster.client1.succeed("echo hello > /mnt/dfs/greeting")
        assert cluster.client2.succeed("cat /mnt/dfs/greeting") == "hello\\n"

`pliant driver SCRIPT` runs a script in which `cluster`, each node and the names of `names` are variables. A script that
uses the methods of NixOS's driver, as one of NixOS Compose does, runs under both. docs/cluster.md has all of them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pliant.campaign import places, workplace
from pliant.campaign.workplace import Workplace
from pliant.cluster.cluster import Cluster, Health
from pliant.driver.node import Driven, Failed
from pliant.errors import UserError
from pliant.platforms.here import Journal, deployments, running
from pliant.study.model import Study
from pliant.study.reading import load

__all__ = ["Driven", "Driver", "Failed", "attach", "deploy", "names", "say"]


def say(text: str) -> None:
    """Say on standard error what a script does."""
    print(text, file=sys.stderr, flush=True)


class Driver:
    """A cluster, as a test script sees it: `cluster.client1` or `cluster["client1"]` is a node."""

    def __init__(self, place: Workplace, said: Callable[[str], None] = say) -> None:
        self._place, self._said = place, said
        self._cluster: Cluster = place.cluster
        self.nodes = {node.name: Driven(place.cluster, node, said) for node in place.study.nodes}

    def __getitem__(self, name: str) -> Driven:
        return self.nodes[name]

    def __getattr__(self, name: str) -> Driven:
        # Only called for what is no attribute. The nodes themselves may be asked for before they are there.
        if name != "nodes" and name in self.nodes:
            return self.nodes[name]
        raise AttributeError(f'there is no node "{name}"; the nodes are {", ".join(self.nodes)}')

    @property
    def id(self) -> str:
        """The deployment's short id."""
        return self._cluster.id

    @property
    def study(self) -> Study:
        """The study from which it was deployed."""
        return self._place.study

    @property
    def mount(self) -> str:
        """Where the clients see the file system."""
        return self._cluster.composition.mount

    @property
    def machines(self) -> list[Driven]:
        """Every node, in the order of roles."""
        return list(self.nodes.values())

    def role(self, name: str) -> list[Driven]:
        """The nodes of one role."""
        return [node for node in self.machines if node.role == name]

    def start_all(self) -> None:
        """Start every node that is down."""
        for node in self.machines:
            if not node.is_up:
                node.start()

    def join_all(self) -> None:
        """NixOS's wait for every node to end: here they stay until `pliant down`, so that there is nothing to do."""

    def refold(self, ratio: float) -> None:
        """Fold the cluster to one of the study's ratios while everything runs. Raises UserError."""
        self._said(f"refold to ratio {ratio:g}")
        self._place.refold(ratio)

    def reset(self) -> None:
        """Return the cluster to what it was after its deployment; see `pliant reset`."""
        self._said("reset")
        self._cluster.reset(lambda step: self._said(f"reset: {step}"))

    def health(self) -> dict[str, Health]:
        """Ask every node that can say so whether its part of the file system works."""
        return self._cluster.health()

    def log(self, text: str) -> None:
        """Say something on standard error."""
        self._said(text)

    @contextmanager
    def subtest(self, name: str) -> Iterator[None]:
        """A part of a test with a name, by which a failure in it is told."""
        self._said(f"subtest: {name}")
        began = time.monotonic()
        try:
            yield
        except Exception:
            self._said(f"subtest: {name}: failed after {time.monotonic() - began:.2f} s")
            raise
        self._said(f"subtest: {name}: passed in {time.monotonic() - began:.2f} s")


def retry(condition: Callable[[bool], bool], timeout: float = 900) -> None:
    """Call `condition` each second until it is true; it is told whether this is the last time, as in NixOS's driver."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        if condition(False):
            return
        time.sleep(1)
    if not condition(True):
        raise Failed(f"not true within {timeout:g} s")


def names(driver: Driver) -> dict[str, Any]:
    """The variables of a script: the cluster and its nodes, and what NixOS's driver has.

    The only node of a role also goes by the role's name, as NixOS Compose names it, and the only one there is by
    `machine`.
    """
    found: dict[str, Any] = dict(driver.nodes)
    for node in driver.machines:
        if len(driver.role(node.role)) == 1:
            found.setdefault(node.role, node)
    if len(driver.nodes) == 1:
        found["machine"] = driver.machines[0]
    own = {
        "cluster": driver,
        "driver": driver,
        "machines": driver.machines,
        "log": driver.log,
        "retry": retry,
        "os": os,
    }
    methods = {name: getattr(driver, name) for name in ("start_all", "join_all", "subtest")}
    return {**found, **own, **methods}


def attach(deployment: str | None = None, said: Callable[[str], None] = say) -> Driver:
    """The cluster of that id, or the only one that runs. It stays when the script ends. UserError."""
    found = [journal.id for journal in (deployments() if deployment else running())]
    if deployment is None and len(found) != 1:
        raise UserError(f"{len(found)} deployments are up ({', '.join(found) or 'none'}); name one by its id")
    chosen = deployment or found[0]
    if chosen not in found:
        raise UserError(f'there is no deployment "{chosen}"; up: {", ".join(found) or "none"}')
    return Driver(workplace.opened(Journal(chosen)), said)


@contextmanager
def deploy(
    study: str | Path, ratio: float | None = None, said: Callable[[str], None] = say, filesystem: str | None = None
) -> Iterator[Driver]:
    """The cluster of a study file, deployed for the block at one of its ratios (None: its baseline), limited as it
    says, removed afterwards.

    `filesystem` says which, where the study has several. Raises UserError, StepFailed and what else a deployment can
    fail with.
    """
    from pliant.campaign.deploying import bring_up
    from pliant.campaign.preparation import prepare

    checked = load(Path(study)).chosen(filesystem)
    ratio = checked.baseline if ratio is None else ratio
    checked.need_ratio(ratio, "ratio")
    with places.opened(checked) as place:
        (prepared,) = prepare(checked, place)
        with bring_up(prepared, ratio, said=lambda step: said(f"deploy: {step}")) as cluster:
            cluster.limit(True)
            yield Driver(Workplace(checked, cluster), said)
