"""What several hosts' samplers wrote, as one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pliant.platforms.merging import Sampled, merged
from pliant.telemetry.samples import read


def sampled(begin_s: float, *, ahead_s: float = 0.0, count: int = 11, used_s: float = 0.5, node: str = "a") -> Sampled:
    """A host that uses `used_s` of CPU a second, from a moment of this machine's clock on; samples each 0.2 s."""
    columns = [
        ["time_s", 1e-9],
        ["host/host1/cpu_s", 1e-9],
        ["host/host1/withheld_cpu0_s", 1e-9],
        [f"node/{node}/cpu_s", 1e-9],
        ["machine/idle_s", 0.01],
    ]
    lines = [json.dumps({"format": 1, "every_s": 0.2, "columns": columns})]
    for number in range(count):
        since_s = 0.2 * number
        values = (1e9 * (begin_s + ahead_s + since_s), 1e9 * used_s * since_s, 0, 1e9 * used_s * since_s, 100 * since_s)
        lines.append(" ".join(str(round(value)) for value in values))
    return Sampled("\n".join([*lines, ""]), ahead_s)


def test_hosts_have_their_numbers_and_this_machines_clock():
    text = merged({1: sampled(100.0, node="a"), 2: sampled(100.05, ahead_s=5000.0, used_s=0.25, node="b")})
    samples = read(text)
    assert samples.time_s[0] == pytest.approx(100.2, abs=1e-5)  # from when all hosts were sampled
    assert samples.time_s[-1] <= 102.0
    rates = {
        name: np.diff(values) / np.diff(samples.time_s) for name, values in samples.columns.items() if "cpu_s" in name
    }
    assert rates["host/host1/cpu_s"] == pytest.approx(0.5, rel=1e-4)
    assert rates["host/host2/cpu_s"] == pytest.approx(0.25, rel=1e-4)
    assert rates["node/b/cpu_s"] == pytest.approx(0.25, rel=1e-4)


def test_machines_are_added_up_and_their_cpus_told_apart():
    samples = read(merged({1: sampled(100.0), 2: sampled(100.0)}))
    idle = np.diff(samples.columns["machine/idle_s"]) / np.diff(samples.time_s)
    assert idle == pytest.approx(2.0, rel=1e-4)
    assert {"host/host1/withheld_host1-cpu0_s", "host/host2/withheld_host2-cpu0_s"} <= set(samples.columns)


def test_a_host_without_samples_does_not_hide_the_others():
    header = json.dumps({"format": 1, "every_s": 0.2, "columns": [["time_s", 1e-9]]})
    for empty in ("", f"{header}\n"):
        samples = read(merged({1: Sampled(empty, 0.0), 2: sampled(100.0)}))
        assert len(samples.time_s) == 11
    assert merged({1: Sampled("", 0.0)}) == ""


def test_a_torn_last_line_is_left_out():
    whole = sampled(100.0)
    samples = read(merged({1: Sampled(whole.text[:-20], 0.0)}))
    assert len(samples.time_s) == 10
