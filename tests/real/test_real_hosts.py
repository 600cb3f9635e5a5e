"""The same study on slices of this machine, on hosts that ssh reaches, and on those that a real Slurm and OAR lend."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import support
from box import user
from box.hosts import Box, box
from box.oar import start as start_oar
from box.slurm import start as start_slurm

pytestmark = pytest.mark.real

HOSTS = 4
STUDY = """\
[study]
name = "small"
search = "grid"
repetitions = 1

[platform]
{platform}
[platform.host]
cores = 0.2
nic = "200 Mbit/s"
disk = "60 MB/s"
memory = "1 GiB"

[filesystem]
kind = "glusterfs"
[filesystem.roles]
server = 2
client = 2

[fold]
ratios = [1, 2]

[[workload]]
kind = "ior"
block = "16 MiB"
"""


@pytest.fixture(scope="module")
def hosts(machine, tmp_path_factory):
    """Four hosts, with a front end of Slurm and one of OAR."""
    nodes = [f"node{number}" for number in range(1, HOSTS + 1)]
    with support.agents_removed(), box(tmp_path_factory.mktemp("box"), ["slurmfront", "oarfront", *nodes]) as made:
        user.add(made, "slurmfront", "oarfront")
        start_slurm(made, "slurmfront", nodes)
        start_oar(made, "oarfront", nodes)
        yield made


def written(hosts: Box, directory: Path, kind: str) -> Path:
    lines = [f'kind = "{kind}"']
    if kind != "emulated":
        lines.append(f'ssh_config = "{hosts.config}"')
    lines += {
        "ssh": [f'hosts = ["node[1-{HOSTS}]"]'],
        "slurm": ['front = "slurmfront"', 'walltime = "10 min"'],
        "oar": ['front = "oarfront"', 'walltime = "10 min"'],
    }.get(kind, [])
    file = directory / f"{kind}.toml"
    file.write_text(STUDY.format(platform="\n".join(lines)))
    return file


@pytest.fixture(scope="module")
def ran(hosts, tmp_path_factory):
    """Each kind of platform -> the verdicts of the study there; what schedulers lend is reached by ssh."""
    found = {}
    for kind in ("emulated", "slurm", "oar"):
        top = tmp_path_factory.mktemp(kind)
        done = support.pliant("run", written(hosts, top, kind), "--output", top / "out", "--fresh")
        assert done.returncode == 0, f"{kind}: {done.stderr}"
        found[kind] = (json.loads((top / "out/verdict.json").read_text()), done.stderr, top / "out")
    return found


def medians(verdict, metric: str) -> dict[float, float]:
    (rows,) = (each["ratios"] for each in verdict["verdicts"] if each["metric"] == metric)
    return {row["ratio"]: row["median"] for row in rows}


@pytest.mark.parametrize("kind", ["slurm", "oar"])
@pytest.mark.parametrize("metric", ["write_bandwidth", "read_bandwidth"])
def test_real_hosts_give_what_slices_of_one_machine_do(ran, kind, metric):
    here, there = medians(ran["emulated"][0], metric), medians(ran[kind][0], metric)
    assert there[1] == pytest.approx(here[1], rel=0.25)
    assert there[2] / there[1] == pytest.approx(here[2] / here[1], rel=0.4)
    assert there[2] > there[1] * 1.2, "GlusterFS on two hosts is faster: half of its traffic stays within a host"


@pytest.mark.parametrize("kind", ["slurm", "oar"])
def test_hosts_are_asked_for_waited_for_and_given_back(ran, kind):
    said = ran[kind][1]
    assert f"ask for {HOSTS} hosts for 10 min" in said and "release job" in said


@pytest.mark.parametrize("kind", ["slurm", "oar"])
def test_each_ratio_is_a_deployment_on_hosts_of_its_own(ran, kind):
    said = ran[kind][1]
    assert "deployed 4 nodes on 4 hosts" in said and "deployed 4 nodes on 2 hosts" in said
    assert "every host delivers what it was promised within 5 %" in said


def test_hosts_are_named_in_the_results_and_their_telemetry_is_there(ran):
    _, _, out = ran["slurm"]
    facts = json.loads((out / "verdict.json").read_text())["facts"]
    assert facts["hosts"] == ", ".join(f"host{n} node{n}" for n in range(1, HOSTS + 1))
    text = next(out.glob("trials/*ratio1*/telemetry.txt")).read_text()
    columns = [name for name, _ in json.loads(text.partition("\n")[0])["columns"]]
    assert {f"host/host{n}/cpu_s" for n in range(1, HOSTS + 1)} <= set(columns)


def test_a_cluster_is_left_up_there_and_used_from_here(hosts, tmp_path):
    study = written(hosts, tmp_path, "ssh")
    up = support.pliant("up", study, "--ratio", "2")
    assert up.returncode == 0, up.stderr
    deployment = up.stdout.strip()
    try:
        (shown,) = [each for each in support.listed() if each["id"] == deployment]
        assert shown["state"] == "up"
        assert {node["name"]: node["host"] for node in shown["nodes"]} == {
            "server1": "node1",
            "server2": "node2",
            "client1": "node1",
            "client2": "node2",
        }
        assert {node["health"] for node in shown["nodes"]} == {"good"}
        said = support.pliant("exec", "--id", deployment, "client", "--", "sh", "-c", "hostname > /mnt/dfs/$(hostname)")
        assert said.returncode == 0, said.stderr
        files = support.pliant("exec", "--id", deployment, "client2", "--", "ls", "/mnt/dfs")
        assert files.stdout.split() == ["client1", "client2"]
        assert "glusterd.log" in support.pliant("logs", "server1", "--id", deployment).stdout
        again = support.pliant("reset", deployment)
        assert again.returncode == 0, again.stderr
        assert support.pliant("exec", "--id", deployment, "client2", "--", "ls", "/mnt/dfs").stdout == ""
        refused = support.pliant("refold", deployment, "--ratio", "1")
        assert refused.returncode == 1 and "cannot move while they run" in refused.stderr
    finally:
        down = support.pliant("down", deployment)
    assert (down.returncode, down.stdout) == (0, f"{deployment} removed\n")


def test_check_says_what_it_would_ask_for_and_asks_for_nothing(hosts, tmp_path):
    said = support.pliant("check", written(hosts, tmp_path, "slurm"), "--json")
    about = json.loads(said.stdout)["reservation"]
    assert (about["nodes"], about["walltime_s"], about["machine_hours"]) == (
        HOSTS,
        600.0,
        pytest.approx(2 / 3, rel=1e-3),
    )
    assert hosts.run("slurmfront", ["squeue", "--noheader"]) == ""


def test_hosts_are_reached_by_way_of_another_as_the_users_own_settings_say(hosts, tmp_path):
    config = tmp_path / "ssh_config"
    config.write_text(f"Host node*\n  ProxyJump slurmfront\n{hosts.config.read_text()}")
    file = written(hosts, tmp_path, "ssh")
    file.write_text(file.read_text().replace(str(hosts.config), str(config)))
    log = hosts.directory / "slurmfront-sshd.log"
    before = log.read_text().count("Accepted publickey")
    up = support.pliant("up", file, "--ratio", "2")
    assert up.returncode == 0, up.stderr
    deployment = up.stdout.strip()
    try:
        assert log.read_text().count("Accepted publickey") == before + HOSTS, "one connection for each host"
        said = support.pliant("exec", "--id", deployment, "client1", "--", "sh", "-c", "echo hello > /mnt/dfs/hello")
        assert said.returncode == 0, said.stderr
        read = support.pliant("exec", "--id", deployment, "client2", "--", "cat", "/mnt/dfs/hello")
        assert read.stdout == "hello\n"
    finally:
        support.remove([deployment])


def test_a_host_that_lacks_what_the_study_needs_is_named(hosts, tmp_path):
    hosts.run("node3", ["mount", "--bind", "/dev/null", "/usr/sbin/glusterd"])
    try:
        for command in ("check", "run"):
            done = support.pliant(command, written(hosts, tmp_path, "ssh"))
            assert done.returncode == 2
            assert "missing on node3: glusterd, glusterfs; install with: apt-get install gluster" in done.stderr
    finally:
        hosts.run("node3", ["umount", "/usr/sbin/glusterd"])
