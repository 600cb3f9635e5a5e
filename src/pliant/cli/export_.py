"""`pliant export`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
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
@click.option(
    "--ratio", type=float, help="Fold it to one of the study's ratios: hosts carry nodes as NixOS containers."
)
@click.option("--filesystem", help="Which file system, where the study has several.")
def nixos_compose(study: Path, output: Path, flavour: str, ratio: float | None, filesystem: str | None) -> None:
    """Write STUDY's cluster as a NixOS Compose project: one machine for each node, or, with --ratio, folded.

    The same study gives the same bytes. A directory that holds something else is refused; in one that pliant wrote its
    files are written anew, and others, such as flake.lock, are left alone.

    \b
    pliant export nixos-compose study.toml -o cluster
    pliant export nixos-compose study.toml -o folded --ratio 4 --flavour g5k-image
    """
    from pliant.errors import UserError
    from pliant.export.nixos_compose import FLAVOURS, MARK, project
    from pliant.study.problems import unknown_name
    from pliant.study.reading import load

    if flavour not in FLAVOURS:
        raise UserError(f"--flavour: {unknown_name(flavour, 'a flavour', tuple(FLAVOURS))}")
    chosen = load(study).chosen(filesystem)
    files = project(chosen, flavour, ratio)
    if output.exists() and not (output / MARK).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} was not written by pliant; choose another directory with --output")
    try:
        _write(output, files)
    except OSError as error:
        raise UserError(f"cannot write the project to {output}: {error.strerror}; choose another --output") from error
    if flavour == "docker" and "fuse" in chosen.composition.kernel:
        click.echo("warning: containers of the flavour docker have no /dev/fuse: no client can mount there", err=True)
    print(f"{output}: {len(files)} files; README.md says how to build it")


def _write(output: Path, files: Mapping[str, str]) -> None:
    """All files or, if there is no room for them, none."""
    parent = output.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=parent) as beside:
        for name, text in files.items():
            path = Path(beside) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        output.mkdir(exist_ok=True)
        shutil.rmtree(output / "roles", ignore_errors=True)  # roles that the study no longer has
        for name in files:
            (output / name).parent.mkdir(exist_ok=True)
            (Path(beside) / name).replace(output / name)
