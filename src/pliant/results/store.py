"""The results of one run: an SQLite database in the run's directory, raw output and logs beside it.

Everything that a report needs is in the database, so that a run can be analysed again without its study file.

Rollback journal and `synchronous=EXTRA` rather than WAL: a trial takes seconds, so a few fsyncs cost nothing; there is
one file to copy; after kill -9 or a power cut the last transaction is whole or absent; and a full disk fails one
transaction and leaves the others readable (https://www.sqlite.org/atomiccommit.html, https://www.sqlite.org/pragma.html).
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pliant.digest import canonical, sha256
from pliant.errors import FatalError, UserError
from pliant.results.artefacts import sync_directory
from pliant.results.run_info import RunInfo
from pliant.trial import Trial

SCHEMA_VERSION = 8
"""1 has no `trial.usage`, 2 no `trial.filesystem`, 3 no `trial.fault`, 4 no `trial.key`, `trial.reused`,
`trial.proved` and no digests, 5 no `trial.bounds`, 6 no `trial.disturbance`, 7 no `trial.remarks`. Reading such a run
changes nothing in it; its first new trial brings it up to date."""
DATABASE = "results.sqlite"
_WATTS = "watts"
"""The document of what hosts drew."""
_DIGEST = "digest"
"""The document that has the digest of all others, and of the facts."""
_HEADER_BYTES = 100

_SCHEMA = """
CREATE TABLE document (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trial (
    number INTEGER PRIMARY KEY, workload TEXT NOT NULL, ratio REAL NOT NULL, hosts INTEGER NOT NULL,
    repetition INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL, started_at TEXT NOT NULL,
    duration_s REAL NOT NULL, reason TEXT NOT NULL, program TEXT NOT NULL, host_cpu_s TEXT NOT NULL,
    directory TEXT NOT NULL, usage TEXT NOT NULL DEFAULT '{}', filesystem TEXT NOT NULL DEFAULT '',
    fault TEXT NOT NULL DEFAULT '{}', key TEXT NOT NULL DEFAULT '', reused TEXT NOT NULL DEFAULT '',
    proved TEXT NOT NULL DEFAULT '[]', digest TEXT NOT NULL DEFAULT '',
    bounds TEXT NOT NULL DEFAULT '{}', disturbance TEXT NOT NULL DEFAULT '{}',
    remarks TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE value (
    trial INTEGER NOT NULL REFERENCES trial (number) ON DELETE CASCADE, metric TEXT NOT NULL, value REAL,
    UNIQUE (trial, metric)
);
"""


def holds_run(directory: Path) -> bool:
    """Whether there is a run's database; an empty one is what older versions left when they were killed at once."""
    path = directory / DATABASE
    return path.is_file() and path.stat().st_size > 0


class Store:
    """The database of one run. One process writes; others may read at the same time. Also a context manager.

    Its methods raise FatalError (one sentence) when the database cannot be written, e.g. because the disk is full.
    """

    def __init__(self, directory: Path, connection: sqlite3.Connection) -> None:
        self.directory = directory
        self._connection = connection

    @classmethod
    def create(
        cls,
        directory: Path,
        study_toml: str,
        study: Mapping[str, Any],
        infos: Sequence[RunInfo],
        facts: Mapping[str, str],
        more: Mapping[str, str] | None = None,
    ) -> Store:
        """A new store in `directory`, made if it is not there; `infos` has one element for each file system, `more` are
        documents that only `document` reads.

        UserError if there is a run already. It appears as a whole: a run that is killed here leaves none.
        """
        path = directory / DATABASE
        if holds_run(directory):
            raise UserError(f"{directory} already holds a run; choose another directory")
        documents = {
            **(more or {}),
            "study.toml": study_toml,
            "study": json.dumps(study),
            "run": json.dumps([i.to_json() for i in infos]),
        }
        made = directory / f".{DATABASE}.new"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for left in directory.glob(f".{DATABASE}.new*"):
                left.unlink()
        except OSError as error:
            raise UserError(f"cannot make the run directory {directory}: {error.strerror}") from error
        try:
            with cls(directory, _connect(made, "rwc")) as store:
                store._fill(documents, facts)
            made.replace(path)
            sync_directory(directory)
        except OSError as error:
            raise FatalError(f"cannot write to {path}: {error.strerror}") from error
        finally:
            made.unlink(missing_ok=True)
        return cls(directory, _connect(path, "rw"))

    def _fill(self, documents: Mapping[str, str], facts: Mapping[str, str]) -> None:
        with self._writing() as cursor:
            for statement in _SCHEMA.split(";"):
                cursor.execute(statement)
            cursor.executemany("INSERT INTO document VALUES (?, ?)", documents.items())
            cursor.executemany("INSERT INTO fact VALUES (?, ?)", facts.items())
            _seal(cursor)
            cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    @classmethod
    def open(cls, directory: Path) -> Store:
        """The store in `directory`. UserError if there is none, if it is damaged, or if a newer pliant wrote it."""
        path = directory / DATABASE
        if not path.is_file():
            raise UserError(f"{directory} holds no run: there is no {DATABASE} in it")
        return cls._checked(directory, _connect(path, "rw" if os.access(path, os.W_OK) else "ro"))

    @classmethod
    def look(cls, directory: Path, patience_s: float = 2.0) -> Store:
        """The store as it was at one moment, in memory: who runs the study never waits for who looks, nor notices.

        The file is read as it is, and counts if no transaction was under way before or after, and none in between: each
        changes the counter in the file's header (https://www.sqlite.org/fileformat.html#file_change_counter). A
        journal that stays is what a crash left, and is for `open` to take back. Raises UserError as `open` does.
        """
        path, journal = directory / DATABASE, directory / f"{DATABASE}-journal"
        until = time.monotonic() + patience_s
        while path.is_file() and time.monotonic() < until:
            if not journal.exists():
                before, content = path.stat(), path.read_bytes()
                after = path.stat()
                with path.open("rb") as file:
                    same = file.read(_HEADER_BYTES) == content[:_HEADER_BYTES]
                still = (before.st_ino, before.st_mtime_ns, before.st_size) == (
                    after.st_ino,
                    after.st_mtime_ns,
                    after.st_size,
                )
                if same and still and not journal.exists():
                    return cls._checked(directory, _in_memory(content, path))
            time.sleep(0.002)
        return cls.open(directory)

    @classmethod
    def _checked(cls, directory: Path, connection: sqlite3.Connection) -> Store:
        try:
            _check(connection, directory / DATABASE)
        except UserError:
            connection.close()
            raise
        return cls(directory, connection)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database; idempotent."""
        self._connection.close()

    def begin(self, trial: Trial) -> None:
        """Keep that this trial was started, before it touches anything."""
        self._put(trial)

    def end(self, trial: Trial) -> None:
        """Keep how this trial ended, with its metrics, in one transaction; begun or not."""
        self._put(trial)

    def trials(self) -> list[Trial]:
        """Every trial of the run, in order of number, whatever its state."""
        version = self._version
        lacking = {name: empty for since, name, empty in _ADDED if version < since}
        columns = ", ".join(f"'{lacking[name]}' AS {name}" if name in lacking else name for name in _TRIAL_COLUMNS)
        query = f"SELECT {columns} FROM trial ORDER BY number"
        metrics: dict[int, dict[str, float]] = {}
        for number, metric, value in self._connection.execute("SELECT trial, metric, value FROM value ORDER BY rowid"):
            metrics.setdefault(number, {})[metric] = math.nan if value is None else value
        return [_trial(row, metrics.get(row[0], {})) for row in self._connection.execute(query)]

    def facts(self) -> dict[str, str]:
        """Machine, kernel and versions, as they were when the run took place."""
        return dict(self._connection.execute("SELECT name, value FROM fact ORDER BY rowid").fetchall())

    def set_fact(self, name: str, value: str) -> None:
        """Keep one more fact, or correct one."""
        with self._writing() as cursor:
            cursor.execute("INSERT INTO fact VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = ?2", (name, value))
            _seal(cursor)

    def document(self, name: str) -> str:
        """A document of the run by its name; "" if it has none of that name, as those of older versions."""
        row = self._connection.execute("SELECT body FROM document WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def set_documents(self, documents: Mapping[str, str]) -> None:
        """Keep documents, in place of those of the same names."""
        with self._writing() as cursor:
            cursor.executemany("INSERT OR REPLACE INTO document VALUES (?, ?)", documents.items())
            _seal(cursor)

    def watts(self) -> dict[float, float]:
        """What a host drew on average at each ratio, where that was measured."""
        return {float(ratio): watts for ratio, watts in json.loads(self.document(_WATTS) or "{}").items()}

    def add_watts(self, watts: Mapping[float, float]) -> None:
        """Keep what hosts drew at ratios, in place of what there was of these."""
        self.set_documents({_WATTS: json.dumps(self.watts() | dict(watts))})

    def forget(self, numbers: Sequence[int]) -> None:
        """Strike trials that say nothing, with all that is known of them."""
        with self._writing() as cursor:
            cursor.executemany("DELETE FROM trial WHERE number = ?", [(number,) for number in numbers])

    def changed(self) -> list[str]:
        """What is not as it was written, by the digests beside it, a sentence without a full stop each.

        Nothing is known of what older versions wrote.
        """
        path = self.directory / DATABASE
        found = []
        written = self.document(_DIGEST)
        if written and written != _digest_of_documents(self._connection.cursor()):
            found.append(f"{path}: what it says of the run was changed")
        digests = dict(self._connection.execute("SELECT number, digest FROM trial")) if self._version > 4 else {}
        for trial in self.trials():
            if digests.get(trial.number) and digests[trial.number] != _digest_of_trial(trial):
                found.append(f"{path}: trial {trial.number} was changed")
        return found

    def infos(self) -> tuple[RunInfo, ...]:
        """What the run is, for analysis: one element for each file system, in the study's order."""
        written = json.loads(self._document("run"))
        return tuple(RunInfo.from_json(each) for each in (written if isinstance(written, list) else [written]))

    def study(self) -> dict[str, Any]:
        """The validated study, as it was stored."""
        return dict(json.loads(self._document("study")))

    def study_toml(self) -> str:
        """The study file, byte for byte."""
        return self.document("study.toml")

    def _document(self, name: str) -> str:
        if body := self.document(name):
            return body
        raise UserError(f"{self.directory / DATABASE} is damaged: it does not say what the run was")

    @property
    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _put(self, trial: Trial) -> None:
        with self._writing() as cursor:
            version = self._version
            for since, name, empty in _ADDED:
                if version < since:
                    cursor.execute(f"ALTER TABLE trial ADD COLUMN {name} TEXT NOT NULL DEFAULT '{empty}'")
            cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            cursor.execute("DELETE FROM value WHERE trial = ?", (trial.number,))
            row = (*_columns(trial), _digest_of_trial(trial))
            columns, marks = ", ".join((*_TRIAL_COLUMNS, "digest")), ", ".join("?" * len(row))
            cursor.execute(f"INSERT OR REPLACE INTO trial ({columns}) VALUES ({marks})", row)
            values = [(trial.number, name, float(value)) for name, value in trial.metrics.items()]
            cursor.executemany("INSERT INTO value VALUES (?, ?, ?)", values)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Cursor]:
        """A transaction: all of it is on disk when the block ends, or none of it."""
        try:
            cursor = self._connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            remedy = "; make room, then run the same command again" if "full" in str(error) else ""
            raise FatalError(f"cannot write to {self.directory / DATABASE}: {error}{remedy}") from error


_TRIAL_COLUMNS = tuple(name for name in Trial.__dataclass_fields__ if name != "metrics")
_JSON_COLUMNS = ("host_cpu_s", "usage", "fault", "proved", "bounds", "disturbance", "remarks")
_ADDED = (
    (2, "usage", "{}"),
    (3, "filesystem", ""),
    (4, "fault", "{}"),
    (5, "key", ""),
    (5, "reused", ""),
    (5, "proved", "[]"),
    (5, "digest", ""),
    (6, "bounds", "{}"),
    (7, "disturbance", "{}"),
    (8, "remarks", "[]"),
)
"""Columns that came with a version of the schema, and what they hold for trials from before."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace `path` as a whole, so that a reader or a crash never sees half of it. OSError as usual."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=30
        )
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = EXTRA")
    except sqlite3.Error as error:
        raise UserError(f"cannot open {path}: {error}") from error
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """UserError, in one sentence, if this is not a database that this pliant can read."""
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        intact = connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
    except sqlite3.DatabaseError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not intact:
        raise UserError(f"{path} is damaged")
    if version == 0:
        raise UserError(f"{path} is empty: the run was interrupted before it began; start it again")
    if version > SCHEMA_VERSION:
        raise UserError(f"{path} was written by a newer pliant (schema {version}; this one reads {SCHEMA_VERSION})")


def _in_memory(content: bytes, path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        if content:  # of an empty file there is nothing to take over
            connection.deserialize(content)
        return connection
    except sqlite3.Error as error:
        connection.close()
        raise UserError(f"{path} cannot be read: {error}") from error


def _digest_of_documents(cursor: sqlite3.Cursor) -> str:
    documents = cursor.execute("SELECT name, body FROM document WHERE name <> ?", (_DIGEST,)).fetchall()
    return sha256(canonical([dict(documents), cursor.execute("SELECT name, value FROM fact").fetchall()]))


def _digest_of_trial(trial: Trial) -> str:
    # Without what trials had not yet when the digests of older versions were written.
    newer = ("bounds", "disturbance", "remarks")
    document = {name: value for name, value in trial.to_json().items() if name not in newer or value}
    return sha256(json.dumps(document, sort_keys=True).encode())


def _seal(cursor: sqlite3.Cursor) -> None:
    """Write down the digest of all documents and facts as they are now; for `Store.changed`."""
    cursor.execute("INSERT OR REPLACE INTO document VALUES (?, ?)", (_DIGEST, _digest_of_documents(cursor)))


def _columns(trial: Trial) -> tuple[Any, ...]:
    document = trial.to_json()
    return tuple(json.dumps(document[n]) if n in _JSON_COLUMNS else document[n] for n in _TRIAL_COLUMNS)


def _trial(row: Sequence[Any], metrics: Mapping[str, float]) -> Trial:
    named = dict(zip(_TRIAL_COLUMNS, row, strict=True))
    read = {name: json.loads(named[name]) for name in _JSON_COLUMNS}
    lists = {name: tuple(read[name]) for name in ("proved", "remarks")}
    return Trial(**named | read | {"metrics": metrics} | lists)
