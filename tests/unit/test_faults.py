"""Faults: to whom they happen, which cannot be, what must be known of them, and how long I/O stood still."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from rich.console import Console
from runs import METRICS, make_run, trials
from study_files import GOOD, edited

from pliant.analysis.faults import Through
from pliant.composition.faults import Fault, Outcome, clashes, warnings
from pliant.composition.model import Composition, Role
from pliant.composition.placement import nodes_for
from pliant.report.terminal import summary
from pliant.report.writing import write_report
from pliant.study.faults import FaultTable, chosen, grouped, problems
from pliant.study.problems import StudyError
from pliant.study.reading import parse
from pliant.telemetry.samples import Samples
from pliant.telemetry.stalls import stalled_s

ROLES = (Role("server", disk="/srv/disk"), Role("spare", minimum=0), Role("client", client=True))


def composition(servers=3, clients=2, **keys) -> Composition:
    nodes = nodes_for({"server": servers, "spare": 0, "client": clients})
    return Composition("x", ROLES, nodes, (), "/mnt/dfs", (), (), **keys)


def table(**keys) -> FaultTable:
    written = {"what": "crash", "at": "2 s"} | keys
    return FaultTable.model_validate_json(json.dumps(written), strict=True)


def said(**keys) -> list[tuple[str, str]]:
    return list(problems(table(**keys), composition(), ["ior", "mdtest"], 60.0))


# To whom


def test_a_fault_happens_to_the_node_that_is_named():
    assert chosen([table(node="server2", heal="9 s")], composition().nodes, 1) == (Fault("crash", "server2", 2.0, 9.0),)


def test_a_fault_of_a_role_happens_to_one_of_its_nodes_the_same_for_the_same_seed():
    nodes = composition().nodes
    by_seed = {seed: chosen([table(role="server")], nodes, seed)[0].node for seed in range(30)}
    assert set(by_seed.values()) == {"server1", "server2", "server3"}
    assert all(chosen([table(role="server")], nodes, seed)[0].node == name for seed, name in by_seed.items())


@pytest.mark.parametrize("seed", range(10))
def test_what_happens_together_happens_to_different_nodes_in_the_order_of_time(seed):
    tables = [table(role="server", name="x", at=f"{at} s") for at in (9, 3, 6)]
    found = chosen(tables, composition().nodes, seed)
    assert [fault.at_s for fault in found] == [3, 6, 9]
    assert {fault.node for fault in found} == {"server1", "server2", "server3"}


def test_faults_of_one_name_are_of_one_trial_and_those_of_another_workload_of_none():
    tables = [table(role="server"), table(role="server", name="two"), table(node="server1", name="two", at="4 s")]
    tables.append(table(node="client1", what="cut", workload="mdtest"))
    assert {name: len(many) for name, many in grouped(tables, "ior").items()} == {"crash-server": 1, "two": 2}
    assert list(grouped(tables, "mdtest")) == ["crash-server", "two", "cut-client1"]


def test_a_fault_in_words():
    healed = "server1 loses its power 2 s after the workload begins, and starts again at 9 s"
    assert Fault("crash", "server1", 2, 9).sentence == healed
    assert Fault("cut", "server1", 0.5, None).sentence == (
        "server1 is cut off the network 500 ms after the workload begins, "
        "and is plugged in again when the workload has ended"
    )


# What cannot be


def test_a_fault_that_can_be():
    assert said(role="server", heal="9 s") == said(node="client2", workload="ior") == []


@pytest.mark.parametrize(
    ("keys", "key", "words"),
    [
        ({"role": "server", "workload": "fio"}, "workload", '"fio" is not a workload'),
        ({}, "role", "write role or node"),
        ({"role": "server", "node": "server1"}, "role", "not both"),
        ({"role": "monitor"}, "role", '"monitor" has no nodes; write one of server, client'),
        ({"role": "spare"}, "role", '"spare" has no nodes'),
        ({"node": "server4"}, "node", '"server4" is not a node'),
        ({"node": "\n"}, "node", '" " is not a node'),
        ({"role": "server", "heal": "2 s"}, "heal", "2 s is not after at = 2 s"),
        ({"role": "server", "heal": "1 s"}, "heal", "counted from the workload's beginning"),
        ({"role": "server", "at": "60 s"}, "at", "after study.trial_timeout"),
        ({"role": "server", "heal": "61 s"}, "heal", "after study.trial_timeout, 60 s; write less"),
    ],
)
def test_a_fault_that_cannot_be(keys, key, words):
    [(found, sentence)] = said(**keys)
    assert found == key
    assert words in sentence


@pytest.mark.parametrize(("key", "value"), [("role", "client"), ("node", "client1")])
def test_the_only_client_cannot_crash_but_be_cut_off(key, value):
    alone = composition(clients=1)
    [(found, sentence)] = problems(table(**{key: value}), alone, ["ior"], 60.0)
    assert (found, sentence.split(";")[0]) == (key, "client1 is the only client: nobody is left to do I/O")
    assert list(problems(table(**{key: value, "what": "cut"}), alone, ["ior"], 60.0)) == []


@pytest.mark.parametrize("wrong", [{"what": "burn"}, {"at": 2}, {"at": "-1 s"}, {"when": "now"}, {"recovery": "x"}])
def test_what_is_no_fault(wrong):
    with pytest.raises(ValidationError):
        table(role="server", **wrong)


def test_two_faults_of_a_node_at_the_same_time():
    first, second = Fault("crash", "server1", 2, 9), Fault("cut", "server1", 5, None)
    assert [sentence.split(";")[0] for sentence in clashes([first, second])] == [
        "server1 has two faults at the same time"
    ]
    assert list(clashes([first, replace(second, at_s=10)])) == list(clashes([first, replace(second, node="x")])) == []
    assert len(list(clashes([replace(first, heal_s=None), replace(second, at_s=10)]))) == 1


# What must be known


def test_data_is_away_where_there_is_one_copy():
    fault = Fault("crash", "server1", 2, 9)
    alone = "the file system cannot do without a server: data will be away until it is back"
    assert list(warnings([fault], composition(spare={"server": 0}))) == [alone]
    assert list(warnings([fault], composition(spare={"server": 1}))) == []
    assert list(warnings([fault], composition())) == []
    two = [fault, replace(fault, node="server2")]
    assert "without 2 servers" in next(warnings(two, composition(spare={"server": 1})))


def test_a_client_takes_its_part_of_the_workload_with_it():
    assert "client1 is a client" in next(warnings([Fault("crash", "client1", 2, 9)], composition()))
    assert list(warnings([Fault("cut", "client1", 2, 9)], composition())) == []


# How long I/O stood still


def samples(rate, end_s=20.0, every_s=0.2) -> Samples:
    """Clients that move `rate(t)` bytes/s each way."""
    time_s = np.arange(0, end_s + every_s / 2, every_s)
    moved = np.concatenate([[0.0], np.cumsum([rate(t) * every_s for t in time_s[:-1]])])
    columns = {f"node/client{n}/{way}_bytes": moved / 4 for n in (1, 2) for way in ("sent", "received")}
    return Samples(every_s, time_s, columns)


CLIENTS = ["client1", "client2"]


def test_a_stall_is_measured_to_a_sample():
    still = samples(lambda t: 0.0 if 6 <= t < 10 else 1e6)
    assert stalled_s(still, CLIENTS, 1.0, 5.0, 18.0) == pytest.approx(4.0, abs=0.21)


def test_slower_is_no_stall_and_stalls_add_up():
    assert stalled_s(samples(lambda t: 1e6 if t < 5 else 1e5), CLIENTS, 1.0, 5.0, 18.0) == 0
    twice = samples(lambda t: 100.0 if 6 <= t < 7 or 9 <= t < 11 else 1e6)
    assert stalled_s(twice, CLIENTS, 1.0, 5.0, 18.0) == pytest.approx(3.0, abs=0.41)


def test_what_stands_still_before_a_fault_does_not_count():
    before = samples(lambda t: 0.0 if 2 <= t < 3 else 1e6)
    assert stalled_s(before, CLIENTS, 1.0, 5.0, 18.0) == 0


@pytest.mark.parametrize(
    ("found", "times"),
    [
        (samples(lambda t: 1000.0), (1.0, 5.0, 18.0)),
        (samples(lambda t: 1e6), (5.0, 5.0, 18.0)),
        (samples(lambda t: 1e6), (1.0, 18.0, 18.0)),
        (Samples(0.2, np.zeros(0), {}), (1.0, 5.0, 18.0)),
    ],
    ids=["nothing to compare", "at once", "at the end", "no samples"],
)
def test_where_telemetry_does_not_tell(found, times):
    assert stalled_s(found, CLIENTS, *times) is None


# What became of it


def outcome(**keys) -> Outcome:
    return Outcome(**{"happened": (Fault("crash", "server1", 2.01, 9.0),), "files": 32, "recovered_s": 3.5} | keys)


def test_outcomes_are_json_and_back():
    for each in (outcome(), outcome(wrong={"a": "is not there"}, stalled_s=1.5, unwell={"server1": "no"})):
        written = json.loads(json.dumps(each.to_json(), allow_nan=False))
        assert Outcome.from_json(written) == each
        assert written["intact"] == each.intact


def test_lost_data_is_said_plainly():
    lost = outcome(wrong={"witness-3": "is not there", "witness-4": "has another content"})
    assert not lost.intact
    assert lost.problem == ("data is not intact: 2 of 32 files that were written before, e.g. witness-3: is not there")
    assert (outcome().intact, outcome().problem) == (True, "")


def test_what_a_ratio_came_to():
    many = [outcome(stalled_s=s) for s in (1.0, 3.0, None)] + [outcome(wrong={"a": "x"}, recovered_s=None)]
    assert Through.of(2.0, many, completed=3) == Through(2.0, 4, 3, 3, 3, 2.0, 3.5)
    assert Through.of(2.0, [], completed=0) == Through(2.0, 0, 0, 0, 0, None, None)


# In a study


FAULT = '\n[[fault]]\nwhat = "crash"\nrole = "server"\nat = "2 s"\n'


def refusal(extra: str, *edits: str) -> list[str]:
    with pytest.raises(StudyError) as refused:
        parse(edited(*edits) + extra, "a.toml")
    return str(refused.value).splitlines()


def test_each_workload_is_there_with_and_without_the_fault():
    study = parse(GOOD + FAULT, "a.toml")
    assert study.labels == ("ior", "mdtest", "ior+crash-server", "mdtest+crash-server")
    through = study.workload("ior+crash-server")
    assert (through.plain, through.options) == ("ior", study.workload("ior").options)
    assert [(each.what, each.at, each.heal, each.recovery) for each in through.faults] == [("crash", 2.0, None, 120.0)]
    assert study.total_trials == 2 * parse(GOOD, "a.toml").total_trials
    alone = parse(GOOD + FAULT + 'workload = "mdtest"\nname = "lost"\n', "a.toml")
    assert alone.labels == ("ior", "mdtest", "mdtest+lost")


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        (FAULT + 'heal = "1 s"\n', "a.toml: fault[1].heal: 1 s is not after at = 2 s; both are counted from the "),
        (FAULT + FAULT.replace("server", "sever"), 'a.toml: fault[2].role: "sever" has no nodes; write one of server'),
        (FAULT.replace('"crash"', '"burn"'), "a.toml: fault[1].what: "),
        (FAULT.replace('at = "2 s"\n', ""), "a.toml: fault[1].at: is missing"),
        (FAULT + "times = 3\n", "a.toml: fault[1].times: "),
        (FAULT.replace("[[fault]]", "[fault]"), "a.toml: fault: is not a list of tables; write [[fault]]"),
        (FAULT + FAULT, 'a.toml: fault: "crash-server": server'),
    ],
)
def test_a_study_with_a_fault_that_cannot_be_is_refused(extra, line):
    edits = ["server = 4 => server = 1", "ratios = [1, 2, 4] => ratios = [1, 2]"] if extra == FAULT + FAULT else []
    found = refusal(extra, *edits)
    assert any(each.startswith(line) for each in found), found


def test_where_ranks_are_folded_faults_do_not_strike_clients_that_stand_idle():
    ranks = 'strategy = "spread" => strategy = "spread" \\n roles = ["client"] \\n of = "ranks"'
    for target, key in (('role = "client"', "role"), ('node = "client3"', "node")):
        [line] = refusal(FAULT.replace('role = "server"', target), ranks)
        assert line.startswith(f"a.toml: fault[1].{key}: ") and 'write node = "client1", which never does' in line
    for target in ('node = "client1"', 'role = "server"'):
        parse(edited(ranks) + FAULT.replace('role = "server"', target), "a.toml")


def test_the_only_client_of_a_study_cannot_crash():
    [line] = refusal(FAULT.replace("server", "client"), "client = 4 => client = 1")
    assert line.startswith("a.toml: fault[1].role: client1 is the only client")


@pytest.mark.parametrize(
    ("volume", "servers", "spare"),
    [
        ("distribute", 4, 0),
        ("replicate 2", 4, 1),
        ("replicate 3", 3, 1),
        ("replicate 3 arbiter 1", 3, 1),
        ("replicate 5", 5, 2),
        ("disperse 4+2", 6, 2),
        ("disperse 3", 3, 1),
    ],
)
def test_how_many_servers_glusterfs_can_do_without(volume, servers, spare):
    edits = [f'volume = "distribute" => volume = "{volume}"', f"server = 4 => server = {servers}"]
    study = parse(edited(*edits, "ratios = [1, 2, 4] => ratios = [1]"), "a.toml")
    assert study.composition.spare == {"server": spare}


# In a report


SENTENCE = "server2 loses its power 2 s after the workload begins, and starts again at 9 s"
THROUGH = {"ior+crash-server": {"plain": "ior", "faults": [SENTENCE]}}


def run_through_faults(directory, *, wrong=None, unwell=False):
    """A run of ior, which is 20 % slower through the fault at each ratio."""
    metrics = {"ior": METRICS["ior"], "ior+crash-server": METRICS["ior"]}
    plain = [t for t in trials(failures=False) if t.workload == "ior"]
    many = []
    for one in plain:
        many.append(replace(one, number=len(many) + 1))
        became = outcome(
            stalled_s=one.ratio, wrong=wrong or {}, recovered_s=None if unwell else 3.0 + one.ratio, recovery_s=60.0
        )
        slower = {name: 0.8 * value for name, value in one.metrics.items()}
        state = "failed" if wrong else "done"
        keys = {"workload": "ior+crash-server", "metrics": slower, "fault": became.to_json(), "state": state}
        many.append(replace(one, number=len(many) + 1, reason=became.problem, **keys))
    return make_run(directory, many, metrics=metrics, faults=THROUGH)


def test_a_report_says_what_became_of_data_io_and_metrics(tmp_path):
    result = write_report(run_through_faults(tmp_path / "run"))
    document = json.loads((tmp_path / "run/verdict.json").read_text())
    [told] = document["faults"]
    assert (told["workload"], told["without"], told["intact"], told["faults"]) == (
        "ior+crash-server",
        "ior",
        True,
        [SENTENCE],
    )
    assert [(r["ratio"], r["trials"], r["intact"], r["stalled_s"], r["recovered_s"]) for r in told["ratios"]] == [
        (ratio, 3, 3, ratio, 3.0 + ratio) for ratio in (1.0, 2.0, 4.0, 8.0)
    ]
    write = told["ratios"][0]["metrics"]["write_bandwidth"]
    assert write["loss"] == pytest.approx(0.2, abs=0.001)
    assert "what was written before is intact in each of 12 trials" in told["sentence"]
    assert "I/O stood still for 1.0 to 8.0 s; all was well again 4.0 to 11.0 s after the healing" in told["sentence"]
    page = (tmp_path / "run/report.html").read_text()
    assert "Through faults" in page
    assert "3 of 3" in page
    rows = list(csv.DictReader((tmp_path / "run/trials.csv").read_text().splitlines()))
    assert {(r["workload"], r["data_intact"]) for r in rows} == {("ior", ""), ("ior+crash-server", "True")}
    assert {v["workload"] for v in document["verdicts"]} == {"ior", "ior+crash-server"}
    assert all(v.workload == "ior" for v in result.analysis.plain)


def test_workloads_through_faults_do_not_decide_how_far_a_file_system_folds(tmp_path):
    with_faults = write_report(run_through_faults(tmp_path / "a")).analysis
    plain = [t for t in trials(failures=False) if t.workload == "ior"]
    without = write_report(make_run(tmp_path / "b", plain, metrics={"ior": METRICS["ior"]})).analysis
    assert with_faults.headline == without.headline
    assert with_faults.savings.ratio == without.savings.ratio


def test_lost_data_is_not_hidden(tmp_path):
    lost = {"witness-3": "has another content"}
    analysis = write_report(run_through_faults(tmp_path / "run", wrong=lost)).analysis
    [report] = analysis.faults
    assert report.sentence.count("DATA IS NOT INTACT in each of 12 trials") == 1
    assert analysis.notes[0] == (
        "Trial 2: data is not intact: 1 of 32 files that were written before, e.g. witness-3: has another content."
    )
    page = (tmp_path / "run/report.html").read_text()
    assert "DATA IS NOT INTACT" in page
    assert "0 of 3" in page
    console = Console(width=200, file=io.StringIO())
    console.print(summary(analysis))
    assert "DATA IS NOT INTACT in each of 12 trials" in console.file.getvalue()


def test_what_was_not_well_in_time_is_said(tmp_path):
    [report] = write_report(run_through_faults(tmp_path / "run", unwell=True)).analysis.faults
    assert "not all was well again in time in each of 12 trials" in report.sentence
