"""Dividing a host's disk bandwidth: the rule, the rule in a closed loop with disks, and the files it is written to."""

from __future__ import annotations

import doctest
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.machine import diskshare
from pliant.machine.diskshare import HUNGRY, TICK_S, divide

HOW = {
    kind: {"file": f"/cg/blkio.throttle.{kind}_bps_device", "line": "{disk} {rate}", "none": "0"}
    for kind in ("read", "write")
}


def disk(index: int) -> dict:
    return {"name": f"7:{index}", "stat": f"/sys/dev/block/7:{index}/stat", "limits": HOW}


RATE = 60e6
MIB = 2**20
KIB64 = 2**16
rates = st.floats(1e6, 1e10)
wants = st.lists(st.one_of(st.none(), st.just(HUNGRY), st.floats(0, 1.5)), min_size=1, max_size=12)


def of(rate: float, parts: Sequence[float | None]) -> list[float | None]:
    return [None if part is None else rate * part for part in parts]


def test_examples_in_docstrings():
    assert doctest.testmod(diskshare).failed == 0


# The rule


@given(rates, wants)
def test_who_uses_what_it_wants_leaves_the_others_within_the_rate(rate, parts):
    wanted = of(rate, parts)
    used = [min(want, limit) for want, limit in zip(wanted, divide(rate, wanted), strict=True) if want is not None]
    assert sum(used) <= rate * (1 + 1e-9)


@given(rates, wants)
def test_a_busy_disk_may_take_an_equal_part_and_an_idle_one_may_begin_with_one(rate, parts):
    busy = sum(part is not None for part in parts)
    for part, limit in zip(parts, divide(rate, of(rate, parts)), strict=True):
        if part is None:
            assert limit == pytest.approx(rate / (busy + 1))
        else:
            assert limit >= rate / busy * (1 - 1e-9)
        assert limit <= rate * (1 + 1e-9)


@given(rates, wants)
def test_hungry_disks_share_equally_all_that_is_left(rate, parts):
    wanted = of(rate, parts)
    limits = divide(rate, wanted)
    hungry = [limit for want, limit in zip(wanted, limits, strict=True) if want == HUNGRY]
    assert len(set(hungry)) <= 1
    if hungry:
        used = [min(want, limit) for want, limit in zip(wanted, limits, strict=True) if want is not None]
        assert sum(used) == pytest.approx(rate)


@given(rates, st.integers(1, 12), st.data())
def test_one_hungry_disk_gets_the_whole_rate(rate, count, data):
    wanted: list[float | None] = [None] * count
    index = data.draw(st.integers(0, count - 1))
    wanted[index] = HUNGRY
    assert divide(rate, wanted)[index] == rate


@given(rates, wants, st.integers(0, 12))
def test_idle_disks_change_nothing_for_the_others(rate, parts, idle):
    wanted = of(rate, parts)
    busy = [want for want in wanted if want is not None]
    limits = [limit for want, limit in zip(wanted, divide(rate, wanted), strict=True) if want is not None]
    assert divide(rate, [*busy, *[None] * idle])[: len(busy)] == limits


@given(rates, wants, st.randoms())
def test_the_order_of_disks_does_not_matter(rate, parts, random):
    wanted = of(rate, parts)
    order = list(range(len(wanted)))
    random.shuffle(order)
    assert divide(rate, [wanted[n] for n in order]) == [divide(rate, wanted)[n] for n in order]


# What one disk seems to want


def watch(disk: diskshare._Disk, begin: float, moves: Sequence[int]) -> float:
    """Let it see, tick after tick, that so many bytes more were moved; the time at the end."""
    moved = disk.history[-1][1]
    for number, more in enumerate(moves, 1):
        moved += more
        disk.see(begin + number * TICK_S, moved)
    return begin + len(moves) * TICK_S


