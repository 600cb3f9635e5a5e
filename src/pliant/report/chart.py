"""Figures as data: what is drawn where, how it looks, and what each mark says. `svg` draws it for the page, `paper` for
papers.

Colours are Okabe & Ito's ("Color Universal Design", 2008), told apart with any colour vision, and never the only thing
that tells: each look has a marker of its own, and each curve its dashes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pliant.analysis.words import number

COLOURS = {
    "ink": "#1b1f25",
    "muted": "#5c6672",
    "line": "#dfe3e8",
    "ground": "#ffffff",
    "tolerated": "#e4f2ed",
    "baseline": "#0072b2",
    "holds": "#009e73",
    "undecided": "#cc8a00",
    "breaks": "#d55e00",
    "series-1": "#0072b2",
    "series-2": "#d55e00",
    "series-3": "#009e73",
    "series-4": "#cc79a7",
    "series-5": "#56b4e9",
    "series-6": "#e69f00",
    "series-7": "#4d4d4d",
}
"""Name -> colour on white ground; the page's style sheet has variables of these names, for light and dark."""
_SERIES = 7
_SHAPES = ("o", "s", "^", "D", "v", "P", "X", "*", "h")
_DASHES: tuple[tuple[float, ...], ...] = ((), (5, 2), (2, 1.5), (7, 2, 1.5, 2))


@dataclass(frozen=True)
class Look:
    """How a mark or a line looks: its colour's name, a marker as matplotlib names them, dashes; `size` is relative."""

    colour: str
    shape: str = "o"
    dashes: tuple[float, ...] = ()
    hollow: bool = False
    size: float = 1.0


BASELINE = Look("baseline", "s")
STATES = {"holds": Look("holds", "o"), "undecided": Look("undecided", "D"), "breaks": Look("breaks", "X")}
PASSED_OVER = Look("muted", "D", hollow=True, size=0.8)
"""Of a ratio that a search had no need of."""
CEILING = Look("muted", "s", hollow=True, size=0.8)
"""Of a metric that is the emulation's, of which nothing is claimed."""
TRIAL = Look("muted", "o", hollow=True, size=0.55)
STOPPED = {"below": Look("muted", "v", hollow=True, size=0.7), "above": Look("muted", "^", hollow=True, size=0.7)}
"""Of a single trial that was stopped: where it is at best; its true value is below, or above."""
RING = Look("breaks", "o", hollow=True, size=1.9)
"""Around a mark that is to be noticed."""
JOIN = Look("muted")
LIMIT = Look("holds", dashes=(4, 2))
ZERO = Look("muted")


def series(number: int) -> Look:
    """The look of the curve of that number, from 0; with more than there are colours, other markers and dashes."""
    return Look(f"series-{number % _SERIES + 1}", _SHAPES[number % len(_SHAPES)], _DASHES[(number // 2) % len(_DASHES)])


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, with a label at each tick; a label of two lines has a line feed in it."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    grid: bool = True


@dataclass(frozen=True)
class Mark:
    """A point, with the ends of its interval along x or y where it has one. `says` is what a reader is told of it."""

    x: float
    y: float
    look: Look
    says: str
    y_ends: tuple[float, float] | None = None
    x_ends: tuple[float, float] | None = None
    name: str = ""
    """Written beside it; empty for none."""


@dataclass(frozen=True)
class Line:
    """Points that are joined."""

    look: Look
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Chart:
    """One panel. `about` says in a sentence or two what it shows, for those who do not see it.

    `tolerated` is the tinted part of an axis, ("x" or "y", from, to), of which the end that is a limit is dashed;
    `zero` is an axis on which 0 gets a line.
    """

    title: str
    about: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    lines: tuple[Line, ...] = ()
    tolerated: tuple[str, float, float] | None = None
    limit: float | None = None
    zero: str = ""
    note: str = ""
    """What else belongs into its title line: unit, direction."""


@dataclass(frozen=True)
class Figure:
    """Panels that belong together, and what their looks mean. `stem` is the name of its files."""

    stem: str
    charts: tuple[Chart, ...]
    key: tuple[tuple[Look | None, str], ...]
    """Look -> its meaning; None stands for the tinted ground of what is tolerated."""


def places(labels: Sequence[str], label: str, before: float = 0.5, after: float = 0.5) -> Axis:
    """An axis with a place for each label, evenly spaced: 1, 1.14 and 1.33 must be told apart beside 8."""
    return Axis(label, -before, len(labels) - 1 + after, tuple(enumerate(labels)), grid=False)


def scale(label: str, low: float, high: float, percent: bool = False, most: int = 7) -> Axis:
    """A linear axis with at most `most` round ticks. With `percent` fractions are written in percent."""
    step = _step((high - low) / most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple((n * step, _tick(n * step, step, percent)) for n in range(first, last + 1))
    return Axis(label, low, high, ticks)


def _step(least: float) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that is not below `least`."""
    if not (math.isfinite(least) and least > 0):
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))


def _tick(value: float, step: float, percent: bool) -> str:
    if percent:
        return f"{100 * value:.10g} %".replace("-0 ", "0 ").replace("-", "−")
    digits = max(0, -math.floor(math.log10(step) + 1e-9) + (f"{step:.0e}"[0] == "2" and f"{step:.1e}"[2] == "5"))
    if abs(value) >= 1e7 or (digits > 4 and value):
        return number(value)
    return f"{value:,.{digits}f}".replace("-", "−")


def within(axis: Axis, ends: tuple[float, float]) -> tuple[float, float, bool, bool]:
    """The ends of an interval as far as the axis reaches, and whether the lower and the upper one are cut."""
    low, high = ends
    return max(low, axis.low), min(high, axis.high), low < axis.low, high > axis.high


def fanned(place: float, many: Sequence[object]) -> list[float]:
    """Where single values stand beside their median: fanned out in time order, three equal ones are still three."""
    return [place + 0.17 + 0.15 * i / max(len(many) - 1, 1) for i in range(len(many))]
