"""The results of one run: an SQLite database in the run's directory, raw output and logs beside it.

Everything that a report needs is in the database, so that a run can be analysed again without its study file.

Rollback journal and `synchronous=EXTRA` rather than WAL: a trial takes seconds, so a few fsyncs cost nothing; there is
one file to copy; after kill -9 or a power cut the last transaction is whole or absent; and a full disk fails one
transaction and leaves the others readable (https://www.sqlite.org/atomiccommit.html, https://www.sqlite.org/pragma.html).
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pliant.errors import FatalError, UserError
from pliant.savings import PowerModel
from pliant.trial import Trial
from pliant.workloads import Metric

SCHEMA_VERSION = 4
"""1 has no `trial.usage`, 2 no `trial.filesystem`, 3 no `trial.fault`. Reading such a run changes nothing in it; its
first new trial brings it up to date."""
DATABASE = "results.sqlite"
CSV_HEADER = (
    "number",
    "workload",
    "program",
    "ratio",
    "hosts",
    "repetition",
    "attempt",
    "state",
    "reason",
    "started_at",
    "duration_s",
    "host_cpu_s",
    "metric",
    "value",
    "unit",
    "better",
    "directory",
    "filesystem",
    "data_intact",
    "io_stalled_s",
    "recovered_s",
)
"""Columns of `trials.csv`, one row for each trial and metric; `host_cpu_s` is the sum over hosts. New ones go last."""

_SCHEMA = """
CREATE TABLE document (name TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE trial (
    number INTEGER PRIMARY KEY, workload TEXT NOT NULL, ratio REAL NOT NULL, hosts INTEGER NOT NULL,
    repetition INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL, started_at TEXT NOT NULL,
    duration_s REAL NOT NULL, reason TEXT NOT NULL, program TEXT NOT NULL, host_cpu_s TEXT NOT NULL,
    directory TEXT NOT NULL, usage TEXT NOT NULL DEFAULT '{}', filesystem TEXT NOT NULL DEFAULT '',
    fault TEXT NOT NULL DEFAULT '{}'
);
CREATE TABLE value (
    trial INTEGER NOT NULL REFERENCES trial (number) ON DELETE CASCADE, metric TEXT NOT NULL, value REAL,
    UNIQUE (trial, metric)
);
"""


@dataclass(frozen=True)
class RunInfo:
    """What an analysis needs to know of one file system of a run, besides its trials; stored when the run starts.

    `hosts` maps each planned ratio to its number of hosts, `placements` each ratio to host -> nodes, `metrics` each
    workload to what it yields, in the order of the study. `max_loss` is a fraction; `host_cores` is what one host may
    use, in CPU seconds per second; `host_figures` says in words what a host is. Where that is a real host divided by
    `scale`, `real_figures` says what the real one is, `like` names it if the catalogue has it, and `disk_caveat` says
    what must be known of its disk rate, if anything.
    """

    study: str
    filesystem: str
    platform: str
    workflow: str
    seed: int
    repetitions: int
    max_loss: float
    hosts: Mapping[float, int]
    metrics: Mapping[str, Sequence[Metric]]
    roles: Mapping[str, int]
    strategy: str
    host_cores: float
    host_figures: str = ""
    placements: Mapping[float, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    power: PowerModel = field(default_factory=PowerModel)
    filesystem_options: Mapping[str, Any] = field(default_factory=dict)
    scale: float = 1.0
    like: str = ""
    real_figures: str = ""
    disk_caveat: str = ""
    label: str = ""
    """What the file system is called in the study; "" in runs from before studies had several."""
    faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Workload through faults -> `plain`, the same workload without, and `faults`, a sentence for each."""

    @property
    def name(self) -> str:
        """What the file system is called in results: its label, which is its kind unless the study says otherwise."""
        return self.label or self.filesystem

    def has(self, trial: Trial) -> bool:
        """Whether a trial was of this file system."""
        return trial.filesystem in ("", self.name)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ratios become strings, as JSON's keys must."""
        document = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return document | {
            "hosts": {repr(float(ratio)): count for ratio, count in self.hosts.items()},
            "metrics": {workload: [asdict(m) for m in metrics] for workload, metrics in self.metrics.items()},
            "roles": dict(self.roles),
            "placements": {
                repr(float(ratio)): {host: list(nodes) for host, nodes in placement.items()}
                for ratio, placement in self.placements.items()
            },
            "power": asdict(self.power),
            "filesystem_options": dict(self.filesystem_options),
            "faults": {label: dict(about) for label, about in self.faults.items()},
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> RunInfo:
        """The inverse of `to_json`; KeyError, TypeError or ValueError for what is not one."""
        metrics = {w: tuple(Metric(**m) for m in many) for w, many in document["metrics"].items()}
        return RunInfo(
            **{
                **document,
                "hosts": {float(ratio): count for ratio, count in document["hosts"].items()},
                "metrics": metrics,
                "placements": {
                    float(ratio): {host: tuple(nodes) for host, nodes in placement.items()}
                    for ratio, placement in document["placements"].items()
                },
                "power": PowerModel(**document["power"]),
            }
        )


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
    ) -> Store:
        """A new store in `directory`, made if it is not there; `infos` has one element for each file system.

        UserError if there is a run already.
        """
        path = directory / DATABASE
        if path.exists():
            raise UserError(f"{directory} already holds a run; choose another directory")
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the run directory {directory}: {error.strerror}") from error
        store = cls(directory, _connect(path, "rwc"))
        documents = {
            "study.toml": study_toml,
            "study": json.dumps(study),
            "run": json.dumps([i.to_json() for i in infos]),
        }
        with store._writing() as cursor:
            # Schema and version in one transaction: a run that was killed here is an empty file, not half a run.
            for statement in _SCHEMA.split(";"):
                cursor.execute(statement)
            cursor.executemany("INSERT INTO document VALUES (?, ?)", documents.items())
            cursor.executemany("INSERT INTO fact VALUES (?, ?)", facts.items())
            cursor.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return store

    @classmethod
    def open(cls, directory: Path) -> Store:
        """The store in `directory`. UserError if there is none, if it is damaged, or if a newer pliant wrote it."""
        path = directory / DATABASE
        if not path.is_file():
            raise UserError(f"{directory} holds no run: there is no {DATABASE} in it")
        connection = _connect(path, "rw" if os.access(path, os.W_OK) else "ro")
        try:
            _check(connection, path)
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

    def infos(self) -> tuple[RunInfo, ...]:
        """What the run is, for analysis: one element for each file system, in the study's order."""
        written = json.loads(self._document("run"))
        return tuple(RunInfo.from_json(each) for each in (written if isinstance(written, list) else [written]))

    def study(self) -> dict[str, Any]:
        """The validated study, as it was stored."""
        return dict(json.loads(self._document("study")))

    def study_toml(self) -> str:
        """The study file, byte for byte."""
        return self._document("study.toml")

    def _document(self, name: str) -> str:
        row = self._connection.execute("SELECT body FROM document WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise UserError(f"{self.directory / DATABASE} is damaged: it does not say what the run was")
        return str(row[0])

    @property
    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def _put(self, trial: Trial) -> None:
        with self._writing() as cursor:
            version = self._version
            for since, name, empty in _ADDED:
                if version < since:
                    cursor.execute(f"ALTER TABLE trial ADD COLUMN {name} TEXT NOT NULL DEFAULT '{empty}'")
                    cursor.execute(f"PRAGMA user_version = {since}")
            cursor.execute("DELETE FROM value WHERE trial = ?", (trial.number,))
            marks = ", ".join("?" * len(_TRIAL_COLUMNS))
            columns = ", ".join(_TRIAL_COLUMNS)
            cursor.execute(f"INSERT OR REPLACE INTO trial ({columns}) VALUES ({marks})", _columns(trial))
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
            raise FatalError(f"cannot write to {self.directory / DATABASE}: {error}") from error


_TRIAL_COLUMNS = tuple(name for name in Trial.__dataclass_fields__ if name != "metrics")
_JSON_COLUMNS = ("host_cpu_s", "usage", "fault")
_ADDED = ((2, "usage", "{}"), (3, "filesystem", ""), (4, "fault", "{}"))
"""Columns that came with a version of the schema, and what they hold for trials from before."""


def write_trials_csv(path: Path, trials: Sequence[Trial], infos: Sequence[RunInfo]) -> None:
    """One row for each trial and metric, of every state (a trial without metrics has one row), at full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for trial in trials:
        known = {metric.name: metric for metric in infos[0].metrics.get(trial.workload, ())}
        label = trial.filesystem or infos[0].name
        cpu_s = sum(trial.host_cpu_s.values()) if trial.host_cpu_s else ""
        ratio = f"{trial.ratio:.10g}"
        head = (trial.number, trial.workload, trial.program, ratio, trial.hosts, trial.repetition, trial.attempt)
        tail = (trial.state, trial.reason, trial.started_at, trial.duration_s, cpu_s)
        through = [trial.fault.get(name, "") for name in ("intact", "stalled_s", "recovered_s")]
        fault = ["" if value is None else value for value in through]
        order = [name for name in known if name in trial.metrics] + [n for n in trial.metrics if n not in known]
        for name in order or [""]:
            metric = known.get(name)
            unit, better = (metric.unit, metric.better) if metric else ("", "")
            writer.writerow(
                (*head, *tail, name, trial.metrics.get(name, ""), unit, better, trial.directory, label, *fault)
            )
    write_atomically(path, out.getvalue().encode())


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


def _columns(trial: Trial) -> tuple[Any, ...]:
    row = {name: getattr(trial, name) for name in _TRIAL_COLUMNS}
    return tuple((row | {name: json.dumps(dict(row[name])) for name in _JSON_COLUMNS}).values())


def _trial(row: Sequence[Any], metrics: Mapping[str, float]) -> Trial:
    named = dict(zip(_TRIAL_COLUMNS, row, strict=True))
    return Trial(**named | {name: json.loads(named[name]) for name in _JSON_COLUMNS} | {"metrics": metrics})
