"""A run with trials that were stopped: every format says that a loss is at least so much, and why."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
import runs
from click.testing import CliRunner
from test_report import Page, render, small_run

from pliant.analysis import words
from pliant.analysis.conclusions import judged
from pliant.cli import cli
from pliant.report import latex, markdown
from pliant.report.paper import files
from pliant.report.summary import document
from pliant.report.svg import draw
from pliant.report.writing import all_figures, write_report
from pliant.results.store import Store
from pliant.statistics.comparison import compare
from pliant.workloads.model import Metric

REASON = "s its loss is beyond 80 % whatever comes"


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """Writing at ratio 8 was stopped in each of its three trials, which never came to read."""
    return write_report(small_run(tmp_path_factory.mktemp("run"), ior(runs.stopped(runs.trials()))))


def median(result) -> str:
    """The bound of what was stopped."""
    text = words.median(result.analysis.verdicts[0].at(8.0))
    assert text.startswith("< 8.8")
    return text


def ior(many):
    return [trial for trial in many if trial.workload == "ior"]


@pytest.fixture(scope="module")
def text(result):
    return " ".join(" ".join(Page(result.html.read_text()).text).split()).replace("\N{NO-BREAK SPACE}", " ")


def test_what_is_concluded(result):
    write, read = result.analysis.verdicts
    row = write.at(8.0)
    assert (row.state, row.at_least, row.trials, row.median_is) == ("breaks", True, 3, "at most")
    assert (read.at(8.0).state, read.at(8.0).trials) == ("undecided", 0)
    assert "loss > 80 %" in write.sentence
    assert [t.state for t in result.analysis.uncounted] == ["failed"]
    assert [t.number for t in result.analysis.stopped] == list(row.stopped)
    assert result.analysis.programs["ior"] == ("built-in kernel (ior)",)
    assert not any("Fewer" in note for note in result.analysis.notes)
    assert any(note.startswith("3 trials were stopped before their end: ") for note in result.analysis.notes)
    assert any(note.startswith("1 trial failed and enters") for note in result.analysis.notes)


def test_verdict_json_has_it(result):
    found = json.loads((result.html.parent / "verdict.json").read_text())["verdicts"][0]["ratios"][-1]
    assert found["at_least"] and found["median_is"] == "at most" and len(found["stopped"]) == 3
    assert found["loss_high"] is found["low"] is None and found["loss_low"] > 0.7 and found["high"] > found["median"]


def test_the_terminal_says_it(result):
    said = render(result)
    assert f"{median(result)} ✗" in said and "< or > before a median: it is a bound" in said
    assert all(len(line) <= 80 for line in render(result, width=80).splitlines())


def test_the_page_says_it_with_the_reasons(result, text):
    assert "✗ > 80 %" in text and median(result) in text
    ends = words.bounds(result.analysis.verdicts[0].at(8.0).loss_low, None)
    assert ends in text and ends.endswith(", …]")
    stopped = text.partition("Trials that were stopped A folded")[2].partition("Trials that were not counted")[0]
    assert stopped.count(REASON) == 3 and "write bandwidth < 8.8" in stopped
    assert "9 done trials, 3 stopped" in text
    uncounted = text.partition("Trials that were not counted trial")[2].partition("All trials")[0]
    assert "censored" not in uncounted and "failed" in uncounted
    values = [f"< {bound:.3f}" for t in result.analysis.stopped for bound in t.bounds.values()]
    assert "; ".join(values) in text  # in the table of the metric, in time order


@pytest.mark.parametrize("write", [markdown.write, latex.write])
def test_markdown_and_latex_say_it(result, write):
    said = write(document(result.run)).replace("\\", "").replace("ensuremath{<}", "<").replace("ensuremath{>}", ">")
    assert median(result) in said and "> 80 %" in said
    assert said.count(REASON) == 3 and "stopped before their end" in said


@pytest.mark.parametrize("form", ["html", "markdown", "latex", "json"])
def test_the_command_writes_each_format(result, form):
    done = CliRunner().invoke(cli, ["report", str(result.html.parent), "--format", form], catch_exceptions=False)
    assert done.exit_code == 0
    assert ("at_least" if form == "json" else "censored") in done.output


def test_figures_draw_an_open_interval_with_an_arrow(result):
    figures = {figure.stem: figure for figure in all_figures(result.run)}
    for stem, side, look in (("ior-loss", 1, "^"), ("ior-metrics", 0, "v")):
        chart = figures[stem].charts[0]
        [mark] = [mark for mark in chart.marks if mark.x == 3 and mark.look.colour == "breaks"]
        end = mark.y_ends[side]
        assert end in (float("inf"), float("-inf")) and "> 80 %" in mark.says
        assert stem != "ior-loss" or chart.y.high > 1  # all there is to lose
        svg = draw(chart, "f")
        ET.fromstring(svg)
        assert "inf" not in re.sub(r"<(title|desc).*?</\1>", "", svg)
        singles = [mark for mark in chart.marks if mark.look.shape == look and mark.look.colour == "muted"]
        assert len(singles) == 3 and all("< 8.8" in mark.says for mark in singles)
        assert "stopped trial, at best" in [meaning for _, meaning in figures[stem].key]
    assert ": censored; write: after" in "".join(mark.says for mark in figures["trials"].charts[0].marks)


def test_figures_for_papers_are_drawn(result):
    drawn = dict(files([figure for figure in all_figures(result.run) if figure.stem in ("ior-loss", "saved")]))
    assert len(drawn) == 12 and b"stopped trial" in drawn["88mm/ior-loss.svg"]


def test_without_stopped_trials_nothing_is_said_of_them(tmp_path):
    result = write_report(small_run(tmp_path))
    html = result.html.read_text()
    assert "stopped" not in html and "were stopped" not in render(result)
    assert "every trial that was started is done and valid" in html


def test_lower_is_better_turns_the_signs(tmp_path):
    metric = Metric("latency", "ms", "lower")
    many = []
    for number, trial in enumerate(t for t in runs.trials(failures=False) if t.workload == "ior"):
        slow = trial.ratio == 8.0
        values = {} if slow else {"latency": 10 + 0.01 * (number % 5)}
        bounds = {"latency": 50.0 + number / 10} if slow else {}
        state = "censored" if slow else "done"
        many.append(replace(trial, metrics=values, bounds=bounds, state=state, reason="late" if slow else ""))
    result = write_report(small_run(tmp_path, many, metrics={"ior": (metric,)}))
    row = result.analysis.verdicts[0].at(8.0)
    assert (row.state, row.median_is, row.high) == ("breaks", "at least", None) and row.loss > 4
    assert "> 5" in render(result) and words.loss(row) == f"> {words.percent(row.loss)}"


def test_nobody_is_the_fastest_by_a_bound(tmp_path):
    """A median that is at most so much may be anything below; one that is beyond its upper end is better for sure."""
    with Store.open(small_run(tmp_path, ior(runs.stopped(runs.trials())))) as store:
        info, trials = store.infos()[0], store.trials()
    stopped = judged(info, trials)[0]
    plain = judged(info, ior(runs.trials()))[0]
    [found] = compare({"a": [stopped], "b": [plain]}, 0.1).metrics
    at = found.at[-1]
    assert at.hosts == 1 and at.fastest == "b" and at.of("a").median_is == "at most" and at.of("a").low is None
    slower = judged(info, [t for t in trials if t.ratio == 1])[0]
    assert compare({"a": [stopped], "b": [slower]}, 0.1).metrics[0].at[0].fastest is None


@pytest.mark.parametrize(
    ("low", "high", "text"), [(0.78, None, "[78, …]"), (None, 0.2, "[…, 20]"), (None, None, ""), (0.1, 0.2, "[10, 20]")]
)
def test_an_open_end_is_written_as_such(low, high, text):
    assert words.bounds(low, high) == text
    assert (words.interval(low, high) == "") == (text == "")
    assert ("…" in words.interval(low, high)) == ("…" in text)
