"""What hosts are promised against what the machine has."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.machine.deployment import HostFigures
from pliant.machine.facts import Facts
from pliant.platforms import budget as emulated
from pliant.platforms.budget import Budget, budget, overdrawn
from pliant.study.tables import HostTable
from pliant.units import parse_size

GIB = 2**30
MIB = 2**20
MACHINE = Facts(True, 2, 8 * GIB, 40 * GIB, "v1", "", True, True, True, "6.1", "Debian", "a CPU")
HOST = HostFigures(0.2, 200e6, 60e6, GIB)
SEEN = "(see `pliant ps`)"
SMALLER = "fold a smaller cluster, or end other deployments"


def judge(
    hosts: int = 8,
    disks: int = 4,
    disk_bytes: int = 4 * GIB,
    up: tuple[Budget, ...] = (),
    machine: Facts = MACHINE,
    **figures,
) -> dict[str, str]:
    return dict(overdrawn(replace(HOST, **figures), hosts, disks, disk_bytes, machine, up))


def test_a_budget_is_what_all_hosts_get():
    assert budget(HOST, 8, 4, GIB) == Budget(1.6, 8 * GIB, 4 * GIB)


@pytest.mark.parametrize(
    "fits",
    [
        {},
        {"cores": 0.25},  # exactly all of it
        {"hosts": 10, "cores": 0.1 + 0.1, "memory_bytes": MIB},
        {"hosts": 2, "cores": 0.3, "up": (Budget(0.7, 0, 0), Budget(0.7, 0, 0))},  # 2 - 1.4 is a little less than 0.6
        {"hosts": 3, "up": (Budget(0.8, 0, 0, {"0": 0.4, "1": 0.4}),)},
        {"hosts": 3, "cores": 1.2, "machine": replace(MACHINE, cores=4)},
        {"memory_bytes": GIB},
        {"disk_bytes": 10 * GIB},
        {"disks": 0, "disk_bytes": 1000 * GIB},
        {"hosts": 4, "up": (Budget(1.0, 3 * GIB, 0),)},
        {"hosts": 2, "up": (Budget(0.8, GIB, GIB), Budget(0.8, GIB, GIB))},
    ],
)
def test_what_fits(fits):
    assert judge(**fits) == {}


@pytest.mark.parametrize(
    ("asked", "key", "sentence"),
    [
        (
            {"cores": 0.3},
            "cores",
            "8 hosts of 0.3 cores are 2.4, and this machine has 2; the largest value that fits is 0.25",
        ),
        (
            {"hosts": 7, "cores": 0.3},
            "cores",
            "7 hosts of 0.3 cores are 2.1, and this machine has 2; the largest value that fits is 0.25",
        ),
        (
            {"hosts": 3, "cores": 0.6},
            "cores",
            "3 hosts of 0.6 cores are 1.8, each on one CPU, and of 2 CPUs one would have 1.2; "
            "the largest value that fits is 0.5",
        ),
        (
            {"hosts": 2, "cores": 0.6, "up": (Budget(0.5, 0, 0, {"0": 0.5}),)},
            "cores",
            "2 hosts of 0.6 cores are 1.2, each on one CPU, and of 2 CPUs one would have 1.1 beside 1 other deployment "
            f"{SEEN}; the largest value that fits is 0.5",
        ),
        (
            {"hosts": 100, "cores": 1.0, "memory_bytes": 64 * MIB, "machine": replace(MACHINE, cores=29)},
            "cores",
            "100 hosts of 1 cores are 100, and this machine has 29; the largest value that fits is 0.25",
        ),
        (
            {"hosts": 250, "cores": 0.1, "memory_bytes": MIB},
            "cores",
            f"250 hosts of 0.1 cores are 25, and this machine has 2; {SMALLER}",
        ),
        (
            {"hosts": 4, "up": (Budget(1.4, 0, 0),)},
            "cores",
            "4 hosts of 0.2 cores are 0.8, and this machine has 0.6 beside 1 other deployment "
            f"{SEEN}; "
            "the largest value that fits is 0.15",
        ),
        (
            {"hosts": 4, "up": (Budget(1.4, 0, 0), Budget(1.6, 0, 0))},
            "cores",
            f"4 hosts of 0.2 cores are 0.8, and this machine has 0 beside 2 other deployments {SEEN}; {SMALLER}",
        ),
        (
            {"memory_bytes": 2 * GIB},
            "memory",
            '8 hosts of 2 GiB are 16 GiB, and this machine has 8 GiB; the largest value that fits is "1024 MiB"',
        ),
        (
            {"up": (Budget(0, 4 * GIB, 0),)},
            "memory",
            f"8 hosts of 1 GiB are 8 GiB, and this machine has 4 GiB beside 1 other deployment {SEEN}; "
            'the largest value that fits is "512 MiB"',
        ),
        (
            {"up": (Budget(0, 8 * GIB - 100 * MIB, 0),)},
            "memory",
            f"8 hosts of 1 GiB are 8 GiB, and this machine has 100 MiB beside 1 other deployment {SEEN}; {SMALLER}",
        ),
        (
            {"disk_bytes": 11 * GIB},
            "disk_size",
            '4 disks of 11 GiB are 44 GiB, and 40 GiB are free; the largest value that fits is "10240 MiB"',
        ),
        (
            {"up": (Budget(0, 0, 50 * GIB),)},
            "disk_size",
            f"4 disks of 4 GiB are 16 GiB, and 0 B are free beside 1 other deployment {SEEN}; {SMALLER}",
        ),
    ],
)
def test_what_does_not_fit(asked, key, sentence):
    assert judge(**asked) == {f"platform.host.{key}": sentence}


def test_all_that_does_not_fit_is_said_at_once():
    found = judge(cores=1, memory_bytes=2 * GIB, disk_bytes=100 * GIB)
    assert list(found) == ["platform.host.cores", "platform.host.memory", "platform.host.disk_size"]


def test_the_least_values_are_those_of_a_study():
    cores = HostTable.model_fields["cores"].metadata
    assert any(getattr(bound, "ge", None) == emulated.MIN_CORES for bound in cores)
    table = {"cores": 1, "nic": "1 Gbit/s", "disk": "1 GB/s"}
    least = f"{emulated.MIN_BYTES // MIB} MiB"
    assert HostTable.model_validate(table | {"memory": least, "disk_size": least}).memory == emulated.MIN_BYTES
    for key in ("memory", "disk_size"):
        with pytest.raises(ValueError, match="is too small"):
            HostTable.model_validate(table | {"memory": "1 GiB", key: f"{emulated.MIN_BYTES // MIB - 1} MiB"})


budgets = st.lists(
    st.builds(Budget, st.integers(0, 800).map(lambda c: c / 100), st.integers(0, 2**36), st.integers(0, 2**40)),
    max_size=3,
).map(tuple)
machines = st.builds(
    lambda cores, memory, disk: replace(MACHINE, cores=cores, memory_bytes=memory, free_disk_bytes=disk),
    st.integers(1, 256),
    st.integers(2**30, 2**40),
    st.integers(2**30, 2**44),
)


@given(st.integers(1, 400), st.integers(1, 400), machines, budgets)
def test_the_value_that_is_named_fits_and_the_next_larger_does_not(hosts, disks, machine, up):
    huge = {"cores": 1e6, "memory_bytes": 2**60, "disk_bytes": 2**60}
    found = judge(hosts, disks, machine=machine, up=up, **huge)
    assert len(found) == 3
    for key, name in (("cores", "cores"), ("memory", "memory_bytes"), ("disk_size", "disk_bytes")):
        sentence = found[f"platform.host.{key}"]
        tiny = {"cores": 0.0, "memory_bytes": 0, "disk_bytes": 0}
        named = re.search(r'fits is "?([\d.]+)( MiB)?"?$', sentence)
        if named is None:
            assert sentence.endswith(SMALLER)
            least = emulated.MIN_CORES if key == "cores" else emulated.MIN_BYTES
            assert judge(hosts, disks, machine=machine, up=up, **tiny | {name: least}).keys() >= {
                f"platform.host.{key}"
            }
            continue
        value = float(named[1]) if key == "cores" else parse_size(f"{named[1]} MiB")
        more = value + (0.01 if key == "cores" else MIB)
        assert f"platform.host.{key}" not in judge(hosts, disks, machine=machine, up=up, **tiny | {name: value})
        assert f"platform.host.{key}" in judge(hosts, disks, machine=machine, up=up, **tiny | {name: more})
