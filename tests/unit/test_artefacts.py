"""The store of artefacts: whole or not there, never changed, kept while a run needs them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pliant.digest import key
from pliant.errors import UserError
from pliant.results import artefacts
from pliant.results.artefacts import Artefacts, changed, seal

KEYS = [key({"trial": number}) for number in range(9)]


def trial(directory: Path, number: int = 1) -> Path:
    """What a trial left, sealed."""
    (directory / "logs").mkdir(parents=True)
    (directory / "write.out").write_text(f"{number} MiB/s")
    (directory / "logs/server1-brick.log").write_text("I am up\n" * 100)
    seal(directory, {"trial.json": b"{}"})
    return directory


@pytest.fixture
def store(tmp_path):
    return Artefacts(tmp_path / "data/store")


@pytest.fixture
def run(tmp_path):
    """The directory of a run."""
    (tmp_path / "runs/one/trials").mkdir(parents=True)
    return tmp_path / "runs/one"


def added(store, run, number: int) -> Path:
    """One more trial of a run, in the store and linked to."""
    with store.held():
        store.name(run)
        source = trial(run / "trials" / f"{number:04d}", number)
        artefact = store.add(KEYS[number], "ior-ratio2", source)
        assert artefact is not None
        source.symlink_to(artefact)
    return artefact


@pytest.mark.parametrize(
    ("environ", "where"),
    [
        ({"PLIANT_STORE": "/data/pliant", "XDG_DATA_HOME": "/x"}, "/data/pliant"),
        ({"XDG_DATA_HOME": "/x", "HOME": "/home/me"}, "/x/pliant/store"),
        ({"XDG_DATA_HOME": "x", "HOME": "/home/me"}, "/home/me/.local/share/pliant/store"),
        ({"HOME": "/home/me"}, "/home/me/.local/share/pliant/store"),
        ({}, "/root/.local/share/pliant/store"),
    ],
)
def test_where_it_is(environ, where):
    assert artefacts.place(environ) == Path(where)


def test_what_is_added_is_found_and_cannot_be_written_to(store, run):
    artefact = added(store, run, 1)
    assert artefact.name == f"{KEYS[1]}-ior-ratio2"
    assert store.find(KEYS[1]) == artefact
    assert store.find(KEYS[2]) is None
    assert store.all() == [artefact]
    assert changed(artefact) == []
    assert (run / "trials/0001/logs/server1-brick.log").read_text().startswith("I am up")
    modes = {path.name: path.stat().st_mode & 0o777 for path in [artefact, *artefact.rglob("*")]}
    assert set(modes.values()) == {0o444, 0o555}
    assert not list((store.directory / "staging").iterdir())
    argv = ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"]
    subprocess.run(argv, cwd=artefact, check=True, timeout=20)


def test_a_key_that_is_there_is_not_replaced(store, run, tmp_path):
    artefact = added(store, run, 1)
    other = trial(tmp_path / "other", 2)
    with store.held():
        assert store.add(KEYS[1], "ior-ratio2", other) is None
    assert (other / "write.out").read_text() == "2 MiB/s"
    assert (artefact / "write.out").read_text() == "1 MiB/s"


def test_two_that_add_the_same_key_at_the_same_time(store, run, tmp_path, monkeypatch):
    added(store, run, 1)
    monkeypatch.setattr(store, "find", lambda key: None)  # the other one came between
    other = trial(tmp_path / "other", 2)
    with store.held():
        assert store.add(KEYS[1], "ior-ratio2", other) is None
    assert changed(other) == []
    assert not list((store.directory / "staging").iterdir())


def test_from_another_file_system(store, run):
    shm = Path("/dev/shm", f"pliant-test-{os.getpid()}")
    try:
        source = trial(shm / "trial")
        assert shm.stat().st_dev != run.stat().st_dev
        with store.held():
            artefact = store.add(KEYS[1], "ior-ratio2", source)
            assert not source.exists()
            assert changed(artefact) == []
            other = trial(shm / "other")
            assert store.add(KEYS[1], "ior-ratio2", other) is None
            assert changed(other) == []
    finally:
        shutil.rmtree(shm)


def test_a_place_that_cannot_be_written_is_the_users_mistake(tmp_path):
    (tmp_path / "file").write_text("")
    said = r"the store .*/file/store cannot be used: Not a directory; set PLIANT_STORE"
    with pytest.raises(UserError, match=said), Artefacts(tmp_path / "file/store").held():
        pass


# Digests


def flipped(path: Path, bit: int = 12) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda top: flipped(top / "write.out"), ["write.out was changed"]),
        (lambda top: flipped(top / "logs/server1-brick.log"), ["logs/server1-brick.log was changed"]),
        (lambda top: flipped(top / "trial.json"), ["trial.json was changed"]),
        (lambda top: (top / "write.out").unlink(), ["write.out is missing"]),
        (lambda top: (top / "more").write_text(""), ["more is too much"]),
        (lambda top: (top / "more").symlink_to("/etc"), ["more is too much"]),
        (lambda top: (top / "SHA256SUMS").unlink(), ["SHA256SUMS is missing"]),
        (lambda top: shutil.rmtree(top), [""]),
        (
            lambda top: (top / "write.out").rename(top / "read.out"),
            ["write.out is missing", "read.out is too much"],
        ),
        (
            lambda top: ((top / "write.out").unlink(), (top / "write.out").symlink_to("/etc/passwd")),
            ["write.out cannot be read"],
        ),
        (lambda top: ((top / "write.out").unlink(), os.mkfifo(top / "write.out")), ["write.out cannot be read"]),
    ],
)
def test_damage_is_found_and_named(tmp_path, damage, said):
    top = trial(tmp_path / "trial")
    assert changed(top) == []
    damage(top)
    found = changed(top)
    assert len(found) == len(said)
    assert all(str(top / words.split()[0] if words else top) in line for words, line in zip(said, found, strict=True))
    assert all(words in line for words, line in zip(said, found, strict=True))


def test_every_bit_of_the_digests_themselves_counts(tmp_path):
    top = trial(tmp_path / "trial")
    content = (top / "SHA256SUMS").read_bytes()
    for bit in range(0, len(content) * 8, 7):
        flipped(top / "SHA256SUMS", bit)
        assert changed(top), bit
        (top / "SHA256SUMS").write_bytes(content)


# Roots and garbage


def test_what_a_run_needs_is_kept_until_it_is_gone(store, run, tmp_path):
    first, second = added(store, run, 1), added(store, run, 2)
    other = tmp_path / "runs/other"
    (other / "trials").mkdir(parents=True)
    third = added(store, other, 3)
    (other / "trials/0001").symlink_to(first)
    assert [root.run for root in store.roots()] == [run, other]
    assert store.garbage() == artefacts.Garbage((), (), (), 0)

    shutil.rmtree(run)
    garbage = store.garbage()
    assert garbage.artefacts == (second,)
    assert [root.run for root in garbage.roots] == [run]
    assert garbage.size_bytes == sum(path.stat().st_size for path in second.rglob("*") if path.is_file())
    assert second.exists(), "to look changes nothing"
    with store.held(alone=True):
        store.collect(store.garbage())
    assert sorted(store.all()) == sorted([first, third])
    assert store.garbage() == artefacts.Garbage((), (), (), 0)
    assert [root.run for root in store.roots()] == [other]
    assert changed(first) == changed(third) == []


def test_what_was_left_half_made_or_half_removed_is_garbage(store, run):
    added(store, run, 1)
    trial(store.directory / "staging/abc")
    trial(store.directory / "trash/def")
    assert [path.name for path in store.garbage().remains] == ["abc", "def"]
    with store.held(alone=True):
        store.collect(store.garbage())
    assert store.garbage().remains == ()
    assert len(store.all()) == 1


def test_an_empty_store_has_no_garbage(store):
    assert store.garbage() == artefacts.Garbage((), (), (), 0)
    assert store.all() == store.roots() == []


ADDER = """
import pathlib, sys
sys.path.insert(0, sys.argv[3])
from test_artefacts import trial
from pliant.results.artefacts import Artefacts
from pliant.digest import key
store, run = Artefacts(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2])
for number in range(10**6):
    with store.held():
        source = trial(run / f"trials/{number:06d}", number)
        source.symlink_to(store.add(key({"trial": number}), "ior-ratio2", source))
    print(number, flush=True)
"""


@pytest.mark.parametrize("after_s", [0.03, 0.11])
def test_kill_9_leaves_whole_artefacts_only(store, run, after_s):
    here = str(Path(__file__).parent)
    argv = [sys.executable, "-c", ADDER, str(store.directory), str(run), here]
    with store.held():
        store.name(run)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as adder:
        adder.stdout.readline()
        time.sleep(after_s)
        adder.send_signal(signal.SIGKILL)
        acknowledged = len(adder.stdout.read().split()) + 1
    assert all(changed(path) == [] for path in store.all())
    assert acknowledged <= len(store.all()) <= acknowledged + 1
    with store.held(alone=True):
        store.collect(store.garbage())
    linked = [path for path in (run / "trials").iterdir() if path.is_symlink()]
    assert len(store.all()) == len(linked) >= acknowledged
    assert not list((store.directory / "staging").iterdir())
