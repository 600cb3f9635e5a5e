"""The search that goes where the verdict is still open. Pure, and the same for the same trials that ended.

Each file system is searched in blocks: one trial at the baseline and one at each ratio that is wanted, in random order,
so that each folded trial has a baseline near it in time (blocks that all hold the control: Bechhofer & Tamhane,
*Technometrics* 23, 1981). In the first one the baseline comes first: a folded trial that takes for ever can only be
stopped in time where it is known how long one takes that is not folded. Where each ratio needs a deployment of its own,
a later block begins at the ratio at which the one before it ended, so that two trials share a deployment. (With two
trials at each visit there would be half as many, and intervals that are too narrow: what differs between deployments
would count as known. docs/statistics.md has what was simulated.) After each block every metric is judged anew, by
intervals that pay for being looked at (`statistics.sequential`). What is wanted:

1. At first the two ratios between which the prior puts the break, then every other ratio once: a curve must have been
   looked at before it may be bisected, as folding can also make a file system faster.
2. From then on the two neighbours between which the break is most likely by all trials together, until the one is
   decided to hold and the other to break: bisection that begins where the look at the whole curve points. While
   nothing is shown to break, and the upper of the two may be hard to decide, the next one beyond it as well.
3. A ratio that is passed over for a larger one that holds, or a smaller one that breaks, must look as if it did the
   same. One that does not is wanted; and where a curve is shown not to be monotone, all are.
4. At the largest ratio at which every metric may hold, each is decided.

A ratio whose trials were stopped is decided once it breaks by their bounds, as any other. A metric that they never came
to counts as looked at there, seems to break, and is asked for a few times more at most.

A workload with nothing wanted is not run. What is still open after `most` trials at a ratio stays undecided, and so
does, earlier, what those that are left will hardly decide.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pliant.statistics.search import Key, Todo, key_of
from pliant.statistics.verdict import DOUBT, RatioVerdict, Series, Verdict, bounds_by_ratio, by_ratio, emulated, judge
from pliant.telemetry.disturbance import covariates
from pliant.trial import UNFOLDED, Trial
from pliant.workloads.model import Metric

LEAST_HOPE = 0.2
"""A ratio that is less likely than this to be decided within `most` trials gets no more of them."""
FEWEST_FOR_HOPE = 4
LEAST_DOUBT = 0.01
"""No trial so far is so sure of a ratio that it outweighs all others on where the break is."""
HOPELESS = 3
"""After so many trials of a ratio that were given up, and none that counts, it is no longer wanted; and for a metric,
after so many that count and did not come to it."""
BLOCKS_OF_A_TURN = 2
"""How many blocks each of several file systems does before the next one is deployed."""


@dataclass(frozen=True)
class Question:
    """What a search is to find out: of each workload its metrics, at these ratios, at most so many trials at each.

    `fixed` maps workloads that are not searched to how often each is to run at every ratio. `start` maps a file system
    to the smallest ratio at which it is expected to break. `stays` says that to change the ratio costs a deployment.
    `baseline` is the smallest ratio, which losses are against.
    """

    metrics: Mapping[str, Sequence[Metric]]
    ratios: Sequence[float]
    filesystems: Sequence[str]
    max_loss: float
    indifference: float
    most: int
    seed: int
    fixed: Mapping[str, int] = field(default_factory=dict)
    start: Mapping[str, float] = field(default_factory=dict)
    stays: bool = False
    baseline: float = UNFOLDED

    @property
    def folded(self) -> tuple[float, ...]:
        """The ratios other than the baseline, ascending."""
        return tuple(sorted(ratio for ratio in self.ratios if ratio != self.baseline))


class Adaptive:
    """A `Search` by blocks: each follows from those before it."""

    def __init__(self, question: Question) -> None:
        self._asked = question
        self._blocks: list[tuple[Todo, ...]] = []
        self._parts = {label: _Part(question, label) for label in question.filesystems}
        chance = random.Random(question.seed)
        self._turn = chance.sample(list(question.filesystems), len(question.filesystems))
        self._turns = 0
        self._left_in_turn: list[str] = []

    def next(self, over: Sequence[Trial], spent_s: float = 0.0) -> Todo | None:
        """See Search."""
        return next(iter(self._current(over)), None)

    def left(self, over: Sequence[Trial]) -> Sequence[Todo]:
        """See Search."""
        now = self._current(over)
        if not now:
            return now
        planned = {todo.key for block in self._blocks for todo in block}
        later = [todo for part in self._parts.values() for todo in part.later(planned, now[0].turn)]
        return now + later

    def skipped(self, over: Sequence[Trial]) -> Sequence[Todo]:
        """See Search."""
        self._current(over)
        return [todo for part in self._parts.values() for todo in part.passed_over()]

    def verdicts(self, over: Sequence[Trial]) -> list[Verdict]:
        """What the search goes by: the verdicts on every metric after the last block that is over."""
        self._current(over)
        return [each for part in self._parts.values() for many in part.verdicts.values() for each in many]

    def _current(self, over: Sequence[Trial]) -> list[Todo]:
        """What is left of the block that is under way; empty at the end."""
        ended = {key_of(trial): trial for trial in over}
        for block in self._blocks[-1:]:  # those before it were over when it was planned
            if open_ := [todo for todo in block if todo.key not in ended]:
                return open_
        while block := self._plan(ended):
            self._blocks.append(block)
            if open_ := [todo for todo in block if todo.key not in ended]:
                return open_
        return []

    def _plan(self, ended: Mapping[Key, Trial]) -> tuple[Todo, ...]:
        """The next block, of the file system whose turn it is; empty if none wants one."""
        for _ in range(2 * BLOCKS_OF_A_TURN * len(self._turn)):
            if not self._left_in_turn:
                order = self._turn if self._turns % 2 == 0 else self._turn[::-1]
                self._turns += 1
                self._left_in_turn = [label for label in order for _ in range(BLOCKS_OF_A_TURN)]
            label = self._left_in_turn.pop(0)
            if block := self._parts[label].block(ended, self._turns):
                return block
        return ()


class _Part:
    """The search on one file system: the blocks that it has planned, and what it knew when it planned the last."""

    def __init__(self, question: Question, filesystem: str) -> None:
        self._asked, self._filesystem = question, filesystem
        self._planned: list[Todo] = []
        self._count: Counter[tuple[str, float]] = Counter()
        self._number = 0
        self._last = question.baseline
        self.verdicts: dict[str, list[Verdict]] = {}
        self._wanted: dict[str, set[float]] = {}

    def block(self, ended: Mapping[Key, Trial], turn: int) -> tuple[Todo, ...]:
        """The next block, planned by the trials of those before it; empty at the end."""
        trials = sorted((ended[todo.key] for todo in self._planned), key=lambda trial: trial.number)
        self._wanted = self._wants(trials)
        base = self._asked.baseline
        places = {(label, ratio) for label, ratios in self._wanted.items() if ratios for ratio in {base, *ratios}}
        for label, repetitions in self._asked.fixed.items():
            if self._number < repetitions:
                places |= {(label, ratio) for ratio in self._asked.ratios}
        if not places:
            return ()
        self._number += 1
        block = []
        chance = random.Random(f"{self._asked.seed}/{self._filesystem}/{self._number}")
        ratios = sorted({ratio for _, ratio in places})
        order = chance.sample(ratios, len(ratios))
        if self._number == 1:
            order.sort(key=lambda ratio: ratio != base)
        elif self._asked.stays:
            order.sort(key=lambda ratio: ratio != self._last)
        self._last = order[-1]
        for ratio in order:
            labels = sorted(label for label, where in places if where == ratio)
            for label in chance.sample(labels, len(labels)):
                self._count[label, ratio] += 1
                block.append(Todo(label, ratio, self._count[label, ratio], self._filesystem, turn))
        self._planned += block
        return tuple(block)

    def later(self, planned: Collection[Key], turn: int) -> Iterator[Todo]:
        """What is to be expected after the blocks that are planned, if noise and losses are what they seem."""
        for label, ratios in self._wanted.items():
            more = {ratio: self._more(label, ratio) for ratio in ratios}
            base = {self._asked.baseline: max(more.values(), default=0)}
            for ratio, count in (base | more).items():
                for n in range(1, count + 1):
                    todo = Todo(label, ratio, self._count[label, ratio] + n, self._filesystem, turn + n)
                    if todo.key not in planned:
                        yield todo

    def passed_over(self) -> Iterator[Todo]:
        """The trial that would be next at each ratio that is not decided and not wanted."""
        for label, verdicts in self.verdicts.items():
            spent = self._spent(label)
            undecided = {row.ratio for verdict in verdicts for row in verdict.ratios if row.state == "undecided"}
            for ratio in sorted(undecided - self._wanted.get(label, set()) - spent):
                yield Todo(label, ratio, self._count[label, ratio] + 1, self._filesystem)

    def _more(self, label: str, ratio: float) -> int:
        """How many trials after the block that is under way."""
        wanting = [v.at(ratio) for v in self.verdicts.get(label, []) if v.at(ratio).state == "undecided"]
        known = [row.expected for row in wanting if row.expected is not None]
        most = self._asked.most - self._count[label, ratio]
        guess = max(known) - 1 if known else 4
        return max(0, min(guess, most))

    def _wants(self, trials: Sequence[Trial]) -> dict[str, set[float]]:
        """For each workload the folded ratios of the next block."""
        if self._number == 0:
            return {label: self._first() for label in self._asked.metrics}
        self.verdicts = {label: self._judge(label, trials) for label in self._asked.metrics}
        self._tried = Counter((trial.workload, trial.ratio, trial.counted) for trial in trials)
        found = {}
        for label, verdicts in self.verdicts.items():
            spent = self._spent(label)
            found[label] = {r for verdict in verdicts for r in wanted(verdict, spent, *self._silent(label, verdict))}
        return found if any(found.values()) else self._in_common()

    def _first(self) -> set[float]:
        """The ratio at which the file system is expected to break, and the one before."""
        folded = self._asked.folded
        start = self._asked.start.get(self._filesystem, folded[len(folded) // 2] if folded else self._asked.baseline)
        at = next((place for place, ratio in enumerate(folded) if ratio >= start), len(folded) - 1)
        return set(folded[max(0, at - 1) : at + 1])

    def _in_common(self) -> dict[str, set[float]]:
        """The ratio at which all metrics may yet hold, of the workloads that have one there that is not decided."""
        everything = [verdict for verdicts in self.verdicts.values() for verdict in verdicts]
        base = self._asked.baseline
        spent = {label: self._spent(label) for label in self.verdicts}
        most = min((verdict.holds_up_to or base for verdict in everything), default=base)
        for ratio in sorted((r for r in self._asked.folded if r <= most), reverse=True):
            states = {label: {v.at(ratio).state for v in verdicts} for label, verdicts in self.verdicts.items()}
            lacking = [label for label, found in states.items() if "undecided" in found]
            if any("breaks" in found for found in states.values()) or any(ratio in spent[label] for label in lacking):
                continue
            return {label: {ratio} for label in lacking}
        return {}

    def _spent(self, label: str) -> set[float]:
        """The ratios at which a workload is not to run again."""
        tried = self._tried
        hopeless = {r for r in self._asked.ratios if tried[label, r, False] >= HOPELESS and not tried[label, r, True]}
        if self._asked.baseline in hopeless:
            return set(self._asked.folded)
        return hopeless | {ratio for ratio in self._asked.folded if self._count[label, ratio] >= self._asked.most}

    def _silent(self, label: str, verdict: Verdict) -> tuple[set[float], set[float]]:
        """The ratios whose trials count and did not come to a metric, and those of them where enough did not."""
        silent = {row.ratio for row in verdict.ratios if not row.trials and self._tried[label, row.ratio, True]}
        return silent, {ratio for ratio in silent if self._tried[label, ratio, True] >= HOPELESS}

    def _judge(self, label: str, trials: Sequence[Trial]) -> list[Verdict]:
        """What the trials so far show of each metric of a workload, but of those whose values are the emulation's."""
        asked, hosts = self._asked, dict.fromkeys(sorted(self._asked.ratios), 1)
        mine = [trial for trial in trials if trial.workload == label]
        found = []
        for metric in asked.metrics[label]:
            if emulated(mine, metric.name):
                continue  # whatever it is, it gets no verdict
            values, numbers = by_ratio(mine, metric.name)
            series = Series(
                self._filesystem,
                label,
                metric,
                asked.max_loss,
                hosts,
                values,
                numbers,
                asked.indifference,
                asked.most,
                bounds_by_ratio(mine, metric.name),
                covariates(mine, metric.name),
                asked.baseline,
            )
            found.append(judge(series))
        return found


