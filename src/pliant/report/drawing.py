"""What all figures have in common: colours, panels in a grid, SVG and PNG, by matplotlib (imported when one is drawn).

Colours are Okabe & Ito's ("Color Universal Design", 2008), told apart with any colour vision, and never the only thing
that tells. Files have a white ground, for papers; panels inside the HTML take their colours from its style sheet, so
that they follow light and dark. The same input gives the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, GROUND = "#1b1f25", "#5c6672", "#dfe3e8", "#ffffff"
TOLERATED, LIMITS = "#e4f2ed", "#fbe5da"
COLOURS = {"baseline": "#0072b2", "holds": "#009e73", "undecided": "#cc8a00", "breaks": "#d55e00"}
MARKERS = {"baseline": "s", "holds": "o", "undecided": "D", "breaks": "X"}
SERIES = ("#0072b1", "#d55e01", "#009e72", "#cc79a7", "#56b4e9", "#e69f00", "#4d4d4d")
"""Colours of several file systems: not of states, so that a style sheet can tell the two apart."""
SERIES_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "h")
CSS_NAMES = {INK: "ink", MUTED: "muted", GRID: "line", GROUND: "ground", TOLERATED: "tolerated", LIMITS: "breaks-tint"}
CSS_NAMES |= {colour: name for name, colour in COLOURS.items()}
CSS_NAMES |= {colour: f"series-{number}" for number, colour in enumerate(SERIES, 1)}
"""The style sheet's variable for each colour."""
PANEL_IN = (3.5, 2.55)
_COLUMNS = 3

Painter = Callable[["Axes"], None]
"""Draws one panel."""

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "svg.fonttype": "none",
    "svg.hashsalt": "pliant",
    "figure.dpi": 100,
}


def grid(
    painters: Sequence[Painter], titles: Sequence[str], legend: Sequence[Any] = (), left_in: float = 0.65
) -> Figure:
    """A figure of panels of equal size, with `legend` (matplotlib's handles) in a row or two below.

    `left_in` is the room for a panel's vertical axis. Without any title and legend there is no room for them.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    title_in, legend_in = 0.22 if any(titles) else 0.0, 0.3 if legend else 0.0
    columns = min(_COLUMNS, len(painters))
    rows = math.ceil(len(painters) / columns)
    with matplotlib.rc_context(STYLE):
        width, height = PANEL_IN[0] * columns, (PANEL_IN[1] + title_in) * rows + legend_in
        figure = Figure((width, height))
        # Fixed margins in inches: to let matplotlib find them takes as long as all the rest.
        figure.subplots_adjust(
            left=left_in / width,
            right=1 - 0.1 / width,
            bottom=(0.6 + legend_in) / height,
            top=1 - (0.08 + title_in) / height,
            wspace=(left_in + 0.1) / (PANEL_IN[0] - left_in - 0.1),
            hspace=(0.68 + title_in) / (PANEL_IN[1] - 0.68),
        )
        for place, (paint, title) in enumerate(zip(painters, titles, strict=True), start=1):
            axes = figure.add_subplot(rows, columns, place)
            paint(axes)
            if title:
                axes.set_title(title, fontweight="bold")
        if legend:
            _legend(figure, legend)
    return figure


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    small = figure.get_figwidth() < 2 * PANEL_IN[0]
    figure.legend(
        handles=list(handles),
        loc="lower center",
        ncols=3 if small else len(handles),
        frameon=False,
        fontsize=6.5 if small else 8,
        handletextpad=0.3,
        columnspacing=1.2,
        borderaxespad=0.1,
    )


def files(stem: str, figure: Figure) -> dict[str, bytes]:
    """File name -> content, as SVG and PNG; what a file's name should not have in it is left out of `stem`."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", stem)
    return {f"{stem}.svg": _svg(figure), f"{stem}.png": _png(figure)}


def inline(paint: Painter, prefix: str, left_in: float = 0.65) -> str:
    """One panel as an SVG element for HTML, without a size; its ids begin with `prefix`."""
    return _inlined(_svg(grid([paint], [""], left_in=left_in)).decode(), prefix)


def _svg(figure: Figure) -> bytes:
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _png(figure: Figure) -> bytes:
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(out, format="png", dpi=160, metadata={"Software": None})
    return out.getvalue()


def _inlined(svg: str, prefix: str) -> str:
    """An SVG document as an element of an HTML page: sized and coloured by the page, ids of its own."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="patch_1">.*?</g>', "", svg, count=1, flags=re.DOTALL)  # the figure's white ground
    svg = re.sub(r'<g id="patch_2">.*?</g>', "", svg, count=1, flags=re.DOTALL)  # and that of the axes
    box = re.search(r'viewBox="[^"]*"', svg)
    svg = re.sub(r"<svg[^>]*>", f'<svg aria-hidden="true" {box.group() if box else ""}>', svg, count=1)
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}", svg)
    svg = re.sub(r'href="#', f'href="#{prefix}', svg)
    # matplotlib writes font-family, or one `font` for all, by version.
    svg = re.sub(r"(font(?:-family)?: [^;\"]*?)'DejaVu Sans'[^;\"]*", r"\1var(--sans)", svg)
    for colour, name in CSS_NAMES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg
