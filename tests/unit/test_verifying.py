"""A flipped bit is found, wherever it is."""

from __future__ import annotations

import random
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import kept_runs
import pytest
import runs
from click.testing import CliRunner

from pliant import cli
from pliant.results import verifying
from pliant.results.artefacts import Artefacts
from pliant.results.store import DATABASE


@pytest.fixture
def run(tmp_path):
    first, second, third = runs.trials()[:3]
    many = [first, second, replace(third, state="failed", reason="no route", metrics={})]
    return kept_runs.make(tmp_path / "run", tmp_path / "store", many)


def problems(run: Path) -> list[str]:
    return list(verifying.of_run(run))


def test_a_run_as_it_was_written(run):
    assert problems(run) == []
    assert list(verifying.of_store(Artefacts(run.parent / "store"))) == []


def test_a_run_of_an_older_version_has_nothing_to_verify(tmp_path):
    assert problems(runs.make_run(tmp_path)) == []


@pytest.mark.parametrize("seed", range(8))
def test_any_bit_of_any_file_that_flips_is_found_and_the_file_named(run, seed):
    chance = random.Random(seed)
    files = sorted(path for path in (run / "trials").glob("*/**/*") if path.is_file())
    victim = chance.choice(files)
    content = bytearray(victim.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    victim.chmod(0o644)
    victim.write_bytes(content)
    found = problems(run)
    assert any(str(victim.resolve().parent if victim.name == "SHA256SUMS" else victim.resolve()) in f for f in found)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda trial: trial.unlink(), "trials/0001-x is missing"),
        (lambda trial: shutil.rmtree(trial.resolve()), "has nothing there"),
        (lambda trial: shutil.copytree(trial.resolve(), trial.with_name("0099-more")), "0099-more is too much"),
    ],
)
def test_what_is_missing_or_too_much_is_named(run, damage, said):
    trial = run / "trials/0001"
    damage(trial)
    (found,) = problems(run)
    assert said.replace("0001-x", "0001") in found


def test_a_trial_that_was_put_in_the_place_of_another_is_found(run):
    first, second = run / "trials/0001", run / "trials/0002"
    target = second.readlink()
    first.unlink()
    first.symlink_to(target)
    (found,) = problems(run)
    assert found.startswith(f"{first} is of another trial than the database says: ")


def test_an_artefact_under_the_key_of_another_is_found(run):
    trial = (run / "trials/0001").resolve()
    other = trial.with_name(f"{'0' * 32}-ior-ratio1")
    shutil.copytree(trial, other)
    (found,) = verifying.of_store(Artefacts(trial.parent))
    assert found.startswith(f"{other} is not what its name says: ")


def test_a_bit_that_flips_in_the_database_is_found(run):
    with sqlite3.connect(run / DATABASE) as connection:
        connection.execute("UPDATE value SET value = value * 1.0000001 WHERE trial = 1")
    connection.close()
    first, second = problems(run)
    assert first == f"{run}/{DATABASE}: trial 1 was changed"
    assert "metrics differ" in second


def test_the_command(run, monkeypatch):
    monkeypatch.setenv("PLIANT_STORE", str(run.parent / "store"))
    for arguments, said in ([str(run)], f"{run}: everything is as it was written\n"), ([], "2 trials in "):
        done = CliRunner().invoke(cli.cli, ["verify", *arguments], standalone_mode=False)
        assert (done.return_value, done.exception) == (0, None)
        assert said in done.output
    victim = run / "trials/0002/write.out"
    victim.resolve().chmod(0o644)
    victim.write_text("trial 4\n")
    for arguments in ([str(run)], []):
        done = CliRunner().invoke(cli.cli, ["verify", *arguments], standalone_mode=False)
        assert (done.return_value, done.output) == (1, f"{victim.resolve()} was changed\n")


def test_garbage_is_told_and_removed(run, monkeypatch):
    monkeypatch.setenv("PLIANT_STORE", str(run.parent / "store"))
    assert CliRunner().invoke(cli.cli, ["gc"]).output == "0 trials, 0 B, removed\n"
    shutil.rmtree(run)
    store = Artefacts(run.parent / "store")
    said = CliRunner().invoke(cli.cli, ["gc", "--dry-run"]).output
    assert said.splitlines()[0] == f"run    {run} is not there any more"
    assert said.splitlines()[-1].endswith("would be removed")
    count = len(store.all())
    assert count == said.count("\ntrial  ") == 2
    assert CliRunner().invoke(cli.cli, ["gc"]).output.splitlines()[:-1] == said.splitlines()[:-1]
    assert store.all() == store.roots() == []
