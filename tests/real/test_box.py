"""A cluster in a box: what it says, and that nothing of it is left, whoever ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import support
from box.hosts import Box, box

pytestmark = pytest.mark.real

REPOSITORY = Path(__file__).parents[2]
OF_THE_MACHINE = ("/etc/passwd", "/etc/hosts", "/etc/oar/oar.conf")


def begun(*argv: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "box", *argv]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.parametrize(("what", "number"), [("hosts", "SIGHUP"), ("slurm", "SIGTERM"), ("oar", "SIGINT")])
def test_it_says_how_it_is_used_and_leaves_nothing(machine, tmp_path, what, number):
    kept = {name: Path(name).read_bytes() for name in OF_THE_MACHINE}
    shared = set(Path("/dev/shm").iterdir()) | set(Path("/tmp").iterdir())
    with begun(what, "--hosts", "2", "--directory", str(tmp_path / "box")) as process:
        assert process.stdout is not None
        text = "".join(iter(process.stdout.readline, f'    ssh_config = "{tmp_path}/box/ssh_config"\n'))
        assert f'kind = "{ {"hosts": "ssh"}.get(what, what) }"' in text
        assert ('front = "front"' in text) == (what != "hosts")
        process.send_signal(signal.Signals[number])
        assert process.wait(30) == 0
    support.nothing_left(machine)
    assert {name: Path(name).read_bytes() for name in OF_THE_MACHINE} == kept
    # What others make meanwhile is theirs.
    more = (set(Path("/dev/shm").iterdir()) | set(Path("/tmp").iterdir())) - shared
    assert [
        path
        for path in more
        if path.exists() and any(word in path.name.lower() for word in ("oar", "slurm", "postgres"))
    ] == []


def test_it_is_ended_while_it_comes_up(machine):
    with begun("slurm", "--hosts", "2") as process:
        support.until(lambda: Path("/sys/class/net/pliantbox0").exists(), "its bridge")
        process.terminate()
        assert process.wait(60) == 0
    support.nothing_left(machine)


def test_there_may_be_several(machine, tmp_path):
    with box(tmp_path / "one", ["node1"]) as one, box(tmp_path / "other", ["node1"]) as other:
        assert one.addresses != other.addresses
        for each in (one, other):
            assert each.addresses["node1"] in each.run("node1", ["ip", "-4", "addr", "show", "dev", "eth0"])
    support.nothing_left(machine)


def test_a_host_that_is_switched_off(tmp_path):
    with box(tmp_path / "box", ["node1", "node2"]) as hosts:
        assert ping(hosts) == 0
        hosts.end("node2")
        assert ping(hosts) != 0


def ping(hosts: Box) -> int:
    argv = ["ssh", "-F", str(hosts.config), "-o", "ConnectTimeout=2", "node2", "true"]
    return subprocess.run(hosts.inside("node1", argv), capture_output=True, timeout=20).returncode
