"""Several file systems in one study: read, scheduled, taken in turns, stored, compared and reported."""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import runs
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from study_files import GOOD, edited

from pliant.campaign import engine
from pliant.campaign.places import Place
from pliant.cli import cli
from pliant.errors import UserError
from pliant.report.terminal import compared
from pliant.report.writing import all_figures, write_report
from pliant.results.store import DATABASE, SCHEMA_VERSION, Store
from pliant.statistics.comparison import Comparison, compare
from pliant.statistics.search import schedule
from pliant.statistics.verdict import Series, judge
from pliant.study.problems import StudyError
from pliant.study.reading import parse
from pliant.workloads.model import Metric

SECOND = """\
[[filesystem]]
kind = "glusterfs"
name = "replicated"
[filesystem.roles]
server = 2
client = 2
[filesystem.options]
volume = "replicate 2"

[fold]"""
TWO = edited("[filesystem] => [[filesystem]]", text=GOOD).replace("[fold]", SECOND, 1)
RATE = Metric("rate", "MiB/s", "higher")
WAIT = Metric("wait", "ms", "lower")
HOSTS = {1.0: 8, 2.0: 4, 4.0: 2}


# The study file


def test_a_study_with_two_file_systems():
    study = parse(TWO, "a.toml")
    assert [each.label for each in study.filesystems] == ["glusterfs", "replicated"]
    assert study.total_trials == 2 * 2 * 3 * 2
    assert study.most_hosts == 8
    one = study.of("replicated")
    assert (len(one.nodes), one.total_trials, one.most_hosts) == (4, 12, 8)
    assert {ratio: len(placement.hosts) for ratio, placement in one.placements.items()} == {1: 4, 2: 2, 4: 1}
    with pytest.raises(ValueError):
        _ = study.composition  # of which?
    with pytest.raises(KeyError):
        study.of("other")


def test_one_table_and_a_list_of_one_are_the_same():
    alone, listed = parse(GOOD, "a.toml"), parse(edited("[filesystem] => [[filesystem]]"), "a.toml")
    assert listed.filesystems == alone.filesystems
    assert alone.of("glusterfs").composition == alone.composition
    named = parse(edited('kind = "glusterfs" => kind = "glusterfs" \\n name = "mine"'), "a.toml")
    assert [each.label for each in named.filesystems] == ["mine"]


@pytest.mark.parametrize(
    ("edit", "key", "part"),
    [
        (
            'name = "replicated" =>',
            "filesystem[2].name",
            'filesystem[1] is called "glusterfs" too; add e.g. name = "glu',
        ),
        ('name = "replicated" => name = "No Name"', "filesystem[2].name", "is not a name"),
        ('"replicate 2" => "replicate 3"', "filesystem[2].roles.server", "2 is too small"),
        ('"replicate 2" => "replicate x"', "filesystem[2].options.volume", "is not a volume type"),
        ("server = 2 => servers = 2", "filesystem[2].roles.servers", "is not a role of glusterfs"),
        ("ratios = [1, 2, 4] => ratios = [1, 2, 6]", "fold.ratios", "replicated: 6 is more than the study's 4 nodes"),
        (
            "ratios = [1, 2, 4] => ratios = [1, 1.5, 1.6]",
            "fold.ratios",
            "replicated: 1.5 and 1.6 both put 4 nodes on 3",
        ),
    ],
)
def test_what_is_wrong_with_one_of_them_says_with_which(edit, key, part):
    with pytest.raises(StudyError) as refused:
        parse(edited(edit, text=TWO), "a.toml")
    assert key in [problem.key for problem in refused.value.problems]
    assert part in "\n".join(problem.message for problem in refused.value.problems)
    assert "\n" not in refused.value.problems[0].message


@pytest.mark.parametrize("written", ["filesystem = []", "filesystem = [1]", 'filesystem = [{ kind = "glusterfs" }, 2]'])
def test_lists_of_something_else(written):
    with pytest.raises(StudyError) as refused:
        parse(written + "\n" + GOOD[: GOOD.index("[filesystem]")] + GOOD[GOOD.index("[fold]") :], "a.toml")
    assert all(problem.key.startswith("filesystem") for problem in refused.value.problems)


def test_up_wants_to_know_which():
    study = parse(TWO, "a.toml")
    assert study.chosen("replicated").alone.label == "replicated"
    with pytest.raises(UserError, match="has 2 file systems; add --filesystem with one of glusterfs, replicated"):
        study.chosen(None)
    with pytest.raises(UserError, match="is not one of the study's: glusterfs, replicated"):
        study.chosen("other")
    assert parse(GOOD, "a.toml").chosen(None).alone.label == "glusterfs"


# Turns


