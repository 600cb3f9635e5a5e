"""`pliant driver`."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING

import click

from pliant.cli.common import need_root, usable
from pliant.errors import PliantError, UserError

if TYPE_CHECKING:
    from pliant.driver.script import Driver


class ScriptFailed(PliantError):
    """A script that did not end well: the line of it, and why."""


@click.command(short_help="Run a test script against a cluster.")
@click.argument("script", type=click.Path(path_type=Path))
@click.option("--id", "deployment", help="A cluster that is up; not needed if there is only one.")
@click.option("--study", type=click.Path(path_type=Path), help="Deploy the cluster of this study for the script.")
@click.option("--ratio", type=float, help="With --study: its folding ratio.  [default: its baseline, 1]")
@click.option("--filesystem", help="With --study: which file system, where the study has several.")
@click.option("-q", "--quiet", is_flag=True, help="Do not say what the script does.")
def command(
    script: Path, deployment: str | None, study: Path | None, ratio: float | None, filesystem: str | None, quiet: bool
) -> None:
    """Run SCRIPT, a test script in Python, against a cluster.

    In it `cluster` and each node are variables: `client1.succeed("df /mnt/dfs")`, `server1.crash()`. The methods are
    those of the NixOS test driver. A test that fails ends the script with exit status 1 and the line where it did.
    """
    code = _compiled(script)
    if deployment and study:
        raise UserError("name a cluster that is up with --id or a study to deploy with --study, not both")
    from pliant.driver import script as driver
    from pliant.study.reading import load

    said = (lambda text: None) if quiet else driver.say
    if study is None:
        _run(code, script, driver.attach(usable(deployment, "running a test script").id, said))
        return
    if not load(study).platform.real:
        need_root("running a test script")
    with driver.deploy(study, ratio, said, filesystem) as cluster:
        _run(code, script, cluster)


def _compiled(script: Path) -> CodeType:
    """The script as code; UserError if it is not there, or not Python."""
    try:
        text = script.read_bytes()
    except OSError as error:
        raise UserError(f"{script}: cannot be read: {error.strerror}") from error
    try:
        return compile(text, str(script), "exec")
    except (SyntaxError, ValueError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise UserError(f"{script}{line}: is not Python: {getattr(error, 'msg', error)}") from error


def _run(code: CodeType, script: Path, cluster: Driver) -> None:
    """Run a script; ScriptFailed for whatever it raises, with its line."""
    from pliant.driver.script import names

    variables = {"__name__": "__main__", "__file__": str(script), **names(cluster)}
    try:
        exec(code, variables)
    except Exception as error:  # a script may raise anything: it is the user's
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(script)]
        line = own[-1] if own else None
        where = f"{script}:{line.lineno}: {line.line}" if line else str(script)
        what = str(error) if isinstance(error, PliantError) else f"{type(error).__name__}: {error}".rstrip(": ")
        sys.stdout.flush()
        raise ScriptFailed(f"{where}\n  {what}") from error
