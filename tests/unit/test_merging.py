"""Samples of hosts whose clocks differ, as one machine's."""

from __future__ import annotations

import json

import pytest

from pliant.platforms.merging import Sampled, merged

COLUMNS = [["time_s", 1e-6], ["host/host1/cpu_s", 1e-9], ["machine/lost_s", 1.0]]


def sampled(ahead_s: float, *rows: tuple[float, int, int]) -> Sampled:
    header = json.dumps({"format": 1, "every_s": 0.1, "columns": COLUMNS})
    lines = [f"{round((time_s + ahead_s) * 1e6)} {used} {lost}" for time_s, used, lost in rows]
    return Sampled("\n".join([header, *lines, ""]), ahead_s)


def table(text: str) -> tuple[list[str], list[list[int]]]:
    header, *lines = text.splitlines()
    return [name for name, _ in json.loads(header)["columns"]], [list(map(int, line.split())) for line in lines]


def test_moments_of_all_hosts_are_this_machine_s():
    first = sampled(0.0, (10.0, 0, 0), (10.1, 100, 1), (10.2, 200, 2), (10.3, 300, 3))
    other = sampled(5000.0, (9.95, 1000, 10), (10.15, 3000, 10), (10.35, 5000, 30))
    names, rows = table(merged({1: first, 2: other}))
    assert names == ["time_s", "host/host1/cpu_s", "machine/lost_s", "host/host2/cpu_s"]
    assert [row[0] for row in rows] == [10_000_000, 10_100_000, 10_200_000, 10_300_000]
    assert [row[1] for row in rows] == [0, 100, 200, 300]
    assert [row[3] for row in rows] == [1500, 2500, 3500, 4500]


def test_only_moments_that_all_hosts_know_are_told():
    early, late = sampled(-0.5, (1.0, 1, 0), (2.0, 2, 0)), sampled(7.0, (1.5, 5, 0), (2.5, 6, 0))
    _, rows = table(merged({1: early, 2: late}))
    assert rows and all(1.5e6 <= row[0] <= 2e6 for row in rows)


@pytest.mark.parametrize("text", ["", json.dumps({"format": 1, "every_s": 0.1, "columns": COLUMNS}) + "\n"])
def test_a_host_without_samples_is_left_out(text):
    one = sampled(0.0, (1.0, 1, 0), (2.0, 2, 0))
    assert table(merged({1: one, 2: Sampled(text, 3.0)})) == table(merged({1: one}))
    assert merged({1: Sampled(text, 0.0)}) == ""
