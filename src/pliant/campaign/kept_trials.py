"""Where a run's trials go: into the store of artefacts when they are done, and out of it when they were before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from pliant.campaign.determinants import Determined
from pliant.errors import FatalError
from pliant.platforms.here import STATE
from pliant.results.artefacts import DETERMINED, RECORD, Artefacts, changed, remove_tree, seal, sync_directory
from pliant.statistics.search import Todo
from pliant.trial import Trial
from pliant.units import format_size

ROOM_BYTES = 8 * 2**20
"""What has to be free on a disk for a trial to begin: more than the output, telemetry and logs of most."""


class Keeper:
    """The directory of a run, and the store that its trials are kept in; `determined` by file system."""

    def __init__(self, directory: Path, artefacts: Artefacts, determined: Mapping[str, Determined]) -> None:
        self.directory, self.artefacts, self._determined = directory, artefacts, determined
        with artefacts.held():
            artefacts.name(directory)

    def key(self, todo: Todo) -> str:
        """The key of a trial."""
        return self._determined[todo.filesystem].key(todo)

    def reuse(self, todo: Todo, number: int, attempt: int, directory: str, said: Callable[[str], None]) -> Trial | None:
        """The trial of the same key, as the `number`th of this run and the `attempt`th at it; None if there is none.

        It is linked to from `directory`. One that was changed since is not believed, and `said`.
        """
        key = self.key(todo)
        with self.artefacts.held():
            artefact = self.artefacts.find(key)
            if artefact is None:
                return None
            if problems := changed(artefact):
                said(f"{problems[0]}: measured anew; see `pliant verify`")
                return None
            record = json.loads((artefact / RECORD).read_text())
            self._link(directory, artefact)
        found = Trial.from_json(record["trial"])
        own = record["run"] == str(self.directory.resolve())  # what was killed between keeping and storing it
        return replace(
            found,
            number=number,
            filesystem=todo.filesystem,
            workload=todo.workload,
            attempt=attempt,
            directory=directory,
            reused="" if own else f"{record['run']}, {found.started_at}",
        )

    def keep(self, trial: Trial, todo: Todo) -> None:
        """Seal what a trial left; what is done goes into the store, and a link to it stays. Raises OSError."""
        target = self.directory / trial.directory
        record = {"trial": trial.to_json(), "run": str(self.directory.resolve())}
        documents = {RECORD: json.dumps(record, indent=1).encode() + b"\n"}
        # One that was stopped as well: what it was held against is its own run's, and another's may stop it elsewhere.
        if trial.state != "done":
            target.mkdir(parents=True, exist_ok=True)
            seal(target, documents)
            return
        determined = json.dumps(self._determined[todo.filesystem].document(todo), indent=1, sort_keys=True)
        with self.artefacts.held():
            seal(target, documents | {DETERMINED: determined.encode() + b"\n"})
            artefact = self.artefacts.add(trial.key, f"{trial.workload}-ratio{trial.ratio:g}", target)
            if artefact is not None:
                self._link(trial.directory, artefact)

    def _link(self, directory: str, artefact: Path) -> None:
        link = self.directory / directory
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink() or link.exists():
            remove_tree(link)
        link.symlink_to(artefact)
        sync_directory(link.parent)

    def need_room(self) -> None:
        """FatalError if one of the disks that a trial is written to is as good as full."""
        for what in (self.directory, self.artefacts.directory, STATE):
            there = next(path for path in (what, *what.parents) if path.exists())
            free = shutil.disk_usage(there).free
            if free < ROOM_BYTES:
                raise FatalError(
                    f"the disk of {what} is full: {format_size(free // 1024 * 1024)} are free, and a trial needs "
                    f"{format_size(ROOM_BYTES)}; make room, then run the same command again: it goes on from here"
                )
