"""Hosts that a real Slurm and a real OAR lend, whose jobs, front ends and users do not do as they should."""

from __future__ import annotations

import re
import signal
import sys
import time
from pathlib import Path

import pytest
import support
from benchmarks.chaos import IMPATIENT
from box import failing, studies, user
from box import oar as oar_box
from box import slurm as slurm_box
from box.hosts import box

from pliant.campaign import reservations
from pliant.schedulers.interface import Scheduler, Wish
from pliant.schedulers.oar import Oar
from pliant.schedulers.slurm import Slurm
from pliant.schedulers.waiting import wait

pytestmark = pytest.mark.real

FRONTS = {"slurm": "head", "oar": "front"}
NODES = ("node1", "node2")
SECONDS = 3.125


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with box(tmp_path_factory.mktemp("box"), [*FRONTS.values(), *NODES]) as hosts:
        user.add(hosts, *FRONTS.values())
        managed = slurm_box.start(hosts, FRONTS["slurm"], NODES)
        lent = oar_box.start(hosts, FRONTS["oar"], NODES)
        yield hosts, {"slurm": Slurm(managed.front), "oar": Oar(lent.front)}


@pytest.fixture
def one(cluster, kind) -> Scheduler:
    return cluster[1][kind]


@pytest.fixture
def file(cluster, kind, tmp_path, monkeypatch) -> Path:
    """A study; pliant looks at its jobs more often than it usually does."""
    script = tmp_path / "pliant"
    script.write_text(f"#!{sys.executable}\n{IMPATIENT}")
    script.chmod(0o755)
    monkeypatch.setattr(support, "PLIANT", str(script))
    platform = f'kind = "{kind}"\nfront = "{FRONTS[kind]}"\nwalltime = "30 min"\nssh_config = "{cluster[0].config}"'
    path = tmp_path / "study.toml"
    path.write_text(studies.study(platform, name=f"jobs{kind}", seconds=SECONDS))
    return path


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    left = failing.all_gone()
    failing.clear()
    lent = reservations.known()
    for each in lent:
        each.release()
    assert (left, lent) == ([], [])


def job_of(running: support.Running) -> str:
    found = re.search(r"job (\d+)", running.said)
    assert found is not None
    return found[1]


def ends(file: Path, *said: str) -> None:
    """The same command goes on, to the end."""
    done = support.pliant("run", file, "--output", file.parent / "run")
    assert done.returncode == 0, done.stderr
    assert all(re.search(each, done.stderr) for each in said), done.stderr


@pytest.mark.parametrize(("kind", "when"), [("oar", "deploy: hosts and nodes"), ("slurm", "look at hosts: NIC")])
def test_a_job_that_is_deleted_ends_the_run_in_a_sentence_and_it_goes_on_in_another(one, file, when):
    with support.Running(file, file.parent / "run") as running:
        running.until(when)
        job = job_of(running)
        one.release(job)
        assert running.wait(60) == 1
    sentence = running.said[running.said.rindex("failed: ") :]
    again = "what was measured is kept, and the same command goes on in another reservation"
    assert re.fullmatch(rf"failed: job {job}, which lends the hosts, has ended: .*; {again}\n", sentence)
    assert failing.all_gone() == [] and reservations.known() == []
    if when == "look at hosts: NIC":
        ends(file)


@pytest.mark.parametrize("kind", ["oar"])
def test_a_run_that_is_killed_while_it_waits_or_measures_is_found_again(one, file):
    other = one.submit(Wish("pliant-other", 1, 600))
    wait(one, other, time.time() + 30)
    with support.Running(file, file.parent / "run") as running:
        running.until(r"job \d+ waits")
        job = job_of(running)
        running.kill()
    one.release(other)
    with support.Running(file, file.parent / "run") as running:
        running.until(f"go on with job {job}, which an earlier run of this study has reserved")
        running.until(r"look at hosts: NIC")
        running.kill()
    ends(file, f"go on with job {job}", f"release job {job}")
    assert one.look(job).state == "ended"


@pytest.mark.parametrize(("kind", "number"), [("slurm", signal.SIGINT), ("oar", signal.SIGTERM)])
def test_who_interrupts_a_run_that_waits_has_no_job_left(one, file, number):
    other = one.submit(Wish("pliant-other", 2, 600))
    try:
        wait(one, other, time.time() + 30)
        with support.Running(file, file.parent / "run") as running:
            running.until(r"job \d+ waits")
            running.process.send_signal(number)
            assert running.wait(30) == 130
        assert running.said.rstrip().endswith("interrupted")
        assert one.look(job_of(running)).state == "ended"
    finally:
        one.release(other)


@pytest.mark.parametrize("kind", ["slurm"])
def test_a_front_end_that_does_not_answer_at_the_release_is_told_with_the_command(cluster, one, file, kind):
    hosts = cluster[0]
    with support.Running(file, file.parent / "run") as running:
        running.until(r"\[1/2\]")
        failing.stop_sshd(hosts, FRONTS[kind])
        try:
            assert running.wait(90) == 1
        finally:
            hosts.start_sshd(FRONTS[kind])
            hosts.answers(FRONTS[kind])
            hosts.daemons[FRONTS[kind]].insert(0, hosts.daemons[FRONTS[kind]].pop())
    job = job_of(running)
    command = re.escape(" ".join(one.release_command(job)))
    assert re.search(
        rf"failed: the front end .* cannot be reached: .*; the reservation is ended by: {command}\n", running.said
    )
    (left,) = reservations.known()
    assert left.job == job and not left.alive
    left.release()
    assert one.look(job).state == "ended" and reservations.known() == []
