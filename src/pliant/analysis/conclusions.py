"""From a store to everything that a report says: verdicts, savings, headline, and what a reader must be warned of."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import median
from typing import Any

from pliant.analysis import disturbances
from pliant.analysis.faults import FaultReport, fault_reports
from pliant.analysis.limits import PhaseLimits, phase_limits, phase_of
from pliant.analysis.observed import Record, known_records
from pliant.analysis.predicting import Prediction, foretold
from pliant.analysis.provenance import provenance
from pliant.analysis.words import join, metric_title, place, plural
from pliant.errors import UserError
from pliant.proportions import rescaled
from pliant.results import conformance_table
from pliant.results.run_info import RunInfo
from pliant.results.store import Store
from pliant.statistics.comparison import Comparison, compare
from pliant.statistics.savings import Savings, Spent, savings
from pliant.statistics.search_cost import Saved, saved
from pliant.statistics.verdict import (
    SPELLING,
    Series,
    Verdict,
    bounds_by_ratio,
    by_ratio,
    emulated,
    judge,
    recommended_ratio,
    tolerance,
)
from pliant.telemetry.disturbance import covariates
from pliant.telemetry.limiting import Limit
from pliant.trial import Trial
from pliant.units import format_duration
from pliant.workloads.model import Metric, asked_for

Values = Mapping[float, Sequence[float]]
Measured = tuple[Trial, float]
"""A trial and the value of a metric that it gave."""


@dataclass(frozen=True)
class Analysis:
    """A run, judged. `values` holds the values behind each verdict, by (workload, metric), then by ratio.

    `limits` is what telemetry tells of each phase; empty where there was none.
    """

    info: RunInfo
    trials: tuple[Trial, ...]
    facts: Mapping[str, str]
    study_toml: str
    verdicts: tuple[Verdict, ...]
    values: Mapping[tuple[str, str], Values]
    savings: Savings
    notes: tuple[str, ...]
    limits: tuple[PhaseLimits, ...] = ()
    faults: tuple[FaultReport, ...] = ()
    disturbed: tuple[disturbances.Row, ...] = ()
    """What the machine did to each value; empty where that is not known."""
    saved: Saved | None = None
    """What the search saved against a full grid; None where there was no search, or nothing was decided."""
    conforms: tuple[conformance_table.Row, ...] = ()
    """What it keeps of POSIX, where `pliant conform` looked."""
    record: Record | None = None
    """What a model can be made of; None where the run does not say what hosts had."""

    @cached_property
    def prediction(self) -> Prediction | None:
        """What its two smallest ratios predict of all others, beside what was measured there; None where they
        say too little. No verdict knows of it."""
        return None if self.record is None else foretold(self.record)

    @property
    def posix(self) -> str:
        """The same, in a sentence; empty where nobody looked."""
        return conformance_table.sentence(self.conforms)

    @property
    def plain(self) -> tuple[Verdict, ...]:
        """The verdicts on workloads without faults: those by which a file system folds, or does not."""
        return plain(self.info, self.verdicts)

    @property
    def filesystem(self) -> str:
        """The file system's name as people write it."""
        return SPELLING.get(self.info.name, self.info.name)

    @property
    def ratios(self) -> tuple[float, ...]:
        """The planned ratios, ascending."""
        return tuple(sorted(self.info.hosts))

    @property
    def recommended(self) -> float | None:
        """The largest ratio at which every metric is shown to hold; None without a baseline."""
        return self.savings.ratio

    @property
    def headline(self) -> str:
        """The verdict on the file system in one sentence."""
        return _headline(self)

    @property
    def base(self) -> str:
        """Where the baseline is, in words: "ratio 2 (4 hosts)"."""
        return place(self.info.baseline, self.info.hosts[self.info.baseline])

    @property
    def against(self) -> str:
        """What losses and savings are against, and what they do not say, where that is itself folded; else ""."""
        if self.info.unfolded:
            return ""
        unfolded = plural(sum(self.info.roles.values()), "host")
        return (
            f"Losses and savings are against {self.base}, and say nothing of what is lost against the unfolded cluster "
            f"({unfolded}): to fold to a ratio means here to lose no more than is tolerated against ratio "
            f"{self.info.baseline:.3g}."
        )

    @property
    def by_workload(self) -> Mapping[str, float]:
        """Workload -> the largest ratio at which every metric of it that is asked for is shown to hold."""
        ratios = {w: recommended_ratio([v for v in self.plain if v.workload == w]) for w in self.info.metrics}
        return {workload: ratio for workload, ratio in ratios.items() if ratio is not None}

    @property
    def each_workload(self) -> str:
        """How far each workload folds by itself, in a sentence; empty where that says nothing new."""
        ratios = self.by_workload
        if len(ratios) < 2 or all(ratio == self.recommended for ratio in ratios.values()):
            return ""
        none = f"is not shown to {_fold(self.info)}"
        said = [
            f"{workload} folds to ratio {ratio:.3g}" if ratio > self.info.baseline else f"{workload} {none}"
            for workload, ratio in ratios.items()
        ]
        return f"By itself, {join(said)}."

    @property
    def more(self) -> str:
        """What is to be said after the headline; empty if that says it all."""
        return f"{self.each_workload} {self.beyond}".strip()

    @property
    def beyond(self) -> str:
        """How the metrics fare at the next ratio, in one sentence; empty if there is none."""
        following = [r for r in self.ratios if self.recommended is not None and r > self.recommended]
        return _tally(self, following[0]) if following else ""

    @property
    def uncounted(self) -> tuple[Trial, ...]:
        """Trials that enter no verdict."""
        return tuple(t for t in self.trials if not t.counted)

    @property
    def stopped(self) -> tuple[Trial, ...]:
        """Trials that were stopped before their end, and say what can be said."""
        return tuple(t for t in self.trials if t.state == "censored")

    @property
    def programs(self) -> Mapping[str, tuple[str, ...]]:
        """Which programs produced each workload's numbers."""
        counted = [t for t in self.trials if t.counted]
        return {
            workload: tuple(dict.fromkeys(t.program for t in counted if t.workload == workload and t.program))
            for workload in self.info.metrics
        }

    @property
    def scaled(self) -> bool:
        """Whether hosts were a real one's divided by more than 1, so that values are also told rescaled."""
        return self.info.scale != 1

    def rescaled(self, verdict: Verdict, value: float | None) -> float | None:
        """What a value of that metric stands for on the real hosts; None if it is not known or does not scale."""
        return None if value is None else rescaled(value, verdict.metric.unit, self.info.scale)

    def rescales(self, verdict: Verdict) -> bool:
        """Whether there is anything to tell of that metric besides what was measured."""
        return self.scaled and self.rescaled(verdict, 1.0) is not None

    def limit(self, verdict: Verdict, ratio: float) -> Limit | None:
        """What limits the phase that yields that metric, at that ratio; None if it is not known."""
        phase = self._phase(verdict, ratio)
        return None if phase is None else phase.ratios[ratio].limit

    def _phase(self, verdict: Verdict, ratio: float) -> PhaseLimits | None:
        return phase_of(verdict.metric, [each for each in self.limits if each.workload == verdict.workload], ratio)

    def _verdict_json(self, verdict: Verdict) -> dict[str, Any]:
        """A verdict with what limits each ratio; where hosts were scaled with median and interval rescaled.

        What is not known is null.
        """
        document = verdict.to_json()
        for row, written in zip(verdict.ratios, document["ratios"], strict=True):
            phase = self._phase(verdict, row.ratio)
            limit = None if phase is None else {"phase": phase.phase, **phase.ratios[row.ratio].limit.to_json()}
            written["limited_by"] = limit
        if self.scaled:
            for row, written in zip(verdict.ratios, document["ratios"], strict=True):
                ends = {"median": row.median, "low": row.low, "high": row.high}
                written["rescaled"] = {name: self.rescaled(verdict, value) for name, value in ends.items()}
        return document

    def _baseline_json(self) -> dict[str, Any]:
        """The baseline, unless it is the unfolded cluster."""
        if self.info.unfolded:
            return {}
        ratio = self.info.baseline
        return {"baseline": {"ratio": ratio, "hosts": self.info.hosts[ratio], "sentence": self.against}}

    def of(self, verdict: Verdict) -> Values:
        """The values behind `verdict`."""
        return self.values[verdict.workload, verdict.metric.name]

    @property
    def grid(self) -> Spent | None:
        """What a full grid that decides as much as the search would take; energy in proportion to machine-hours."""
        spent, search = self.savings.study, self.saved
        if search is None or not spent.machine_hours:
            return None
        hours = search.grid_machine_hours
        return Spent(search.grid_trials, hours, spent.energy_kwh * hours / spent.machine_hours)

    def bounded(self, verdict: Verdict) -> dict[float, list[Measured]]:
        """The trials that were stopped while they measured that metric, with how good it was at best, by ratio."""
        series = _series(self.trials, verdict.workload, verdict.metric, self.info)
        known = {trial.number: trial for trial in self.trials}
        return {
            ratio: [(known[number], bound) for number, bound in series.bounds.get(ratio, {}).items()]
            for ratio in sorted(self.info.hosts)
        }

    def measured(self, verdict: Verdict) -> dict[float, list[Measured]]:
        """The same with the trials that gave them, in the same order."""
        series = _series(self.trials, verdict.workload, verdict.metric, self.info)
        known = {trial.number: trial for trial in self.trials}
        found: dict[float, list[Measured]] = {ratio: [] for ratio in sorted(self.info.hosts)}
        for ratio, values in series.values.items():
            found[ratio] = [(known[number], value) for number, value in zip(series.numbers[ratio], values, strict=True)]
        return found

    def to_json(self) -> dict[str, Any]:
        """What `verdict.json` says of this file system."""
        return {
            "headline": f"{self.headline} {self.beyond}".rstrip(),
            **self._baseline_json(),
            "recommended": {"all": self.recommended, "workloads": dict(self.by_workload)},
            "verdicts": [self._verdict_json(v) for v in self.verdicts],
            "savings": self.savings.to_json() | {"search": self.saved and self.saved.to_json()},
            "faults": [report.to_json() for report in self.faults],
            "notes": list(self.notes),
            "run": self.info.to_json(),
            **({"conformance": [row.to_json() for row in self.conforms]} if self.conforms else {}),
        }