@given(st.integers(2, 4), st.integers(1, 6), st.integers(0, 2**63 - 1))
def test_in_each_repetition_every_file_system_does_its_pass(count, repetitions, seed):
    labels = [f"fs{i}" for i in range(count)]
    todo = schedule(["ior", "fio"], [1.0, 2.0], repetitions, seed, labels)
    assert len(set(todo)) == len(todo) == count * repetitions * 4
    turns = [key for key, _ in groupby((each.repetition, each.filesystem) for each in todo)]
    assert len(turns) == count * repetitions
    orders = [[label for repetition, label in turns if repetition == n] for n in range(1, repetitions + 1)]
    for before, after in pairwise(orders):
        assert after == before[::-1]  # so that an even drift falls on all of them alike


def test_one_file_system_is_scheduled_as_ever():
    assert [each._replace(filesystem="") for each in schedule(["a", "b"], [1.0, 2.0], 3, 7, ["x"])] == schedule(
        ["a", "b"], [1.0, 2.0], 3, 7
    )


def prepared(label: str):
    class One:
        filesystem = label
        place = Place()
        study = SimpleNamespace(
            nodes=(),
            workloads=(),
            about=SimpleNamespace(trial_timeout=600.0, budget_s=None),
            fold=SimpleNamespace(max_loss=0.1, zone=0.05, baseline=1.0),
        )

    return One()


def turns(labels: list[str], tmp_path: Path, monkeypatch) -> list[str]:
    """What is deployed, calibrated and removed, and when which trial runs."""
    log: list[str] = []
    monkeypatch.setattr(engine._Runner, "calibrate", lambda self: log.append(f"calibrate {self.prepared.filesystem}"))
    monkeypatch.setattr(engine._Runner, "close", lambda self: log.append("close") if self.cluster else None)

    def deploy(self, ratio) -> None:
        self.cluster = self.prepared.filesystem
        log.append(f"deploy {self.cluster}")

    monkeypatch.setattr(engine._Runner, "deploy", deploy)
    listener = type("Heard", (), {"doing": lambda self, what: None, "note": lambda self, text: None})()
    runner = engine._Runner([prepared(label) for label in labels], None, tmp_path, listener, None)  # type: ignore[arg-type]
    for todo in schedule(["w"], [1.0], 2, 1, labels):
        runner.take_turns(todo)
        log.append(f"{todo.filesystem} {todo.repetition}")
    return log


def test_file_systems_are_deployed_anew_for_each_pass_and_calibrated_once(tmp_path, monkeypatch):
    log = turns(["a", "b"], tmp_path, monkeypatch)
    assert [line for line in log if line.startswith("deploy")] in (
        ["deploy a", "deploy b", "deploy b", "deploy a"],
        ["deploy b", "deploy a", "deploy a", "deploy b"],
    )
    assert log.count("close") == 3
    assert sorted(line for line in log if line.startswith("calibrate")) == ["calibrate a", "calibrate b"]
    for before, after in pairwise(log):
        if after.startswith("deploy"):
            assert before in ("close", log[0])


def test_one_alone_is_deployed_once(tmp_path, monkeypatch):
    assert turns(["a"], tmp_path, monkeypatch) == ["deploy a", "calibrate a", "a 1", "a 2"]


# Comparing


def verdicts(noise: float, metric: Metric = RATE, **curves: tuple[float, ...]) -> Comparison:
    """Of each file system its true values at ratios 1, 2 and 4."""
    chance = np.random.default_rng(5)
    found = {}
    for label, truth in curves.items():
        values = {r: list(v * np.exp(noise * chance.standard_normal(5))) for r, v in zip(HOSTS, truth, strict=True)}
        found[label] = [judge(Series(label, "w", metric, 0.1, HOSTS, values))]
    return compare(found, 0.1)


def test_the_one_that_is_shown_to_hold_where_others_break_folds_furthest():
    found = verdicts(0.01, moosefs=(100, 99, 98), glusterfs=(100, 98, 50), nfs=(100, 60, 40)).furthest
    assert (found.best, found.shown) == (("moosefs",), True)
    assert found.sentence == (
        "MooseFS folds furthest, to ratio 4 (2 hosts); GlusterFS to ratio 2, and breaks at 4; "
        "NFS is not shown to fold, and breaks at 2."
    )


def test_what_is_undecided_is_not_said_to_be_less():
    found = verdicts(0.01, a=(100, 99, 98), b=(100, 98.5, 90)).furthest
    assert (found.best, found.shown) == (("a",), False)
    assert found.sentence == (
        "a is shown to fold to ratio 4 (2 hosts); "
        "b to ratio 2, and is undecided up to 4, so the two are not told apart."
    )


