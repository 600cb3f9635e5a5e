"""The cells of a matrix, judged: how far each folds, what breaks it first, and what each key does to that. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from pliant.analysis.conclusions import Analysis
from pliant.analysis.words import metric_title


@dataclass(frozen=True)
class Judged:
    """A file system of one cell: the name of its directory, and key -> value as written. `ratio` is the largest at
    which all its metrics are shown to hold, None if nothing is known; `breaks_at` the smallest at which one is shown to
    break, `what` that is."""

    cell: str
    values: Mapping[str, str]
    filesystem: str
    ratio: float | None
    hosts: int | None
    breaks_at: float | None
    what: str

    @property
    def between(self) -> tuple[float, float | None] | None:
        """It holds up to the one, and breaks at the other or at none; None if nothing is known."""
        return None if self.ratio is None else (self.ratio, self.breaks_at)


@dataclass(frozen=True)
class Effect:
    """What a value of a key does: the geometric mean of the ratios up to which the cells with it hold, and how many
    these are, of how many."""

    key: str
    value: str
    ratio: float | None
    cells: int
    of: int


@dataclass(frozen=True)
class Matrix:
    """All cells of a study, file system by file system."""

    study: str
    keys: tuple[str, ...]
    cells: tuple[Judged, ...]

    @property
    def filesystems(self) -> tuple[str, ...]:
        """Those that are compared; mostly one."""
        return tuple(dict.fromkeys(cell.filesystem for cell in self.cells))

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Of each value of each key that has several."""
        found = []
        for key in self.keys:
            values = list(dict.fromkeys(cell.values[key] for cell in self.cells))
            for value in values if len(values) > 1 else []:
                mine = [cell for cell in self.cells if cell.values[key] == value]
                known = [math.log(cell.ratio) for cell in mine if cell.ratio is not None]
                found.append(Effect(key, value, math.exp(fmean(known)) if known else None, len(known), len(mine)))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "study": self.study,
            "cells": [
                {
                    "cell": cell.cell,
                    "values": dict(cell.values),
                    "filesystem": cell.filesystem,
                    "holds_up_to": cell.ratio,
                    "hosts": cell.hosts,
                    "breaks_at": cell.breaks_at,
                    "breaks_first": cell.what,
                }
                for cell in self.cells
            ],
            "effects": [
                {"key": e.key, "value": e.value, "holds_up_to": e.ratio, "cells": e.cells, "of": e.of}
                for e in self.effects
            ],
        }


def judged(cell: str, values: Mapping[str, Any], analysis: Analysis) -> Judged:
    """A file system of a cell, from its run."""
    broken = [(v.breaks_at, v) for v in analysis.plain if v.breaks_at is not None]
    at, first = min(broken, key=lambda each: each[0], default=(None, None))
    return Judged(
        cell,
        {key: _text(value) for key, value in values.items()},
        analysis.filesystem,
        analysis.recommended,
        None if analysis.recommended is None else analysis.info.hosts[analysis.recommended],
        at,
        "" if first is None else f"{first.workload} {metric_title(first.metric)}",
    )


def matrix(study: str, cells: Sequence[Judged]) -> Matrix:
    """All of them."""
    return Matrix(study, tuple(cells[0].values) if cells else (), tuple(cells))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
