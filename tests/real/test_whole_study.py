"""Studies as a user runs them: a real GlusterFS, folded, measured and judged; and all that can go wrong on the way."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import time
from html import unescape
from pathlib import Path

import pytest
from support import IOR, MDTEST, Running, Snapshot, brick, listed, nothing_left, pliant, study, until

from pliant.results.store import Store

pytestmark = pytest.mark.real

LONG = IOR.replace("4 MiB", "48 MiB")
METRICS = {
    "ior": {"write_bandwidth", "read_bandwidth"},
    "mdtest": {
        *(f"file_{phase}" for phase in ("create", "stat", "read", "remove")),
        *(f"directory_{phase}" for phase in ("create", "stat", "remove")),
    },
}
HOSTS = {1: 4, 2: 2, 4: 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A study from beginning to end."""
    top = tmp_path_factory.mktemp("study")
    file = study(
        top,
        servers=2,
        clients=2,
        ratios=[1, 2, 4],
        repetitions=2,
        cores=0.4,
        # In less than 0.4 s there is no telemetry, and machines differ in speed by a factor of two.
        workloads=IOR.replace("4 MiB", "16 MiB") + MDTEST.replace("10", "80"),
    )
    done = pliant("run", file, "--output", top / "out")
    assert done.returncode == 0, done.stderr
    return done, top / "out", file


@pytest.fixture
def before():
    return Snapshot.take()


def verdict(directory):
    return json.loads((directory / "verdict.json").read_text())


def rows(directory):
    with (directory / "trials.csv").open() as file:
        return list(csv.DictReader(file))


# A run from beginning to end


def test_no_host_used_more_than_it_was_promised_while_it_was_measured(run):
    _, out, _ = run
    with Store.look(out) as store:
        trials = [trial for trial in store.trials() if trial.state == "done"]
    used = [host["cpu"][0] for trial in trials for phase in trial.usage.values() for host in phase["hosts"].values()]
    assert len(used) >= 12 and max(used) <= 1.05


def test_everything_that_is_promised_is_there(run):
    _, out, _ = run
    for name in ("verdict.json", "trials.csv", "report.html", "results.sqlite"):
        assert (out / name).stat().st_size > 0
    assert not (out / "figures").exists()


def test_figures_for_papers_are_drawn_for_who_asks(run):
    _, out, _ = run
    assert "Figures: " in pliant("report", str(out), "--figures").stdout
    widths = {path.name: {each.name for each in path.iterdir()} for path in (out / "figures").iterdir()}
    assert set(widths) == {"88mm", "180mm"}
    assert widths["88mm"] == widths["180mm"]
    for name in widths["88mm"]:
        assert {f"{Path(name).stem}{suffix}" for suffix in (".svg", ".pdf", ".png")} <= widths["88mm"]
    begins = {".svg": b"<?xml", ".pdf": b"%PDF-", ".png": b"\x89PNG"}
    for path in (out / "figures").rglob("*.*"):
        assert path.read_bytes().startswith(begins[path.suffix])
    shutil.rmtree(out / "figures")


def test_the_terminal_shows_the_verdict_and_where_the_report_is(run):
    done, out, _ = run
    assert "GlusterFS" in done.stdout.splitlines()[0]
    assert f"Report: {out}/report.html" in done.stdout
    for metric in ("ior write bandwidth", "ior read bandwidth", "mdtest file create", "mdtest directory remove"):
        assert metric in done.stdout
    assert "\x1b" not in done.stdout


def test_progress_is_plain_lines_away_from_a_terminal(run):
    done, _, _ = run
    assert "\x1b" not in done.stderr
    assert "\r" not in done.stderr
    steps = re.findall(r"^deploy: (.*)$", done.stderr, re.M)
    assert steps == ["hosts and nodes", "glusterd", "pool", "volume", "mount", "check that it works"]
    trials = re.findall(r"^\[(\d+)/12\] (\w+) at ratio (\d), ([\d.]+) s: .*?(; about .* left)?$", done.stderr, re.M)
    assert [int(number) for number, *_ in trials] == list(range(1, 13))
    assert all(left for *_, left in trials[:-1])
    assert not trials[-1][-1]


