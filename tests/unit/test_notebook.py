"""A run opened in Python: its tables are taken by what reads tables, and its figures are shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow
import pytest
from runs import make_run

import pliant
from pliant.errors import UserError
from pliant.results.trial_table import CSV_HEADER

GUIDE = (Path(__file__).parents[2] / "docs/notebook.md").read_text()


@pytest.fixture
def directory(tmp_path):
    return make_run(tmp_path / "run")


def test_trials_are_columns_of_numbers(directory):
    table = pyarrow.table(pliant.open_run(directory).trials)
    assert tuple(table.column_names) == CSV_HEADER
    assert pyarrow.types.is_floating(table.schema.field("value").type)
    assert pyarrow.types.is_integer(table.schema.field("number").type)


def test_verdicts_are_a_row_for_each_metric_and_ratio(directory):
    run = pliant.open_run(directory)
    found = run.verdicts
    assert len({len(column) for column in found.values()}) == 1
    told = [row for verdict in run.conclusions["verdicts"] for row in verdict["ratios"]]
    assert found["loss"] == [row["loss"] for row in told] and found["state"] == [row["state"] for row in told]


def test_figures_are_shown_by_a_notebook(directory):
    figures = pliant.open_run(directory).figures
    assert figures
    for drawing in figures.values():
        assert "<svg" in drawing._repr_svg_()


def test_it_says_what_the_report_says(directory):
    run = pliant.open_run(directory)
    assert run.headline in repr(run) and run.headline in re.sub(r"\\", "", run._repr_markdown_())
    assert run.study["study"]["name"]
    assert set(run.recommended) == {verdict["filesystem"] for verdict in run.conclusions["verdicts"]}


def test_what_is_not_there_is_said(directory, tmp_path):
    with pytest.raises(UserError, match="no telemetry of a trial 4000"):
        pliant.open_run(directory).usage(4000)
    with pytest.raises(UserError):
        pliant.open_run(tmp_path / "none")
    with pytest.raises(AttributeError):
        pliant.nothing  # noqa: B018


def test_the_guides_example_works(directory):
    (example,) = re.findall(r"(?s)```python\n(.*?)```", GUIDE)
    code = re.sub(r'"runs/[^"]+"', repr(str(directory)), example)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout
