"""Simulates the search on folding curves whose truth is known: how often is a verdict wrong, and what does it cost?

    python -m benchmarks.simulate_search [--curves 400] [--noise 5,10,15] [--shapes smooth,stairs] [--blind] [--prior]

prints the table of docs/statistics.md. Each cell draws many curves of one shape; the search runs on each as it would on
a machine, trial by trial, until it says that nothing is left. Then the same curves are measured by full grids, judged
for a number of trials fixed beforehand, to find the smallest that gives the right answer as often.

The tolerated loss is 10 %, the zone around it 5 points, and there are 8 ratios. A verdict is wrong if a state is:
`holds` where the true loss is above 15 %, or `breaks` where it is below 5 %. It is an answer if no ratio is undecided
between the largest that holds and the smallest that breaks, and if none on the far side of one of them that truly is
the other way, by more than the zone, goes unnoticed; and it is right if it is an answer and not wrong. A search was
ever off if at any of its looks the interval of any loss did not contain it: an upper and a lower bound, each at 5 %.
That of a loss that is at least so much has no upper end.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pliant.statistics.adaptive import Adaptive, Question
from pliant.statistics.search import Todo, schedule
from pliant.statistics.verdict import Series, Verdict, bounds_by_ratio, by_ratio, judge
from pliant.telemetry.disturbance import covariates
from pliant.trial import UNFOLDED, Trial
from pliant.workloads.model import Metric

RATIOS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
MAX_LOSS, ZONE, MOST = 0.10, 0.05, 25
METRIC = Metric("bandwidth", "MiB/s", "higher")
NOISES = (0.05, 0.10, 0.15)
MOST_OF_A_GRID = 60
SHOWN = 0.80
"""The loss by which a folded trial is stopped: it has taken five times as long as the baseline."""


class Machine:
    """Where trials are run: a true loss at each ratio, noise at each ratio, drift, and how noise is distributed."""

    def __init__(self, losses: Sequence[float], noise: float, chance: np.random.Generator) -> None:
        self.losses = dict(zip(RATIOS, (0.0, *losses), strict=True))
        self.noise = dict.fromkeys(RATIOS, noise)
        self.chance = chance
        self.drift: Callable[[int], float] = lambda number: 0.0
        self.draw: Callable[[], float] = chance.standard_normal
        self.stops = False
        """Whether a folded trial is stopped once its loss is beyond `SHOWN`, by the baselines so far."""
        self.hangs = 0.0
        """How many of the folded trials never end, at whatever ratio."""
        self.slopes = dict.fromkeys(RATIOS, 0.0)
        """By how much the CPU time that was not given slows trials down, as the CPU limits them."""
        self.limited = dict.fromkeys(RATIOS, 0.0)
        """The part of a trial in which its CPU limits it."""
        self.steal: Callable[[int], float] = lambda number: 0.0
        self.slowness: Callable[[int], float] = lambda number: 0.0
        """By how much a CPU second does less than on average, in logs."""
        self.told = True
        """Whether trials come with what disturbed them."""
        self.deployed = 0.0
        """By how much deployments of the same ratio differ, if each change of the ratio is one."""
        self.deployments = 0
        self._at, self._effect = 0.0, 0.0
        self._baselines: list[float] = []

    def trial(self, number: int, todo: Todo) -> Trial:
        """What the `number`th trial yields."""
        if todo.ratio != self._at:
            self._at, self._effect = todo.ratio, self.deployed * self.chance.standard_normal() if self.deployed else 0.0
            self.deployments += 1
        away = self.noise[todo.ratio] * self.draw() + self.drift(number) + self._effect
        limited, withheld, slowness = self.limited[todo.ratio], self.steal(number), self.slowness(number)
        away += limited * (self.slopes[todo.ratio] * math.log1p(-withheld) - slowness)
        value = 100 * (1 - self.losses[todo.ratio]) * math.exp(away)
        ended = Trial(number, todo.workload, todo.ratio, 1, todo.repetition, 1, "done", "", 1.0)
        if self.told and (withheld or slowness):
            told = {"limited": limited, "stolen": withheld, "withheld": 0.0, "second_s": math.exp(slowness)}
            ended = replace(ended, disturbance={METRIC.name: told})
        if todo.ratio == UNFOLDED:
            self._baselines.append(value)
        elif self.stops:
            value *= self.chance.random() >= self.hangs
            bound = (1 - SHOWN) * float(np.median(self._baselines))
            if value < bound:
                return replace(ended, state="censored", bounds={METRIC.name: bound})
        return replace(ended, metrics={METRIC.name: value})


def smooth(noise: float, chance: np.random.Generator) -> Machine:
    """A loss that grows with the ratio and passes the tolerated one anywhere, or beyond the last ratio."""
    at, width, most = chance.uniform(-0.5, 7.5), chance.uniform(0.2, 1.0), chance.uniform(0.3, 0.9)
    shift = width * math.log(most / MAX_LOSS - 1)  # so that the loss is the tolerated one at `at`
    return Machine([most / (1 + math.exp(-(place - at - shift) / width)) for place in range(7)], noise, chance)


def edges(noise: float, chance: np.random.Generator) -> Machine:
    """The hardest: just inside what must be called `holds` up to some ratio, and just inside `breaks` from there on."""
    at = chance.integers(0, 8)
    return Machine([MAX_LOSS + (ZONE if place >= at else -ZONE) * 1.0001 for place in range(7)], noise, chance)


def never(noise: float, chance: np.random.Generator) -> Machine:
    """Hardly any loss anywhere, or a gain."""
    return Machine(np.sort(chance.uniform(-0.10, 0.05, 7)).tolist(), noise, chance)


def stairs(noise: float, chance: np.random.Generator) -> Machine:
    """A loss that jumps at some ratios and stays the same at those between."""
    jumps = np.zeros(7)
    for place in chance.choice(7, chance.integers(1, 4), replace=False):
        jumps[place] = chance.uniform(0.04, 0.35)
    return Machine(np.minimum(np.cumsum(jumps), 0.9).tolist(), noise, chance)


def not_monotone(noise: float, chance: np.random.Generator) -> Machine:
    """A curve that breaks at some ratio and holds again at a larger one."""
    machine = smooth(noise, chance)
    dip = int(chance.integers(0, 6))
    for place, ratio in enumerate(RATIOS[1:]):
        if place == dip:
            machine.losses[ratio] = chance.uniform(0.2, 0.5)
        elif place == dip + 1:
            machine.losses[ratio] = chance.uniform(-0.2, 0.03)
    return machine


def drifting(noise: float, chance: np.random.Generator) -> Machine:
    """A smooth curve on a machine that becomes slower or faster: evenly, in waves, or as it happens."""
    machine = smooth(noise, chance)
    kind, size = chance.integers(3), chance.uniform(0.5, 2.0) * noise
    phase, period = chance.uniform(0, 2 * math.pi), chance.uniform(20, 80)
    walk = np.cumsum(chance.standard_normal(2000)) * size / 6
    course: tuple[Callable[[int], float], ...] = (
        lambda number: size * number / 20,
        lambda number: size * math.sin(2 * math.pi * number / period + phase),
        lambda number: float(walk[number]),
    )
    machine.drift = course[kind]
    return machine


def heavy_tails(noise: float, chance: np.random.Generator) -> Machine:
    """A smooth curve and noise with heavy tails: Student's with three degrees of freedom, as large in all."""
    machine = smooth(noise, chance)
    machine.draw = lambda: float(chance.standard_t(3)) / math.sqrt(3)
    return machine


