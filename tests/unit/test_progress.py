"""How a run is told: lines, a live view that leaves the terminal as it was, events for programs."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import runs
from rich.console import Console

from pliant.cli.display import display
from pliant.cli.events import Events
from pliant.cli.live import Live
from pliant.cli.progress import Lines, Told
from pliant.cli.traffic import Traffic

UNIT = Path(__file__).parent
IOR = {"ior": runs.METRICS["ior"]}
TRIALS = [trial for trial in runs.trials(failures=False) if trial.workload == "ior"]


def tell(told: Told, many=TRIALS, directory=Path("run")) -> None:
    """A run from its beginning to its end."""
    with told:
        told.starts(directory, [runs.info(metrics=IOR)], [])
        told.doing("deploy: volume")
        for number, trial in enumerate(many, 1):
            left_s = 10.0 * (len(many) - number)
            told.begins(replace(trial, state="running", metrics={}), number, len(many), left_s + 10)
            told.doing("write")
            told.ended(trial, number, len(many), left_s)
        told.note("that was all")


def test_lines_tell_each_trial_and_each_state_once_it_is_firm(capsys):
    tell(Lines())
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == "" and lines[0] == "deploy: volume" and lines[-1] == "that was all"
    trials = [line for line in lines if line.startswith("[")]
    assert len(trials) == 12
    assert (
        trials[0].startswith("[1/12] ior at ratio 1, 7.5 s: write bandwidth 44.")
        and "about 1 min 50 s left" in trials[0]
    )
    assert not trials[-1].endswith("left") and "write\n" not in captured.err
    firm = [line for line in lines if line.startswith("  so far: ")]
    assert any(line.startswith("  so far: ior read bandwidth at ratio 4 breaks: loss ") for line in firm)
    assert lines.index(firm[0]) > lines.index(trials[4]), "one repetition is no verdict"


def test_a_stopped_trial_is_told_with_its_reason_and_how_good_it_was_at_best(capsys):
    first, *_, last = TRIALS
    stopped = replace(
        last,
        state="censored",
        metrics={"write_bandwidth": 40.0},
        bounds={"read_bandwidth": 8.5},
        reason="read: its loss is beyond 80 % whatever comes",
    )
    tell(Lines(), [first, stopped])
    line = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("[2/2]"))
    said = "stopped: read: its loss is beyond 80 % whatever comes; write bandwidth 40; read bandwidth < 8.500"
    assert line.endswith(f" s: {said}")


def test_a_failed_trial_is_told_with_its_reason_and_attempt(capsys):
    failed = replace(TRIALS[0], state="failed", reason="no route to host", metrics={}, attempt=2)
    tell(Lines(), [failed])
    assert "[1/1] ior at ratio 1 (attempt 2), 7.5 s: failed: no route to host" in capsys.readouterr().err


def overdue(told: Told) -> None:
    """A trial that hangs: as expected at first, then not, told every second."""
    trial = replace(TRIALS[3], state="running", metrics={})
    told.starts(Path("run"), [runs.info(metrics=IOR)], [])
    told.begins(trial, 4, 12, 95.0)
    for lasted_s, expected_s, left_s in ((1.0, None, 94.0), (70.0, 45.0, 180.0), (71.0, 45.0, 179.0)):
        told.lasts(trial, lasted_s, expected_s, left_s)


def test_that_a_trial_takes_longer_than_expected_is_told_once(capsys):
    overdue(Lines())
    assert capsys.readouterr().err == "ior at ratio 8 takes longer than the 45 s expected; at most about 3 min left\n"
    overdue(Events())
    [event] = [each for each in events(capsys.readouterr().out) if each["event"] == "trial-overdue"]
    assert (event["ratio"], event["lasted_s"], event["expected_s"], event["left_s"]) == (8.0, 70.0, 45.0, 180.0)
    overdue(Told())
    assert capsys.readouterr() == ("", "")


def test_the_live_view_says_that_a_trial_takes_longer_than_expected():
    live = Live(Console(file=io.StringIO()))
    overdue(live)
    text = " ".join(view(live, 120, 40).split())
    assert ", longer than the 45 s expected" in text and "at most about 3 min left" in text
    live.begins(TRIALS[4], 5, 12, 20.0)
    text = view(live, 120, 40)
    assert "expected" not in text and " about 20 s left" in text
    live.until = 0.0
    assert "left" not in view(live, 120, 40), "nothing is said of a time that is over"


def test_trials_of_before_count_for_the_verdicts():
    told = Lines()
    told.starts(Path("run"), [runs.info(metrics=IOR)], TRIALS)
    [verdict] = [each for each in told.verdicts if each.metric.name == "read_bandwidth"]
    assert verdict.breaks_at == 4.0


def test_several_file_systems_are_told_apart(capsys):
    told = Lines()
    told.starts(Path("run"), [runs.info(metrics=IOR), runs.info(metrics=IOR, label="other")], [])
    told.ended(replace(TRIALS[0], filesystem="other"), 1, 1, 0.0)
    assert "ior on other at ratio 1" in capsys.readouterr().err


def events(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_are_json_lines_with_stable_names(capsys):
    tell(Events())
    captured = capsys.readouterr()
    found = events(captured.out)
    assert captured.err == ""
    names = [each["event"] for each in found]
    assert names[:4] == ["run", "doing", "trial-begins", "doing"] and names[-1] == "note"
    assert set(names) == {"run", "doing", "trial-begins", "trial-ended", "state", "note"}
    assert all(each["time"].startswith("20") for each in found)
    assert found[0] | {"time": ""} == {
        "event": "run",
        "time": "",
        "directory": "run",
        "study": "synthetic",
        "filesystems": ["glusterfs"],
        "trials": 0,
    }
    [first, *_] = [each for each in found if each["event"] == "trial-ended"]
    place = {"trial", "number", "total", "filesystem", "workload", "ratio", "hosts", "repetition", "attempt"}
    assert set(first) == place | {
        "event",
        "time",
        "directory",
        "state",
        "reason",
        "duration_s",
        "metrics",
        "bounds",
        "reused",
        "left_s",
    }
    assert set(first["metrics"]) == {"write_bandwidth", "read_bandwidth"} and first["left_s"] == 110
    state = [each for each in found if each["event"] == "state" and each["state"] == "breaks"][-1]
    assert (state["metric"], state["ratio"]) == ("read_bandwidth", 4.0) and state["loss_low"] > 0.1
    assert {
        "filesystem",
        "workload",
        "metric",
        "ratio",
        "state",
        "loss",
        "loss_low",
        "loss_high",
        "at_least",
        "trials",
    } <= set(state)


def test_a_value_that_is_no_number_is_null(capsys):
    tell(Events(), [replace(TRIALS[0], metrics={"write_bandwidth": float("nan")})])
    [ended] = [each for each in events(capsys.readouterr().out) if each["event"] == "trial-ended"]
    assert ended["metrics"] == {"write_bandwidth": None}


@pytest.mark.parametrize(("error", "state"), [(KeyboardInterrupt(), "interrupted"), (ValueError("x"), "failed")])
def test_an_end_before_the_end_is_an_event(capsys, error, state):
    with pytest.raises(type(error)), Events():
        raise error
    [found] = events(capsys.readouterr().out)
    assert (found["event"], found["state"], found["reason"]) == ("stopped", state, str(error))


def test_quiet_says_nothing(capsys):
    for told in (display(quiet=True), display(quiet=True, events=True)):
        tell(told)
    assert capsys.readouterr() == ("", "")


def view(live: Live, width: int, height: int) -> str:
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    live.console = console
    console.print(live._view())
    return console.export_text()


@pytest.mark.parametrize(("width", "height"), [(100, 40), (60, 12), (44, 8)])
def test_the_live_view_says_what_goes_on_and_fits(tmp_path, width, height):
    live = Live(Console(file=io.StringIO()))
    live.starts(tmp_path, [runs.info()], runs.trials())
    live.begins(replace(TRIALS[3], state="running"), 4, 12, 95.0)
    live.doing("write")
    text = view(live, width, height)
    assert "ior at ratio 8, repetition 1: write, 0 s" in " ".join(text.split())
    assert "3 of 12 trials" in text and "about 90 s left" in text
    assert "ior read bandwidth" in text
    assert len(text.splitlines()) <= height and max(map(len, text.splitlines())) <= width
    if height == 40:
        [row] = [line for line in text.splitlines() if line.startswith("ior read bandwidth")]
        assert row.split()[3:] == ["✓", "✗", "✓"]


def test_lines_scroll_by_above_the_live_view():
    out = io.StringIO()
    tell(Live(Console(file=out, force_terminal=True, width=100, height=30, highlight=False)))
    text = out.getvalue()
    assert "[12/12] ior at ratio 8" in text and "that was all" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is shown again"


INTERRUPTED = f"""
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore it
sys.path.insert(0, {str(UNIT)!r})
import runs
from pathlib import Path
from pliant.cli.display import display
with display() as told:
    told.starts(Path("run"), [runs.info()], [])
    told.begins(runs.trial(1, "ior", 1.0, 1, "running"), 1, 4, 60.0)
    told.doing("write")
    print("ready", flush=True)
    time.sleep(20)
