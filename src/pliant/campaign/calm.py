"""A short look at the machine before each trial, and a bounded wait while it is much less calm than it mostly was.

Neighbours that come and go leave moments of calm, which a study may as well use. What is looked at says nothing of what
is measured, only of the machine, and the rule is the same for every ratio: so to wait favours none. Where neighbours
always take as much, that is what is usual, and nothing is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

LOOK_S = 0.2
"""So long a look takes: some 200 beats of the metronome on each CPU."""
FEWEST = 4
"""Looks that there must have been before what is usual is known."""
MORE = 0.03
"""Part of a CPU by which more than usual must be withheld to be worth waiting for: on a calm machine looks differ by
0.01 (standard deviation, 2 vCPUs, AMD EPYC)."""
LONGEST_S = 10.0
"""A trial waits for no longer; what lasts for minutes is left to the analysis."""
PART = 0.05
"""... and all trials together for no larger a part of the time since the first look."""


def restless(part: float, before: list[float]) -> bool:
    """Whether so much more is withheld than in the looks before that a moment of calm is worth waiting for.

    >>> restless(0.08, [0.0, 0.01, 0.01, 0.02]), restless(0.08, [0.05, 0.06, 0.07, 0.1]), restless(0.5, [0.0])
    (True, False, False)
    """
    return len(before) >= FEWEST and part > median(before) + MORE


class Calm:
    """What a run saw of the machine before its trials. `said` hears what was waited for, a sentence each."""

    def __init__(self, said: Callable[[str], None] = lambda text: None) -> None:
        self._said = said
        self._before: list[float] = []
        self._waited_s = 0.0
        self._began_s: float | None = None

    def wait(self, withheld_s: Callable[[], Mapping[int, float]]) -> None:
        """Look, and wait if it is worth it. `withheld_s` says for how long each CPU was withheld up to now, in seconds;
        without CPUs there is nothing to be seen."""
        began_s = time.monotonic()
        self._began_s = began_s if self._began_s is None else self._began_s
        until_s = began_s + min(LONGEST_S, PART * (began_s - self._began_s) - self._waited_s)
        looks = [self._look(withheld_s)]
        while restless(looks[-1], self._before) and time.monotonic() < until_s:
            looks.append(self._look(withheld_s))
        self._before.append(looks[0])
        if len(looks) > 1:
            waited_s = time.monotonic() - began_s
            self._waited_s += waited_s
            self._said(
                f"waited {waited_s:.1f} s for a moment of calm: {_percent(looks[0])} of a CPU was withheld, where "
                f"{_percent(median(self._before))} is usual; then {_percent(looks[-1])}"
            )

    def _look(self, withheld_s: Callable[[], Mapping[int, float]]) -> float:
        """The part of its time for which the worst CPU is withheld."""
        before, began_s = withheld_s(), time.monotonic()
        if not before:
            return 0.0
        time.sleep(LOOK_S)
        after, took_s = withheld_s(), time.monotonic() - began_s
        return max((after[cpu] - before[cpu]) / took_s for cpu in before)


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %"
