"""A cluster as a workplace: health, terminals, logs, reset, and commands that are interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from support import PLIANT, pliant, study, until

from pliant.machine.journal import STATE

pytestmark = [pytest.mark.real, pytest.mark.together]


@pytest.fixture(scope="module")
def cluster(machine, tmp_path_factory):
    """A cluster that `pliant up` left: its id."""
    file = study(tmp_path_factory.mktemp("place"), servers=2, clients=2, volume="replicate 2", ratios=[1, 4])
    done = pliant("up", file)
    assert done.returncode == 0, done.stderr
    name = done.stdout.strip()
    file.unlink()  # what is up does not need it any more
    yield name
    down = pliant("down", name)
    assert (down.returncode, down.stdout) == (0, f"{name} removed\n"), down.stderr


def execute(name, *arguments, **keys):
    return pliant("exec", "--id", name, *arguments, **keys)


def nodes(name):
    found = json.loads(pliant("ps", "--json").stdout)
    return {node["name"]: node for each in found if each["id"] == name for node in each["nodes"]}


# Commands


def test_what_nodes_say_comes_as_they_say_it(cluster):
    argv = [PLIANT, "exec", "--id", cluster, "client", "--", "sh", "-c", "echo first; sleep 30; echo last"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        began = time.monotonic()
        heard = {process.stdout.readline(), process.stdout.readline()}
        assert time.monotonic() - began < 15
        assert heard == {"client1: first\n", "client2: first\n"}
        process.kill()
    execute(cluster, "client", "--", "pkill", "-x", "sleep")


def test_one_node_gets_the_input_and_gives_bytes(cluster):
    content = bytes(range(256)) * 1000
    argv = [PLIANT, "exec", "--id", cluster, "server1", "--", "cat"]
    done = subprocess.run(argv, input=content, capture_output=True, check=True, timeout=60)
    assert done.stdout == content


@pytest.mark.parametrize("which", ["client1", "client"])
def test_an_interrupt_ends_the_command_in_every_node(cluster, which):
    script = 'setsid sh -c "trap : INT TERM; while :; do sleep 4713; done" & exec sleep 4713'
    argv = [PLIANT, "exec", "--id", cluster, which, "--", "sh", "-c", script]
    process = subprocess.Popen(argv, start_new_session=True, stderr=subprocess.DEVNULL)
    running = lambda: execute(cluster, which, "--", "pgrep", "-fx", "sleep 4713").stdout.split()  # noqa: E731
    until(lambda: len(running()) >= (2 if which == "client1" else 8), "it runs in all of them")
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(20) == 130
    assert running() == []


# Terminals


@pytest.fixture
def screen(tmp_path):
    """A real terminal, 120 x 40, in which commands can be typed."""
    terminal = Screen(str(tmp_path / "socket"))
    yield terminal
    terminal.call("kill-server")


def tmux(socket: object, *argv: str) -> str:
    command = ["tmux", "-S", str(socket), *argv]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


class Screen:
    def __init__(self, socket: str) -> None:
        self.socket = socket
        self.call("-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "40", "env", "PS1=outside$ ", "sh")
        self.shows("outside$")

    def call(self, *argv: str) -> str:
        done = subprocess.run(
            ["tmux", "-S", self.socket, *argv], capture_output=True, text=True, check=True, timeout=20
        )
        return done.stdout

    def type(self, text: str) -> None:
        self.call("send-keys", "-l", text)
        self.call("send-keys", "Enter")

    def text(self) -> str:
        return self.call("capture-pane", "-p")

    def shows(self, *words: str) -> None:
        until(lambda: all(word in self.text() for word in words), f"{words} on the screen: {self.text()}", 20)


def test_a_shell_in_one_node(cluster, screen):
    screen.type(f"{PLIANT} connect --id {cluster} client2")
    screen.type("echo this is $(hostname), $PLIANT_NODE; tty -s && echo a terminal")
    screen.shows("this is client2, client2", "\na terminal")
    screen.type("sleep 1000")
    time.sleep(0.5)
    screen.call("send-keys", "C-c")
    screen.type("echo interrupted $?; exit 3")
    screen.type("echo left with $?")
    screen.shows("interrupted 130", "left with 3")


def test_several_nodes_have_a_pane_each_and_go_on_when_nobody_looks(cluster, screen):
    screen.type(f"{PLIANT} connect --id {cluster} 'client,server1'")
    screen.shows(" client1 ", " client2 ", " server1 ", "client(1-2)+server1")
    inner = STATE / cluster / "tmux"

    def panes():
        return dict(line.split() for line in tmux(inner, "list-panes", "-s", "-F", "#{@node} #{pane_id}").splitlines())

    def enter(node, text):
        tmux(inner, "send-keys", "-t", panes()[node], text, "Enter")

    assert sorted(panes()) == ["client1", "client2", "server1"]
    for node in panes():
        enter(node, "echo in $(hostname)")
    screen.shows("in client1", "in client2", "in server1")
    enter("client1", "kept=yes")
    enter("client2", "exit")
    until(lambda: "client2" not in panes(), "one pane ends")
    screen.call("send-keys", "C-b", "d")
    screen.shows("[detached")
    screen.type("clear")
    screen.type(f"{PLIANT} connect --id {cluster} 'server1,client[1-2]'")
    screen.shows(" client1 ", " client2 ", " server1 ")
    enter("client1", "echo was it $kept")
    screen.shows("was it yes")
    screen.call("send-keys", "C-b", "d")


def test_without_a_terminal_it_says_so(cluster):
    done = pliant("connect", "--id", cluster, "client")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no terminal" in done.stderr
    assert pliant("connect", "--id", cluster, "client", "--detach").returncode == 0


# Logs


def test_logs_end_with_what_was_said_last_and_go_on(cluster, tmp_path):
    done = pliant("logs", "--id", cluster, "server1", "--lines", "3")
    assert done.returncode == 0, done.stderr
    assert "--- server1: glusterd.log\n" in done.stdout
    assert "server2" not in done.stdout.split("---")[0]
    with (tmp_path / "out").open("wb") as out:
        argv = [PLIANT, "logs", "--id", cluster, "server", "-f", "-n", "0"]
        process = subprocess.Popen(argv, stdout=out, start_new_session=True)
        try:
            until(lambda: Path(f"/proc/{process.pid}/cmdline").exists(), "it runs")
            time.sleep(1.5)
            said = "echo whatever was said >> /var/log/glusterfs/test.log"
            assert execute(cluster, "server2", "--", "sh", "-c", said).returncode == 0
            text = "--- server2: test.log\nwhatever was said\n"
            until(lambda: text in (tmp_path / "out").read_text(), "it is shown")
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130


# Reset


def test_a_reset_leaves_nothing_of_before(cluster):
    assert pliant("refold", cluster, "--ratio", "4").returncode == 0
    before = {node: pids(cluster, node) for node in ("server1", "server2", "client1", "client2")}
    script = "echo x > /mnt/dfs/file; echo x > /root/file; (trap : TERM; sleep 4714) >&- 2>&- &"
    assert execute(cluster, "client1", "--", "sh", "-c", script).returncode == 0
    assert execute(cluster, "server1", "--", "sh", "-c", "echo x > /srv/brick/file").returncode == 0
    done = pliant("reset", cluster)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{cluster}: 4 nodes, ")
    assert " 2 disks are gone, and deployed anew, in " in done.stdout
    for node, old in before.items():
        assert not set(old) & set(pids(cluster, node))
    assert execute(cluster, "client2", "--", "ls", "-A", "/mnt/dfs").stdout == ""
    assert execute(cluster, "client1", "--", "test", "-e", "/root/file").returncode == 1
    assert execute(cluster, "server1", "--", "test", "-e", "/srv/brick/file").returncode == 1
    assert execute(cluster, "client", "--", "pgrep", "sleep 4714").returncode == 1
    found = nodes(cluster)
    assert {node["host"] for node in found.values()} == {"host1"}
    assert {node["health"] for node in found.values()} == {"good"}
    assert json.loads((STATE / cluster / "deployment.json").read_text())["limits"] == ["cpu", "disk", "nic"]


def pids(name, node):
    """A node's processes, as the machine numbers them."""
    found = next(Path("/sys/fs/cgroup").glob(f"*/pliant-{name}/host-*/{node}/cgroup.procs"))
    return found.read_text().split()


def test_the_study_is_kept_for_root_alone(cluster):
    kept = STATE / cluster / "study.toml"
    assert kept.stat().st_mode & 0o777 == 0o600
