"""Dividing a host's disk bandwidth: the rule, the rule in a closed loop with disks, and the files it is written to."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.machine import diskshare
from pliant.machine.diskshare import divide

HOW = {
    kind: {"file": f"/cg/blkio.throttle.{kind}_bps_device", "line": "{disk} {rate}", "none": "0"}
    for kind in ("read", "write")
}

RATE = 60e6
MIB = 2**20
rates = st.floats(1e6, 1e10)
shares = st.lists(st.tuples(st.floats(0, 1), st.one_of(st.just(0.0), st.floats(0, 2))), min_size=1, max_size=12)


def busy(rate: float, used: list[float]) -> list[bool]:
    return [use > diskshare._IDLE * rate for use in used]


@given(rates, shares)
def test_a_busy_disk_gets_an_equal_part_or_more(rate, disks):
    used = [rate * use for _, use in disks]
    fresh = divide(rate, [rate * limit for limit, _ in disks], used)
    equal = rate / max(1, sum(busy(rate, used)))
    for limit, is_busy in zip(fresh, busy(rate, used), strict=True):
        assert limit >= (equal if is_busy else rate / (sum(busy(rate, used)) + 1)) * (1 - 1e-9)


@given(rates, shares)
def test_no_disk_gets_more_than_the_rate(rate, disks):
    used = [rate * use for _, use in disks]
    assert all(limit <= rate * (1 + 1e-9) for limit in divide(rate, [0.0] * len(disks), used))


@given(rates, st.integers(1, 12), st.data())
def test_one_busy_disk_gets_the_whole_rate(rate, count, data):
    index = data.draw(st.integers(0, count - 1))
    used = [0.0] * count
    used[index] = rate * data.draw(st.floats(0.01, 1))
    assert divide(rate, [rate / count] * count, used)[index] == pytest.approx(rate)


@given(rates, st.integers(1, 12))
def test_disks_that_all_use_their_part_keep_it(rate, count):
    equal = [rate / count] * count
    assert divide(rate, equal, equal) == pytest.approx(equal)


@given(rates, shares)
def test_what_is_left_over_goes_to_who_can_use_it(rate, disks):
    used = [rate * use / len(disks) / 2 for _, use in disks]
    fresh = divide(rate, [0.0] * len(disks), used)
    for limit, use in zip(fresh, used, strict=True):
        assert limit >= rate - (sum(used) - use) - 1e-6 * rate


@given(rates, shares, st.floats(0.01, 1))
def test_gain_goes_part_of_the_way(rate, disks, gain):
    limits, used = [rate * limit for limit, _ in disks], [rate * use for _, use in disks]
    for before, part, whole in zip(limits, divide(rate, limits, used, gain), divide(rate, limits, used), strict=True):
        assert part == pytest.approx(before + gain * (whole - before), rel=1e-6, abs=1e-3)


# A closed loop: disks that want something, the kernel that lets pass what the limits say, and the program


class Disks:
    """Loop devices as the kernel limits them: requests pass whole, once the tokens for them are there."""

    def __init__(self, demands: list[Callable[[float], float]], request: int = MIB) -> None:
        self.demands, self.request = demands, request
        self.waiting = [0.0] * len(demands)
        self.tokens = [0.0] * len(demands)
        self.passed = [0] * len(demands)
        self.limits = [math.inf] * len(demands)

    def run(self, now: float, elapsed_s: float) -> None:
        for index, demand in enumerate(self.demands):
            self.waiting[index] = min(self.waiting[index] + demand(now) * elapsed_s, 64 * MIB)
            self.tokens[index] += self.limits[index] * elapsed_s
            while self.waiting[index] >= self.request and self.tokens[index] > 0:
                self.tokens[index] -= self.request
                self.waiting[index] -= self.request
                self.passed[index] += self.request
            self.tokens[index] = min(self.tokens[index], 0.1 * self.limits[index])  # blk-throttle's slice of 100 ms


class FakeKernel:
    """What `diskshare` opens: the devices' counters, and the files that take limits."""

    def __init__(self, disks: Disks | None = None) -> None:
        self.disks = disks
        self.written: list[tuple[str, str]] = []

    def open(self, path: str, *args, **kwargs):
        if path.startswith("/sys/dev/block/"):
            return _Counter(self, int(path.split("/")[4].split(":")[1]))
        if "throttle" in path:
            return _Throttle(self, path)
        return Path(path).open(*args, **kwargs)


