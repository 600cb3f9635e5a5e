"""How numbers and names are written in reports, in HTML, figures and the terminal alike."""

from __future__ import annotations

from collections.abc import Sequence

from pliant.statistics.censoring import MedianIs
from pliant.statistics.verdict import RatioVerdict, State
from pliant.workloads.model import Metric

PASSED_OVER = "·"
CEILING = "⊤"
"""Of a metric that is the emulation's."""
MARKS: dict[State, str] = {"holds": "✓", "breaks": "✗", "undecided": "?"}
NOT_KNOWN = "–"
OPEN = "…"
"""The end of an interval that is open on that side."""
MINUS = "−"


def mark(row: RatioVerdict) -> str:
    """The sign of a ratio's state."""
    return CEILING if row.ceiling else PASSED_OVER if row.passed_over else MARKS[row.state]


def state(row: RatioVerdict) -> str:
    """A ratio's state in a word or two."""
    return "ceiling" if row.ceiling else "not needed" if row.passed_over else row.state


def claimed(row: RatioVerdict) -> bool:
    """Whether a ratio has a state that is to be noticed."""
    return not (row.ceiling or row.passed_over)


def number(value: float | None, digits: int = 3) -> str:
    """A value at `digits` significant digits: 0.0123, 4.56, 45.6, 1,230."""
    if value is None:
        return NOT_KNOWN
    if isinstance(value, int) or value == 0:
        return f"{value:,.0f}"
    rounded = float(f"{value:.{digits}g}")
    if rounded and not 1e-3 <= abs(rounded) < 1e7:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    size = len(str(int(abs(rounded)))) if abs(rounded) >= 1 else 1 - _leading_zeros(abs(rounded))
    return f"{rounded:,.{max(digits - size, 0)}f}".replace("-", MINUS)


def _leading_zeros(value: float) -> int:
    zeros = 0
    while value and value < 0.1:
        value, zeros = value * 10, zeros + 1
    return zeros + 1


def percent(fraction: float | None, unit: str = " %") -> str:
    """A fraction in percent: "23 %", "2.5 %", "−4 %"."""
    if fraction is None:
        return NOT_KNOWN
    value = 100 * fraction
    if value < -999:
        return f"<{MINUS}999{unit}"
    if value > 999:
        return f">999{unit}"
    text = f"{value:.0f}" if abs(value) >= 9.95 or abs(value - round(value)) < 0.05 else f"{value:.1f}"
    return ("0" if float(text) == 0 else text.replace("-", MINUS)) + unit


def bounds(low: float | None, high: float | None) -> str:
    """An interval of fractions in percent: "[15, 31]", "[78, …]" where one end is open; empty if it is not known."""
    if low is None and high is None:
        return ""
    ends = (OPEN if end is None else percent(end, "") for end in (low, high))
    return f"[{', '.join(ends)}]"


def interval(low: float | None, high: float | None) -> str:
    """An interval of values with a space before it: " [4.56, 45.6]", " […, 45.6]"; empty if it is not known."""
    if low is None and high is None:
        return ""
    ends = (OPEN if end is None else number(end) for end in (low, high))
    return f" [{', '.join(ends)}]"


def median(row: RatioVerdict) -> str:
    """The median of a ratio: "24.1", or "< 24.1" where it is a bound."""
    return bound(row.median, row.median_is)


def bound(value: float | None, median_is: MedianIs, digits: int = 3) -> str:
    """A value with a sign before it, if it is a bound."""
    return {"exact": "", "at most": "< ", "at least": "> "}[median_is] + number(value, digits)


def at_best(value: float, metric: Metric, digits: int = 3) -> str:
    """How good a metric was at best in a trial that was stopped: "< 24.1" where higher is better."""
    return bound(value, "at most" if metric.better == "higher" else "at least", digits)


def loss(row: RatioVerdict) -> str:
    """The loss at a ratio, with a sign before it where it is at least so much: "23 %", "> 80 %"."""
    return bounded(percent(row.loss), row.at_least)


def bounded(loss: str, at_least: bool) -> str:
    """A loss in words, with a sign before it if it is at least so much."""
    return f"> {loss.removeprefix('>')}" if at_least and loss != NOT_KNOWN else loss


def energy(kwh: float) -> str:
    """Kilowatt-hours, as watt-hours where there are few."""
    return f"{number(1000 * kwh)} Wh" if kwh < 0.1 else f"{number(kwh)} kWh"


def mass(kg: float) -> str:
    """Kilograms, as grams where there are few."""
    return f"{number(1000 * kg)} g" if kg < 1 else f"{number(kg)} kg"


def ratio(value: float | None) -> str:
    """A folding ratio as short as it can be told apart: 2, 1.14."""
    return NOT_KNOWN if value is None else f"{value:.3g}"


def metric_title(metric: Metric) -> str:
    """A metric's name in words."""
    return metric.name.replace("_", " ").replace("iops", "IOPS")


def plural(count: int, noun: str) -> str:
    """ "1 host", "4 hosts"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def place(ratio: float, hosts: int) -> str:
    """ "ratio 4 (2 hosts)"."""
    return f"ratio {ratio:.3g} ({plural(hosts, 'host')})"


def join(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else list(items))