def test_a_disk_is_idle_then_hungry_then_modest_then_idle():
    disk = diskshare._Disk(RATE, 0, 0.0)
    now = watch(disk, 0.0, [0] * 100)
    assert disk.wanted is None
    tenth = round(0.1 * RATE * TICK_S)
    now = watch(disk, now, [tenth])
    assert disk.wanted == diskshare.BEGUN  # until it is known better
    now = watch(disk, now, [tenth] * 50)
    assert disk.wanted == pytest.approx(diskshare._SPARE * 0.1 * RATE, rel=0.05)
    now = watch(disk, now, [4 * tenth] * 50)
    assert disk.wanted == HUNGRY
    now = watch(disk, now, [round(0.9 * RATE * TICK_S)] * 100)
    assert disk.wanted == HUNGRY
    watch(disk, now, [0] * 50)
    assert disk.wanted is None


def test_a_modest_disk_may_vary_a_little():
    disk = diskshare._Disk(RATE, 0, 0.0)
    now = watch(disk, 0.0, [round(0.1 * RATE * TICK_S)] * 100)
    wanted = disk.wanted
    assert wanted is not None and wanted < 0.2 * RATE
    now = watch(disk, now, [round(0.105 * RATE * TICK_S)] * 100)
    watch(disk, now, [round(0.095 * RATE * TICK_S)] * 100)
    assert disk.wanted == wanted


def test_it_is_not_judged_by_what_it_did_under_another_limit():
    disk = diskshare._Disk(RATE, 0, 0.0)
    now = watch(disk, 0.0, [round(0.25 * RATE * TICK_S)] * 10)
    assert disk.set(RATE / 4, now) and not disk.set(RATE / 4 * 1.005, now)
    now = watch(disk, now, [round(0.25 * RATE * TICK_S)] * 39)
    assert disk.wanted == HUNGRY and disk.since == pytest.approx(11 * TICK_S)
    watch(disk, now, [round(0.25 * RATE * TICK_S)] * 20)
    assert disk.wanted == HUNGRY


@pytest.mark.parametrize("every", [42, 50, 84])  # ticks for 1 MiB: 1 MB/s, 0.84 MB/s, 0.5 MB/s
def test_between_two_large_requests_a_disk_is_not_idle(every):
    limit = MIB / (every * TICK_S)
    disk = diskshare._Disk(limit, 0, 0.0)
    watch(disk, 0.0, ([0] * (every - 1) + [MIB]) * 3)
    assert disk.window == pytest.approx(3 * every * TICK_S, rel=0.1)
    now = watch(disk, disk.history[-1][0], ([0] * (every - 1) + [MIB]) * 8)
    assert disk.wanted == HUNGRY
    watch(disk, now, [0] * 4 * every)
    assert disk.wanted is None and disk.window == 1.0


def test_a_tick_that_comes_late_is_no_large_request():
    disk = diskshare._Disk(RATE, 0, 0.0)
    disk.see(0.025, MIB)
    disk.see(2.0, MIB + 2 * 59_000_000)
    assert disk.window == 1.0


# What passed above the rate


def run_account(account: diskshare._Account, moves: Callable[[float, float], float], begin: float, end: float):
    """The times at which it changes the rate, and to what, while `moves(now, rate)` is moved, in bytes/s."""
    changes, rate = [], account.rate
    for number in range(round(begin / TICK_S) + 1, round(end / TICK_S) + 1):
        now = number * TICK_S
        fresh = account.book(now, moves(now, rate) * TICK_S, 0.5)
        if fresh != rate:
            changes.append((now, fresh))
        rate = fresh
    return changes


