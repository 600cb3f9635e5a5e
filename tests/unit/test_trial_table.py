"""All trials of a run for other programs."""

from __future__ import annotations

import csv
import io
import json
import sys

import pytest
import runs
from click.testing import CliRunner
from pyarrow import parquet

from pliant import cli
from pliant.errors import UserError
from pliant.results.trial_table import CSV_HEADER, table, trials_csv
from pliant.trial import Trial

TRIALS = runs.stopped(runs.trials())


def test_csv_and_parquet_are_the_same_table():
    rows = list(csv.DictReader(io.StringIO(table("csv", TRIALS, [runs.info()]).decode())))
    read = parquet.read_table(io.BytesIO(table("parquet", TRIALS, [runs.info()])))
    assert tuple(read.column_names) == CSV_HEADER
    assert read.num_rows == len(rows)
    for row, other in zip(rows, read.to_pylist(), strict=True):
        for name in CSV_HEADER:
            if isinstance(other[name], float):
                assert float(row[name]) == other[name]
            else:
                assert row[name] == ("" if other[name] is None else str(other[name]))
    types = {field.name: str(field.type) for field in read.schema}
    assert (types["number"], types["value"], types["data_intact"], types["state"]) == (
        "int64",
        "double",
        "bool",
        "string",
    )


def test_a_bound_is_no_value():
    stopped = [trial for trial in TRIALS if trial.state == "censored"]
    rows = [r for r in csv.DictReader(io.StringIO(trials_csv(TRIALS, [runs.info()]))) if r["state"] == "censored"]
    assert len(rows) == len(stopped) == 3
    for row, trial in zip(rows, stopped, strict=True):
        assert (row["metric"], row["value"], row["unit"]) == ("write_bandwidth", "", "MiB/s")
        assert float(row["bound"]) == trial.bounds["write_bandwidth"] and row["reason"] == trial.reason
    read = parquet.read_table(io.BytesIO(table("parquet", TRIALS, [runs.info()]))).to_pylist()
    assert {type(row["bound"]) for row in read} == {float, type(None)}
    assert all((row["value"] is None) == (row["bound"] is not None) for row in read if row["metric"])


def test_json_has_all_that_is_known():
    found = [Trial.from_json(each) for each in json.loads(table("json", TRIALS, [runs.info()]))]
    assert found == TRIALS


def test_without_pyarrow_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r'pip install "pliant\[parquet\]"'):
        table("parquet", TRIALS, [runs.info()])


def test_the_command(tmp_path):
    runs.make_run(tmp_path / "run", TRIALS[:3])
    done = CliRunner().invoke(cli.cli, ["trials", str(tmp_path / "run")])
    assert done.output == table("csv", TRIALS[:3], [runs.info()]).decode()
    arguments = ["trials", str(tmp_path / "run"), "--format", "parquet", "-o", str(tmp_path / "t.parquet")]
    assert CliRunner().invoke(cli.cli, arguments).exit_code == 0
    assert parquet.read_table(tmp_path / "t.parquet").num_rows == sum(max(1, len(t.metrics)) for t in TRIALS[:3])
    done = CliRunner().invoke(cli.cli, ["trials", str(tmp_path / "run"), "-o", str(tmp_path / "no/t.csv")])
    assert isinstance(done.exception, UserError)
