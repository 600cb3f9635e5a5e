"""What several commands share."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from pliant.errors import UserError
from pliant.platforms.here import STATE, Journal, deployments, is_elsewhere, is_part, running

study_argument = click.argument("study", type=click.Path(path_type=Path, readable=False))  # `load` says it better


def need_root(what: str) -> None:
    """UserError unless this process may make namespaces and limits."""
    if os.geteuid() != 0:
        raise UserError(f"{what} needs root, to make namespaces, mounts and control groups; run it with sudo")


def chosen(deployment: str | None, how: str = "name one with --id") -> Journal:
    """The deployment of that id, or the only one that runs, or that there is. UserError if that is not one.

    `how` says how to name one.
    """
    # What another machine has here is chosen by whoever names it.
    found = [journal for journal in deployments() if not is_part(journal)]
    if deployment is None:
        up = [journal.id for journal in running()]
        found = [journal for journal in found if journal.id in up or is_elsewhere(journal)] or found
        if len(found) == 1:
            return found[0]
        said = (
            f"{len(found)} deployments are up ({', '.join(j.id for j in found)}); {how}"
            if found
            else "no deployment is up; start one with `pliant up STUDY`"
        )
        raise UserError(said)
    if not re.fullmatch("[0-9a-f]+(-[0-9]+)?", deployment) or not (STATE / deployment).is_dir():
        known = ", ".join(j.id for j in found) or "none"
        raise UserError(f'there is no deployment "{deployment}"; up: {known}')
    return Journal(deployment)


def usable(deployment: str | None, what: str, how: str = "name one with --id") -> Journal:
    """The deployment that is `chosen`, of which this user can do something ("running a command"). UserError."""
    if os.geteuid() != 0 and not deployments():
        need_root(what)
    journal = chosen(deployment, how)
    if not is_elsewhere(journal):
        need_root(what)
    return journal


def need_kept(journal: Journal, what: str) -> Journal:
    """The same deployment; UserError unless `pliant up` left it. `what` is what was to be done: "reset"."""
    owner = journal.owner()
    if owner is None or not owner.keep:
        raise UserError(f"deployment {journal.id} was not left up by `pliant up`, so it cannot be {what} by hand")
    return journal


def written(text: str, output: Path | None) -> None:
    """Write what was asked for to that file, whole or not at all, or to standard output. UserError if it cannot be."""
    from pliant.results.store import write_atomically

    if output is None:
        print(text, end="")
        return
    try:
        write_atomically(output, text.encode())
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from error
