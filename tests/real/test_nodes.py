"""Nodes: what is theirs alone, what they see of the machine, and what the machine sees of them."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from support import FIGURES, deployed, out, python, request, until

from pliant.machine import network, teardown
from pliant.machine.journal import STATE, Journal
from pliant.machine.needing import visible
from pliant.machine.process import CommandFailed
from pliant.machine.teardown import remove

pytestmark = [pytest.mark.real, pytest.mark.together]
NAMES = ("server1", "client1", "client2")
TOKEN = secrets.token_hex(4)


@pytest.fixture(scope="module")
def srv():
    """A directory of the machine that nodes see: a private one with content, a private link, and what it leads to."""
    top = Path(f"/srv/pliant-test-{TOKEN}")
    for path in (top / "private", top / "kept"):
        path.mkdir(parents=True)
        (path / "of-the-machine").write_text("precious")
    (top / "link").symlink_to(top / "kept")
    yield top
    shutil.rmtree(top)


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A directory and a file under /tmp that nodes are to see."""
    top = tmp_path_factory.mktemp("shown")
    (top / "directory").mkdir()
    (top / "directory" / "a").write_text("seen")
    (top / "file").write_text("seen too")
    (top / "other").write_text("not to be seen")
    return top


@pytest.fixture(scope="module")
def nodes(srv, shown):
    private = (str(srv / "private"), str(srv / "link"), str(srv / "new"))
    requests = [
        request("server1", 1, disk=str(srv / "disk"), disk_bytes=64 << 20, private=private),
        request("client1", 2),
        request("client2", 3),
    ]
    visible = (str(shown / "directory"), str(shown / "file"))
    with deployed(requests, {"server1": 1, "client1": 1, "client2": 2}, extra_visible=visible) as deployment:
        yield deployment


def listing(deployment, node, path):
    return out(deployment, node, "ls", "-A", path).split()


def test_a_node_has_its_own_name_and_knows_the_others(nodes):
    for name in NAMES:
        assert out(nodes, name, "hostname").strip() == name
        assert out(nodes, name, "cat", "/etc/hostname").strip() == name
        for number, other in enumerate(NAMES, 1):
            assert out(nodes, name, "getent", "hosts", other).split() == [f"10.77.1.{number}", other]
    assert os.uname().nodename not in NAMES


def test_nodes_reach_each_other_by_name_on_the_same_and_on_another_host(nodes):
    say = "import socket; s = socket.create_server(('', 7)); print(s.accept()[0].recv(9).decode())"
    call = "import socket, sys; socket.create_connection((sys.argv[1], 7)).sendall(b'hello')"
    for listener, caller in (("server1", "client1"), ("server1", "client2"), ("client2", "client1")):
        log = nodes.journal.directory / "said"
        log.unlink(missing_ok=True)
        process = nodes.popen(listener, python(say), log)
        until(lambda c=caller, n=listener: nodes.execute(c, python(call, n), timeout_s=9).exit_status == 0, "a call")
        assert process.wait(10) == 0
        assert log.read_text() == "hello\n"


def test_a_node_has_a_process_tree_of_its_own(nodes):
    for name in NAMES:
        pids = [int(entry) for entry in listing(nodes, name, "/proc") if entry.isdigit()]
        assert 1 in pids
        assert len(pids) < 10
        assert out(nodes, name, "cat", "/proc/1/comm").strip() == "sleep"


@pytest.mark.parametrize("path", ["/tmp", "/var/tmp", "/run", "its state"])
def test_scratch_sockets_and_state_of_the_machine_are_not_there(nodes, path):
    path = str(STATE) if path == "its state" else path
    # What nodes must see may lie there: a checkout in /tmp, say.
    shown = {Path(each).relative_to(path).parts[0] for each in visible() if Path(each).is_relative_to(path)}
    assert set(listing(nodes, "client1", path)) <= {"pytest-of-root"} | shown


def test_what_a_node_has_in_memory_is_one_file_system(nodes):
    """The kernel looks at each for every control group that comes or goes: of a thousand nodes that is felt."""
    lines = [line.split(" - ") for line in out(nodes, "server1", "cat", "/proc/self/mountinfo").splitlines()]
    there = {before.split()[4]: before.split()[2] for before, after in lines if after.startswith("tmpfs ")}
    assert {"/tmp", "/var/tmp", "/run", "/dev", "/dev/shm"} <= set(there)
    assert len(set(there.values())) == 1
    listed = out(
        nodes, "server1", "sh", "-c", "touch /tmp/a /dev/shm/b && ls /var/tmp /run && stat -c %a /tmp /dev/shm /run"
    )
    assert listed.split()[-3:] == ["1777", "1777", "755"] and not {"a", "b"} & set(listed.split())
    flags = {before.split()[4]: set(before.split()[5].split(",")) for before, _ in lines}
    assert {"nosuid", "nodev"} <= flags["/tmp"] & flags["/dev/shm"] and "nodev" not in flags["/dev"]
    assert "nosuid" in flags["/dev"] and "ro" in flags["/sys"]


