"""Runs whose trials are in a store of artefacts, for the tests of what is done with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import runs

from pliant.campaign.kept_trials import Keeper
from pliant.digest import key
from pliant.results.artefacts import Artefacts
from pliant.results.store import Store
from pliant.statistics.search import Todo
from pliant.trial import Trial


class Determined:
    """What determines a trial, without a study."""

    def __init__(self, kernel: str = "6.18") -> None:
        self.kernel = kernel

    def document(self, todo: Todo) -> dict[str, object]:
        return {"kernel": self.kernel, **todo._asdict()}

    def key(self, todo: Todo) -> str:
        return key(self.document(todo))


def todo_of(trial: Trial) -> Todo:
    return Todo(trial.workload, trial.ratio, trial.repetition, trial.filesystem)


def output(directory: Path, trial: Trial) -> None:
    """What a trial leaves in its directory."""
    (directory / trial.directory / "logs").mkdir(parents=True)
    (directory / trial.directory / "write.out").write_text(f"trial {trial.number}\n")
    (directory / trial.directory / "logs/server1-brick.log").write_text("I am up\n" * 9)


def make(directory: Path, store: Path, many: list[Trial] | None = None) -> Path:
    """A run in `directory`, its trials in `store`."""
    with Store.create(directory, runs.STUDY, {"study": {"name": "synthetic"}}, [runs.info()], runs.FACTS) as database:
        keeper = Keeper(directory, Artefacts(store), {"": Determined()})
        for each in runs.with_usage(runs.trials()) if many is None else many:
            trial = replace(each, key=keeper.key(todo_of(each)))
            database.begin(trial)
            output(directory, trial)
            keeper.keep(trial, todo_of(trial))
            database.end(trial)
    return directory
