"""What nodes' own kernels count, from their line to the files of their doors, and from there into samples."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import asdict

import pytest

from pliant.machine import diskshare, inside, relay, sampler, window

STAT = "14 2 50 2 3843 31 870498 7475 0 520 7480"


# What a kernel tells


def test_an_answer_has_the_moment_and_a_number_for_each_column():
    before_ns = time.monotonic_ns()
    what, at_ns, *numbers = inside.Counters("").answer(inside.ASK_ALL).split()
    assert what == inside.SAY_ALL
    assert before_ns <= int(at_ns) <= time.monotonic_ns()
    found = dict(zip((name for name, _ in inside.columns(False)), map(int, numbers), strict=True))
    assert found["own_idle_s"] > 0
    assert 0 < found["own_memory_bytes"] * 1024 < 2**50


def test_a_number_that_is_not_told_is_0():
    assert inside._after(b"procs_blocked 3\nctxt 9\n", b"procs_blocked ") == 3
    assert inside._after(b"ctxt 9\n", b"procs_blocked ") == 0


def test_a_kept_file_is_as_long_whatever_is_in_it(tmp_path):
    kept = inside.Kept(str(tmp_path / "told"), 3)
    assert (tmp_path / "told").read_text().split() == ["0" * 20] * 3
    kept.put((5, 2**63, 0))
    assert list(map(int, (tmp_path / "told").read_text().split())) == [5, 2**63, 0]


# The files of a door


class Line:
    """The door's end of a line, with an instance that answers."""

    def __init__(self):
        self.said, self.window = [], None

    def write(self, data):
        self.said.append(data)
        if data.startswith(b"?disk"):
            self.window.told(b"=disk %d %s" % (7_000_000_000 + time.monotonic_ns(), STAT.encode()))


@pytest.fixture
def told(tmp_path, monkeypatch):
    moved = [1000]
    monkeypatch.setattr(window, "_busiest", lambda main: 3)
    monkeypatch.setattr(window, "_moved", lambda io: moved[0])
    monkeypatch.setattr(window, "LOOK_S", 0.001)
    about = {what: str(tmp_path / what) for what in ("disk", "told", "asked")}
    line = Line()
    line.window = window.Window({**about, "guest": {"disk": [["/srv", "ext4"]]}}, 1, 7.0, line)
    return line, tmp_path, moved


def until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def disk(directory, watched=True):
    how = {kind: asdict(limit) for kind, limit in window.limits(str(directory / "asked"), watched).items()}
    return {"name": "7:1", "stat": str(directory / "disk"), "limits": how, "at": window.AT}


def test_a_limit_that_is_written_is_passed_on(told):
    line, directory, _ = told
    diskshare._apply("read", [(disk(directory), 30e6)])
    diskshare._apply("write", [(disk(directory), None)])
    until(lambda: {b"!read 30000000\n", b"!write 0\n"} <= set(line.said))


def test_a_disk_is_asked_for_only_when_it_is_watched_and_used(told):
    line, directory, moved = told
    time.sleep(0.05)
    moved[0] += 10
    time.sleep(0.05)
    assert line.said == []
    diskshare._apply("write", [(disk(directory), 30e6)])
    until(lambda: b"?disk\n" in line.said)
    time.sleep(0.05)
    count = line.said.count(b"?disk\n")
    time.sleep(0.05)
    assert line.said.count(b"?disk\n") == count  # nothing moves
    moved[0] += 10
    until(lambda: line.said.count(b"?disk\n") > count)
    diskshare._apply("write", [(disk(directory, watched=False), 30e6)])
    time.sleep(0.05)
    count = line.said.count(b"?disk\n")
    moved[0] += 10
    time.sleep(0.05)
    assert line.said.count(b"?disk\n") == count


def test_disks_are_shared_by_what_is_told_of_them(told):
    line, directory, _ = told
    line.window.told(b"=disk %d %s" % (7_000_000_000 + time.monotonic_ns(), STAT.encode()))
    host = diskshare._Host(60e6, [disk(directory)], time.monotonic())
    now = time.monotonic()
    counts, (at,) = host._look(now)
    assert counts == {"read": [50 * 512], "write": [870498 * 512]}
    assert now - 0.1 < at <= now  # on this machine's clock
    assert host._look(now + 5)[1] == [now + 5]  # nothing was told since: nothing has moved
    host.close()


