"""What the machine did to an operation, on samples made by hand, and what of it enters an analysis."""

from __future__ import annotations

import math

import pytest
from test_usage import CORES, HOSTS, NIC, PROMISE, TRAFFIC, text

from pliant.telemetry.disturbance import (
    LEAST_BEARABLE,
    SLOPES,
    bearable,
    by_metric,
    covariates,
    disturbances,
    neighbours,
)
from pliant.telemetry.samples import Promise, read
from pliant.telemetry.stalls import starved
from pliant.trial import Trial
from pliant.workloads.model import Metric

MACHINE = {
    "machine/user_s": 0.3,
    "machine/system_s": 0.2,
    "machine/idle_s": 1.5,
    "machine/steal_s": 0.0,
    "machine/swapped_in_bytes": 0.0,
    "machine/swapped_out_bytes": 0.0,
    "host/host1/cpu_s": 0.1,
    "host/host2/cpu_s": 0.1,
    **TRAFFIC,
}
HELD_BACK = {"host/host1/throttled_periods": 100.0}
"""All periods of a second."""
BEATS = {"host/host1/withheld_cpu0_s": 0.0, "host/host2/withheld_cpu1_s": 0.0}
WRITE = {"write": (100.0, 110.0)}


def did(counters=None, *, windows=None, promise=PROMISE, cores=CORES, samples=None, **keys):
    samples = read(text({**MACHINE, **(counters or {})}, **keys)) if samples is None else samples
    (found,) = disturbances(samples, windows or WRITE, HOSTS, promise, cores).values()
    return found


def reason(*args, zone=0.05, **keys) -> str:
    return did(*args, **keys).refused(bearable(zone))


BUSY_NIC = {f"host/host{host}/up_bytes": NIC for host in (1, 2)}
"""Nothing but the NIC limits."""


def test_a_quiet_machine_does_nothing():
    found = did()
    assert (found.limited, found.stolen, found.withheld, found.lost, found.refused(0.01)) == (1.0, 0.0, 0.0, 0.0, "")


# What enters the analysis


def test_cpu_can_limit_what_neither_a_nic_nor_a_disk_does_and_what_it_holds_back():
    early = {name: (lambda t: NIC if t < 5 else 0.0) for name in BUSY_NIC}
    assert did(BUSY_NIC).limited == 0.0
    assert did({**BUSY_NIC, **HELD_BACK}).limited == pytest.approx(1.0)
    assert did(early).limited == pytest.approx(0.5, abs=0.06)
    assert did({**BUSY_NIC, **HELD_BACK}, promise=Promise(None, 200e6, 60e6)).limited == 1.0


def test_late_beats_say_for_how_long_a_host_had_no_cpu_while_it_could_limit():
    late = {"host/host1/withheld_cpu0_s": lambda t: 0.3 if t < 5 else 0.0}
    assert did({**BEATS, **late}).withheld == pytest.approx(0.15, abs=0.01)
    throttled = {"host/host1/throttled_periods": lambda t: 100.0 if t < 5 else 0.0}
    assert did({**BEATS, **BUSY_NIC, **late, **throttled}).withheld == pytest.approx(0.3, abs=0.02)
    assert did({**BEATS, **BUSY_NIC, **late}).withheld == 0.0


def test_a_host_on_several_cpus_has_the_mean_of_them_and_the_worst_host_counts():
    beats = {"host/host1/withheld_cpu0_s": 0.1, "host/host1/withheld_cpu1_s": 0.3, "host/host2/withheld_cpu2_s": 0.05}
    assert did(beats).withheld == pytest.approx(0.2)


def test_what_the_hypervisor_took_is_a_share_of_what_was_asked_for():
    assert did({"machine/steal_s": 0.125}).stolen == pytest.approx(0.2)
    assert did({**BUSY_NIC, "machine/steal_s": 0.125}).stolen == 0.0
    early = {"machine/steal_s": lambda t: 0.5 if t < 4 else 0.0}
    assert did(early, windows={"write": (104.5, 109.0)}).stolen == pytest.approx(0, abs=0.01)


def test_a_probe_says_what_a_second_is_worth():
    assert did({"machine/probe_s": 0.002, "machine/probes": 5.0}).second_s == pytest.approx(0.0004)
    assert did().second_s == 0.0


def trial(number, state="done", **about) -> Trial:
    usual = {"limited": 1.0, "stolen": 0.0, "withheld": 0.0, "second_s": 0.0, "lost": 0.0, "refused": ""}
    return Trial(number, "w", 1.0, 1, 1, 1, state, "", disturbance={"x": usual | about})


