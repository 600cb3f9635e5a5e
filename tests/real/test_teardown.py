"""Nothing is left: a run is killed at random moments, and `pliant down` removes it from its journal alone."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import (
    IOR,
    PLIANT,
    Running,
    alone,
    background,
    deployed,
    listed,
    nothing_left,
    pliant,
    python,
    remove,
    request,
    study,
    until,
)

from pliant.machine import teardown
from pliant.machine.cgroups import probe
from pliant.machine.journal import STATE, Journal, deployments

pytestmark = pytest.mark.real

LONG = IOR.replace("4 MiB", "48 MiB")


def own(running):
    """The journal of a run, once there is one."""
    return next((j for j in deployments() if (o := j.owner()) is not None and o.pid == running.process.pid), None)


def begun(running):
    known = {journal.id for journal in deployments()}
    until(lambda: {j.id for j in deployments()} - known or running.process.poll() is not None, "a journal", 30)


def has_said(pattern: str) -> Callable[[Running], None]:
    return lambda running: running.until(pattern)


# What is waited for, and how long after it the run is killed at most. At least 20 in all.
MOMENTS: list[tuple[str, Callable[[Running], None], float]] = [
    ("start", lambda running: None, 0.6),
    *[("journal", begun, 0.1)] * 4,
    *[("nodes", begun, 0.4)] * 5,
    *[("daemons", has_said("deploy: glusterd"), 1.6)] * 3,
    ("pool", has_said("deploy: pool"), 0.2),
    *[("volume", has_said("deploy: volume"), 0.5)] * 2,
    ("mount", has_said("deploy: mount"), 0.2),
    ("verify", has_said("deploy: check that it works"), 0.1),
    *[("trial", has_said("deployed 2 nodes"), 2.0)] * 4,
    *[("removal", has_said("remove the cluster"), 0.15)] * 2,
]


def rounds():
    """The moments, shuffled, each with when exactly, whether the process group is killed, and how it is removed."""
    chance = random.Random(20)
    order = chance.sample(MOMENTS, len(MOMENTS))
    for number, (name, wait, within_s) in enumerate(order):
        yield pytest.param(
            wait, chance.uniform(0, within_s), bool(number % 3 == 0), bool(number % 2), id=f"{number + 1}-{name}"
        )


@pytest.mark.together
@pytest.mark.parametrize(("wait", "after_s", "group", "everything"), list(rounds()))
def test_after_a_kill_all_of_a_run_can_be_removed(tmp_path, machine, wait, after_s, group, everything):
    with Running(study(tmp_path), tmp_path / "out") as running:
        wait(running)
        time.sleep(after_s)
        running.kill(group)
        shown = listed()
        assert [each["state"] for each in shown] in ([], ["stale"])
        remove([each["id"] for each in shown], everything=everything)
    nothing_left(machine, 5)
    assert listed() == []


def test_there_are_enough_rounds():
    assert len(MOMENTS) >= 20


@pytest.mark.paired
def test_what_a_killed_run_had_measured_can_be_judged(tmp_path, machine):
    out = tmp_path / "out"
    with Running(study(tmp_path, workloads=LONG), out) as running:
        running.until(r"\[1/2\]")
        time.sleep(0.5)
        running.kill()
        assert pliant("down", listed()[0]["id"]).returncode == 0
    nothing_left(machine)
    report = pliant("report", out)
    assert report.returncode == 0, report.stderr
    assert "1 trial never ended" in report.stdout


@pytest.mark.paired
def test_another_run_can_start_while_the_remains_of_one_are_there(tmp_path, machine):
    with Running(study(tmp_path), tmp_path / "killed") as running:
        running.until("deployed 2 nodes")
        running.kill()
        (stale,) = listed()
        done = pliant("run", study(tmp_path), "--quiet", "--output", tmp_path / "out")
        assert done.returncode == 0, done.stderr
        assert [each["id"] for each in listed()] == [stale["id"]]
        assert pliant("down", stale["id"]).returncode == 0
    nothing_left(machine)


@pytest.mark.paired
def test_removing_a_living_run_ends_it_and_keeps_its_results(tmp_path, machine):
    out = tmp_path / "out"
    with Running(study(tmp_path, workloads=LONG), out) as running:
        running.until(r"\[1/2\]")
        time.sleep(0.5)
        (shown,) = listed()
        assert shown["state"] == "running"
        down = pliant("down", shown["id"])
        assert (down.returncode, down.stdout) == (0, f"{shown['id']} removed\n"), down.stderr
        assert running.wait(10) == 130
        assert f"judge it with: pliant report {out}" in running.said
        assert "Traceback" not in running.said
    nothing_left(machine)
    assert pliant("report", out).returncode == 0


@pytest.mark.together
def test_a_run_that_does_not_answer_is_killed_when_it_is_removed(tmp_path, machine):
    """Stopped by SIGSTOP, so that it cannot tear down by itself."""
    with Running(study(tmp_path), tmp_path / "out") as running:
        running.until("deploy: pool")
        running.process.send_signal(signal.SIGSTOP)
        journal = own(running)
        teardown.remove(journal, probe(), grace_s=1.0)
        assert running.wait(10) == -signal.SIGKILL
    nothing_left(machine)


@pytest.mark.together
def test_two_can_remove_the_same_at_once(tmp_path, machine):
    with Running(study(tmp_path), tmp_path / "out") as running:
        running.until("deployed 2 nodes")
        time.sleep(0.5)
        running.kill()
        (shown,) = listed()
        removers = [
            subprocess.Popen([PLIANT, "down", shown["id"]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(3)
        ]
        said = [(*remover.communicate(timeout=60), remover.returncode) for remover in removers]
    for out, err, status in said:
        assert "Traceback" not in err
        # Who comes when all is over hears that there is no such deployment.
        assert (status, out, err) == (0, f"{shown['id']} removed\n", "") or (
            status == 2 and f'there is no deployment "{shown["id"]}"' in err
        )
    assert any(status == 0 for *_, status in said)
    nothing_left(machine)


@pytest.mark.together
def test_removal_that_is_killed_can_be_done_again(tmp_path, machine):
    with Running(study(tmp_path), tmp_path / "out") as running:
        running.until("deployed 2 nodes")
        running.kill()
        (shown,) = listed()
        for after_s in (0.2, 0.3, 0.35, 0.4):
            remover = subprocess.Popen(
                [PLIANT, "down", shown["id"]], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            time.sleep(after_s)
            remover.kill()
            remover.wait()
            assert [each["state"] for each in listed()] in ([], ["stale"])
        remove([each["id"] for each in listed()])
    nothing_left(machine)


@pytest.mark.together
def test_removing_where_nothing_is_up(machine):
    assert listed() == []
    if alone():
        down = pliant("down", "--all")
        assert (down.returncode, down.stdout, down.stderr) == (0, "nothing is up\n", "")
    down = pliant("down", "beef")
    assert (down.returncode, down.stdout) == (2, "")
    assert down.stderr.startswith('there is no deployment "beef"; up: ')
    if not deployments():
        down = pliant("down")
        assert (down.returncode, down.stderr) == (2, "no deployment is up; start one with `pliant up STUDY`\n")


@pytest.mark.parametrize("name", ["../etc", "..", "", "/", "beef/..", "BEEF", "-"])
def test_a_name_that_is_no_id_removes_nothing(name):
    assert Path("/etc/passwd").exists()
    down = pliant("down", name)
    assert down.returncode == 2
    assert len(down.stderr.strip().splitlines()) == 1
    assert Path("/etc/passwd").exists()


@pytest.mark.parametrize(("signed", "everything"), [(False, False), (True, False), (True, True)])
def test_what_is_left_of_control_groups_alone_is_shown_and_removed(machine, signed, everything):
    cgroups = probe()
    for group in ("pliant-dead", "pliant-dead/host-1"):
        cgroups.make(group)
    if signed:
        cgroups.sign("pliant-dead", Journal("dead").whose)
    assert [each["id"] for each in listed()] == ["dead"]
    remove(["dead"], everything=everything)
    assert "pliant-dead" not in cgroups.groups()
    assert not STATE.exists() or not (STATE / "dead").exists()


STUCK = """
import ctypes, os, struct, sys, threading
place = sys.argv[1]
os.makedirs(place)
device = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
said = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
assert libc.mount(b"stuck", place.encode(), b"fuse.stuck", 0, said) == 0, os.strerror(ctypes.get_errno())
# FUSE_INIT is answered, nothing after it: who looks at the mount waits for this process, its own thread as well.
unique = struct.unpack_from("<Q", os.read(device, 1 << 17), 8)[0]
os.write(device, struct.pack("<IiQ 4I 2H 2I 2H 8I", 80, 0, unique, 7, 31, 0, 0, 1, 1, 4096, 1, *[0] * 10))
threading.Thread(target=lambda: os.path.exists(f"{place}/name"), daemon=True).start()
os.read(device, 1 << 17)
print("stuck", flush=True)
threading.Event().wait()
"""


@pytest.mark.together
@pytest.mark.parametrize("how", ["removed", "killed before", "crashed"])
def test_a_fuse_client_that_waits_for_itself_does_not_hold_up_the_removal(how, tmp_path):
    log = tmp_path / "log"
    with (
        deployed([request("client1", 1)], {"client1": 1}) as up,
        background(up, "client1", python(STUCK, "/mnt/stuck"), log),
    ):
        until(lambda: "stuck" in log.read_text(), "it waits")
        began = time.monotonic()
        if how == "killed before":
            up.execute("client1", ["sh", "-c", "kill -9 -1"], timeout_s=10)
            time.sleep(0.2)
        if how == "crashed":
            up.crash("client1")
        up.remove()
        assert time.monotonic() - began < 4
