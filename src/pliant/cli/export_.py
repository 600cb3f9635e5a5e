"""`pliant export`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from pliant.cli.common import study_argument


@click.group(short_help="Write a study's cluster for another system.")
def command() -> None:
    """Write the cluster of a study as a project of another system."""


@command.command("nixos-compose")
@study_argument
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Directory of the project.")
@click.option("--flavour", default="vm", show_default=True, help="What it is built for by default.")
@click.option("--filesystem", help="Which file system, where the study has several.")
def nixos_compose(study: Path, output: Path, flavour: str, filesystem: str | None) -> None:
    """Write STUDY's cluster as a NixOS Compose project."""
    from pliant.errors import UserError
    from pliant.export.nixos_compose import FLAVOURS, MARK, project
    from pliant.problems import unknown_name
    from pliant.study import load

    if flavour not in FLAVOURS:
        raise UserError(f"--flavour: {unknown_name(flavour, 'a flavour', tuple(FLAVOURS))}")
    files = project(load(study).chosen(filesystem), flavour)
    if output.exists() and not (output / MARK).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} was not written by pliant; choose another directory with --output")
    shutil.rmtree(output / "roles", ignore_errors=True)  # roles that the study no longer has
    try:
        for name, text in files.items():
            path = output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write the project to {output}: {error.strerror}; choose another --output") from error
    print(f"{output}: {len(files)} files; README.md says how to build it")