def test_the_verdict_has_all_that_is_documented(run):
    _, out, _ = run
    document = verdict(out)
    assert {(v["workload"], v["metric"]) for v in document["verdicts"]} == {
        (w, m) for w, ms in METRICS.items() for m in ms
    }
    table = [row for row in rows(out) if row["state"] == "done"]
    for each in document["verdicts"]:
        assert each["filesystem"] == "glusterfs"
        assert each["better"] == "higher"
        assert each["unit"] == ("MiB/s" if each["workload"] == "ior" else "op/s")
        assert each["max_loss"] == 0.2
        assert [(row["ratio"], row["hosts"]) for row in each["ratios"]] == list(HOSTS.items())
        assert each["holds_up_to"] in (None, 1, 2, 4)
        assert each["breaks_at"] in (None, 2, 4)
        for row in each["ratios"]:
            assert set(row) == {
                *("ratio", "hosts", "trials", "median", "low", "high", "loss", "loss_low", "loss_high", "state"),
                *("expected", "chance", "hope", "grid", "outliers", "passed_over", "limited_by"),
                *("at_least", "median_is", "stopped", "loss_disturbed", "ceiling"),
            }
            limit = row["limited_by"]
            assert limit["resource"] in ("cpu", "nic_up", "nic_down", "disk_read", "disk_write", "none")
            assert set(limit["roles"]) <= {"server", "client"}
            assert (limit["resource"] == "none") == (limit["hosts"] == [])
            assert isinstance(row["hosts"], int)
            done = [t for t in table if t["metric"] == each["metric"] and float(t["ratio"]) == row["ratio"]]
            assert len(done) == 2
            # A value does not count where the machine moved it too far, and then the table says so.
            assert row["trials"] == sum(not t["refused"] for t in done)
            assert 0 < row["low"] <= row["median"] <= row["high"]
            assert row["loss_low"] <= row["loss"] <= row["loss_high"] < 1
            assert row["state"] in ("holds", "breaks", "undecided")
        baseline = each["ratios"][0]
        assert (baseline["loss"], baseline["loss_low"], baseline["loss_high"]) == (0, 0, 0)
        for row in each["ratios"][1:]:
            # The loss is that of the levels, without what the machine drifted and its neighbours took: that of medians
            # is not far from what it was with these.
            taken = 0.0 if row["loss_disturbed"] is None else row["loss_disturbed"] - row["loss"]
            assert row["loss_low"] <= 1 - row["median"] / baseline["median"] - taken <= row["loss_high"]
            assert row["state"] != "holds" or row["loss_high"] <= 0.2 + each["indifference"]
            assert row["state"] != "breaks" or row["loss_low"] > 0.2 - each["indifference"]


