"""Figures of folding curves, by matplotlib (imported only when one is drawn).

Colours are Okabe & Ito's ("Color Universal Design", 2008), told apart with any colour vision; each state also has its
own marker. Files have a white ground, for papers; panels inside the HTML take their colours from its style sheet, so
that they follow light and dark. The same analysis gives the same bytes.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pliant.report.analysis import Analysis, Values
from pliant.report.words import metric_title, plural
from pliant.verdict import BASELINE, RatioVerdict, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, TOLERATED = "#1b1f25", "#5c6672", "#dfe3e8", "#e4f2ed"
COLOURS = {"baseline": "#0072b2", "holds": "#009e73", "undecided": "#cc8a00", "breaks": "#d55e00"}
MARKERS = {"baseline": "s", "holds": "o", "undecided": "D", "breaks": "X"}
CSS_NAMES = {INK: "ink", MUTED: "muted", GRID: "line", TOLERATED: "tolerated"} | {c: n for n, c in COLOURS.items()}
"""The style sheet's variable for each colour."""
PANEL_IN = (3.5, 2.55)
_COLUMNS = 3
_MOST_GAIN, _MOST_LOSS = -1.0, 1.5
_ROOMY = 5

_STYLE: Any = {
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


def figure_files(analysis: Analysis) -> dict[str, bytes]:
    """File name -> content: metric and loss against ratio for each workload, as SVG and PNG."""
    files: dict[str, bytes] = {}
    for workload, verdicts in _by_workload(analysis).items():
        stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", workload)
        for kind, painters in (("metrics", _metric_painters), ("loss", _loss_painters)):
            figure = _grid(painters(analysis, verdicts), [metric_title(v.metric) for v in verdicts])
            files[f"{stem}-{kind}.svg"] = _svg(figure)
            files[f"{stem}-{kind}.png"] = _png(figure)
    return files


def inline_panels(analysis: Analysis, kind: str) -> dict[tuple[str, str], str]:
    """(workload, metric) -> an SVG element for HTML, without a size; `kind` is "metrics" or "loss"."""
    painters = {"metrics": _metric_painters, "loss": _loss_painters}[kind]
    panels: dict[tuple[str, str], str] = {}
    for workload, verdicts in _by_workload(analysis).items():
        for verdict, paint in zip(verdicts, painters(analysis, verdicts), strict=True):
            svg = _svg(_grid([paint], [""])).decode()
            panels[workload, verdict.metric.name] = _inlined(svg, f"{kind}{len(panels)}-")
    return panels


def _by_workload(analysis: Analysis) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in analysis.verdicts:
        found.setdefault(verdict.workload, []).append(verdict)
    return found


_Painter = Callable[["Axes"], None]


def _metric_painters(analysis: Analysis, verdicts: Sequence[Verdict]) -> list[_Painter]:
    return [partial(_paint_metric, verdict=v, values=analysis.of(v)) for v in verdicts]


def _loss_painters(analysis: Analysis, verdicts: Sequence[Verdict]) -> list[_Painter]:
    """One scale for the metrics of a workload that have the same direction, so that their panels compare."""
    limits = {d: _loss_limits(analysis, [v for v in verdicts if v.metric.better == d]) for d in ("higher", "lower")}
    return [partial(_paint_loss, verdict=v, values=analysis.of(v), limits=limits[v.metric.better]) for v in verdicts]


def _grid(painters: Sequence[_Painter], titles: Sequence[str]) -> Figure:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    title_in, legend_in = (0.22, 0.3) if any(titles) else (0.0, 0.0)
    columns = min(_COLUMNS, len(painters))
    rows = math.ceil(len(painters) / columns)
    with matplotlib.rc_context(_STYLE):
        width, height = PANEL_IN[0] * columns, (PANEL_IN[1] + title_in) * rows + legend_in
        figure = Figure((width, height))
        # Fixed margins in inches: to let matplotlib find them takes as long as all the rest.
        figure.subplots_adjust(
            left=0.65 / width,
            right=1 - 0.1 / width,
            bottom=(0.6 + legend_in) / height,
            top=1 - (0.08 + title_in) / height,
            wspace=0.75 / (PANEL_IN[0] - 0.75),
            hspace=(0.68 + title_in) / (PANEL_IN[1] - 0.68),
        )
        for place, (paint, title) in enumerate(zip(painters, titles, strict=True), start=1):
            axes = figure.add_subplot(rows, columns, place)
            paint(axes)
            if title:
                axes.set_title(title, fontweight="bold")
        if legend_in:
            _legend(figure)
    return figure


def _legend(figure: Figure) -> None:
    """What the markers mean, in one row below the panels: a figure travels without its page."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], ls="", marker=MARKERS[state], color=colour, mew=0, ms=5.5, label=state)
        for state, colour in COLOURS.items()
    ]
    handles.append(Line2D([], [], ls="", marker="o", mfc="none", mec=MUTED, mew=0.7, ms=3, label="single trial"))
    handles.append(Patch(color=TOLERATED, label="tolerated"))
    small = figure.get_figwidth() < 2 * PANEL_IN[0]
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=3 if small else len(handles),
        frameon=False,
        fontsize=6.5 if small else 8,
        handletextpad=0.3,
        columnspacing=1.2,
        borderaxespad=0.1,
    )


def _paint_metric(axes: Axes, verdict: Verdict, values: Values) -> None:
    _prepare(axes, verdict)
    rows = [r for r in verdict.ratios if r.median is not None]
    baseline = next((r.median for r in rows if r.ratio == BASELINE), None)
    seen = [v for many in values.values() for v in many]
    tops = [r.high for r in rows if r.high is not None]
    top = 1.08 * max([*seen, *(min(t, 1.5 * max(seen)) for t in tops)], default=1.0)
    if baseline is not None:
        higher = verdict.metric.better == "higher"
        limit = baseline * (1 - verdict.max_loss if higher else 1 + verdict.max_loss)
        top = max(top, 1.08 * limit)
        axes.axhspan(*((limit, top) if higher else (0, limit)), color=TOLERATED, lw=0, zorder=0)
        axes.axhline(limit, color=COLOURS["holds"], lw=1, ls=(0, (4, 2)), zorder=1)
    _paint_curve(axes, [(r, r.median, r.low, r.high) for r in rows if r.median is not None], values, (0, top))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.set_ylabel(verdict.metric.unit + ("" if verdict.metric.better == "higher" else " (lower is better)"))


def _paint_loss(axes: Axes, verdict: Verdict, values: Values, limits: tuple[float, float]) -> None:
    _prepare(axes, verdict)
    axes.axhspan(limits[0], verdict.max_loss, color=TOLERATED, lw=0, zorder=0)
    axes.axhline(verdict.max_loss, color=COLOURS["holds"], lw=1, ls=(0, (4, 2)), zorder=1)
    axes.axhline(0, color=MUTED, lw=0.7, zorder=1)
    rows = [(r, r.loss, r.loss_low, r.loss_high) for r in verdict.ratios if r.loss is not None]
    _paint_curve(axes, rows, _losses(verdict, values), limits)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %".replace("-", "−"))
    axes.set_ylabel("loss")


def _prepare(axes: Axes, verdict: Verdict) -> None:
    """The axis of ratios: a place for each, evenly spaced, because 1, 1.14 and 1.33 must be told apart beside 8."""
    roomy = len(verdict.ratios) <= _ROOMY
    labels = [f"{r.ratio:.3g}\n{plural(r.hosts, 'host') if roomy else r.hosts}" for r in verdict.ratios]
    axes.set_xticks(range(len(labels)), labels, fontsize=7.5)
    axes.set_xlim(-0.35, len(labels) - 0.5)
    axes.set_xlabel("folding ratio" if roomy else "folding ratio; hosts below")
    axes.grid(axis="y", zorder=0)
    axes.tick_params(length=2.5)


_Point = tuple[RatioVerdict, float, float | None, float | None]


def _paint_curve(axes: Axes, points: Sequence[_Point], values: Values, limits: tuple[float, float]) -> None:
    """Every value as a dot, medians with their intervals above; what is off the scale is cut with an arrow."""
    low, high = limits
    at = {ratio: place for place, ratio in enumerate(sorted(values))}
    for ratio, many in values.items():
        # Beside the median, not under it, and fanned out in time order: three equal values are still three dots.
        places = [at[ratio] + 0.17 + 0.13 * i / max(len(many) - 1, 1) for i in range(len(many))]
        axes.plot(places, many, "o", ms=2.6, mfc="none", mec=MUTED, mew=0.7, zorder=3)
    axes.plot([at[p[0].ratio] for p in points], [p[1] for p in points], color=MUTED, lw=0.9, zorder=2)
    for row, value, below, above in points:
        state = "baseline" if row.ratio == BASELINE else row.state
        colour, x = COLOURS[state], at[row.ratio]
        if below is not None and above is not None:
            ends = (max(below, low), min(above, high))
            axes.plot([x, x], ends, color=colour, lw=1.8, zorder=4, solid_capstyle="butt")
            for end, cut, arrow in ((ends[0], below < low, "v"), (ends[1], above > high, "^")):
                axes.plot(x, end, arrow if cut else "_", ms=5, color=colour, zorder=4, clip_on=False)
        axes.plot(x, value, MARKERS[state], ms=5.5, color=colour, mew=0, zorder=5)
    axes.set_ylim(low, high)


def _losses(verdict: Verdict, values: Values) -> Mapping[float, list[float]]:
    """Each trial's own loss against the baseline's median."""
    baseline = verdict.at(BASELINE).median if any(r.ratio == BASELINE for r in verdict.ratios) else None
    if baseline is None:
        return {}
    sign = 1.0 if verdict.metric.better == "higher" else -1.0
    return {ratio: [sign * (1 - value / baseline) for value in many] for ratio, many in values.items()}


def _loss_limits(analysis: Analysis, verdicts: Sequence[Verdict]) -> tuple[float, float]:
    bounds = [x for v in verdicts for r in v.ratios for x in (r.loss_low, r.loss_high) if x is not None]
    shown = [r.loss for v in verdicts for r in v.ratios if r.loss is not None]
    shown += [x for v in verdicts for many in _losses(v, analysis.of(v)).values() for x in many]
    tolerated = analysis.info.max_loss
    # Medians and single trials are always on the scale; only the ends of wide intervals may leave it.
    low = min([max(min(bounds, default=0.0), _MOST_GAIN), *shown, -tolerated])
    high = max([min(max(bounds, default=0.0), _MOST_LOSS), *shown, 2 * tolerated])
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def _svg(figure: Figure) -> bytes:
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _png(figure: Figure) -> bytes:
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
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
    svg = re.sub(r"font: ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font: \1var(--sans)", svg)
    for colour, name in CSS_NAMES.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg
