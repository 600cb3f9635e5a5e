"""The store of artefacts: what trials left, each under the key of what determined it, and never changed again.

    KEY-WORKLOAD-ratioR/  one trial that is done
        ...               its raw output, telemetry and logs
        trial.json        its record, as in the database of the run that measured it
        determined-by.json  what the key is the digest of
        SHA256SUMS        of all of these; `sha256sum --check SHA256SUMS` reads it
    roots/NAME            links to directories of runs: what they link to is kept
    staging/, trash/      what is not yet, or not any more, an artefact
    lock                  held by who adds (shared) or removes (alone)

An artefact is written aside, synced, and renamed, so that under a key there is all of it or nothing, whatever happens.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pliant.digest import KEY, read_sums, sha256, sums_text
from pliant.errors import FatalError, UserError

SUMS = "SHA256SUMS"
RECORD = "trial.json"
DETERMINED = "determined-by.json"
_OWN = ("roots", "staging", "trash", "lock")


def place(environ: Mapping[str, str]) -> Path:
    """Where the store is: $PLIANT_STORE, else below $XDG_DATA_HOME, else below ~/.local/share."""
    if named := environ.get("PLIANT_STORE"):
        return Path(named).absolute()
    data = environ.get("XDG_DATA_HOME", "")
    # A relative one is to be ignored (XDG Base Directory Specification).
    base = Path(data) if data.startswith("/") else Path(environ.get("HOME", "/root"), ".local/share")
    return base / "pliant/store"


@dataclass(frozen=True)
class Root:
    """A named run. `run` is its directory; `there` says whether it is one still."""

    name: str
    run: Path
    there: bool


@dataclass(frozen=True)
class Garbage:
    """What no root reaches, and roots that lead nowhere; `size_bytes` is that of all files in `artefacts`."""

    artefacts: tuple[Path, ...]
    remains: tuple[Path, ...]
    roots: tuple[Root, ...]
    size_bytes: int


class Artefacts:
    """The store in a directory, which is made when something is added."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def held(self, *, alone: bool = False) -> Iterator[None]:
        """A time in which nothing is removed; `alone`: nor added. Raises UserError if the store cannot be used."""
        try:
            for name in ("roots", "staging", "trash"):
                (self.directory / name).mkdir(parents=True, exist_ok=True)
            lock = (self.directory / "lock").open("w")
        except OSError as error:
            raise UserError(f"the store {self.directory} cannot be used: {error.strerror}; set PLIANT_STORE") from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield

    def find(self, key: str) -> Path | None:
        """The artefact of a key, if there is one."""
        return next(iter(self.directory.glob(f"{key}-*")), None)

    def all(self) -> list[Path]:
        """Every artefact, by name."""
        if not self.directory.is_dir():
            return []
        return sorted(path for path in self.directory.iterdir() if path.name not in _OWN and _is_artefact(path.name))

    def add(self, key: str, title: str, source: Path) -> Path | None:
        """Make a directory that is sealed an artefact, and return it; None if there is one of that key already.

        `source` is gone then. Call it within `held`. Raises OSError.
        """
        if self.find(key) is not None:
            return None
        target = self.directory / f"{key}-{title}"
        staged = self.directory / "staging" / secrets.token_hex(8)
        try:
            source.rename(staged)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copytree(source, staged, symlinks=True)
            _sync(staged)
        try:
            staged.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            if source.exists():
                remove_tree(staged)
            else:
                staged.rename(source)
            return None  # another run was faster; what was measured here stays here
        _protect(target)
        sync_directory(self.directory)
        if source.exists():
            shutil.rmtree(source)
        return target

    def name(self, run: Path) -> None:
        """Make a run a root: what its `trials` link to is kept. Call it within `held`."""
        run = run.resolve()
        link = self.directory / "roots" / f"{run.name}-{sha256(os.fsencode(run))[:8]}"
        if not link.is_symlink():
            link.symlink_to(run)
            sync_directory(link.parent)

    def roots(self) -> list[Root]:
        """Every root, by name."""
        directory = self.directory / "roots"
        links = sorted(directory.iterdir()) if directory.is_dir() else []
        return [Root(link.name, link.readlink(), link.is_dir()) for link in links if link.is_symlink()]

    def garbage(self) -> Garbage:
        """What could be removed. FatalError if it cannot be seen what a root reaches: then nothing is known."""
        known = self.roots()
        kept = {name for root in known if root.there for name in self._reached(root)}
        artefacts = tuple(path for path in self.all() if path.name not in kept)
        remains = tuple(path for name in ("staging", "trash") for path in sorted((self.directory / name).glob("*")))
        size = sum(_size_bytes(path) for path in (*artefacts, *remains))
        return Garbage(artefacts, remains, tuple(root for root in known if not root.there), size)

    def _reached(self, root: Root) -> Iterator[str]:
        trials = root.run / "trials"
        try:
            for entry in trials.iterdir() if trials.is_dir() else ():
                if entry.is_symlink():
                    yield entry.readlink().name
        except OSError as error:
            raise FatalError(f"cannot see what {root.run} needs: {error.strerror}; nothing was removed") from error

    def collect(self, garbage: Garbage) -> None:
        """Remove it: first out of the way, so that a half-removed one is never taken for an artefact.

        Call it within `held(alone=True)`. Raises OSError.
        """
        trash = self.directory / "trash"
        for path in garbage.artefacts:
            # A directory that is moved to another is written to, for its entry "..".
            path.chmod(0o755)
            path.rename(trash / f"{path.name}.{secrets.token_hex(4)}")
        for path in (*trash.glob("*"), *(self.directory / "staging").glob("*")):
            remove_tree(path)
        for root in garbage.roots:
            (self.directory / "roots" / root.name).unlink(missing_ok=True)


