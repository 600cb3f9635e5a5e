"""What hosts used, and what limits: on samples made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant.telemetry import usage as telemetry
from pliant.telemetry.limiting import limiting
from pliant.telemetry.samples import FORMAT, Promise, read
from pliant.telemetry.usage import HostUsage, PhaseUsage, ResourceUse, Usage, usage

PROMISE = Promise(cores=0.2, nic_bit_s=200e6, disk_byte_s=60e6, memory_bytes=1 << 30)
NIC, DISK = 25e6, 60e6
"""What that is in bytes/s."""
HOSTS = {"host1": ("server1", "client1"), "host2": ("server2", "client2")}
ROLES = {"server1": "server", "server2": "server", "client1": "client", "client2": "client"}
CORES = 2
TRAFFIC = {"node/client1/sent_bytes": 1e6}
"""Something that makes all of the time active."""

Rate = float | Callable[[float], float]


def text(counters: Mapping[str, Rate], gauges: Mapping[str, Rate] | None = None, length_s=10.0, every_s=0.2) -> str:
    """A sampler's text from 100 s on: counters that grow by so much per second, and gauges."""
    times = 100 + np.arange(0, length_s + every_s / 2, every_s)
    columns = {"time_s": times}
    for name, rate in counters.items():
        steps = [(rate(t - 100) if callable(rate) else rate) * every_s for t in times[:-1]]
        columns[name] = np.concatenate(([0], np.cumsum(steps)))
    for name, value in (gauges or {}).items():
        columns[name] = np.array([value(t - 100) if callable(value) else value for t in times])
    factors = {name: 1e-9 if name.endswith("_s") else 1.0 for name in columns}
    header = {"format": 1, "every_s": every_s, "columns": list(factors.items())}
    rows = zip(*(np.round(values / factors[name]).astype(int) for name, values in columns.items()), strict=True)
    return "\n".join([json.dumps(header), *(" ".join(map(str, row)) for row in rows), ""])


def used(counters, gauges=None, *, windows=None, promise=PROMISE, **keys) -> PhaseUsage:
    samples = read(text(counters, gauges, **keys))
    return usage(samples, {"write": windows or (100.0, 110.0)}, HOSTS, ROLES, promise).phases["write"]


def resource(name, counters, gauges=None, host="host1", **keys) -> ResourceUse:
    return used(counters, gauges, **keys).hosts[host].resources[name]


# Reading


def test_values_are_in_seconds_and_bytes():
    samples = read(
        '{"format": 1, "every_s": 0.2, "columns": [["time_s", 1e-9], ["a_s", 1e-06], ["b", 512.0]]}\n'
        "5000000000 1500000 2\n5200000000 1600000 3\n"
    )
    assert samples.every_s == 0.2
    assert samples.time_s.tolist() == pytest.approx([5.0, 5.2])
    assert {name: values.tolist() for name, values in samples.columns.items()} == {
        "a_s": pytest.approx([1.5, 1.6]),
        "b": [1024, 1536],
    }


@given(st.integers(0, 2000))
def test_whatever_was_left_of_a_text_its_complete_lines_are_read(length):
    whole = text({"a": 1e6}, {"b": 7}, length_s=3.0)
    samples = read(whole[:length])
    lines = whole[:length].count("\n")
    assert len(samples.time_s) == max(0, lines - 1)
    assert all(len(values) == len(samples.time_s) for values in samples.columns.values())
    assert samples.time_s.tolist() == read(whole).time_s[: len(samples.time_s)].tolist()


def test_a_line_that_is_broken_is_left_out():
    whole = text({"a": 1e6}).split("\n")
    broken = [*whole[:4], "12", "1 2 3", "1 2x", *whole[4:]]
    assert read("\n".join(broken)).columns["a"].tolist() == read("\n".join(whole)).columns["a"].tolist()


@pytest.mark.parametrize("header", ['{"format": 2, "every_s": 1, "columns": []}', "[]", "7", '{"columns": []}'])
def test_another_format_is_refused(header):
    with pytest.raises(ValueError, match="telemetry: format"):
        read(header + "\n")