def test_what_passed_above_the_rate_is_taken_back_once():
    account = diskshare._Account(RATE, 0.0)
    changes = run_account(account, lambda now, rate: RATE * (1.4 if now <= 1 else 1) if rate == RATE else rate, 0, 20)
    assert [rate for _, rate in changes][1::2] == [RATE] * (len(changes) // 2)
    (_, less), (ended, _) = changes[-2:]
    assert RATE / 2 <= less < RATE
    assert ended < 4 and account.excess <= diskshare._EXCESS_S * RATE
    steps = zip(changes[::2], changes[1::2], strict=True)
    taken = sum((RATE - rate) * (until - since) for (since, rate), (until, _) in steps)
    assert taken == pytest.approx(0.4 * RATE, abs=diskshare._EXCESS_S * RATE)


def test_taking_back_ends_although_nothing_came_of_it():
    account = diskshare._Account(RATE, 0.0)
    changes = run_account(account, lambda now, rate: RATE * (1 if now > 1 else 1.3), 0, 3)
    assert changes[0][1] < RATE and changes[1][1] == RATE
    assert changes[1][0] - changes[0][0] == pytest.approx(0.6, abs=0.3)


def test_taking_back_ends_at_once_when_nothing_is_left():
    account = diskshare._Account(RATE, 0.0)
    changes = run_account(account, lambda now, rate: RATE * (1.4 if rate == RATE and now < 1 else 0), 0, 3)
    assert len(changes) == 2 and changes[1][0] - changes[0][0] < 0.5 < 2 * 0.4


def test_a_slice_ahead_of_the_rate_and_requests_that_pass_whole_are_no_excess():
    ahead = diskshare._Account(RATE, 0.0)
    assert run_account(ahead, lambda now, rate: RATE * (4.9 if now <= TICK_S else 1), 0, 10) == []
    large = diskshare._Account(RATE, 0.0)
    assert run_account(large, lambda now, rate: 0 if round(now / TICK_S) % 16 else RATE * 16, 0, 10) == []


# A closed loop: disks that want something, the kernel that lets pass what the limits say, and the program

STEP_S = 0.005
SLICE_S = 0.1


@dataclass
class Device:
    """One direction of a loop device as block/blk-throttle.c limits it: slices of 100 ms, whole requests.

    When a slice begins, all of it may pass at once, and setting a limit begins one. `carry`: what waits at that moment
    keeps what it waited, as in kernels since 6.1; in older ones that is forgotten, and so is what passed too early.
    """

    demand: Callable[[float], float]
    request: int = MIB
    carry: bool = False
    limit: float = RATE
    waiting: float = 0.0
    passed: int = 0
    start: float = 0.0
    end: float = SLICE_S
    used: float = 0.0

    def set(self, limit: float, now: float) -> None:
        self.used = self.used - self.limit * (now - self.start) if self.carry and self.waiting >= self.request else 0.0
        self.limit, self.start, self.end = limit, now, now + SLICE_S

    def run(self, now: float) -> None:
        self.waiting = min(self.waiting + self.demand(now) * STEP_S, 64 * MIB)
        while self.waiting >= self.request:
            if now > self.end + 1e-9:
                self.start, self.used = now, 0.0
            slices = max(1, math.ceil((now - self.start) / SLICE_S - 1e-9))
            ready = self.start + (self.used + self.request) / self.limit
            if self.used + self.request > self.limit * SLICE_S * slices and ready > now:
                self.end = max(self.end, math.ceil(ready / SLICE_S) * SLICE_S)
                return
            self.used += self.request
            self.waiting -= self.request
            self.passed += self.request
            self.end = math.ceil(now / SLICE_S + 1) * SLICE_S
            over = int((now - self.start) / SLICE_S + 1e-9)
            self.used = max(0.0, self.used - self.limit * SLICE_S * over) if over else self.used
            self.start += over * SLICE_S


class FakeKernel:
    """What `diskshare` opens: the devices' counters, and the files that take limits."""

    def __init__(self, devices: Sequence[Device] = ()) -> None:
        self.devices = devices
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
        written = self.kernel.devices[self.index].passed if self.kernel.devices else 0
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


@dataclass
class Course:
    """What happened: bytes that each disk had passed at each tick, the times of changes, and the host at the end."""

    host: diskshare._Host
    passed: list[list[int]] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)

    def rates(self, begin: float, end: float) -> list[float]:
        """Bytes/s of each disk from one time to another."""
        before, after = (self.passed[round(time / TICK_S)] for time in (begin, end))
        return [(late - early) / (end - begin) for early, late in zip(before, after, strict=True)]


