"""A study on what somebody else has deployed: a GlusterFS on four hosts with an sshd each, as nxc leaves it behind.

No nxc runs here; what it would have started is started by the test, from the composition that would be exported.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import support
from box.hosts import Box

from pliant.cluster.steps import Runner
from pliant.machine.process import Completed, environment, run
from pliant.results.store import Store
from pliant.study.reading import load

pytestmark = pytest.mark.real

STUDY = """\
[study]
name = "theirs"
search = "grid"
repetitions = 2

[platform]
kind = "ssh"
hosts = ["elsewhere"]
ssh_config = "{config}"

[filesystem]
kind = "glusterfs"
[filesystem.roles]
server = 2
client = 2

[fold]
ratios = [1, 2]

[[workload]]
kind = "ior"
block = "64 MiB"
ranks_per_client = 2

[[fault]]
workload = "ior"
node = "server1"
at = "1 s"
what = "crash"
"""
NODES = ("server1", "server2", "client1", "client2")


class Theirs:
    """Hosts as nodes, as `Runner` needs them to carry out the steps of a composition."""

    def __init__(self, hosts: Box, directory: Path) -> None:
        self.hosts, self.directory = hosts, directory

    def execute(self, node, argv, *, timeout_s: float, stdin: str = "") -> Completed:
        return run(self.hosts.inside(node, argv), timeout_s=timeout_s, stdin=stdin, env=environment(), where=node)

    def popen(self, node, argv, log):
        return self.hosts.start(node, argv, log.name)

    def log(self, node, name):
        return self.directory / f"{node}-{name}.log"


@pytest.fixture(scope="module")
def hosts(machine, tmp_path_factory):
    """The hosts, with the file system up and mounted."""
    top = tmp_path_factory.mktemp("box")
    made = Box(top, NODES)
    for node in NODES:
        for where in ("/var/lib/glusterd", "/var/log/glusterfs", "/srv", "/mnt", "/run"):
            own = top / node / where.replace("/", "_")
            own.mkdir(parents=True)
            made.bound.setdefault(node, []).append((own, where))
        (own / "sshd").mkdir()
    with support.agents_removed(), contextlib.ExitStack() as down:
        down.callback(made.down)
        made.up()
        study = load(study_of(made, top))
        theirs, composition = Theirs(made, top), study.composition
        for node in NODES:
            for file in composition.files.get(node, ()):
                theirs.execute(node, ["mkdir", "-p", str(Path(file.path).parent)], timeout_s=10).check()
                theirs.execute(node, ["tee", file.path], stdin=file.content, timeout_s=10).check()
            disk = composition.role(node.rstrip("12")).disk
            theirs.execute(node, ["mkdir", "-p", composition.mount, *([disk] if disk else [])], timeout_s=10).check()
            if disk:
                image = str(top / node / "disk")
                theirs.execute(node, ["truncate", "--size=1G", image], timeout_s=10).check()
                theirs.execute(node, ["mkfs.ext4", "-q", image], timeout_s=30).check()
                theirs.execute(node, ["mount", "-o", "loop", image, disk], timeout_s=10).check()
        Runner(theirs, lambda node: "").carry_out(composition.steps, lambda step: None)
        yield made


def study_of(hosts: Box, directory: Path) -> Path:
    file = directory / "theirs.toml"
    file.write_text(STUDY.format(config=hosts.config))
    return file


def deployment(hosts: Box, directory: Path, **changes) -> Path:
    table = {hosts.addresses[node]: {"role": node.rstrip("12"), "host": node} for node in NODES}
    file = directory / "deployment.json"
    file.write_text(json.dumps({"ssh_key.pub": "", "deployment": table | changes}))
    return file


def still_works(hosts: Box) -> None:
    """What was deployed is as it was: mounted, and with nothing in it that is not the deployer's."""
    hosts.run("client1", ["touch", "/mnt/dfs/theirs"])
    assert hosts.run("client2", ["ls", "-A", "/mnt/dfs"]).split() == ["theirs"]
    assert hosts.run("server1", ["gluster", "--mode=script", "volume", "list"]).strip()


def test_it_is_measured_and_left_as_it_was(hosts, tmp_path):
    out = tmp_path / "out"
    file = study_of(hosts, tmp_path)
    done = support.pliant("run", file, "--deployment", deployment(hosts, tmp_path), "--output", out)
    assert done.returncode == 0, done.stderr
    with Store.look(out) as store:
        trials, (info,), facts = store.trials(), store.infos(), store.facts()
    assert [(trial.state, trial.ratio, trial.hosts, trial.workload) for trial in trials] == [
        ("done", 1.0, 4, "ior")
    ] * 2
    assert info.platform == "nxc"
    assert facts["deployed by"].startswith("NixOS Compose: ")
    assert all(value > 0 for trial in trials for value in trial.metrics.values())
    seen = [phase["hosts"] for trial in trials for phase in trial.usage.values() if phase["hosts"]]
    assert seen, "every phase was too short for telemetry"
    for hosts_of_phase in seen:
        assert set(hosts_of_phase) == {"host1", "host2", "host3", "host4"}
        assert all(host["cpu"][0] > 0 and host["memory_peak_bytes"] > 0 for host in hosts_of_phase.values())
    assert "found 4 nodes on 4 hosts" in done.stderr
    assert "says nothing of how far it folds" in " ".join(done.stdout.split())
    assert "NixOS Compose: " in (out / "report.html").read_text()
    still_works(hosts)
    assert support.listed() == []


def test_a_run_that_is_killed_leaves_it_as_it_was(hosts, tmp_path):
    file = study_of(hosts, tmp_path)
    extra = ["--deployment", deployment(hosts, tmp_path)]
    with support.Running(file, tmp_path / "out", *extra) as running:
        running.until("write")
        running.kill()
        (left,) = running.deployments()
        down = support.pliant("down", left)
        assert down.returncode == 0, down.stderr
    hosts.run("client1", ["sh", "-c", "rm -rf /mnt/dfs/pliant-*"])
    still_works(hosts)
    assert support.listed() == []


@pytest.mark.parametrize(
    ("more", "changes", "said"),
    [
        (["--workflow", "verified"], {}, "add --workflow dev"),
        ([], {"10.78.0.200": {"role": "server", "host": "server3"}}, "has server3, which the study has not"),
    ],
)
def test_what_cannot_be_is_refused(hosts, tmp_path, more, changes, said):
    file, about = study_of(hosts, tmp_path), deployment(hosts, tmp_path, **changes)
    done = support.pliant("run", file, "--deployment", about, "--output", tmp_path / "out", *more)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_one_that_does_not_work_is_told_with_what_its_health_check_says(hosts, tmp_path):
    hosts.run("client2", ["umount", "/mnt/dfs"])
    try:
        file = study_of(hosts, tmp_path)
        done = support.pliant("run", file, "--deployment", deployment(hosts, tmp_path), "--output", tmp_path / "out")
        assert done.returncode == 1
        assert "client2" in done.stderr
    finally:
        study = load(study_of(hosts, tmp_path))
        theirs = Theirs(hosts, tmp_path)
        for command in study.composition.step("mount").runs["client2"]:
            theirs.execute("client2", command.argv, timeout_s=30).check()
    still_works(hosts)