def test_a_counter_that_begins_anew_goes_on():
    samples = read(text({"a": 0}, {"b": lambda t: 1000 + 100 * t if t < 5 else 100 * (t - 5)}))
    total = samples.total("b")
    assert total[-1] == pytest.approx(100 * 10, rel=0.03)
    assert (np.diff(total) >= 0).all()
    assert samples.total("b", "b")[-1] == 2 * total[-1]
    assert samples.total("nobody").tolist() == [0.0] * len(samples.time_s)


# Usage


def test_cpu_is_compared_with_the_hosts_cores():
    found = resource("cpu", {"host/host1/cpu_s": 0.1, "host/host2/cpu_s": 0.2, **TRAFFIC})
    assert (found.mean, found.saturated) == (0.5, 0.0)
    found = resource("cpu", {"host/host1/cpu_s": 0.1, "host/host2/cpu_s": 0.2, **TRAFFIC}, host="host2")
    assert (found.mean, found.saturated) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "column", "full", "enough"),
    [
        ("cpu", "host/host1/cpu_s", 0.2, 0.95),
        ("nic_up", "host/host1/up_bytes", NIC, 0.95),
        ("nic_down", "host/host1/down_bytes", NIC, 0.95),
        ("disk_read", "node/server1/read_bytes", DISK, 0.8),
        ("disk_write", "node/server1/written_bytes", DISK, 0.8),
    ],
)
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_a_resource_is_saturated_for_as_long_as_all_of_it_is_used(name, column, full, enough, share):
    def rate(t):
        return full if t < 10 * share else 0.5 * full

    found = resource(name, {column: rate, **TRAFFIC})
    assert found.saturated == pytest.approx(share, abs=0.05)
    assert found.mean == pytest.approx(share + 0.5 * (1 - share), abs=0.01)
    assert resource(name, {column: (enough + 0.01) * full, **TRAFFIC}).saturated == 1
    assert resource(name, {column: (enough - 0.01) * full, **TRAFFIC}).saturated == 0


def test_what_an_interval_is_off_is_averaged():
    """A quota is given out in lumps: 0.8 and 1.2 of it in turns is all of it."""
    found = resource("cpu", {"host/host1/cpu_s": lambda t: 0.2 * (0.8 if round(t * 5) % 2 else 1.2), **TRAFFIC})
    assert found.saturated == 1


@pytest.mark.parametrize(("rate", "every"), [(10e6, 4), (5e6, 8)])
def test_a_slow_disk_lets_requests_pass_in_lumps(rate, every):
    """8 MB every 0.8 s, as measured of a disk of 10 MB/s that was written to without a pause."""
    slow = replace(PROMISE, disk_byte_s=rate)
    lumps = {"node/server1/written_bytes": lambda t: 40e6 if round(t * 5) % every == 0 else 0.0, **TRAFFIC}
    found = resource("disk_write", lumps, promise=slow)
    assert found.saturated > 0.9
    assert found.mean == pytest.approx(1.0, abs=0.15)


def test_a_fast_disk_is_uneven_within_a_second():
    def rate(t):
        return 200e6 * (0.6 if round(t * 5) % 4 < 2 else 1.4)

    fast = replace(PROMISE, disk_byte_s=200e6)
    found = resource("disk_read", {"node/server1/read_bytes": rate, **TRAFFIC}, promise=fast)
    assert found.saturated == 1


def test_periods_in_which_the_quota_did_not_suffice_count():
    """Nodes that wait for each other: 0.85 of the quota is used, and it runs out in 60 of 100 periods a second."""
    counters = {"host/host1/cpu_s": 0.17, "host/host1/throttled_periods": 60.0, **TRAFFIC}
    assert resource("cpu", counters).saturated == pytest.approx(0.6, abs=0.01)
    stretched = replace(PROMISE, period_s=0.020)
    counters["host/host1/throttled_periods"] = 30.0
    assert resource("cpu", counters, promise=stretched).saturated == pytest.approx(0.6, abs=0.01)
    counters["host/host1/throttled_periods"] = 101.0  # a period at each end
    assert resource("cpu", counters).saturated == 1


