"""Test scripts against a real cluster: the methods of nodes, crashes with data, and what a failure says."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import pytest
from support import listed, pliant, study

from pliant.driver.script import Failed, attach

pytestmark = [pytest.mark.real, pytest.mark.together]


@pytest.fixture(scope="module")
def file(machine, tmp_path_factory):
    options = "ping_timeout_s = 2"
    where = tmp_path_factory.mktemp("driver")
    return study(where, servers=2, clients=2, volume="replicate 2", options=options, ratios=[1, 2])


@pytest.fixture(scope="module")
def name(file):
    done = pliant("up", file, "--no-limits")
    assert done.returncode == 0, done.stderr
    yield done.stdout.strip()
    assert pliant("down", done.stdout.strip()).returncode == 0


@pytest.fixture
def cluster(name):
    made = attach(name)
    yield made
    made.start_all()


SCRIPT = """\
start_all()
with subtest("written on one, read on the other"):
    client1.wait_for_unit("mount")
    server1.wait_for_unit("glusterd.service")
    client1.succeed("echo hello > /mnt/dfs/greeting")
    assert client2.succeed("cat /mnt/dfs/greeting") == "hello\\n"
status, output = client2.execute("echo out; exit 5")
assert (status, output) == (5, "out\\n")
client2.fail("test -e /mnt/dfs/nothing")
for machine in machines:
    machine.wait_for_unit("multi-user.target")
