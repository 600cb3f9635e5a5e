"""`pliant predict`: known clusters are found again, at other ratios, sizes and hosts; what cannot be is said."""

from __future__ import annotations

import json
from dataclasses import replace

import predicted_runs
import pytest
from click.testing import CliRunner

from pliant.analysis.modelled import Target
from pliant.analysis.observed import Record, records
from pliant.analysis.predicting import grid, predict
from pliant.cli import cli
from pliant.composition.placement import hosts_for
from pliant.errors import UserError
from pliant.report.writing import all_figures, write_report
from pliant.results.store import Store

ROLES = {"server": 4, "client": 4}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return predicted_runs.make_run(tmp_path_factory.mktemp("predict") / "run", ROLES)


def known(directory) -> Record:
    with Store.open(directory) as store:
        return records(store, directory.name)[0]


def target(record: Record, **changes) -> Target:
    fields = {
        "roles": record.info.roles,
        "strategy": "spread",
        "capacity": record.capacity,
        "ratios": (1.0, 2.0, 4.0, 8.0),
        "max_loss": 0.15,
    }
    return Target(**(fields | changes))


def told(record: Record, asked: Target) -> dict[tuple[str, float], float]:
    return {(c.metric.name, row.ratio): row.value for c in predict([record], asked).curves for row in c.rows}


# What is right


def test_other_ratios_of_the_same_cluster(run):
    record = known(run)
    for (metric, ratio), value in told(record, target(record)).items():
        right = predicted_runs.true_rate(metric, ROLES, hosts_for(8, ratio))
        assert value == pytest.approx(right, rel=0.12), (metric, ratio)


def test_clients_that_are_folded_alone(tmp_path):
    """Whose servers keep a host each, at other ratios, and in a larger cluster."""
    record = known(predicted_runs.make_run(tmp_path / "clients", ROLES, folded=("client",)))
    for roles in (ROLES, {"server": 8, "client": 16}):
        ratios = (1.0, 2.0, 4.0, float(roles["client"]))
        asked = target(record, roles=roles, ratios=tuple(sorted(set(ratios))), folded=("client",))
        for (metric, ratio), value in told(record, asked).items():
            hosts = roles["server"] + hosts_for(roles["client"], ratio)
            right = predicted_runs.true_rate(metric, roles, hosts, ("client",))
            assert value == pytest.approx(right, rel=0.2), (roles, metric, ratio)


def test_what_is_folded_is_what_was(run, tmp_path):
    clients = predicted_runs.make_run(tmp_path / "clients", ROLES, folded=("client",))
    document = json.loads(invoke(clients, "--json").output)
    assert document["target"]["folded"] == ["client"]
    assert {row["ratio"]: row["hosts"] for row in document["curves"][0]["ratios"]} == {1: 8, 1.5: 7, 2: 6, 4: 5}
    assert "of client, whose nodes alone are folded" in invoke(clients).output
    with pytest.raises(UserError, match="ratio 8: 4 nodes fold to ratios from 1 to 4"):
        invoke(clients, "--ratios", "8")
    with pytest.raises(UserError, match="folds nodes of all roles and nodes of client alone are asked about"):
        invoke(clients, run)
    ranks = predicted_runs.make_run(tmp_path / "ranks", ROLES, folded=("client",), folds="ranks")
    with pytest.raises(UserError, match=r'folds ranks.*of = "nodes"'):
        invoke(ranks)


def test_a_larger_cluster(run):
    record, roles = known(run), {"server": 16, "client": 32}
    for (metric, ratio), value in told(record, target(record, roles=roles, ratios=(1.0, 2.0, 4.0))).items():
        right = predicted_runs.true_rate(metric, roles, hosts_for(48, ratio))
        assert value == pytest.approx(right, rel=0.25), (metric, ratio)


def test_hosts_with_more_or_less(run):
    record = known(run)
    slow = {**record.capacity, "nic_up": 2.5e6, "nic_down": 2.5e6}
    found = predict([record], target(record, capacity=slow))
    reads = next(curve for curve in found.curves if curve.metric.name == "read_bandwidth")
    assert reads.rows[0].value == pytest.approx(9.5, rel=0.2) and reads.rows[0].told.limit == "nic"
    assert reads.rows[-1].value > 15, "on one host nothing needs the NIC"
    assert any("NIC is 0.1 times" in doubt for doubt in found.doubts)


def test_where_it_breaks_and_by_what(run):
    record = known(run)
    found = predict([record], target(record))
    create = next(curve for curve in found.curves if curve.metric.name == "file_create")
    true = [predicted_runs.true_rate("file_create", ROLES, hosts) for hosts in (8, 4, 2, 1)]
    assert [1 - rate / true[0] > 0.15 for rate in true] == [False, True, True, True]
    assert create.breaks_at == 2.0 == found.breaks_at and create.breaks_between[0] == 2.0
    assert create.rows[2].told.limit == "cpu" and create.rows[2].told.sure > 0.9


