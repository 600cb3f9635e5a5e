"""Hosts by ssh that are not as they should be: clocks, disks, programs, firewalls, MTUs. One sentence each."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import support
from box import failing, studies
from box.hosts import Box, box

from pliant.machine.journal import STATE
from pliant.workloads.model import windows

pytestmark = pytest.mark.real

AHEAD_S = 5000


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    with box(tmp_path_factory.mktemp("box"), ["node1", "node2"], {"node2": AHEAD_S}) as up:
        yield up


@pytest.fixture(autouse=True)
def nothing_left():
    yield
    left = failing.all_gone()
    failing.clear()
    assert left == []


def study(hosts: Box, directory: Path, **keys: object) -> Path:
    file = directory / "study.toml"
    platform = f'kind = "ssh"\nhosts = ["node[1-2]"]\nssh_config = "{hosts.config}"'
    file.write_text(studies.study(platform, **keys))
    return file


def sentence(command: str, file: Path) -> str:
    """What it fails with."""
    where = ["--output", str(file.parent / "run")] if command == "run" else []
    done = support.pliant(command, file, *where)
    assert done.returncode in (1, 2) and "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip().splitlines()[-1].removeprefix("failed: ")


def test_clocks_that_differ_are_compared_and_mapped(hosts, tmp_path):
    there = float(hosts.run("node2", ["python3", "-c", "import time; print(time.monotonic())"]))
    assert abs(there - time.monotonic() - AHEAD_S) < 60
    file = study(hosts, tmp_path, files=3000)
    began_s = time.monotonic()
    done = support.pliant("run", file, "--output", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    outputs = [path.read_text() for path in (tmp_path / "run").glob("trials/*/*.out")]
    found = [moment for text in outputs for window in windows(text).values() for moment in window]
    assert found and all(began_s < moment < time.monotonic() for moment in found)


@contextlib.contextmanager
def mounted(hosts: Box, name: str, *options: str) -> Iterator[None]:
    """A mount that one host alone has."""
    hosts.run(name, ["mount", *options])
    try:
        yield
    finally:
        hosts.run(name, ["umount", options[-1]])


def test_a_full_disk(hosts, tmp_path):
    agents = Path(f"{STATE}-agents")
    for directory in (agents, STATE):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    small = ("-t", "tmpfs", "-o", "size=4k,mode=700", "none")
    with mounted(hosts, "node2", *small, str(agents)):
        said = sentence("check", study(hosts, tmp_path))
    assert re.fullmatch(r"node2: .*No space left on device.*", said)
    with mounted(hosts, "node2", *small, str(STATE)):
        said = sentence("run", study(hosts, tmp_path))
    assert re.match(r"node2: .*No space left on device", said)


def test_a_program_that_is_not_there(hosts, tmp_path):
    file = study(hosts, tmp_path)
    role = "[filesystem.options.role.server]"
    file.write_text(file.read_text().replace(role, f'[filesystem.options]\nprograms = ["glusterd"]\n{role}'))
    with mounted(hosts, "node2", "--bind", "/dev/null", "/usr/sbin/glusterd"):
        said = sentence("check", file)
    assert "glusterd" in said and "node2" in said and "node1" not in said


def test_a_firewall_between_hosts(hosts, tmp_path):
    rule = ["blackhole", "pref", "10", "ipproto", "udp", "dport", "4789"]
    hosts.run("node1", ["ip", "rule", "add", *rule])
    try:
        said = sentence("run", study(hosts, tmp_path))
    finally:
        hosts.run("node1", ["ip", "rule", "del", *rule])
    assert "no packet comes from node1 " in said and "a firewall between them has to let UDP port 4789 pass" in said


def test_a_smaller_mtu_between_hosts(hosts, tmp_path):
    port = f"{hosts.bridge}-2"
    subprocess.run(["ip", "link", "set", port, "mtu", "1400"], check=True)
    try:
        said = sentence("run", study(hosts, tmp_path))
    finally:
        subprocess.run(["ip", "link", "set", port, "mtu", "1500"], check=True)
    assert "packets of 1500 bytes do not come from " in said and "something between has a smaller MTU" in said
