"""The report in a browser, as a reader sees it: asks for nothing, values at every mark, sorting, contrast, print."""

from __future__ import annotations

import re

import pytest

FIGURES = "figure svg"
SEEN = """() => [...document.querySelectorAll("figure svg")].map((svg) => ({
  title: svg.querySelector(":scope > title").textContent,
  about: svg.querySelector(":scope > desc").textContent,
  box: svg.getBoundingClientRect().toJSON(),
  marks: [...svg.querySelectorAll(".mark")].map((mark) => ({
    says: mark.querySelector("title").textContent,
    box: mark.querySelector(".shape").getBoundingClientRect().toJSON(),
  })),
  names: [...svg.querySelectorAll(".name")].map((name) => name.textContent),
  ticks: [...svg.querySelectorAll(".tick")].map((tick) => [tick.textContent, tick.getBoundingClientRect().toJSON()]),
}))"""


def test_every_figure_has_its_marks_and_labels_inside(visit, page_file):
    figures = visit(page_file).evaluate(SEEN)
    assert len(figures) >= 25
    for figure in figures:
        assert figure["title"] and len(figure["about"]) > 30
        assert len(figure["names"]) == 2 and all(figure["names"])
        assert len(figure["marks"]) >= 4 and len(figure["ticks"]) >= 6
        box = figure["box"]
        assert box["width"] > 250
        for inside in (*(mark["box"] for mark in figure["marks"]), *(tick for _, tick in figure["ticks"])):
            assert box["left"] - 1 <= inside["left"] and inside["right"] <= box["right"] + 1
            assert box["top"] - 1 <= inside["top"] and inside["bottom"] <= box["bottom"] + 1
        assert all(mark["says"] for mark in figure["marks"])


def test_labels_on_an_axis_do_not_cover_each_other(visit, page_file):
    for figure in visit(page_file).evaluate(SEEN):
        boxes = [box for _, box in figure["ticks"]]
        for number, one in enumerate(boxes):
            for other in boxes[number + 1 :]:
                apart = one["right"] <= other["left"] + 0.5 or other["right"] <= one["left"] + 0.5
                above = one["bottom"] <= other["top"] + 4 or other["bottom"] <= one["top"] + 4
                assert apart or above, figure["title"]


def test_nothing_scrolls_sideways(visit, page_file):
    page = visit(page_file)
    wide = "() => [...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > e.clientWidth + 1).length"
    assert page.evaluate(wide) == 0, "at this width not even a table does"
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("document.body.scrollWidth") <= width


CONTRAST = r"""() => {
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const linear = (c) => { const s = c / 255; return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4; };
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = {};
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || element.closest("title, desc, script, style")) continue;
    const style = getComputedStyle(element);
    const inside = element.ownerSVGElement;
    const ink = parse(inside ? style.fill : style.color), behind = ground(inside ?? element);
    const [dark, light] = [luminance(ink), luminance(behind)].sort((a, b) => a - b);
    found[`${element.tagName} ${ink} on ${behind}`] = (light + 0.05) / (dark + 0.05);
  }
  return found;
}"""