@pytest.mark.parametrize("way", ["up", "down"])
def test_packets_that_wait_for_the_nic_count(way):
    counters = {f"host/host1/{way}_bytes": 0.5 * NIC, **TRAFFIC}
    queue = {f"host/host1/{way}_backlog_bytes": lambda t: 3000 if t < 4 else 0}
    assert resource(f"nic_{way}", counters, queue).saturated == pytest.approx(0.4, abs=0.03)
    other = {f"host/host2/{way}_backlog_bytes": 3000}
    assert resource(f"nic_{way}", counters, other).saturated == 0


def test_a_hosts_disk_is_the_sum_of_its_nodes_disks():
    counters = {"node/server1/written_bytes": 0.5 * DISK, "node/client1/written_bytes": 0.4 * DISK}
    counters |= {"node/server2/written_bytes": 0.1 * DISK}
    found = used(counters).hosts
    assert found["host1"].resources["disk_write"].mean == pytest.approx(0.9)
    assert found["host1"].resources["disk_write"].saturated == 1
    assert found["host2"].resources["disk_write"].mean == pytest.approx(0.1)
    assert "disk_read" not in found["host1"].resources  # nothing counts it


def test_roles_share_what_their_nodes_use():
    counters = {
        "host/host1/cpu_s": 0.2,
        "node/server1/cpu_s": 0.15,
        "node/client1/cpu_s": 0.05,
        "host/host1/up_bytes": 1e6,
        "node/server1/sent_bytes": 1e6,
        "node/client1/sent_bytes": 4e6,
        "host/host1/down_bytes": 1e6,
        "node/server1/received_bytes": 3e6,
        "node/client1/received_bytes": 1e6,
        "node/server1/read_bytes": 5e6,
        "node/server2/cpu_s": 0.2,
    }
    found = used(counters).hosts["host1"].resources
    assert found["cpu"].roles == {"server": 0.75, "client": 0.25}
    assert found["nic_up"].roles == {"server": 0.2, "client": 0.8}
    assert found["nic_down"].roles == {"server": 0.75, "client": 0.25}
    assert found["disk_read"].roles == {"server": 1.0, "client": 0.0}


def test_what_is_not_limited_is_not_compared():
    free = Promise(None, None, None)
    counters = {"host/host1/cpu_s": 0.2, "host/host1/up_bytes": 1e6, "node/server1/read_bytes": 1e6, **TRAFFIC}
    assert used(counters, promise=free).hosts["host1"].resources == {}
    assert set(used(counters).hosts["host1"].resources) == {"cpu", "nic_up", "disk_read"}


def test_memory_throttling_and_drops():
    counters = {"host/host1/throttled_s": 0.25, "host/host1/up_drops": 2.0, "host/host1/down_drops": 1.0, **TRAFFIC}
    found = used(counters, {"host/host1/memory_bytes": lambda t: 5000 - abs(t - 4) * 100}).hosts["host1"]
    assert (found.memory_peak_bytes, found.throttled_s, found.drops) == (5000, 2.5, 30)
    found = used(counters, {"host/host1/memory_bytes": lambda t: 9000 - 100 * t}, windows=(105.0, 110.0))
    assert found.hosts["host1"].memory_peak_bytes == 8500
    assert found.hosts["host1"].drops == 15


# Active time


def test_what_precedes_and_follows_the_traffic_is_left_out():
    """MPI's start takes all CPU for three seconds; then half of it is used."""
    counters = {
        "host/host1/cpu_s": lambda t: 0.2 if t < 3 else 0.1,
        "node/client1/sent_bytes": lambda t: 5e6 if 3 <= t < 9 else 1e4,
    }
    found = used(counters)
    assert (found.duration_s, found.active_s) == (10.0, pytest.approx(6.0, abs=0.21))
    cpu = found.hosts["host1"].resources["cpu"]
    assert (cpu.mean, cpu.saturated) == (pytest.approx(0.5, abs=0.03), pytest.approx(0.0, abs=0.05))


@pytest.mark.parametrize("column", ["sent_bytes", "read_bytes", "written_bytes"])
def test_traffic_is_of_links_and_disks(column):
    found = used({f"node/server2/{column}": lambda t: 1e6 if 3 <= t < 9 else 0.0, "host/host1/cpu_s": 0.2})
    assert found.active_s == pytest.approx(6.0, abs=0.21)