def test_intervals_are_as_wide_as_they_are_asked_to_be(run):
    record = known(run)
    wide, narrow = (predict([record], target(record, confidence=each)).curves[0].rows[2] for each in (0.95, 0.5))
    assert wide.low < narrow.low < narrow.value < narrow.high < wide.high


def test_further_from_the_data_is_less_sure(run):
    record = known(run)

    def width(**changes):
        row = predict([record], target(record, ratios=(1.0, 2.0), **changes)).curves[0].rows[1]
        return row.high / row.low

    assert width() < width(roles={"server": 8, "client": 8}) < width(roles={"server": 64, "client": 64})


def test_two_sizes_say_more_than_one(tmp_path):
    small = known(predicted_runs.make_run(tmp_path / "small", {"server": 2, "client": 2}))
    large = known(predicted_runs.make_run(tmp_path / "large", {"server": 4, "client": 4}))
    asked = target(large, roles={"server": 16, "client": 16})
    found = predict([small, large], asked)
    assert found.runs == ("large", "small")
    right = predicted_runs.true_rate("file_create", {"server": 16, "client": 16}, 16)
    assert found.curves[0].rows[1].value == pytest.approx(right, rel=0.3)


def test_what_is_better_lower_is_lost_as_it_grows(run):
    record = known(run)
    (metric,) = record.info.metrics["mdtest"]
    info = replace(record.info, metrics={"mdtest": (replace(metric, unit="s", better="lower"),)})
    trials = tuple(
        replace(trial, metrics={name: 1 / value for name, value in trial.metrics.items()}) for trial in record.trials
    )
    times = predict([replace(record, info=info, trials=trials)], target(record)).curves[0]
    rates = predict([record], target(record)).curves[0]
    assert [row.value for row in times.rows] == pytest.approx([1 / row.value for row in rates.rows], rel=0.02)
    last, rate = times.rows[-1], rates.rows[-1]
    assert last.told.loss == pytest.approx(1 / (1 - rate.told.loss) - 1, rel=0.05)
    assert last.low < last.value < last.high


def test_a_record_is_the_same_when_read_again(run):
    record = known(run)
    again = Record.from_json(json.loads(json.dumps(record.to_json())))
    assert told(again, target(record)) == told(record, target(record))


@pytest.mark.parametrize(("nodes", "first", "last"), [(8, 1.0, 8.0), (1, 1.0, 1.0), (416, 1.0, 416.0)])
def test_the_grid_is_a_whole_curve(nodes, first, last):
    found = grid(nodes)
    hosts = [hosts_for(nodes, ratio) for ratio in found]
    assert found[0] == first and found[-1] == last
    assert len(set(hosts)) == len(hosts) < 30


# The command


def invoke(*words):
    return CliRunner().invoke(cli, ["predict", *(str(word) for word in words)], catch_exceptions=False)


def test_the_command_says_all_of_it(run):
    found = invoke(run)
    assert found.exit_code == 0
    assert "GlusterFS, predicted: 4 servers and 4 clients" in found.output
    assert "It is predicted to break first at ratio 1.5" in found.output
    assert "limited by" in found.output and "CPU" in found.output and "\x1b" not in found.output
    assert "A prediction is no evidence" in found.output


def test_roles_may_follow_as_words(run):
    found = json.loads(invoke(run, "--roles", "server=16", "client=400", "--like", "grid5000/gros", "--json").output)
    assert found["target"]["roles"] == {"server": 16, "client": 400}
    assert found["target"]["capacity"]["cpu"] == 18 and found["target"]["host"] == "grid5000/gros"
    said = " ".join(found["beyond_data"])
    assert "400 client nodes are 100 times" in said and "cores is 90 times" in said and "grid5000/gros" in said
    curve = found["curves"][0]
    assert curve["ratios"][0]["hosts"] == 416 and curve["ratios"][-1]["hosts"] == 1
    assert all(row["low"] <= row["predicted"] <= row["high"] for row in curve["ratios"])


def test_a_hundred_thousand_nodes_take_seconds(run):
    import time

    begin_s = time.monotonic()
    found = invoke(run, "--roles", "server=20000", "--roles", "client=80000", "--json")
    assert found.exit_code == 0 and time.monotonic() - begin_s < 10


def test_it_is_written_as_one_likes(run, tmp_path):
    assert "| metric |" in invoke(run, "--format", "markdown", "--ratios", "2,4").output
    assert invoke(run, "--format", "json", "-o", tmp_path / "told.json").output == ""
    told = json.loads((tmp_path / "told.json").read_text())
    assert {row["ratio"] for row in told["curves"][0]["ratios"]} >= {1.0, 2.0, 8.0}
    only = json.loads(invoke(run, "--json", "--metric", "*_bandwidth", "--strategy", "segregate").output)
    assert [curve["metric"] for curve in only["curves"]] == ["read_bandwidth"]


