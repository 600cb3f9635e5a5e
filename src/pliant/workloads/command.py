"""command: any program, by MPI or on each client, and metrics that are picked from what it prints.

The phases and the metrics are the user's own, in the study: see docs/workloads.md for a worked example.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from pliant.templates import render
from pliant.workloads._parsing import positive
from pliant.workloads.jsonpath import pick, steps
from pliant.workloads.model import Metric, Phase, Toolbox, of_clients

Combine = Literal["sum", "mean", "max", "min"]

_COMBINE: Mapping[Combine, Callable[[Sequence[float]], float]] = {"sum": sum, "mean": mean, "max": max, "min": min}
_NUMBER = re.compile(r"[+-]?(?:(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
"""A comma is a separator of thousands or nothing: whether "12,5" is twelve and a half depends on who printed it."""
_CUT_BEFORE = re.compile(r"\d(?:[.,]|[eE][+-]?)?$", re.ASCII)
_CUT_AFTER = re.compile(r"(?:[.,]|[eE][+-]?)?\d", re.ASCII)

_PhaseName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")]
_MetricName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,47}$")]
_Unit = Annotated[str, StringConstraints(pattern=r"^[^\s\x00](?:[^\n\r\t\x00]{0,22}[^\s\x00])?$")]
_Word = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=65536)]


def _compiled(text: str) -> str:
    """A regular expression that picks one thing; ValueError if it does not."""
    try:
        expression = re.compile(text, re.MULTILINE)
    except re.error as error:
        raise ValueError(f'"{text}" is not a regular expression: {error}') from None
    if "value" not in expression.groupindex and expression.groups != 1:
        raise ValueError(f'"{text}" has {expression.groups} groups; put the number in one, e.g. "rate: ([0-9.]+)"')
    return text


def _walkable(text: str) -> str:
    steps(text)
    return text


class CommandPhase(BaseModel):
    """`[[workload.phase]]`: one program, and where it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _PhaseName = Field(description="what it does", examples=["measure"])
    argv: tuple[_Word, ...] | None = Field(
        None, min_length=1, description="the program and its arguments", examples=[["dd", "if=/dev/zero"]]
    )
    shell: _Word | None = Field(None, min_length=1, description="in its place, text for sh -c", examples=["ls -l"])
    on: Literal["each", "first", "mpi"] = Field(
        "each", description="each: on every client at the same moment; first: on the first client; mpi: an MPI job"
    )
    ranks_per_client: int = Field(1, ge=1, description="MPI ranks in each client")
    drop_caches: bool = Field(False, description="empty the page cache before")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.argv is None) == (self.shell is None):
            raise ValueError('wants either argv, e.g. argv = ["ls", "-l"], or shell, e.g. shell = "ls -l | wc"')
        if "ranks_per_client" in self.model_fields_set and self.on != "mpi":
            raise ValueError('ranks_per_client is for MPI jobs; add on = "mpi", or remove it')
        self.words(Toolbox("python3", clients=("client1",)), "/mnt/dfs/work", "client1")  # raises for a wrong template
        return self

    def words(self, tools: Toolbox, directory: str, client: str) -> tuple[str, ...]:
        """The program and its arguments, filled in for a client; an MPI job knows no single one."""
        names: dict[str, Any] = {"directory": directory, "clients": len(tools.clients), "python": tools.python}
        if self.on != "mpi":
            names |= {"client": client, "index": tools.clients.index(client) + 1}
        words = ("sh", "-c", self.shell) if self.shell is not None else self.argv or ()
        return tuple(render(word, **names) for word in words)


class CommandMetric(BaseModel):
    """`[[workload.metric]]`: a number, and where it is in what a phase printed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _MetricName = Field(description="what it is called in results", examples=["throughput"])
    unit: _Unit = Field(description="its unit", examples=["MiB/s"])
    better: Literal["higher", "lower"] = Field(description="which is better", examples=["higher"])
    regex: Annotated[str, AfterValidator(_compiled)] | None = Field(
        None, description="regular expression; its group is the number", examples=["rate: ([0-9.]+)"]
    )
    json_path: Annotated[str, AfterValidator(_walkable)] | None = Field(
        None, alias="json", description="where it is in JSON", examples=["jobs[0].read.iops"]
    )
    phase: _PhaseName | None = Field(None, description="the phase that prints it; the last one if left out")
    combine: Combine = Field("sum", description="what the values of several clients make: sum, mean, max or min")
    factor: float = Field(1.0, gt=0, allow_inf_nan=False, description="what each is multiplied by, e.g. to change unit")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.regex is None) == (self.json_path is None):
            raise ValueError('wants either regex, e.g. regex = "rate: ([0-9.]+)", or json, e.g. json = "result.rate"')
        return self


class CommandOptions(BaseModel):
    """The keys of a `[[workload]]` table with `kind = "command"`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: tuple[CommandPhase, ...] = Field(min_length=1, description="[[workload.phase]] tables, in order")
    metric: tuple[CommandMetric, ...] = Field(min_length=1, description="[[workload.metric]] tables")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        phases = [phase.name for phase in self.phase]
        for what, names in (("phases", phases), ("metrics", [metric.name for metric in self.metric])):
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f'two {what} are called "{twice}"; give each a name of its own')
        for metric in self.metric:
            if metric.phase is not None and metric.phase not in phases:
                raise ValueError(
                    f'the metric {metric.name} is of phase "{metric.phase}", which is not there; '
                    f"write one of {', '.join(phases)}"
                )
        return self

    def phase_of(self, metric: CommandMetric) -> CommandPhase:
        """The phase that prints a metric."""
        return next((phase for phase in self.phase if phase.name == metric.phase), self.phase[-1])