"""


def test_ctrl_c_leaves_the_terminal_as_it_was():
    ours, theirs = pty.openpty()
    run = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True
    )
    os.close(theirs)
    assert run.stdout is not None
    try:
        assert select.select([run.stdout], [], [], 20)[0] and run.stdout.readline() == "ready\n"
        run.send_signal(signal.SIGINT)
        seen = b""
        while select.select([ours], [], [], 20)[0] and (chunk := _read(ours)):
            seen += chunk
        assert run.wait(10) != 0
    finally:
        run.kill()
    os.close(ours)
    run.stdout.close()
    shown = seen.decode()
    assert "ior at ratio 1, repetition 1: write" in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    # What was kept up to date is taken away; below it there is only what Python itself said.
    assert "trials" not in shown[shown.rindex("\x1b[?25h") :]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def telemetry(rows: int) -> str:
    """Two hosts that send 5 MB/s each, and a node that writes 2 MB/s, five times a second; the last line is torn."""
    names = ("host/host1/up_bytes", "host/host2/up_bytes", "node/server1/written_bytes", "node/server1/read_bytes")
    columns = [["time_s", 1e-9], *([name, 1.0] for name in (*names, "host/host1/down_bytes"))]
    head = json.dumps({"format": 1, "every_s": 0.2, "columns": columns})
    lines = [f"{int(n * 2e8)} {n * 1000000} {n * 1000000} {n * 400000} 7 {n * 9000000}" for n in range(rows)]
    return "\n".join((head, *lines, "1234"))


def test_traffic_is_that_of_the_last_seconds(tmp_path, monkeypatch):
    now_s = [100.0]
    monkeypatch.setattr("pliant.cli.traffic.time", SimpleNamespace(monotonic=lambda: now_s[0]))
    file = tmp_path / "telemetry.txt"
    assert Traffic(file).words == ""
    file.write_text(telemetry(1))
    traffic = Traffic(file)
    assert traffic.words == ""
    file.write_text(telemetry(5000))
    assert Traffic(file).words == "NICs 80 Mbit/s, disks 2 MB/s"
    now_s[0] += 0.99
    assert traffic.words == "", "it is looked up once a second"
    now_s[0] += 0.02
    assert traffic.words == "NICs 80 Mbit/s, disks 2 MB/s"
