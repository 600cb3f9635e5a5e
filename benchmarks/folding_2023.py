"""The founding experiment of 2023, read anew: what rates fitted on its 8 clients say of its 16.

    python -m benchmarks.folding_2023 [--figure FILE.svg]

Its points are studies/folding-2023/points.csv, read off public slides (see the README there).
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

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


def draw(known: Sequence[Measured], file: Path) -> None:
    """The curves of 1 GiB a client: points, the model from 8 clients, and where the rule of thumb says it breaks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for number, operation in enumerate(("read", "write"), 1):
        model = calibrate([each.point for each in of(known, operation, 8)])
        axes = figure.add_subplot(1, 2, number)
        for servers, colour in ((1, "#1b6ca8"), (2, "#c7681f"), (4, "#3a7d44")):
            ratios, seconds = curve(of(known, operation, 16), servers, "1G")
            axes.plot(
                ratios, seconds, "o", color=colour, markersize=4, label=f"{servers} I/O node{'s' * (servers > 1)}"
            )
            told = [model.seconds(Shape(16, servers, hosts, float(1 << 30))) for hosts in range(16, 0, -1)]
            axes.plot([16 / hosts for hosts in range(16, 0, -1)], told, "-", color=colour, linewidth=1.2)
            axes.axvline(rule_of_thumb(16, servers), color=colour, linestyle=":", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel="folding ratio (clients to a host)", ylabel="seconds")
        axes.set_xticks([1, 2, 4, 8, 16], labels=["1", "2", "4", "8", "16"])
        axes.set_yticks([2, 3, 4, 6, 8], labels=["2", "3", "4", "6", "8"])
        axes.minorticks_off()
        axes.set_title(f"{operation}: 16 clients of 1 GiB", fontsize=10)
        axes.legend(fontsize=8)
    figure.savefig(file)


@click.command(help=__doc__)
@click.option("--figure", type=click.Path(path_type=Path), help="Draw the curves into this file, SVG or PNG.")
def main(figure: Path | None) -> None:
    """See the top of this file."""
    known = points()
    print("\n".join(tell(known)))
    if figure is not None:
        draw(known, figure)


if __name__ == "__main__":
    main()
