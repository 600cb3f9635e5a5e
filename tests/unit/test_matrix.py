"""Studies of many cells: what they are, where their values go, and what their runs say together."""

from __future__ import annotations

import json

import pytest
import runs
from study_files import GOOD

from pliant.analysis.conclusions import analyse
from pliant.analysis.matrix import judged, matrix
from pliant.report import markdown, paper
from pliant.report.matrix import document, figure
from pliant.results.store import Store
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


@pytest.fixture
def found(tmp_path):
    runs.make_run(tmp_path / "run")
    with Store.open(tmp_path / "run") as store:
        (part,) = analyse(store).parts
    return matrix("a", [judged(each.values, part) for each in cells(MANY, "a.toml")])


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
