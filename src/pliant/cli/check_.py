"""`pliant check`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pliant.cli.common import study_argument

if TYPE_CHECKING:
    from pliant.campaign.preparation import Prepared
    from pliant.study.matrix import Cell
    from pliant.study.model import Study
    from pliant.workloads.model import Phase

_LONGEST = 1000
"""Characters of a placement that are shown: of hundreds of nodes nobody would find the rest."""


@click.command(short_help="Check a study file.")
@study_argument
@click.option("--plan", is_flag=True, help="Also show every command that it would run, node by node.")
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
@click.option(
    "--deployment", type=click.Path(path_type=Path), help="Only see whether a deployment file of nxc is of it."
)
def command(study: Path, plan: bool, as_json: bool, deployment: Path | None) -> None:
    """Check STUDY, a study file, and show what it would do: placements, promises, trials. Touches nothing.

    Programs that lie elsewhere than this machine's own, a home on NFS, say, are looked for in a node that is made for
    that and removed again, if this is called as root.
    """
    from pliant.campaign import places
    from pliant.campaign.preparation import prepare, try_programs
    from pliant.study.reading import load, load_cells

    if deployment is not None:
        _compare(load(study), deployment)
        return
    if len(cells := load_cells(study)) > 1:
        _each(study, cells, as_json)
        return
    checked = load(study)
    if checked.platform.scheduled and checked.platform.job is None:
        _of_lending(checked, as_json)
        return
    with places.opened(checked) as place:
        prepared = prepare(checked, place)
        if os.geteuid() == 0:
            try_programs(prepared)
        _tell(prepared, plan, as_json)


def _each(study: Path, cells: Sequence[Cell], as_json: bool) -> None:
    """Look at each cell of a matrix, and say how many trials it is of."""
    from pliant.campaign import places
    from pliant.campaign.preparation import prepare
    from pliant.study.reading import parse

    told = []
    for cell in cells:
        checked = parse(cell.text, str(study))
        with places.opened(checked) as place:
            prepare(checked, place)
        told.append({"cell": cell.name, "values": dict(cell.values), "trials": checked.total_trials})
    if as_json:
        print(json.dumps({"study": checked.name, "cells": told}, indent=2))
        return
    print(f"{study}: {checked.name} is a good study of {len(cells)} cells")
    for each in told:
        print(f"  {each['cell']}: {each['trials']} trials at most")


def _of_lending(study: Study, as_json: bool) -> None:
    """Say what would be asked of a scheduler: of hosts that are not there yet nothing more can be known."""
    from pliant.cli import lending

    if as_json:
        print(json.dumps({"study": study.name, "reservation": lending.document(study)}, indent=2))
    else:
        lending.show(study)


def _tell(prepared: Sequence[Prepared], plan: bool, as_json: bool) -> None:
    """Say what the study would do."""
    if as_json:
        documents = [_document(each) for each in prepared]
        whole = {"study": documents[0]["study"], "trials": documents[0]["trials"], "filesystems": documents}
        print(json.dumps(whole if len(documents) > 1 else documents[0], indent=2))
        return
    _show(prepared)
    for each in prepared if plan else ():
        if len(prepared) > 1:
            print(f"\n== {each.filesystem}")
        _show_commands(each)
    if not plan:
        print("  `--plan` shows every command")


def _compare(study: Study, deployment: Path) -> None:
    """Say that what nxc deployed is the study's cluster, or raise UserError."""
    from pliant.campaign import standing

    found = standing.read(study, deployment)
    print(f"{deployment}: {len(found)} nodes of nxc are those of the study")


def _document(prepared: Prepared) -> dict[str, Any]:
    from pliant.cli import plan
    from pliant.trial import UNFOLDED

    study, host = prepared.study, prepared.study.platform.host
    return {
        "study": study.name,
        "filesystem": study.filesystem.kind,
        "label": prepared.filesystem,
        "host": asdict(prepared.figures),
        "scale": prepared.scale,
        "like": (host.like if host else None) or "",
        "real_host": asdict(host.real) if host and host.scaled else None,
        "disk_caveat": prepared.disk_caveat,
        "trials": prepared.all_of_it.total_trials,
        "search": study.about.search,
        "expected_break": prepared.expected_break,
        **({} if study.baseline == UNFOLDED else {"baseline": study.baseline}),
        "placements": {
            f"{ratio:g}": dict(zip(placement.host_names, map(list, placement.hosts), strict=True))
            for ratio, placement in study.placements.items()
        },
        "versions": dict(prepared.versions),
        "brought": dict(prepared.brought),
        "modules": dict(prepared.kernels.modules),
        **plan.document(study.composition),
        "workloads": [
            {
                "name": workload.label,
                "program": prepared.program(workload.label),
                "mpi": prepared.mpi[workload.label].version if workload.label in prepared.mpi else None,
                "phases": [_phase(phase) for phase in prepared.phases(workload.label)],
            }
            for workload in study.workloads
        ],
        "warnings": list(prepared.warnings),
    }