def outliers(noise: float, chance: np.random.Generator) -> Machine:
    """A smooth curve, and one trial in twenty is slower by a factor of up to 3."""
    machine = smooth(noise, chance)
    machine.draw = lambda: float(
        chance.standard_normal() - (chance.uniform(0.2, 1.1) / noise if chance.random() < 0.05 else 0)
    )
    return machine


def unequal(noise: float, chance: np.random.Generator) -> Machine:
    """A smooth curve, and noise that differs by ratio, up to fivefold."""
    machine = smooth(noise, chance)
    machine.noise = {ratio: noise * chance.uniform(0.4, 2.0) for ratio in RATIOS}
    return machine


def censored(noise: float, chance: np.random.Generator) -> Machine:
    """A smooth curve that falls off a cliff at some ratio, to 5 % or less, or to trials that never end; these are
    stopped, and so are one in fifty of the others, which hang.
    """
    machine = smooth(noise, chance)
    cliff = chance.integers(0, 8)
    beyond = np.sort(chance.uniform(0.95, 0.99, 7 - cliff))
    for ratio, loss in zip(RATIOS[1 + cliff :], beyond, strict=True):
        machine.losses[ratio] = max(float(loss), machine.losses[ratio])
    for ratio in RATIOS[1 + chance.integers(cliff, 8) :]:
        machine.losses[ratio] = 1.0
    machine.stops, machine.hangs = True, 0.02
    return machine