def test_what_a_node_writes_stays_in_it(nodes):
    for path in (f"/pliant-{TOKEN}", f"/etc/pliant-{TOKEN}", f"/usr/bin/pliant-{TOKEN}", f"/tmp/pliant-{TOKEN}"):
        out(nodes, "client1", "touch", path)
        assert out(nodes, "client1", "ls", path).strip() == path
        assert not Path(path).exists()
        for other in ("server1", "client2"):
            assert nodes.execute(other, ["ls", path], timeout_s=10).exit_status == 2


def test_what_a_node_removes_is_still_on_the_machine(nodes):
    before = Path("/etc/passwd").read_bytes()
    out(nodes, "client2", "rm", "-rf", "/etc/passwd", "/usr/share/doc")
    assert Path("/etc/passwd").read_bytes() == before
    assert Path("/usr/share/doc").is_dir()
    assert out(nodes, "client1", "cat", "/etc/passwd").encode() == before


def test_a_disk_is_a_file_system_of_its_own(nodes, srv):
    kind, size_k = out(nodes, "server1", "df", "--output=fstype,size", str(srv / "disk")).split()[-2:]
    assert kind == "ext4"
    assert 40_000 < int(size_k) < 64 * 1024
    device, root = (out(nodes, "server1", "stat", "-c", "%d", path).strip() for path in (str(srv / "disk"), "/"))
    assert device not in (root, str(Path("/").stat().st_dev))
    assert not (srv / "disk").exists()


def test_a_private_directory_is_empty_and_what_the_machine_has_there_is_kept(nodes, srv):
    assert listing(nodes, "server1", str(srv / "private")) == []
    assert listing(nodes, "server1", str(srv / "new")) == []
    assert listing(nodes, "client1", str(srv / "private")) == ["of-the-machine"]
    out(nodes, "server1", "touch", str(srv / "private/mine"))
    assert [path.name for path in (srv / "private").iterdir()] == ["of-the-machine"]


def test_a_private_directory_that_is_a_link_on_the_machine_becomes_an_empty_directory(nodes, srv):
    assert listing(nodes, "server1", str(srv / "link")) == []
    assert out(nodes, "server1", "stat", "-c", "%F", str(srv / "link")).strip() == "directory"
    assert (srv / "link").is_symlink()
    assert (srv / "kept/of-the-machine").read_text() == "precious"
    assert out(nodes, "server1", "cat", str(srv / "kept/of-the-machine")) == "precious"


def test_a_private_link_to_something_else_does_not_delete_that(srv):
    """In a deployment that was removed, too: deleting a node's files must never follow a link out of them."""
    with deployed([request("a", 1, private=(str(srv / "link"),))], {"a": 1}) as one:
        out(one, "a", "ln", "-s", str(srv / "kept"), "/out")
        out(one, "a", "ln", "-s", str(srv / "kept"), str(srv / "link/out"))
    assert (srv / "kept/of-the-machine").read_text() == "precious"
    assert (srv / "link").is_symlink()


def test_what_is_to_be_seen_is_seen_under_a_hidden_directory_and_nothing_beside_it(nodes, shown):
    assert out(nodes, "client1", "cat", str(shown / "directory/a")) == "seen"
    assert out(nodes, "client1", "cat", str(shown / "file")) == "seen too"
    assert sorted(listing(nodes, "client1", str(shown))) == ["directory", "file"]


def test_dev_has_no_disk(nodes):
    for name in NAMES:
        kinds = out(nodes, name, "find", "/dev", "-type", "b")
        assert kinds == ""
    assert nodes.execute("client1", ["dd", "if=/dev/zero", "of=/dev/null", "count=1"], timeout_s=9).exit_status == 0


def test_sys_cannot_be_written(nodes):
    done = nodes.execute("client1", ["touch", "/sys/kernel/mm/x"], timeout_s=9)
    assert done.exit_status != 0


