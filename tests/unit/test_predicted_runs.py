"""Predictions held against real runs that were recorded: how far off they may be, and that intervals are honest."""

from __future__ import annotations

from statistics import median

import pytest
from benchmarks.predicted import CONFIDENCES, recorded, same, tell


@pytest.fixture(scope="module")
def runs():
    return recorded()


def test_three_file_systems_were_recorded(runs):
    assert {run.info.filesystem for run in runs} == {"glusterfs", "moosefs", "cephfs"}
    assert len(runs) >= 10 and all(run.measured[0] == 1 and len(run.measured) >= 3 for run in runs)


@pytest.mark.simulated
def test_other_ratios_are_predicted_from_the_two_smallest(runs):
    compared, broken = same(runs)
    assert len(compared) > 100
    assert median(one.error for one in compared) <= 0.10
    near = sum(abs(one.measured - one.predicted) <= 1 for one in broken)
    assert near / len(broken) >= 0.9
    inside = [sum(one.within[at] for one in compared) / len(compared) for at in range(len(CONFIDENCES))]
    assert all(found >= told - 0.05 for told, found in zip(CONFIDENCES, inside, strict=True)), inside


@pytest.mark.simulated
def test_the_command_says_all_of_it(runs):
    text = "\n".join(tell(runs[:2], each=True))
    assert "right or one step off" in text and "100,000 nodes" in text and "of what was measured" in text
