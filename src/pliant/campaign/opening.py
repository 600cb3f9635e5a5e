"""Opening the store of a run: a new one, one that goes on, or the last one of the study that was interrupted."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from pliant.campaign import rundir
from pliant.campaign.description import conditions_of, document_of, facts_of, info_of
from pliant.campaign.listener import Listener
from pliant.campaign.preparation import Prepared
from pliant.errors import UserError
from pliant.results.store import Store, holds_run
from pliant.trial import Workflow


def opened(prepared: Sequence[Prepared], directory: Path, workflow: Workflow, fresh: bool, listener: Listener) -> Store:
    """The store of a new run, or of the run that is there, ready to go on. Raises UserError if that cannot be."""
    study = prepared[0].all_of_it
    document, infos = document_of(study, workflow), [info_of(each, workflow) for each in prepared]
    conditions = conditions_of(prepared, workflow)
    if not holds_run(directory):
        more = {rundir.CONDITIONS: json.dumps(conditions), rundir.FRESH: secrets.token_hex(8) if fresh else ""}
        return Store.create(directory, study.text, document, infos, facts_of(prepared), more)
    store = Store.open(directory)
    try:
        same_budget = store.study().get("study", {}).get("budget") == document["study"].get("budget")
        complete = rundir.state_of(store, mine=True) == "complete" and same_budget
        if why := rundir.changes(store, document, None if complete else conditions):
            raise UserError(f"{directory} holds a run that cannot go on: {why}; choose another directory with --output")
        if complete:
            again = "to measure again, add --fresh and another --output"
            listener.note(f"{directory} holds this run, and it is complete: nothing is measured; {again}")
        else:
            over = rundir.go_on(store)
            begun = [replace(info, start=old.start) for info, old in zip(infos, store.infos(), strict=True)]
            runs = json.dumps([each.to_json() for each in begun])
            named = store.document(rundir.FRESH) or (secrets.token_hex(8) if fresh else "")
            more = {"study.toml": study.text, "study": json.dumps(document), "run": runs}
            store.set_documents({**more, rundir.FRESH: named, rundir.FINISHED: ""})
            listener.note(f"the run in {directory} goes on: {over} trials have ended")
    except BaseException:
        store.close()
        raise
    return store


def unfinished(
    prepared: Sequence[Prepared], workflow: Workflow, fresh: bool, directories: Iterable[Path]
) -> Path | None:
    """The last of the directories with a run of the same study that was interrupted; None if none has."""
    document, conditions = document_of(prepared[0].all_of_it, workflow), conditions_of(prepared, workflow)
    for directory in rundir.newest(directories):
        try:
            with Store.look(directory) as store:
                same = rundir.state_of(store) == "interrupted" and not rundir.changes(store, document, conditions)
                if same and (not fresh or store.document(rundir.FRESH)):
                    return directory
        except UserError:  # what cannot be read is nothing that goes on
            continue
    return None
