"""The sampler and its plan: what is read from where, on files like the kernel's and a recorded dump of rtnetlink."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pliant.machine import cgroup_v1, sampler, sampling
from pliant.machine.cgroup_v1 import CgroupV1
from pliant.machine.cgroup_v2 import CgroupV2

PRESSURE = "some avg10=1.00 avg60=2.00 avg300=3.00 total={}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n"
V1_FILES = {
    "cpu.stat": "nr_periods 90\nnr_throttled 12\nthrottled_time 2500000000\n",
    "cpuacct.usage": "12345678901\n",
    "memory.usage_in_bytes": "33554432\n",
}
V2_FILES = {
    "cpu.stat": "usage_usec 2500000\nuser_usec 2\nnr_periods 7\nnr_throttled 3\nthrottled_usec 1250000\n",
    "memory.current": "4096\n",
    "cpu.pressure": PRESSURE.format(1_500_000),
    "io.pressure": PRESSURE.format(250_000),
}

# Two qdiscs of a machine with kernel 6.18: lo's, and a TBF through which 73,662,464 bytes of TCP payload went.
DUMP = bytes.fromhex(
    "94000000240002000100000072540000000000000100000000000000ffffffff020000000c0001006e6f71756575650005000c0000000000"
    "3000070014000100000000000000000000000000000000001800030000000000000000000000000000000000000000002c00030000000000"
    "000000000000000000000000000000000000000000000000000000000000000000000000bc00000024000200010000007254000000000000"
    "020000000000a395ffffffff0300000008000100746266002c00020028000100000100000000000040787d01000000000000000000000000"
    "60e316005a6202000000000005000c00000000003000070014000100ae3e970400000000c3c6000000000000180003000000000000000000"
    "0000000000000000d80d00002c000300ae3e970400000000c3c6000000000000d80d00000000000000000000000000000000000000000000"
)
DONE = bytes.fromhex("1400000003000200010000006d32000000000000")


@pytest.fixture
def groups(tmp_path):
    """Control groups of two hosts, with node a1 on the first and b1 on the second."""
    for group in ("host-1", "host-1/a1", "host-2", "host-2/b1"):
        (tmp_path / "g" / group).mkdir(parents=True)
        for name, text in V1_FILES.items():
            (tmp_path / "g" / group / name).write_text(text)
    return CgroupV1(dict.fromkeys(cgroup_v1.CONTROLLERS, tmp_path))


def planned(groups, out="", **keys):
    nodes = {"a1": 1, "b1": 2}
    keys = {"placement": nodes, "links": nodes, "disks": {"a1": "7:3", "b1": None}, "beats": {}, "hosts": 2, **keys}
    return sampling.plan(groups, "g", out=str(out), **keys)


def one(plan):
    """Column -> value in s or bytes, of one sample."""
    program = sampler.Sampler(plan)
    line = program.sample(0)
    assert line is not None
    assert line.endswith(b"\n")
    columns = program.header["columns"]
    return {name: int(word) * factor for (name, factor), word in zip(columns, line.split(), strict=True)}


def only(plan, *kinds):
    return {**plan, **{kind: [] for kind in ("hosts", "files", "links", "queues") if kind not in kinds}}


# The plan


def test_a_plan_is_json_and_names_each_column_once(groups):
    plan = planned(groups, "out")
    assert json.loads(json.dumps(plan)) == plan
    names = [each["name"] for kind in ("hosts", "files", "links", "queues") for each in plan[kind]]
    assert len(names) == len(set(names))
    assert plan["every_s"] <= 0.25  # 4 Hz or more


def test_a_node_is_counted_on_its_host_only(groups):
    files = [each["file"] for each in planned(groups)["files"]]
    assert any("host-1/a1/" in file for file in files)
    assert not any("host-2/a1/" in file or "host-1/b1/" in file for file in files)


def test_the_links_of_hosts_and_nodes(groups):
    plan = planned(groups)
    links = {each["name"]: (each["link"], each["field"]) for each in (*plan["links"], *plan["queues"])}
    assert links["node/a1/sent_bytes"] == ("node-1", "rx_bytes")  # the fabric's end receives what the node sends
    assert links["node/b1/received_packets"] == ("node-2", "tx_packets")
    assert links["host/host2/up_bytes"] == ("up-2", "bytes")
    assert links["host/host2/down_drops"] == ("down-2", "drops")


def test_a_nodes_disk(groups):
    disk = {each["name"]: each for each in planned(groups)["files"] if each["file"] == "/sys/dev/block/7:3/stat"}
    # A line of Documentation/block/stat.rst's: reads 10, of 80 sectors, in 4 ms; writes 20, of 320 sectors, in 900 ms.
    words = "10 0 80 4 20 0 320 900 3 700 904".split()  # noqa: SIM905 - as the kernel shows it
    found = {name: int(words[each["field"]]) * each["factor"] for name, each in disk.items()}
    assert found == pytest.approx(
        {
            "node/a1/read_bytes": 80 * 512,
            "node/a1/read_wait_s": 0.004,
            "node/a1/written_bytes": 320 * 512,
            "node/a1/write_wait_s": 0.9,
            "node/a1/in_flight": 3,
            "node/a1/disk_busy_s": 0.7,
        }
    )


# Samples


def test_what_hosts_and_nodes_use_with_v1(groups):
    found = one(only(planned(groups), "hosts", "files"))
    for host in ("host1", "host2"):
        assert found[f"host/{host}/cpu_s"] == pytest.approx(12.345678901)
        assert found[f"host/{host}/throttled_s"] == pytest.approx(2.5)
        assert (found[f"host/{host}/periods"], found[f"host/{host}/throttled_periods"]) == (90, 12)
        assert found[f"host/{host}/memory_bytes"] == 1 << 25
    assert found["node/a1/cpu_s"] == pytest.approx(12.345678901)
    assert found["node/b1/memory_bytes"] == 1 << 25


def test_what_a_host_uses_with_v2_and_a_file_that_the_kernel_lacks(tmp_path):
    (tmp_path / "g/host-1").mkdir(parents=True)
    for name, text in V2_FILES.items():
        (tmp_path / "g/host-1" / name).write_text(text)
    plan = sampling.plan(CgroupV2(tmp_path), "g", hosts=1, placement={}, links={}, disks={}, beats={}, out="")
    found = one(only(plan, "hosts"))
    host = {name.removeprefix("host/host1/"): value for name, value in found.items() if name.startswith("host/")}
    assert host == pytest.approx(
        {
            "cpu_s": 2.5,
            "throttled_s": 1.25,
            "periods": 7,
            "throttled_periods": 3,
            "memory_bytes": 4096,
            "cpu_pressure_s": 1.5,
            "io_pressure_s": 0.25,
        }
    )


def test_the_machine(groups):
    before, found = (time.monotonic(), one(only(planned(groups), "files")))
    assert before <= found["time_s"] <= time.monotonic()
    words = Path("/proc/stat").read_text().split()
    assert found["machine/user_s"] == pytest.approx(int(words[1]) / os.sysconf("SC_CLK_TCK"), abs=1.0)
    assert found["machine/idle_s"] == pytest.approx(int(words[4]) / os.sysconf("SC_CLK_TCK"), abs=1.0)
    swapped = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())["pswpin"]
    assert found["machine/swapped_in_bytes"] == int(swapped) * os.sysconf("SC_PAGE_SIZE")


def test_how_late_the_metronome_was_on_the_cpus_of_hosts(groups, tmp_path):
    beats = {cpu: tmp_path / f"beat-{cpu}" for cpu in (0, 1)}
    for cpu, file in beats.items():
        file.write_text(f"{cpu + 1}500000000")
    kept = {1: {0: str(beats[0])}, 2: {0: str(beats[0]), 1: str(beats[1])}, 3: {1: str(beats[1])}}
    found = one(only(planned(groups, beats=kept), "files"))
    withheld = {name: value for name, value in found.items() if "withheld" in name}
    assert withheld == pytest.approx(
        {
            "host/host1/withheld_cpu0_s": 1.5,
            "host/host2/withheld_cpu0_s": 1.5,
            "host/host2/withheld_cpu1_s": 2.5,
        }
    )


def test_a_probe_of_what_a_second_is_worth(groups):
    program = sampler.Sampler(planned(groups))
    columns = [name for name, _ in program.header["columns"]]
    lines = [program.sample(0).split() for _ in range(5)]
    took = [int(line[columns.index("machine/probe_s")]) for line in lines]
    assert [int(line[columns.index("machine/probes")]) for line in lines] == [1, 2, 3, 4, 5]
    # Fixed work: 0.2 to 0.5 ms on machines of today, and many times that on one that is very slow.
    assert all(10_000 < late - early < 50_000_000 for early, late in zip([0, *took], took, strict=False))


def test_a_file_that_goes_keeps_its_last_value(groups, tmp_path):
    program = sampler.Sampler(only(planned(groups), "hosts", "files"))
    index = [name for name, _ in program.header["columns"]].index("host/host1/throttled_periods")
    first = program.sample(0)
    (tmp_path / "g/host-1/cpu.stat").write_text("")  # a removed group's file is empty or fails
    assert first.split()[index] == program.sample(0).split()[index] == b"12"


def test_it_ends_when_no_host_is_left(groups, tmp_path):
    program = sampler.Sampler(only(planned(groups), "hosts"))
    for file in (tmp_path / "g/host-1").glob("*.*"):
        file.write_text("")
    assert program.sample(0) is not None
    for file in (tmp_path / "g/host-2").glob("*.*"):
        file.write_text("")
    assert program.sample(0) is None


def test_what_a_file_does_not_have_has_no_column(groups, tmp_path):
    (tmp_path / "g/host-1/cpu.stat").write_text("nr_periods 5\nnr_throttled 2\n")
    plan = only(planned(groups), "hosts")
    found = one({**plan, "files": [{"name": "a", "factor": 1.0, "file": "/proc/loadavg", "field": 99}]})
    assert (found["host/host1/periods"], found["host/host1/throttled_periods"]) == (5, 2)
    assert "host/host1/throttled_s" not in found
    assert "a" not in found


def test_a_disk_that_is_not_there_has_no_columns(groups):
    found = one(only(planned(groups, disks={"a1": "4095:1048575"}), "files"))
    assert not any(name.startswith("node/a1/read") for name in found)


def test_links_are_found_again_when_others_come_and_go(monkeypatch):
    row = " {}: {} 2 0 0 0 0 0 0 {} 4 0 0 0 0 0 0\n"
    text = "Inter-| Receive | Transmit\n face |bytes packets\n"
    columns = sampler._Columns()
    wanted = [
        {"name": f"{link}-{field}", "factor": 1.0, "link": link, "field": field}
        for link in ("node-1", "node-2", "node-9")
        for field in ("rx_bytes", "tx_bytes")
    ]
    shown = text + row.format("lo", 7, 7) + row.format("node-1", 10, 11) + row.format("node-2", 20, 21)
    monkeypatch.setattr(sampler, "read_all", lambda fd: shown.encode())
    links = sampler.Links(wanted, columns)
    assert [name for name, _ in columns.names] == [each["name"] for each in wanted if each["link"] != "node-9"]
    links.read(columns.values)
    assert columns.values == [10, 11, 20, 21]
    shown = text + row.format("node-2", 22, 23) + row.format("lo", 7, 7)
    links.read(columns.values)
    assert columns.values == [10, 11, 22, 23]


def test_a_long_file_is_read_to_its_end(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 1000)
    with file.open("rb") as opened:
        assert sampler.read_all(opened.fileno()) == file.read_bytes()


# Queueing disciplines


@pytest.mark.parametrize("remembered", [{}, {0xBC: 40}, {0xBC: 0x90, 0x94: 0x68}], ids=["first", "wrong", "again"])
def test_a_recorded_dump(remembered):
    found, offsets = {}, dict(remembered)
    assert not sampler.parse(DUMP, len(DUMP), found, offsets)
    assert found == {1: (0, 0, 0, 0), 2: (77_020_846, 50_883, 0, 0)}
    assert offsets == {0xBC: 0x90, 0x94: 0x68}
    # What tc(8) printed then. Each of the packets counts with its Ethernet, IP and TCP headers, as on a wire.
    assert found[2][0] == pytest.approx(73_662_464 * 1514 / 1448, rel=0.001)


def test_drops_and_what_waits_are_told_apart():
    at = 0x94 + 0x90 + 4
    stats = (10, 3, 5, 99, 98, 97, 96, 1514)  # struct tc_stats
    content = stats[0].to_bytes(8, "little") + b"".join(value.to_bytes(4, "little") for value in stats[1:])
    found = {}
    sampler.parse(DUMP[:at] + content + DUMP[at + len(content) :], len(DUMP), found, {})
    assert found[2] == (10, 3, 5, 1514)


def test_the_end_of_a_dump_and_what_is_no_dump():
    found = {}
    assert sampler.parse(DUMP + DONE, len(DUMP + DONE), found, {})
    assert set(found) == {1, 2}
    assert sampler.parse(bytes(8), 8, {}, {})  # rather than for ever
    assert not sampler.parse(DUMP, 0, {}, {})
    inner = bytearray(DUMP)
    inner[0x94 + 28 : 0x94 + 32] = (0x10001).to_bytes(4, "little")  # a parent that is not the root
    found = {}
    sampler.parse(inner, len(inner), found, {})
    assert set(found) == {1}


def test_this_machines_qdiscs():
    qdiscs = sampler.Qdiscs()
    assert all(len(stats) == 4 for stats in qdiscs.read().values())
    assert set(qdiscs.read()) <= set(range(1, 1 + max(index for index, _ in socket.if_nameindex())))
    qdiscs.close()


def test_a_queue_that_goes_keeps_its_last_value(monkeypatch):
    columns = sampler._Columns()
    dumps = [{1: (10, 3, 5, 7)}, {}]
    monkeypatch.setattr(sampler.socket, "if_nameindex", lambda: [(1, "up-1")])
    monkeypatch.setattr(sampler.Qdiscs, "read", lambda self: dumps.pop(0))
    wanted = [
        {"name": f"{link} {field}", "factor": 1.0, "link": link, "field": field}
        for link in ("up-1", "up-2")
        for field in ("drops", "bytes")
    ]
    queues = sampler.Queues(wanted, columns)
    assert [name for name, _ in columns.names] == ["up-1 drops", "up-1 bytes"]
    for _ in range(2):
        queues.read(columns.values)
        assert columns.values == [5, 10]
    queues.close()


# The program


def start(tmp_path, plan):
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    return subprocess.Popen([sys.executable, "-I", "-S", sampler.__file__, str(tmp_path / "plan.json")])


def lines_of(out, least, deadline_s=10.0):
    until = time.monotonic() + deadline_s
    while not out.exists() or out.read_text().count("\n") < least:
        assert time.monotonic() < until
        time.sleep(0.01)
    return out.read_text().splitlines()


def test_it_writes_until_it_is_told_to_end(groups, tmp_path):
    out = tmp_path / "out"
    process = start(tmp_path, planned(groups, out, every_s=0.02))
    lines_of(out, 6)
    process.send_signal(signal.SIGTERM)
    assert process.wait(5) == 0
    header, *samples = out.read_text().splitlines()
    read = json.loads(header)
    assert (read["format"], read["every_s"]) == (sampler.FORMAT, 0.02)
    assert {len(sample.split()) for sample in samples} == {len(read["columns"])}
    names = [name for name, _ in read["columns"]]
    assert names[0] == "time_s"
    times = [int(sample.split()[0]) for sample in samples]
    assert times == sorted(times)
    own = [int(sample.split()[names.index("sampler/cpu_s")]) for sample in samples]
    assert 0 < own[0] < own[-1]


def test_it_ends_by_itself_when_the_hosts_have_gone(groups, tmp_path):
    out = tmp_path / "out"
    process = start(tmp_path, planned(groups, out, every_s=0.02))
    lines_of(out, 2)
    for file in (tmp_path / "g").glob("host-*/*.*"):
        file.write_text("")
    assert process.wait(5) == 0


def test_it_ends_when_who_started_it_has_gone(groups, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "plan.json").write_text(json.dumps(planned(groups, out, every_s=0.02)))
    code = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); sys.stdin.readline()"
    argv = [sys.executable, "-c", code, sys.executable, "-I", "-S", sampler.__file__, str(tmp_path / "plan.json")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        lines_of(out, 3)
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    until = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_moment_that_was_slept_over_is_not_made_up_for(monkeypatch):
    clock = [0]
    late = []

    class Slow:
        def __init__(self):
            self.header = {}

        asks = False

        def sample(self, late_ns):
            late.append(late_ns)
            clock[0] += 250 if len(late) == 2 else 10
            return b""

    def wait(signals, timeout_s):
        clock[0] += round(timeout_s * 1e9) + 3
        return object() if len(late) == 5 else None

    monkeypatch.setattr(sampler.time, "monotonic_ns", lambda: clock[0])
    monkeypatch.setattr(sampler.signal, "sigtimedwait", wait)
    written = []
    sampler.run(Slow(), 100, written.append, lambda: True)
    assert late == [0, 3, 3, 3, 3, 0]  # due at 0, 100, 400, 500, 600; and a last one
    assert len(written) == 1 + len(late)


def test_it_runs_without_pliant(groups, tmp_path):
    """It is a file of its own: also elsewhere, away from everything."""
    copy = tmp_path / "elsewhere.py"
    shutil.copy(sampler.__file__, copy)
    (tmp_path / "plan.json").write_text(json.dumps(planned(groups, tmp_path / "out", every_s=0.02)))
    process = subprocess.Popen([sys.executable, "-I", "-S", str(copy), str(tmp_path / "plan.json")], cwd="/")
    lines_of(tmp_path / "out", 2)
    process.terminate()
    assert process.wait(5) == 0


# Nodes that starve


@pytest.fixture
def spinning():
    """A process that could always run, and one that sleeps."""
    running = [
        subprocess.Popen([sys.executable, "-c", code]) for code in ("while True: pass", "import time; time.sleep(60)")
    ]
    yield [process.pid for process in running]
    for process in running:
        process.kill()
        process.wait()


def starving(tmp_path: Path, pids: list[int]) -> tuple[sampler.Starving, list[int]]:
    (tmp_path / "procs").write_text("\n".join(map(str, [*pids, 999_999_999])))
    columns = sampler._Columns()
    columns.add("node/a1/cpu_s", 1e-9)
    wanted = [
        {"name": "node/a1/starved_s", "cpu": "node/a1/cpu_s", "procs": str(tmp_path / "procs")},
        {"name": "node/b1/starved_s", "cpu": "node/b1/cpu_s", "procs": "/nowhere"},
    ]
    found = sampler.Starving(wanted, columns)
    assert [name for name, _ in columns.names] == ["node/a1/cpu_s", "node/a1/starved_s"]
    return found, columns.values


def test_a_node_that_could_run_and_got_no_cpu_for_a_second_starves(tmp_path, spinning):
    found, values = starving(tmp_path, spinning)
    second = sampler.STARVING_NS
    told = []
    for now, used in ((0, 5), (second // 2, 5), (second, 5), (second + 1, 5), (2 * second, 5), (2 * second + 1, 6)):
        values[0] = used
        found.read(values, now)
        told.append(values[1])
    assert told == [0, 0, second, second, 2 * second, 2 * second]


def test_a_node_that_sleeps_does_not_starve(tmp_path, spinning):
    time.sleep(0.3)  # Python has started, and waits for its input
    found, values = starving(tmp_path, spinning[1:])
    for now in range(4):
        found.read(values, now * sampler.STARVING_NS)
    assert values[1] == 0