def _phase(phase: Phase) -> dict[str, Any]:
    each = {client: list(argv) for client, argv in phase.each.items()}
    how: dict[str, Any] = {"each": each, "stdin": phase.stdin} if each else {"argv": list(phase.argv)}
    return {"name": phase.name, "drop_caches": phase.drop_caches, **how}


def _row(name: str, text: str) -> None:
    print(f"  {name:<12} {text}")


def _show(prepared: Sequence[Prepared]) -> None:
    """What all file systems have in common, and what each has."""
    from pliant.composition.nodeset import fold

    first, study, host = prepared[0], prepared[0].all_of_it, prepared[0].study.platform.host
    print(f"{study.file}: {study.name} is a good study")
    if first.place.hosts:
        _row("hosts", f"{fold(first.place.hosts)}, by ssh: {first.machine.system}, kernel {first.machine.kernel}")
    for each in prepared:
        _row("file system", _counts(each))
    if host is not None and host.scaled:
        auto = host.wanted_scale == "auto"
        chosen = " (auto: the largest hosts that fit this machine)" if auto else ""
        _row("real host", first.real_figures)
        if first.disk_caveat:
            _row("its disk", first.disk_caveat)
        _row("scale", f"{first.scale:g}{chosen}; CPU, NIC and disk are divided by it, memory is not")
    _row("a host", first.host_figures)
    _row("promised", _promised(first))
    for each in prepared:
        if disks := _disks(each):
            _row("disks", disks)
        if each.kernels.sentence:
            _row("kernels", each.kernels.sentence)
    for text in _trials(prepared):
        _row("trials", text)
    _row("tolerated", study.fold.tolerated)
    for each in prepared:
        _show_placements(each, several=len(prepared) > 1)
    for workload in study.workloads:
        mpi = f", {first.mpi[workload.label].version}" if workload.label in first.mpi else ""
        _row(workload.label, f"{first.program(workload.label)}{mpi}")
        for each in prepared:
            if text := _crowded(each, workload.label):
                print(f"    {text}{f' of {each.filesystem}' if len(prepared) > 1 else ''}")
        for each in prepared:
            on = f" of {each.filesystem}" if len(prepared) > 1 else ""
            for fault in each.faults(workload.label):
                print(f"    fault{on}: {fault.sentence}")
    for warning in dict.fromkeys(warning for each in prepared for warning in each.warnings):
        _row("note", warning)


def _crowded(prepared: Prepared, label: str) -> str:
    """Where more ranks than CPUs share a host, and what those that wait do; "" if nowhere."""
    crowded = prepared.crowded(label)
    if not crowded:
        return ""
    found = ", ".join(f"{count} at ratio {ratio:g}" for ratio, count in crowded.items())
    real = prepared.tools[label].program is not None
    wait = "those that wait poll, and take it from others" if real else "those that wait sleep"
    return f"more ranks than CPUs share a host, {found}; {wait} (docs/workloads.md)"


def _trials(prepared: Sequence[Prepared]) -> Iterator[str]:
    """How many trials there will be, and what decides which."""
    from pliant.units import format_duration

    study, about = prepared[0].all_of_it, prepared[0].all_of_it.about
    many = f"{len(prepared)} file systems x " if len(prepared) > 1 else ""
    grid = f"{many}{len(study.labels)} workloads x {len(study.ratios)} ratios x {about.most} repetitions"
    if about.adaptive:
        yield f"at most {study.total_trials} and some more of the baseline, mostly far fewer: {grid} at most"
        yield "every ratio once; then where it is open whether a metric holds or breaks, until that is decided"
        for each in prepared:
            on = f" of {each.filesystem}" if len(prepared) > 1 else ""
            breaks = each.expected_break
            where = "nowhere" if breaks is None else f"at ratio {breaks:g}"
            yield f"the search{on} begins where the last run broke, or else NICs and disks alone would: {where}"
    else:
        yield f"{study.total_trials}: {grid}"
    if about.budget_s is not None:
        yield f"none begins after {format_duration(about.budget_s)}"