def test_covariates_are_logs_weighted_by_how_much_cpu_limited():
    trials = [trial(1, stolen=0.1), trial(2, limited=0.5, withheld=0.1), trial(3, limited=0.0, stolen=0.1)]
    found = covariates(trials, "x")
    logs = [-math.log(0.9), -math.log(0.9) / 2, 0.0]
    assert [found[number][0] / SLOPES[0] for number in (1, 2, 3)] == pytest.approx(logs)
    seconds = [trial(number, second_s=second) for number, second in enumerate((0.001, 0.0011, 0.0012), 1)]
    assert [work / SLOPES[1] for _, work in covariates(seconds, "x").values()] == pytest.approx(
        [math.log(10 / 11), 0.0, math.log(12 / 11)]
    )


def test_only_what_counts_has_covariates():
    trials = [trial(1), trial(2, "invalid"), trial(3, refused="the machine swapped 20 MiB"), trial(4, "censored")]
    assert set(covariates(trials, "x")) == {1, 4}
    assert covariates(trials, "y") == {}
    assert [each.counts("x") for each in trials] == [True, False, False, True]
    assert trials[2].counts("y")


def test_what_neighbours_took_is_told_if_it_matters():
    trials = [trial(1, stolen=0.04), trial(2, stolen=0.17), trial(3, withheld=0.05), trial(4, "invalid", stolen=0.9)]
    assert neighbours(trials).startswith("this machine has neighbours: they took 4 to 17 % of its CPU in the first 4")
    assert neighbours([trial(1, stolen=0.17, limited=0.05)] * 3) == ""
    assert neighbours([trial(1), trial(2)]) == neighbours([]) == ""


# What does not


def test_more_than_a_part_of_the_zone_is_not_borne():
    assert bearable(0.05) == 0.025 and bearable(0.0) == LEAST_BEARABLE
    swapping = {"machine/swapped_in_bytes": 0.02 * 20e6}
    assert reason(swapping, zone=0.05) == "" and reason(swapping, zone=0.02) == "the machine swapped 4 MiB"


def test_so_much_may_be_withheld_that_nothing_is_left_to_correct():
    much = {**BEATS, "host/host1/withheld_cpu0_s": 0.3}
    assert reason(much) == "the hypervisor, or a program of higher priority, withheld 30 % of the CPU from hosts"
    assert reason({**BUSY_NIC, **much}) == ""
    stolen = {"machine/steal_s": 0.5 * 2 / 3}
    assert "40 %" in reason(stolen)
    # What is mostly idle is stolen from at each wake-up; the metronome knows for how long CPUs were not there.
    assert reason({**stolen, **BEATS, "host/host1/withheld_cpu0_s": 0.05}) == ""


@pytest.mark.parametrize("way", ["in", "out"])
def test_swapping(way):
    assert reason({f"machine/swapped_{way}_bytes": 2 * 2**20}) == "the machine swapped 20 MiB"
    assert reason({f"machine/swapped_{way}_bytes": 2**16}) == ""


EXHAUSTED = {"machine/user_s": 0.2, "machine/system_s": 0.1, "machine/idle_s": 0.0}


def test_no_idle_cpu_while_a_host_lacks_its_budget():
    found = did({**EXHAUSTED, "host/host1/cpu_s": 0.2})
    assert found.lost == pytest.approx(0.5, abs=0.01)
    assert found.refused(0.025) == "the machine had no idle CPU, and host2 had not got its own: up to 50 % of it"


@pytest.mark.parametrize(
    "counters",
    [
        {"host/host1/cpu_s": 0.2, "host/host2/cpu_s": 0.2},  # busy because of the hosts: they got what was promised
        {"host/host1/cpu_s": 0.2, "host/host2/cpu_s": 0.01},  # the other wanted nothing
        {"host/host1/throttled_periods": 60.0, "host/host2/throttled_periods": 60.0},  # held back by the quota itself
        {"machine/idle_s": 0.07},
        {"machine/idle_s": 0.0, "machine/iowait_s": 0.2},  # idle as well, while something waits for a disk
        {"machine/idle_s": lambda t: 1.5 if t > 0.25 else 0.0},  # a moment only
    ],
)
def test_a_busy_machine_that_keeps_its_promises_is_fine(counters):
    assert reason({**EXHAUSTED, **counters}) == ""