def deployments(noise: float, chance: np.random.Generator) -> Machine:
    """A smooth curve, half of whose noise is that of deployments: on real hosts, where each change of the ratio is
    one."""
    machine = smooth(noise / math.sqrt(2), chance)
    machine.deployed = noise / math.sqrt(2)
    return machine


def _disturbed(noise: float, chance: np.random.Generator) -> Machine:
    """A smooth curve of what the CPU limits the more the more it is folded, with slopes of 0 to 3 that differ."""
    machine = smooth(noise, chance)
    limited = np.sort(chance.uniform(0.0, 1.0, 8))
    limited[0] = chance.choice([0.0, limited[0]])
    machine.limited = dict(zip(RATIOS, limited.tolist(), strict=True))
    slope = chance.uniform(0.0, 3.0)
    machine.slopes = {ratio: slope * chance.uniform(0.6, 1.4) for ratio in RATIOS}
    return machine


def bursts(noise: float, chance: np.random.Generator) -> Machine:
    """A machine whose hypervisor takes little, and in bursts of some trials 5 to 20 %."""
    machine = _disturbed(noise, chance)
    calm, burst = chance.uniform(0.0, 0.02), chance.uniform(0.05, 0.20)
    stays = np.array([chance.uniform(0.5, 0.95), chance.uniform(0.3, 0.9)])
    state, course = 0, []
    for _ in range(2000):
        state = state if chance.random() < stays[state] else 1 - state
        course.append((calm, burst)[state] * chance.uniform(0.7, 1.3))
    machine.steal = course.__getitem__
    return machine


def neighbours(noise: float, chance: np.random.Generator) -> Machine:
    """A machine with neighbours that come and go: 2 to 20 % stolen, more and less over tens of trials."""
    machine = _disturbed(noise, chance)
    walk = np.cumsum(chance.standard_normal(2000)) * chance.uniform(0.05, 0.5) + chance.uniform(0, 7)
    course = 0.11 + 0.09 * np.sin(walk)
    machine.steal = lambda number: float(course[number])
    return machine


def slow_seconds(noise: float, chance: np.random.Generator) -> Machine:
    """A machine a CPU second of which does more and less, by up to 10 %, with a hypervisor that takes some per cent."""
    machine = _disturbed(noise, chance)
    walk = np.cumsum(chance.standard_normal(2000)) * chance.uniform(0.05, 0.5)
    slowness, steal = chance.uniform(0.02, 0.10) * np.sin(walk), chance.uniform(0.0, 0.06, 2000)
    machine.slowness, machine.steal = lambda number: float(slowness[number]), lambda number: float(steal[number])
    return machine


DISTURBED = (bursts, neighbours, slow_seconds)
SHAPES = (
    *(smooth, edges, never, stairs, not_monotone, drifting, heavy_tails, outliers, unequal, censored),
    *DISTURBED,
    deployments,
)


@dataclass(frozen=True)
class Outcome:
    """What became of one curve."""

    trials: int
    wrong: bool
    answered: bool
    off: bool = False
    """Whether an interval of a loss did not contain it at any look."""
    deployments: int = 0
    """How often the ratio changed."""

    @property
    def right(self) -> bool:
        """An answer, and not a wrong one."""
        return self.answered and not self.wrong


def off(verdict: Verdict, losses: Mapping[float, float]) -> bool:
    """Whether an interval does not contain the true loss."""
    return any(
        row.loss_low is not None
        and not row.loss_low <= losses[row.ratio] <= (math.inf if row.loss_high is None else row.loss_high)
        for row in verdict.ratios
    )


