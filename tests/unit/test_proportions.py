"""Real hosts scaled down to what a machine can carry, and results scaled back up."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.machine.cpus import most_cores
from pliant.machine.deployment import HostFigures
from pliant.machine.facts import Facts
from pliant.platforms.budget import host_figures, overdrawn
from pliant.proportions import (
    DAEMONS_BYTES,
    MIN_BYTES,
    PROMISED,
    Host,
    auto_scale,
    emulated,
    largest_scale,
    rescaled,
    rounded_up,
    too_small,
)
from pliant.study.tables import HostTable

GIB, MIB = 2**30, 2**20
REAL = Host(32, 10e9, 480e6, 192 * GIB)
MACHINE = Facts(True, 2, 24 * GIB, 400 * GIB, "v1", "", True, True, True, "6.1", "Debian", "a CPU")

HOSTS = st.builds(
    Host,
    st.integers(1, 256).map(float),
    st.sampled_from([1e9, 10e9, 25e9, 100e9]),
    st.floats(1e8, 7e9),
    st.integers(MIB, 4 * 2**40),
)


def table(**changes) -> HostTable:
    figures = {"cores": 32, "nic": "10 Gbit/s", "disk": "480 MB/s", "memory": "1 GiB"}
    return HostTable.model_validate({k: v for k, v in (figures | changes).items() if v is not None})


# The emulated host


def test_cpu_nic_and_disk_are_divided_and_memory_is_not():
    assert emulated(REAL, 100, 3 * GIB) == Host(0.32, 100e6, 4.8e6, 3 * GIB)
    assert emulated(REAL, 1, 3 * GIB) == replace(REAL, memory_bytes=3 * GIB)


@pytest.mark.parametrize(
    ("real_gib", "scale", "wanted"),
    [
        (192, 1, 192 * GIB),
        (192, 2, 96 * GIB),
        (192, 150, 1310 * MIB),  # 1310.7, in whole MiB
        (192, 384, 512 * MIB),
        (192, 5000, 512 * MIB),
        (0.25, 1, 256 * MIB),
        (0.25, 100, 256 * MIB),  # never more than the real host has
    ],
)
def test_memory_that_no_study_names(real_gib, scale, wanted):
    assert emulated(replace(REAL, memory_bytes=int(real_gib * GIB)), scale, None).memory_bytes == wanted


def test_memory_that_nobody_knows():
    with pytest.raises(ValueError):
        emulated(replace(REAL, memory_bytes=None), 2, None)


def test_words():
    assert REAL.words == "32 cores, 10 Gbit/s each way, 480 MB/s of disk each for reads and writes, 192 GiB of memory"
    assert Host(1, 1e9, 1e8, None).words == "1 core, 1 Gbit/s each way, 100 MB/s of disk each for reads and writes"


@pytest.mark.parametrize(
    ("host", "lacking"),
    [
        (Host(0.01, 1e6, 1e6, MIB), []),
        (Host(0.0099, 1e6, 1e6, MIB), ["0.0099 cores (at least 0.01)"]),
        (Host(1, 0.5e6, 1e6, MIB), ["500 kbit/s (at least 1 Mbit/s)"]),
        (
            Host(0.001, 1e3, 1e3, MIB),
            ["0.001 cores (at least 0.01)", "1 kbit/s (at least 1 Mbit/s)", "1 kB/s of disk (at least 1 MB/s)"],
        ),
    ],
)
def test_hosts_that_are_too_small(host, lacking):
    assert too_small(host) == lacking


@given(HOSTS)
def test_the_largest_scale_leaves_enough_and_one_above_does_not(real):
    most = largest_scale(real)
    assert too_small(emulated(real, most, MIB)) == []
    assert too_small(emulated(real, most * 1.12, MIB)) != []


# "auto"


@pytest.mark.parametrize(
    ("factor", "wanted"),
    [
        (0.2, 1),
        (1, 1),
        (1.0000000001, 1),
        (1.01, 1.1),
        (1.1, 1.1),
        (9.91, 10),
        (99.2, 100),
        (140.00000001, 140),
        (142.2, 150),
        (999.99, 1000),
        (1000, 1000),
        (1001, 1100),
    ],
)
def test_two_digits_rounded_up(factor, wanted):
    assert rounded_up(factor) == wanted


@given(st.floats(0.01, 1e6))
def test_rounding_up_never_makes_less(factor):
    scale = rounded_up(factor)
    assert scale >= factor * (1 - 1e-8) and scale <= max(1.0, factor * 1.1 * (1 + 1e-8))
    assert scale == float(f"{scale:.2g}")


def test_eight_of_dahu_on_two_cores():
    assert auto_scale(REAL, None, 8, 2 / 8, 24 * GIB) == 150  # 32 x 8 / 1.8 is 142.2


def test_a_machine_as_large_as_the_cluster_scales_nothing():
    assert auto_scale(replace(REAL, cores=4), GIB, 2, 64 / 2, 512 * GIB) == 1


def test_memory_can_be_what_limits():
    assert auto_scale(REAL, None, 8, 64 / 8, 24 * GIB) == 72  # 192 x 8 / (0.9 x 24) is 71.1
    assert auto_scale(REAL, 3 * GIB, 8, 64 / 8, 24 * GIB) == rounded_up(32 * 8 / (0.9 * 64))  # it does not shrink


def fits(real: Host, scale: float, hosts: int, cores: int, memory_bytes: int) -> bool:
    slice_ = emulated(real, scale, None)
    assert slice_.memory_bytes is not None
    # Not of the slice, which is in whole MiB: one of 512.5 MiB has not reached the least that there is.
    shrinks = real.memory_bytes is not None and real.memory_bytes / scale > DAEMONS_BYTES * (1 + 1e-6)
    in_memory = not shrinks or slice_.memory_bytes * hosts <= PROMISED * memory_bytes * (1 + 1e-6)
    return slice_.cores <= PROMISED * most_cores(hosts, cores) * (1 + 1e-6) and in_memory


@given(HOSTS, st.integers(1, 200), st.integers(1, 256), st.integers(GIB, 2**42))
def test_auto_fits_and_one_step_less_would_not(real, hosts, cores, memory_bytes):
    scale = auto_scale(real, None, hosts, most_cores(hosts, cores), memory_bytes)
    assert fits(real, scale, hosts, cores, memory_bytes)
    if scale > 1:
        less = scale - 10 ** (math.floor(math.log10(scale * 0.9999)) - 1)
        # Memory is whole MiB, so that a hair below the step may fit as well.
        assert less < 1 or not fits(real, less * 0.999, hosts, cores, memory_bytes - MIB * hosts * 2)


@given(st.integers(1, 60), st.integers(1, 64))
def test_auto_is_never_overdrawn(hosts, cores):
    machine = replace(MACHINE, cores=cores, memory_bytes=128 * GIB)
    host = HostTable.model_validate({"like": "grid5000/dahu", "disk": "5 GB/s"})
    figures, scale = host_figures(host, hosts, machine)
    assert overdrawn(figures, hosts, 0, 0, machine, (), host.real) == []
    assert figures.cores * scale == pytest.approx(32)


# What a study's table becomes


def test_figures_without_a_scale_are_meant_as_they_are():
    host = table(cores=0.2)
    assert not host.scaled and host.wanted_scale == 1.0
    assert host_figures(host, 8, MACHINE) == (HostFigures(0.2, 10e9, 480e6, GIB), 1.0)


def test_figures_with_a_scale():
    assert host_figures(table(scale=100), 8, MACHINE) == (HostFigures(0.32, 100e6, 4.8e6, GIB), 100)
    assert host_figures(table(scale="auto"), 8, MACHINE)[1] == 150


def test_a_cluster_is_scaled_as_little_as_it_can_be():
    host = table(like="grid5000/dahu", cores=None, nic=None, memory=None)
    assert host.scaled and host.wanted_scale == "auto"
    figures, scale = host_figures(host, 8, MACHINE)
    assert scale == 150
    assert figures == HostFigures(32 / 150, 10e9 / 150, 480e6 / 150, 1310 * MIB)


def test_too_many_hosts_for_a_small_machine():
    sentence = (
        r"^400 hosts fit this machine only at scale 7200, which leaves each 0\.0044 cores \(at least 0\.01\) and "
    )
    with pytest.raises(ValueError, match=sentence + r"66\.7 kB/s of disk .*; fold a smaller cluster, or use a larger"):
        host_figures(table(scale="auto"), 400, MACHINE)


def test_a_scale_that_does_not_fit_names_one_that_does():
    figures, _ = host_figures(table(scale=100), 8, MACHINE)
    [(key, sentence)] = overdrawn(figures, 8, 0, 0, MACHINE, (), REAL)
    assert key == "platform.host.scale"
    assert sentence == "8 hosts of 0.32 cores are 2.56, and this machine has 2; the smallest scale that fits is 130"
    assert overdrawn(HostFigures(32 / 130, 1e7, 1e7, MIN_BYTES), 8, 0, 0, MACHINE, (), REAL) == []
    none_left = overdrawn(figures, 8, 0, 0, replace(MACHINE, cores=0), (), REAL)
    assert none_left[0][1].endswith("fold a smaller cluster, or end other deployments")


# Rescaling


@pytest.mark.parametrize(
    ("value", "unit", "wanted"),
    [
        (60.0, "MiB/s", 9000.0),
        (700.0, "op/s", 105000.0),
        (3.0, "s", 0.02),
        (30.0, "ms", 0.2),
        (12.0, "%", None),
        (4.0, "", None),
        (5.0, "MiB", None),
    ],
)
def test_rates_and_times_are_rescaled_and_nothing_else(value, unit, wanted):
    assert rescaled(value, unit, 150) == (None if wanted is None else pytest.approx(wanted))


@given(st.floats(1e-6, 1e12), st.sampled_from(["MiB/s", "op/s", "s", "ms"]), st.floats(1, 1e5))
def test_rescaling_back_and_forth(value, unit, scale):
    there = rescaled(value, unit, scale)
    assert there is not None and rescaled(there, unit, 1 / scale) == pytest.approx(value)
    assert rescaled(value, unit, 1.0) == value
