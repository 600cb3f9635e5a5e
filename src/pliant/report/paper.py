"""Figures as files for papers: SVG, PDF and PNG, as wide as a column or a page, drawn by matplotlib (imported then).

Widths are those of most journals' and proceedings' columns: 88 mm (IEEE, ACM: 3.5 in or a little less) and 180 mm.
Letters are of 6 to 8 points at that width, so figures are included without scaling. The ground is white; looks differ
by marker and dashes too, so that print in black and white tells them apart. The same input gives the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pliant.report.chart import COLOURS, Chart, Figure, Look, Mark, within

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

WIDTHS_MM = (88, 180)
FORMATS = ("svg", "pdf", "png")
_PANEL_MM = 58.0
"""The least width of a panel, if there is another beside it."""
_LEFT_IN, _RIGHT_IN, _TOP_IN, _BOTTOM_IN, _PLOT_IN = 0.55, 0.08, 0.24, 0.45, 1.25
_LEGEND_IN = 0.19
_DPI = 300
_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.axisbelow": True,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.labelsize": 7,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlecolor": COLOURS["ink"],
    "axes.titlelocation": "left",
    "axes.titlesize": 7.5,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "pliant",
    "text.color": COLOURS["ink"],
    "text.parse_math": False,
    "xtick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "xtick.labelsize": 6.5,
    "xtick.major.size": 2,
    "xtick.major.width": 0.5,
    "ytick.color": COLOURS["muted"],
    "ytick.labelcolor": COLOURS["ink"],
    "ytick.labelsize": 6.5,
    "ytick.major.size": 2,
    "ytick.major.width": 0.5,
}
_PLAIN: dict[str, dict[str, Any]] = {
    "svg": {"metadata": {"Date": None, "Creator": None}},
    "pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
    "png": {"metadata": {"Software": None}, "dpi": _DPI, "pil_kwargs": {"compress_level": 3}},
}
"""What keeps the time and the program's version out of a file."""


def as_svg(figure: Figure, width_mm: int) -> str:
    """One figure as SVG, so many millimetres wide."""
    import matplotlib

    with matplotlib.rc_context(_STYLE):
        return _saved(draw(figure, width_mm), "svg").decode()


def single(figure: Figure, kind: str) -> bytes:
    """One figure in one of FORMATS, as wide as a page."""
    import matplotlib

    matplotlib.use("Agg")
    with matplotlib.rc_context(_STYLE):
        return _saved(draw(figure, WIDTHS_MM[-1]), kind)


def files(figures: Iterable[Figure]) -> Iterator[tuple[str, bytes]]:
    """File name and content: each figure in each width and format, "88mm/ior-loss.pdf"."""
    import matplotlib

    matplotlib.use("Agg")
    for figure in figures:
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", figure.stem)
        for width_mm in WIDTHS_MM:
            with matplotlib.rc_context(_STYLE):
                drawing = draw(figure, width_mm)
                saved = {kind: _saved(drawing, kind) for kind in FORMATS}
            yield from ((f"{width_mm}mm/{stem}.{kind}", content) for kind, content in saved.items())


def _saved(drawing: Drawing, kind: str) -> bytes:
    out = io.BytesIO()
    drawing.savefig(out, format=kind, **_PLAIN[kind])
    return out.getvalue()


