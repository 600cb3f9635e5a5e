"""Several runs compared: what differs, what cannot be compared, who folds further; in every format."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import pytest
import runs
from click.testing import CliRunner
from test_report import Page

from pliant.cli import cli
from pliant.report.across import Judged, across
from pliant.report.writing import analyse
from pliant.results.store import Store

IOR = {"ior": runs.METRICS["ior"]}
OPTIONS = {"ior": {"kind": "ior", "block": 33554432}}


def judged(directory, label, *, factor=None, options=OPTIONS, facts=runs.FACTS, program="", **changes) -> Judged:
    """A run of IOR; `factor` maps a ratio to what its values are multiplied by."""
    many = [trial for trial in runs.trials(failures=False) if trial.workload == "ior"]
    study = {"workload": [{"name": name, **each} for name, each in options.items()]}
    with Store.create(directory / label, runs.STUDY, study, [runs.info(**{"metrics": IOR} | changes)], facts) as store:
        for trial in many:
            times = (factor or {}).get(trial.ratio, 1.0)
            metrics = {name: value * times for name, value in trial.metrics.items()}
            store.end(replace(trial, metrics=metrics, program=program or trial.program))
        return Judged(label, analyse(store).parts[0], options)


def test_the_same_run_twice_differs_in_nothing_and_folds_equally_far(tmp_path):
    found = across([judged(tmp_path, "a"), judged(tmp_path, "b")])
    assert (found.differences, found.cannot) == ((), ())
    assert found.losses == found.medians == {"ior"}
    assert found.headline == "a and b are shown to fold equally far, to ratio 2 (4 hosts)."
    for metric in found.comparison.metrics:
        assert all(at.together == ("a", "b") for at in metric.at)


def test_what_differs_is_said_for_each_run(tmp_path):
    newer = runs.FACTS | {"glusterfs": "glusterfs 11.1", "started": "2026", "calibration": "CPU 1"}
    changes = {"filesystem_options": {"volume": "replicate 2"}, "seed": 7}
    found = across([judged(tmp_path, "a"), judged(tmp_path, "b", facts=newer, **changes)])
    assert [(each.what, each.values) for each in found.differences] == [
        ("option volume", ("distribute", "replicate 2")),
        ("seed", ("1", "7")),
        ("glusterfs", ("glusterfs 10.3", "glusterfs 11.1")),
    ]
    assert found.cannot == ()


def test_one_that_breaks_where_another_holds_folds_less_far(tmp_path):
    found = across([judged(tmp_path, "a"), judged(tmp_path, "b", factor={2.0: 0.6})])
    assert found.comparison.furthest.best == ("a",) and found.comparison.furthest.shown
    assert found.headline == "a folds furthest, to ratio 2 (4 hosts); b is not shown to fold, and breaks at 2."


def test_other_hosts_leave_losses_to_compare_and_no_medians(tmp_path):
    found = across([judged(tmp_path, "a"), judged(tmp_path, "b", host_figures="1 core")])
    assert found.losses == {"ior"} and found.medians == frozenset()
    [said] = found.cannot
    assert said == ("Hosts are not the same: losses can be compared, each against its own baseline, medians cannot.")
    assert found.differences[0].what == "host"
    assert found.comparison is not None


def test_options_are_written_for_a_reader(tmp_path):
    options = [
        {"ior": {"operations": each, "fsync": each == [], "x": 0.5, "y": {}}} for each in (["write", "read"], [])
    ]
    found = across([judged(tmp_path, name, options=each) for name, each in zip("ab", options, strict=True)])
    assert [(each.what, each.values) for each in found.differences] == [
        ("ior: operations", ("write, read", "none")),
        ("ior: fsync", ("no", "yes")),
    ]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"options": {"ior": {"kind": "ior", "block": 1048576}}}, "block 33554432 / 1048576"),
        ({"program": "IOR 4.0"}, "measured by built-in kernel (ior) / IOR 4.0"),
    ],
)
def test_another_workload_is_side_by_side_and_nothing_is_claimed(tmp_path, changes, why):
    found = across([judged(tmp_path, "a"), judged(tmp_path, "b", **changes)])
    assert found.losses == frozenset() and found.comparison is None
    assert found.cannot == (
        f"ior is not the same workload in all runs ({why}): its numbers are side by side, and no more.",
    )
    assert len(found.verdicts["b"]) == 2


def test_metrics_that_a_run_lacks_are_named(tmp_path):
    found = across([judged(tmp_path, "a"), judged(tmp_path, "b", metrics={"ior": IOR["ior"][:1]})])
    assert found.cannot == ("read bandwidth (ior) of a is not in all runs.",)
    assert [verdict.metric.name for verdict in found.verdicts["a"]] == ["write_bandwidth"]


def test_other_tolerated_losses_allow_no_verdict_on_who_folds_further(tmp_path):
    found = across([judged(tmp_path, "a"), judged(tmp_path, "b", max_loss=0.2)])
    assert found.comparison is None and "different tolerated losses (10 % and 20 %)" in found.cannot[0]


def compare(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["compare", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_every_format_says_who_folds_furthest(tmp_path):
    judged(tmp_path, "old")
    judged(tmp_path, "new", factor={2.0: 0.6})
    names = (tmp_path / "old", f"later={tmp_path / 'new'}")
    sentence = "old folds furthest, to ratio 2 (4 hosts); later is not shown to fold, and breaks at 2."
    text = compare(*names)
    assert sentence in text and "✗ breaks" in text and "best" in text
    assert sentence in compare(*names, "--format", "markdown")
    assert sentence in compare(*names, "--format", "latex")
    document = json.loads(compare(*names, "--format", "json"))
    assert document["headline"] == sentence and document["comparable"] == {"losses": ["ior"], "medians": ["ior"]}
    assert compare(*names, "--format", "html", "-o", tmp_path / "c.html") == ""
    html = (tmp_path / "c.html").read_text()
    assert sentence in Page(html).text[-1] or any(sentence in text for text in Page(html).text)
    assert html.count('<svg viewBox="0 0 340') == 1 + 2 + 2


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("old",), "only one file system"),
        (("old", "old"), 'two runs are called "old"; call one something else: NAME='),
        (("old", "nothing"), "holds no run"),
    ],
)
def test_what_cannot_be_a_comparison_is_refused(tmp_path, names, said):
    judged(tmp_path, "old")
    from pliant.errors import UserError

    with pytest.raises(UserError, match=said):
        compare(*(tmp_path / name for name in names))


def test_a_page_of_tex_compiles(tmp_path):
    judged(tmp_path, "a_b")
    judged(tmp_path, "c", facts=runs.FACTS | {"CPU": "Intel® Xeon™ #1 & 100 %"})
    compare(tmp_path / "a_b", tmp_path / "c", "--format", "latex", "-o", tmp_path / "c.tex")
    typeset(tmp_path / "c.tex")


def typeset(file) -> None:
    """Have pdflatex make a page of it; an error ends that."""
    assert shutil.which("pdflatex"), "scripts/setup tests installs it"
    argv = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", file.name]
    done = subprocess.run(
        argv, cwd=file.parent, capture_output=True, text=True, errors="replace", timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert file.with_suffix(".pdf").stat().st_size > 10_000