@pytest.mark.parametrize("column", ["sent_bytes", "read_bytes", "written_bytes"])
def test_a_pause_is_a_part_of_its_phase(column):
    found = used({f"node/server2/{column}": lambda t: 1e6 if t < 2 or t >= 8 else 0.0})
    assert found.active_s == pytest.approx(10.0)


def test_without_traffic_cpu_tells():
    counters = {"host/host2/cpu_s": lambda t: 0.2 if 4 <= t < 6 else 0.001, "node/client1/sent_bytes": 100.0}
    found = used(counters)
    assert found.active_s == pytest.approx(2.0, abs=0.21)
    assert found.hosts["host2"].resources["cpu"].mean == pytest.approx(1.0, abs=0.01)
    assert used({"host/host2/cpu_s": 0.0}).active_s == 10.0


def test_a_few_blocks_in_the_background_are_no_traffic():
    counters = {"host/host1/cpu_s": 0.2, "node/server1/read_bytes": lambda t: 250_000 if round(t * 5) == 20 else 0.0}
    assert used(counters).active_s == 10.0


def test_phases_are_apart():
    samples = read(text({"host/host1/cpu_s": lambda t: 0.2 if t < 4 else 0.05, **TRAFFIC}))
    found = usage(samples, {"write": (100.0, 104.0), "read": (104.0, 110.0)}, HOSTS, ROLES, PROMISE).phases
    assert found["write"].hosts["host1"].resources["cpu"].mean == 1.0
    assert found["read"].hosts["host1"].resources["cpu"].mean == 0.25


@pytest.mark.parametrize("length_s", [0.02, 0.2, 0.39])
def test_a_phase_shorter_than_two_intervals_is_not_judged(length_s):
    found = used({"host/host1/cpu_s": 0.2, **TRAFFIC}, windows=(103.31, 103.31 + length_s))
    assert found == PhaseUsage(pytest.approx(length_s), 0.0, {})
    assert limiting([Usage({"write": found})], "write") is None


@pytest.mark.parametrize("begin", [103.0, 103.05, 103.1, 103.19])
def test_a_phase_of_a_few_samples_is_judged_by_them(begin):
    """Nothing but the two intervals that it begins and ends in can count for what was before and after it."""
    length_s = 0.42
    counters = {
        "host/host1/cpu_s": lambda t: 0.2 if 3 <= round(t, 3) < 3.6 else 0.0,
        "host/host2/cpu_s": lambda t: 0.0 if 3 <= round(t, 3) < 3.6 else 0.2,
        **TRAFFIC,
    }
    found = used(counters, windows=(begin, begin + length_s))
    assert (found.duration_s, found.active_s) == (length_s, length_s)
    cpu, other = (found.hosts[host].resources["cpu"] for host in ("host1", "host2"))
    assert (cpu.mean, cpu.saturated) == (pytest.approx(1.0, abs=0.05), pytest.approx(1.0, abs=0.05))
    assert (other.mean, other.saturated) == (pytest.approx(0.0, abs=0.05), pytest.approx(0.0, abs=0.05))


def test_operations_that_follow_each_other_closely_are_apart():
    """Writing uses the disk and reading the NIC: what is measured around an interval stays in its operation."""
    counters = {
        "node/server1/written_bytes": lambda t: DISK if t < 0.99 else 0.0,
        "host/host1/up_bytes": lambda t: NIC if t >= 0.99 else 0.0,
        **TRAFFIC,
    }
    samples = read(text(counters))
    found = usage(samples, {"write": (100.0, 101.0), "read": (101.0, 101.5)}, HOSTS, ROLES, PROMISE)
    assert [limiting([found], name).resource for name in ("write", "read")] == ["disk_write", "nic_up"]
    for name, share in (("write", 0.0), ("read", 1.0)):
        assert found.phases[name].hosts["host1"].resources["nic_up"].saturated == share


@pytest.mark.parametrize("windows", [(10.0, 20.0), (200.0, 210.0), (105.0, 105.0)])
def test_a_phase_without_samples_has_no_hosts(windows):
    assert used(TRAFFIC, windows=windows).hosts == {}
    assert used(TRAFFIC, windows=windows).active_s == 0


