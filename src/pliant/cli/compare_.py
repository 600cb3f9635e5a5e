"""`pliant compare`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pliant.cli.common import written
from pliant.errors import UserError

if TYPE_CHECKING:
    from pliant.report.across import Across, Judged

FORMATS = ("text", "html", "markdown", "latex", "json")


@click.command(short_help="Compare runs: file systems, platforms, dates.")
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--format", "kind", type=click.Choice(FORMATS), default="text", show_default=True, help="What to write.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file to write; default standard output.")
def command(runs: tuple[str, ...], kind: str, output: Path | None) -> None:
    """Compare RUNs, directories of runs: what differs between them, who folds further and whether that is shown.

    A run is called after its directory, or as you like: NAME=DIRECTORY. Of a run with several file systems each takes
    part. What cannot be compared is said, and nothing is claimed of it.
    """
    from pliant.report.across import across

    judged = [each for run in runs for each in _judged(run)]
    labels = [each.label for each in judged]
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise UserError(f'two runs are called "{twice[0]}"; call one something else: NAME={runs[-1]}')
    if len(judged) < 2:
        raise UserError("there is only one file system in that run; name another run to compare it with")
    written(_text(across(judged), kind), output)


def _judged(run: str) -> Iterator[Judged]:
    """Each file system of a run, by the name it has in the comparison."""
    from pliant.analysis.conclusions import analyse
    from pliant.report.across import Judged
    from pliant.results.store import Store

    name, directory = "", Path(run)
    if not directory.exists() and "=" in run:
        name, _, path = run.partition("=")
        directory = Path(path)
    with Store.open(directory) as store:
        parts, study = analyse(store).parts, store.study()
    workloads = {each["name"]: {k: v for k, v in each.items() if k != "name"} for each in study.get("workload", [])}
    name = name or directory.resolve().name
    for part in parts:
        yield Judged(f"{name} {part.filesystem}" if len(parts) > 1 else name, part, workloads)


def _text(found: Across, kind: str) -> str:
    """The comparison in one format."""
    import json

    from pliant.report import html, latex, markdown, terminal
    from pliant.report.side_by_side import document

    if kind == "json":
        return json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n"
    if kind == "html":
        return html.compared(found)
    write = {"markdown": markdown.write, "latex": latex.write, "text": terminal.plain}[kind]
    return write(document(found))
