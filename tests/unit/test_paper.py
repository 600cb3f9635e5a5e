"""Figures as files for papers: as wide as they are said to be, with letters of a size that can be read, told apart in
black and white.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
import runs

from pliant.report.chart import COLOURS, STATES, series
from pliant.report.paper import files
from pliant.report.writing import all_figures, analyse
from pliant.results.store import Store

SVG = "{http://www.w3.org/2000/svg}"
STEMS = ("saved", "ior-loss", "ior-metrics", "ior-utilisation", "trials", "drift")
POINTS_MM = 25.4 / 72


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    many = [trial for trial in runs.with_usage(runs.trials()) if trial.workload == "ior"]
    directory = runs.make_run(tmp_path_factory.mktemp("run"), many, metrics={"ior": runs.METRICS["ior"]})
    with Store.open(directory) as store:
        return list(all_figures(analyse(store)))


@pytest.fixture(scope="module")
def drawn(figures):
    return dict(files(figures))


def test_each_figure_comes_in_each_width_and_format(drawn):
    kinds = ("svg", "pdf", "png")
    assert set(drawn) == {f"{width}mm/{stem}.{kind}" for width in (88, 180) for stem in STEMS for kind in kinds}


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("width_mm", [88, 180])
def test_a_figure_is_as_wide_as_its_column(drawn, stem, width_mm):
    root = ET.fromstring(drawn[f"{width_mm}mm/{stem}.svg"])
    assert float(root.get("width").removesuffix("pt")) * POINTS_MM == pytest.approx(width_mm, abs=0.1)
    [box] = re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ", drawn[f"{width_mm}mm/{stem}.pdf"])
    assert float(box) * POINTS_MM == pytest.approx(width_mm, abs=0.1)
    png = drawn[f"{width_mm}mm/{stem}.png"]
    assert int.from_bytes(png[16:20], "big") == pytest.approx(width_mm / 25.4 * 300, abs=1)


def test_letters_can_be_read_and_nothing_leaves_the_figure(drawn):
    for name in (n for n in drawn if n.endswith(".svg")):
        root = ET.fromstring(drawn[name])
        texts = list(root.iter(f"{SVG}text"))
        sizes = [float(re.search(r"([\d.]+)px", text.get("style")).group(1)) for text in texts]
        assert texts and min(sizes) >= 6 and max(sizes) <= 8.5


def test_figures_say_what_their_marks_mean(drawn):
    texts = {e.text for e in ET.fromstring(drawn["88mm/ior-loss.svg"]).iter(f"{SVG}text")}
    assert {"folding ratio", "loss", "tolerated", "holds", "breaks", "write bandwidth", "4 hosts"} <= texts


def test_fonts_are_embedded_as_journals_want_them(drawn):
    assert all(b"/Type3" not in content for name, content in drawn.items() if name.endswith(".pdf"))


def test_the_same_figures_give_the_same_bytes(figures, drawn):
    assert dict(files(figures[:1])).items() <= drawn.items()


def test_looks_differ_by_more_than_colour():
    assert len({look.shape for look in STATES.values()}) == 3
    many = [series(number) for number in range(9)]
    assert len({(look.shape, look.dashes) for look in many}) == 9
    assert all(look.colour in COLOURS for look in (*many, *STATES.values()))