@dataclass(frozen=True)
class RunAnalysis:
    """A run, judged: an analysis of each file system, and their comparison if there are several."""

    parts: tuple[Analysis, ...]
    comparison: Comparison | None

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Those of all file systems, in the order in which they ran."""
        return tuple(sorted((trial for part in self.parts for trial in part.trials), key=lambda trial: trial.number))

    @property
    def headline(self) -> str:
        """The verdict of the run, in a sentence or two."""
        if self.comparison is None:
            return self.parts[0].headline
        return self.comparison.furthest.sentence

    def to_json(self) -> dict[str, Any]:
        """The contents of `verdict.json`.

        With several file systems `verdicts` has those of all, and what else is of one is in `filesystems`, by label.
        """
        first = self.parts[0]
        facts = dict(first.facts)
        if self.comparison is None:
            return {"study": first.info.study, **first.to_json(), "facts": facts}
        each = {part.info.name: part.to_json() for part in self.parts}
        verdicts = [verdict for document in each.values() for verdict in document.pop("verdicts")]
        return {
            "study": first.info.study,
            "headline": self.headline,
            "comparison": self.comparison.to_json(),
            "verdicts": verdicts,
            "filesystems": each,
            "facts": facts,
        }


def plain(info: RunInfo, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Those of the verdicts that decide how far a file system folds: on the metrics that are asked for, of workloads
    without faults, and whose values are not the emulation's."""
    return tuple(
        verdict
        for verdict in verdicts
        if verdict.workload not in info.faults
        and asked_for(info.asked, verdict.workload, verdict.metric.name)
        and not verdict.emulated
    )