def test_what_was_measured_is_beside_what_is_predicted(tmp_path):
    whole = predicted_runs.make_run(tmp_path / "whole", ROLES, ratios=(1.0, 2.0, 4.0, 8.0))
    found = json.loads(invoke(whole, "--on", "1,2", "--json").output)
    for curve in found["curves"]:
        rows = {row["ratio"]: row for row in curve["ratios"]}
        assert [rows[ratio]["calibrated_on"] for ratio in (1.0, 2.0, 4.0, 8.0)] == [True, True, False, False]
        assert rows[1.5]["measured"] is None
        assert rows[8.0]["low"] <= rows[8.0]["measured"] <= rows[8.0]["high"]
    assert " *" in invoke(whole, "--on", "1,2").output


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_both_are_in_one_figure(run, tmp_path, kind):
    file = tmp_path / f"told.{kind}"
    assert invoke(run, "--figure", file).exit_code == 0
    content = file.read_bytes()
    assert content.startswith({"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}[kind])
    if kind == "svg":
        assert "predicted, 95 %" in content.decode() and "measured, and calibrated on" in content.decode()
    with pytest.raises(UserError, match=r"ends in \.svg"):
        invoke(run, "--figure", tmp_path / "told.gif")


def test_more_work_is_beyond_the_data(run):
    once, more = (json.loads(invoke(run, "--json", "--work", work).output) for work in ("1", "8"))
    assert any("8 times what was measured" in doubt for doubt in more["beyond_data"])
    one, other = (each["curves"][0]["ratios"][-1] for each in (once, more))
    assert other["high"] / other["low"] > one["high"] / one["low"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--work", "0"), "how many times as much"),
        (("--on", "1,x"), "--on"),
        (("--roles", "osd=3"), '"osd" is not a role of'),
        (("--roles", "server"), "is no number of nodes"),
        (("server=0",), "is no number of nodes"),
        (("--like", "grid5000/nowhere"), "not a cluster of the catalogue"),
        (("--nic", "fast"), '"fast" is not'),
        (("--cores", "0"), "has more than none"),
        (("--ratios", "one"), "write numbers"),
        (("--ratios", "0.5"), "fold to ratios from 1 to 8"),
        (("--ratios", "9"), "fold to ratios from 1 to 8"),
        (("--max-loss", "10"), "--max-loss"),
        (("--filesystem", "cephfs"), 'no file system "cephfs"'),
        (("--metric", "latency"), "has no metric of latency"),
        (("--roles", "client=2000000"), "more than can be predicted"),
    ],
)
def test_what_is_asked_wrongly_is_said(run, words, said):
    with pytest.raises(UserError, match=said):
        invoke(run, *words)


def test_a_run_that_says_too_little_is_refused_with_what_to_do(tmp_path):
    one = predicted_runs.make_run(tmp_path / "one", ROLES, ratios=(1.0,))
    with pytest.raises(UserError, match=r"only ratio 1 was measured.*add ratio 2"):
        invoke(one)
    folded = predicted_runs.make_run(tmp_path / "folded", ROLES, ratios=(2.0, 4.0), baseline=2.0)
    with pytest.raises(UserError, match=r"nothing was measured at ratio 1.*measure ratios 1 and 2"):
        invoke(folded)
    blind = predicted_runs.make_run(tmp_path / "blind", ROLES, telemetry=False)
    with pytest.raises(UserError, match="telemetry says nothing"):
        invoke(blind)
    old = predicted_runs.make_run(tmp_path / "old", ROLES, conditions=False)
    with pytest.raises(UserError, match="does not say what a host had"):
        invoke(old)
    real = predicted_runs.make_run(tmp_path / "real", ROLES, platform="ssh", limits=0)
    with pytest.raises(UserError, match="had no limits"):
        invoke(real)
    with pytest.raises(UserError, match="name the directory of a run"):
        invoke("server=4")


def test_runs_of_two_file_systems_are_refused(run, tmp_path):
    other = predicted_runs.make_run(tmp_path / "other", ROLES, filesystem="moosefs")
    with pytest.raises(UserError, match="a model is of one file system"):
        invoke(run, other)
    mirrored = predicted_runs.make_run(tmp_path / "mirrored", ROLES, filesystem_options={"volume": "replicate 2"})
    with pytest.raises(UserError, match=r"other options \(volume\)"):
        invoke(run, mirrored)


# In a report


def test_a_report_shows_both_and_its_verdicts_know_of_none(tmp_path):
    whole = predicted_runs.make_run(tmp_path / "whole", ROLES, ratios=(1.0, 2.0, 4.0, 8.0))
    result = write_report(whole)
    html = result.html.read_text()
    assert "Predicted and measured" in html and "measured, and not known to the model" in html
    assert "predicted" in [figure.stem for figure in all_figures(result.run)]
    assert "predicted" not in (whole / "verdict.json").read_text()
    again = result.html.read_bytes()
    assert write_report(whole).html.read_bytes() == again


def test_a_report_of_a_run_that_says_too_little_has_none(tmp_path):
    for name, changes in {
        "old": {"conditions": False},
        "one": {"ratios": (1.0,)},
        "blind": {"telemetry": False},
    }.items():
        run = predicted_runs.make_run(tmp_path / name, ROLES, **changes)
        assert "Predicted and measured" not in write_report(run).html.read_text()