class _Counter(io.StringIO):
    def __init__(self, kernel: FakeKernel, index: int) -> None:
        super().__init__()
        self.kernel, self.index = kernel, index

    def read(self, size: int | None = -1) -> str:
        disks = self.kernel.disks
        written = disks.passed[self.index] if disks else 0
        return f"  10  0  0  0  20  0  {written // 512}  5  0  1  1\n"


class _Throttle(io.StringIO):
    def __init__(self, kernel: FakeKernel, path: str) -> None:
        super().__init__()
        self.kernel, self.path = kernel, path

    def write(self, text: str) -> int:
        self.kernel.written.append((self.path, text))
        return len(text)


@pytest.fixture
def kernel(monkeypatch):
    fake = FakeKernel()
    monkeypatch.setattr(diskshare, "open", fake.open, raising=False)
    return fake


def simulate(
    kernel: FakeKernel,
    demands: list[Callable[[float], float]],
    *,
    request: int = MIB,
    duration_s: float = 20.0,
    rate: float = RATE,
) -> tuple[list[float], diskshare._Host]:
    """Bytes/s that passed for each disk in the second half, and the host at the end."""
    disks = kernel.disks = Disks(demands, request)
    host = diskshare._Host(rate, [f"7:{index}" for index in range(len(demands))], HOW)
    disks.limits = list(host.limits["write"])
    half = [0] * len(demands)
    for step in range(int(duration_s / diskshare.TICK_S)):
        now = step * diskshare.TICK_S
        disks.run(now, diskshare.TICK_S)
        for disk, limit in host.tick(diskshare.TICK_S).get("write", []):
            disks.limits[int(disk.split(":")[1])] = limit
        if now < duration_s / 2:
            half = list(disks.passed)
    host.close()
    return [(end - middle) / (duration_s / 2) for end, middle in zip(disks.passed, half, strict=True)], host


def saturating(now: float) -> float:
    return 4 * RATE


def idle(now: float) -> float:
    return 0.0


def modest(part: float) -> Callable[[float], float]:
    return lambda now: part * RATE


def bursts_of(size: int, every_s: float, offset_s: float = 0.0) -> Callable[[float], float]:
    """`size` bytes in one tick, every so often."""
    return lambda now: size / diskshare.TICK_S if (now + offset_s) % every_s < diskshare.TICK_S - 1e-9 else 0.0


@pytest.mark.parametrize("request_size", [4096 * 16, MIB], ids=["64 KiB", "1 MiB"])
@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_saturating_disks_get_equal_parts_and_together_the_rate(kernel, count, request_size):
    passed, host = simulate(kernel, [saturating] * count, request=request_size)
    assert sum(passed) == pytest.approx(RATE, rel=0.02)
    for each in passed:
        assert each == pytest.approx(RATE / count, rel=0.1)
    assert sum(host.limits["write"]) == pytest.approx(RATE, rel=0.1)


@pytest.mark.parametrize("count", [2, 4, 8])
def test_one_disk_that_saturates_gets_the_whole_rate_beside_idle_ones(kernel, count):
    passed, _ = simulate(kernel, [idle] * (count - 1) + [saturating])
    assert passed[-1] == pytest.approx(RATE, rel=0.03)
    assert passed[:-1] == [0.0] * (count - 1)


def test_a_modest_disk_gets_what_it_wants_and_the_others_share_the_rest(kernel):
    passed, _ = simulate(kernel, [modest(0.1), saturating, saturating])
    assert passed[0] == pytest.approx(0.1 * RATE, rel=0.05)
    assert passed[1] == pytest.approx(0.45 * RATE, rel=0.1)
    assert passed[2] == pytest.approx(0.45 * RATE, rel=0.1)


MIXTURES = {
    "8 saturating": [saturating] * 8,
    "modest and saturating": [saturating] * 2 + [modest(0.2)] * 2 + [idle] * 4,
    "bursts of 8 MiB": [bursts_of(8 * MIB, 1.0, n / 8) for n in range(8)],
    "bursts at once": [bursts_of(8 * MIB, 1.0)] * 8,
    "bursts beside one that saturates": [saturating] + [bursts_of(8 * MIB, 2.0, n / 4) for n in range(7)],
    "in turns": [lambda now: 4 * RATE if int(now) % 2 else 0.0, lambda now: 0.0 if int(now) % 2 else 4 * RATE],
    "all on and off": [lambda now: 4 * RATE if now % 1 < 0.3 else 0.0] * 4,
}


