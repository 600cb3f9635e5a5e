"""Panels as SVG elements for the page: coloured by its style sheet, so that they follow light and dark.

Each mark says in its `title` what it stands for: a browser shows that without any script, a reader of the source finds
every value. With the page's script it is shown at once, by mouse, finger or arrow keys.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from html import escape

from pliant.report.chart import Axis, Chart, Look, Mark, within

WIDTH, HEIGHT = 340.0, 232.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, 12.0, 12.0, 48.0
_SIZE, _LINE = 4.3, 12.5

_SHAPES = {
    "o": "M-1 0a1 1 0 1 0 2 0a1 1 0 1 0-2 0Z",
    "s": "M-.9-.9H.9V.9H-.9Z",
    "D": "M0-1.25 1.1 0 0 1.25-1.1 0Z",
    "X": "M-1-.55-.55-1 0-.45.55-1 1-.55.45 0 1 .55.55 1 0 .45-.55 1-1 .55-.45 0Z",
    "^": "M0-1.2 1.15.9H-1.15Z",
    "v": "M0 1.2 1.15-.9H-1.15Z",
    "P": "M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z",
    "h": "M0-1.15 1 -.58V.58L0 1.15-1 .58V-.58Z",
    "*": "".join(
        f"{'M' if n == 0 else 'L'}{(1.35 if n % 2 == 0 else 0.6) * math.sin(n * math.pi / 5):.2f} "
        f"{-(1.35 if n % 2 == 0 else 0.6) * math.cos(n * math.pi / 5):.2f}"
        for n in range(10)
    )
    + "Z",
}


def draw(chart: Chart, name: str) -> str:
    """One panel, without a size; its ids begin with `name`, which must be one of its own on the page."""
    return "".join(
        [
            f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-labelledby="{name}-t {name}-d">',
            f'<title id="{name}-t">{escape(chart.title)}</title><desc id="{name}-d">{escape(chart.about)}</desc>',
            *_Panel(chart).parts(),
            "</svg>",
        ]
    )


def glyph(look: Look | None) -> str:
    """The marker of a look for a legend; of None, the tint of what is tolerated."""
    head = '<svg class="glyph" viewBox="-14 -7 28 14" aria-hidden="true">'
    if look is None:
        return f"{head}{_path('tolerated', 'M-12-6H12V6H-12Z')}</svg>"
    line = _path(f"join c-{look.colour}", "M-14 0H14", _dashes(look)) if look.colour.startswith("series") else ""
    shape = _shape(replace(look, size=min(look.size, 1.3)), 0, 0)
    return f'{head}{line}<g class="c-{look.colour}">{shape}</g></svg>'


class _Panel:
    """A chart with its scales: where a value is on the drawing."""

    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.right, self.bottom = WIDTH - _RIGHT, HEIGHT - _BOTTOM
        self.lines = max((label.count("\n") + 1 for _, label in chart.x.ticks), default=1)

    def x(self, value: float) -> float:
        return _LEFT + (self.right - _LEFT) * _part(self.chart.x, value)

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - _TOP) * _part(self.chart.y, value)

    def parts(self) -> Iterator[str]:
        """From the ground up."""
        yield from self._ground()
        yield from self._axes()
        for line in self.chart.lines:
            points = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in line.points)
            if line.points:
                yield _path(f"join c-{line.look.colour}", f"M{points}", _dashes(line.look))
        for mark in self.chart.marks:
            drawn = "".join(self._mark(mark))
            yield f'<g class="mark c-{mark.look.colour}"><title>{escape(mark.says)}</title>{drawn}</g>'

    def _ground(self) -> Iterator[str]:
        """The tint of what is tolerated."""
        if self.chart.tolerated:
            axis, low, high = self.chart.tolerated
            left, right, top, below = _LEFT, self.right, _TOP, self.bottom
            if axis == "y":
                top, below = self.y(high), self.y(low)
            else:
                left, right = self.x(low), self.x(high)
            yield _path("tolerated", f"M{left:.1f} {top:.1f}H{right:.1f}V{below:.1f}H{left:.1f}Z")

    def _axes(self) -> Iterator[str]:
        """Ticks with their labels, the axes and their names, and what is a limit."""
        chart = self.chart
        for value, label in chart.y.ticks:
            if chart.y.grid:
                yield self._across("grid", self.y(value))
            yield _text("tick", _LEFT - 6, self.y(value) + 3.6, label, "end")
        for value, label in chart.x.ticks:
            if chart.x.grid:
                yield self._along("grid", self.x(value))
            for row, text in enumerate(label.split("\n")):
                yield _text("tick", self.x(value), self.bottom + 13 + _LINE * row, text)
        yield _path("axis", f"M{_LEFT:g} {_TOP:g}V{self.bottom:g}H{self.right:g}")
        if chart.zero == "y":
            yield self._across("axis", self.y(0))
        if chart.limit is not None:
            upright = chart.tolerated is not None and chart.tolerated[0] == "x"
            yield self._along("limit", self.x(chart.limit)) if upright else self._across("limit", self.y(chart.limit))
        yield _text("name", (_LEFT + self.right) / 2, self.bottom + 17 + _LINE * self.lines, chart.x.label)
        turned = f' transform="rotate(-90 11 {(_TOP + self.bottom) / 2:g})"'
        yield _text("name", 11, (_TOP + self.bottom) / 2, chart.y.label, more=turned)

    def _across(self, kind: str, y: float) -> str:
        return _path(kind, f"M{_LEFT:g} {y:.1f}H{self.right:g}")

    def _along(self, kind: str, x: float) -> str:
        return _path(kind, f"M{x:.1f} {_TOP:g}V{self.bottom:g}")

    def _mark(self, mark: Mark) -> Iterator[str]:
        x, y = self.x(mark.x), self.y(mark.y)
        if mark.y_ends is not None:
            low, high, *cut = within(self.chart.y, mark.y_ends)
            yield _path("interval", f"M{x:.1f} {self.y(low):.1f}V{self.y(high):.1f}")
            yield _end(x, self.y(low), "v" if cut[0] else "-")
            yield _end(x, self.y(high), "^" if cut[1] else "-")
        if mark.x_ends is not None:
            low, high, *cut = within(self.chart.x, mark.x_ends)
            yield _path("interval", f"M{self.x(low):.1f} {y:.1f}H{self.x(high):.1f}")
            yield _end(self.x(low), y, "<" if cut[0] else "|")
            yield _end(self.x(high), y, ">" if cut[1] else "|")
        yield _shape(mark.look, x, y)
        if mark.name:
            yield _text("beside", x + 7, y - 6, mark.name, "start")


def _path(kind: str, d: str, more: str = "") -> str:
    return f'<path class="{kind}"{more} d="{d}"/>'


def _text(kind: str, x: float, y: float, text: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(text)}</text>'


def _part(axis: Axis, value: float) -> float:
    """Where on an axis a value is, from 0 to 1."""
    return (value - axis.low) / (axis.high - axis.low)


def _shape(look: Look, x: float, y: float) -> str:
    hollow = " hollow" if look.hollow else ""
    at = f' transform="translate({x:.1f} {y:.1f})scale({_SIZE * look.size:.3g})"'
    return _path(f"shape{hollow}", _SHAPES[look.shape], at)


_ENDS = {
    "-": "M-2.6 0H2.6",
    "|": "M0-2.6V2.6",
    "^": "M-3 3 0-1 3 3",
    "v": "M-3-3 0 1 3-3",
    "<": "M3-3-1 0 3 3",
    ">": "M-3-3 1 0-3 3",
}


def _end(x: float, y: float, kind: str) -> str:
    """The end of an interval: a short bar, or an arrow where it goes on beyond the axis."""
    return _path("end", _ENDS[kind], f' transform="translate({x:.1f} {y:.1f})"')


def _dashes(look: Look) -> str:
    return f' stroke-dasharray="{" ".join(f"{part:g}" for part in look.dashes)}"' if look.dashes else ""