def test_no_samples_at_all():
    assert usage(read(""), {"write": (0.0, 1.0)}, HOSTS, ROLES, PROMISE).phases["write"] == PhaseUsage(1.0, 0.0, {})


rates = st.lists(st.floats(0, 1.05), min_size=25, max_size=25)


@settings(max_examples=50)
@given(cpu=rates, up=rates, disk=rates, split=st.floats(0, 1), begin=st.floats(100, 103), length=st.floats(0.41, 3))
def test_shares_are_shares_whatever_is_used(cpu, up, disk, split, begin, length):
    def at(values, full):
        return lambda t: values[min(24, round(t * 5))] * full

    counters = {
        "host/host1/cpu_s": at(cpu, 0.2),
        "node/server1/cpu_s": at(cpu, 0.2 * split),
        "node/client1/cpu_s": at(cpu, 0.2 * (1 - split)),
        "host/host1/up_bytes": at(up, NIC),
        "node/server1/sent_bytes": at(up, NIC),
        "node/server1/written_bytes": at(disk, DISK),
        "host/host1/throttled_periods": at(cpu, 100),
    }
    samples = read(text(counters, {"host/host1/up_backlog_bytes": at(up, 3000)}, length_s=5.0))
    found = usage(samples, {"write": (begin, begin + length)}, HOSTS, ROLES, PROMISE)
    phase = found.phases["write"]
    assert 0 < phase.active_s <= phase.duration_s + 0.001
    for use in phase.hosts["host1"].resources.values():
        assert 0 <= use.mean <= 1.06
        assert 0 <= use.saturated <= 1
        assert not use.roles or sum(use.roles.values()) == pytest.approx(1, abs=0.0002)
    assert Usage.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_what_was_before_a_short_phase_does_not_say_when_it_was_active():
    """What is left of an interval at its beginning has the rate of what was before."""
    traffic = {"node/client1/sent_bytes": lambda t: 1e8 if t < 4.8 else 1e5}
    found = used({"host/host1/cpu_s": 0.1, **traffic}, windows=(104.75, 105.25))
    assert found.active_s == pytest.approx(0.25), "and not 0.05"


# What limits


def phase_of(hosts, active_s=5.0) -> Usage:
    """Usage of a phase "write" from host -> resource -> (mean, saturated, roles)."""
    made = {
        host: HostUsage({name: ResourceUse(*use) for name, use in resources.items()}, 0, 0.0, 0)
        for host, resources in hosts.items()
    }
    return Usage({"write": PhaseUsage(6.0, active_s, made)})


def limit(*hosts, phase="write"):
    return limiting([phase_of(each) for each in hosts], phase)


BY = {"server": 0.71, "client": 0.29}


def test_the_resource_that_was_saturated_longest_limits():
    found = limit(
        {
            "host1": {"cpu": (0.97, 0.93, BY), "nic_up": (0.5, 0.1, {})},
            "host2": {"cpu": (0.97, 0.93, BY), "nic_up": (0.9, 0.6, {})},
            "host3": {"cpu": (0.4, 0.05, {"client": 1.0}), "nic_up": (0.1, 0.0, {})},
        }
    )
    assert (found.resource, found.hosts, found.share) == ("cpu", ("host1", "host2"), 0.93)
    assert found.roles == BY
    assert (found.next.resource, found.next.hosts, found.next.share) == ("nic_up", ("host2",), 0.6)
    assert found.sentence == (
        "CPU of host1 and host2, by server (71 %) and client (29 %), saturated 93 % of the time; "
        "then NIC-up of host2, 60 %"
    )


def test_one_host_is_enough():
    others = {f"host{n}": {"cpu": (0.3, 0.05, {}), "disk_write": (0.5, 0.4, {})} for n in range(2, 9)}
    found = limit({"host1": {"cpu": (0.9, 0.8, {"server": 0.998, "client": 0.002})}, **others})
    assert found.sentence == (
        "CPU of host1, by server (100 %), saturated 80 % of the time; then disk writes of host[2-8], 40 %"
    )


def test_hosts_differ():
    found = limit(
        {"host1": {"cpu": (0.9, 0.8, {})}, "host2": {"cpu": (0.8, 0.41, {})}, "host3": {"cpu": (0.8, 0.39, {})}}
    )
    assert found.hosts == ("host1", "host2")
    assert found.sentence == "CPU of host1 and host2, saturated 41 to 80 % of the time"


