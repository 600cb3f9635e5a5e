"""What a node's own kernel loses, as told by what is looked at from time to time."""

from __future__ import annotations

import pytest

from pliant.machine import watchdog


@pytest.mark.parametrize(
    ("states", "more_s"),
    [
        ([1, 1, 1, 1, 1], [0, 0, 0, 1.5, 0.5]),  # what was so for long enough counts from its beginning
        ([1, 1, 2, 2, 2, 2, 3], [0, 0, 0, 0, 0, 1.5, 0]),
        ([None] * 6, [0] * 6),
        ([1, 1, None, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1.5]),
    ],
)
def test_only_what_stays_as_it_is_for_long_counts(monkeypatch, states, more_s):
    now_s, left = [100.0], list(states)
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now_s[0])
    lasting = watchdog.Lasting(lambda: left.pop(0), 1.25)
    for expected in more_s:
        assert lasting.more_s() == pytest.approx(expected)
        now_s[0] += 0.5


@pytest.mark.parametrize(
    ("stats", "more_s"),
    [
        (["9 0 0 0 4 0 0 0 1 0 0"] * 4, [0, 0, 2, 1]),  # a request, and nothing is answered
        (["9 0 0 0 4 0 0 0 0 0 0"] * 4, [0] * 4),  # none
        ([f"9 0 0 0 {number} 0 0 0 1 0 0" for number in range(4)], [0] * 4),  # each second one is
    ],
)
def test_a_disk_that_does_not_answer(monkeypatch, tmp_path, stats, more_s):
    now_s, left = [5.0], [stat.encode() for stat in stats]
    monkeypatch.setattr(watchdog.time, "monotonic", lambda: now_s[0])
    monkeypatch.setattr(watchdog.os, "open", lambda *_: 7)
    monkeypatch.setattr(watchdog.os, "pread", lambda *_: left.pop(0))
    disk = watchdog.Disk("ubdb")
    for expected in more_s:
        assert disk.unanswered_s() == pytest.approx(expected)
        now_s[0] += 1