class _Printed(NamedTuple):
    """What one program printed, and on which client; "" of an MPI job."""

    client: str
    text: str


class CommandWorkload:
    """The workload `command`."""

    name: ClassVar[str] = "command"
    Options: ClassVar[type[BaseModel]] = CommandOptions
    program: ClassVar[str] = ""

    @staticmethod
    def programs(options: CommandOptions) -> tuple[str, ...]:
        """The programs that phases begin with, as far as they do not depend on names filled in."""
        words = ["sh" if phase.argv is None else phase.argv[0] for phase in options.phase]
        return tuple(dict.fromkeys(word for word in words if "{{" not in word and "{%" not in word))

    @staticmethod
    def metrics(options: CommandOptions) -> tuple[Metric, ...]:
        """The study's own."""
        return tuple(Metric(m.name, m.unit, m.better, options.phase_of(m).name) for m in options.metric)

    @staticmethod
    def phases(options: CommandOptions, directory: str, tools: Toolbox) -> tuple[Phase, ...]:
        """The study's own, filled in for every client."""
        found = []
        for phase in options.phase:
            if phase.on == "mpi":
                argv = phase.words(tools, directory, "")
                found.append(Phase(phase.name, argv, phase.ranks_per_client, phase.drop_caches))
            else:
                clients = tools.clients if phase.on == "each" else tools.clients[:1]
                each = {client: phase.words(tools, directory, client) for client in clients}
                found.append(Phase(phase.name, each=each, drop_caches=phase.drop_caches))
        return tuple(found)

    @staticmethod
    def parse(options: CommandOptions, outputs: Mapping[str, str]) -> dict[str, float]:
        """Each metric, combined over the programs that print it; ValueError if one of them does not."""
        found = {}
        for metric in options.metric:
            phase = options.phase_of(metric)
            many = {"": outputs[phase.name]} if phase.on == "mpi" else of_clients(outputs, phase.name)
            values = [_value(metric, _Printed(client, text)) * metric.factor for client, text in many.items()]
            found[metric.name] = float(_COMBINE[metric.combine](values))
        return found


def _value(metric: CommandMetric, printed: _Printed) -> float:
    """The number in what one program printed: the last one that the metric finds. ValueError if that is none."""
    who = f"the program on {printed.client}" if printed.client else "the program"
    if metric.regex is not None:
        text = _matched(metric.regex, printed.text, f"{who} gave for {metric.name}")
    else:
        text = _picked(metric.json_path or "", printed.text)
    number = None if text is None else _NUMBER.fullmatch(text.strip())
    return positive(who, metric.name, number[0].replace(",", "") if number else text, printed.text)


def _matched(expression: str, printed: str, who: str) -> str | None:
    """What the last match of an expression picks; ValueError if that is a piece of a longer number."""
    matches = list(re.finditer(expression, printed, re.MULTILINE))
    if not matches:
        return None
    last = matches[-1]
    group: str | int = "value" if "value" in last.re.groupindex else 1
    begin, end = last.span(group)
    # What the expression goes on with is its own business: the next field of a line, say.
    before = begin == last.start() and begin >= 0 and _CUT_BEFORE.search(printed[max(0, begin - 3) : begin])
    after = end == last.end() and end >= 0 and _CUT_AFTER.match(printed[end : end + 3])
    if (before or after) and last[group]:
        around = printed[max(0, begin - 12) : end + 12].split("\n")
        shown = next((line for line in around if last[group] in line), last[group]).strip()
        raise ValueError(
            f'{who} a piece of a number, "{last[group]}" of "{shown}"; let the expression go on beyond it, with the '
            "unit or a space, and write numbers with a decimal point"
        )
    return last[group]


def _picked(path: str, printed: str) -> str | None:
    """What is at a path of the last JSON document in a text that has something there: all of the text may be one, or
    what begins at a line's first brace."""
    found: str | None = None
    at = 0
    for begin in re.finditer(r"^[ \t]*(?=[\[{])", printed, re.MULTILINE):
        if begin.end() < at:
            continue  # within a document that was read
        try:
            document, at = json.JSONDecoder().raw_decode(printed, begin.end())
        except ValueError:
            continue
        value = pick(document, path)
        if value is not None:
            found = json.dumps(value) if not isinstance(value, str) else value
    return found
