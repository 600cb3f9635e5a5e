"""All trials of a run as one table for other programs: CSV, JSON, or Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from io import BytesIO, StringIO
from typing import Any, Literal

from pliant.errors import UserError
from pliant.store import CSV_HEADER, RunInfo, trials_csv
from pliant.trial import Trial

Format = Literal["csv", "json", "parquet"]
_NUMBERS = {
    **dict.fromkeys(("number", "hosts", "repetition", "attempt"), int),
    **dict.fromkeys(("ratio", "duration_s", "host_cpu_s", "value", "io_stalled_s", "recovered_s", "bound"), float),
}


def table(form: Format, trials: Sequence[Trial], infos: Sequence[RunInfo]) -> bytes:
    """The trials in a format: a row for each trial and metric, with the columns of CSV_HEADER; in JSON a trial each,
    with all that is known of it. UserError if what writes the format is not installed."""
    if form == "json":
        return (json.dumps([trial.to_json() for trial in trials], indent=1) + "\n").encode()
    text = trials_csv(trials, infos)
    return text.encode() if form == "csv" else _parquet(list(csv.DictReader(StringIO(text))))


def _parquet(rows: list[dict[str, str]]) -> bytes:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(
            'Parquet is written by pyarrow, which is not installed: pip install "pliant[parquet]"'
        ) from error
    types = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string()}
    columns = {name: [_typed(name, row[name]) for row in rows] for name in CSV_HEADER}
    schema = pa.schema([(name, types[_type(name)]) for name in CSV_HEADER])
    out = BytesIO()
    parquet.write_table(pa.table(columns, schema=schema), out)
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
