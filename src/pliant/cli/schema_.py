"""`pliant schema`."""

from __future__ import annotations

from pathlib import Path

import click

from pliant.cli.common import written


@click.command(short_help="Print the study file's JSON Schema, for editors.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write it to a file.")
def command(output: Path | None) -> None:
    """Print the JSON Schema of study files, by which editors complete and check them while they are written.

    A study names it in its first line, "#:schema study.schema.json", as Taplo and the editors that use it take it
    (Even Better TOML in VS Code, among others). The file systems and workloads are those that are installed here.
    """
    import json

    from pliant.study.schema import document

    written(json.dumps(document(), indent=2, ensure_ascii=False) + "\n", output)