def draw(figure: Figure, width_mm: float) -> Drawing:
    """Its panels in rows as wide as they have to be, and its legend below."""
    from matplotlib.figure import Figure as Drawing

    columns = min(len(figure.charts), max(1, int(width_mm // _PANEL_MM)))
    rows = math.ceil(len(figure.charts) / columns)
    width = width_mm / 25.4
    legend_in = _LEGEND_IN * math.ceil(_legend_width(figure) / width)
    panel_in = _TOP_IN + _PLOT_IN + _BOTTOM_IN
    height = rows * panel_in + legend_in
    drawing = Drawing((width, height))
    for number, chart in enumerate(figure.charts):
        row, column = divmod(number, columns)
        left = column * width / columns + _LEFT_IN
        bottom = height - row * panel_in - _TOP_IN - _PLOT_IN
        size = (width / columns - _LEFT_IN - _RIGHT_IN, _PLOT_IN)
        axes = drawing.add_axes((left / width, bottom / height, size[0] / width, size[1] / height))
        _paint(axes, chart)
    _legend(drawing, figure, max(1, math.ceil(len(figure.key) * _LEGEND_IN / max(legend_in, _LEGEND_IN))))
    return drawing


def _paint(axes: Axes, chart: Chart) -> None:
    axes.set_title(chart.title, pad=4)
    for axis, name in ((chart.x, "x"), (chart.y, "y")):
        getattr(axes, f"set_{name}lim")(axis.low, axis.high)
        getattr(axes, f"set_{name}ticks")([at for at, _ in axis.ticks], [label for _, label in axis.ticks])
        getattr(axes, f"set_{name}label")(axis.label, labelpad=2)
        if axis.grid:
            axes.grid(axis="x" if name == "x" else "y", zorder=0)
    if chart.tolerated:
        along, low, high = chart.tolerated
        (axes.axvspan if along == "x" else axes.axhspan)(low, high, color=COLOURS["tolerated"], lw=0, zorder=0)
    if chart.limit is not None:
        rule = axes.axvline if chart.tolerated and chart.tolerated[0] == "x" else axes.axhline
        rule(chart.limit, color=COLOURS["holds"], lw=0.8, ls=(0, (4, 2)), zorder=1)
    if chart.zero == "y":
        axes.axhline(0, color=COLOURS["muted"], lw=0.6, zorder=1)
    for line in chart.lines:
        style = (0, line.look.dashes) if line.look.dashes else "-"
        xs, ys = [x for x, _ in line.points], [y for _, y in line.points]
        axes.plot(xs, ys, color=COLOURS[line.look.colour], lw=0.9, ls=style, zorder=2)
    looks = dict.fromkeys(mark.look for mark in chart.marks)
    for look in looks:
        marks = [mark for mark in chart.marks if mark.look == look]
        _intervals(axes, chart, look, marks)
        axes.plot([mark.x for mark in marks], [mark.y for mark in marks], zorder=4, clip_on=False, **_marker(look))
    for mark in chart.marks:
        if mark.name:
            axes.annotate(mark.name, (mark.x, mark.y), (3, 3), textcoords="offset points", fontsize=6.5)


def _intervals(axes: Axes, chart: Chart, look: Look, marks: Sequence[Mark]) -> None:
    """The intervals of marks of one look, in one piece; cut with an arrow where they go beyond an axis."""
    colour = COLOURS[look.colour]
    xs, ys = list[float](), list[float]()
    ends: dict[str, list[tuple[float, float]]] = {}
    for mark in marks:
        if mark.y_ends is not None:
            low, high, below, above = within(chart.y, mark.y_ends)
            xs, ys = [*xs, mark.x, mark.x, math.nan], [*ys, low, high, math.nan]
            ends.setdefault("v" if below else "_", []).append((mark.x, low))
            ends.setdefault("^" if above else "_", []).append((mark.x, high))
        if mark.x_ends is not None:
            low, high, below, above = within(chart.x, mark.x_ends)
            xs, ys = [*xs, low, high, math.nan], [*ys, mark.y, mark.y, math.nan]
            ends.setdefault("<" if below else "|", []).append((low, mark.y))
            ends.setdefault(">" if above else "|", []).append((high, mark.y))
    if xs:
        axes.plot(xs, ys, color=colour, lw=1.2, zorder=3, solid_capstyle="butt")
    for shape, many in ends.items():
        places = [x for x, _ in many], [y for _, y in many]
        axes.plot(*places, shape, ms=3.2, color=colour, mew=0.9, zorder=3, clip_on=False)


def _marker(look: Look) -> dict[str, Any]:
    colour = COLOURS[look.colour]
    face = (
        {"mfc": "none" if look.size > 1 else COLOURS["ground"], "mec": colour, "mew": 0.6}
        if look.hollow
        else {"mew": 0}
    )
    return {"ls": "", "marker": look.shape, "ms": 4.2 * look.size, "color": colour, **face}


def _legend_width(figure: Figure) -> float:
    """Inches that the legend would take in one line: letters of 7 points are about 0.058 in wide."""
    return sum(0.3 + 0.058 * len(text) for _, text in figure.key)


def _legend(drawing: Drawing, figure: Figure, columns: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = []
    for look, text in figure.key:
        if look is None:
            handles.append(Patch(color=COLOURS["tolerated"], label=text))
        else:
            style = {"ls": (0, look.dashes) if look.dashes else "-", "lw": 0.9} if look.colour[:6] == "series" else {}
            handles.append(Line2D([], [], label=text, **_marker(look) | style))
    drawing.legend(
        handles=handles,
        loc="lower center",
        ncols=columns,
        frameon=False,
        fontsize=6.5,
        handlelength=1.8,
        handletextpad=0.4,
        columnspacing=1.0,
        borderaxespad=0.1,
        borderpad=0.1,
        labelspacing=0.25,
    )
