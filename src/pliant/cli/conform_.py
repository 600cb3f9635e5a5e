"""`pliant conform`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pliant.cli.common import need_root, study_argument

if TYPE_CHECKING:
    from pliant.campaign.preparation import Prepared
    from pliant.cli.progress import Told
    from pliant.cluster.cluster import Cluster
    from pliant.results.store import Store

_SIGNS = {"holds": "✓", "late": "≈", "fails": "✗", "hangs": "✗", "not supported": "–", "not tried": "·"}


@click.command(short_help="See what a file system keeps of POSIX, folded and unfolded.")
@study_argument
@click.option("--ratio", "ratios", type=float, multiple=True, help="At this ratio; may be repeated. Default: at all.")
@click.option("--only", multiple=True, help="Only this promise, by its name in the table; may be repeated.")
@click.option("--filesystem", help="Which file system, where the study has several.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Keep it in this run of the study, for its report.",
)
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def command(
    study: Path,
    ratios: tuple[float, ...],
    only: tuple[str, ...],
    filesystem: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Deploy the cluster of STUDY and see, from two of its clients, what the file system keeps of what POSIX promises:
    renames over open files, appends and locks across nodes, holes, attributes, a crash after fsync.

    Hosts are limited as in a trial. The exit status is 0 whatever is found.
    """
    from pliant.campaign import places
    from pliant.campaign.preparation import prepare, try_programs
    from pliant.cli.display import display
    from pliant.cluster.conformance import CRASH
    from pliant.cluster.posix_checks import CHECKS
    from pliant.errors import UserError
    from pliant.results import conformance_table
    from pliant.study.reading import load

    checked = load(study).chosen(filesystem)
    wanted = ratios or checked.ratios
    for ratio in wanted:
        checked.need_ratio(ratio)
    if unknown := [name for name in only if name not in (*CHECKS, CRASH)]:
        raise UserError(f'--only "{unknown[0]}" is no promise; there are {", ".join((*CHECKS, CRASH))}')
    if not checked.platform.real:
        need_root("deploying a cluster")
    store = _run_of(output, checked.name, checked.alone.label) if output else None
    found: dict[float, list[dict[str, Any]]] = {}
    try:
        with display(quiet=as_json) as told, places.opened(checked, told.doing) as place:
            (prepared,) = prepare(checked, place)
            try_programs((prepared,))
            for ratio, cluster in _clusters(prepared, wanted, told):
                found[ratio] = _at(cluster, ratio, only, told)
                if store is not None:
                    conformance_table.keep(store, checked.alone.label, ratio, found[ratio])
    finally:
        if store is not None:
            store.close()
    if as_json:
        print(json.dumps({f"{ratio:g}": results for ratio, results in found.items()}, indent=2))
        return
    _show(found)
    if output is not None:
        from pliant.cli.run_ import show

        show(output, quiet=True)


def _run_of(output: Path, study: str, filesystem: str) -> Store:
    """The store of a run that is there; UserError if it is of another study."""
    from pliant.errors import UserError
    from pliant.results.store import Store, holds_run

    if not holds_run(output):
        raise UserError(f"{output} holds no run; name the directory of a run of this study, or leave --output out")
    store = Store.open(output)
    names = [(info.study, info.name) for info in store.infos()]
    if (study, filesystem) not in names:
        store.close()
        raise UserError(f'{output} is a run of study "{names[0][0]}" on {", ".join(name for _, name in names)}')
    return store


def _clusters(prepared: Prepared, ratios: Sequence[float], told: Told) -> Iterator[tuple[float, Cluster]]:
    """The cluster at each ratio: one that is refolded, or one after the other."""
    from pliant.campaign.deploying import bring_up

    live = prepared.place.platform.refolds_live
    cluster: Cluster | None = None
    try:
        for ratio in ratios:
            if cluster is None:
                told.doing("deploy")
                first = prepared.study.baseline if live else ratio
                cluster = bring_up(prepared, first, said=lambda step: told.doing(f"deploy: {step}"))
            cluster.limit(False)
            if live:
                cluster.refold(prepared.study.placements[ratio])
            cluster.limit(True)
            yield ratio, cluster
            if not live:
                cluster.close()
                cluster = None
    finally:
        if cluster is not None:
            cluster.close()


def _at(cluster: Cluster, ratio: float, only: Sequence[str], told: Told) -> list[dict[str, Any]]:
    from pliant.cluster.conformance import conform

    found = []
    with closing(conform(cluster, lambda name: told.doing(f"ratio {ratio:g}: {name}"), only)) as results:
        for each in results:
            found.append(each.to_json())
            if each.outcome not in ("holds", "not tried"):
                told.note(f"ratio {ratio:g}: {each.name}: {each.outcome}{f', {each.said}' if each.said else ''}")
    return found


def _show(found: dict[float, list[dict[str, Any]]]) -> None:
    """The table, a row for each check."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pliant.results.conformance_table import sentence, table

    rows = table(found)
    shown = Table(box=None, pad_edge=False)
    shown.add_column("")
    for ratio in found:
        shown.add_column(f"ratio {ratio:g}")
    for row in rows:
        cells = [row.outcomes.get(ratio, ("not tried", "")) for ratio in found]
        words = [f"{_SIGNS[outcome]} {outcome}{f' {said}' if outcome == 'late' else ''}" for outcome, said in cells]
        shown.add_row(Text(row.name), *map(Text, words))
    console = Console(highlight=False, soft_wrap=True)
    console.print(shown)
    console.print(Text(sentence(rows)))
