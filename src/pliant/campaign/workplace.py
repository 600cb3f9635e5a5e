"""A cluster that is up as a workplace: what it was deployed from is kept with it, so that other commands can open it.

Everything that a command needs to know of it beside what the machine layer has written down follows from the study:
it is kept as text, and read again. The file is root's alone, as options of a file system may hold secrets.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pliant.cluster.cluster import Cluster
from pliant.composition import nodeset
from pliant.composition.model import Node, OwnKernel
from pliant.errors import UserError
from pliant.platforms import opening
from pliant.platforms.here import Journal
from pliant.platforms.interface import Deployment
from pliant.study.model import Study
from pliant.study.problems import StudyError
from pliant.study.reading import parse

_STUDY = "study.toml"
_ABOUT = "cluster.json"


@dataclass(frozen=True)
class Workplace:
    """A cluster that another command deployed, and the study from which it did."""

    study: Study
    cluster: Cluster

    def select(self, pattern: str) -> list[str]:
        """The nodes that a pattern stands for, by name; UserError if one of them is not there."""
        return selected(pattern, self.study.nodes)

    def refold(self, ratio: float) -> int:
        """Fold the cluster to one of the study's ratios, and return how many hosts that takes. UserError."""
        self.study.need_ratio(ratio)
        placement = self.study.placements[ratio]
        self.cluster.refold(placement)
        return len(placement.hosts)


def write_down(cluster: Cluster, study: Study) -> None:
    """Keep with a cluster what it was deployed from."""
    about = {
        "file": str(Path(study.file).absolute()),
        "programs": list(cluster.programs),
        "kernels": dict(cluster.kernels),
        "brought": dict(cluster.brought),
        "filesystem": study.alone.label,
    }
    cluster.deployment.keep(_STUDY, study.text)
    cluster.deployment.keep(_ABOUT, json.dumps(about))


def opened(journal: Journal) -> Workplace:
    """The cluster of a deployment, with its study. UserError if it is not (yet) up, or its study is none any more."""
    deployment = opening.opened(journal)
    about = None if deployment is None else deployment.kept(_ABOUT)
    if deployment is None or about is None:
        raise UserError(f"the deployment {journal.id} is not up (yet); see `pliant ps`")
    try:
        known = json.loads(about)
        study = parse(deployment.kept(_STUDY) or "", known["file"]).of(known["filesystem"])
    except (OSError, StudyError, KeyError) as error:
        said = f"the study of the deployment {journal.id} cannot be read again; `pliant down {journal.id}` removes it"
        raise UserError(f"{said}: {error}") from error
    disk_bytes, parts = study.platform.disk_size, {name: known.get(name, {}) for name in ("kernels", "brought")}
    parts["kernels"] = {role: OwnKernel(*own) for role, own in parts["kernels"].items()}
    cluster = Cluster(deployment, study.composition, disk_bytes=disk_bytes, programs=known["programs"], **parts)
    return Workplace(study, cluster)


def nodes_of(deployment: Deployment) -> list[Node]:
    """The nodes of a deployment as far as it tells itself, without its study."""
    return [Node(n.name, nodeset.role_of(n.name), n.number, n.address) for n in deployment.nodes.values()]


def selected(pattern: str, nodes: list[Node] | tuple[Node, ...]) -> list[str]:
    """The names of the nodes that a pattern stands for; UserError if one of them is not there."""
    try:
        return [node.name for node in nodeset.select(pattern, nodes)]
    except ValueError as error:
        raise UserError(str(error)) from error
