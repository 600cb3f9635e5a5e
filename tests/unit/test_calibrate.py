"""The program that asks a host for what it has, where that needs no host."""

from __future__ import annotations

import time

from pliant.machine import calibrate


def test_who_starts_too_late_measures_nothing(capsys):
    assert calibrate.main("cpu", repr(time.time() - 0.01), "1.0") == 0
    assert capsys.readouterr().out == f"{calibrate.LATE}\n"


def test_a_process_that_never_waits_gets_a_core(capsys):
    assert calibrate.main("cpu", repr(time.time() + 0.05), "0.2") == 0
    assert 0 < float(capsys.readouterr().out) < 1.05
