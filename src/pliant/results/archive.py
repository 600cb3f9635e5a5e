"""A run as one file, from which somebody else judges it again, and back. An archive may be anybody's.

It is a gzipped tar (POSIX.1-1988, ustar) with `run.json`, all that the database has, and the files of trials; before
them what a reader wants first: `ARTEFACT.md`, and the study file. It is read block by block: only regular files are
taken, whose names can only lie below the new directory, and no more bytes than allowed. What could be anything else
(links, devices, extended headers) is refused. So are names of the study that could not be a study's: figures are called
by them.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import secrets
import tarfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from pliant.errors import UserError
from pliant.results import verifying
from pliant.results.artefacts import remove_tree
from pliant.results.run_info import RunInfo
from pliant.results.store import Store, holds_run
from pliant.trial import Trial
from pliant.units import format_size

Judge = Callable[[Store], object]
"""What shows that a store can be judged: KeyError, TypeError, ValueError or AttributeError if it cannot."""
FORMAT = 1
DOCUMENT = "run.json"
ARTEFACT, STUDY = "ARTEFACT.md", "study.toml"
"""For people; what is unpacked has the study file that is in the document."""
MOST_BYTES = 16 * 2**30
MOST_FILES = 1_000_000
_MOST_DOCUMENT_BYTES = 2**28
_BLOCK = tarfile.BLOCKSIZE
_NAME = re.compile(r"trials/[^/\0]+(/[^/\0]+)+")
_WORD = re.compile(r"[0-9A-Za-z][0-9A-Za-z.+_-]*")
_TRIAL = re.compile(r"trials/[0-9A-Za-z][0-9A-Za-z.+_-]*")


def pack(directory: Path, file: Path, artefact: Callable[[Store], str]) -> int:
    """Write a run as an archive, whole or not at all, and return how many trials it has; the same run gives the same
    bytes. `artefact` says what a reader is told of it. Raises UserError."""
    if file.exists():
        raise UserError(f"{file} exists; choose another name")
    if problem := next(verifying.of_run(directory), ""):
        raise UserError(f"{problem}; `pliant verify {directory}` names everything that is not as it was written")
    with Store.look(directory) as store:
        trials = store.trials()
        told = artefact(store)
        content = {
            "format": FORMAT,
            "study.toml": store.study_toml(),
            "study": store.study(),
            "infos": [info.to_json() for info in store.infos()],
            "facts": store.facts(),
            "trials": [trial.to_json() for trial in trials],
        }
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with (
            temporary.open("wb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.USTAR_FORMAT) as tar,
        ):
            _add(tar, ARTEFACT, told.encode())
            _add(tar, STUDY, str(content["study.toml"]).encode())
            _add(tar, DOCUMENT, json.dumps(content, indent=1).encode())
            for name, path in _files(directory, trials):
                _add(tar, name, path)
        temporary.replace(file)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"cannot write {file}: {said}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return len(trials)


def _files(directory: Path, trials: list[Trial]) -> Iterator[tuple[str, Path]]:
    """The files of trials, wherever they are, by the names that they get."""
    for name in sorted({trial.directory for trial in trials if _TRIAL.fullmatch(trial.directory)}):
        for above, directories, names in os.walk((directory / name).resolve()):
            directories.sort()
            inside = Path(above).relative_to((directory / name).resolve())
            for each in sorted(names):
                path = Path(above, each)
                if path.is_file() and not path.is_symlink():
                    yield str(Path(name, inside, each)), path


def _add(tar: tarfile.TarFile, name: str, content: bytes | Path) -> None:
    info = tarfile.TarInfo(name)
    if isinstance(content, bytes):
        info.size = len(content)
        tar.addfile(info, BytesIO(content))
        return
    with content.open("rb") as file:
        info.size = os.fstat(file.fileno()).st_size
        tar.addfile(info, file)


def unpack(file: Path, directory: Path, judge: Judge, most_bytes: int = MOST_BYTES) -> int:
    """Make the directory of a run from an archive, whole or not at all, and return how many trials it has.

    The trials are in the directory itself, not in the store: nobody vouches for them here. `judge` tries whether it is
    a run's. Raises UserError.
    """
    if holds_run(directory) or (directory.exists() and (not directory.is_dir() or any(directory.iterdir()))):
        raise UserError(f"{directory} exists and is not empty; choose another directory")
    staged = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    try:
        staged.mkdir(parents=True)
        count = _restore(_extract(file, staged, most_bytes), staged, file, judge)
        if problem := next(verifying.of_run(staged), ""):
            raise _refused(file, problem.replace(str(staged), str(directory)))
        if directory.exists():
            directory.rmdir()
        staged.rename(directory)
    except OSError as error:
        raise UserError(f"cannot unpack {file} to {directory}: {error.strerror or error}") from error
    finally:
        if staged.exists():
            remove_tree(staged)
    return count


def _extract(file: Path, target: Path, most_bytes: int) -> Any:
    """Write the files of an archive below a directory, and return its document. Raises UserError, OSError."""
    document: Any = None
    left, count = most_bytes, 0
    try:
        with file.open("rb") as raw, gzip.GzipFile(fileobj=raw) as stream:
            while (info := _header(stream, file)) is not None:
                count += 1
                if info.size > left or count > MOST_FILES:
                    raise _refused(file, f"it has more than {format_size(most_bytes)} or {MOST_FILES:,} files")
                left -= info.size
                if info.name == DOCUMENT and document is None and info.size <= _MOST_DOCUMENT_BYTES:
                    document = json.loads(_read(stream, info.size))
                elif _is_file(info.name):
                    _write(stream, info.size, target / info.name)
                else:
                    raise _refused(file, f"{info.name[:200]!r} is none of its files")
                _read(stream, -info.size % _BLOCK)
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError, RecursionError) as error:
        raise _refused(file, str(error) or "it is cut short") from error
    if not isinstance(document, dict):
        raise _refused(file, f"it has no {DOCUMENT}")
    return document


def _is_file(name: str) -> bool:
    """Whether something of that name belongs into a run's directory, as it is."""
    inside = _NAME.fullmatch(name) and not {".", ".."} & set(name.split("/"))
    return name in (ARTEFACT, STUDY) or bool(inside)