def test_with_a_metronome_a_full_cpu_holds_its_hosts_back_and_what_they_lack_is_what_was_withheld():
    found = did({**EXHAUSTED, **BEATS, **BUSY_NIC, "host/host1/withheld_cpu0_s": 0.85})
    assert (found.limited, found.lost) == (1.0, 0.0)
    assert found.withheld == pytest.approx(0.85)
    # Others have what hosts do not want, and no more.
    assert did({**EXHAUSTED, **BEATS, **BUSY_NIC, "machine/user_s": 1.7}).limited == 0.0
    # A host that does hardly anything does not wait.
    idle = {"host/host1/withheld_cpu0_s": 0.95, "host/host1/cpu_s": 0.01}
    assert did({**BEATS, **BUSY_NIC, **idle}).limited == 0.0


def test_less_than_a_tick_is_not_idle():
    assert reason({**EXHAUSTED, "machine/idle_s": 0.05}) != ""


def test_exhaustion_of_a_part_of_the_time():
    late = {"machine/idle_s": lambda t: 1.5 if t < 8 else 0.0}
    assert did({**EXHAUSTED, **late}).lost == pytest.approx(0.1, abs=0.01)
    assert did({**EXHAUSTED, **late}, windows={"write": (100.0, 107.5)}).lost == 0.0


def test_a_greater_machine_needs_more_idle_cpu():
    idle = {"machine/idle_s": 0.5}
    assert reason({**EXHAUSTED, **idle}, cores=2) == ""
    assert reason({**EXHAUSTED, **idle}, cores=64) != ""


def test_without_a_promise_of_cpu_nothing_is_lacking():
    assert reason(EXHAUSTED, promise=Promise(None, 200e6, 60e6)) == ""


def test_a_machine_that_stood_still():
    whole = text(MACHINE).split("\n")
    samples = read("\n".join([*whole[:30], *whole[41:]]))
    assert reason(samples=samples) == "the machine did not let telemetry run: no sample for 2.4 s"
    assert did(samples=samples).lost == pytest.approx(0.24)
    assert reason(samples=read("\n".join([*whole[:30], *whole[32:]]))) == ""
    assert reason(samples=read("")).endswith("no sample for 10.0 s")  # the sampler was killed
    assert reason(length_s=5.0).endswith("no sample for 5.0 s")


def test_what_a_nodes_own_kernel_lost():
    dropped = {"node/server1/lost_packets": 1.0, "node/client1/lost_packets": 0.0}
    assert reason(dropped) == "server1's own kernel lost 10 packets"
    assert did(dropped).lost == pytest.approx(0.2, rel=0.05)  # each is sent again after 0.2 s
    assert reason({"node/client1/asleep_s": 0.5}) == "client1's own kernel slept for 5.0 s over what had come"
    assert reason({"node/server1/lost_packets": 0.01}) == ""
    killed = {"node/server1/own_killed": lambda t: 5.0 if 4 <= t < 4.2 else 0.0}
    assert reason(killed) == "server1's own kernel killed processes, its memory used up"
    assert reason({"node/server1/own_killed": 0.0}) == ""


def test_what_is_too_short_for_telemetry_is_left_out():
    late = {"write": (120.0, 120.5)}
    assert disturbances(read(text(MACHINE)), late, HOSTS, PROMISE, CORES) == {}


# Metrics


def test_each_metric_is_judged_by_its_own_operation():
    windows = {"write": (100.0, 105.0), "read": (105.0, 110.0)}
    swapping = {"machine/swapped_in_bytes": lambda t: 2 * 2**20 if t >= 5 else 0.0}
    known = disturbances(read(text(MACHINE | swapping)), windows, HOSTS, PROMISE, CORES)
    metrics = [Metric(name, "MiB/s", "higher", name) for name in ("read", "write", "stat")]
    found = by_metric(metrics, known, windows)
    assert {name: bool(each.refused(0.025)) for name, each in found.items()} == {"read": True, "write": False}


# Starving


def test_nodes_that_starved_are_named_the_one_that_did_so_longest_first():
    samples = read(text({**MACHINE, "node/a1/starved_s": 1.0, "node/b1/starved_s": 0.5, "node/c1/starved_s": 0.0}))
    windows = {"write": (100.0, 105.0), "read": (106.0, 110.0)}
    assert starved(samples, windows) == "a1 wanted a CPU and got none for 9 s (and b1 for less)"
    assert starved(samples, {"write": (100.0, 100.5)}) == ""
    assert starved(read(text(MACHINE)), windows) == ""
