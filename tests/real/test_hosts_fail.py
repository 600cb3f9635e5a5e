"""Hosts by ssh that fail: connections cut, agents killed, power lost, leases over. Nothing stays, and it is said."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import support
from benchmarks.chaos import IMPATIENT
from box import failing, studies
from box.hosts import Box, box

from pliant.machine.parts import NodeRequest
from pliant.platforms import opening
from pliant.platforms.fleet import Fleet
from pliant.platforms.interface import CommandFailed, HostFigures, TeardownError
from pliant.platforms.ssh import Ssh, SshDeployment
from pliant.results.store import Store

pytestmark = pytest.mark.real

HOSTS = ("node1", "node2", "node3")
AT_ONCE_S = 10.0
"""What takes an impatient pliant to find out that a host says nothing any more, and a little."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with box(tmp_path_factory.mktemp("box"), HOSTS) as up:
        yield up


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    left = failing.all_gone()
    failing.clear()
    assert left == []


# Bare nodes


@pytest.fixture
def impatient(tmp_path, monkeypatch):
    """pliant finds out in seconds what hosts are lost."""
    monkeypatch.setattr("pliant.platforms.agents.ALIVE_S", 1)
    monkeypatch.setattr("pliant.platforms.fleet.CONNECT_S", 5.0)
    script = tmp_path / "pliant"
    script.write_text(f"#!{sys.executable}\n{IMPATIENT}")
    script.chmod(0o755)
    monkeypatch.setattr(support, "PLIANT", str(script))


@contextlib.contextmanager
def fleet_of(hosts: Box, names: tuple[str, ...] = ("node1", "node2")) -> Iterator[Fleet]:
    with Fleet(names, config=hosts.config) as fleet:
        fleet.connect()
        yield fleet


def begun(fleet: Fleet, *, lease_s: float = 900.0) -> SshDeployment:
    platform = Ssh(fleet, limited=False)
    platform.look()
    made = platform.new(HostFigures(2.0, 0.0, 0.0, 256 << 20), title="fails")
    made.lease_s = lease_s
    return made


def up(made: SshDeployment) -> SshDeployment:
    nodes = [NodeRequest(f"n{n}", f"10.77.1.{n}") for n, _ in enumerate(made.fleet.hosts, 1)]
    made.up(nodes, {node.name: n for n, node in enumerate(nodes, 1)}, len(nodes), ())
    return made


@contextlib.contextmanager
def deployed(fleet: Fleet) -> Iterator[SshDeployment]:
    made = up(begun(fleet))
    try:
        yield made
    finally:
        made.remove()


