"""The directory of a run while somebody works in it: who may, and how a run that was interrupted goes on."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pliant.campaign.determinants import differences
from pliant.errors import UserError
from pliant.platforms import here, opening
from pliant.platforms.here import alive, start_time
from pliant.platforms.interface import TeardownError
from pliant.results.artefacts import remove_tree
from pliant.results.store import DATABASE, Store, holds_run
from pliant.statistics.search import Todo, key_of
from pliant.trial import Trial, TrialState

LOCK = "lock"
FINISHED = "finished"
"""The document that says when a run came to its end."""
CONDITIONS = "conditions"
"""The document of what determines all of its trials, on every file system."""
FRESH = "fresh"
"""The document that names a run that shares no trial with others; empty if it does."""
SPENT = "spent_s"
"""The document of the seconds that a run has taken so far, without interruptions."""
PLAN = "plan"
"""The document of the trials that are `left`, as far as it is known, and of those that were `skipped`."""
_HALF_MADE = f".{DATABASE}.new"
_LENDING = "hosts ssh_config network front nodes walltime queue properties types project begin job keep"
_HARMLESS = (
    *("study.description", "study.budget", "power", "fold.metrics"),
    *(f"platform.{key}" for key in _LENDING.split()),
)
"""Keys of a study that may change while its run is interrupted: no trial depends on them. What machines are like is
compared, and which ones they are is not: one that has failed may have another in its place."""

RunState = Literal["running", "interrupted", "complete"]


def check_free(directory: Path) -> None:
    """UserError if something is in the way of a run: a file, or a directory with what is no run's."""
    if holds_run(directory):
        return
    if directory.exists() and not directory.is_dir():
        raise UserError(f"{directory} is a file; choose another directory with --output")
    strange = list(directory.glob("*")) if directory.is_dir() else []
    if any(path.name not in (LOCK, DATABASE) and not path.name.startswith(_HALF_MADE) for path in strange):
        raise UserError(f"{directory} exists, is not empty and holds no run; choose another directory with --output")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """A time in which this process alone runs a study in a directory, which is made. UserError if another does."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / LOCK).open("a+")
    except OSError as error:
        raise UserError(f"cannot make the run directory {directory}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _holder(directory)
            whose = f" (process {who[0]})" if who else ""
            raise UserError(
                f"another `pliant run`{whose} is at work in {directory}; wait for it, see `pliant status {directory}`, "
                f"or choose another directory with --output"
            ) from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "started": start_time(os.getpid())}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _holder(directory: Path) -> tuple[int, int] | None:
    """Whoever wrote down that it runs there: its PID, and when it started."""
    try:
        said = json.loads((directory / LOCK).read_text())
        return int(said["pid"]), int(said["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def state_of(store: Store, *, mine: bool = False) -> RunState:
    """How it is with a run, or with one that this process is about to take over. Nothing is locked to find out."""
    holder = None if mine else _holder(store.directory)
    if holder is not None and alive(*holder):
        return "running"
    if store.document(FINISHED) or not store.document(CONDITIONS):  # of older versions nobody knows
        return "complete"
    return "interrupted"


def changes(store: Store, study: Mapping[str, Any], conditions: Mapping[str, Any] | None) -> str:
    """Why a run cannot go on with a study, in a sentence without a remedy; "" if it can.

    None stands for conditions that matter no more.
    """
    if not store.document(CONDITIONS):
        return "it was begun by an older pliant"
    found = [
        each
        for each in differences(store.study(), study)
        if not each.startswith(tuple(f"{key}{end}" for key in _HARMLESS for end in (" ", ".")))
    ]
    if found:
        more = f" ({len(found) - 1} more)" if found[1:] else ""
        return f"it is of another study: {found[0]}{more}"
    if conditions is None:
        return ""
    found = list(differences(json.loads(store.document(CONDITIONS)), conditions))
    return f"this is not what it was begun on: {found[0]}" if found else ""


def go_on(store: Store) -> int:
    """Remove what an interruption left of half trials, and return how many trials have ended. Can be interrupted
    anywhere itself."""
    half = [trial.number for trial in store.trials() if trial.half]
    over = len(store.trials()) - len(half)
    known = {trial.directory for trial in store.trials() if not trial.half}
    trials = store.directory / "trials"
    for path in sorted(trials.iterdir()) if trials.is_dir() else ():
        if f"trials/{path.name}" not in known:
            remove_tree(path)
    store.forget(half)
    if over or half:
        at = datetime.now(UTC).isoformat(timespec="seconds")
        said = f"after {over} trials, at {at}"
        before = store.facts().get("resumed", "")
        store.set_fact("resumed", f"{before}; {said}" if before else said)
    return over


def remove_deployments(directories: Iterable[Path]) -> list[str]:
    """Remove what is left of deployments that were made for runs in these directories and whose maker is dead.

    What is on other machines that cannot be reached now is told, a sentence each.
    """
    left = []
    runs = {str(directory.resolve()) for directory in directories}
    for journal in here.deployments():
        owner = journal.owner()
        if owner is not None and owner.run in runs and not owner.alive:
            try:
                opening.remove(journal)
            except TeardownError as error:
                if not here.is_elsewhere(journal):
                    raise
                left.append(str(error))
    return left


def newest(base: Iterable[Path]) -> list[Path]:
    """Directories of runs among these, the one that was worked in last first."""
    runs = [path for path in base if holds_run(path)]
    return sorted(runs, key=lambda path: (path / DATABASE).stat().st_mtime, reverse=True)


@dataclass(frozen=True)
class Status:
    """How it is with a run: how many trials are in which state, and those that have begun, in order."""

    state: RunState
    counts: Mapping[TrialState, int]
    trials: tuple[Trial, ...]
    left: tuple[Todo, ...]
    skipped: tuple[Todo, ...]
    spent_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        many = {"left": self.left, "skipped": self.skipped}
        names = ("number", "filesystem", "workload", "ratio", "repetition", "attempt", "state", "reason", "started_at")
        return {
            "state": self.state,
            "spent_s": self.spent_s,
            "trials": dict(self.counts),
            "begun": [{n: getattr(t, n) for n in (*names, "duration_s", "reused")} for t in self.trials],
            **{name: [todo._asdict() for todo in todos] for name, todos in many.items()},
        }


def status(directory: Path) -> Status:
    """How it is with the run in a directory, now; nobody is disturbed by it. UserError if there is none."""
    with Store.look(directory) as store:
        state, trials = state_of(store), store.trials()
        plan = json.loads(store.document(PLAN) or '{"left": [], "skipped": []}')
        spent_s = float(store.document(SPENT) or 0)
    if state == "running":  # what is written down is as of the last trial that ended
        starts = [datetime.fromisoformat(trial.started_at) for trial in trials if trial.state == "running"]
        spent_s += sum(max(0.0, (datetime.now(UTC) - start).total_seconds()) for start in starts)
    trials = [trial for trial in trials if not trial.half or state != "interrupted"]
    begun = {key_of(trial) for trial in trials if trial.state == "running"}
    left, skipped = ([Todo(*each) for each in plan[name]] for name in ("left", "skipped"))
    left = [todo for todo in left if todo.key not in begun]
    counts: dict[TrialState, int] = {"todo": 0 if state == "complete" else len(left)}
    for name in ("running", "done", "censored", "failed", "invalid"):
        counts[name] = sum(trial.state == name for trial in trials)
    counts["skipped"] = len(skipped)
    return Status(state, counts, tuple(trials), tuple(left), tuple(skipped), spent_s)
