"""Other machines, by ssh: real sshds, their agents, and what is said of hosts that cannot be used."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import support
from sshds import PORT, sshds

from pliant.machine.journal import STATE, deployments
from pliant.machine.process import CommandFailed
from pliant.platforms.agents import Agent, HostError, close, connect

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    with support.agents_removed(), sshds(tmp_path_factory.mktemp("sshds")) as hosts:
        for number in (1, 2, 3):
            hosts.start(number)
        yield hosts


@pytest.fixture
def agent(farm):
    with Agent("node1", config=farm.config) as one:
        yield one


def pliant(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([support.PLIANT, *argv], capture_output=True, text=True, timeout=120)


def error(farm, host: str, **keys: float) -> str:
    with pytest.raises(HostError) as caught:
        Agent(host, config=farm.config, **keys).begin()
    return str(caught.value)


def fails(ask: Callable[..., object], *args: object, **keys: object) -> None:
    with pytest.raises(HostError):
        ask(*args, **keys)


def alive(*argv: str) -> bool:
    return subprocess.run(["pgrep", "-f", "-x", " ".join(argv)], capture_output=True).returncode == 0


# What an agent does


def test_what_a_program_prints_is_heard_as_it_comes(agent):
    heard: list[tuple[str, str, float]] = []
    code = "echo first; sleep 1; echo second >&2; head -c 3; exit 5"
    done = agent.run(
        ["sh", "-c", code], timeout_s=20, stdin="abcdef", heard=lambda *said: heard.append((*said, time.monotonic()))
    )
    assert (done.exit_status, done.stdout, done.stderr, done.where) == (5, "first\nabc", "second\n", "node1")
    (_, _, first), (stream, _, second), *_ = heard
    assert stream == "stderr" and second - first > 0.5


def test_several_requests_are_seen_to_at_the_same_time(agent):
    began = time.monotonic()
    threads = [threading.Thread(target=agent.run, args=(["sleep", "2"],), kwargs={"timeout_s": 60}) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert agent.ask("which", programs=["sh"])["sh"]
    answered = time.monotonic() - began
    for thread in threads:
        thread.join()
    assert answered < 2 and time.monotonic() - began < 8


def test_a_program_ends_at_its_deadline_and_with_the_connection(farm):
    with Agent("node1", config=farm.config) as agent:
        with pytest.raises(CommandFailed, match=r"node1: `sleep 71\.5` did not end in time"):
            agent.run(["sleep", "71.5"], timeout_s=0.5)
        assert not alive("sleep", "71.5")
        thread = threading.Thread(target=fails, args=(agent.run, ["sleep", "72.5"]), kwargs={"timeout_s": 60})
        thread.start()
        support.until(lambda: alive("sleep", "72.5"), "the program")
    thread.join(20)
    assert not thread.is_alive()
    support.until(lambda: not alive("sleep", "72.5"), "its end")


def test_its_clock_is_compared(agent):
    assert abs(agent.clock_s) <= agent.clock_within_s < 1  # it is this machine's own


# Hosts that die


def test_a_lost_connection_leaves_no_node(farm):
    farm.start(4)
    lost = Agent("node4", config=farm.config)
    lost.begin()
    before = {each.id for each in deployments()}
    thread = threading.Thread(target=fails, args=(lost.ask, "try"))
    thread.start()
    support.until(lambda: {each.id for each in deployments()} - before, "a node")
    farm.stop("node4")  # and with it the connection
    thread.join(20)
    assert not thread.is_alive()
    support.until(lambda: {each.id for each in deployments()} == before, "its removal")
    lost.close()


def test_what_a_killed_agent_leaves_is_shown_and_removed(farm):
    with Agent("node1", config=farm.config) as agent:
        pid = agent.ask("hello")["pid"]
        before = {each.id for each in deployments()}
        thread = threading.Thread(target=fails, args=(agent.ask, "try"))
        thread.start()
        while not {path.parent.name for path in STATE.glob("*/nodes")} - before and thread.is_alive():
            time.sleep(0.002)  # it is there for a moment
        os.kill(pid, signal.SIGKILL)
        thread.join(20)
    (left,) = {each.id for each in deployments()} - before
    config = ("--ssh-config", str(farm.config))
    shown = json.loads(pliant("ps", "--host", "node[1-2]", "--json", *config).stdout)
    assert {(each["host"], each["state"]) for each in shown if each["id"] == left} == {
        ("node1", "stale"),
        ("node2", "stale"),  # the same machine
    }
    down = pliant("down", left, "--host", "node1", *config)
    assert (down.returncode, down.stdout) == (0, f"node1: {left} removed\n")
    assert {each.id for each in deployments()} == before
    again = pliant("down", left, "--host", "node1", *config)
    assert again.returncode == 2 and again.stderr == f'there is no deployment "{left}" on node1\n'


def test_a_host_that_falls_silent_is_given_up(farm, monkeypatch):
    monkeypatch.setattr("pliant.platforms.agents._SLACK_S", 1.0)
    with Agent("node2", config=farm.config) as agent:
        pid = agent.ask("hello")["pid"]
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(HostError, match="node2: did not answer in 1 s: which"):
                agent.ask("which", programs=["sh"], timeout_s=0.1)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert agent.ask("which", programs=["sh"])  # it lives, and what it missed is answered without harm


# Hosts that cannot be used


def test_a_host_that_cannot_be_reached_is_one_sentence(farm):
    farm.configure("gone", "127.0.77.99")
    farm.configure("unknown", "127.0.77.1", f"UserKnownHostsFile {farm.directory}/none")
    farm.configure("stranger", "127.0.77.1", "User nobody")
    changed = farm.directory / "changed"
    key = (farm.directory / "key.pub").read_text()
    changed.write_text(f"[127.0.77.1]:{PORT} {key}")
    farm.configure("changed", "127.0.77.1", f"UserKnownHostsFile {changed}")
    assert error(farm, "gone") == f"gone: ssh: connect to host 127.0.77.99 port {PORT}: Connection refused"
    assert error(farm, "nonesuch.invalid").endswith("write it as `ssh` knows it, or name it in ~/.ssh/config")
    for host in ("unknown", "changed"):
        assert error(farm, host) == (
            f"{host}: Host key verification failed.; say `ssh {host}` once and look at the key that it shows"
        )
    assert "`ssh stranger` has to work without a password" in error(farm, "stranger")


def test_a_host_that_takes_the_connection_and_says_nothing_is_given_up(farm):
    with socket.create_server(("127.0.77.50", PORT)):
        farm.configure("mute", "127.0.77.50")
        began = time.monotonic()
        assert error(farm, "mute", timeout_s=2).startswith("mute: ")
        assert time.monotonic() - began < 10


def forced(farm, number: int, script: str) -> str:
    """A host whose logins go through a script, which finds the command in $SSH_ORIGINAL_COMMAND."""
    path = farm.directory / f"login{number}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return farm.start(number, f"ForceCommand {path}")


def test_what_a_login_prints_is_passed_over(farm):
    host = forced(farm, 5, 'echo "Welcome to {node5}"; echo "{}"; echo hello >&2; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    with Agent(host, config=farm.config) as agent:
        assert agent.ask("which", programs=["sh"])["sh"]


def bin_of(farm, *programs: str) -> Path:
    directory = farm.directory / "bin"
    directory.mkdir(exist_ok=True)
    for program in programs:
        (directory / program).unlink(missing_ok=True)
        (directory / program).symlink_to(f"/usr/bin/{program}")
    return directory


def test_a_host_without_python_or_with_an_old_one_is_one_sentence(farm):
    path = bin_of(farm, "sh", "id")
    host = forced(farm, 6, f'PATH={path}; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    assert error(farm, host).endswith("python3: not found; install Python 3.9 or newer there: apt-get install python3")
    old = "import sys; sys.version_info = (3, 7, 3); sys.argv.pop(0); exec(sys.argv[0])"
    (path / "python3").write_text(f'#!/bin/sh\nshift 2\nexec /usr/bin/python3 -c "{old}" "$@"\n')
    (path / "python3").chmod(0o755)
    assert error(farm, host) == "node6: its Python 3.7 is too old; pliant needs 3.9 or newer"


def test_a_user_who_may_not_become_root_is_one_sentence(farm):
    drop = "setpriv --reuid 65534 --regid 65534 --clear-groups"
    host = forced(farm, 7, f'exec {drop} sh -c "$SSH_ORIGINAL_COMMAND"')
    assert "sudo" in error(farm, host)


def test_a_full_disk_is_one_sentence(farm, tmp_path, monkeypatch):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], check=True)
    try:
        monkeypatch.setattr("pliant.platforms.agents.THERE", tmp_path / "state")
        assert error(farm, "node1") == "node1: [Errno 28] No space left on device"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


# What users see


def test_doctor_tells_of_several_hosts(farm):
    config = ("--ssh-config", str(farm.config))
    done = pliant("doctor", "--host", "node[1-3]", *config)
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[:3]] == [["ok", f"node{n}"] for n in (1, 2, 3)]
    assert done.stdout.count("used and removed in") == 3
    one = pliant("doctor", "--host", "node1", *config)
    assert "clock                  as here, within" in one.stdout
    assert one.stdout.endswith("\nnode1 can emulate clusters\n")
    mixed = pliant("doctor", "--host", "node1,nonesuch.invalid", "--json", *config)
    said = json.loads(mixed.stdout)
    assert mixed.returncode == 1
    assert "Could not resolve hostname" in said["nonesuch.invalid"]["error"]
    assert {"what": "root", "ok": True, "detail": "yes", "needed": True} in said["node1"]["findings"]


def test_ps_says_the_same_of_a_machine_from_there_and_from_here(farm):
    with support.deployed([support.request("node1", 1)], {"node1": 1}) as deployment:
        there = json.loads(pliant("ps", "--host", "node1", "--json", "--ssh-config", str(farm.config)).stdout)
        here = json.loads(pliant("ps", "--json").stdout)
    wanted = [{key: each[key] for key in ("id", "state", "title", "since")} for each in here]
    assert [{key: each[key] for key in ("id", "state", "title", "since")} for each in there] == wanted
    assert (deployment.id, "running") in {(each["id"], each["state"]) for each in here}


def test_many_hosts_behind_one_sshd_are_all_reached(farm):
    """As behind a jump host: more connections at a time than an sshd lets in are not begun (MaxStartups)."""
    names = [f"alias{number}" for number in range(40)]
    for name in names:
        farm.configure(name, "127.0.77.1")
    found = connect(names, config=farm.config)
    try:
        assert {name: str(each) for name, each in found.items() if isinstance(each, HostError)} == {}
    finally:
        close(found.values())
