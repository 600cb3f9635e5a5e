"""`pliant trials`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from pliant.results.trial_table import Format


@click.command(short_help="Write all trials of a run as a table.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(["csv", "json", "parquet"]), default="csv", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default standard output.")
def command(run: Path, form: Format, output: Path | None) -> None:
    """Write every trial of RUN, the directory of a run, whatever its state: a row for each trial and metric."""
    from pliant.errors import UserError
    from pliant.results.store import Store, write_atomically
    from pliant.results.trial_table import table

    with Store.look(run) as store:
        content = table(form, store.trials(), store.infos())
    if output is None:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        write_atomically(output, content)
    except OSError as error:
        raise UserError(f"cannot write {output}: {error.strerror}") from error