def meanwhile(do: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    """Do something in a thread; what it raises is kept."""
    raised: list[BaseException] = []

    def work() -> None:
        try:
            do()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, raised


def ended(thread: threading.Thread, within_s: float) -> None:
    thread.join(within_s * support.PATIENCE)
    assert not thread.is_alive()


def out(made: SshDeployment, node: str, *argv: str) -> str:
    return made.execute(node, argv, timeout_s=20).check().stdout


@pytest.mark.parametrize("how", [failing.kill_agents, failing.cut])
def test_the_next_agent_finds_what_the_last_one_made(hosts, how):
    with fleet_of(hosts) as fleet, deployed(fleet) as made:
        out(made, "n1", "touch", "/root/kept")
        for name in fleet.hosts:
            how(hosts, name)
        support.until(lambda: fleet.losses == 2, "both are lost")
        assert out(made, "n1", "ls", "/root/kept") == "/root/kept\n"
        assert out(made, "n2", "hostname") == "n2\n"
        assert made.states() == {n: {"alive": True, "down": False, "cut": False} for n in ("n1", "n2")}


@pytest.mark.parametrize("how", [failing.kill_agents, failing.cut])
def test_a_command_that_runs_meanwhile_fails_and_the_next_does_not(hosts, how):
    with fleet_of(hosts) as fleet, deployed(fleet) as made:
        thread, raised = meanwhile(lambda: made.execute("n2", ["sleep", "61.5"], timeout_s=90))
        support.until(lambda: "61.5" in made.execute("n2", ["ps", "axo", "args"], timeout_s=9).stdout, "it runs")
        how(hosts, "node2")
        ended(thread, 10)
        (error,) = raised
        assert isinstance(error, CommandFailed) and str(error).startswith(
            "n2: `sleep 61.5` ended with status 1: node2: "
        )
        assert out(made, "n2", "hostname") == "n2\n"


def test_telemetry_ends_with_its_agent_and_the_next_one_tells_what_there_is(hosts, tmp_path):
    with fleet_of(hosts) as fleet, deployed(fleet) as made:
        with made.telemetry(tmp_path / "samples"):
            time.sleep(0.5)
            failing.kill_agents(hosts, "node2")
            time.sleep(1.0)
        assert (tmp_path / "samples").read_text().count("\n") >= 3
        assert [each for each in failing.left() if "sampler" in each] == []


@pytest.mark.parametrize(("how", "after_s"), [(failing.cut, 0.05), (failing.kill_agents, 0.25), (failing.cut, 0.5)])
def test_what_a_deployment_that_is_broken_off_has_made_is_removed(hosts, how, after_s):
    with fleet_of(hosts) as fleet:
        made = begun(fleet)
        try:
            thread, raised = meanwhile(lambda: up(made))
            time.sleep(after_s)
            how(hosts, "node2")
            ended(thread, 30)
            for error in raised:
                assert isinstance(error, CommandFailed) and str(error).startswith("node2: ")
        finally:
            made.remove()


def test_a_link_that_is_down_for_some_seconds_costs_only_these(hosts):
    with fleet_of(hosts) as fleet, deployed(fleet) as made:
        hosts.link("node2", "down")
        thread, raised = meanwhile(lambda: out(made, "n2", "hostname"))
        time.sleep(3)
        hosts.link("node2", "up")
        ended(thread, 15)
        assert raised == [] and fleet.losses == 0


def test_a_host_that_dies_is_named_and_what_is_left_goes_when_it_is_back(hosts, impatient):
    with fleet_of(hosts) as fleet:
        made = up(begun(fleet))
        began = time.monotonic()
        failing.power_off(hosts, "node2")
        try:
            with pytest.raises(CommandFailed, match=r"^n2: `hostname` ended with status 1: node2: "):
                out(made, "n2", "hostname")
            with pytest.raises(CommandFailed, match=r"^node2: "):
                made.traces()
            with pytest.raises(TeardownError) as caught:
                made.remove()
            assert time.monotonic() - began < 3 * AT_ONCE_S * support.PATIENCE
            goes = f"what is there goes within 15 minutes, or by `pliant down {made.id}`"
            assert re.fullmatch(rf"deployment {made.id}: node2: .*; {goes}", str(caught.value))
            assert not any(f"{made.id}-1" in each for each in failing.left()), "the other host was reached"
        finally:
            hosts.begin("node2")
            hosts.answers("node2")
    opening.remove(made.journal)


def test_what_nobody_reaches_for_longer_than_its_lease_is_removed_by_itself(hosts):
    with fleet_of(hosts) as fleet:
        made = up(begun(fleet, lease_s=3.0))
    assert any(f"{made.id}-1" in each for each in failing.left())
    own = lambda: [each for each in failing.left() if each != f"files of {made.id}"]  # noqa: E731
    support.until(lambda: not own(), "all of it is gone", timeout_s=20)
    opening.remove(made.journal)


def test_a_second_study_on_the_same_hosts_is_refused_and_told_of_the_first(hosts, tmp_path):
    with fleet_of(hosts) as fleet, deployed(fleet) as made:
        file = study(hosts, tmp_path)
        done = support.pliant("run", file, "--output", tmp_path / "run")
        assert done.returncode == 1
        assert f"it carries {made.id} already" in done.stderr and "Traceback" not in done.stderr
        assert len(last_sentence(done.stderr).splitlines()) == 1
        assert out(made, "n1", "hostname") == "n1\n"


# Studies


def study(hosts: Box, directory: Path, names: str = "node[1-2]", **keys: object) -> Path:
    platform = f'kind = "ssh"\nhosts = ["{names}"]\nssh_config = "{hosts.config}"'
    file = directory / "study.toml"
    file.write_text(studies.study(platform, **keys))
    return file


def last_sentence(said: str) -> str:
    return said[said.rindex("failed: ") :].strip()


def counted(run: Path) -> list[tuple[float, int]]:
    """What entered the verdict: each trial once."""
    with Store.look(run) as store:
        found = [(trial.ratio, trial.repetition) for trial in store.trials() if trial.counted]
    assert len(found) == len(set(found)), "counted twice"
    return sorted(found)


SECONDS = round(2 + os.getpid() % 9973 / 1e5, 5)
"""What a trial sleeps: known by that among others' on the machine."""


def under_way(running: support.Running) -> None:
    """Wait until a trial is."""
    there = ["pgrep", "-f", "-x", f"sleep {SECONDS:g}"]
    running.until("deployed")
    support.until(lambda: subprocess.run(there, capture_output=True).returncode == 0, "a trial", 60)


ALL = [(1.0, 1), (1.0, 2), (2.0, 1), (2.0, 2)]


@pytest.mark.parametrize("how", [failing.cut])
def test_a_trial_during_which_a_host_is_lost_is_repeated_and_counts_once(hosts, tmp_path, how):
    file = study(hosts, tmp_path, repetitions=2, seconds=SECONDS)
    with support.Running(file, tmp_path / "run") as running:
        under_way(running)
        time.sleep(0.5)
        how(hosts, "node2")
        how(hosts, "node1")
        assert running.wait() == 0, running.said
    assert "a host was lost meanwhile: " in running.said and "deploying the cluster again" in running.said
    assert counted(tmp_path / "run") == ALL


def test_a_host_that_dies_during_a_trial_ends_the_run_and_it_goes_on_when_it_is_back(hosts, tmp_path, impatient):
    file = study(hosts, tmp_path, repetitions=2, seconds=SECONDS)
    with support.Running(file, tmp_path / "run") as running:
        running.until(r"\[1/4\]")
        under_way(running)
        failing.power_off(hosts, "node1")
        try:
            assert running.wait() == 1
        finally:
            hosts.begin("node1")
            hosts.answers("node1")
    sentence = last_sentence(running.said)
    assert "node1: " in sentence and "Traceback" not in running.said
    assert "go on with the same command" in running.said
    assert len(counted(tmp_path / "run")) == 1
    done = support.pliant("run", file, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert counted(tmp_path / "run") == ALL


def test_what_a_dead_host_still_carries_does_not_stop_the_next_run(hosts, tmp_path, impatient):
    """One with other hosts is another run: what was measured on the others cannot be compared with it."""
    file = study(hosts, tmp_path, repetitions=2, seconds=SECONDS)
    with support.Running(file, tmp_path / "run") as running:
        running.until(r"\[1/4\]")
        under_way(running)
        running.kill()
    failing.power_off(hosts, "node1")
    try:
        study(hosts, tmp_path, "node[2-3]", repetitions=2, seconds=SECONDS)
        done = support.pliant("run", file, "--output", tmp_path / "run")
        assert done.returncode == 2, done.stderr
        assert re.search("note: deployment [0-9a-f]+: node1: ", done.stderr)
        assert 'hosts was ["node1","node2"] and is ["node2","node3"]; choose another directory' in done.stderr
    finally:
        hosts.begin("node1")
        hosts.answers("node1")
    assert support.pliant("down", "--all").returncode == 0


@pytest.mark.parametrize(
    ("number", "when"), [("SIGTERM", "reach"), ("SIGINT", "deploy: hosts and nodes"), ("SIGTERM", "a trial")]
)
def test_who_interrupts_a_run_leaves_nothing(hosts, tmp_path, number, when):
    file = study(hosts, tmp_path, seconds=SECONDS)
    with support.Running(file, tmp_path / "run") as running:
        under_way(running) if when == "a trial" else running.until(when)
        time.sleep(0.2)
        running.process.send_signal(getattr(__import__("signal"), number))
        began = time.monotonic()
        assert running.wait(30) == 130, running.said
        assert time.monotonic() - began < 15 * support.PATIENCE
    assert running.said.rstrip().endswith("interrupted") and "Traceback" not in running.said