def outcome(verdict: Verdict, losses: Mapping[float, float]) -> Outcome:
    """A verdict against the truth."""
    wrong = any(
        (row.state == "holds" and losses[row.ratio] > MAX_LOSS + ZONE)
        or (row.state == "breaks" and losses[row.ratio] < MAX_LOSS - ZONE)
        for row in verdict.ratios
    )
    held, broken = verdict.holds_up_to or UNFOLDED, verdict.breaks_at or math.inf
    undecided = [row.ratio for row in verdict.ratios if row.state == "undecided"]
    open_ = any(held < ratio < broken for ratio in undecided)
    missed = any(
        (ratio < held and losses[ratio] > MAX_LOSS + ZONE) or (ratio > broken and losses[ratio] < MAX_LOSS - ZONE)
        for ratio in undecided
    )
    return Outcome(sum(row.trials for row in verdict.ratios), wrong, not open_ and not missed)


def verdict_on(trials: Sequence[Trial], most: int | None) -> Verdict:
    """What those trials show."""
    values, numbers = by_ratio(trials, METRIC.name)
    hosts = dict.fromkeys(RATIOS, 1)
    bounds = bounds_by_ratio(trials, METRIC.name)
    disturbance = covariates(trials, METRIC.name)
    return judge(Series("x", "w", METRIC, MAX_LOSS, hosts, values, numbers, ZONE, most, bounds, disturbance))


def searched(machine: Machine, seed: int, stays: bool = False, prior: int | None = None) -> Outcome:
    """The search, to its end; `stays` as in `Question`; with a `prior` it begins so many ratios from the break."""
    start = {} if prior is None else {"": told_to_break(machine.losses, prior)}
    search = Adaptive(Question({"w": (METRIC,)}, RATIOS, ("",), MAX_LOSS, ZONE, MOST, seed, start=start, stays=stays))
    over: list[Trial] = []
    ever_off = False
    while (todo := search.next(over)) is not None:
        ever_off = ever_off or any(off(verdict, machine.losses) for verdict in search.verdicts(over))
        over.append(machine.trial(len(over) + 1, todo))
    last = verdict_on(over, MOST)
    found = outcome(last, machine.losses)
    return replace(found, off=ever_off or off(last, machine.losses), deployments=machine.deployments)


def told_to_break(losses: Mapping[float, float], off: int) -> float:
    """The ratio at which it is said to break, `off` ratios from where it does; the last one if it does not."""
    folded = RATIOS[1:]
    at = next((place for place, ratio in enumerate(folded) if losses[ratio] > MAX_LOSS), len(folded) - 1)
    return folded[min(max(at + off, 0), len(folded) - 1)]


def grid(machine: Machine, repetitions: int, seed: int) -> Outcome:
    """A full grid, judged once."""
    todo = schedule(["w"], RATIOS, repetitions, seed)
    trials = [machine.trial(number, each) for number, each in enumerate(todo, 1)]
    return outcome(verdict_on(trials, None), machine.losses)


Shape = Callable[[float, np.random.Generator], Machine]


def machines(shape: Shape, noise: float, curves: int, told: bool = True) -> Iterator[Machine]:
    """The same curves each time; unless it is `told`, nobody knows what disturbed their trials."""
    for number in range(curves):
        machine = shape(noise, np.random.default_rng([SHAPES.index(shape), round(1000 * noise), number]))
        machine.told = told
        yield machine


def share(found: Sequence[bool]) -> float:
    """How many of them are true."""
    return sum(found) / len(found)


def equal_grid(shape: Shape, noise: float, curves: int, told: bool, right: float) -> int:
    """The fewest repetitions with which a full grid is right as often; `MOST_OF_A_GRID` if it is not with so many."""
    few, many = 1, MOST_OF_A_GRID
    while many - few > 1:
        repetitions = (few + many) // 2
        found = [grid(m, repetitions, n).right for n, m in enumerate(machines(shape, noise, curves, told))]
        few, many = (few, repetitions) if share(found) >= right else (repetitions, many)
    return many