def _counts(prepared: Prepared) -> str:
    """A file system's name, roles and options."""
    from textwrap import shorten

    study, label = prepared.study, prepared.filesystem
    counts = ", ".join(f"{n} {role}{'' if n == 1 else 's'}" for role, n in study.filesystem.roles.items())
    given = study.options.model_dump(exclude_defaults=True).items()
    options = ", ".join(f"{key} {shorten(str(value), 60, placeholder=' ...')}" for key, value in given)
    kind = study.filesystem.kind if label == study.filesystem.kind else f"{label}, {study.filesystem.kind}"
    return f"{kind}: {counts}{f'; {options}' if options else ''}"


def _disks(prepared: Prepared) -> str:
    """Which nodes have a disk, where, and what it is; "" if none has."""
    from pliant.units import format_size

    study = prepared.study
    where = [
        f"{role.name} {role.disk}"
        for role in study.composition.roles
        if role.disk and any(node.role == role.name for node in study.nodes)
    ]
    size = format_size(study.platform.disk_size)
    elsewhere = f"exported to NixOS Compose: a {study.nixos_compose.disk}, or Grid'5000's partition for users' data"
    return f"{', '.join(where)}; {size} each, a file with its own ext4 ({elsewhere})" if where else ""


def _promised(prepared: Prepared) -> str:
    from pliant.units import format_size

    machine, figures, hosts = prepared.machine, prepared.figures, prepared.study.most_hosts
    if prepared.place.machines.remote:
        memory = f"{format_size(figures.memory_bytes)} of {format_size(machine.memory_bytes)} memory"
        return f"{figures.cores:g} of {machine.cores} CPUs, {memory}, to the host on each machine"
    memory = f"{format_size(figures.memory_bytes * hosts)} of {format_size(machine.memory_bytes)} memory"
    at = f"{hosts} hosts at ratio {prepared.study.baseline:g}"
    return f"{figures.cores * hosts:g} of {machine.cores} cores, {memory}, to {at}"


def _show_placements(prepared: Prepared, several: bool) -> None:
    """Where the nodes are at each ratio, and the versions of what deploys them."""
    from pliant.campaign.brought import version_of
    from pliant.trial import UNFOLDED

    if several:
        print(f"  on {prepared.filesystem}")
    for ratio, placement in prepared.study.placements.items():
        count = len(placement.hosts)
        how = [] if ratio == UNFOLDED else [prepared.study.fold.strategy]
        how += ["baseline"] if ratio == prepared.study.baseline else []
        where = placement.describe()
        where = where if len(where) <= _LONGEST else f"{where[:_LONGEST]} ... (--json has all)"
        _row(f"ratio {ratio:g}", f"{count} host{'' if count == 1 else 's'} ({', '.join(how)})  {where}")
        ranks = prepared.study.ranks(ratio, 1)
        if max(ranks.values()) > 1:
            told = ", ".join(f"{client} {count}" for client, count in ranks.items())
            print(f"    ranks of as many clients on one mount: {told}; the other clients stand idle")
    if brought := prepared.study.composition.brought:
        where = brought.directory or "on PATH"
        version = version_of(prepared.study.composition, prepared.brought, prepared.place.machines)
        _row("yours", f"{prepared.study.filesystem.kind} {version}, {where}")
    for role, path in prepared.kernels.modules.items():
        kernel = prepared.place.machines.own_kernel(prepared.kernels.own[role].kind)
        _row("module", f"{path}, for the kernel of each {role}: {kernel}")
    if prepared.versions:
        _row("installed", ", ".join(f"{name} {version}" for name, version in prepared.versions.items()))


def _show_commands(prepared: Prepared) -> None:
    import shlex

    from pliant.cli import plan
    from pliant.composition.nodeset import fold

    for line in plan.lines(prepared.study.composition):
        print(line)
    for workload in prepared.study.workloads:
        for phase in prepared.phases(workload.label):
            ranks = f"{phase.ranks_per_client} rank{'' if phase.ranks_per_client == 1 else 's'} in each client"
            how = f"on {fold(phase.each)}" if phase.each else ranks
            print(f"\nworkload {workload.label}, {phase.name}, {how}{', caches dropped' if phase.drop_caches else ''}")
            for client, argv in phase.each.items():
                print(f"  {client}: {shlex.join(argv)}")
            for line in phase.stdin.splitlines():
                print(f"    < {line}")
            if not phase.each:
                print(f"  {shlex.join(phase.argv)}")
