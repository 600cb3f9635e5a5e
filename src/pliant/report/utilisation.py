"""Figures of what hosts used of their CPU, NIC and disk at each ratio, and of what was saturated."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pliant.report.analysis import Analysis
from pliant.report.drawing import COLOURS, GROUND, INK, LIMITS, Painter, files, grid, inline
from pliant.report.limits import PhaseLimits, PhaseUse
from pliant.report.words import place
from pliant.telemetry import NAMES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_USED, _SATURATED = COLOURS["baseline"], COLOURS["breaks"]
_LEFT_IN = 0.95
_USED_HIGH, _SATURATED_HIGH, _GAP = 0.34, 0.2, 0.04
_FULL = 1.04
"""What the axis reaches to, unless a host got more than it was promised."""


def figure_files(analysis: Analysis, whose: str = "") -> dict[str, bytes]:
    """File name, beginning with `whose` -> content: a panel for each ratio, for each phase, as SVG and PNG."""
    found: dict[str, bytes] = {}
    for limits in analysis.limits:
        alone = sum(other.workload == limits.workload for other in analysis.limits) == 1
        stem = f"{whose}{limits.workload}-utilisation" + ("" if alone else f"-{limits.phase}")
        titles = [_title(ratio, analysis.info.hosts[ratio], use) for ratio, use in limits.ratios.items()]
        found |= files(stem, grid(list(_painters(limits).values()), titles, _legend(), _LEFT_IN))
    return found


def inline_panels(analysis: Analysis, whose: str = "") -> dict[tuple[str, str, float], str]:
    """(workload, phase, ratio) -> an SVG element for HTML, without a size; ids begin with `whose`."""
    panels: dict[tuple[str, str, float], str] = {}
    for limits in analysis.limits:
        for ratio, paint in _painters(limits).items():
            panels[limits.workload, limits.phase, ratio] = inline(paint, f"{whose}utilisation{len(panels)}-", _LEFT_IN)
    return panels


def _title(ratio: float, hosts: int, use: PhaseUse) -> str:
    return place(ratio, hosts) + (": none limits" if use.limit.resource == "none" else "")


def _painters(limits: PhaseLimits) -> dict[float, Painter]:
    """A panel for each ratio: all with the same rows and the same scale, so that they compare."""
    used = [h.used for use in limits.ratios.values() for hosts in use.hosts.values() for h in hosts.values()]
    top = max(_FULL, 1.02 * max(used))
    return {
        ratio: partial(_paint, use=use, resources=limits.resources, top=top) for ratio, use in limits.ratios.items()
    }


def _paint(axes: Axes, use: PhaseUse, resources: tuple[str, ...], top: float) -> None:
    """For each resource a bar of what was used, a dot for each host, and a thin bar of how long it was saturated."""
    for row, resource in enumerate(resources):
        hosts = use.hosts.get(resource, {})
        if resource == use.limit.resource:
            axes.axhspan(row - 0.46, row + 0.46, color=LIMITS, lw=0, zorder=0)
        if not hosts:
            continue
        used = [host.used for host in hosts.values()]
        middle, below = row - (_SATURATED_HIGH + _GAP) / 2, row + (_USED_HIGH + _GAP) / 2
        axes.barh(middle, sum(used) / len(used), _USED_HIGH, color=_USED, lw=0, zorder=2)
        axes.barh(below, max(host.saturated for host in hosts.values()), _SATURATED_HIGH, color=_SATURATED, zorder=2)
        # Hosts that are less than the width of a dot apart are one dot: there may be hundreds of them.
        places = sorted({round(part, 2) for part in used})
        axes.plot(places, [middle] * len(places), "o", ms=3.2, mfc=GROUND, mec=INK, mew=0.7, zorder=3, clip_on=False)
    marks = ["▶ " if resource == use.limit.resource else "" for resource in resources]
    axes.set_yticks(range(len(resources)), [mark + NAMES[r] for mark, r in zip(marks, resources, strict=True)])
    for mark, label in zip(marks, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if mark else "normal")
    axes.set_ylim(len(resources) - 0.5, -0.5)
    axes.set_xlim(0, top)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("part of what was promised, or of the time")
    axes.grid(axis="x", zorder=0)
    axes.tick_params(length=2.5)
    axes.tick_params(axis="y", length=0)


def _legend() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Patch(color=_USED, label="used, mean of the hosts"),
        Line2D([], [], ls="", marker="o", mfc=GROUND, mec=INK, mew=0.7, ms=3.2, label="each host"),
        Patch(color=_SATURATED, label="time saturated, longest host"),
        Patch(color=LIMITS, label="▶ limits"),
    ]
