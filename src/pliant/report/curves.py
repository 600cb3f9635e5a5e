"""Figures that compare file systems: each metric against the number of hosts, its loss against the ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pliant.comparison import spelled
from pliant.report.analysis import RunAnalysis
from pliant.report.drawing import COLOURS, MUTED, SERIES, SERIES_MARKERS, TOLERATED, Painter, files, grid, inline
from pliant.report.words import metric_title
from pliant.verdict import BASELINE, RatioVerdict, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_GAIN, _MOST_LOSS = -1.0, 1.0
_APART = 0.5
"""The part of the room for one place on the axis over which curves are spread, so that intervals do not cover."""

_Curves = Mapping[str, Verdict]
"""File system -> its verdict on one metric."""


def figure_files(run: RunAnalysis) -> dict[str, bytes]:
    """File name -> content: for each workload a panel for each metric, as SVG and PNG; nothing to compare, no file."""
    found: dict[str, bytes] = {}
    for workload, metrics in _by_workload(run).items():
        titles = [metric_title(next(iter(curves.values())).metric) for curves in metrics]
        for kind, paint in _PAINTERS.items():
            painters: list[Painter] = [partial(paint, curves=curves) for curves in metrics]
            found |= files(f"comparison-{workload}-{kind}", grid(painters, titles, _legend(run, kind)))
    return found


def inline_panels(run: RunAnalysis, kind: str) -> dict[tuple[str, str], str]:
    """(workload, metric) -> an SVG element for HTML, without a size; `kind` is "hosts" or "loss"."""
    panels: dict[tuple[str, str], str] = {}
    for workload, metrics in _by_workload(run).items():
        for curves in metrics:
            metric = next(iter(curves.values())).metric
            panels[workload, metric.name] = inline(
                partial(_PAINTERS[kind], curves=curves), f"comparison{kind}{len(panels)}-"
            )
    return panels


def _by_workload(run: RunAnalysis) -> dict[str, list[_Curves]]:
    found: dict[str, list[_Curves]] = {}
    if run.comparison is not None:
        for same in zip(*(part.verdicts for part in run.parts), strict=True):
            curves = {part.info.name: verdict for part, verdict in zip(run.parts, same, strict=True)}
            found.setdefault(same[0].workload, []).append(curves)
    return found


def _legend(run: RunAnalysis, kind: str) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=colour, marker=marker, ms=5, lw=1.2, mew=0, label=spelled(part.info.name))
        for part, (colour, marker) in zip(run.parts, _styles(len(run.parts)), strict=True)
    ]
    return [*handles, Patch(color=TOLERATED, label="tolerated loss")] if kind == "loss" else handles


def _styles(count: int) -> list[tuple[str, str]]:
    """Colour and marker of so many curves; more than there are colours begin again, with other markers."""
    return [(SERIES[i % len(SERIES)], SERIES_MARKERS[i % len(SERIES_MARKERS)]) for i in range(count)]


def _paint_hosts(axes: Axes, curves: _Curves) -> None:
    """Medians with intervals against the number of hosts, most first: a place for each that any was measured on."""
    metric = next(iter(curves.values())).metric
    counts = sorted({row.hosts for verdict in curves.values() for row in verdict.ratios}, reverse=True)
    _axis(axes, [str(count) for count in counts], "hosts")
    points = {
        label: [(counts.index(row.hosts), row.median, row.low, row.high) for row in verdict.ratios]
        for label, verdict in curves.items()
    }
    shown = [value for many in points.values() for _, value, _, _ in many if value is not None]
    tops = [high for many in points.values() for _, value, _, high in many if value is not None and high is not None]
    most = max(shown, default=1.0)
    top = 1.08 * max([most, *(min(end, 1.5 * most) for end in tops)])
    _paint_curves(axes, list(points.values()), (0.0, top))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.set_ylabel(metric.unit + ("" if metric.better == "higher" else " (lower is better)"))


def _paint_loss(axes: Axes, curves: _Curves) -> None:
    """Losses with intervals against the ratio, each against its file system's own baseline."""
    ratios = sorted({row.ratio for verdict in curves.values() for row in verdict.ratios})
    tolerated = next(iter(curves.values())).max_loss
    _axis(axes, [f"{ratio:.3g}" for ratio in ratios], "folding ratio")
    points = {
        label: [(ratios.index(row.ratio), row.loss, *_bounds(row)) for row in verdict.ratios]
        for label, verdict in curves.items()
    }
    shown = [value for many in points.values() for _, value, _, _ in many if value is not None]
    ends = [end for many in points.values() for _, _, *both in many for end in both if end is not None]
    low = min([max(min(ends, default=0.0), _MOST_GAIN), *shown, -tolerated])
    high = max([min(max(ends, default=0.0), _MOST_LOSS), *shown, 2 * tolerated])
    margin = 0.06 * (high - low)
    axes.axhspan(low - margin, tolerated, color=TOLERATED, lw=0, zorder=0)
    axes.axhline(tolerated, color=COLOURS["holds"], lw=1, ls=(0, (4, 2)), zorder=1)
    axes.axhline(0, color=MUTED, lw=0.7, zorder=1)
    _paint_curves(axes, list(points.values()), (low - margin, high + margin))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %".replace("-", "−"))
    axes.set_ylabel("loss")


_PAINTERS = {"hosts": _paint_hosts, "loss": _paint_loss}


def _bounds(row: RatioVerdict) -> tuple[float | None, float | None]:
    """The interval of a loss; the baseline's own is no measurement."""
    return (None, None) if row.ratio == BASELINE else (row.loss_low, row.loss_high)


def _axis(axes: Axes, labels: Sequence[str], what: str) -> None:
    axes.set_xticks(range(len(labels)), labels, fontsize=7.5)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_xlabel(what)
    axes.grid(axis="y", zorder=0)
    axes.tick_params(length=2.5)


_Point = tuple[int, float | None, float | None, float | None]


def _paint_curves(axes: Axes, curves: Sequence[Sequence[_Point]], limits: tuple[float, float]) -> None:
    """A curve for each file system, a little beside each other; what is off the scale is cut with an arrow."""
    low, high = limits
    for number, (points, (colour, marker)) in enumerate(zip(curves, _styles(len(curves)), strict=True)):
        beside = _APART * ((number + 0.5) / len(curves) - 0.5)
        known = sorted((at + beside, value, below, above) for at, value, below, above in points if value is not None)
        axes.plot([x for x, *_ in known], [value for _, value, *_ in known], color=colour, lw=1.0, zorder=2)
        for x, value, below, above in known:
            if below is not None and above is not None:
                ends = (max(below, low), min(above, high))
                axes.plot([x, x], ends, color=colour, lw=1.6, zorder=3, solid_capstyle="butt")
                for end, cut, arrow in ((ends[0], below < low, "v"), (ends[1], above > high, "^")):
                    axes.plot(x, end, arrow if cut else "_", ms=4.5, color=colour, zorder=3, clip_on=False)
            axes.plot(x, value, marker, ms=5.2, color=colour, mew=0, zorder=4)
    axes.set_ylim(low, high)
