"""What becomes of promises: measured before a study, watched in each trial, kept beside other deployments."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.thief import thieves
from support import FIGURES, MBIT, MIB, deployed, out, python, request
from test_fidelity import SPIN

from pliant.campaign import engine
from pliant.campaign.preparation import prepare
from pliant.cluster.cluster import Cluster
from pliant.errors import FatalError, TrialError
from pliant.machine.deployment import Deployment
from pliant.platforms.calibration import calibrate_hosts
from pliant.results.artefacts import Artefacts
from pliant.study.reading import parse

pytestmark = pytest.mark.real

DISK = "/mnt/disk"
STUDY = """
[study]
name = "promises"
search = "grid"
repetitions = 1
[platform]
kind = "emulated"
[platform.host]
cores = 0.35
nic = "200 Mbit/s"
disk = "60 MB/s"
memory = "1 GiB"
disk_size = "1 GiB"
[filesystem]
kind = "glusterfs"
roles = { server = 1, client = 1 }
[fold]
ratios = [1]
[[workload]]
kind = "mdtest"
files_per_rank = 400
"""


@pytest.fixture(scope="module")
def three():
    """Three hosts with a node each, two of them with a disk."""
    requests = [
        request("a1", 1, disk=DISK, disk_bytes=512 * MIB),
        request("b1", 2, disk=DISK, disk_bytes=512 * MIB),
        request("c1", 3),
    ]
    with deployed(requests, {"a1": 1, "b1": 2, "c1": 3}, replace(FIGURES, cores=0.3)) as deployment:
        yield deployment


def test_every_host_delivers_what_it_was_promised(three):
    found = calibrate_hosts(three, {"a1": DISK, "b1": DISK})
    assert [each.resource for each in found] == ["cpu", "nic", "disk_write", "disk_read"]
    assert [set(each.hosts) for each in found] == [
        {"host1", "host2", "host3"},
        {"host1 to host2", "host2 to host3", "host3 to host1"},
        {"host1", "host2"},
        {"host1", "host2"},
    ]
    for each in found:
        assert not each.off
        for measured in each.hosts.values():
            assert measured == pytest.approx(each.promised, rel=0.05)
    assert three.limits == frozenset()
    assert out(three, "a1", "ls", "-A", DISK).split() == ["lost+found"]


def test_a_host_that_does_not_get_its_cpu_is_named(three):
    named = r"promise: CPU of host[123]: 0\.\d+ cores of 0\.3 cores, \d+ % less"
    with thieves(0.9), pytest.raises(FatalError, match=named):
        calibrate_hosts(three, {})
    assert three.limits == frozenset()


def test_a_limit_that_does_not_hold_is_named(three, monkeypatch):
    """The disk's limit is left off: a host that delivers more than it has is no better."""
    monkeypatch.setattr(Deployment, "share_disks", lambda self: None)
    with pytest.raises(FatalError, match=r"disk, writing, of host[12]: .* more than promised.*does not hold the limit"):
        calibrate_hosts(three, {"a1": DISK, "b1": DISK})


class Listener:
    """Lets others take the machine during the first trial."""

    def __init__(self):
        self.stack = contextlib.ExitStack()
        self.notes = []

    def starts(self, directory, infos, trials):
        pass

    def doing(self, what):
        pass

    def begins(self, trial, number, total, left_s):
        if trial.number == 1:
            self.stack.enter_context(thieves(0.9))

    def lasts(self, trial, lasted_s, expected_s, left_s):
        pass

    def ended(self, trial, number, total, left_s):
        self.stack.close()

    def note(self, text):
        self.notes.append(text)


def test_a_trial_during_which_the_machine_ran_out_is_not_valid_and_is_repeated(tmp_path):
    from pliant.report.writing import write_report
    from pliant.results.store import Store

    listener = Listener()
    with listener.stack:
        engine.run(prepare(parse(STUDY, "promises.toml")), tmp_path / "run", listener, Artefacts(tmp_path / "store"))
    with Store.open(tmp_path / "run") as store:
        trials = store.trials()
    assert [(trial.number, trial.attempt, trial.state) for trial in trials] == [(1, 1, "invalid"), (2, 2, "done")]
    assert "withheld" in trials[0].reason or "did not let telemetry run" in trials[0].reason
    assert any("delivers what it was promised" in note for note in listener.notes)
    assert not [note for note in listener.notes if "again" in note]  # the cluster is not to blame
    write_report(tmp_path / "run")
    verdict = json.loads((tmp_path / "run/verdict.json").read_text())
    counted = {ratio["trials"] for each in verdict["verdicts"] for ratio in each["ratios"]}
    assert counted == {1}
    assert "CPU 0." in verdict["facts"]["calibration"]


# Several at once


def test_a_second_deployment_leaves_the_first_its_cpu(three):
    """While it is made, without limits on its hosts, it may take what the first was not promised, and no more."""
    three.limit(["cpu"])
    shares = []

    def measure():
        for _ in range(3):
            shares.append(float(out(three, "a1", *python(SPIN, 1.5), timeout_s=60)))

    thread = threading.Thread(target=measure)
    thread.start()
    try:
        while thread.is_alive():
            requests = [request(f"n{number}", number) for number in range(1, 9)]
            with deployed(
                requests, {f"n{number}": number for number in range(1, 9)}, replace(FIGURES, cores=0.1)
            ) as two:
                busy = "import time\nend = time.time() + 1\nwhile time.time() < end: pass"
                burning = [two.popen(f"n{n}", python(busy), two.journal.directory / "log") for n in range(1, 9)]
                for process in burning:
                    process.wait(60)
    finally:
        thread.join()
        three.limit(False)
    assert max(shares) <= 0.3 * 1.05
    assert sorted(shares)[1] == pytest.approx(0.3, rel=0.05)


def test_the_page_cache_is_not_emptied_while_another_study_measures(three):
    cluster = Cluster.__new__(Cluster)
    cluster.deployment = three
    with cluster.undisturbed():
        began = time.monotonic()
        with pytest.raises(TrialError, match="another study"):
            cluster.drop_caches(timeout_s=0.3)
        assert time.monotonic() - began >= 0.3
        with cluster.undisturbed(timeout_s=0.3):  # two may measure
            pass
    cluster.drop_caches(timeout_s=5)


def test_telemetry_ends_with_what_it_watches(three, tmp_path):
    with three.telemetry(tmp_path / "samples"):
        pids = [
            int(p.name)
            for p in Path("/proc").glob("[0-9]*")
            if str(three.journal.directory).encode() in _command(p.name)
        ]
        pids = [pid for pid in pids if b"sampler.py" in _command(pid)]
        assert len(pids) == 1
        time.sleep(0.5)
    assert not Path(f"/proc/{pids[0]}").exists()
    assert len((tmp_path / "samples").read_text().splitlines()) >= 3
    with pytest.raises(RuntimeError), three.telemetry(tmp_path / "more"):
        os.kill(next(c.pid for c in three._children if b"sampler.json" in _command(c.pid)), signal.SIGKILL)
        raise RuntimeError
    assert three.nodes


def _command(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def test_the_grid_of_figures_is_kept(three):
    """Another kind of host: slow NIC and disk, a small share of CPU."""
    three.figures = replace(three.figures, cores=0.05, nic_bit_s=10 * MBIT, disk_byte_s=5e6)
    try:
        assert [each.off for each in calibrate_hosts(three, {"a1": DISK})] == [{}, {}, {}, {}]
    finally:
        three.figures = replace(FIGURES, cores=0.3)