def cell(asked: tuple[int, float, int, bool]) -> str:
    """One row of the table."""
    shape, noise, curves, told = SHAPES[asked[0]], *asked[1:]
    found = [searched(machine, number) for number, machine in enumerate(machines(shape, noise, curves, told))]
    right = share([each.right for each in found])
    trials = float(np.mean([each.trials for each in found]))
    full = equal_grid(shape, noise, curves, told, right) * len(RATIOS)
    more = "≥ " if full == MOST_OF_A_GRID * len(RATIOS) else ""
    wrong, open_ = share([each.wrong for each in found]), share([not each.answered for each in found])
    ever_off = share([each.off for each in found])
    shares = (
        f"{wrong:.1%} | {ever_off:.1%} | {right:.0%} | {open_:.0%} | {trials:.0f} | {more}{full} | {trials / full:.0%}"
    )
    name = shape.__name__.replace("_", " ") + (", blind" if not told else "")
    return f"| {name} | {noise:.0%} | {shares} |".replace("%", " %")


def told_right(found: Sequence[Outcome]) -> str:
    """How many of the searches were wrong, ever off, and right."""
    wrong, ever_off, right = (share([getattr(each, name) for each in found]) for name in ("wrong", "off", "right"))
    return f"{wrong:.1%} | {ever_off:.1%} | {right:.0%}"


def apart(asked: tuple[int, float, int, bool]) -> str:
    """One row of the table of what it costs that each ratio needs a deployment, with and without staying where one
    is."""
    shape, noise, curves, stays = SHAPES[asked[0]], *asked[1:]
    found = [searched(machine, number, stays) for number, machine in enumerate(machines(shape, noise, curves))]
    trials, count = (float(np.mean([getattr(each, name) for each in found])) for name in ("trials", "deployments"))
    how = "stays" if stays else "at random"
    figures = f"{told_right(found)} | {trials:.0f} | {count:.0f}"
    return f"| {shape.__name__} | {noise:.0%} | {how} | {figures} |".replace("%", " %")


PRIORS = {None: "none", 0: "right", -1: "a ratio too early", 1: "a ratio too late", 3: "three too late"}


def foretold(asked: tuple[int, float, int, int | None]) -> str:
    """One row of the table of what a prior costs or saves."""
    shape, noise, curves, prior = SHAPES[asked[0]], *asked[1:]
    found = [searched(m, number, prior=prior) for number, m in enumerate(machines(shape, noise, curves))]
    figures = f"{told_right(found)} | {float(np.mean([each.trials for each in found])):.1f}"
    return f"| {shape.__name__.replace('_', ' ')} | {noise:.0%} | {PRIORS[prior]} | {figures} |".replace("%", " %")


HEADS: dict[Callable[..., str], str] = {
    cell: "curve | noise | wrong | ever off | right | undecided | trials | grid as often right | of it",
    apart: "curve | noise | blocks | wrong | ever off | right | trials | deployments",
    foretold: "curve | noise | prior | wrong | ever off | right | trials",
}
"""The titles of the columns that each kind of row has."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=int, default=400)
    parser.add_argument("--noise", default=",".join(f"{noise:.0%}".rstrip("%") for noise in NOISES))
    parser.add_argument("--shapes", default=",".join(shape.__name__ for shape in SHAPES))
    parser.add_argument("--blind", action="store_true", help="as if nobody knew what disturbed trials")
    parser.add_argument("--apart", action="store_true", help="what it costs that each ratio needs a deployment")
    parser.add_argument("--prior", action="store_true", help="what a prior costs or saves, right and wrong")
    asked = parser.parse_args()
    row: Callable[..., str] = foretold if asked.prior else apart if asked.apart else cell
    each: Iterable[int | None] = PRIORS if asked.prior else (False, True) if asked.apart else (not asked.blind,)
    names = [shape.__name__ for shape in SHAPES]
    cells = [
        (names.index(name), float(noise) / 100, asked.curves, told)
        for name in asked.shapes.split(",")
        for noise in asked.noise.split(",")
        for told in each
    ]
    began = time.monotonic()
    print(f"| {HEADS[row]} |")
    print("| --- " * (HEADS[row].count("|") + 1) + "|")
    with multiprocessing.Pool() as pool:
        for line in pool.imap(row, cells):
            print(line, flush=True)
    print(f"\n{len(cells)} cells of {asked.curves} curves in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
