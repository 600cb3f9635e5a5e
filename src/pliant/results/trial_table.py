"""All trials of a run as one table for other programs: CSV, JSON, or Parquet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, Literal

from pliant.errors import UserError
from pliant.results.run_info import RunInfo
from pliant.results.store import write_atomically
from pliant.trial import Trial

Format = Literal["csv", "json", "parquet"]
_NUMBERS = {
    **dict.fromkeys(("number", "hosts", "repetition", "attempt"), int),
    **dict.fromkeys(("ratio", "duration_s", "host_cpu_s", "value", "io_stalled_s", "recovered_s", "bound"), float),
    **dict.fromkeys(("limited", "stolen", "withheld", "lost"), float),
}


def table(form: Format, trials: Sequence[Trial], infos: Sequence[RunInfo]) -> bytes:
    """The trials in a format: a row for each trial and metric, with the columns of CSV_HEADER; in JSON a trial each,
    with all that is known of it. UserError if what writes the format is not installed."""
    if form == "json":
        return (json.dumps([trial.to_json() for trial in trials], indent=1) + "\n").encode()
    text = trials_csv(trials, infos)
    return text.encode() if form == "csv" else _parquet(columns(trials, infos))


def columns(trials: Sequence[Trial], infos: Sequence[RunInfo]) -> dict[str, list[Any]]:
    """The same as columns: name -> a value for each row, a number where it is one, None where it is not known."""
    rows = list(csv.DictReader(StringIO(trials_csv(trials, infos))))
    return {name: [_typed(name, row[name]) for row in rows] for name in CSV_HEADER}


def _parquet(found: dict[str, list[Any]]) -> bytes:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            'Parquet is written by pyarrow, which is not installed: pip install "pliant[parquet]"'
        ) from error
    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    schema = pa.schema([(name, types[_type(name)]) for name in CSV_HEADER])
    out = BytesIO()
    parquet.write_table(pa.table(found, schema=schema), out)
    return out.getvalue()


def _type(name: str) -> type:
    return bool if name == "data_intact" else _NUMBERS.get(name, str)


def _typed(name: str, text: str) -> Any:
    """A value of the table as its column has it; None for a number that is not known."""
    kind = _type(name)
    if kind is str:
        return text
    if text == "":
        return None
    return text == "True" if kind is bool else kind(text)


DISTURBED = ("limited", "stolen", "withheld", "lost", "refused", "emulated")


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
    "key",
    "reused",
    "bound",
    *DISTURBED,
)
"""Columns of `trials.csv`, one row for each trial and metric; `host_cpu_s` is the sum over hosts. Where a trial was
stopped, how good a metric was at best is its `bound`, and it has no `value`. The last ones are what
`pliant.telemetry.disturbance` says of the metric. New columns go last."""


def write_trials_csv(path: Path, trials: Sequence[Trial], infos: Sequence[RunInfo]) -> None:
    """Write `trials_csv` to a file. OSError as usual."""
    write_atomically(path, trials_csv(trials, infos).encode())


def trials_csv(trials: Sequence[Trial], infos: Sequence[RunInfo]) -> str:
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
        about = (*fault, trial.key, trial.reused)
        told = [*trial.metrics, *trial.bounds]
        order = [name for name in known if name in told] + [name for name in told if name not in known]
        for name in order or [""]:
            metric = known.get(name)
            unit, better = (metric.unit, metric.better) if metric else ("", "")
            writer.writerow(
                (
                    *(*head, *tail, name, trial.metrics.get(name, ""), unit, better, trial.directory, label, *about),
                    trial.bounds.get(name, ""),
                    *(trial.disturbance.get(name, {}).get(key, "") for key in DISTURBED),
                )
            )
    return out.getvalue()
