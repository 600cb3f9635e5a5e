"""How a folded host's CPU is shared among its nodes, for real."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.thief import thieves
from support import FIGURES, deployed, out, python, request

from pliant.campaign.calm import FEWEST, LONGEST_S, Calm
from pliant.machine import metronome
from pliant.machine.process import MARK, marked
from pliant.platforms import fairness
from pliant.telemetry.disturbance import disturbances
from pliant.telemetry.samples import Promise, read

pytestmark = pytest.mark.real

NODES = [f"n{number}" for number in range(1, 6)]


@pytest.fixture(scope="module")
def five():
    """Five nodes on hosts of their own."""
    requests = [request(name, number) for number, name in enumerate(NODES, 1)]
    spread = {name: number for number, name in enumerate(NODES, 1)}
    with deployed(requests, spread, replace(FIGURES, cores=0.2)) as deployment:
        yield deployment


def metronomes(deployment) -> list[int]:
    found = marked(MARK, deployment.id)
    return [pid for pid in found if metronome.__file__ in Path(f"/proc/{pid}/cmdline").read_text().split("\0")]


def test_busy_nodes_of_one_host_get_their_due_and_one_that_wakes_its_turn(five):
    before = dict(five.placed)
    shared = fairness.measure(five, dict.fromkeys(NODES, 1))
    assert (shared.host, sorted(shared.parts), shared.waked) == ("host1", NODES[:4], "n5")
    assert not shared.off
    assert not shared.late
    assert five.placed == before
    assert five.limits == frozenset()


def test_a_host_is_kept_on_as_many_cpus_as_it_has_cores_while_it_is_limited(five):
    see = python("import os; print(sorted(os.sched_getaffinity(0)))")
    everywhere = str(sorted(os.sched_getaffinity(0)))
    assert out(five, "n1", *see).strip() == everywhere
    five.limit(["cpu"])
    try:
        assert {out(five, name, *see).strip() for name in NODES} == {f"[{cpu}]" for cpu in os.sched_getaffinity(0)}
    finally:
        five.limit(False)
    assert out(five, "n1", *see).strip() == everywhere


def test_the_metronome_beats_while_cpu_is_limited_and_no_longer(five):
    def beats() -> int:
        """Times that its processes were given a CPU in half a second."""

        def switches() -> int:
            return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[2]) for pid in pids)

        began = switches()
        time.sleep(0.5)
        return switches() - began

    pids = metronomes(five)
    assert len(pids) == len(os.sched_getaffinity(0))
    assert {os.sched_getscheduler(pid) for pid in pids} == {os.SCHED_FIFO}
    five.limit(["cpu"])
    try:
        time.sleep(0.1)
        assert beats() > 250 * len(pids)
    finally:
        five.limit(False)
    time.sleep(0.1)
    assert beats() < 50 * len(pids)


def test_what_a_thief_takes_is_seen_as_withheld(five, tmp_path):
    """From the host that was held back by its CPU meanwhile; without the thief it is hardly anything."""
    promise = Promise(0.2, None, None)
    busy = python("import time\nend = time.time() + 3\nwhile time.time() < end: pass")
    withheld = []
    five.limit(["cpu"])
    try:
        for share in (0.0, 0.2):
            with five.telemetry(tmp_path / f"samples-{share}"), thieves(share):
                time.sleep(0.3)
                began = time.monotonic()
                out(five, "n1", *busy)
                window = {"busy": (began, time.monotonic())}
                time.sleep(0.3)
            samples = read((tmp_path / f"samples-{share}").read_text())
            (found,) = disturbances(samples, window, {"host1": ["n1"]}, promise, os.cpu_count()).values()
            assert found.limited == 1.0
            assert 10e-6 < found.second_s < 50e-3
            withheld.append(found.withheld)
    finally:
        five.limit(False)
    # A fifth, without the first tenth of a millisecond of each burst; the machine's own neighbours take what they do.
    assert withheld[1] - withheld[0] > 0.1


def test_a_burst_of_a_thief_is_waited_for(five, monkeypatch):
    """One that begins after the run has seen what is usual, and ends 2 s later."""
    said: list[str] = []
    five.limit(["cpu"])
    try:
        calm = Calm(said.append)
        for _ in range(FEWEST + 1):
            calm.wait(five.withheld_s)
        monkeypatch.setattr(calm, "_began_s", time.monotonic() - 600)
        said.clear()
        with ThreadPoolExecutor(1) as pool:
            with thieves(0.5):
                time.sleep(0.3)
                waits = pool.submit(calm.wait, five.withheld_s)
                time.sleep(2)
                assert not waits.done()
            waits.result(LONGEST_S + 5)
        assert "for a moment of calm" in said[0]
    finally:
        five.limit(False)
