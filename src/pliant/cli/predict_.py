"""`pliant predict`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pliant.cli.common import written
from pliant.errors import UserError

if TYPE_CHECKING:
    from pliant.analysis.modelled import Target
    from pliant.analysis.observed import Record
    from pliant.analysis.predicting import Prediction

FORMATS = ("text", "markdown", "latex", "json")
_ROLE = re.compile(r"([A-Za-z][\w-]*)=(\d{1,7})")
_STRATEGIES = ("spread", "pack", "segregate", "pair")
_EPILOG = """\b
  pliant predict runs/today                                  the whole curve of the same cluster
  pliant predict runs/today --roles server=16 client=400     of a larger one
  pliant predict runs/today --like grid5000/gros --json      on hosts of that cluster
  pliant predict runs/small runs/large --roles server=64     from runs of two sizes

A run needs ratio 1 and another one, two trials of each, and trials of some seconds, so that telemetry sees what each
operation uses. docs/predict.md says what the model is and how far it was right."""


@click.command(short_help="Predict the folding curve of a cluster from small runs.", epilog=_EPILOG)
@click.argument("runs", nargs=-1, required=True, metavar="RUN... [ROLE=N...]")
@click.option("--roles", "roles", multiple=True, metavar="ROLE=N...", help="Nodes of a role, if not as in the run.")
@click.option("--strategy", type=click.Choice(_STRATEGIES), help="How nodes are placed; default as in the run.")
@click.option("--like", metavar="CLUSTER", help='Hosts of a cluster of the catalogue, e.g. "grid5000/gros".')
@click.option("--cores", type=float, help="Cores of a host; default as in the run, or as of --like.")
@click.option("--nic", help='Its NIC, e.g. "10 Gbit/s".')
@click.option("--disk", help='Its disk, e.g. "500 MB/s".')
@click.option(
    "--ratios", help="Which ratios, e.g. 1,2,4; default all that the run planned, and steps of a whole curve."
)
@click.option("--work", type=float, default=1.0, help="Each rank does so many times what it did in the run.")
@click.option("--on", help="Calibrate on these ratios alone, e.g. 1,2, to hold the others against what is predicted.")
@click.option("--max-loss", help='The tolerated loss, e.g. "10 %"; default as in the run.')
@click.option("--workload", "workloads", multiple=True, help="Only this workload; may be given again.")
@click.option("--metric", "metrics", multiple=True, help='Only this metric, e.g. "*_bandwidth"; may be given again.')
@click.option("--filesystem", help="Which one, where a run has several.")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="text", show_default=True, help="What to write.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--figure", type=click.Path(path_type=Path), help="Draw all curves into this file: .svg, .pdf or .png.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write; default standard output.")
def command(
    runs: tuple[str, ...],
    roles: tuple[str, ...],
    strategy: str | None,
    like: str | None,
    cores: float | None,
    nic: str | None,
    disk: str | None,
    ratios: str | None,
    work: float,
    on: str | None,
    max_loss: str | None,
    workloads: tuple[str, ...],
    metrics: tuple[str, ...],
    filesystem: str | None,
    kind: str,
    as_json: bool,
    figure: Path | None,
    output: Path | None,
) -> None:
    """Predict how far a cluster folds, what breaks it, and how sure that is, from RUNs of a small one.

    A model of the file system is calibrated on all ratios that the runs have measured and on what telemetry saw each
    role use of CPU, NIC and disk; then it is asked about the same cluster or another: other numbers of nodes, hosts or
    a strategy. What is asked beyond the data is said. Nothing is deployed, and nothing in RUN is written.
    """
    from dataclasses import replace

    from pliant.analysis.predicting import predict

    directories = [run for run in runs if Path(run).exists() or not _ROLE.fullmatch(run)]
    asked = _roles([*roles, *(run for run in runs if run not in directories)])
    if not directories:
        raise UserError("name the directory of a run to predict from, e.g. `pliant predict runs/today`")
    records = [_record(Path(run), filesystem, workloads, metrics) for run in directories]
    capacity, host = _capacity(records[0].capacity, like, cores, nic, disk)
    if not 1e-3 <= work <= 1e6:
        raise UserError(f"--work {work:g}: write how many times as much, e.g. 8")
    target = replace(_target(records[0], asked, strategy, capacity, host, ratios, max_loss), work=work)
    prediction = predict(records, target, () if on is None else _ratios(on, "--on"))
    if figure is not None:
        _draw(prediction, figure)
    if kind == "json" or as_json:
        import json

        text = json.dumps(prediction.to_json(), indent=2, allow_nan=False) + "\n"
    else:
        from pliant.report import latex, markdown, terminal
        from pliant.report.predicted import document

        write = {"markdown": markdown.write, "latex": latex.write, "text": terminal.plain}[kind]
        text = write(document(prediction, records[0].info.name))
    written(text, output)


def _record(run: Path, filesystem: str | None, workloads: Sequence[str], metrics: Sequence[str]) -> Record:
    """What a run holds of one file system, and of these workloads and metrics alone if there are any."""
    from dataclasses import replace

    from pliant.analysis.observed import records
    from pliant.results.store import Store

    with Store.open(run) as store:
        found = records(store, str(run))
    names = [record.info.name for record in found]
    if filesystem is not None:
        found = tuple(record for record in found if record.info.name == filesystem)
    if len(found) != 1:
        wanted = f'no file system "{filesystem}"' if filesystem else f"{len(names)} file systems"
        raise UserError(f"{run} has {wanted}; name one with --filesystem: {', '.join(names)}")
    info = found[0].info.of(workloads, metrics) if workloads or metrics else found[0].info
    if not info.metrics:
        raise UserError(f"{run} has no metric of {', '.join((*workloads, *metrics))}")
    return replace(found[0], info=info)


def _roles(words: Sequence[str]) -> dict[str, int]:
    """`server=16` and the like; several in one word may be separated by commas."""
    found: dict[str, int] = {}
    for word in (part for each in words for part in each.split(",")):
        match = _ROLE.fullmatch(word.strip())
        if match is None or int(match[2]) < 1:
            raise UserError(f'"{word}" is no number of nodes of a role; write e.g. --roles server=16')
        found[match[1]] = int(match[2])
    return found


def _capacity(
    known: Mapping[str, float], like: str | None, cores: float | None, nic: str | None, disk: str | None
) -> tuple[dict[str, float], str]:
    """What a host of the target has, per second, and what it is called."""
    from pliant.study.catalogue import cluster
    from pliant.units import UnitError, parse_bit_rate, parse_byte_rate

    found = dict(known)
    try:
        if like is not None:
            there = cluster(like)
            found |= {"cpu": float(there.cores), "nic_up": there.nic_bit_s / 8}
            if there.disk_byte_s is not None:
                found["disk_read"] = there.disk_byte_s
            elif disk is None:
                raise UserError(f'no source has the rate of a disk of {like}; give it, e.g. --disk "500 MB/s"')
        if cores is not None:
            if not 0 < cores < 1e6:
                raise UserError(f"--cores {cores:g}: a host has more than none")
            found["cpu"] = cores
        if nic is not None:
            found["nic_up"] = parse_bit_rate(nic) / 8
        if disk is not None:
            found["disk_read"] = parse_byte_rate(disk)
    except (UnitError, ValueError) as error:
        raise UserError(str(error)) from error
    if bad := [name for name in ("nic_up", "disk_read") if name in found and found[name] <= 0]:
        raise UserError(f"{'--nic' if bad[0] == 'nic_up' else '--disk'}: a rate is above zero")
    pairs = {"nic_down": "nic_up", "disk_write": "disk_read"}
    return found | {other: found[name] for other, name in pairs.items() if name in found}, like or ""


def _target(
    record: Record,
    asked: Mapping[str, int],
    strategy: str | None,
    capacity: Mapping[str, float],
    host: str,
    ratios: str | None,
    max_loss: str | None,
) -> Target:
    from dataclasses import replace

    from pliant.analysis.modelled import Target
    from pliant.analysis.predicting import grid
    from pliant.units import UnitError, parse_fraction

    info = record.info
    if unknown := [role for role in asked if role not in info.roles]:
        raise UserError(f'"{unknown[0]}" is not a role of {record.name}; it has {", ".join(info.roles)}')
    roles = dict(info.roles) | dict(asked)
    chosen = strategy or info.strategy
    if chosen == "explicit" and roles != dict(info.roles):
        raise UserError("its nodes were placed by hand, which says nothing of other nodes; name a --strategy")
    try:
        tolerated = info.max_loss if max_loss is None else parse_fraction(max_loss)
    except UnitError as error:
        raise UserError(f"--max-loss: {error}") from error
    if not 0 < tolerated < 1:
        raise UserError("--max-loss is between 0 and 100 %")
    folded = tuple(info.folded)
    asked_about = Target(roles, chosen, capacity, (), tolerated, host, folded=folded)
    if ratios is not None:
        wanted = _ratios(ratios)
    elif chosen == "explicit":
        wanted = tuple(sorted(info.hosts))
    else:
        planned = info.hosts if roles == dict(info.roles) else {}
        taken = set(planned.values())
        more = [ratio for ratio in grid(asked_about.shared) if asked_about.hosts(ratio) not in taken]
        wanted = tuple(sorted([*planned, *more]))
    if chosen == "segregate" and len({role in record.clients for role in folded or roles}) > 1:
        wanted = tuple(ratio for ratio in wanted if asked_about.hosts(ratio) > asked_about.alone + 1)
    return replace(asked_about, ratios=wanted)


def _ratios(text: str, option: str = "--ratios") -> tuple[float, ...]:
    """Numbers that are separated by commas, and 1, which is always needed."""
    try:
        found = sorted({float(word) for word in re.split(r"[,\s]+", text.strip()) if word})
    except ValueError as error:
        raise UserError(f'{option} "{text}": write numbers, e.g. 1,2,4') from error
    if not found:
        raise UserError(f"{option}: write numbers, e.g. 1,2,4")
    return tuple(sorted({1.0, *found}))


def _draw(prediction: Prediction, file: Path) -> None:
    """All curves in one figure, in the format that the file's name says. UserError for another."""
    from pliant.report import paper
    from pliant.report.predicted import figure
    from pliant.results.store import write_atomically

    kind = file.suffix.removeprefix(".").lower()
    if kind not in paper.FORMATS:
        raise UserError(f"--figure {file}: its name ends in .svg, .pdf or .png")
    try:
        write_atomically(file, paper.single(figure(prediction), kind))
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}") from error
