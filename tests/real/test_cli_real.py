"""The commands on a cluster that is up, and what they say where they cannot work."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest
from support import PLIANT, Snapshot, listed, pliant, study

from pliant.machine.journal import STATE

pytestmark = [pytest.mark.real, pytest.mark.together]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A cluster that `pliant up` left: its id and its study."""
    file = study(tmp_path_factory.mktemp("up"), servers=1, clients=2, cores=0.3, ratios=[1, 3])
    done = pliant("up", file)
    assert done.returncode == 0, done.stderr
    (name,) = done.stdout.split()
    yield name, file
    down = pliant("down", name)
    assert (down.returncode, down.stdout) == (0, f"{name} removed\n"), down.stderr


def shown(name):
    return next(each for each in listed() if each["id"] == name)


def execute(name, *arguments):
    return pliant("exec", "--id", name, *arguments)


def refused(done, *words):
    """A user's mistake: one line on standard error, nothing on standard output, status 2."""
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


# What is up


def test_ps_shows_deployments_nodes_hosts_and_addresses(cluster):
    name, _ = cluster
    each = shown(name)
    assert (each["state"], each["title"]) == ("up", "small")
    well = {"alive": True, "state": "up", "health": "good", "said": ""}
    assert each["nodes"] == [
        {"name": "server1", "role": "server", "host": "host1", "address": "10.77.1.1", **well},
        {"name": "client1", "role": "client", "host": "host2", "address": "10.77.1.2", **well},
        {"name": "client2", "role": "client", "host": "host3", "address": "10.77.1.3", **well},
    ]
    text = pliant("ps").stdout
    assert f"{name}  up " in text
    assert "  client2  client  host3  10.77.1.3  good\n" in text
    assert "  client2  client  host3  10.77.1.3  up\n" in pliant("ps", "--no-health").stdout


def test_up_says_what_it_does_and_prints_the_id_alone(tmp_path):
    done = pliant("up", study(tmp_path), "--ratio", "2", "--no-limits")
    try:
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) == 5
        assert "deploy" in done.stderr or "glusterd" in done.stderr
        assert {node["host"] for node in shown(done.stdout.strip())["nodes"]} == {"host1"}
    finally:
        assert pliant("down", done.stdout.strip()).returncode == 0


def test_up_at_a_ratio_that_the_study_has_not_is_refused(cluster):
    _, file = cluster
    refused(pliant("up", file, "--ratio", "2"), "--ratio 2", "1, 3")


# Commands in nodes


def test_exec_labels_what_several_nodes_say(cluster):
    name, _ = cluster
    done = execute(name, "client[1-2]", "--", "hostname")
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["client1: client1", "client2: client2"]
    done = execute(name, "all", "sh", "-c", "echo a; echo b >&2")
    assert sorted(done.stdout.splitlines()) == ["client1: a", "client2: a", "server1: a"]
    assert sorted(done.stderr.splitlines()) == ["client1: b", "client2: b", "server1: b"]


def test_exec_on_one_node_adds_nothing(cluster):
    name, _ = cluster
    done = execute(name, "server", "--", "printf", "a\\nb")
    assert (done.returncode, done.stdout, done.stderr) == (0, "a\nb", "")


def test_the_status_is_the_worst(cluster):
    name, _ = cluster
    script = 'case "$(hostname)" in client1) exit 3;; client2) exit 7;; esac'
    assert execute(name, "all", "--", "sh", "-c", script).returncode == 7
    assert execute(name, "client1,server1", "--", "sh", "-c", script).returncode == 3
    assert execute(name, "server1", "--", "sh", "-c", script).returncode == 0
    assert execute(name, "client", "--", "no-such-program").returncode == 127
    assert execute(name, "server1", "--", "sh", "-c", "kill -9 $$").returncode == 137
    killed = '[ "$(hostname)" = client1 ] || exit 3; kill -9 $$'
    assert execute(name, "all", "--", "sh", "-c", killed).returncode == 137


def test_a_command_that_does_not_end_is_ended(cluster):
    name, _ = cluster
    began = time.monotonic()
    done = pliant("exec", "--id", name, "--timeout", "0.5", "client", "--", "sleep", "4712")
    assert done.returncode == 124
    assert time.monotonic() - began < 5
    assert sorted(line.partition(":")[0] for line in done.stderr.splitlines()) == ["client1", "client2"]
    assert "did not end in time" in done.stderr
    assert execute(name, "client", "--", "pgrep", "-fx", "sleep 4712").returncode == 1


def test_options_of_the_command_reach_the_command(cluster):
    name, _ = cluster
    assert execute(name, "server1", "echo", "--id", "--help", "-x").stdout == "--id --help -x\n"


@pytest.mark.parametrize(
    ("nodes", "token"),
    [("client[1-3]", "client3"), ("monitor1", "monitor1"), ("client[1-", "client[1-"), ("server9,all", "server9")],
)
def test_a_node_that_is_not_there_is_named(cluster, nodes, token):
    name, _ = cluster
    refused(execute(name, nodes, "--", "hostname"), token)


def test_the_file_system_is_mounted_and_shared(cluster):
    name, _ = cluster
    assert execute(name, "client1", "--", "sh", "-c", "echo hello > /mnt/dfs/file").returncode == 0
    assert execute(name, "client2", "--", "cat", "/mnt/dfs/file").stdout == "hello\n"
    assert not os.path.ismount("/mnt/dfs")
    assert "glusterfs" in execute(name, "client", "--", "df", "--output=fstype", "/mnt/dfs").stdout


