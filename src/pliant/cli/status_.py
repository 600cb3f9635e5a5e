"""`pliant status`."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pliant.campaign.rundir import Status

_MARKS = {"todo": "·", "running": "▶", "done": "✓", "censored": "⊘", "failed": "✗", "invalid": "!", "skipped": "–"}


@click.command(short_help="Show how far a run is, also while it goes on.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="As JSON; with --watch an object a line.")
@click.option("-w", "--watch", is_flag=True, help="Show it again every second, until the run ends.")
def command(run: Path, as_json: bool, watch: bool) -> None:
    """Show the trials of RUN, the directory of a run, by their states: todo, running, done, censored (stopped
    before its end), failed, invalid, skipped.

    It can be asked at any time, and does not disturb the run.
    """
    from rich.console import Console
    from rich.live import Live

    from pliant.campaign.rundir import status

    now = status(run)
    if as_json:
        print(json.dumps(now.to_json(), indent=None if watch else 2), flush=True)
        while watch and now.state == "running":
            time.sleep(1)
            now = status(run)
            print(json.dumps(now.to_json()), flush=True)
        return
    console = Console(highlight=False)
    if not watch or now.state != "running":
        console.print(_shown(run, now))
        return
    with Live(_shown(run, now), console=console, auto_refresh=False) as live:
        while now.state == "running":
            time.sleep(1)
            now = status(run)
            live.update(_shown(run, now), refresh=True)


def _shown(run: Path, now: Status) -> RenderableType:
    """The run in a line, and a table: a row for each workload and ratio, a mark for each trial."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from pliant.units import format_duration

    counts = ", ".join(f"{count} {state}" for state, count in now.counts.items() if count) or "no trials"
    cells: dict[tuple[str, str, float], list[str]] = {}
    everything = [(t.filesystem, t.workload, t.ratio, t.state) for t in now.trials]
    if now.state != "complete":
        everything += [(t.filesystem, t.workload, t.ratio, "todo") for t in now.left]
    everything += [(t.filesystem, t.workload, t.ratio, "skipped") for t in now.skipped]
    for filesystem, workload, ratio, state in everything:
        cells.setdefault((filesystem, workload, ratio), []).append(_MARKS[state])
    several = len(Counter(filesystem for filesystem, _, _ in cells)) > 1
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in (*(("file system",) if several else ()), "workload", "ratio", "trials"):
        table.add_column(name, overflow="fold")
    for filesystem, workload, ratio in sorted(cells):
        own = (filesystem,) if several else ()
        table.add_row(*own, workload, f"{ratio:.3g}", "".join(cells[filesystem, workload, ratio]))
    legend = Text("  ".join(f"{mark} {state}" for state, mark in _MARKS.items()), style="dim")
    spent = f", {format_duration(round(now.spent_s))} so far" if now.spent_s >= 1 else ""
    return Group(Text(f"{run}: {now.state}; {counts}{spent}"), table, legend)