def analyse(store: Store, workloads: Sequence[str] = (), metrics: Sequence[str] = ()) -> RunAnalysis:
    """Judge a run from what its store holds, and from nothing else; of these workloads and metrics alone, if there are
    any. UserError if the run has none of them."""
    infos, trials = store.infos(), store.trials()
    if workloads or metrics:
        known = {f"{workload}.{metric.name}" for workload, many in infos[0].metrics.items() for metric in many}
        infos = tuple(info.of(workloads, metrics) for info in infos)
        if not infos[0].metrics:
            wanted = ", ".join((*workloads, *metrics))
            raise UserError(f"the run has no metric of {wanted}; it has {', '.join(sorted(known))}")
        trials = [trial for trial in trials if trial.workload in infos[0].metrics]
    parts = tuple(_analyse(info, [trial for trial in trials if info.has(trial)], store) for info in infos)
    if len(parts) == 1:
        return RunAnalysis(parts, None)
    return RunAnalysis(parts, compare({part.info.name: part.plain for part in parts}, infos[0].max_loss))


def _analyse(info: RunInfo, trials: Sequence[Trial], store: Store) -> Analysis:
    """Judge one file system."""
    series = {(w, m.name): _series(trials, w, m, info) for w, metrics in info.metrics.items() for m in metrics}
    values = {key: {ratio: each.values.get(ratio, ()) for ratio in sorted(info.hosts)} for key, each in series.items()}
    verdicts = tuple(judge(each) for each in series.values())
    ratio = recommended_ratio(plain(info, verdicts))
    workloads = list(dict.fromkeys(verdict.workload for verdict in plain(info, verdicts)))
    faults = fault_reports(info, trials, values)
    economy = savings(trials, workloads, info.hosts, ratio, info.power, info.host_cores, info.baseline, store.watts())
    lost = [problem for report in faults for problem in report.problems]
    notes = (*(f"{problem[:1].upper()}{problem[1:]}." for problem in lost), *_notes(info, trials, verdicts))
    disturbed = disturbances.rows(info, trials)
    notes += (*disturbances.notes(disturbed, verdicts), *provenance(info, trials))
    about = (store.facts(), store.study_toml())
    limits = phase_limits(info, trials)
    search = saved(trials, plain(info, verdicts), info.hosts) if info.search == "adaptive" else None
    posix = conformance_table.rows(store, info.name)
    known = {record.info.name: record for record in known_records(store)}.get(info.name)
    record = None if known is None else replace(known, info=info)
    return Analysis(
        info, tuple(trials), *about, verdicts, values, economy, notes, limits, faults, disturbed, search, posix, record
    )


