"""Where a run's trials come from: measured before, or on clusters that were proved to be new."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pliant.analysis.words import join, plural
from pliant.results.run_info import RunInfo
from pliant.trial import Trial


def provenance(info: RunInfo, trials: Sequence[Trial]) -> Iterator[str]:
    """What a careful reader must know of how trials came about, in sentences."""
    if reused := [trial for trial in trials if trial.reused]:
        runs = list(dict.fromkeys(trial.reused.rpartition(", ")[0] for trial in reused))
        more = f" and {len(runs) - 3} more" if runs[3:] else ""
        yield (
            f"{plural(len(reused), 'trial')} of {len(trials)} had been measured before, in {join(runs[:3])}{more}; "
            f"other trials are not interleaved with them, and a drift of the machine in between would look like a loss."
        )
    if info.workflow == "verified":
        counted = [trial for trial in trials if trial.counted]
        proved = [trial for trial in counted if trial.proved]
        if proved:
            kind = "done trial" if all(trial.state == "done" for trial in counted) else "counted trial"
            first, of = "; ".join(proved[0].proved), plural(len(counted), kind)
            yield f"What was proved is kept with {len(proved)} of {of}; the first: {first}."
