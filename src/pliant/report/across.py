"""Several runs compared: other file systems, platforms, or dates. What differs between them, what that allows to be
compared, and what comes of it; by the method of `pliant.statistics.comparison`.

Losses are against each run's own baseline, and so can be compared as soon as the same thing was measured: the same
metric of the same workload, with the same options and by the same program. Medians can be compared if hosts are the
same besides. Where that is not so it is said, and nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pliant.analysis.conclusions import Analysis
from pliant.analysis.words import join, metric_title, percent
from pliant.statistics.comparison import Comparison, compare
from pliant.statistics.verdict import Verdict
from pliant.workloads.model import Metric

_OF_EACH_RUN = ("started", "calibration")
"""How the names of facts begin that differ between any two runs."""


@dataclass(frozen=True)
class Judged:
    """A file system of a run, by the label it has in the comparison; `workloads` are the options of each."""

    label: str
    analysis: Analysis
    workloads: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Difference:
    """Something that is not the same in all runs: what it is, and its value in each, in their order."""

    what: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Across:
    """Runs side by side.

    `verdicts` has, by label, those on the metrics that all runs have, in the same order. `cannot` says in sentences
    what cannot be compared; `medians` are the workloads whose medians can be, `losses` those whose losses can be.
    """

    runs: tuple[Judged, ...]
    differences: tuple[Difference, ...]
    cannot: tuple[str, ...]
    verdicts: Mapping[str, tuple[Verdict, ...]]
    losses: frozenset[str]
    medians: frozenset[str]
    comparison: Comparison | None

    @property
    def labels(self) -> tuple[str, ...]:
        """What the runs are called."""
        return tuple(run.label for run in self.runs)

    @property
    def headline(self) -> str:
        """Who folds furthest, or why that cannot be said."""
        if _baselines_differ(self.runs):
            medians = "; medians can" if self.medians else ", and nor can medians"
            return f"Losses cannot be compared, as they are against different baselines{medians}."
        if self.comparison is None:
            return "Nothing can be compared: no metric was measured in the same way in all of the runs."
        return self.comparison.furthest.sentence

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "headline": self.headline,
            "runs": [
                {"label": run.label, "study": run.analysis.info.study, "filesystem": run.analysis.info.name}
                for run in self.runs
            ],
            "differences": [
                {"what": d.what, "values": dict(zip(self.labels, d.values, strict=True))} for d in self.differences
            ],
            "cannot_be_compared": list(self.cannot),
            "comparable": {"losses": sorted(self.losses), "medians": sorted(self.medians)},
            "comparison": None if self.comparison is None else self.comparison.to_json(),
            "verdicts": {label: [v.to_json() for v in many] for label, many in self.verdicts.items()},
        }


def across(runs: Sequence[Judged]) -> Across:
    """Compare two or more judged runs, each label one of its own."""
    shared = _shared(runs)
    cannot = [*_missing(runs, shared), *_workloads_differ(runs, shared)]
    same = frozenset(w for w in dict.fromkeys(w for w, _ in shared) if not _why_not(runs, w))
    baselines = _baselines_differ(runs)
    hosts = _hosts_differ(runs, losses=not baselines)
    medians = frozenset() if hosts else same
    losses = frozenset() if baselines else same
    cannot += baselines
    tolerated = {run.analysis.info.max_loss for run in runs}
    if len(tolerated) > 1 and not baselines:
        written = join([percent(loss) for loss in sorted(tolerated)])
        cannot.append(f"Verdicts are on different tolerated losses ({written}); compare the losses, not the verdicts.")
    verdicts = {run.label: tuple(_verdict(run, *each) for each in shared) for run in runs}
    judged = {label: [v for v in many if v.workload in losses] for label, many in verdicts.items()}
    comparison = None
    if losses and len(tolerated) == 1:
        comparison = compare(judged, tolerated.pop())
    return Across(tuple(runs), tuple(_differences(runs)), (*cannot, *hosts), verdicts, losses, medians, comparison)


def _shared(runs: Sequence[Judged]) -> list[tuple[str, Metric]]:
    """The workloads and metrics that all runs have, with the same unit and direction, without faults."""
    first, *rest = (_measured(run) for run in runs)
    return [each for each in first if all(each in other for other in rest)]


def _measured(run: Judged) -> list[tuple[str, Metric]]:
    return [(verdict.workload, verdict.metric) for verdict in run.analysis.plain]


def _verdict(run: Judged, workload: str, metric: Metric) -> Verdict:
    return next(v for v in run.analysis.plain if (v.workload, v.metric) == (workload, metric))


def _missing(runs: Sequence[Judged], shared: Sequence[tuple[str, Metric]]) -> Iterator[str]:
    for run in runs:
        alone = [f"{metric_title(m)} ({w})" for w, m in _measured(run) if (w, m) not in shared]
        if alone:
            verb = "is" if len(alone) == 1 else "are"
            yield f"{join(alone)} of {run.label} {verb} not in all runs."


def _workloads_differ(runs: Sequence[Judged], shared: Sequence[tuple[str, Metric]]) -> Iterator[str]:
    for workload in dict.fromkeys(workload for workload, _ in shared):
        if why := _why_not(runs, workload):
            yield (
                f"{workload} is not the same workload in all runs ({join(why)}): its numbers are side by side, "
                "and no more."
            )


def _why_not(runs: Sequence[Judged], workload: str) -> list[str]:
    """What keeps the numbers of a workload from being compared: options, programs."""
    options = [run.workloads.get(workload, {}) for run in runs]
    names = dict.fromkeys(name for each in options for name in each)
    why = [
        f"{name} {' / '.join(_written(each.get(name)) for each in options)}"
        for name in names
        if any(each.get(name) != options[0].get(name) for each in options)
    ]
    programs = [join(run.analysis.programs.get(workload, ())) or "nothing" for run in runs]
    if len(set(programs)) > 1:
        why.append(f"measured by {' / '.join(programs)}")
    return why


def _hosts_differ(runs: Sequence[Judged], losses: bool) -> list[str]:
    """Why medians cannot be compared, although `losses` may: a sentence, or none."""
    known = {
        "hosts": [_host(run) for run in runs],
        "platforms": [run.analysis.info.platform for run in runs],
        "CPUs": [run.analysis.facts.get("CPU", "") for run in runs],
        "numbers of clients": [str(run.analysis.info.roles.get("client", 0)) for run in runs],
    }
    differ = [what for what, values in known.items() if len(set(values)) > 1]
    if not differ:
        return []
    what = f"{differ[0][:1].upper()}{differ[0][1:]}"
    can = "losses can be compared, each against its own baseline, medians cannot"
    return [f"{join([what, *differ[1:]])} are not the same: {can if losses else 'medians cannot be compared'}."]


def _baselines_differ(runs: Sequence[Judged]) -> list[str]:
    """Why losses cannot be compared: a sentence, or none."""
    known = [run.analysis.info.baseline for run in runs]
    if len(set(known)) == 1:
        return []
    return [
        f"Losses are against different baselines (ratio {' / '.join(f'{ratio:.3g}' for ratio in known)}), so that "
        "neither they nor how far each folds can be compared."
    ]


def _host(run: Judged) -> str:
    info = run.analysis.info
    return info.host_figures + (f", the real one divided by {info.scale:g}" if info.scale != 1 else "")


def _differences(runs: Sequence[Judged]) -> Iterator[Difference]:
    """What was planned differently, and what the machine and its versions were."""
    planned = [dict(_planned(run)) for run in runs]
    facts = [{k: v for k, v in run.analysis.facts.items() if not k.startswith(_OF_EACH_RUN)} for run in runs]
    for many in (planned, facts):
        for name in dict.fromkeys(name for each in many for name in each):
            values = tuple(each.get(name, "–") for each in many)
            if len(set(values)) > 1:
                yield Difference(name, values)


def _planned(run: Judged) -> Iterator[tuple[str, str]]:
    info = run.analysis.info
    yield "study", info.study
    yield "date", min((trial.started_at for trial in run.analysis.trials), default="")[:10]
    yield "file system", run.analysis.filesystem
    yield from ((f"option {name}", _written(value)) for name, value in info.filesystem_options.items())
    yield "nodes", join([f"{count} {role}" for role, count in info.roles.items()])
    yield "platform", info.platform
    yield "host", _host(run)
    yield "strategy", info.placing
    yield "ratios", ", ".join(f"{ratio:.3g}" for ratio in sorted(info.hosts))
    yield "baseline", f"ratio {info.baseline:.3g}"
    yield "workflow", info.workflow
    yield "repetitions", str(info.repetitions)
    yield "seed", str(info.seed)
    yield "tolerated loss", percent(info.max_loss)
    for workload, options in run.workloads.items():
        yield from ((f"{workload}: {name}", _written(value)) for name, value in options.items())


def _written(value: object) -> str:
    """An option's value as a reader wants it."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(map(_written, value)) or "none"
        case dict():
            return ", ".join(f"{name} {_written(each)}" for name, each in value.items()) or "none"
        case _:
            return str(value)
