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
from study_files import edited

from pliant import engine, preparation
from pliant import mpi as mpi_
from pliant.artefacts import Artefacts
from pliant.machine import facts
from pliant.store import Store
from pliant.study import parse
from pliant.trial import Trial

MACHINE = facts.Facts(True, 4, 24 * 2**30, 400 * 2**30, "v1", "", True, True, True, "6.18", "Debian 12", "a CPU")
MPI = mpi_.Mpi("mpich", "/venv/bin/mpiexec", "MPICH 4.2", {})


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
    facts.look = lambda: MACHINE
    facts.missing = lambda programs: []
    facts.missing_filesystems = lambda names: []
    facts.package_versions = lambda packages: dict.fromkeys(packages, "1")
    facts.version = lambda argv: "1"
    preparation.promises = lambda: []
    preparation.mpi_.find = lambda asked, program: MPI
    engine._Runner.take_turns = lambda self, todo: None
    engine._Runner.recover = lambda self, trial: None
    engine._Runner.measure = measure
    end = Store.end

    def end_or_die(self, trial: Trial) -> None:
        if trial.number == last:
            os.kill(os.getpid(), signal.SIGKILL)
        end(self, trial)

    Store.end = end_or_die
    study = parse(edited('name = "small" => name = "small" \n search = "grid"'), "a.toml")
    engine.run(preparation.prepare(study), directory, Silent(), Artefacts(store))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if sys.argv[3:] else 0)
