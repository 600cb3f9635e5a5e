"""Reports: the files of a run, what the page says and does not do, and what a careful reader is warned of."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import runs
from rich.console import Console

from pliant.analysis import words
from pliant.errors import UserError
from pliant.report.html import render as html_of
from pliant.report.summary import document
from pliant.report.terminal import summary
from pliant.report.writing import all_figures, analyse, write_figures, write_report
from pliant.results.store import Store
from pliant.workloads.model import Metric

SAVINGS = {f"{what}_{side}" for what in ("hosts", "machine_hours", "energy_kwh") for side in ("full", "folded")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_report(runs.make_run(tmp_path_factory.mktemp("run")))


class Page(HTMLParser):
    """Ids, addresses and texts of a page; complains about elements that are not closed in order."""

    VOID = ("meta", "br", "link", "img", "use", "path", "line", "rect", "input")

    def __init__(self, html):
        super().__init__()
        self.ids, self.addresses, self.tags, self.text, self.open = [], [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id"]
        self.addresses += [v for name, v in attrs if name in ("src", "href", "xlink:href", "srcset", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(run):
    return Page(run.html.read_text())


def small_run(directory, many=None, **changes):
    """A run with one workload of two metrics: quick to draw."""
    many = [t for t in runs.trials(failures=False) if t.workload == "ior"] if many is None else many
    return runs.make_run(directory, many, **({"metrics": {"ior": runs.METRICS["ior"]}} | changes))


def test_a_report_is_its_files(run):
    names = {str(path.relative_to(run.html.parent)) for path in run.files}
    assert names == {"trials.csv", "verdict.json", "report.html"}
    assert all(path.stat().st_size > 0 for path in run.files)


def test_verdict_json_is_as_agreed(run):
    document = json.loads((run.html.parent / "verdict.json").read_text())
    assert len(document["verdicts"]) == 9
    assert set(document["savings"]) >= SAVINGS
    assert document["savings"]["hosts_full"] == 8 and document["savings"]["hosts_folded"] == 4
    assert document["facts"] == runs.FACTS and document["study"] == "synthetic"
    by_metric = {v["metric"]: v for v in document["verdicts"]}
    assert by_metric["read_bandwidth"]["breaks_at"] == 4 and not by_metric["read_bandwidth"]["monotone"]
    assert by_metric["file_create"]["holds_up_to"] == 2
    assert [r["hosts"] for r in by_metric["file_create"]["ratios"]] == [8, 4, 2, 1]


SCALED = {"scale": 150.0, "like": "grid5000/dahu", "real_figures": "grid5000/dahu: 32 cores"}


def test_scaled_hosts_are_reported_as_measured_and_rescaled(tmp_path):
    lower = Metric("latency", "ms", "lower")
    other = Metric("hit_rate", "%", "higher")
    metrics = {"ior": (*runs.METRICS["ior"][:1], lower, other)}
    many = [t for t in runs.trials(failures=False) if t.workload == "ior"]
    many = [replace(t, metrics={**t.metrics, "latency": 3.0 + t.repetition, "hit_rate": 50.0}) for t in many]
    result = write_report(runs.make_run(tmp_path, many, metrics=metrics, **SCALED))
    document = json.loads((tmp_path / "verdict.json").read_text())
    assert (document["run"]["scale"], document["run"]["like"]) == (150, "grid5000/dahu")
    rate, time, ratio = document["verdicts"]
    for row in rate["ratios"]:
        assert row["rescaled"] == {end: pytest.approx(150 * row[end]) for end in ("median", "low", "high")}
    assert time["ratios"][0]["rescaled"]["median"] == pytest.approx(5 / 150)
    assert ratio["ratios"][0]["rescaled"] == {"median": None, "low": None, "high": None}
    text = render(result, width=80)
    assert text.count("  rescaled  ") == 2 and "grid5000/dahu divided by 150" in text
    assert max(map(len, text.splitlines())) <= 80
    page = " ".join(" ".join(Page(result.html.read_text()).text).split())
    assert "grid5000/dahu: 32 cores" in page and "Scale 150: the real host's CPU" in page
    assert page.count("rescaled interval") == 2
    header, *rows = (tmp_path / "trials.csv").read_text().splitlines()
    assert "rescaled" not in header and any(",latency,4.0,ms," in row for row in rows)


def test_a_disk_rate_that_is_only_a_bound_is_told(tmp_path):
    caveat = "600 MB/s is an upper bound, and not a measurement"
    result = write_report(runs.make_run(tmp_path, runs.trials(failures=False), disk_caveat=caveat, **SCALED))
    page = " ".join(" ".join(Page(result.html.read_text()).text).split())
    assert f"grid5000/dahu: 32 cores. Its disk: {caveat}" in page
    assert f"its disk: {caveat}" in " ".join(render(result, width=80).split())
    assert json.loads((tmp_path / "verdict.json").read_text())["run"]["disk_caveat"] == caveat


def test_without_a_scale_nothing_is_rescaled(run):
    document = (run.html.parent / "verdict.json").read_text()
    for text in (document, run.html.read_text(), render(run, width=100)):
        assert "rescaled" not in text.lower()


def test_failed_and_invalid_trials_are_never_averaged_in_and_always_told(run, page):
    text = " ".join(page.text)
    assert "no route to host" in text and "the machine was busy" in text
    assert "1 trial failed and enters no verdict" in text and "1 trial was not valid" in text
    assert "mdtest at ratio 8 (2)" in text
    assert next(v for v in run.analysis.verdicts if v.workload == "mdtest").at(8.0).trials == 2


def test_the_page_says_what_was_concluded_and_how_it_was_measured(run, page):
    text = " ".join(" ".join(page.text).split())
    assert run.analysis.headline in text and run.analysis.beyond in text
    assert all(verdict.sentence in text for verdict in run.analysis.verdicts)
    for words_ in (
        "built-in kernel (mdtest)",
        "0.2 core, 200 Mbit/s",
        "volume = distribute",
        "seed 1",
        "host1",
        "taurus",
    ):
        assert words_ in text
    assert all(value in text for value in runs.FACTS.values())
    assert "# <not> a real one & proud of it" in text


def test_the_page_fetches_nothing(run, page):
    html = run.html.read_text()
    assert not {"link", "img", "iframe", "object", "image"} & set(page.tags)
    assert page.tags.count("script") == page.tags.count("style") == 1
    assert all(address.startswith("#") for address in page.addresses)
    assert "http://" not in html and "https://" not in html and "url(" not in html
    assert len(html.encode()) < 2_000_000


@pytest.mark.parametrize("tag", ["style", "script"])
def test_the_policy_allows_the_pages_own_style_and_script_alone(run, tag):
    html = run.html.read_text()
    [text] = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"{tag}-src &#39;sha256-{digest}&#39;" in policy
    assert "default-src &#39;none&#39;" in policy and "unsafe" not in policy
    assert not re.findall(r'<[^>]* (?:style|on[a-z]+)="', html)


def test_ids_do_not_clash_and_references_resolve(run, page):
    assert len(page.ids) == len(set(page.ids))
    html = run.html.read_text()
    labels = " ".join(re.findall(r'aria-labelledby="([^"]*)"', html)).split()
    assert {*re.findall(r'href="#([^"]*)"', html), *labels} <= set(page.ids)


def test_figures_take_their_colours_from_the_page_and_have_titles(run):
    html = run.html.read_text()
    panels = re.findall(r'<svg viewBox="0 0 .*?</svg>', html, re.DOTALL)
    assert len(panels) == 2 * 9 + 3 + 2 + 9
    classes = set(re.findall(r"\.([a-z][a-z0-9-]*)", re.findall("<style>(.*?)</style>", html, re.DOTALL)[0]))
    for panel in panels:
        ET.fromstring(panel)
        assert re.match(
            r'<svg [^>]*aria-labelledby="(\w+-t) (\w+-d)"><title id="\1">[^<]+</title><desc id="\2">', panel
        )
        assert not re.findall(r"#[0-9a-f]{6}\b", panel)
        assert set(" ".join(re.findall(r'class="([^"]*)"', panel)).split()) <= classes | {"tick", "mark"}


def test_every_mark_says_its_values(run):
    html = run.html.read_text()
    for verdict in run.analysis.verdicts:
        for row in verdict.ratios:
            where = f"{words.metric_title(verdict.metric)} at {words.place(row.ratio, row.hosts)}"
            assert html.count(f"<title>{where}: {words.number(row.median)} {verdict.metric.unit}") == 2
    for trial in run.run.trials:
        assert f"<title>trial {trial.number}, ratio {trial.ratio:g}" in html


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """An adaptive run: ratio 8 seen once, one outlier, two trials measured before, the machine slowing down."""
    rng, many = np.random.default_rng(3), []
    for number, ratio in enumerate([1, 2, 4, 8, 1, 4, 1, 4, 2, 1, 2, 4, 1, 2, 1, 4, 2, 1, 2, 1, 4, 2], 1):
        left = {1: 1.0, 2: 0.95, 4: 0.6, 8: 0.5}[ratio] * (1.35 if number == 9 else 1.0) * (1 - 0.004 * number)
        values = {metric.name: 44 * left * np.exp(0.03 * rng.standard_normal()) for metric in runs.METRICS["ior"]}
        trial = runs.trial(number, "ior", float(ratio), number, "done", 1, values)
        at = {"started_at": f"2024-05-01T10:{number:02d}:00+00:00"}
        many.append(replace(trial, reused="runs/old, 2024-04-01T10:00:00+00:00" if number < 3 else "", **at))
    adaptive = {"search": "adaptive", "indifference": 0.05, "repetitions": 25}
    return write_report(small_run(tmp_path_factory.mktemp("run"), many, **adaptive))


def test_a_searched_run_says_what_was_not_needed_and_what_the_search_took(searched):
    text = " ".join(" ".join(Page(searched.html.read_text()).text).split()).replace("\N{NO-BREAK SPACE}", " ")
    assert [row.ratio for row in searched.analysis.verdicts[0].ratios if row.passed_over] == [8.0]
    assert "undecided, and not needed" in searched.html.read_text()
    assert "not needed: looks like a larger ratio that holds" in text
    assert "this study, 20 trials" in text and "a full grid that decides as much, " in text
    assert "10 ± 5 %" in text and "adaptive: each next trial where a verdict is still open" in text
    assert "The study took 22 trials; a full grid that decides as much takes" in render(searched, width=400)


def test_outliers_and_trials_of_before_are_marked(searched):
    html = searched.html.read_text()
    outliers = {number for v in searched.analysis.verdicts for row in v.ratios for number in row.outliers}
    assert outliers == {9}
    assert re.search(r"<title>trial 9, ratio 2: [^<]*; an outlier, drawn in</title>", html)
    assert html.count('<abbr title="outlier, drawn in">°</abbr>') == sum(
        len(row.outliers) for v in searched.analysis.verdicts for row in v.ratios
    )
    [before] = re.findall(r"<title>trial 1, ratio 1, minute 0.0, [^<]*</title>", html)
    assert before.endswith("s: done, measured before</title>")
    assert html.count("<small>measured before</small>") == 2


@pytest.mark.parametrize(("repetitions", "drawn"), [(60, True), (250, False)])
def test_thousands_of_trials_fit_into_two_megabytes(repetitions, drawn):
    first = runs.trial(1, "ior", 1.0, 1, "done").started_at
    many = [replace(trial, started_at=first) for trial in runs.trials(repetitions, failures=False)]
    held = {"infos": (runs.info(),), "trials": many, "facts": runs.FACTS, "study_toml": runs.STUDY}
    store = {name: lambda value=value: value for name, value in held.items()}
    html = html_of(
        analyse(SimpleNamespace(**store, document=lambda name: "", watts=dict, directory=Path("run"), study=dict))
    )
    assert len(html.encode()) < 2_000_000
    assert "single trials are below" in html and ("Noise and drift" in html) == drawn


def test_the_same_store_gives_the_same_bytes(tmp_path):
    directory = small_run(tmp_path)
    first = {path: path.read_bytes() for path in write_report(directory).files}
    assert {path: path.read_bytes() for path in write_report(directory).files} == first
    assert not list(directory.rglob(".*"))


def test_what_wattmetres_said_is_in_place_of_the_model(tmp_path):
    out = runs.make_run(tmp_path / "run")
    with Store.open(out) as store:
        store.add_watts({ratio: 100.0 + 10 * ratio for ratio in runs.HOSTS})
    with Store.look(out) as store:
        found = analyse(store)
    html = html_of(found)
    assert "Energy is measured, by wattmetres: a host drew 110 W at ratio 1" in html
    assert "(measured)" in html and "modelled" not in html
    assert "Energy is measured by wattmetres: a host drew 110 W at ratio 1" in str(document(found))


def test_no_done_trial_is_said_and_nothing_else_is(tmp_path):
    result = write_report(small_run(tmp_path, [runs.trial(1, "ior", 1.0, 1, "running")]))
    assert "no done trial" in result.analysis.headline
    document = json.loads((tmp_path / "verdict.json").read_text())
    assert document["savings"]["hosts_full"] is None and document["savings"]["ratio"] is None
    assert "1 trial never ended" in result.html.read_text()
    Page(result.html.read_text())
    render(result)


def test_one_repetition_makes_no_claim(tmp_path):
    many = [t for t in runs.trials(1, failures=False) if t.workload == "ior"]
    result = write_report(small_run(tmp_path, many, repetitions=1))
    assert result.analysis.recommended == 1.0
    assert result.analysis.headline.startswith("GlusterFS is not shown to fold")
    assert any("One repetition shows no noise" in note for note in result.analysis.notes)
    assert "Savings: none" in render(result)


def test_values_that_are_not_positive_are_left_out_and_told(tmp_path):
    many = [t for t in runs.trials(failures=False) if t.workload == "ior"]
    many[0] = replace(many[0], metrics={"write_bandwidth": 0.0, "read_bandwidth": float("nan")})
    result = write_report(small_run(tmp_path, many))
    assert result.analysis.verdicts[0].at(1.0).trials == 2
    assert [n for n in result.analysis.notes if "write_bandwidth = 0" in n]
    assert [n for n in result.analysis.notes if "read_bandwidth = nan" in n]


def test_noisy_uneven_and_lower_is_better(tmp_path):
    hosts = {1.0: 8, 8 / 5: 5, 8 / 3: 3, 8.0: 1}
    metric = Metric("p99 <latency>", "ms", "lower")
    values = {1.0: (10, 13, 8), 8 / 5: (11, 30, 9), 8 / 3: (40, 500, 20), 8.0: (90, 100, 95)}
    many = [
        replace(
            runs.trial(i * 3 + j, "fio", 1.0, j + 1, "done", metrics={metric.name: float(v)}), ratio=r, hosts=hosts[r]
        )
        for i, (r, three) in enumerate(values.items())
        for j, v in enumerate(three)
    ]
    result = write_report(
        runs.make_run(tmp_path, many, metrics={"fio": (metric,)}, hosts=hosts, placements={}, filesystem="my<fs>")
    )
    html = result.html.read_text()
    assert "p99 &lt;latency&gt;" in html and "<latency>" not in html and "my<fs>" not in html
    assert max(map(len, render(result, width=80).splitlines())) <= 80
    assert "2.67" in html
    Page(html)


def test_several_workloads_of_one_kind_keep_apart(tmp_path):
    metrics = {"ior shared/file": runs.METRICS["ior"], "ior": runs.METRICS["ior"]}
    many = [t for t in runs.trials(failures=False) if t.workload == "ior"]
    many += [replace(t, number=t.number + 1000, workload="ior shared/file") for t in many]
    result = write_report(runs.make_run(tmp_path, many, metrics=metrics))
    stems = [figure.stem for figure in all_figures(result.run)]
    assert stems == [
        "saved",
        "ior shared/file-loss",
        "ior-loss",
        "ior shared/file-metrics",
        "ior-metrics",
        "trials",
        "drift",
    ]


def test_the_terminal_has_a_line_for_each_metric(run):
    text = render(run, width=100)
    for verdict in run.analysis.verdicts:
        assert f"{verdict.workload} {words.metric_title(verdict.metric)}" in text
    assert "hosts 8 → 4" in text and "27.0 ✗" in text and "2,080 ?" in text
    assert max(map(len, render(run, width=80).splitlines())) <= 80


def test_many_ratios_do_not_push_the_verdict_off_the_terminal(tmp_path):
    hosts = {8 / count: count for count in range(8, 0, -1)}
    many = [
        replace(runs.trial(n, "ior", 1.0, 1, "done", metrics={"write_bandwidth": 1234.5}), ratio=ratio, hosts=count)
        for n, (ratio, count) in enumerate(hosts.items())
    ]
    result = write_report(small_run(tmp_path, many, hosts=hosts, placements={}))
    text = render(result, width=80)
    assert text.count("1,230") == 8 and "breaks" in text and "2.67" in text and "…" not in text


def test_a_run_directory_that_cannot_be_written_is_the_users_mistake(tmp_path):
    small_run(tmp_path)
    result = write_report(tmp_path)
    (tmp_path / "figures").write_text("in the way")
    with pytest.raises(UserError, match="cannot write the report"):
        write_figures(result)
    result.html.unlink()
    result.html.mkdir()
    with pytest.raises(UserError, match="cannot write the report"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="holds no run"):
        write_report(tmp_path / "nothing")


def test_importing_the_report_does_not_import_matplotlib():
    code = "import sys, pliant.report.writing, pliant.report.terminal; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_report_needs_the_store_alone(tmp_path):
    small_run(tmp_path)
    with Store.open(tmp_path) as store:
        assert store.study_toml() == runs.STUDY
    assert [p.name for p in tmp_path.iterdir()] == ["results.sqlite"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (8, "8"),
        (44.23, "44.2"),
        (910.4, "910"),
        (4180.7, "4,180"),
        (0.0123, "0.0123"),
        (0.999, "0.999"),
        (9.999, "10.0"),
        (None, "–"),
        (-5.25, "−5.25"),
        (1.5e-7, "1.50e−07"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0.1, "10 %"), (0.025, "2.5 %"), (-0.04, "−4 %"), (0.2345, "23 %"), (-1e-9, "0 %"), (None, "–"), (50.0, ">999 %")],
)
def test_fractions_are_written_in_percent(fraction, text):
    assert words.percent(fraction) == text


def test_words_agree_in_number():
    assert words.join(["a"]) == "a" and words.join(["a", "b", "c"]) == "a, b and c" and words.join([]) == ""
    assert words.place(8.0, 1) == "ratio 8 (1 host)"
    assert words.energy(0.00396) == "3.96 Wh" and words.energy(1.5) == "1.50 kWh"


def render(result, width=100):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with console.file:
        console.print(summary(result.analysis))
        return console.export_text()
