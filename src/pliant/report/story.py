"""What a run says to someone who has ten seconds: how far it folds, what breaks it, and what that saves."""

from __future__ import annotations

from dataclasses import dataclass

from pliant.analysis.conclusions import Analysis
from pliant.analysis.words import bounds, energy, mass, metric_title, number, percent, place, plural
from pliant.statistics.verdict import Verdict


@dataclass(frozen=True)
class Point:
    """One thing to know: what it is about, the answer in a few words, and a sentence that explains it."""

    about: str
    answer: str
    more: str


def story(analysis: Analysis) -> tuple[Point, Point, Point]:
    """How far it folds, what breaks it first, what folding saves."""
    return _folds(analysis), _breaks(analysis), _saves(analysis)


def _folds(analysis: Analysis) -> Point:
    ratio, hosts, about = analysis.recommended, analysis.info.hosts, "Folds to"
    if ratio is None:
        return Point(about, "not known", "The baseline has no done trial.")
    if analysis.info.one_ratio:
        return Point(about, "not asked", f"It was measured at {place(ratio, hosts[ratio])} alone.")
    base, tolerated = analysis.info.baseline, percent(analysis.info.max_loss)
    if ratio == base:
        return Point(
            about,
            "no ratio that is shown",
            f"At none is every metric shown to lose {tolerated} or less{_against(analysis)}.",
        )
    fewer = f"{plural(hosts[ratio], 'host')} instead of {hosts[base]}"
    return Point(about, f"ratio {ratio:.3g}", f"{fewer}: {_every(tolerated)}{_against(analysis)}.")


def _every(tolerated: str) -> str:
    return f"every metric is shown to lose {tolerated} or less"


def _against(analysis: Analysis) -> str:
    """What losses are against, unless that is the unfolded cluster."""
    return "" if analysis.info.unfolded else f" against {analysis.base}"


def _breaks(analysis: Analysis) -> Point:
    about = "What breaks it first"
    if analysis.info.one_ratio:
        return Point(about, "not asked", "There is no other ratio to compare with.")
    broken = [(verdict.breaks_at, verdict) for verdict in analysis.plain if verdict.breaks_at is not None]
    if not broken:
        return Point(about, "nothing is shown to", "No metric is shown to lose more than is tolerated at any ratio.")
    first = min(ratio for ratio, _ in broken)
    here = [verdict for ratio, verdict in broken if ratio == first]
    worst = max(here, key=lambda verdict: verdict.at(first).loss or 0.0)
    row = worst.at(first)
    lost = f"more than {percent(row.loss)}" if row.at_least else percent(row.loss)
    text = f"At {place(first, row.hosts)} it loses {lost} {bounds(row.loss_low, row.loss_high)}".rstrip()
    if others := len(here) - 1:
        text += f", and {plural(others, 'other metric')} {'breaks' if others == 1 else 'break'} there too"
    return Point(about, f"{metric_title(worst.metric)} ({worst.workload})", f"{text}.{_limit(analysis, worst, first)}")


def _limit(analysis: Analysis, verdict: Verdict, ratio: float) -> str:
    limit = analysis.limit(verdict, ratio)
    return "" if limit is None else f" What limits it: {limit.sentence}."


def _saves(analysis: Analysis) -> Point:
    about, saved, sought = "What folding saves", analysis.savings, search(analysis)
    full, folded = saved.full, saved.folded
    if full is None or folded is None:
        where = f"ratio {analysis.info.baseline:.3g} or at the ratio that holds"
        return Point(about, "not known", f"A workload has no done trial at {where}.{sought}")
    if saved.ratio == analysis.info.baseline:
        takes = f"{plural(full.hosts, 'host')} and {energy(full.energy_kwh)}"
        return Point(about, "nothing", f"A pass over the workloads takes {takes} ({saved.how}).{sought}")
    emitted = [mass(saved.power.co2e_kg(side.energy_kwh)) for side in (folded, full)]
    from_ = "" if analysis.info.unfolded else f" Counted from {analysis.base}."
    return Point(
        about,
        f"{full.hosts - folded.hosts} of {plural(full.hosts, 'host')}",
        f"Each pass over the workloads takes {number(folded.machine_hours)} machine-hours instead of "
        f"{number(full.machine_hours)}, {energy(folded.energy_kwh)} instead of {energy(full.energy_kwh)}, and emits "
        f"{emitted[0]} of CO₂e instead of {emitted[1]} ({saved.how}).{from_}{sought}",
    )


def search(analysis: Analysis) -> str:
    """What the search of the study itself saved, in a sentence."""
    found = analysis.saved
    if found is None:
        return ""
    text = (
        f" The study took {plural(found.trials, 'trial')}; a full grid that decides as much takes {found.grid_trials}"
    )
    more = "saved" if found.share >= 0 else "spent in addition"
    return f"{text} ({percent(abs(found.share))} of its machine-hours {more})."
