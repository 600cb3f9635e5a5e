"""The workflow `verified`: every trial on a new cluster, and no trial where anything of the last one is left."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import MIB, Running, deployed, listed, nothing_left, pliant, request, study

from pliant.machine import remains
from pliant.machine.cgroups import probe
from pliant.machine.journal import STATE, deployments
from pliant.machine.process import MARK
from pliant.results.store import Store

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def gone():
    """The traces of a deployment with a disk that was removed, as it should be."""
    with deployed([request("server1", 1, disk="/srv/disk", disk_bytes=64 * MIB), request("client1", 2)], PLACED) as up:
        traces = remains.Traces.of(up)
    assert remains.left(traces, probe()) == []
    return traces


PLACED = {"server1": 1, "client1": 2}


def test_what_a_deployment_has_is_seen_while_it_is_up():
    with deployed([request("server1", 1, disk="/srv/disk", disk_bytes=64 * MIB), request("client1", 2)], PLACED) as up:
        traces = remains.Traces.of(up)
        found = remains.left(traces, probe(), patience_s=0)
        assert len(traces.processes) >= 3
        assert len(traces.namespaces) == 2 * 5 + 1
        assert len(traces.disks) == 1
        for word in ("process ", " in a node's net:[", "mount ", "loop device ", "control group ", "files in "):
            assert any(word in each for each in found), word
    assert remains.left(traces, probe()) == []
    assert "control groups, links and files were looked for" in traces.sentence


@contextlib.contextmanager
def process(traces: remains.Traces):
    environ = {**os.environ, MARK: traces.id}
    with subprocess.Popen(["sleep", "60"], env=environ) as sleeping:
        yield f"process {sleeping.pid} (sleep)"
        sleeping.kill()


@contextlib.contextmanager
def mount(traces: remains.Traces):
    place = Path(traces.directory, "nodes")
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "planted", str(place)], check=True)
    yield f"mount {place}"
    subprocess.run(["umount", str(place)], check=True)
    shutil.rmtree(traces.directory)


@contextlib.contextmanager
def file(traces: remains.Traces):
    Path(traces.directory).mkdir()
    Path(traces.directory, "left").touch()
    yield f"files in {traces.directory}"
    shutil.rmtree(traces.directory)


@contextlib.contextmanager
def loop(traces: remains.Traces):
    image = Path(traces.directory, "disks/server1.img")
    image.parent.mkdir(parents=True)
    image.write_bytes(bytes(MIB))
    argv = ["losetup", "--find", "--show", str(image)]
    device = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
    yield f"loop device {device} on {image}"
    subprocess.run(["losetup", "--detach", device], check=True)
    shutil.rmtree(traces.directory)


@contextlib.contextmanager
def group(traces: remains.Traces):
    cgroups = probe()
    cgroups.make(f"pliant-{traces.id}")
    yield f"control group pliant-{traces.id}"
    cgroups.remove(f"pliant-{traces.id}")


@contextlib.contextmanager
def link(traces: remains.Traces):
    subprocess.run(["ip", "link", "add", "node-7", "type", "bridge"], check=True)
    yield "link node-7"
    subprocess.run(["ip", "link", "delete", "node-7"], check=True)


@pytest.mark.parametrize("planted", [process, mount, file, loop, group, link])
def test_what_was_left_is_found(gone, planted):
    assert remains.left(gone, probe()) == []
    with planted(gone) as what:
        found = remains.left(gone, probe(), patience_s=0)
        assert any(what in each for each in found), found
    assert remains.left(gone, probe()) == []


def test_a_namespace_that_somebody_holds_is_found():
    with deployed([request("client1", 1)], {"client1": 1}) as up:
        traces = remains.Traces.of(up)
        held = os.open(f"/proc/{up.nodes['client1'].pid}/ns/net", os.O_RDONLY)
    try:
        found = remains.left(traces, probe(), patience_s=0.5)
        assert any(each.startswith("net:[") and f"held open by process {os.getpid()}" in each for each in found), found
    finally:
        os.close(held)
    assert remains.left(traces, probe()) == []


def test_a_number_that_the_kernel_gave_to_somebody_elses_namespace_is_not_taken_for_the_nodes():
    with deployed([request("client1", 1)], {"client1": 1}) as up:
        traces = remains.Traces.of(up)
    with contextlib.ExitStack() as others:
        given: set[str] = set()
        while not given & traces.namespaces:
            assert len(given) < 500, "no number was given again"
            other = others.enter_context(subprocess.Popen(["unshare", "--mount", "--", "sleep", "60"]))
            others.callback(other.kill)
            given.add(of_its_own(other.pid))
        assert remains.left(traces, probe(), patience_s=0.5) == []


def of_its_own(pid: int) -> str:
    """The mount namespace of a process, as soon as it is not this one's."""
    own = Path("/proc/self/ns/mnt").readlink()
    while (name := Path(f"/proc/{pid}/ns/mnt").readlink()) == own:
        time.sleep(0.005)
    return str(name)


@pytest.mark.paired
def test_every_trial_is_on_a_cluster_of_its_own_and_says_what_was_proved(tmp_path):
    out = tmp_path / "out"
    done = pliant("run", study(tmp_path, clients=2), "--workflow", "verified", "--output", out)
    assert done.returncode == 0, done.stderr
    with Store.open(out) as store:
        trials, (info,) = [trial for trial in store.trials() if trial.state == "done"], store.infos()
    assert info.workflow == "verified"
    assert len(trials) == 2
    ids = set()
    for trial in trials:
        reset, new, data = trial.proved
        assert reset.startswith("nothing is left of ")
        assert new.startswith("deployed anew as ")
        assert data.startswith(
            "4 files of 256 KiB that each of 2 clients wrote were read by another client as they were"
        )
        ids |= {reset.split()[4].rstrip(":"), new.split()[3].rstrip(",")}
    assert len(ids) == 3, "one to calibrate, and one for each trial"
    assert listed() == []
    recorded = json.loads((out / trials[0].directory / "trial.json").read_text())
    assert recorded["trial"]["proved"] == list(trials[0].proved)


PLANT = """
import os, sys, time
directory, mark = sys.argv[1:]
os.nice(-20)  # it has to be there within the milliseconds between the removal and the look
while os.path.exists(directory):
    time.sleep(0.0003)
os.execvpe("sleep", ["sleep", "120"], {**os.environ, "PLIANT_ID": mark})
"""


def test_a_process_that_appears_behind_a_reset_stops_the_run(tmp_path, machine):
    out = tmp_path / "out"
    with Running(study(tmp_path, workflow="verified"), out) as running:
        running.until("calibrate")
        own = [each for each in deployments() if (o := each.owner()) is not None and o.pid == running.process.pid]
        planted = subprocess.Popen([sys.executable, "-c", PLANT, str(STATE / own[0].id), own[0].id])
        try:
            assert running.wait() == 1
        finally:
            planted.kill()
            planted.wait()
    last = running.said.rstrip().splitlines()[-1]
    assert last.startswith(
        f"failed: the reset is in doubt, so nothing is measured: still there of {own[0].id}: process"
    )
    assert f"{planted.pid} (sleep)" in last
    with Store.open(out) as store:
        assert store.trials() == []
    nothing_left(machine)