print(cluster.id, [node.name for node in machines])
"""


def test_a_script_runs_against_a_cluster_that_is_up(name, tmp_path):
    script = tmp_path / "test.py"
    script.write_text(SCRIPT)
    done = pliant("driver", script, "--id", name)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{name} ['server1', 'server2', 'client1', 'client2']\n"
    assert "subtest: written on one, read on the other: passed in" in done.stderr
    assert "client1: must succeed: echo hello" in done.stderr


def test_the_script_of_an_exported_project_runs(file, name, tmp_path):
    project = tmp_path / "project"
    assert pliant("export", "nixos-compose", file, "-o", project).returncode == 0
    done = pliant("driver", project / "test.py", "--id", name)
    assert done.returncode == 0, done.stderr
    assert "subtest: what one client writes, another reads: passed in" in done.stderr


def test_a_script_gets_a_cluster_of_its_own(file, name, tmp_path):
    script = tmp_path / "test.py"
    script.write_text('client1.succeed("mountpoint /mnt/dfs")\nprint(cluster.id)\nserver.succeed("false")\n')
    small = study(tmp_path, ratios=[1, 2], cores=0.2)
    done = pliant("driver", script, "--study", small, "--ratio", "2")
    assert done.returncode == 1
    assert f"{script}:3: " in done.stderr
    own = done.stdout.strip()
    assert own not in ("", name)
    assert own not in [each["id"] for each in listed()]


def test_the_script_in_the_documentation_works(name, tmp_path):
    page = (Path(__file__).parents[2] / "docs/cluster.md").read_text()
    text = page.partition("```python\n# copies.py")[2].partition("```")[0]
    script = tmp_path / "copies.py"
    script.write_text(f"# copies.py{text}start_all()\ncluster.refold(1)\n")
    done = pliant("driver", script, "--id", name)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(": passed in") == 3


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ('x = 1\nclient1.succeed("echo why >&2; exit 3")\n', 2, ["client1", "status 3", "why"]),
        ("def check():\n    assert 1 == 2, 'unequal'\n\ncheck()\n", 2, ["AssertionError: unequal"]),
        ("client7.succeed('true')\n", 1, ["NameError", "client7"]),
        ("cluster.client7.succeed('true')\n", 1, ["there is no node", "client1"]),
        ('client1.wait_until_succeeds("false", timeout=1)\n', 1, ["not within 1 s"]),
        ('client1.wait_for_unit("nothing")\n', 1, ["no step", "mount"]),
    ],
)
def test_a_failure_names_the_line_of_the_script(name, tmp_path, text, line, words):
    script = tmp_path / "test.py"
    script.write_text(text)
    done = pliant("driver", script, "--id", name, "--quiet")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{script}:{line}: {text.splitlines()[line - 1].strip()}" in done.stderr
    assert all(word in done.stderr for word in words), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["if True\n", "x = (\n", None])
def test_what_is_no_script_is_refused(name, tmp_path, text):
    script = tmp_path / "test.py"
    if text is not None:
        script.write_text(text)
    done = pliant("driver", script, "--id", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert str(script) in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ports_and_files(cluster):
    node = cluster.client1
    server = f"import socket, time; s = socket.create_server(('{node.address}', 5555)); time.sleep(60)"
    node.execute(f'({sys.executable} -I -S -c "{server}" & echo $! > /tmp/pid) > /dev/null 2>&1')
    node.wait_for_file("/tmp/pid", timeout=10)
    node.wait_for_open_port(5555, timeout=10)
    cluster.client2.wait_for_open_port(5555, "client1", timeout=10)
    node.succeed("kill $(cat /tmp/pid)")
    node.wait_for_closed_port(5555, timeout=10)
    with pytest.raises(Failed, match=r"port 5555.*not within 1 s"):
        node.wait_for_open_port(5555, timeout=1)
    assert node.execute("sleep 30", timeout=0.5) == (124, "")
    node.wait_until_fails("test -e /nothing", timeout=5)


def test_copies(cluster, tmp_path):
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "a file").write_bytes(bytes(range(256)))
    (tree / "below/run").write_text("#!/bin/sh\necho ran\n")
    (tree / "below/run").chmod(0o755)
    node = cluster.client1
    node.copy_to(tree, "/root/new")
    assert node.succeed("/root/new/below/run") == "ran\n"
    node.copy_to(tree / "a file", "/root/new/below")
    node.copy_from("/root/new", tmp_path / "back")
    assert (tmp_path / "back/below/a file").read_bytes() == bytes(range(256))
    assert (tmp_path / "back/below/run").stat().st_mode & 0o111
    node.copy_from_host(str(tree / "a file"), "/root/other/name")
    node.copy_from_vm("/root/other/name", str(tmp_path / "out"))
    assert (tmp_path / "out/name").read_bytes() == bytes(range(256))
    with pytest.raises(Failed, match="nothing"):
        node.copy_from("/root/nothing", tmp_path)


def test_a_crashed_client_mounts_again(cluster):
    node = cluster.client2
    cluster.client1.succeed("echo kept > /mnt/dfs/kept")
    node.crash()
    node.start()
    assert node.succeed("cat /mnt/dfs/kept", timeout=30) == "kept\n"
    node.shutdown()
    assert not node.is_up
    node.start()
    assert node.succeed("cat /mnt/dfs/kept", timeout=30) == "kept\n"


def test_a_node_that_is_cut_off_cannot_be_reached(cluster):
    cluster.client2.block()
    assert cluster.client2.execute("echo 3 > /proc/sys/vm/drop_caches; timeout 3 ls -l /mnt/dfs/kept")[0] != 0
    cluster.client2.unblock()
    cluster.client2.wait_until_succeeds("timeout 5 cat /mnt/dfs/kept", timeout=60)


def test_crashes_while_the_cluster_is_refolded(cluster):
    stop = threading.Event()
    wrong: list[BaseException] = []

    def refold():
        other = attach(cluster.id, lambda text: None)
        try:
            while not stop.is_set():
                for ratio in (2, 1):
                    other.refold(ratio)
        except BaseException as error:
            wrong.append(error)

    thread = threading.Thread(target=refold)
    thread.start()
    try:
        cluster.client2.crash()
        time.sleep(0.2)
        cluster.client2.start()
    finally:
        stop.set()
        thread.join(60)
    assert wrong == []
    assert cluster.client2.succeed("cat /mnt/dfs/kept", timeout=30) == "kept\n"
    assert cluster.reset() is None
    assert cluster.client2.succeed("ls -A /mnt/dfs") == ""
