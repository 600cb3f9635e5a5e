"""What the cells of a matrix say together, those that `pliant run` has run so far or in the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pliant.analysis.conclusions import analyse
from pliant.analysis.matrix import Judged, Matrix, judged, matrix
from pliant.cli.events import last
from pliant.report import html, latex, markdown, paper, terminal
from pliant.report.matrix import document, figure
from pliant.report.writing import write_report
from pliant.results.store import DATABASE, Store, write_atomically
from pliant.study.matrix import cells

_WRITTEN, PAGE = "matrix.json", "matrix.html"


def place(name: str) -> Path | None:
    """The last directory of a matrix of that study that was not told of in the end; None if there is none."""
    found = sorted(Path("runs").glob(f"{name}-matrix-*"))
    return next((path for path in reversed(found) if not (path / _WRITTEN).exists()), None)


def is_one(directory: Path) -> bool:
    """Whether a directory has the cells of a matrix, and is not itself a run."""
    return not (directory / DATABASE).exists() and bool(_runs(directory))


def read(directory: Path, workloads: Sequence[str] = (), metrics: Sequence[str] = ()) -> Matrix:
    """What the cells that were begun say together; by these workloads and metrics alone if there are any."""
    found: list[Judged] = []
    names = []
    for run, values in _runs(directory).items():
        with Store.look(directory / run) as store:
            parts = analyse(store, workloads, metrics).parts
        names.append(parts[0].info.study)
        found += (judged(run, values, part) for part in parts)
    return matrix(names[0], found)


def text(found: Matrix, kind: str) -> str:
    """A matrix in one format of a report."""
    if kind == "json":
        return json.dumps(found.to_json(), indent=2, allow_nan=False) + "\n"
    if kind == "html":
        return html.matrix(found)
    return {"markdown": markdown.write, "latex": latex.write}[kind](document(found))


def show(directory: Path, *, as_json: bool = False, ended: bool = False) -> None:
    """Write the report of each cell and what they say together, and say it on standard output; a matrix that is still
    to be gone on with is not told of in JSON, by which it is found."""
    for run in _runs(directory):
        write_report(directory / run)
    found = read(directory)
    write_atomically(directory / PAGE, text(found, "html").encode())
    write_atomically(directory / "matrix.md", text(found, "markdown").encode())
    write_atomically(directory / "matrix.svg", paper.single(figure(found), "svg"))
    if ended or (directory / _WRITTEN).exists():
        write_atomically(directory / _WRITTEN, text(found, "json").encode())
    if as_json:
        last("matrix", found.to_json())
        return
    print(terminal.plain(document(found)))
    print(f"Report: {directory / PAGE}, with ways to those of the cells; matrix.md and matrix.svg beside it")


def _runs(directory: Path) -> Mapping[str, Mapping[str, Any]]:
    """The directory of each cell that was begun and its values, in the order of the matrix."""
    return dict(sorted(_found(directory), key=lambda each: int(each[0].partition("-")[0])))


def _found(directory: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for database in directory.glob(f"[0-9]*-*/{DATABASE}"):
        with Store.look(database.parent) as store:
            written = cells(store.study_toml(), str(database.parent / "study.toml"))
        if len(written) == 1 and database.parent.name.partition("-")[0].isdigit():
            yield database.parent.name, written[0].values
