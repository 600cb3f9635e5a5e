"""Studies of many cells: what they are, where their values go, and what their runs say together."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import runs
from click.testing import CliRunner
from study_files import GOOD

from pliant.analysis.conclusions import analyse
from pliant.analysis.matrix import judged, matrix
from pliant.campaign import preparation
from pliant.campaign.determinants import Determined
from pliant.cli import cli
from pliant.cli.matrix import read
from pliant.errors import UserError
from pliant.report import markdown, paper
from pliant.report.matrix import document, figure
from pliant.results.store import Store
from pliant.statistics.search import Todo
from pliant.study.matrix import cells
from pliant.study.problems import StudyError
from pliant.study.reading import parse

TABLE = """
[matrix]
filesystem.roles.server = [2, 4]
workload.block = ["8 MiB", "32 MiB"]
"""
MANY = GOOD + TABLE


def test_each_combination_is_a_study():
    found = cells(MANY, "a.toml")
    assert [each.name for each in found] == [
        "1-server-2-block-8-MiB",
        "2-server-2-block-32-MiB",
        "3-server-4-block-8-MiB",
        "4-server-4-block-32-MiB",
    ]
    for each in found:
        study = parse(each.text, "a.toml")
        assert study.filesystem.roles == {"server": each.values["filesystem.roles.server"], "client": 4}
        assert f"{study.workload('ior').options.block >> 20} MiB" == each.values["workload.block"]
        assert not hasattr(study.workload("mdtest").options, "block")  # of workloads that have it
        assert cells(each.text, "a.toml") == (type(each)(f"1-{each.name[2:]}", each.values, each.text),)


def test_a_study_without_a_matrix_has_no_cells():
    assert cells(GOOD, "a.toml") == ()


def test_a_matrix_may_be_anywhere_and_of_any_value():
    text = GOOD.replace("[fold]", '[matrix.filesystem.options]\nvolume = ["distribute", "replicate 2"]\n[fold]')
    text += '[matrix.fold]\nratios = [[1, 2], [1, 2, 4]]\nmax_loss = ["5 %"]\n'
    found = [parse(each.text, "a.toml") for each in cells(text, "a.toml")]
    assert [each.options.volume for each in found] == ["distribute"] * 2 + ["replicate 2"] * 2
    assert [each.ratios for each in found] == [(1, 2), (1, 2, 4)] * 2
    assert {each.fold.max_loss for each in found} == {0.05}


def test_of_tables_that_all_lack_it_it_is_all_of_them():
    text = GOOD + "[matrix]\nworkload.ranks_per_client = [2]\n"
    assert {each.options.ranks_per_client for each in parse(text, "a.toml").workloads} == {2}


def test_a_key_may_have_points_in_its_name():
    text = GOOD + '[matrix]\nfilesystem.options.volume_options."cluster.x" = ["on", "off"]\n'
    found = [parse(each.text, "a.toml").options.volume_options for each in cells(text, "a.toml")]
    assert found == [{"cluster.x": "on"}, {"cluster.x": "off"}]


@pytest.mark.parametrize(
    ("table", "key", "message"),
    [
        ("[matrix]\n", "matrix", "has no key"),
        ("[matrix]\nstudy.seed = [1, 2]\n", "matrix.study.seed", "is no key that cells can differ in"),
        ("[matrix]\nfold = [1, 2]\n", "matrix.fold", "is no key that cells can differ in"),
        ("[matrix]\nfold.max_loss = 2\n", "matrix.fold.max_loss", "is no list of values"),
        ("[matrix]\nfold.max_loss = []\n", "matrix.fold.max_loss", "is no list of values"),
        ("[matrix]\nfold.ratios = [[1], [1]]\n", "matrix.fold.ratios", "has a value twice"),
        ("[matrix]\nfold.placement = [{}]\n", "matrix.fold.placement", "has a table among its values"),
        (f"[matrix]\nworkload.block = {list(range(257))}\n", "matrix", "has 257 combinations; write 256 at most"),
    ],
)
def test_what_is_no_matrix_is_told(table, key, message):
    with pytest.raises(StudyError) as refused:
        cells(GOOD + table, "a.toml")
    (problem,) = refused.value.problems
    assert problem.key == key and message in problem.message


def test_a_matrix_in_one_line_is_told_to_be_a_table():
    with pytest.raises(StudyError, match="is to be a table of its own"):
        cells("matrix = { fold = { ratios = [[1]] } }\n" + GOOD, "a.toml")


def test_several_cells_are_no_study_for_other_commands():
    with pytest.raises(StudyError, match="has several cells: `pliant run` runs them"):
        parse(MANY, "a.toml")


@pytest.mark.parametrize("key", ["fold.max_loss", "fold.ratios"])
def test_a_trial_that_two_cells_share_is_the_same_trial(machine, key):
    """What cells tolerate, or which ratios they ask for, is no part of a trial: the store has it from the first."""
    values = {"fold.max_loss": ["5 %", "10 %"], "fold.ratios": [[1, 2], [1, 2, 4]]}[key]
    text = f"{GOOD}[matrix]\n{key} = {json.dumps(values)}\n"
    keys = []
    for cell in cells(text, "a.toml"):
        (prepared,) = preparation.prepare(parse(cell.text, "a.toml"))
        determined = Determined(prepared, "dev")
        keys.append({determined.key(Todo("ior", ratio, 1, "glusterfs")) for ratio in (1.0, 2.0)})
    assert len(keys) == 2 and keys[0] == keys[1] and len(keys[0]) == 2


def test_a_trial_of_another_cluster_is_another(machine):
    keys = []
    for cell in cells(MANY, "a.toml"):
        (prepared,) = preparation.prepare(parse(cell.text, "a.toml"))
        keys.append(Determined(prepared, "dev").key(Todo("ior", 1.0, 1, "glusterfs")))
    assert len(set(keys)) == 4


@pytest.fixture
def found(tmp_path):
    runs.make_run(tmp_path / "run")
    with Store.open(tmp_path / "run") as store:
        (part,) = analyse(store).parts
    return matrix("a", [judged(each.name, each.values, part) for each in cells(MANY, "a.toml")])


def test_cells_say_up_to_where_they_hold_and_what_breaks_them(found):
    told = found.to_json()
    assert json.loads(json.dumps(told)) == told
    assert [cell["values"]["filesystem.roles.server"] for cell in told["cells"]] == ["2", "2", "4", "4"]
    assert len({cell["holds_up_to"] for cell in told["cells"]}) == 1
    first = found.cells[0]
    assert first.ratio is not None and (first.breaks_at is None or first.breaks_at > first.ratio)
    assert bool(first.what) == (first.breaks_at is not None)
    for effect in found.effects:
        assert effect.ratio == pytest.approx(first.ratio) and (effect.cells, effect.of) == (2, 2)
    assert len(found.effects) == 4


def test_it_is_written_as_a_table_and_a_figure(found):
    text = markdown.write(document(found))
    assert "| filesystem.roles.server | workload.block | holds up to |" in text.replace("\\_", "_")
    assert text.count("| 2 |") >= 2
    drawn = figure(found)
    assert [each.label for each in (drawn.charts[0].x,)] == ["filesystem.roles.server"]
    assert len(drawn.charts[0].lines) == 2
    assert paper.single(drawn, "svg").startswith(b"<?xml")


# The directory of a matrix

HARDER = [{}, {2.0: 0.5}, {}, {2.0: 0.5}]


@pytest.fixture
def told(tmp_path):
    """A matrix of four cells, of which those with large blocks break at once; the last is still to be begun."""
    runs.make_cells(tmp_path / "m", MANY, HARDER)
    shutil.rmtree(tmp_path / "m" / cells(MANY, "a.toml")[-1].name)
    return tmp_path / "m"


def report(*arguments):
    return CliRunner().invoke(cli, ["report", *map(str, arguments)])


def test_the_report_of_a_matrix_leads_to_those_of_its_cells(told):
    done = report(told)
    assert done.exit_code == 0, done.output
    page = (told / "matrix.html").read_text()
    links = re.findall(r'<a href="([^"]+)">', page)
    assert len(links) == 3 and all((told / link).exists() for link in links)
    assert "3 of 3 cells: from ratio 1 (server 2, block 32 MiB) to 2 (server 2, block 8 MiB)." in page
    assert all(link in (told / "matrix.md").read_text() for link in links)
    assert not (told / "matrix.json").exists(), "by that it is known to have ended"
    assert report(told / links[0].partition("/")[0]).exit_code == 0


def test_a_matrix_is_told_in_every_format_and_by_some_metrics(told):
    assert json.loads(report(told, "--json").stdout)["cells"][0]["holds_up_to"] == 2
    for kind, begin in (("html", "<!DOCTYPE html>"), ("markdown", "# How far"), ("latex", "%")):
        done = report(told, "--format", kind)
        assert done.exit_code == 0 and done.stdout.startswith(begin), done.output
    assert not (told / "matrix.html").exists()
    done = report(told, "--metric", "file_stat")
    assert done.exit_code == 0 and "How far does it fold" in done.stdout
    assert isinstance(report(told, "--figures").exception, UserError)


def test_a_run_is_no_matrix(tmp_path):
    assert isinstance(report(tmp_path).exception, UserError)
    runs.make_run(tmp_path / "1-run")
    assert isinstance(report(tmp_path).exception, UserError)
    assert report(tmp_path / "1-run").exit_code == 0
    assert (tmp_path / "1-run" / "report.html").exists()


def test_lines_that_would_lie_on_each_other_are_beside_each_other(told):
    (chart,) = figure(read(told)).charts
    assert len(chart.lines) == 2
    points = [point for line in chart.lines for point in line.points]
    assert len(set(points)) == len(points) == 3
    assert [tick for _, tick in chart.x.ticks] == ["2", "4"]
    for line in chart.lines:
        assert [round(x) for x, _ in line.points] == list(range(len(line.points)))