def judged(info: RunInfo, trials: Sequence[Trial]) -> tuple[Verdict, ...]:
    """The verdict on each metric of one file system, from these trials of it."""
    return tuple(judge(_series(trials, w, m, info)) for w, metrics in info.metrics.items() for m in metrics)


def _series(trials: Sequence[Trial], workload: str, metric: Metric, info: RunInfo) -> Series:
    """Values of counted trials; those without a logarithm are left out, and told in a note."""
    mine = [t for t in trials if t.counted and t.workload == workload and t.ratio in info.hosts]
    mine.sort(key=lambda trial: (trial.started_at, trial.number))
    values, numbers = by_ratio(mine, metric.name)
    searched = info.search == "adaptive" and workload not in info.faults
    return Series(
        info.name,
        workload,
        metric,
        info.max_loss,
        info.hosts,
        values,
        numbers,
        info.indifference,
        info.repetitions if searched else None,
        bounds_by_ratio(mine, metric.name),
        covariates(mine, metric.name),
        info.baseline,
        emulated(mine, metric.name),
    )


def _usable(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _notes(info: RunInfo, trials: Sequence[Trial], verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What a careful reader must know before believing the verdicts."""
    if count := sum(t.state == "censored" for t in trials):
        verb = "was" if count == 1 else "were"
        yield (
            f"{plural(count, 'trial')} {verb} stopped before {'its' if count == 1 else 'their'} end: of what was being "
            "measured then only a bound is known, so that a loss may be more than is said; see “Trials that were "
            "stopped”."
        )
    for state, one, many in (
        ("failed", "failed", "failed"),
        ("invalid", "was not valid", "were not valid"),
        ("running", "never ended", "never ended"),
    ):
        if count := sum(t.state == state for t in trials):
            end = f"{one} and enters" if count == 1 else f"{many} and enter"
            yield f"{plural(count, 'trial')} {end} no verdict; see “Trials that were not counted”."
    counted = Counter((t.workload, t.ratio) for t in trials if t.counted)
    short = [
        f"{workload} at ratio {ratio:.3g} ({counted[workload, ratio]})"
        for workload in info.metrics
        for ratio in sorted(info.hosts)
        if counted[workload, ratio] < info.repetitions and (info.search == "grid" or workload in info.faults)
    ]
    if short:
        yield f"Fewer counted trials than the {info.repetitions} planned: {join(short)}."
    yield from _unusable(trials)
    counted_remarks = Counter((t.workload, remark) for t in trials if t.counted for remark in t.remarks)
    for (workload, remark), count in counted_remarks.items():
        of = plural(sum(t.counted and t.workload == workload for t in trials), "counted trial")
        yield f"{workload}, {count} of {of}: {remark}."
    alone = [metric_title(v.metric) for v in verdicts if max((r.trials for r in v.ratios), default=0) == 1]
    if alone:
        yield f"One repetition shows no noise, so there is no interval and no claim for {join(alone)}."
    for verdict in verdicts:
        if verdict.emulated:
            yield verdict.sentence
    if undecided := sum(row.ratio != v.baseline for v in verdicts for row in v.undecided):
        claims = sum(len(v.ratios) - 1 for v in verdicts if not v.emulated)
        verb = "is" if undecided == 1 else "are"
        yield f"{undecided} of {plural(claims, 'state')} {verb} undecided: {_remedy(verdicts, trials)}."
    if drifting := [metric_title(v.metric) for v in verdicts if v.drift is not None and v.drift.shown]:
        yield f"The machine drifted while these were measured, which losses make allowance for: {join(drifting)}."
    if outlying := sorted({number for v in verdicts for row in v.ratios for number in row.outliers}):
        which = join([f"trial {number}" for number in outlying])
        yield f"Outliers, drawn in and not left out, are values of {which}."


def _remedy(verdicts: Sequence[Verdict], trials: Sequence[Trial]) -> str:
    """What would decide what is undecided: how many trials more, of a workload at a ratio and of its baseline each."""
    more: dict[tuple[str, float], int] = {}
    for verdict in verdicts:
        for row in verdict.undecided:
            if row.expected:
                for ratio in (row.ratio, verdict.baseline):
                    key = verdict.workload, ratio
                    more[key] = max(more.get(key, 0), row.expected)
    lasted = {key: [t.duration_s for t in trials if t.counted and (t.workload, t.ratio) == key] for key in more}
    if not more or not all(lasted.values()):
        return "more trials, or less noise, would decide"
    took_s = sum(count * median(lasted[key]) for key, count in more.items())
    return (
        f"about {plural(sum(more.values()), 'more trial')}, {format_duration(round(took_s))} of them, would decide "
        "what trials can; what is measured is kept if the study is run on with a larger budget"
    )


def _unusable(trials: Sequence[Trial]) -> Iterator[str]:
    for trial in trials:
        for name, value in (*trial.metrics.items(), *trial.bounds.items()):
            if trial.counted and not _usable(value):
                yield f"Trial {trial.number} gave {name} = {value:g}, which is not a positive number, and was left out."


def _headline(analysis: Analysis) -> str:
    name, ratio, verdicts = analysis.filesystem, analysis.recommended, analysis.plain
    hosts, tolerated = analysis.info.hosts, tolerance(analysis.info.max_loss, analysis.info.indifference)
    where = "" if analysis.info.unfolded else f", {analysis.base}, which is itself folded"
    if ratio is None:
        return f"Nothing can be said about {name} yet: the baseline{where and f'{where},'} has no done trial."
    if analysis.info.one_ratio:
        return f"{name} was measured at {place(ratio, hosts[ratio])} alone, which says nothing of how far it folds."
    one, asked = len(verdicts) == 1, " asked for" if analysis.info.asked else ""
    base = analysis.info.baseline
    if ratio > base:
        full = f" instead of {hosts[base]}"
        text = f"{name} folds to ratio {ratio:.3g}: on {plural(hosts[ratio], 'host')}{full}, "
        every = f"its metric{asked} is" if one else f"all of its {len(verdicts)} metrics{asked} are"
        text += f"{every} shown to stay within {tolerated} of the baseline{where}."
    else:
        every = f"is its metric{asked}" if one else f"are all of its {len(verdicts)} metrics{asked}"
        no = "at no folded ratio" if analysis.info.unfolded else "at no other ratio"
        text = f"{name} is not shown to {_fold(analysis.info)}: {no} {every} shown to stay within {tolerated}"
        text += f" of the baseline{where}."
    return text


def _fold(info: RunInfo) -> str:
    """What a file system does beyond its baseline."""
    return "fold" if info.unfolded else "fold further"


def _tally(analysis: Analysis, ratio: float) -> str:
    """How the metrics fare at one ratio."""
    by_state: dict[str, list[str]] = {"holds": [], "undecided": [], "breaks": [], "passed over": []}
    for verdict in analysis.plain:
        row = verdict.at(ratio)
        by_state["passed over" if row.passed_over else row.state].append(metric_title(verdict.metric))
    few, total = 3, f" of {plural(len(analysis.plain), 'metric')}"
    parts: list[str] = []
    for state, one, many in (
        ("holds", "holds", "hold"),
        ("breaks", "breaks", "break"),
        ("undecided", "is", "are"),
        ("passed over", "was", "were"),
    ):
        if count := len(by_state[state]):
            names = f" ({join(by_state[state])})" if count <= few and state != "holds" else ""
            verb = (one if count == 1 else many) + (f" {state}" if state in ("undecided", "passed over") else "")
            parts.append(f"{count}{'' if parts else total} {verb}{names}")
    return f"At {place(ratio, analysis.info.hosts[ratio])}, {join(parts)}."
