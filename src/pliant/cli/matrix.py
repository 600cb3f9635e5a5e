"""`pliant run` of a study with a matrix: its cells one after the other, and what they say together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from pliant.analysis.conclusions import analyse
from pliant.analysis.matrix import Judged, judged, matrix
from pliant.cli.events import last
from pliant.report import markdown, paper, terminal
from pliant.report.matrix import document, figure
from pliant.results.store import DATABASE, Store, write_atomically
from pliant.study.matrix import Cell

_WRITTEN = "matrix.json"


def place(name: str) -> Path | None:
    """The last directory of a matrix of that study that was not told of in the end; None if there is none."""
    found = sorted(Path("runs").glob(f"{name}-matrix-*"))
    return next((path for path in reversed(found) if not (path / _WRITTEN).exists()), None)


def show(directory: Path, name: str, cells: Sequence[Cell], as_json: bool) -> None:
    """Write what the cells say together, and say it on standard output."""
    found = matrix(name, list(_judged(directory, cells)))
    told = document(found)
    content = json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n"
    write_atomically(directory / "matrix.md", markdown.write(told).encode())
    write_atomically(directory / "matrix.svg", paper.single(figure(found), "svg"))
    write_atomically(directory / _WRITTEN, content.encode())
    if as_json:
        last("matrix", found.to_json())
        return
    print(terminal.plain(told))
    print(f"Matrix: {directory}/matrix.md and matrix.svg; each cell has a report of its own in {directory}")


def _judged(directory: Path, cells: Sequence[Cell]) -> Iterator[Judged]:
    for cell in cells:
        if (directory / cell.name / DATABASE).exists():
            with Store.look(directory / cell.name) as store:
                yield from (judged(cell.values, part) for part in analyse(store).parts)
