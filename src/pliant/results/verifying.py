"""Whether everything is as it was written: the digests of a run, or of the whole store, computed again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pliant.digest import KEY, key
from pliant.results.artefacts import DETERMINED, RECORD, Artefacts, changed
from pliant.results.store import Store
from pliant.trial import Trial

_OF_THE_RUN = ("number", "attempt", "directory", "filesystem", "workload", "reused")
"""What a run says of a trial that it shares with others: its record says what the run that measured it did."""


def of_run(directory: Path) -> Iterator[str]:
    """What is not as it was written in a run and in the artefacts that it links to, a sentence for each."""
    with Store.look(directory) as store:
        yield from store.changed()
        trials = store.trials()
    for trial in trials:
        where = directory / trial.directory
        if trial.half or not trial.key:
            continue  # of what was cut short, and of what older versions left, there are no digests
        if not where.exists():
            lost = f", which links to {where.readlink()}, has nothing there" if where.is_symlink() else " is missing"
            yield f"{where}{lost}"
            continue
        yield from _of_trial(where, trial)
    known = {trial.directory for trial in trials}
    there = sorted((directory / "trials").iterdir()) if (directory / "trials").is_dir() else []
    yield from (f"{path} is too much" for path in there if f"trials/{path.name}" not in known)


def _of_trial(where: Path, trial: Trial) -> Iterator[str]:
    real = where.resolve()
    yield from changed(real)
    if where.is_symlink():
        yield from _of_artefact(real)
    try:
        recorded = Trial.from_json(json.loads((real / RECORD).read_text())["trial"]).to_json()
    except (OSError, ValueError, KeyError, TypeError):
        return  # it is missing, or changed, which was said
    wanted = trial.to_json()
    differ = [name for name in wanted if name not in _OF_THE_RUN and wanted[name] != recorded[name]]
    if differ:
        yield f"{where} is of another trial than the database says: {', '.join(differ)} differ"


def of_store(artefacts: Artefacts) -> Iterator[str]:
    """What is not as it was written in the whole store, a sentence for each."""
    for path in artefacts.all():
        yield from changed(path)
        yield from _of_artefact(path)


def _of_artefact(path: Path) -> Iterator[str]:
    """Whether a name is the key of what determined the artefact."""
    named = path.name.partition("-")[0]
    try:
        determined = json.loads((path / DETERMINED).read_text())
        if not KEY.fullmatch(named) or key(determined) != named:
            yield f"{path} is not what its name says: the key of {DETERMINED} is {key(determined)}"
    except (OSError, ValueError):
        return  # it is missing, or changed, which was said
