"""What a run says of itself: the study as it was understood, what an analysis needs to know, machine and versions."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pliant
from pliant.campaign.brought import version_of
from pliant.campaign.determinants import Determined
from pliant.campaign.preparation import Prepared
from pliant.results.run_info import RunInfo
from pliant.study.model import Study
from pliant.trial import UNFOLDED, Workflow
from pliant.units import format_size


def document_of(study: Study, workflow: Workflow = "dev") -> dict[str, Any]:
    """The study as it was understood, with every default but that of `fold.baseline`, and the workflow that was asked
    for."""
    tables = {"study": study.about, "platform": study.platform, "fold": study.fold}
    document: dict[str, Any] = {
        name: table.model_dump(mode="json")
        for name, table in (tables | {"power": study.power, "mpi": study.mpi}).items()
    }
    document["study"]["workflow"] = workflow
    if study.deployment:
        document["platform"]["deployment"] = study.deployment
    if study.platform.kernel is None:  # as in the documents of runs from before it could be said
        del document["platform"]["kernel"]
    if study.baseline == UNFOLDED:  # as in the documents of runs from before there was another
        del document["fold"]["baseline"]
    if not study.fold.roles:
        del document["fold"]["roles"]
    if study.fold.of == "nodes":
        del document["fold"]["of"]
    filesystems = [
        {
            **each.table.model_dump(mode="json", exclude={"optional"}),
            "name": each.label,
            "options": each.options.model_dump(mode="json"),
        }
        for each in study.filesystems
    ]
    workloads = [
        {"name": w.label, "kind": w.driver.name, **w.options.model_dump(mode="json")}
        | ({"faults": [table.model_dump(mode="json") for table in w.faults]} if w.faults else {})
        for w in study.workloads
    ]
    return {**document, "filesystem": filesystems if filesystems[1:] else filesystems[0], "workload": workloads}


def info_of(prepared: Prepared, workflow: Workflow = "dev") -> RunInfo:
    """What an analysis of the run needs to know of one file system."""
    study = prepared.study
    placements = {
        ratio: dict(zip(placement.host_names, placement.hosts, strict=True))
        for ratio, placement in study.placements.items()
    }
    return RunInfo(
        study=study.name,
        filesystem=study.filesystem.kind,
        platform="nxc" if study.deployment else study.platform.kind,
        workflow=workflow,
        seed=study.about.seed,
        repetitions=study.about.most,
        max_loss=study.fold.max_loss,
        search=study.about.search,
        indifference=study.fold.zone,
        start=prepared.start if study.about.adaptive else None,
        hosts={ratio: len(placement.hosts) for ratio, placement in study.placements.items()},
        metrics={w.label: w.driver.metrics(w.options) for w in study.workloads},
        roles=dict(study.filesystem.roles),
        strategy=study.fold.strategy,
        folded=study.fold.roles,
        folds=study.fold.of,
        host_cores=prepared.figures.cores,
        host_figures=prepared.host_figures,
        placements=placements,
        power=study.power_model,
        filesystem_options=study.options.model_dump(mode="json"),
        asked=study.fold.metrics,
        scale=prepared.scale,
        like=(study.platform.host.like if study.platform.host else None) or "",
        real_figures=prepared.real_figures,
        disk_caveat=prepared.disk_caveat,
        label=prepared.filesystem,
        baseline=study.baseline,
        faults={
            w.label: {"plain": w.plain, "faults": [fault.sentence for fault in prepared.faults(w.label)]}
            for w in study.workloads
            if w.faults
        },
    )


def facts_of(prepared: Sequence[Prepared]) -> dict[str, str]:
    """The machine and the versions of everything that had a part in the numbers."""
    machine, mpi, study = prepared[0].machine, prepared[0].mpi, prepared[0].study
    return {
        "pliant": pliant.__version__,
        **dict(_versions(prepared)),
        **_hosts(prepared[0]),
        **({"deployed by": f"NixOS Compose: {study.deployment}"} if study.deployment else {}),
        "kernel": machine.kernel,
        **{f"kernels of {each.filesystem}": each.kernels.sentence for each in prepared if each.kernels.own},
        "system": machine.system,
        "CPU": f"{machine.cores} x {machine.cpu}",
        "memory": format_size(machine.memory_bytes),
        "control groups": machine.cgroups,
        "Python": platform.python_version(),
        **{f"MPI of {label}": each.version for label, each in mpi.items()},
        **prepared[0].program_versions,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _hosts(prepared: Prepared) -> dict[str, str]:
    """Which machines the hosts of a run were, in their order."""
    hosts = prepared.place.hosts
    return {"hosts": ", ".join(f"host{n} {name}" for n, name in enumerate(hosts, 1))} if hosts else {}


def _versions(prepared: Sequence[Prepared]) -> Iterator[tuple[str, str]]:
    """What each file system, and its packages, say of their versions."""
    for each in prepared:
        what = "file system" if len(prepared) == 1 else f"file system {each.filesystem}"
        yield what, version_of(each.study.composition, each.brought, each.place.machines)
        yield from ((f"package {name}", number) for name, number in each.versions.items())


def conditions_of(prepared: Sequence[Prepared], workflow: Workflow) -> dict[str, Any]:
    """What determines all trials of a run, by file system."""
    return {each.filesystem: dict(Determined(each, workflow).common) for each in prepared}
