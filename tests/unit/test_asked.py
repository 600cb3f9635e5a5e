"""The question that a reader has: verdicts by the metrics that are asked for, in the study and of a report."""

from __future__ import annotations

import json
import re

import pytest
import runs
from click.testing import CliRunner
from prepared_studies import prepare, study
from rich.console import Console
from study_files import GOOD

from pliant.analysis.conclusions import analyse
from pliant.campaign import description, preparation
from pliant.cli import cli
from pliant.report.html import render
from pliant.report.summary import document
from pliant.report.terminal import summary
from pliant.results.store import Store
from pliant.study.problems import StudyError
from pliant.study.reading import parse
from pliant.workloads.model import asked_for

ASKED = 'max_loss = "10 %" => max_loss = "10 %" \n metrics = {}'


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return runs.make_run(tmp_path_factory.mktemp("run"))


def judged(directory, workloads=(), metrics=()):
    with Store.look(directory) as store:
        return analyse(store, workloads, metrics)


def report(directory, *arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(cli, ["report", str(directory), *arguments])
    assert (result.exit_code == 0) == (status == 0), result.output
    return result.output + (str(result.exception) if result.exception else "")


# In a study


@pytest.mark.usefixtures("machine")
def test_a_study_is_searched_by_the_metrics_that_it_asks_for():
    """What is not asked for is measured where it comes with what is, and asks for no trials of its own."""
    prepared = prepare(study(ASKED.format('["*_bandwidth"]')))
    question = preparation.search_of([prepared])._search._asked
    assert {w: [m.name for m in many] for w, many in question.metrics.items()} == {
        "ior": ["write_bandwidth", "read_bandwidth"]
    }
    info = description.info_of(prepared)
    assert info.asked == ("*_bandwidth",) and list(info.metrics) == ["ior"]
    assert any("mdtest is not run, as fold.metrics asks for none of its metrics" in each for each in prepared.warnings)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ('["ior"]', {"write_bandwidth", "read_bandwidth"}),
        ('["ior.read_*"]', {"read_bandwidth"}),
        ('["file_stat", "read_bandwidth"]', {"read_bandwidth", "file_stat"}),
    ],
)
@pytest.mark.usefixtures("machine")
def test_metrics_are_named_in_several_ways(patterns, names):
    prepared = prepare(study(ASKED.format(patterns)))
    asked = preparation._asked(prepared.study)
    assert {metric.name for many in asked.values() for metric in many} == names


def test_a_metric_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(StudyError) as refused:
        parse(GOOD.replace("[fold]", '[fold]\nmetrics = ["read_bandwith"]'), "a.toml")
    assert str(refused.value).startswith(
        'a.toml: fold.metrics[1]: "read_bandwith" names no metric; did you mean "read_'
    )


def test_without_patterns_all_are_asked_for():
    assert asked_for((), "ior", "read_bandwidth") and not asked_for(["ior."], "ior", "read_bandwidth")


# Of a run


def test_the_headline_is_about_what_is_asked_for(directory):
    """Bandwidths fold further than metadata: writing to 8, both to 2, where reading is not monotone."""
    everything, bandwidth = judged(directory).parts[0], judged(directory, metrics=["write_bandwidth"]).parts[0]
    assert bandwidth.recommended > everything.recommended
    assert "its metric is shown" in bandwidth.headline
    assert [v.metric.name for v in bandwidth.verdicts] == ["write_bandwidth"]
    assert bandwidth.savings.ratio == bandwidth.recommended
    assert {trial.workload for trial in bandwidth.trials} == {"ior"}


def test_each_workload_has_a_ratio_of_its_own(tmp_path):
    analysis = judged(runs.make_run(tmp_path / "run", asked=("write_bandwidth", "file_stat"))).parts[0]
    assert set(analysis.by_workload) == {"ior", "mdtest"}
    assert analysis.recommended == min(analysis.by_workload.values())
    written = analysis.to_json()["recommended"]
    assert written == {"all": analysis.recommended, "workloads": analysis.by_workload}


def test_where_workloads_differ_it_is_said_everywhere(tmp_path):
    directory = runs.make_run(tmp_path / "run", asked=("write_bandwidth", "file_create"))
    run = judged(directory)
    (analysis,) = run.parts
    assert len(set(analysis.by_workload.values())) > 1
    said = analysis.each_workload
    assert said.startswith("By itself, ior ") and "mdtest" in said
    assert said in render(run).replace("\N{NO-BREAK SPACE}", " ")
    assert any(said in getattr(block, "text", "") for block in document(run).blocks)
    shown = report(directory, "--format", "markdown")
    assert said in re.sub(r"\\(.)", r"\1", shown)


def test_a_study_that_asks_shows_the_rest_beside(tmp_path):
    directory = runs.make_run(tmp_path / "run", asked=("write_bandwidth",))
    analysis = judged(directory).parts[0]
    assert "its metric asked for is shown" in analysis.headline
    assert len(analysis.verdicts) == 9 and [v.metric.name for v in analysis.plain] == ["write_bandwidth"]
    console = Console(width=120)
    with console.capture() as caught:
        console.print(summary(analysis))
    assert "asked for: write_bandwidth; how far it folds is decided by these" in caught.get()
    assert "file create" in caught.get()


def test_the_command_shows_and_writes_nothing_into_the_run(directory):
    before = {path.name for path in directory.iterdir()}
    said = report(directory, "--workload", "ior", "--metric", "write_*")
    assert "ior write bandwidth" in said and "read bandwidth" not in said and "mdtest" not in said
    found = json.loads(report(directory, "--workload", "mdtest", "--format", "json"))
    assert {verdict["workload"] for verdict in found["verdicts"]} == {"mdtest"}
    assert {path.name for path in directory.iterdir()} == before
    assert re.search(
        r"no metric of nothing; it has ior\.read_bandwidth", report(directory, "--metric", "nothing", status=2)
    )
    assert "leave out --metric" in report(directory, "--metric", "x", "--figures", status=2)
