"""The founding experiment of 2023, read anew: what rates fitted on its 8 clients say of its 16.

    python -m benchmarks.folding_2023 [--run DIR] [--figure FILE.svg]

Its points are studies/folding-2023/points.csv, read off public slides (see the README there). DIR is a run of a study
that is there, which is held against them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import click
import numpy as np

from pliant.model.transfer import Point, Shape, Transfer, calibrate
from pliant.statistics.segmented import Segmented, read

POINTS = Path(__file__).parents[1] / "studies/folding-2023/points.csv"
SIZES = {"10M": 10 << 20, "100M": 100 << 20, "500M": 500 << 20, "1G": 1 << 30}
"""Those of 1M are below what can be read off a figure."""
SHOWN = ("100M", "500M", "1G")


@dataclass(frozen=True)
class Measured:
    """A point of the experiment: of a read or a write, and of a size by its name."""

    operation: str
    size: str
    point: Point


def points(file: Path = POINTS) -> list[Measured]:
    """Those of OrangeFS, whose I/O nodes kept a machine each."""
    with file.open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["fs"] == "orangefs" and row["size"] in SIZES]
    return [
        Measured(
            row["operation"],
            row["size"],
            Point(
                Shape(int(row["cpu_nodes"]), int(row["io_nodes"]), int(row["hosts"]), float(SIZES[row["size"]])),
                float(row["time_s"]),
            ),
        )
        for row in rows
    ]


def of(known: Iterable[Measured], operation: str, clients: int) -> list[Measured]:
    """The points of an operation with so many clients."""
    return [each for each in known if each.operation == operation and each.point.shape.clients == clients]


def rule_of_thumb(clients: int, servers: int) -> float:
    """The experiment's own, of the ratio at which it breaks."""
    return 1 + 0.3 * clients - 0.5 * servers


def errors(model: Transfer, known: Sequence[Measured]) -> list[float]:
    """By which part of what was measured the model is off, for each point."""
    return [abs(model.seconds(each.point.shape) / each.point.seconds - 1) for each in known]


def curve(known: Iterable[Measured], servers: int, size: str) -> tuple[list[float], list[float]]:
    """Ratios and times of one curve, by ascending ratio."""
    mine = [each.point for each in known if each.point.shape.servers == servers and each.size == size]
    pairs = sorted((each.shape.ratio, each.seconds) for each in mine)
    return [ratio for ratio, _ in pairs], [seconds for _, seconds in pairs]


def knees(model: Transfer, known: Sequence[Measured], clients: int) -> list[tuple[int, str, Segmented, float]]:
    """Each curve read as flat and then linear, and the model's knee: (servers, size, reading, knee)."""
    return [
        (servers, size, read(*curve(known, servers, size)), model.knee(clients, servers))
        for servers in (1, 2, 4)
        for size in SHOWN
    ]


def tell(known: Sequence[Measured]) -> list[str]:
    """The validation, line by line."""
    lines = []
    for operation in ("read", "write"):
        model = calibrate([each.point for each in of(known, operation, 8)])
        rates = f"{model.server_byte_s / 2**30:.2f} GiB/s a server, {model.host_byte_s / 2**30:.2f} a client host"
        lines.append(f"{operation}: fitted on 8 clients: {rates}, {model.fixed_s * 1000:.0f} ms")
        other = of(known, operation, 16)
        off = errors(model, other)
        inside = mean(low <= e.point.seconds <= high for e in other for low, high in [model.within(e.point.shape)])
        lines.append(
            f"  16 clients, {len(off)} points: off by {mean(off):.1%} on average, {float(np.quantile(off, 0.95)):.1%} "
            f"at the 95th percentile; {inside:.0%} within the interval of 95 %"
        )
        for servers, size, reading, knee in knees(model, other, 16):
            seen = (
                "none" if reading.knee is None else f"{reading.knee:.1f} ({_end(reading.low)} to {_end(reading.high)})"
            )
            lines.append(
                f"  16 clients, {servers} I/O nodes, {size:>4}: knee at {seen} as read, {knee:.1f} as predicted, "
                f"{rule_of_thumb(16, servers):.1f} by the rule of thumb"
            )
    return lines