def test_a_limit_for_a_kernel_that_has_gone_is_nobodys(tmp_path):
    os.mkfifo(tmp_path / "asked")
    diskshare._apply("read", [(disk(tmp_path), 30e6)])
    (tmp_path / "asked").unlink()
    diskshare._apply("read", [(disk(tmp_path), 30e6)])
    broken = {**disk(tmp_path), "limits": {"read": {"file": str(tmp_path), "line": "{rate}", "none": "0"}}}
    with pytest.raises(IsADirectoryError):
        diskshare._apply("read", [(broken, 30e6)])


# Samples


def test_a_sample_has_what_was_counted_at_its_moment(tmp_path):
    """A kernel tells at moments of its own; what it told before and after a sample says what it was then."""
    kept = inside.Kept(str(tmp_path / "told"), 3)
    os.mkfifo(tmp_path / "asked")
    reader = os.open(tmp_path / "asked", os.O_RDONLY | os.O_NONBLOCK)
    plan = {"told": str(tmp_path / "told"), "asked": str(tmp_path / "asked"), "columns": [["a", 1.0], ["b", 2.0]]}
    columns = sampler._Columns()
    kept.put((1000, 10, 5))
    found = sampler.Inside([plan], columns)
    assert columns.names == [("a", 1.0), ("b", 2.0)]
    found.ask()
    assert os.read(reader, 100) == 2 * sampler.LOOK  # once to begin with
    values = [0, 0]
    kept.put((2000, 30, 7))
    found.read(values, 1500)
    assert values == [20, 6]
    found.read(values, 2500)  # nothing new was told
    assert values == [30, 7]
    kept.put((4000, 70, 9))
    found.read(values, 5000)  # it was late
    assert values == [70, 9]
    os.close(reader)
    found.ask()  # nobody listens any more
    assert not sampler.Inside([{**plan, "told": str(tmp_path / "none")}], columns)


def test_a_line_waits_for_the_next_sample_where_kernels_tell(tmp_path):
    kept = inside.Kept(str(tmp_path / "told"), 2)
    os.mkfifo(tmp_path / "asked")
    reader = os.open(tmp_path / "asked", os.O_RDONLY | os.O_NONBLOCK)
    one = {"told": str(tmp_path / "told"), "asked": str(tmp_path / "asked"), "columns": [["node/a/own_user_s", 0.01]]}
    empty = dict.fromkeys(("files", "links", "queues", "starving"), ())
    host = tmp_path / "host"
    host.write_text("1\n")
    hosts = [{"name": "host/host1/cpu_s", "factor": 1.0, "file": str(host)}]
    kept.put((time.monotonic_ns(), 100))
    program = sampler.Sampler({"every_s": 0.2, "hosts": hosts, "inside": [one], **empty})
    assert program.asks
    assert program.sample(0) == b""
    kept.put((time.monotonic_ns(), 300))
    first = program.sample(0)
    at = [name for name, _ in program.header["columns"]].index("node/a/own_user_s")
    assert 100 < int(first.split()[at]) < 300
    assert int(program.rest().split()[at]) >= 300
    assert program.rest() == b""
    assert json.dumps(program.header)
    os.close(reader)


# Asking a door


def test_a_door_is_asked_and_says_how_it_ended(tmp_path):
    def carry(wanted):
        if wanted.argv[0] == "wait":
            return -9 if wanted.inputs.get() is None else 0
        os.write(wanted.descriptors[1], json.dumps([wanted.place, *wanted.argv]).encode())
        return 3

    path = str(tmp_path / "socket")
    listening = relay.Relay(path, carry)
    assert relay.ask(path, ":", ["drops", "all"], 5) == (3, '[":", "drops", "all"]')
    began = time.monotonic()
    assert relay.ask(path, ":", ["wait"], 0.2) == (None, "")
    assert time.monotonic() - began < 2
    answers = []
    asking = [threading.Thread(target=lambda: answers.append(relay.ask(path, ":", ["x"], 5))) for _ in range(20)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert answers == [(3, '[":", "x"]')] * 20
    listening.close()
    with pytest.raises(OSError):
        relay.ask(path, ":", ["x"], 1)