def wanted(
    verdict: Verdict, spent: Collection[float] = (), silent: Collection[float] = (), given_up: Collection[float] = ()
) -> set[float]:
    """The folded ratios whose next trial tells most of where the metric breaks; none of those that are `spent`.

    `silent` are those at which trials were run and did not come to the metric, `given_up` those of them where that was
    tried often enough.
    """
    rows = verdict.folded
    chance = {row.ratio: 1 - LEAST_DOUBT if row.ratio in silent else _chance(row, verdict) for row in rows}
    left = [row for row in rows if row.ratio not in spent and row.ratio not in given_up]
    unseen = {row.ratio for row in left if not row.trials and row.ratio not in silent}
    open_ = [row for row in left if row.state == "undecided" and not _hopeless(row)]
    if unseen or not verdict.monotone:
        return unseen or {row.ratio for row in open_}
    held = max((row.ratio for row in rows if row.state == "holds"), default=verdict.baseline)
    broken = verdict.breaks_at or math.inf
    between = [row for row in rows if row.state == "undecided" and held < row.ratio < broken]
    doubtful = {row.ratio for row in open_ if row.ratio < held and (row.at_least or chance[row.ratio] > DOUBT)}
    doubtful |= {row.ratio for row in open_ if row.ratio > broken and chance[row.ratio] < 1 - DOUBT}
    first = _likeliest([chance[row.ratio] for row in between])
    below = [row for row in between[:first] if row in open_]
    above = [row for row in between[first:] if row in open_]
    # One that is hard to decide may use up the budget: the next beyond it says at least where it breaks at the latest.
    hard = broken == math.inf and any(chance[row.ratio] < 1 - DOUBT for row in above[:1])
    return doubtful | {row.ratio for row in below[-1:] + above[: 1 + hard]}


def _likeliest(chances: Sequence[float]) -> int:
    """How many of the ratios that may break come before the break, most likely, if none holds beyond it.

    All trials speak, and not only those of the first ratio that seems to break: where it breaks is then hardly ever
    guessed anew (the change point of Page, *Biometrika* 42, 1955).

    >>> _likeliest([0.2, 0.6, 0.1, 0.3, 0.9])
    4
    """
    logs = [
        (math.log1p(-sure), math.log(sure)) for sure in (min(max(c, LEAST_DOUBT), 1 - LEAST_DOUBT) for c in chances)
    ]
    likely = [sum(holds for holds, _ in logs[:n]) + sum(breaks for _, breaks in logs[n:]) for n in range(len(logs) + 1)]
    return likely.index(max(likely))


def _hopeless(row: RatioVerdict) -> bool:
    """Whether the trials that are left for a ratio will hardly decide it."""
    return row.trials >= FEWEST_FOR_HOPE and row.hope is not None and row.hope < LEAST_HOPE


def _chance(row: RatioVerdict, verdict: Verdict) -> float:
    """That a ratio breaks; before noise is known, what its loss says."""
    if row.chance is not None:
        return row.chance
    return float(row.loss is not None and row.loss > verdict.max_loss)