def test_roles_count_by_what_their_hosts_used():
    found = limit({"host1": {"cpu": (0.9, 0.8, {"server": 1.0})}, "host2": {"cpu": (0.3, 0.6, {"client": 1.0})}})
    assert found.roles == {"server": 0.75, "client": 0.25}


def test_trials_are_averaged():
    found = limit({"host1": {"cpu": (0.9, 0.9, {})}}, {"host1": {"cpu": (0.7, 0.5, {})}})
    assert (found.share, found.mean) == (pytest.approx(0.7), pytest.approx(0.8))
    idle = phase_of({}, active_s=0.0)
    assert limiting([idle, phase_of({"host1": {"cpu": (0.7, 0.5, {})}})], "write").share == 0.5


def test_of_two_that_were_saturated_as_long_the_one_that_was_used_more():
    found = limit({"host1": {"nic_up": (0.8, 0.601, {}), "disk_read": (0.9, 0.6, {})}})
    assert (found.resource, found.next.resource) == ("disk_read", "nic_up")


def test_nothing_was_saturated():
    found = limit({"host1": {"cpu": (0.6, 0.1, BY), "disk_read": (0.1, 0.15, {})}, "host2": {"cpu": (0.62, 0.1, BY)}})
    assert (found.resource, found.hosts) == ("none", ())
    assert found.sentence == (
        "nothing was saturated for long: latency, locks or a serial program limit it; "
        "nearest was CPU of host1 and host2, used to 61 %"
    )
    never = limit({"host1": {"cpu": (0.6, 0.0, BY)}})
    assert never.sentence == (
        "nothing was saturated: latency, locks or a serial program limit it; nearest was CPU of host1, used to 60 %"
    )


@pytest.mark.parametrize(("share", "resource"), [(0.19, "none"), (0.2, "cpu")])
def test_what_is_saturated_too_short_explains_nothing(share, resource):
    found = limit({"host1": {"cpu": (0.6, share, {}), "nic_up": (0.3, 0.19, {})}})
    assert found.resource == resource
    assert "then" not in found.sentence  # what comes next explains nothing either


def test_nothing_is_known():
    assert limit() is None
    assert limit({}, {}) is None
    assert limit({"host1": {"cpu": (0.9, 0.9, {})}}, phase="read") is None
    assert limiting([phase_of({"host1": {}})], "write") is None


def test_a_limit_as_json():
    found = limit({"host1": {"cpu": (0.97, 0.93, BY), "nic_up": (0.5, 0.1, {})}}).to_json()
    assert json.loads(json.dumps(found)) == found
    assert (found["resource"], found["hosts"], found["share"], found["roles"]) == ("cpu", ["host1"], 0.93, BY)
    assert found["next"]["resource"] == "nic_up"
    assert found["sentence"].startswith("CPU of host1, by server (71 %)")


def test_columns_are_those_that_are_sampled():
    """The names here and those of the plan are the same."""
    from pliant.machine import cgroup, cgroup_v1, sampler, sampling

    groups = cgroup_v1.CgroupV1(dict.fromkeys(cgroup_v1.CONTROLLERS, cgroup.Path("/nowhere")))
    where = {"server1": 1, "client1": 1}
    plan = sampling.plan(groups, "g", hosts=1, placement=where, links=where, disks={"server1": "7:1"}, beats={}, out="")
    names = {each["name"] for kind in ("hosts", "files", "links", "queues") for each in plan[kind]}
    for own, each in telemetry._counters("host1", ["server1"]).values():
        assert {own, *each.values()} - {""} <= names
    more = ("throttled_s", "throttled_periods", "memory_bytes", "up_drops", "down_backlog_bytes")
    assert {f"host/host1/{what}" for what in more} <= names
    kinds = ("user", "nice", "system", "irq", "softirq", "idle", "iowait", "steal")
    assert {f"machine/{kind}_s" for kind in kinds} <= names
    assert {f"machine/swapped_{way}_bytes" for way in ("in", "out")} <= names
    assert sampler.FORMAT == FORMAT