def simulate(kernel: FakeKernel, devices: list[Device], duration_s: float = 20.0, rate: float = RATE) -> Course:
    kernel.devices = devices
    for device in devices:
        device.set(rate, 0.0)
    course = Course(diskshare._Host(rate, [disk(index) for index in range(len(devices))], 0.0))
    course.passed.append([0] * len(devices))
    for tick in range(1, round(duration_s / TICK_S) + 1):
        for step in range(1, round(TICK_S / STEP_S) + 1):
            for device in devices:
                device.run((tick - 1) * TICK_S + step * STEP_S)
        changes = course.host.tick(tick * TICK_S)
        for own, limit in changes.get("write", []):
            devices[int(own["name"].split(":")[1])].set(limit, tick * TICK_S)
        course.changes += [tick * TICK_S] * ("write" in changes)
        course.passed.append([device.passed for device in devices])
    course.host.close()
    return course


def saturating(now: float) -> float:
    return 4 * RATE


def idle(now: float) -> float:
    return 0.0


def modest(part: float, rate: float = RATE) -> Callable[[float], float]:
    return lambda now: part * rate


def bursts_of(size: int, every_s: float, offset_s: float = 0.0) -> Callable[[float], float]:
    """`size` bytes at once, every so often."""
    return lambda now: size / STEP_S if (now + offset_s) % every_s < STEP_S - 1e-9 else 0.0


def on_and_off(every_s: float, part: float) -> Callable[[float], float]:
    return lambda now: 4 * RATE if now % every_s < part * every_s else 0.0


carries = pytest.mark.parametrize("carry", [False, True], ids=["forgets", "carries"])
sizes = pytest.mark.parametrize("request_size", [KIB64, MIB], ids=["64 KiB", "1 MiB"])


@pytest.mark.simulated
@carries
@sizes
@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_saturating_disks_get_equal_parts_and_together_the_rate(kernel, count, request_size, carry):
    course = simulate(kernel, [Device(saturating, request_size, carry) for _ in range(count)])
    passed = course.rates(10, 20)
    assert sum(passed) == pytest.approx(RATE, rel=0.02)
    for each in passed:
        assert each == pytest.approx(RATE / count, rel=0.03)
    assert [disk.limit for disk in course.host.disks["write"]] == pytest.approx([RATE / count] * count, rel=0.01)
    # All begin at once, each with a slice of the whole rate, before anything is seen.
    assert sum(course.rates(0, 3)) == pytest.approx(RATE, rel=0.08)


@pytest.mark.simulated
@carries
@sizes
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_in_a_steady_state_limits_do_not_change(kernel, count, request_size, carry):
    """Each change lets up to a slice pass at once: 10 to 50 % were wrong when limits followed every small change."""
    demands = [saturating] * count + [idle] * (8 - count)
    course = simulate(kernel, [Device(demand, request_size, carry) for demand in demands])
    assert len(course.changes) <= 5
    assert [time for time in course.changes if time > 8] == []


@pytest.mark.simulated
@carries
@pytest.mark.parametrize("rate", [2e6, 4e6, 10e6, 20e6])
@pytest.mark.parametrize("count", [1, 2, 4, 8])
def test_nor_do_they_when_a_request_takes_longer_than_a_slice(kernel, count, rate, carry):
    """The kernel is then ahead of the rate by up to a slice for several requests, and behind it for others."""
    demands = [saturating] * count + [idle] * (8 - count)
    course = simulate(kernel, [Device(demand, MIB, carry) for demand in demands], 40.0, rate)
    assert len(course.changes) <= 5
    assert [time for time in course.changes if time > 15] == []


@pytest.mark.simulated
@pytest.mark.parametrize("count", [2, 4, 8])
def test_one_disk_that_saturates_gets_the_whole_rate_beside_idle_ones(kernel, count):
    passed = simulate(kernel, [Device(idle) for _ in range(count - 1)] + [Device(saturating)]).rates(1, 20)
    assert passed[-1] == pytest.approx(RATE, rel=0.01)
    assert passed[:-1] == [0.0] * (count - 1)


@pytest.mark.simulated
@carries
@sizes
def test_a_modest_disk_gets_what_it_wants_and_the_others_share_the_rest(kernel, request_size, carry):
    demands = [modest(0.1), saturating, saturating]
    passed = simulate(kernel, [Device(demand, request_size, carry) for demand in demands]).rates(10, 20)
    assert passed[0] == pytest.approx(0.1 * RATE, rel=0.03)
    assert passed[1:] == pytest.approx([0.44 * RATE] * 2, rel=0.04)  # 0.11 to 0.125 is kept for the modest one