def _end(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f}"


@dataclass(frozen=True)
class Run:
    """What a run of the experiment came to: (workload, operation) -> its rows by ratio, as verdict.json has them."""

    name: str
    max_loss: float
    rows: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]

    @staticmethod
    def at(directory: Path) -> Run:
        """The run in a directory, whose report has been written."""
        verdict = json.loads((directory / "verdict.json").read_text())
        rows = {
            (each["workload"], each["metric"].removesuffix("_bandwidth")): [
                row for row in each["ratios"] if row["loss"] is not None
            ]
            for each in verdict["verdicts"]
        }
        return Run(verdict["study"], verdict["verdicts"][0]["max_loss"], rows)

    def of(self, operation: str) -> Mapping[str, Sequence[Mapping[str, Any]]]:
        """The rows of an operation, by workload."""
        return {workload: rows for (workload, each), rows in self.rows.items() if each == operation}

    def tell(self) -> list[str]:
        """Line by line, what holds and what breaks."""
        return [
            f"{self.name}, {workload}, {operation}, {row['ratio']:.3g} clients a host: {_times(row['loss']):.2f} times "
            f"as long as unfolded ({_spread(row)}), {row['state']}"
            for (workload, operation), rows in self.rows.items()
            for row in rows
        ]


def _times(loss: float) -> float:
    """How many times as long something takes whose rate is less by a part."""
    return 1 / (1 - loss)


def _spread(row: Mapping[str, Any]) -> str:
    if row["loss_low"] is None:
        return "no interval"
    return f"{_times(row['loss_low']):.2f} to {_times(row['loss_high']):.2f}"


COLOURS = {1: "#1b6ca8", 2: "#c7681f", 4: "#3a7d44"}
_CACHED = 0.5
"""What takes less than this of the time that it takes unfolded did not come over the network."""
STATES = {"holds": "#3a7d44", "breaks": "#b3261e", "undecided": "#777777"}
OPERATIONS = ("read", "write")


