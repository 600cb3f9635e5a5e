"""`pliant check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pliant.cli.common import study_argument


@click.command(short_help="Check a study file.")
@study_argument
@click.option("--plan", is_flag=True, help="Also show every command that deploying would run, node by node.")
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON.")
def command(study: Path, plan: bool, as_json: bool) -> None:
    """Check STUDY, a study file, and show what it would do: placements, promises, trials. Touches nothing."""
    from pliant.engine import prepare
    from pliant.study import load

    prepared = prepare(load(study))
    if as_json:
        print(json.dumps(_document(prepared), indent=2))
        return
    _show(prepared, plan)


def _document(prepared: Any) -> dict[str, Any]:
    study = prepared.study
    return {
        "study": study.name,
        "filesystem": study.filesystem.kind,
        "trials": study.total_trials,
        "placements": {
            f"{ratio:g}": dict(zip(placement.host_names, map(list, placement.hosts), strict=True))
            for ratio, placement in study.placements.items()
        },
        "nodes": [{"name": n.name, "role": n.role, "address": n.address} for n in study.nodes],
        "steps": [
            {
                "name": step.name,
                "after": list(step.after),
                "daemon": step.daemon,
                "runs": {node: [list(c.argv) for c in commands] for node, commands in step.runs.items()},
                "ready": {node: list(c.argv) for node, c in step.ready.items()},
            }
            for step in study.composition.steps
        ],
        "workloads": [
            {
                "name": w.label,
                "program": prepared.tools[w.label].program or "built-in",
                "mpi": prepared.mpi[w.label].version,
                "phases": [{"name": p.name, "argv": list(p.argv)} for p in _phases(prepared, w)],
            }
            for w in study.workloads
        ],
        "warnings": list(prepared.warnings),
    }


def _phases(prepared: Any, workload: Any) -> Any:
    directory = f"{prepared.study.composition.mount}/pliant-{workload.label}"
    return workload.driver.phases(workload.options, directory, prepared.tools[workload.label])


def _show(prepared: Any, plan: bool) -> None:
    import shlex

    from pliant.steps import as_text
    from pliant.units import format_bit_rate, format_byte_rate, format_fraction, format_size

    study, machine, figures = prepared.study, prepared.machine, prepared.figures
    hosts = len(study.nodes)
    print(f"{study.file}: {study.name} is a good study")
    print(f"  file system  {study.filesystem.kind}: {', '.join(f'{count} {role}s' if count != 1 else f'1 {role}' for role, count in study.filesystem.roles.items())}")
    print(
        f"  a host       {figures.cores:g} cores, {format_bit_rate(figures.nic_bit_s)} each way, "
        f"{format_byte_rate(figures.disk_byte_s)} disk, {format_size(figures.memory_bytes)} memory"
    )
    print(
        f"  promised     {figures.cores * hosts:g} of {machine.cores} cores, "
        f"{format_size(figures.memory_bytes * hosts)} of {format_size(machine.memory_bytes)} memory, to {hosts} hosts at ratio 1"
    )
    print(f"  trials       {study.total_trials}: {len(study.labels)} workloads x {len(study.ratios)} ratios x {study.about.repetitions} repetitions")
    print(f"  tolerated    a loss of {format_fraction(study.fold.max_loss)}")
    for ratio, placement in study.placements.items():
        print(f"  ratio {ratio:<6g} {len(placement.hosts)} hosts ({study.fold.strategy if ratio > 1 else 'baseline'})  {placement.describe()}")
    for workload in study.workloads:
        program = prepared.tools[workload.label].program or f"pliant's built-in {workload.driver.name} kernel"
        print(f"  {workload.label:<12} {program}, {prepared.mpi[workload.label].version}")
    for warning in prepared.warnings:
        print(f"  note         {warning}")
    if not plan:
        print("  `--plan` shows every command")
        return
    for step in study.composition.steps:
        after = f" after {', '.join(step.after)}" if step.after else ""
        print(f"\nstep {step.name}{after}, within {step.timeout_s:g} s")
        for line in as_text(step):
            print(f"  {line}")
    for workload in study.workloads:
        for phase in _phases(prepared, workload):
            print(f"\nworkload {workload.label}, {phase.name}, {phase.ranks_per_client} rank(s) in each client\n  {shlex.join(phase.argv)}")