def _is_artefact(name: str) -> bool:
    return KEY.fullmatch(name.partition("-")[0]) is not None


def seal(directory: Path, documents: Mapping[str, bytes]) -> None:
    """Put documents beside what a trial left, write down the digests of all of it, and sync it. Raises OSError."""
    for name, content in documents.items():
        (directory / name).write_bytes(content)
    (directory / SUMS).unlink(missing_ok=True)
    sums = {name: file_digest(directory / name) for name in _files(directory)}
    (directory / SUMS).write_bytes(os.fsencode(sums_text(sums)))
    _sync(directory)


def changed(directory: Path) -> list[str]:
    """What is not as it was sealed, a sentence without a full stop for each file; a path that was never sealed too."""
    if not directory.is_dir():
        return [f"{directory} is missing"]
    try:
        wanted = read_sums(os.fsdecode((directory / SUMS).read_bytes()))
    except FileNotFoundError:
        return [f"{directory / SUMS} is missing"]
    except (OSError, ValueError) as error:
        return [f"{directory / SUMS} was changed: {error}"]
    there = set(_files(directory)) - {SUMS}
    found = [f"{directory / name} is missing" for name in sorted(set(wanted) - there)]
    found += [f"{directory / name} is too much" for name in sorted(there - set(wanted))]
    for name in sorted(there & set(wanted)):
        try:
            if file_digest(directory / name) != wanted[name]:
                found.append(f"{directory / name} was changed")
        except OSError as error:
            found.append(f"{directory / name} cannot be read: {error.strerror}")
    return found


def file_digest(path: Path) -> str:
    """The SHA-256 of a file; OSError as usual, also for what is no regular file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_tree(path: Path) -> None:
    """Delete a file, a link, or a directory with all that is in it, read-only or not. Raises OSError."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for directory, _, _ in os.walk(path):
        Path(directory).chmod(0o755)
    shutil.rmtree(path)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on its disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _files(directory: Path) -> Iterator[str]:
    """Everything below a directory that is no directory itself, links to directories among it, as relative paths."""
    for above, directories, names in os.walk(directory):
        links = [name for name in directories if Path(above, name).is_symlink()]
        yield from (str(Path(above, name).relative_to(directory)) for name in (*names, *links))


def _sync(directory: Path) -> None:
    for above, _, names in os.walk(directory):
        for name in names:
            with Path(above, name).open("rb") as file:
                os.fsync(file)
        sync_directory(Path(above))


def _protect(directory: Path) -> None:
    """Make everything read-only, the directory itself last."""
    for above, _, names in os.walk(directory, topdown=False):
        for name in names:
            Path(above, name).chmod(0o444)
        Path(above).chmod(0o555)


def _size_bytes(path: Path) -> int:
    return sum((path / name).lstat().st_size for name in _files(path)) if path.is_dir() else path.lstat().st_size