def _header(stream: gzip.GzipFile, file: Path) -> tarfile.TarInfo | None:
    """The next entry of an archive; None at its end. Raises UserError for all but regular files."""
    block = _read(stream, _BLOCK)
    if block == bytes(_BLOCK):
        return None
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise _refused(file, str(error)) from error
    if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or info.size < 0:
        raise _refused(file, f"{info.name[:200]!r} is no regular file")
    return info


def _read(stream: gzip.GzipFile, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError("it is cut short")
    return content


def _write(stream: gzip.GzipFile, size: int, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as out:
        while size:
            content = _read(stream, min(size, 2**20))
            out.write(content)
            size -= len(content)


def _refused(file: Path, why: str) -> UserError:
    return UserError(f"{file} is no archive that `pliant archive` wrote: {why}")


def _restore(document: dict[str, Any], target: Path, file: Path, judge: Judge) -> int:
    """Make the database of a run from an archive's document, and return how many trials it has."""
    if document.get("format") != FORMAT:
        raise _refused(file, f"its format is {str(document.get('format'))[:20]}, and this pliant reads {FORMAT}")
    try:
        infos = [RunInfo.from_json(info) for info in document["infos"]]
        trials = [_checked(Trial.from_json(trial)) for trial in document["trials"]]
        facts = {str(name): str(value) for name, value in document["facts"].items()}
        if not infos or len({trial.number for trial in trials}) < len(trials):
            raise ValueError("it has no file system, or a trial twice")
        for info in infos:
            _check_names(info)
        with Store.create(target, str(document["study.toml"]), dict(document["study"]), infos, facts) as store:
            for trial in trials:
                store.end(trial)
            judge(store)
        (target / STUDY).write_text(str(document["study.toml"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _refused(file, f"{DOCUMENT} is not of a run: {error!r}") from error
    return len(trials)


def _check_names(info: RunInfo) -> None:
    """ValueError if what becomes part of the names of files is no name."""
    metrics = [metric for many in info.metrics.values() for metric in many]
    for name in (info.study, info.name, info.filesystem, *info.metrics, *(metric.name for metric in metrics)):
        if not _WORD.fullmatch(name):
            raise ValueError(f"{name[:100]!r} is no name")
    for phase in (metric.phase for metric in metrics):
        if "/" in phase or not phase.isprintable():  # else a driver calls it as it likes
            raise ValueError(f"{phase[:100]!r} is no name of a phase")


def _checked(trial: Trial) -> Trial:
    """A trial whose fields are of their types, and whose directory is one of a run's."""
    for name, kinds in (
        ("number", int),
        ("hosts", int),
        ("repetition", int),
        ("attempt", int),
        ("ratio", (int, float)),
    ):
        if not isinstance(getattr(trial, name), kinds):
            raise ValueError(f"trial {trial.number}: {name} is no number")
    texts = ("workload", "state", "started_at", "reason", "program", "directory", "filesystem", "key", "reused")
    if not all(isinstance(getattr(trial, name), str) for name in texts) or not _TRIAL.fullmatch(trial.directory):
        raise ValueError(f"trial {trial.number} is not as one is written")
    return trial
