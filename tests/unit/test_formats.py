"""A report as Markdown, LaTeX and JSON: it says the same, and names from a study cannot break it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import runs
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from test_across import typeset
from test_report import Page, small_run

from pliant.cli import cli
from pliant.errors import UserError
from pliant.report import latex, markdown
from pliant.report.document import Document, Heading, Items, Paragraph, Table, grouped
from pliant.report.summary import document
from pliant.report.writing import analyse, write_report
from pliant.results.store import Store
from pliant.workloads.model import Metric

HOSTILE = (
    r"""</td><script>alert(1)</script> | `x` *b* _i_ [l](javascript:1) & $x^2$ \input{/etc/passwd} %# {~} "q" '<!--"""
)


def rendered(text: str) -> str:
    """Markdown as HTML, raw HTML let through: what is not escaped becomes a tag."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(text)


def report(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["report", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return runs.make_run(tmp_path_factory.mktemp("run"), runs.with_usage(runs.trials()))


@pytest.fixture(scope="module")
def analysis(run):
    with Store.open(run) as store:
        return analyse(store)


def test_a_format_is_written_to_standard_output_and_nothing_into_the_run(run):
    before = sorted(run.rglob("*"))
    assert report(run, "--format", "markdown").startswith("# How far does GlusterFS fold?")
    assert report(run, "--format", "html").startswith("<!DOCTYPE html>")
    assert json.loads(report(run, "--format", "json"))["study"] == "synthetic"
    assert report(run, "--json") == report(run, "--format", "json")
    assert sorted(run.rglob("*")) == before


def test_a_format_is_written_to_a_file(run, tmp_path):
    assert report(run, "--format", "latex", "-o", tmp_path / "report.tex") == ""
    typeset(tmp_path / "report.tex")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "x"), "--output needs --format"),
        (("--json", "--format", "html"), "--json and --format html are two things"),
        (("--format", "html", "-o", "/nowhere/x.html"), "cannot write /nowhere/x.html: No such file"),
    ],
)
def test_what_makes_no_sense_is_refused(run, arguments, said):
    with pytest.raises(UserError, match=said):
        report(run, *arguments)


def test_every_format_has_every_number_of_the_verdicts(analysis):
    made = document(analysis)
    plain = "\n".join(cell for block in made.blocks if isinstance(block, Table) for row in block.rows for cell in row)
    part = analysis.parts[0]
    for text in (markdown.write(made), latex.write(made)):
        assert part.headline in text.replace(r"\%", "%") and "the machine was busy" not in text
    for verdict in part.verdicts:
        for row in verdict.ratios:
            assert f"{row.trials}" in plain
        assert verdict.metric.name.replace("_", " ") in plain
    for limits in part.limits:
        assert all(use.limit.sentence in plain for use in limits.ratios.values())


def test_several_file_systems_have_a_section_each(tmp_path):
    infos = [runs.info(label="glusterfs"), runs.info(label="slow")]
    with Store.create(tmp_path, runs.STUDY, {}, infos, runs.FACTS) as store:
        for number, trial in enumerate(runs.trials(failures=False)):
            for other, info in enumerate(infos):
                store.end(replace(trial, number=2 * number + other, filesystem=info.name))
        made = document(analyse(store))
    headings = [block.text for block in made.blocks if isinstance(block, Heading) and block.level == 1]
    assert headings == ["GlusterFS", "slow"]
    assert made.title.startswith("Which file system folds furthest")


def test_hostile_names_break_nothing(tmp_path):
    metric = Metric(HOSTILE, HOSTILE, "higher")
    many = [
        replace(trial, metrics={HOSTILE: trial.metrics["write_bandwidth"]}, workload=HOSTILE, program=HOSTILE)
        for trial in runs.trials(failures=False)
        if trial.workload == "ior"
    ]
    names = {"filesystem_options": {HOSTILE: HOSTILE}, "host_figures": HOSTILE, "study": HOSTILE, "label": HOSTILE}
    small_run(tmp_path / "run", many, metrics={HOSTILE: (metric,)}, filesystem=HOSTILE, **names)
    with Store.open(tmp_path / "run") as store:
        made = document(analyse(store))
    Page(rendered(markdown.write(made)))
    for tag in ("<script", "<!--", "<em>", "<code", "<a ", "<img"):
        assert tag not in rendered(markdown.write(made))
    (tmp_path / "hostile.tex").write_text(latex.write(made))
    typeset(tmp_path / "hostile.tex")
    html = write_report(tmp_path / "run").html.read_text()
    assert Page(html).tags.count("script") == 1 and "<!--" not in html


def test_a_table_is_as_wide_in_every_row_whatever_its_cells_hold():
    table = Table(HOSTILE, ("a|b", "c"), ((HOSTILE, "1\n2"), ("", "|")))
    text = rendered(markdown.write(Document("x", (table,))))
    assert text.count("<tr>") == 3 and text.count("<td") == 4 and text.count("<th") == 2 + 1  # and <thead>


@given(st.text(max_size=40))
def test_markdown_shows_any_text_as_it_is(text):
    page = Page(rendered(f"{markdown.escape(text)}\n"))
    assert set(page.tags) <= {"p"}
    shown = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    assert " ".join("".join(page.text).split()) == " ".join(shown.split())


OURS = (
    *"{}$&#%_",
    "ensuremath",
    "text",
    "dots",
    "backslash",
    "times",
    "rightarrow",
    "approx",
    "checkmark",
    "mu",
    "cdot",
    "circ",
    "pm",
)


@given(st.text(max_size=60))
def test_tex_has_no_command_that_is_not_ours(text):
    escaped = latex.escape(text)
    assert escaped.isascii() or all(ord(letter) < 256 for letter in escaped)
    assert all(piece.startswith(OURS) for piece in escaped.split("\\")[1:])


def test_letters_of_many_languages_are_typeset(tmp_path):
    letters = "".join(chr(n) for n in range(32, 0x250)) + "µ−–’“”…×→≈₂✓✗ \N{NO-BREAK SPACE}日本 🙂\x00\n"
    made = Document(letters, (Paragraph(letters), Items((letters, "[x] y")), Heading(letters, 2)))
    (tmp_path / "letters.tex").write_text(latex.write(made))
    typeset(tmp_path / "letters.tex")


def test_a_table_longer_than_a_page_goes_over_several(tmp_path):
    rows = tuple((f"row {n}", "words " * 20, str(n)) for n in range(120))
    made = Document("x", (Table("long", ("a", "b", "c"), rows, frozenset({0, 1})),))
    assert "longtable}" in latex.write(made)
    (tmp_path / "long.tex").write_text(latex.write(made))
    typeset(tmp_path / "long.tex")


def test_a_first_cell_is_written_once():
    rows, begins = grouped([("a", "1"), ("a", "2"), ("b", "3")])
    assert rows == (("a", "1"), ("", "2"), ("b", "3")) and begins == {2}
