"""A run of a study whose trials take no time and need no machine, to be killed: DIRECTORY STORE [NUMBER].

It kills itself between keeping what trial NUMBER left and storing that the trial has ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from prepared_studies import Machine, study

from pliant.campaign import engine, preparation
from pliant.results.artefacts import Artefacts
from pliant.results.store import Store
from pliant.trial import Trial


class Silent:
    """A listener that says when a trial has ended."""

    def __getattr__(self, name: str):
        return lambda *_, **__: None

    def ended(self, trial: Trial, *_: object) -> None:
        print(trial.number, flush=True)


def measure(self, trial: Trial) -> Trial:
    """Leave some files; a few trials fail once."""
    target = self.directory / trial.directory
    (target / "logs").mkdir(parents=True)
    for name in ("write.out", "telemetry.txt", "logs/server1.log"):
        (target / name).write_text(f"{trial.workload} {trial.ratio} {trial.repetition} " * 50)
        time.sleep(0.002)
    if trial.ratio == 2 and trial.repetition == 1 and trial.attempt == 1:
        return replace(trial, state="failed", reason="no route")
    return replace(trial, state="done", metrics={"write_bandwidth": trial.ratio * trial.repetition})


def main(directory: Path, store: Path, last: int) -> None:
    """Run it, or go on with it, up to the `last` trial."""
    Machine().stand_in(setattr)
    engine._Runner.take_turns = lambda self, todo: None
    engine._Runner.recover = lambda self, trial: None
    engine._Runner.measure = measure
    end = Store.end

    def end_or_die(self, trial: Trial) -> None:
        if trial.number == last:
            os.kill(os.getpid(), signal.SIGKILL)
        end(self, trial)

    Store.end = end_or_die
    grid = study('name = "small" => name = "small" \n search = "grid"')
    engine.run(preparation.prepare(grid), directory, Silent(), Artefacts(store))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else 0)