def test_those_that_fold_equally_far():
    found = verdicts(0.01, a=(100, 99, 50), b=(30, 30, 10)).furthest
    assert (found.best, found.shown) == (("a", "b"), True)
    assert found.sentence == "a and b are shown to fold equally far, to ratio 2 (4 hosts)."
    none = verdicts(0.01, a=(100, 50, 50), b=(30, 10, 10)).furthest
    assert (none.best, none.sentence) == ((), "None of a and b is shown to fold.")


@pytest.mark.parametrize(("metric", "first"), [(RATE, "a"), (WAIT, "b")])
def test_the_fastest_is_the_one_whose_interval_meets_no_others(metric, first):
    (found,) = verdicts(0.01, metric, a=(100, 60, 50), b=(50, 59.5, 49.8)).metrics
    by_hosts = {at.hosts: at for at in found.at}
    assert list(by_hosts) == [8, 4, 2]
    assert (by_hosts[8].fastest, by_hosts[8].together) == (first, ())
    assert (by_hosts[4].fastest, set(by_hosts[4].together)) == (None, {"a", "b"})
    assert by_hosts[8].measured[0].filesystem == first
    assert by_hosts[8].of("c") is None


def test_without_intervals_nobody_is_the_fastest():
    values = {label: {1.0: [speed], 2.0: [], 4.0: []} for label, speed in (("a", 100.0), ("b", 1.0))}
    found = compare({k: [judge(Series(k, "w", RATE, 0.1, HOSTS, v))] for k, v in values.items()}, 0.1)
    (at,) = found.metrics[0].at
    assert (at.hosts, at.fastest, at.together) == (8, None, ("a", "b"))
    assert found.fastest_sentences == ("On 8 hosts, a and b are not told apart in 1 of 1 metric.",)


def test_machines_are_compared_not_ratios():
    """Half as many nodes: ratio 2 of one needs as many hosts as ratio 4 of the other."""
    half = {1.0: 4, 2.0: 2}
    a = judge(Series("a", "w", RATE, 0.1, HOSTS, {r: [9.0, 9.1, 9.2] for r in HOSTS}))
    b = judge(Series("b", "w", RATE, 0.1, half, {r: [4.0, 4.1, 4.2] for r in half}))
    (metric,) = compare({"a": [a], "b": [b]}, 0.1).metrics
    assert [(at.hosts, [(m.filesystem, m.ratio) for m in at.measured]) for at in metric.at] == [
        (4, [("a", 2.0), ("b", 1.0)]),
        (2, [("a", 4.0), ("b", 2.0)]),
    ]


def test_sentences_count_metrics():
    found = verdicts(0.01, glusterfs=(100, 60, 50), moosefs=(50, 59.5, 80))
    assert found.fastest_sentences == (
        "On 8 hosts, GlusterFS is fastest in 1 of 1 metric.",
        "On 4 hosts, GlusterFS and MooseFS are not told apart in 1 of 1 metric.",
        "On 2 hosts, MooseFS is fastest in 1 of 1 metric.",
    )


# Store and report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two file systems: the second has half the speed, and the same curve."""
    directory = tmp_path_factory.mktemp("run")
    infos = [runs.info(label="glusterfs"), runs.info(label="slow", filesystem_options={"volume": "replicate 2"})]
    many = [(label, trial) for trial in runs.trials(failures=False) for label in ("glusterfs", "slow")]
    with Store.create(directory, runs.STUDY, {}, infos, runs.FACTS) as store:
        for number, (label, trial) in enumerate(many, 1):
            factor = 1.0 if label == "glusterfs" else 0.5
            metrics = {name: value * factor for name, value in trial.metrics.items()}
            store.end(replace(trial, number=number, filesystem=label, metrics=metrics))
    return directory, write_report(directory)


def test_the_store_knows_each_file_system(run):
    directory, _ = run
    with Store.open(directory) as store:
        assert [info.name for info in store.infos()] == ["glusterfs", "slow"]
        assert {trial.filesystem for trial in store.trials()} == {"glusterfs", "slow"}


