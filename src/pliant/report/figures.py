"""Figures of folding curves: each metric and its loss against the ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pliant.report.analysis import Analysis, Values
from pliant.report.drawing import COLOURS, MARKERS, MUTED, TOLERATED, Painter, files, grid, inline
from pliant.report.words import metric_title, plural
from pliant.verdict import BASELINE, RatioVerdict, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_GAIN, _MOST_LOSS = -1.0, 1.5
_ROOMY = 5


def figure_files(analysis: Analysis, whose: str = "") -> dict[str, bytes]:
    """File name, beginning with `whose` -> content: metric and loss against ratio for each workload, as SVG and PNG."""
    found: dict[str, bytes] = {}
    for workload, verdicts in _by_workload(analysis).items():
        titles = [metric_title(v.metric) for v in verdicts]
        for kind, painters in (("metrics", _metric_painters), ("loss", _loss_painters)):
            found |= files(f"{whose}{workload}-{kind}", grid(painters(analysis, verdicts), titles, _legend()))
    return found


def inline_panels(analysis: Analysis, kind: str, whose: str = "") -> dict[tuple[str, str], str]:
    """(workload, metric) -> an SVG element for HTML, without a size; `kind` is "metrics" or "loss".

    Ids begin with `whose`.
    """
    painters = {"metrics": _metric_painters, "loss": _loss_painters}[kind]
    panels: dict[tuple[str, str], str] = {}
    for workload, verdicts in _by_workload(analysis).items():
        for verdict, paint in zip(verdicts, painters(analysis, verdicts), strict=True):
            panels[workload, verdict.metric.name] = inline(paint, f"{whose}{kind}{len(panels)}-")
    return panels


def _by_workload(analysis: Analysis) -> dict[str, list[Verdict]]:
    found: dict[str, list[Verdict]] = {}
    for verdict in analysis.verdicts:
        found.setdefault(verdict.workload, []).append(verdict)
    return found


def _metric_painters(analysis: Analysis, verdicts: Sequence[Verdict]) -> list[Painter]:
    return [partial(_paint_metric, verdict=v, values=analysis.of(v)) for v in verdicts]


def _loss_painters(analysis: Analysis, verdicts: Sequence[Verdict]) -> list[Painter]:
    """One scale for the metrics of a workload that have the same direction, so that their panels compare."""
    limits = {d: _loss_limits(analysis, [v for v in verdicts if v.metric.better == d]) for d in ("higher", "lower")}
    return [partial(_paint_loss, verdict=v, values=analysis.of(v), limits=limits[v.metric.better]) for v in verdicts]


def _legend() -> list[Any]:
    """What the markers mean, for below the panels: a figure travels without its page."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], ls="", marker=MARKERS[state], color=colour, mew=0, ms=5.5, label=state)
        for state, colour in COLOURS.items()
    ]
    handles.append(Line2D([], [], ls="", marker="o", mfc="none", mec=MUTED, mew=0.7, ms=3, label="single trial"))
    return [*handles, Patch(color=TOLERATED, label="tolerated")]


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
