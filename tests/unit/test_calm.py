"""The look before each trial: what is waited for, for how long, and what never is. Time is the test's own."""

from __future__ import annotations

import pytest

from pliant.campaign import calm


class Machine:
    """Time passes as it is slept; `taken` says what part of CPU 1 is withheld at a time."""

    def __init__(self, monkeypatch, taken):
        self.now_s, self.withheld_now, self.taken = 1000.0, 0.0, taken
        monkeypatch.setattr(calm.time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(calm.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.withheld_now += seconds * self.taken(self.now_s - 1000)
        self.now_s += seconds

    def withheld_s(self):
        return {0: 0.0, 1: self.withheld_now}

    def trials(self, count, length_s=10.0):
        """Looks before so many trials; how long each took, and what was said."""
        said: list[str] = []
        waits, study = [], calm.Calm(said.append)
        for _ in range(count):
            began_s = self.now_s
            study.wait(self.withheld_s)
            waits.append(self.now_s - began_s)
            self.sleep(length_s)
        return waits, said


def test_a_calm_machine_is_only_looked_at(monkeypatch):
    waits, said = Machine(monkeypatch, lambda at_s: 0.01).trials(30)
    assert waits == pytest.approx([calm.LOOK_S] * 30)
    assert said == []


def test_neighbours_that_always_take_as_much_are_not_waited_for(monkeypatch):
    waits, said = Machine(monkeypatch, lambda at_s: 0.3).trials(30)
    assert waits == pytest.approx([calm.LOOK_S] * 30)
    assert said == []


def test_a_burst_is_waited_for_until_it_is_over(monkeypatch):
    """The ninth trial would begin at 81.6 s, in the middle of 4 s."""
    waits, said = Machine(monkeypatch, lambda at_s: 0.2 if 79.6 < at_s < 83.5 else 0.01).trials(12)
    assert [number for number, wait_s in enumerate(waits) if wait_s > 1] == [8]
    assert waits[8] == pytest.approx(83.5 - 81.6 + calm.LOOK_S, abs=calm.LOOK_S)
    (sentence,) = said
    assert "20 % of a CPU was withheld, where 1 % is usual; then 1 %" in sentence


def test_what_lasts_is_not_waited_for_to_its_end(monkeypatch):
    """After 600 s half of the CPU goes, for good: no trial waits longer than it may, and all no more than their part;
    and when it has become what is usual none waits."""
    machine = Machine(monkeypatch, lambda at_s: 0.5 if at_s > 600 else 0.01)
    waits, said = machine.trials(300)
    assert max(waits) < calm.LONGEST_S + 2 * calm.LOOK_S
    assert sum(wait_s for wait_s in waits if wait_s > 1) <= calm.PART * (machine.now_s - 1000) + 2 * calm.LOOK_S
    assert any("; then 50 %" in sentence for sentence in said)
    assert waits[-100:] == pytest.approx([calm.LOOK_S] * 100)


def test_nothing_is_looked_at_where_nothing_tells(monkeypatch):
    machine = Machine(monkeypatch, lambda at_s: 0.5)
    monkeypatch.setattr(machine, "withheld_s", dict)
    waits, said = machine.trials(20)
    assert waits == [0.0] * 20
    assert said == []