def test_the_table_says_whose_a_trial_is(run):
    directory, _ = run
    with (directory / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert "filesystem" in rows[0]
    values = {
        label: [float(row["value"]) for row in rows if row["filesystem"] == label] for label in ("glusterfs", "slow")
    }
    assert values["slow"] == pytest.approx([value / 2 for value in values["glusterfs"]])


def test_verdict_json_compares(run):
    directory, _ = run
    document = json.loads((directory / "verdict.json").read_text())
    assert set(document) == {"study", "headline", "comparison", "verdicts", "filesystems", "facts"}
    assert [verdict["filesystem"] for verdict in document["verdicts"]] == ["glusterfs"] * 9 + ["slow"] * 9
    assert set(document["filesystems"]) == {"glusterfs", "slow"}
    assert document["filesystems"]["slow"]["run"]["filesystem_options"] == {"volume": "replicate 2"}
    found = document["comparison"]
    assert found["filesystems"] == ["glusterfs", "slow"]
    assert [fold["filesystem"] for fold in found["furthest"]["folds"]] == ["glusterfs", "slow"]
    assert len(found["metrics"]) == 9
    for metric in found["metrics"]:
        assert [at["hosts"] for at in metric["fastest"]] == [8, 4, 2, 1]
        for at in metric["fastest"]:
            assert (at["fastest"], at["not_told_apart"]) == ("glusterfs", [])
            assert [each["filesystem"] for each in at["filesystems"]] == ["glusterfs", "slow"]


def test_the_page_has_the_comparison_first_and_a_part_for_each(run):
    _, result = run
    html = result.html.read_text()
    assert result.html.stat().st_size < 2 * 2**20
    headings = re.findall(r'<h2 id="([^"]+)"', html)
    assert len(headings) == len(set(headings))
    assert headings[:4] == ["comparison", "fastest", "curves", "glusterfs-part"]
    assert "slow-part" in headings
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', html)
    assert set(references) <= set(ids)
    assert result.run.headline in html.replace("\N{NO-BREAK SPACE}%", " %")
    stems = [figure.stem for figure in all_figures(result.run)]
    assert {"comparison-ior-hosts", "comparison-mdtest-loss", "saved", "slow-ior-loss", "slow-trials"} <= set(stems)
    assert len(stems) == len(set(stems))


def test_the_terminal_says_who_is_fastest(run):
    from rich.console import Console

    console = Console(width=120, record=True, file=io.StringIO())
    console.print(compared(run[1].run.comparison))
    said = console.export_text()
    assert "On 8 hosts, GlusterFS is fastest in 9 of 9 metrics." in said
    assert re.search(r"ior write bandwidth +MiB/s +GlusterFS 4", said)


def test_one_file_system_is_reported_without_a_comparison(tmp_path):
    result = write_report(runs.make_run(tmp_path))
    assert result.run.comparison is None
    assert "comparison" not in json.loads((tmp_path / "verdict.json").read_text())
    assert 'id="comparison"' not in result.html.read_text()
    assert not [figure.stem for figure in all_figures(result.run) if "comparison" in figure.stem]


def second_version(directory: Path) -> None:
    """Make a run what the second version of the schema made of it: no column for file systems, faults or keys."""
    info = runs.info().to_json()
    del info["label"]
    with sqlite3.connect(directory / DATABASE) as connection:
        for added in ("filesystem", "fault", "key", "reused", "proved", "digest", "bounds", "disturbance", "remarks"):
            connection.execute(f"ALTER TABLE trial DROP COLUMN {added}")
        connection.execute("UPDATE document SET body = ? WHERE name = 'run'", (json.dumps(info),))
        connection.execute("PRAGMA user_version = 2")
    connection.close()


def test_a_run_from_before_there_were_several_is_read_reported_and_continued(tmp_path):
    runs.make_run(tmp_path)
    second_version(tmp_path)
    assert write_report(tmp_path).analysis.filesystem == "GlusterFS"
    with (tmp_path / "trials.csv").open() as file:
        assert {row["filesystem"] for row in csv.DictReader(file)} == {"glusterfs"}
    with Store.open(tmp_path) as store:
        before = store.trials()
        added = replace(runs.trial(len(before) + 1, "ior", 1.0, 4, "done"), filesystem="glusterfs")
        store.end(added)
        assert store.trials() == [*before, added]
        assert store._version == SCHEMA_VERSION


# The command


def test_check_shows_all_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr("pliant.campaign.preparation.promises", lambda: [])
    (tmp_path / "two.toml").write_text(TWO)

    def check(*more: str) -> str:
        result = CliRunner().invoke(cli, ["check", str(tmp_path / "two.toml"), *more], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    shown = check("--plan")
    assert "file system  glusterfs: 4 servers, 4 clients\n" in shown
    assert "file system  replicated, glusterfs: 2 servers, 2 clients; volume replicate 2\n" in shown
    assert "mostly far fewer: 2 file systems x 2 workloads x 3 ratios x 2 repetitions at most\n" in shown
    assert "to 8 hosts at ratio 1" in shown
    assert shown.index("== glusterfs") < shown.index("== replicated") < shown.index("replica 2")
    document = json.loads(check("--json"))
    assert document["trials"] == 24
    assert [(each["label"], len(each["nodes"])) for each in document["filesystems"]] == [
        ("glusterfs", 8),
        ("replicated", 4),
    ]