@pytest.mark.parametrize("request_size", [4096 * 16, MIB], ids=["64 KiB", "1 MiB"])
@pytest.mark.parametrize("mixture", MIXTURES)
def test_in_the_long_run_no_more_passes_than_the_rate(kernel, mixture, request_size):
    passed, _ = simulate(kernel, MIXTURES[mixture], request=request_size, duration_s=24.0)
    assert sum(passed) <= RATE * 1.02


@pytest.mark.parametrize(("rate", "count"), [(1e6, 8), (2e6, 4), (10e6, 8)])
def test_slow_disks_keep_to_the_rate_although_a_request_takes_longer_than_a_tick(kernel, rate, count):
    """Measured on Linux 6.18, O_DIRECT: 2.15 times the rate passed at 2 MB/s and 4 disks when use was averaged over
    150 ms only, for a disk between two requests looked idle."""
    passed, _ = simulate(kernel, [saturating] * count, duration_s=80.0, rate=rate)
    assert 0.8 * rate <= sum(passed) <= 1.02 * rate
    alone, _ = simulate(kernel, [saturating] + [idle] * (count - 1), duration_s=80.0, rate=rate)
    assert 0.9 * rate <= sum(alone) <= 1.02 * rate


@pytest.mark.parametrize("mixture", ["8 saturating", "bursts beside one that saturates"])
def test_what_the_host_has_is_used_when_there_is_demand(kernel, mixture):
    passed, _ = simulate(kernel, MIXTURES[mixture], duration_s=24.0)
    assert sum(passed) >= RATE * 0.95


def test_reads_and_writes_are_apart(kernel):
    _, host = simulate(kernel, [saturating, idle])
    assert host.used["read"] == [0.0, 0.0]
    assert host.used["write"][0] == pytest.approx(RATE, rel=0.1)
    assert sum(host.limits["read"]) >= RATE


# The files


def test_limits_are_written_a_line_each_lower_ones_first(kernel):
    diskshare._apply(HOW["read"], [("7:1", 30e6), ("7:2", None), ("7:3", 0.2), ("7:4", 20e6)])
    file = "/cg/blkio.throttle.read_bps_device"
    lines = ["7:2 0\n", "7:3 1\n", "7:4 20000000\n", "7:1 30000000\n"]
    assert kernel.written == [(file, line) for line in lines]


def test_loading_sets_equal_parts_at_once_and_watches_hosts_with_several_disks(kernel, tmp_path):
    kernel.disks = Disks([idle] * 4)
    hosts = [
        {"rate": 60e6, "disks": ["7:0", "7:1"], "limits": HOW},
        {"rate": 60e6, "disks": ["7:2"], "limits": HOW},
        {"rate": None, "disks": ["7:3"], "limits": HOW},
    ]
    (tmp_path / "diskshare.json").write_text(json.dumps({"hosts": hosts}))
    watched = diskshare._load(str(tmp_path / "diskshare.json"))
    assert [host.disks for host in watched] == [["7:0", "7:1"]]
    for kind in ("read", "write"):
        written = [text for path, text in kernel.written if path == f"/cg/blkio.throttle.{kind}_bps_device"]
        assert written == ["7:0 30000000\n", "7:1 30000000\n", "7:2 60000000\n", "7:3 0\n"]


def test_small_changes_are_not_written(kernel):
    kernel.disks = Disks([idle, idle])
    host = diskshare._Host(RATE, ["7:0", "7:1"], HOW)
    host.limits["write"] = [RATE * 0.99, RATE * 0.99]
    host.set["write"] = [RATE * 0.99, RATE * 0.99]
    assert "write" not in host.tick(diskshare.TICK_S)
    assert "read" in host.tick(diskshare.TICK_S)  # idle disks may have the whole rate: from a half to that is a change


def test_the_program_ends_with_its_file(tmp_path):
    assert diskshare.main(str(tmp_path / "none.json")) == 0


def test_the_program_reads_its_file_again_when_it_is_replaced(kernel, tmp_path, monkeypatch):
    file = tmp_path / "diskshare.json"
    contents = iter([{"hosts": [{"rate": 2e6, "disks": ["7:0"], "limits": HOW}]}, {"hosts": []}, None])

    def replace(seconds: float) -> None:
        content = next(contents)
        if content is None:
            file.unlink()
        else:
            (tmp_path / "new").write_text(json.dumps(content))
            (tmp_path / "new").replace(file)

    file.write_text(json.dumps({"hosts": [{"rate": 1e6, "disks": ["7:0"], "limits": HOW}]}))
    monkeypatch.setattr("time.sleep", replace)
    assert diskshare.main(str(file)) == 0
    assert [text for path, text in kernel.written if "read" in path] == ["7:0 1000000\n", "7:0 2000000\n"]