def test_orphans_are_reaped(nodes):
    orphan = (
        "import os, time\n"
        "for _ in range(20):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(0.2)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    out(nodes, "client1", *python(orphan))
    look = "grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l; ls -d /proc/[0-9]* | wc -l"
    time.sleep(0.3)
    zombies, processes = map(int, out(nodes, "client1", "sh", "-c", look).split())
    assert zombies == 0
    assert processes < 10


# Commands in nodes


def test_a_command_gives_its_status_and_both_outputs(nodes):
    done = nodes.execute("client1", ["sh", "-c", "echo out; echo err >&2; exit 7"], timeout_s=10)
    assert (done.exit_status, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert done.argv == ("sh", "-c", "echo out; echo err >&2; exit 7")
    with pytest.raises(CommandFailed, match=r"client1: .* ended with status 7: err"):
        done.check()


def test_a_command_reads_what_it_is_given_and_arguments_arrive_as_they_are(nodes):
    assert nodes.execute("client1", ["cat"], timeout_s=10, stdin="a\nb").stdout == "a\nb"
    odd = ["a b", "", "$HOME", "'", '"', "-x", "*", "\\"]
    assert out(nodes, "client1", "printf", "%s\\n", *odd).split("\n")[:-1] == odd


def test_a_command_that_is_not_there_is_an_error_with_its_node(nodes):
    done = nodes.execute("client1", ["no-such-program"], timeout_s=10)
    assert done.exit_status == 127
    with pytest.raises(CommandFailed, match="client1: `no-such-program`"):
        done.check()


def test_at_the_deadline_all_that_a_command_started_ends(nodes):
    tree = "sleep 4711 & (sleep 4711 & sleep 4711) & sh -c 'sleep 4711; true'; wait"
    began = time.monotonic()
    with pytest.raises(CommandFailed, match="did not end in time") as caught:
        nodes.execute("client2", ["sh", "-c", tree], timeout_s=0.5)
    assert time.monotonic() - began < 2
    assert caught.value.exit_status is None
    assert caught.value.where == "client2"
    until(lambda: "4711" not in out(nodes, "client2", "sh", "-c", "cat /proc/[0-9]*/cmdline"), "the end of all", 2)


# Deployments


def test_two_deployments_have_the_same_addresses_and_do_not_meet(nodes):
    say = "import socket, sys\ns = socket.create_server(('', 9))\nwhile 1: s.accept()[0].sendall(sys.argv[1].encode())"
    hear = "import socket; print(socket.create_connection(('server1', 9), 5).recv(9).decode())"
    with deployed([request("server1", 1), request("client1", 2)], {"server1": 1, "client1": 2}) as second:
        assert second.id != nodes.id
        for deployment in (nodes, second):
            deployment.popen("server1", python(say, deployment.id), deployment.journal.directory / "log")
        for deployment in (nodes, second):
            until(
                lambda d=deployment: d.execute("client1", python(hear), timeout_s=9).stdout.strip() == d.id,
                f"the server of {deployment.id}",
            )
        out(second, "client1", "touch", "/of-the-second")
        assert nodes.execute("client1", ["ls", "/of-the-second"], timeout_s=9).exit_status == 2
        second.limit(True)
        assert nodes.limited is False
    assert out(nodes, "client1", *python(hear)).strip() == nodes.id


def test_a_deployment_that_could_not_be_made_can_be_removed(srv):
    requests = [request("a", 1), request("b", 2, disk="/etc/passwd", disk_bytes=32 << 20)]
    with pytest.raises(CommandFailed, match="b"), deployed(requests, {"a": 1, "b": 1}):
        pass


def test_what_is_left_of_a_link_does_not_hinder_the_node_that_comes_after(monkeypatch):
    """The kernel removes a dead node's link when it finds the time."""
    requests = [request("server1", 1), request("server2", 2)]
    with deployed(requests, {"server1": 1, "server2": 2}) as deployment:
        removed = teardown.remove_nodes

        def slowly(*arguments):
            gone = removed(*arguments)
            enter = ["nsenter", "--target", str(deployment.fabric_pid), "--net"]
            add = ["ip", "link", "add", network.link(2), "type", "veth", "peer", "late"]
            until(
                lambda: subprocess.run([*enter, *add], capture_output=True).returncode == 0, "a link like the old one"
            )
            return gone

        monkeypatch.setattr(teardown, "remove_nodes", slowly)
        deployment.renew(requests, ())
        assert out(deployment, "server2", "cat", "/sys/class/net/eth0/operstate").strip() == "up"


def test_removing_twice_is_fine():
    with deployed([request("a", 1)], {"a": 1}) as one:
        remove(one.journal, one.cgroups)
        remove(one.journal, one.cgroups)
    remove(Journal("0000"), one.cgroups)


@pytest.mark.speed
def test_sixteen_nodes_are_up_within_seconds_and_gone_within_seconds():
    requests = [request(f"n{i}", i) for i in range(1, 17)]
    began = time.monotonic()
    with deployed(requests, {f"n{i}": i for i in range(1, 17)}, FIGURES) as many:
        up_s = time.monotonic() - began
        assert len(many.nodes) == 16
        began = time.monotonic()
    assert up_s < 8
    assert time.monotonic() - began < 5