@pytest.mark.simulated
@carries
@pytest.mark.parametrize("size", [4096, 100 << 10, 700 << 10], ids=["4 KiB", "100 KiB", "700 KiB"])
def test_a_write_back_of_a_moment_takes_nothing_from_a_disk_that_is_busy(kernel, size, carry):
    """As a file system commits its journal every five seconds: that took half of the rate for a second."""
    devices = [Device(saturating, MIB, carry), Device(bursts_of(size, 5.0, 1.0), 4096, carry)]
    course = simulate(kernel, devices, 22.0)
    assert course.rates(2, 22)[0] == pytest.approx(RATE, rel=0.02)
    assert course.passed[-1][1] >= 4 * size // 4096 * 4096


@pytest.mark.simulated
@sizes
def test_one_that_begins_in_earnest_has_its_part_in_a_tenth_of_a_second(kernel, request_size):
    devices = [Device(saturating, request_size), Device(lambda now: 4 * RATE if now > 5 else 0.0, request_size)]
    course = simulate(kernel, devices, 10.0)
    assert course.rates(5.5, 6.5) == pytest.approx([RATE / 2] * 2, rel=0.1)
    assert min(change for change in course.changes if change > 5) <= 5.1 + TICK_S


@pytest.mark.simulated
def test_a_disk_that_wants_more_than_an_equal_part_leaves_the_rest(kernel):
    demands = [saturating, modest(0.08), modest(0.30)]
    passed = simulate(kernel, [Device(demand, KIB64) for demand in demands]).rates(8, 20)
    assert passed[1:] == pytest.approx([0.08 * RATE, 0.30 * RATE], rel=0.03)
    assert passed[0] == pytest.approx(0.58 * RATE, rel=0.04)


@pytest.mark.simulated
def test_a_disk_that_becomes_idle_leaves_its_part_after_a_second(kernel):
    devices = [Device(saturating, KIB64), Device(lambda now: 4 * RATE if now < 5 else 0.0, KIB64)]
    course = simulate(kernel, devices, 14.0)
    devices_stop = next(n for n, row in enumerate(course.passed) if row[1] == course.passed[-1][1]) * TICK_S
    assert course.rates(1, 5) == pytest.approx([RATE / 2] * 2, rel=0.05)
    assert course.rates(devices_stop + 1.5, 14)[0] == pytest.approx(RATE, rel=0.02)


MIXTURES: dict[str, list[Callable[[float], float]]] = {
    "8 saturating": [saturating] * 8,
    "modest and saturating": [saturating] * 2 + [modest(0.2)] * 2 + [idle] * 4,
    "bursts of 8 MiB": [bursts_of(8 * MIB, 1.0, n / 8) for n in range(8)],
    "bursts at once": [bursts_of(8 * MIB, 1.0)] * 8,
    "bursts beside one that saturates": [saturating] + [bursts_of(8 * MIB, 2.0, n / 4) for n in range(7)],
    "in turns": [lambda now: 4 * RATE if int(now) % 2 else 0.0, lambda now: 0.0 if int(now) % 2 else 4 * RATE],
    "in long turns": [on_and_off(6, 0.5), lambda now: 4 * RATE - on_and_off(6, 0.5)(now)],
    "all on and off": [on_and_off(1, 0.3)] * 4,
    "some on and off": [saturating] + [on_and_off(5, 0.1)] * 3,
}


@pytest.mark.simulated
@carries
@sizes
@pytest.mark.parametrize("mixture", MIXTURES)
def test_in_the_long_run_no_more_passes_than_the_rate(kernel, mixture, request_size, carry):
    course = simulate(kernel, [Device(demand, request_size, carry) for demand in MIXTURES[mixture]], 24.0)
    assert sum(course.rates(8, 24)) <= RATE * 1.02
    assert max(sum(course.rates(begin, begin + 4)) for begin in range(4, 20)) <= RATE * 1.08