def draw(known: Sequence[Measured], file: Path, run: Run | None = None) -> None:
    """The curves of 16 clients of 1 GiB each: points, the model from 8 clients, and where the rule of thumb says it
    breaks; below them a run beside the experiment's 8 clients, if there is one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.2 if run is None else 8.4), layout="constrained")
    for number, operation in enumerate(OPERATIONS, 1):
        _draw_experiment(figure.add_subplot(1 if run is None else 2, 2, number), known, operation)
        if run is not None:
            _draw_run(figure.add_subplot(2, 2, 2 + number), known, operation, run)
    figure.savefig(file)


def _draw_experiment(axes: Any, known: Sequence[Measured], operation: str) -> None:
    model = calibrate([each.point for each in of(known, operation, 8)])
    for servers, colour in COLOURS.items():
        ratios, seconds = curve(of(known, operation, 16), servers, "1G")
        axes.plot(ratios, seconds, "o", color=colour, markersize=4, label=f"{servers} I/O node{'s' * (servers > 1)}")
        told = [model.seconds(Shape(16, servers, hosts, float(1 << 30))) for hosts in range(16, 0, -1)]
        axes.plot([16 / hosts for hosts in range(16, 0, -1)], told, "-", color=colour, linewidth=1.2)
        axes.axvline(rule_of_thumb(16, servers), color=colour, linestyle=":", linewidth=1)
    axes.plot([], [], "-", color="black", linewidth=1.2, label="model, from 8 clients")
    axes.plot([], [], ":", color="black", linewidth=1, label="rule of thumb: breaks here")
    axes.set(xlabel="clients a host", ylabel="seconds")
    _finish(axes, f"2023, OrangeFS on gros: {operation} of 16 clients, 1 GiB each", (1, 2, 4, 8, 16), (2, 3, 4, 6, 8))


def _draw_run(axes: Any, known: Sequence[Measured], operation: str, run: Run) -> None:
    """Times against those of the unfolded cluster, of hosts and file systems that are not the same."""
    ratios, seconds = curve(of(known, operation, 8), 4, "1G")
    relative = [each / seconds[0] for each in seconds]
    known_as = "2023: OrangeFS, 4 I/O nodes"
    axes.plot(ratios, relative, "o-", color="#999999", markersize=4, linewidth=0.8, label=known_as)
    workloads = run.of(operation)
    for (workload, rows), (line, filled) in zip(workloads.items(), (("-", "full"), ("--", "none")), strict=False):
        axes.plot([r["ratio"] for r in rows], [_times(r["loss"]) for r in rows], line, color="black", linewidth=0.6)
        for row in rows:
            _draw_row(axes, row, filled, f"pliant, {workload}: {row['state']}")
    axes.axhline(_times(run.max_loss), color="black", linestyle=":", linewidth=0.8, label="what is tolerated")
    axes.axvline(rule_of_thumb(8, 4), color="black", linestyle=":", linewidth=1, label="rule of thumb: breaks here")
    axes.set(xlabel="clients a host", ylabel="times as long as unfolded")
    lowest = min((_times(row["loss"]) for rows in workloads.values() for row in rows), default=1.0)
    up = [each for each in (0.05, 0.1, 0.2, 0.5, 1, 2, 4) if each >= min(0.5, lowest) / 2]
    _finish(axes, f"{operation} of 8 clients, 4 servers, against unfolded", (1, 2, 4, 8), up)


def _draw_row(axes: Any, row: Mapping[str, Any], filled: str, label: str) -> None:
    """What a run came to at a ratio; what was passed over has an interval of one trial, which says nothing."""
    middle, state = _times(row["loss"]), row["state"]
    decided = state != "undecided" and row["loss_low"] is not None
    low, high = (_times(row[end]) if decided else middle for end in ("loss_low", "loss_high"))
    axes.errorbar(
        [row["ratio"]],
        [middle],
        yerr=[[max(0.0, middle - low)], [max(0.0, high - middle)]],
        fmt={"holds": "o", "breaks": "X", "undecided": "D"}[state],
        fillstyle=filled,
        markersize=6 if decided else 4,
        color=STATES[state],
        capsize=3,
        label=None if label in axes.get_legend_handles_labels()[1] else label,
    )
    if middle < _CACHED:
        where = {"xytext": (-6, 0), "textcoords": "offset points", "ha": "right", "va": "center", "fontsize": 7}
        axes.annotate("from the mount's page cache", (row["ratio"], middle), **where)


def _finish(axes: Any, title: str, across: Sequence[float], up: Sequence[float]) -> None:
    """Logarithmic axes with these ticks, a title and a legend."""
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(across, labels=[f"{each:g}" for each in across])
    axes.set_yticks(up, labels=[f"{each:g}" for each in up])
    axes.minorticks_off()
    axes.set_title(title, fontsize=9)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "frameon": False}
    axes.legend(fontsize=7, ncols=2, handlelength=1.5, columnspacing=1.2, **below)


@click.command(help=__doc__)
@click.option("--figure", type=click.Path(path_type=Path), help="Draw the curves into this file, SVG or PNG.")
@click.option("--run", "directory", type=click.Path(exists=True, path_type=Path), help="A run to hold against them.")
def main(figure: Path | None, directory: Path | None) -> None:
    """See the top of this file."""
    known, run = points(), Run.at(directory) if directory is not None else None
    print("\n".join([*tell(known), *(run.tell() if run else [])]))
    if figure is not None:
        draw(known, figure, run)


if __name__ == "__main__":
    main()
