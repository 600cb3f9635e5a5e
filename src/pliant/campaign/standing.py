"""A study on what NixOS Compose deployed: each node is a machine, with the file system on it as it was exported."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from pliant.composition.placement import Placement
from pliant.errors import UserError
from pliant.platforms import nxc
from pliant.study.model import Study
from pliant.study.textfile import read_text
from pliant.trial import UNFOLDED


def read(study: Study, file: Path) -> tuple[nxc.DeployedNode, ...]:
    """The study's nodes as a deployment file of nxc has them. UserError if it is not of this study."""
    if len(study.filesystems) > 1:
        raise UserError(
            f"{study.file} has {len(study.filesystems)} file systems, and {file} is of one; write a study of it"
        )
    try:
        text = read_text(file, "deployment file")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file}: {error}") from error
    return nxc.read(text, str(file), study.nodes)


def on(study: Study, file: Path) -> Study:
    """The same study, unfolded, on the machines of a deployment file. UserError."""
    nodes = read(study, file)
    if lacking := next((node.name for node in nodes if node.address is None), ""):
        raise UserError(
            f"{file}: {lacking} has no address: what nxc deployed as containers of docker ssh does not reach"
        )
    workloads = tuple(each for each in study.workloads if not each.faults)
    if not workloads:
        raise UserError(f"{study.file}: all workloads have faults, and machines of nxc are not switched off by pliant")
    hosts = tuple(node.address for node in nodes if node.address)
    alone = replace(study.alone, placements={UNFOLDED: Placement(tuple((node.name,) for node in nodes))})
    told = {"kind": "ssh", "host": None, "hosts": hosts}
    return replace(
        study,
        platform=type(study.platform)(**told, ssh_config=study.platform.ssh_config),
        fold=study.fold.model_copy(update={"ratios": (UNFOLDED,), "baseline": UNFOLDED}),
        filesystems=(alone,),
        workloads=workloads,
        deployment=str(file),
    )


def known_hosts(study: Study, cache: Path) -> Path:
    """Where the host keys of a deployment are kept; machines of the next one have others."""
    file = Path(study.deployment)
    written = f"{file.absolute()} {file.stat().st_mtime_ns} {file.read_text()}"
    path = cache / "nxc" / sha256(written.encode()).hexdigest()[:16]
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