@pytest.mark.simulated
@carries
@pytest.mark.parametrize(("rate", "count"), [(1e6, 8), (2e6, 4), (10e6, 8)])
def test_slow_disks_keep_to_the_rate_although_a_request_takes_longer_than_a_tick(kernel, rate, count, carry):
    """Measured on Linux 6.18, O_DIRECT: 2.15 times the rate passed at 2 MB/s and 4 disks when use was averaged over
    150 ms only, for a disk between two requests looked idle."""
    course = simulate(kernel, [Device(saturating, MIB, carry) for _ in range(count)], 80.0, rate)
    assert sum(course.rates(20, 80)) == pytest.approx(rate, rel=0.04)
    assert [disk.wanted for disk in course.host.disks["write"]] == [HUNGRY] * count
    devices = [Device(saturating, MIB, carry)] + [Device(idle) for _ in range(count - 1)]
    assert sum(simulate(kernel, devices, 80.0, rate).rates(20, 80)) == pytest.approx(rate, rel=0.02)


@pytest.mark.simulated
@carries
@pytest.mark.parametrize(
    ("mixture", "least"),
    [
        ("8 saturating", 0.98),
        ("modest and saturating", 0.88),  # more is kept for the modest than they use
        ("in long turns", 0.8),  # a second of every three is for who has just ended
        ("bursts beside one that saturates", 0.55),  # who bursts keeps its part for a second
    ],
)
def test_what_the_host_has_is_used_when_there_is_demand(kernel, mixture, least, carry):
    course = simulate(kernel, [Device(demand, MIB, carry) for demand in MIXTURES[mixture]], 32.0)
    assert sum(course.rates(8, 32)) >= RATE * least


def test_reads_and_writes_are_apart(kernel):
    host = simulate(kernel, [Device(saturating), Device(idle)]).host
    assert [disk.wanted for disk in host.disks["read"]] == [None, None]
    assert [disk.wanted for disk in host.disks["write"]] == [HUNGRY, None]
    assert [disk.limit for disk in host.disks["read"]] == [RATE, RATE]


# The files


def test_limits_are_written_a_line_each_lower_ones_first(kernel):
    diskshare._apply("read", [(disk(1), 30e6), (disk(2), None), (disk(3), 0.2), (disk(4), 20e6)])
    file = "/cg/blkio.throttle.read_bps_device"
    lines = ["7:2 0\n", "7:3 1\n", "7:4 20000000\n", "7:1 30000000\n"]
    assert kernel.written == [(file, line) for line in lines]


def test_loading_sets_the_rate_at_once_and_watches_hosts_with_several_disks(kernel, tmp_path):
    hosts = [
        {"rate": 60e6, "disks": [disk(0), disk(1)]},
        {"rate": 60e6, "disks": [disk(2)]},
        {"rate": None, "disks": [disk(3)]},
    ]
    (tmp_path / "diskshare.json").write_text(json.dumps({"hosts": hosts}))
    watched = diskshare._load(str(tmp_path / "diskshare.json"), 0.0)
    assert [[own["name"] for own in host.own] for host in watched] == [["7:0", "7:1"]]
    for kind in ("read", "write"):
        written = [text for path, text in kernel.written if path == f"/cg/blkio.throttle.{kind}_bps_device"]
        assert written == ["7:0 60000000\n", "7:1 60000000\n", "7:2 60000000\n", "7:3 0\n"]


def test_the_program_ends_with_its_file(tmp_path):
    assert diskshare.main(str(tmp_path / "none.json")) == 0


def test_the_program_reads_its_file_again_when_it_is_replaced(kernel, tmp_path, monkeypatch):
    file = tmp_path / "diskshare.json"
    contents = iter([{"hosts": [{"rate": 2e6, "disks": [disk(0)]}]}, {"hosts": []}, None])

    def replace(seconds: float) -> None:
        content = next(contents)
        if content is None:
            file.unlink()
        else:
            (tmp_path / "new").write_text(json.dumps(content))
            (tmp_path / "new").replace(file)

    file.write_text(json.dumps({"hosts": [{"rate": 1e6, "disks": [disk(0)]}]}))
    monkeypatch.setattr("time.sleep", replace)
    assert diskshare.main(str(file)) == 0
    assert [text for path, text in kernel.written if "read" in path] == ["7:0 1000000\n", "7:0 2000000\n"]