@pytest.mark.parametrize(("scheme", "ground"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 28)")])
def test_texts_have_the_contrast_that_wcag_asks_for(visit, one, scheme, ground):
    page = visit(one, scheme=scheme)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
    found = page.evaluate(CONTRAST)
    assert len(found) > 10
    assert {what: round(ratio, 2) for what, ratio in found.items() if ratio < 4.5} == {}


def figure_of(page, title: str, section: str):
    """The figure of that title below a heading."""
    order = page.locator(f"#{section} ~ .panels figure", has_text=re.compile(f"^{title}"))
    return order.first.locator("svg")


def test_a_mark_says_its_values_when_it_is_pointed_at(visit, one):
    page = visit(one)
    svg = figure_of(page, "read bandwidth", "loss")
    svg.scroll_into_view_if_needed()
    tip = page.locator(".tip")
    assert not tip.is_visible()
    broken = svg.locator(".mark.c-breaks .shape").bounding_box()
    page.mouse.move(broken["x"] + broken["width"] / 2 + 5, broken["y"] + broken["height"] / 2)
    assert tip.is_visible()
    assert re.match(r"read bandwidth at ratio 4 \(2 hosts\): 27.* MiB/s .*breaks, 3 trials$", tip.inner_text())
    shown = tip.bounding_box()
    assert shown["x"] >= 0 and shown["x"] + shown["width"] <= 1280
    page.mouse.move(5, 5)
    assert not tip.is_visible()


def test_the_arrow_keys_go_through_the_marks(visit, one):
    page = visit(one)
    svg = figure_of(page, "write bandwidth", "metrics")
    svg.focus()
    # The focus scrolls to the figure, and scrolling hides what is told: its event comes with the next frame.
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    tip, told = page.locator(".tip"), []
    for key in ("ArrowRight", "ArrowRight", "End", "ArrowLeft", "Home"):
        page.keyboard.press(key)
        told.append(tip.inner_text())
    assert told[0] == told[-1] and told[0].startswith("write bandwidth at ratio 1 (8 hosts)")
    assert len(set(told)) == 4
    page.keyboard.press("Escape")
    assert not tip.is_visible()


def test_a_mark_says_its_values_when_it_is_touched(visit, one):
    page = visit(one, 400, has_touch=True)
    svg = figure_of(page, "read bandwidth", "loss")
    svg.scroll_into_view_if_needed()
    broken = svg.locator(".mark.c-breaks .shape").bounding_box()
    page.touchscreen.tap(broken["x"] + 2, broken["y"] + 2)
    shown = page.locator(".tip").bounding_box()
    assert "breaks" in page.locator(".tip").inner_text()
    assert shown["x"] >= 0 and shown["x"] + shown["width"] <= 400


def column(table, number: int) -> list[str]:
    return [text.strip().split("\n")[0] for text in table.locator(f"tbody tr td:nth-child({number})").all_inner_texts()]


def test_a_table_is_sorted_by_a_click_on_a_header_and_back(visit, one):
    page = visit(one)
    table = page.locator("#trials ~ details table").first
    header = table.locator("thead th", has_text="write bandwidth")
    before = column(table, 8)
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    up = column(table, 8)
    known = [float(text.replace(",", "")) for text in up if text != "–"]
    assert known == sorted(known) and up[-1] == "–", "what is not known comes last"
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    down = column(table, 8)
    assert down[: len(known)] == up[: len(known)][::-1] and down[-1] == "–"
    assert sorted(before) == sorted(up) == sorted(down)
    assert table.locator("[aria-sort]").count() == 1


def test_a_table_is_sorted_by_the_keyboard(visit, one):
    page = visit(one)
    table = page.locator("#verdicts ~ .scroll table").first
    button = table.locator("thead th", has_text="ratio 4").locator("button")
    button.focus()
    page.keyboard.press("Enter")
    names = table.locator("tbody:nth-of-type(2) th[scope=row]").all_inner_texts()
    assert names[0] == "file stat" and names[-1] == "file create"
    assert table.locator("tbody:nth-of-type(1) th[scope=row]").all_inner_texts() == [
        "write bandwidth",
        "read bandwidth",
    ]
    assert table.locator("tbody tr:first-child").all_inner_texts()[1].startswith("mdtest, measured by")


def test_tables_have_headers_that_say_what_they_are_of(visit, page_file):
    page = visit(page_file)
    assert page.locator("table th:not([scope])").count() == 0
    assert page.locator("table").count() == page.locator("table thead").count() > 10


def test_without_a_script_all_is_there_too(visit, one):
    page = visit(one, java_script_enabled=False)
    assert page.locator("figure svg .mark title").count() > 100
    assert page.locator(".headline").inner_text().startswith("GlusterFS folds to ratio 2")


def test_it_prints_in_light_colours_on_pages_that_nothing_leaves(visit, page_file):
    page = visit(page_file, scheme="dark")
    assert len(page.pdf(format="A4", print_background=True)) > 50_000
    page.set_viewport_size({"width": 688, "height": 1000})  # A4 without its margins, at 96 dots per inch
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 37)"
    assert not page.locator("nav").first.is_visible() and not page.locator(".tip").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 688
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0


# The page of a matrix


def test_lines_of_a_matrix_that_coincide_are_all_seen(visit, cells):
    page = visit(cells)
    boxes = [shape.bounding_box() for shape in page.locator("figure .mark:not(.c-breaks) .shape").all()]
    assert len(boxes) == 8, "a mark for each cell"
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            apart = abs(one["x"] - other["x"]), abs(one["y"] - other["y"])
            assert max(apart) >= min(one["width"], other["width"]) / 2, apart
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    page.set_viewport_size({"width": 400, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_a_matrix_leads_to_the_report_of_each_cell(visit, cells):
    page = visit(cells)
    ways = [link.get_attribute("href") for link in page.locator("table a").all()]
    assert len(ways) == 8 and all((cells.parent / way).is_file() for way in ways)
    for number, way in enumerate(ways, 1):
        assert way.startswith(f"{number}-")
    assert page.locator(".headline").inner_text().startswith("8 of 8 cells: from ratio 1 (server 1, block 32 MiB)")