def test_its_largest_ratio_is_predicted_from_the_others(run):
    _, out, _ = run
    told = pliant("predict", out, "--on", "1,2", "--json")
    assert told.returncode == 0, told.stderr
    curves = json.loads(told.stdout)["curves"]
    assert {curve["workload"] for curve in curves} == set(METRICS)
    last = [curve["ratios"][-1] for curve in curves]
    assert all(row["ratio"] == 4 and not row["calibrated_on"] for row in last)
    errors = sorted(abs(row["predicted"] / row["measured"] - 1) for row in last)
    assert errors[len(errors) // 2] < 0.35, errors
    assert sum(row["low"] <= row["measured"] <= row["high"] for row in last) >= 0.7 * len(last)


def test_the_savings_agree_with_the_trials(run):
    _, out, _ = run
    savings = verdict(out)["savings"]
    assert savings["hosts_full"] == 4
    assert savings["hosts_folded"] in (4, 2, 1)
    for side in ("full", "folded"):
        hours, energy = savings[f"machine_hours_{side}"], savings[f"energy_kwh_{side}"]
        assert 0 < hours < 0.1
        assert 0 < energy < hours * 1.0, "a host takes less than a kilowatt"


def test_the_table_has_a_row_for_each_trial_and_metric(run):
    _, out, _ = run
    every = rows(out)
    # What the machine made invalid is repeated, and is a trial of its own.
    table = [row for row in every if row["state"] != "invalid"]
    assert len(table) == 6 * 2 + 6 * 7
    assert {row["state"] for row in table} == {"done"}
    trials = {row["number"]: row for row in table}
    assert len(trials) == 12
    for row in trials.values():
        assert int(row["hosts"]) == HOSTS[int(float(row["ratio"]))]
        assert 0.1 < float(row["duration_s"]) < 60
        assert 0 < float(row["host_cpu_s"]) < 1.15 * 0.4 * int(row["hosts"]) * float(row["duration_s"])
        assert (out / row["directory"]).is_dir()
    done = [(row["workload"], row["ratio"]) for row in trials.values()]
    assert done != sorted(done), "the order is random"


def test_no_number_is_beyond_what_the_hosts_are(run):
    """Two clients behind 200 Mbit/s each cannot read or write more than that over the network; at ratio 4 they can."""
    _, out, _ = run
    nic = 0.956 * 200e6 / 8 / 2**20
    ratios = {v["metric"]: v["ratios"] for v in verdict(out)["verdicts"] if v["workload"] == "ior"}
    for metric in ("write_bandwidth", "read_bandwidth"):
        assert 1 < ratios[metric][0]["median"] < 2 * 1.1 * nic
    assert ratios["read_bandwidth"][2]["median"] < 1.15 * 2 * 60e6 / 2**20


def test_raw_output_and_logs_are_beside_the_trials(run):
    _, out, _ = run
    directories = sorted((out / "trials").iterdir())
    assert len(directories) == len({row["number"] for row in rows(out)}) >= 12
    for directory in directories:
        outputs = list(directory.glob("*.out"))
        assert outputs
        text = "".join(path.read_text() for path in outputs)
        assert ("bwMaxMIB" if "-ior-" in directory.name else "File creation") in text
    assert list(out.rglob("logs/*.log"))


def test_the_report_is_one_file_that_opens_offline(run):
    _, out, file = run
    html = unescape((out / "report.html").read_text())
    loads = re.findall(
        r"""(?:src|href|action|data|poster)\s*=\s*["']?\s*(?:https?:)?//|@import|url\(\s*["']?(?:https?:)?//""", html
    )
    assert not loads
    assert "<script src" not in html
    assert "<link" not in html or 'rel="stylesheet"' not in html
    assert html.count("<svg") >= 2 or html.count("data:image") >= 2
    for wanted in ("GlusterFS", "glusterfs 10", os.uname().release, "built-in ior kernel", "MPICH", 'name = "small"'):
        assert wanted in html
    assert file.read_text().rstrip() in html


def test_judging_again_gives_the_same(run):
    _, out, _ = run
    before = {name: (out / name).read_bytes() for name in ("verdict.json", "report.html", "trials.csv")}
    again = pliant("report", out)
    assert again.returncode == 0, again.stderr
    assert again.stdout == run[0].stdout
    for name, content in before.items():
        assert (out / name).read_bytes() == content, name


def test_json_on_standard_output_is_the_verdict(run):
    _, out, _ = run
    done = pliant("report", out, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == verdict(out)


def test_a_directory_with_other_things_in_it_is_not_written_to(run, tmp_path):
    _, _, file = run
    (tmp_path / "precious").touch()
    done = pliant("run", file, "--output", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    said = f"{tmp_path} exists, is not empty and holds no run; choose another directory with --output\n"
    assert done.stderr == said
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_events_tell_everything_and_the_last_is_the_verdict(tmp_path):
    done = pliant("run", study(tmp_path), "--json", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    *events, told = map(json.loads, done.stdout.splitlines())
    assert told.pop("event") == "verdict" and told.pop("time")
    assert told == verdict(tmp_path / "out")
    ended = [each for each in events if each["event"] == "trial-ended"]
    assert [each["number"] for each in ended] == list(range(1, len(ended) + 1)) and ended[-1]["left_s"] == 0
    assert all(each["metrics"] for each in ended)
    doing = [each["what"] for each in events if each["event"] == "doing"]
    assert {"deploy: volume", "fold and clean", "write+read"} <= set(doing)
    states = [row["state"] for each in told["verdicts"] for row in each["ratios"]]
    assert set(states) <= {"undecided", "holds"}, "one repetition shows nothing"


# Checking


def test_a_replicated_volume_is_planned(tmp_path):
    file = study(tmp_path, servers=4, clients=2, volume="replicate 2", cores=0.2, ratios=[1, 2, 3])
    done = pliant("check", file, "--plan")
    assert done.returncode == 0, done.stderr
    assert "is a good study" in done.stdout
    assert "replica 2" in done.stdout
    assert "split its brain" in done.stdout


def test_servers_apart_from_clients_at_uneven_ratios_is_planned(tmp_path):
    file = study(tmp_path, servers=3, clients=5, strategy="segregate", ratios=[1, 2, 3], cores=0.2)
    done = pliant("check", file, "--json")
    assert done.returncode == 0, done.stderr
    placements = json.loads(done.stdout)["placements"]
    assert {ratio: len(hosts) for ratio, hosts in placements.items()} == {"1": 8, "2": 4, "3": 3}
    for hosts in placements.values():
        assert sorted(node for nodes in hosts.values() for node in nodes) == [
            *(f"client{i}" for i in range(1, 6)),
            *(f"server{i}" for i in range(1, 4)),
        ]
        assert all(len({name.rstrip("0123456789") for name in nodes}) == 1 for nodes in hosts.values())


def test_checking_touches_nothing(tmp_path, before):
    for arguments in (("check",), ("check", "--plan"), ("check", "--json")):
        assert pliant(arguments[0], study(tmp_path), *arguments[1:]).returncode == 0
    assert Snapshot.take().left(before) == {}
    assert [path.name for path in tmp_path.iterdir()] == ["study.toml"]


# What goes wrong


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_in_a_trial_keeps_what_was_measured_and_leaves_nothing(tmp_path, before, number):
    out = tmp_path / "out"
    with Running(study(tmp_path, workloads=LONG), out) as running:
        running.until(r"^\[1/2\]|\n\[1/2\]")
        time.sleep(1.0)
        if number == signal.SIGINT:
            os.killpg(running.process.pid, number)  # as Ctrl-C does
        else:
            running.process.send_signal(number)
        began = time.monotonic()
        assert running.wait() == 130
        assert time.monotonic() - began < 5
        said = running.said
    assert f"what was measured is in {out}; judge it with: pliant report {out}" in said
    assert said.rstrip().splitlines()[-1] == "interrupted"
    assert "Traceback" not in said
    nothing_left(before)
    assert listed() == []
    done = pliant("report", out)
    assert done.returncode == 0, done.stderr
    (first, *_), last = rows(out), rows(out)[-1]
    assert first["state"] == "done"
    assert (last["state"], last["reason"]) == ("failed", "interrupted")
    trials = [[row["trials"] for row in each["ratios"]] for each in verdict(out)["verdicts"]]
    assert all(sum(each) == 1 for each in trials)


def test_an_interrupt_during_a_removal_waits_for_it_and_is_not_forgotten(tmp_path, before):
    """A run that deploys anew after a failure has to end then, and not go on."""
    with Running(study(tmp_path, workloads=LONG, trial_timeout="1 s"), tmp_path / "out") as running:
        running.until("remove the cluster|deploying the cluster again")
        for _ in range(3):
            os.killpg(running.process.pid, signal.SIGINT)
            time.sleep(0.03)
        assert running.wait() == 130, running.said
        assert running.said.rstrip().endswith("interrupted")
        assert "Traceback" not in running.said
    nothing_left(before)


def test_an_interrupt_while_deploying_leaves_nothing(tmp_path, before):
    with Running(study(tmp_path), tmp_path / "out") as running:
        running.until("deploy: pool")
        os.killpg(running.process.pid, signal.SIGINT)
        assert running.wait() == 130
        assert "judge it with" not in running.said
        assert running.said.rstrip().endswith("interrupted")
        assert "Traceback" not in running.said
    nothing_left(before)


def test_trials_that_never_end_in_time_are_retried_once_and_never_judged(tmp_path, before):
    out = tmp_path / "out"
    done = pliant("run", study(tmp_path, workloads=LONG, trial_timeout="1 s"), "--output", out)
    assert done.returncode == 1
    assert done.stderr.rstrip().splitlines()[-1].startswith("failed: no trial could be measured")
    assert "Traceback" not in done.stderr
    nothing_left(before)
    table = rows(out)
    assert [(row["ratio"], row["attempt"]) for row in table] in (
        [("1.0", "1"), ("1.0", "2"), ("2.0", "1"), ("2.0", "2")],
        [("2.0", "1"), ("2.0", "2"), ("1.0", "1"), ("1.0", "2")],
    ) or {row["state"] for row in table} == {"failed"}
    assert {(row["state"], row["reason"]) for row in table} == {("failed", "did not end within 1 s")}
    assert all(row["trials"] == 0 for each in verdict(out)["verdicts"] for row in each["ratios"])
    assert all(row["median"] is None for each in verdict(out)["verdicts"] for row in each["ratios"])


def test_a_run_goes_on_after_a_daemon_has_died(tmp_path, before):
    out = tmp_path / "out"
    with Running(study(tmp_path, servers=2, workloads=LONG), out) as running:
        running.until("deployed 3 nodes")
        os.kill(until(lambda: brick(running), "a brick"), signal.SIGKILL)
        status = running.wait()
        said = running.said
    assert "Traceback" not in said
    assert status == 0, said
    assert "failed; deploying the cluster again" in said
    assert "[2/2] ior" in said
    nothing_left(before)
    states = {row["number"]: row["state"] for row in rows(out)}
    assert list(states.values()).count("failed") == 1, "the retry starts on a cluster that works"
    assert list(states.values()).count("done") == 2
    assert all(row["trials"] <= 1 for each in verdict(out)["verdicts"] for row in each["ratios"])


def test_a_step_that_fails_is_one_sentence_with_step_node_and_the_end_of_its_log(tmp_path, before):
    options = '[filesystem.options.volume_options]\n"no.such-option" = "1"'
    done = pliant("run", study(tmp_path, options=options), "--output", tmp_path / "out")
    assert done.returncode == 1
    assert done.stdout == ""
    failed, _, log = done.stderr[done.stderr.index("failed: ") :].partition("\n")
    assert re.match(r'failed: step "volume" failed on server1: .*no\.such-option', failed)
    assert "--- server1:" in log
    assert 3 < len(log.splitlines()) < 80
    assert "Traceback" not in done.stderr
    assert "judge it with" not in done.stderr
    nothing_left(before)
    assert listed() == []
