"""What pliant wrote before its modules were packages: a run, the store of its trials, and an archive of it.

Made by `pliant run` and `pliant archive` of 1f1d5a1, on GlusterFS with one server and one client.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from pliant.analysis.conclusions import analyse
from pliant.campaign import rundir
from pliant.cli import cli
from pliant.results import archive, verifying
from pliant.results.artefacts import Artefacts
from pliant.results.store import Store

MADE = Path(__file__).parent / "data/before-rooms.tar.gz"
PLACE = "/srv/before"
"""Where it was made: a run links to its trials in the store."""


@pytest.fixture
def made(tmp_path):
    with tarfile.open(MADE) as file:
        file.extractall(tmp_path, filter="tar")
    for link in (tmp_path / "run/trials").iterdir():
        target = str(link.readlink()).replace(PLACE, str(tmp_path))
        link.unlink()
        link.symlink_to(target)
    return tmp_path


def said(now: object, then: object, where: str = "") -> None:
    """All that was said then is said now; more may be."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key, value in then.items():
            said(now.get(key), value, f"{where}.{key}")
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, (one, other) in enumerate(zip(now, then, strict=True)):
            said(one, other, f"{where}[{number}]")
    elif isinstance(then, float) and isinstance(now, float):
        assert now == pytest.approx(then, rel=1e-9), where  # the last digits are the processor's
    else:
        assert now == then, where


def concluded(directory: Path) -> object:
    with Store.look(directory) as store:
        return json.loads(json.dumps(analyse(store).to_json()))


def test_a_run_is_judged_as_it_was(made):
    said(concluded(made / "run"), json.loads((made / "run/verdict.json").read_text()))
    assert list(verifying.of_run(made / "run")) == []
    found = rundir.status(made / "run")
    assert (found.state, len(found.trials), found.counts["done"]) == ("complete", 8, 8)


def test_its_trials_are_found_in_the_store(made):
    with Store.look(made / "run") as store:
        keys = {trial.key for trial in store.trials()}
    assert len(keys) == 8
    artefacts = Artefacts(made / "store")
    assert all(artefacts.find(key) is not None for key in keys)


def test_an_archive_becomes_the_same_run(made):
    assert archive.unpack(made / "run.pliant", made / "there", analyse) == 8
    said(concluded(made / "there"), json.loads((made / "run/verdict.json").read_text()))


def test_its_report_is_written(made):
    result = CliRunner().invoke(cli, ["report", str(made / "run"), "--format", "markdown"], catch_exceptions=False)
    assert result.exit_code == 0 and "GlusterFS" in result.output
