"""Whether a host's CPU is shared fairly, by numbers."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pliant.platforms.fairness import Shared

FAIR = Shared("host1", {"a1": 1.02, "b1": 0.99, "c1": 0.99}, 0.2, 1, "d1", (0.005, 0.02, 0.04), 0.04)


def test_what_is_fair():
    assert FAIR.off == {}
    assert not FAIR.late
    assert FAIR.sentence == (
        "CPU of host1 shared among 3 busy nodes, 0.99 to 1.02 of their due; "
        "who wakes beside them waits 5 / 20 / 40 ms (median, 90 %, longest)"
    )
    assert json.loads(json.dumps(FAIR.to_json()))["parts"] == {"a1": 1.02, "b1": 0.99, "c1": 0.99}


@pytest.mark.parametrize(
    ("change", "off"),
    [
        ({"parts": {"a1": 1.0, "b1": 1.08}}, {"b1": 0.08}),  # 5 %, and two turns of 2 ms in 0.2 s
        ({"parts": {"a1": 1.0, "b1": 1.065}}, {}),
        ({"parts": {"a1": 1.0, "b1": 0.93}}, {}),
        ({"parts": {"a1": 1.0, "b1": 0.92}}, {"b1": -0.08}),
        ({"parts": {"a1": 2.0, "b1": 0.0}}, {"a1": 1.0, "b1": -1.0}),
        ({"parts": {"a1": 1.0, "b1": 0.92}, "daemons": 0.05}, {}),  # a daemon's turns come between
        ({"parts": {"a1": 1.57, "b1": 0.71, "c1": 0.72}, "cpus": 2}, {}),  # as on two CPUs of a real machine
        ({"parts": {"a1": 2.0, "b1": 0.4}, "cpus": 2}, {"b1": -0.6}),
        ({"parts": {"a1": 1.05, "b1": 1.1, "u1": 0.84, "u2": 0.87}, "own_kernels": ("u1", "u2")}, {}),
        # Each is held to its kind, and kinds to each other.
        ({"parts": {"a1": 0.96, "b1": 1.2, "u1": 0.84}, "own_kernels": ("u1",)}, {"a1": -1 / 9, "b1": 1 / 9}),
        ({"parts": {"a1": 1.2, "b1": 1.2, "u1": 0.6}, "own_kernels": ("u1",)}, {"u1": -0.4}),
        ({"parts": {"u1": 1.1, "u2": 0.9}, "own_kernels": ("u1", "u2")}, {"u1": 0.1, "u2": -0.1}),
    ],
)
def test_who_got_too_much_or_too_little(change, off):
    assert replace(FAIR, **change).off == pytest.approx(off)


def test_who_waits_too_long():
    assert not replace(FAIR, waits_s=(0.005, 0.059, 0.5)).late
    assert replace(FAIR, waits_s=(0.005, 0.061, 0.5)).late


def test_complaints_name_the_node_and_a_remedy():
    starved = replace(FAIR, parts={"a1": 1.98, "b1": 1.02, "c1": 0.0})
    assert starved.complaint.startswith("CPU of host1 is not shared fairly: c1 got 0 % of its due; end what else runs")
    late = replace(FAIR, waits_s=(0.1, 0.2, 0.3))
    assert late.complaint.startswith("d1 waits too long for the CPU of host1: one time in ten over 200 ms, where 40 ms")
