"""What was measured: one `Figure` a line, its verdict, and the table as text, as JSON and in docs/fidelity.md. Pure."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.table import Table

FORMAT = 1
COLUMNS = ("part", "what", "promised", "measured", "ratio", "verdict")
BEGIN = "<!-- bench: begin (written by `make bench`, do not edit) -->"
END = "<!-- bench: end -->"

Rule = Literal["", "promise", "at most", "at least"]


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    `values` are all measurements in `unit`; the median counts. `rule` says how it is compared with `target`: "promise"
    means within `tolerance` of it, or of anything between `low` and it where the way of measuring adds a known loss.
    `beyond` says why this machine cannot show it, `failed` why nothing was measured.
    """

    part: str
    what: str
    unit: str
    values: tuple[float, ...] = ()
    rule: Rule = ""
    target: float | None = None
    tolerance: float = 0.0
    low: float | None = None
    beyond: str = ""
    failed: str = ""

    @property
    def median(self) -> float | None:
        """The median of the values, None without any."""
        return statistics.median(self.values) if self.values else None

    @property
    def ratio(self) -> float | None:
        """The median divided by the target."""
        return self.median / self.target if self.median is not None and self.target else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none, or where this machine cannot tell."""
        if self.failed:
            return False
        if self.median is None or self.target is None or self.beyond:
            return None
        if self.rule == "promise":
            least = self.target if self.low is None else min(self.low, self.target)
            return least * (1 - self.tolerance) <= self.median <= self.target * (1 + self.tolerance)
        return self.median <= self.target if self.rule == "at most" else self.median >= self.target

    @property
    def verdict(self) -> str:
        """The verdict in words."""
        if self.failed:
            return f"failed: {self.failed}"
        if self.beyond:
            return f"beyond: {self.beyond}"
        if self.met is None:
            return ""
        if self.rule == "promise":
            return f"{'within' if self.met else 'NOT within'} {self.tolerance:.0%}".replace("%", " %")
        return "met" if self.met else "NOT met"

    def row(self) -> tuple[str, ...]:
        """The line as text, by COLUMNS."""
        return (self.part, self.what, self._promised(), self._measured(), self._ratio(), self.verdict)

    def _promised(self) -> str:
        if self.target is None:
            return ""
        text = f"{number(self.target)} {self.unit}"
        if self.rule == "promise":
            return text if self.low is None else f"{number(self.low)} to {text}"
        return f"{'≤' if self.rule == 'at most' else '≥'} {text}"

    def _measured(self) -> str:
        if self.median is None:
            return ""
        text = f"{number(self.median)} {self.unit}"
        return text if len(self.values) < 2 else f"{text} ({number(min(self.values))} to {number(max(self.values))})"

    def _ratio(self) -> str:
        return "" if self.ratio is None else f"{self.ratio:.3f}"


@dataclass
class Results:
    """All figures of a run, the machine they are from, and how each part was measured."""

    machine: dict[str, str]
    figures: list[Figure] = field(default_factory=list)
    how: dict[str, str] = field(default_factory=dict)


def number(value: float) -> str:
    """A number with four significant digits, without an exponent.

    >>> number(0.0996), number(4781.3), number(1234567.0)
    ('0.0996', '4781', '1,234,567')
    """
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.0f}"
    return f"{float(f'{value:.4g}') + 0.0:.6g}" if abs(value) >= 0.001 else f"{value:.4f}"


def to_json(results: Results) -> str:
    """The run as JSON: every value of every figure, and what is computed from them."""
    figures = [
        {**asdict(figure), "median": figure.median, "ratio": figure.ratio, "met": figure.met, "verdict": figure.verdict}
        for figure in results.figures
    ]
    content = {"format": FORMAT, "machine": results.machine, "how": results.how, "figures": figures}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Results:
    """What `to_json` wrote; raises ValueError."""
    content = json.loads(text)
    if content.get("format") != FORMAT:
        raise ValueError(f"format {content.get('format')} of benchmark results; this reads {FORMAT}")
    return Results(content["machine"], [_figure(each) for each in content["figures"]], content["how"])


def _figure(content: Mapping[str, Any]) -> Figure:
    known = {name: content[name] for name in Figure.__dataclass_fields__}
    return Figure(**{**known, "values": tuple(known["values"])})


def merged(runs: Sequence[Results]) -> Results:
    """Several runs on one machine as one: what they say of it, where they differ, is told of each."""
    names = dict.fromkeys(name for run in runs for name in run.machine)
    machine = {name: "; ".join(dict.fromkeys(run.machine.get(name, "") for run in runs)) for name in names}
    how = {part: text for run in runs for part, text in run.how.items()}
    return Results(machine, [figure for run in runs for figure in run.figures], how)


def table(figures: Iterable[Figure]) -> Table:
    """The table for a terminal."""
    made = Table(*COLUMNS, header_style="bold", expand=False)
    last = ""
    for figure in figures:
        if last and figure.part != last:
            made.add_section()
        last = figure.part
        style = {True: "green", False: "red", None: ""}[figure.met]
        *cells, verdict = figure.row()
        made.add_row(*cells, f"[{style}]{verdict}[/]" if style else verdict)
    return made


def markdown(results: Results) -> str:
    """The generated part of docs/fidelity.md, markers included."""
    lines = [BEGIN, "", "| about this run | |", "| --- | --- |"]
    lines += [_line((name, value)) for name, value in results.machine.items()]
    lines += ["", _line(COLUMNS), _line(["---"] * len(COLUMNS))]
    lines += [_line(figure.row()) for figure in results.figures]
    lines += ["", "How each part was measured:", ""]
    lines += [f"- **{part}**: {text}" for part, text in results.how.items()]
    return "\n".join([*lines, "", END])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def rows(document: str) -> list[tuple[str, ...]]:
    """The table's lines in a document that `insert` wrote, by COLUMNS; raises ValueError if there is no such table."""
    generated = document.split(BEGIN)[1].split(END)[0] if BEGIN in document and END in document else ""
    lines = generated.splitlines()
    if _line(COLUMNS) not in lines:
        raise ValueError("no table of benchmarks between the markers")
    found = []
    for line in lines[lines.index(_line(COLUMNS)) + 2 :]:
        if not line.startswith("| "):
            break
        cells = line.replace("\\|", "\0").strip("|").split("|")
        found.append(tuple(cell.strip().replace("\0", "|") for cell in cells))
    return found


def insert(document: str, results: Results) -> str:
    """The document with its generated part replaced; raises ValueError if it has no markers for it."""
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError(f"the document needs one line {BEGIN} and one line {END}")
    before, after = document.split(BEGIN)[0], document.split(END)[1]
    return before + markdown(results) + after
