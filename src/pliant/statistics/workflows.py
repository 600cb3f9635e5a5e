"""The two workflows on one study: what each costs, what each says, and whether they agree. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pliant.statistics.verdict import RatioVerdict, Verdict

Agreement = str
"""`agree`: both say the same; `contradict`: one holds, the other breaks; else who is undecided: `dev` or `verified`."""


@dataclass(frozen=True)
class Row:
    """One metric at one folded ratio, as each workflow has it: loss as a fraction, or None, and the state.

    `at_least` names the workflows in which the loss is that or more, as trials were stopped.
    """

    filesystem: str
    workload: str
    metric: str
    ratio: float
    losses: Mapping[str, float | None]
    states: Mapping[str, str]
    at_least: tuple[str, ...] = ()

    @property
    def agreement(self) -> Agreement:
        """See Agreement."""
        if len(set(self.states.values())) == 1:
            return "agree"
        undecided = [workflow for workflow, state in self.states.items() if state == "undecided"]
        return undecided[0] if undecided else "contradict"


@dataclass(frozen=True)
class Workflows:
    """Both workflows: seconds that a trial took in each, all included, and what they say of each metric and ratio."""

    trial_s: Mapping[str, float | None]
    rows: tuple[Row, ...]

    @property
    def sentence(self) -> str:
        """In words, with a full stop."""
        count = len(self.rows)
        same = sum(row.agreement == "agree" for row in self.rows)
        against = sum(row.agreement == "contradict" for row in self.rows)
        said = f"The workflows agree on {same} of {count} states"
        said += f", contradict each other on {against}" if against else ", and contradict each other nowhere"
        rest = count - same - against
        return f"{said}; on {rest} only one of them decides." if rest else f"{said}."

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        rows = [{**asdict(row), "at_least": list(row.at_least), "agreement": row.agreement} for row in self.rows]
        return {"sentence": self.sentence, "trial_s": dict(self.trial_s), "rows": rows}


def compare(verdicts: Mapping[str, Sequence[Verdict]], trial_s: Mapping[str, float | None]) -> Workflows:
    """Compare workflows by their verdicts, workflow -> those of all metrics and file systems."""
    known = {
        workflow: {(v.filesystem, v.workload, v.metric.name): v for v in many} for workflow, many in verdicts.items()
    }
    rows = []
    for key, first in next(iter(known.values())).items():
        for ratio in (row.ratio for row in first.folded):
            found: dict[str, RatioVerdict] = {workflow: each[key].at(ratio) for workflow, each in known.items()}
            losses = {workflow: row.loss for workflow, row in found.items()}
            states: dict[str, str] = {workflow: row.state for workflow, row in found.items()}
            at_least = tuple(workflow for workflow, row in found.items() if row.at_least)
            rows.append(Row(*key, ratio, losses, states, at_least))
    return Workflows(trial_s, tuple(rows))