def test_refold_moves_what_is_up(cluster):
    name, _ = cluster
    done = pliant("refold", name, "--ratio", "3")
    assert (done.returncode, done.stdout) == (0, f"{name}: 3 nodes on 1 host\n"), done.stderr
    assert {node["host"] for node in shown(name)["nodes"]} == {"host1"}
    assert execute(name, "client2", "--", "ls", "/mnt/dfs").returncode == 0
    assert "host-1/client2" in execute(name, "client2", "--", "cat", "/proc/self/cgroup").stdout
    assert pliant("refold", name, "--ratio", "1").returncode == 0
    assert [node["host"] for node in shown(name)["nodes"]] == ["host1", "host2", "host3"]
    refused(pliant("refold", name, "--ratio", "2"), "--ratio 2", "1, 3")
    refused(pliant("refold", "beef", "--ratio", "1"), "beef", name)
    assert pliant("refold", "--ratio", "1").returncode == 0


def test_a_node_that_died_is_shown(cluster, tmp_path):
    done = pliant("up", study(tmp_path))
    name = done.stdout.strip()
    try:
        pid = int((STATE / name / "enter.d/client1").read_text().split()[0])
        os.kill(pid, 9)
        time.sleep(0.2)
        each = shown(name)
        assert each["state"] == "stale"
        assert [node["alive"] for node in each["nodes"]] == [True, False]
        assert "  dead" in pliant("ps").stdout
        failed = execute(name, "client1", "--", "true")
        assert failed.returncode not in (0, 2)
        assert "Traceback" not in failed.stderr
    finally:
        assert pliant("down", name).returncode == 0


def test_with_two_up_one_has_to_be_named(cluster, tmp_path):
    name, _ = cluster
    done = pliant("up", study(tmp_path, clients=1, cores=0.2), "--no-limits")
    second = done.stdout.strip()
    try:
        refused(pliant("exec", "server1", "--", "hostname"), name, second, "--id")
        refused(pliant("down"), name, second)
        assert execute(second, "client1", "--", "hostname").stdout == "client1\n"
        assert execute(second, "client1", "--", "ls", "/mnt/dfs/file").returncode == 2
    finally:
        assert pliant("down", second).returncode == 0
    assert shown(name)["state"] == "up"


# Budgets


def test_more_cores_than_the_machine_has_are_refused_with_what_fits(tmp_path):
    cores = len(os.sched_getaffinity(0))
    done = pliant("check", study(tmp_path, cores=cores, servers=2, clients=2))
    refused(done, "platform.host.cores", f"4 hosts of {cores} cores are {4 * cores}", "largest value that fits is ")
    most = float(done.stderr.partition("largest value that fits is ")[2].split()[0].rstrip(".,;"))
    assert 0 < most <= cores / 4
    assert pliant("check", study(tmp_path, cores=most, servers=2, clients=2)).returncode == 0
    refused(pliant("check", study(tmp_path, cores=most + 0.02, servers=2, clients=2)), "largest value")


def test_what_is_up_counts(cluster, tmp_path):
    done = pliant("check", study(tmp_path, cores=len(os.sched_getaffinity(0)) / 2))
    refused(done, "platform.host.cores", "beside", "other deployment", "largest value that fits is ")


# Where it cannot work


# Not root, but able to read wherever this repository lies.
PLAIN = ["env", "--unset=PLIANT_STATE", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
PLAIN += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search", "--"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "STUDY"),
        ("up", "STUDY"),
        ("down", "--all"),
        ("ps",),
        ("exec", "all", "--", "true"),
        ("refold", "beef", "--ratio", "1"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_without_root_it_is_one_sentence(cluster, arguments):
    argv = [PLIANT, *(str(cluster[1]) if word == "STUDY" else word for word in arguments)]
    refused(subprocess.run([*PLAIN, *argv], capture_output=True, text=True, check=False, timeout=30, cwd="/"), "root")


def test_without_root_a_study_can_be_checked(tmp_path):
    argv = [*PLAIN, PLIANT, "check", str(study(tmp_path, cores=0.05))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30, cwd="/")
    assert done.returncode == 0, done.stderr


def test_a_program_that_is_not_there_is_named(tmp_path):
    workload = '[[workload]]\nkind = "ior"\nprogram = "/opt/no-such/ior"\n'
    before = Snapshot.take()
    for command in ("check", "run", "up"):
        refused(pliant(command, study(tmp_path, workloads=workload)), "/opt/no-such/ior")
    assert Snapshot.take().left(before) == {}


def test_a_file_system_that_is_not_installed_is_named_with_what_to_install(tmp_path, monkeypatch):
    from pliant.campaign.preparation import prepare
    from pliant.errors import UserError
    from pliant.machine import facts
    from pliant.study.reading import load

    there = facts.which
    monkeypatch.setattr(facts, "which", lambda program: None if program in ("glusterd", "tc") else there(program))
    with pytest.raises(UserError) as caught:
        prepare(load(study(tmp_path, cores=0.05)))
    assert "tc, glusterd" in str(caught.value)
    assert "apt-get install" in str(caught.value)
    assert "glusterfs-server" in str(caught.value)
    assert "iproute2" in str(caught.value)


def test_doctor_finds_this_machine_fit():
    done = pliant("doctor")
    assert done.returncode == 0, done.stdout
    assert "this machine can emulate clusters" in done.stdout
    assert "MISSING" not in done.stdout
    findings = json.loads(pliant("doctor", "--json").stdout)
    assert all(each["ok"] for each in findings if each["needed"])


@pytest.mark.speed
def test_help_is_fast():
    took = []
    for _ in range(3):
        began = time.monotonic()
        assert pliant("--help").returncode == 0
        took.append(time.monotonic() - began)
    assert min(took) < 0.2
