"""Gfarm, SeaweedFS and JuiceFS for real: crashes, killed daemons, whole studies at three ratios, odd shapes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import support
from test_filesystems_real import ROOT, crash, digest, healthy, out, sh, study, through_a_crash, up

from pliant.results.store import Store

pytestmark = pytest.mark.real

JUICEFS = (ROOT / "studies/juicefs.toml").read_text()
OWN = str(Path(sys.executable).parent / "juicefs")
"""Where setup puts it for tests: beside their Python."""


def juicefs(**counts: int) -> str:
    """The study of JuiceFS, as it is but for the place of its program, the counts, and what its hosts have."""
    own = JUICEFS.replace('juicefs = "juicefs"', f'juicefs = "{OWN}"').replace('["juicefs"', f'["{OWN}"')
    options = own[own.index("[filesystem.options]") : own.index("[fold]")].partition("\n")[2]
    return study("custom", counts, options).replace('kind = "custom"', 'kind = "custom"\nname = "juicefs"')


CASES = {
    "gfarm": (study("gfarm", {"metadata": 1, "storage": 3, "client": 2}, "replicas = 2"), "storage2", True),
    "seaweedfs": (
        study("seaweedfs", {"master": 1, "volume": 3, "filer": 1, "client": 2}, 'replication = "001"'),
        "volume2",
        True,
    ),
    "juicefs": (juicefs(meta=1, storage=2, client=2), "storage2", False),
}


def write(cluster, client: str, name: str, mib: int = 8) -> str:
    """Write random data from a client; its SHA-256. Gfarm syncs only what is open for writing, unlike sync(1) wants."""
    path = f"{cluster.composition.mount}/{name}"
    out(cluster, client, f"dd if=/dev/urandom of={path} bs=1M count={mib} iflag=fullblock conv=fsync")
    return digest(cluster, client, name)


def copied(cluster, name: str) -> None:
    """Gfarm makes the other copies once a file is closed."""
    if cluster.composition.filesystem == "gfarm":
        out(cluster, "client1", f"gfncopy -w -t 30 /{name}")


@pytest.mark.together
@pytest.mark.parametrize(("text", "victim", "survives"), CASES.values(), ids=CASES)
def test_data_survive_the_crash_of_a_server(text, victim, survives, machine):
    with up(text) as (cluster, took_s):
        assert took_s < 15 * support.PATIENCE
        healthy(cluster)
        before = write(cluster, "client1", "before")
        copied(cluster, "before")
        assert digest(cluster, "client2", "before") == before
        through_a_crash(cluster, victim, survives, before, write)
        cluster.unmount()
        assert sh(cluster, "client1", f"mountpoint -q {cluster.composition.mount}").exit_status != 0
    support.nothing_left(machine)


NAMES = {
    "gfarm": (CASES["gfarm"][0], "metadata1"),
    "seaweedfs": (CASES["seaweedfs"][0], "filer1"),
    "seaweedfs-master": (CASES["seaweedfs"][0], "master1"),
    "juicefs": (CASES["juicefs"][0], "meta1"),
}


@pytest.mark.together
@pytest.mark.parametrize(("text", "victim"), NAMES.values(), ids=NAMES)
def test_names_and_data_are_there_after_the_server_that_knows_them_has_crashed(text, victim):
    with up(text) as (cluster, _):
        before = write(cluster, "client1", "before")
        out(cluster, "client1", f"mkdir {cluster.composition.mount}/directory")
        # Redis writes each second, and gfmd hands on to its database in the background.
        out(cluster, "client1", "sleep 1.5")
        crash(cluster, victim)
        support.until(lambda: not cluster.health()[victim].good, f"{victim} is known to be down", 30)
        cluster.start(victim)
        healthy(cluster)
        if cluster.composition.filesystem == "gfarm":
            # Who was asked for something while gfmd was away opens no file any more (docs/file-systems.md).
            for client in ("client1", "client2"):
                cluster.crash(client)
                cluster.start(client)
        assert digest(cluster, "client2", "before") == before
        assert out(cluster, "client2", f"ls {cluster.composition.mount}").split() == ["before", "directory"]
        after = write(cluster, "client2", "after", 1)
        assert digest(cluster, "client1", "after") == after


DAEMONS = [
    ("gfarm", "metadata1", "gfmd"),
    ("gfarm", "metadata1", "postgres"),
    ("gfarm", "storage1", "gfsd"),
    ("gfarm", "client1", "gfarm2fs"),
    ("seaweedfs", "master1", "weed"),
    ("seaweedfs", "volume3", "weed"),
    ("seaweedfs", "filer1", "weed"),
    ("seaweedfs", "client2", "weed"),
    ("juicefs", "meta1", "redis-server"),
    ("juicefs", "storage1", "redis-server"),
    ("juicefs", "client1", "juicefs"),
]


@pytest.mark.together
@pytest.mark.parametrize("kind", CASES)
def test_a_daemon_that_was_killed_is_missed(kind):
    """One after the other; what is reached by another's word is asked first."""
    killed = [(node, program) for name, node, program in DAEMONS if name == kind]
    for node, program in reversed(killed):
        with up(CASES[kind][0]) as (cluster, _):
            healthy(cluster)
            out(cluster, node, f"pkill -9 -x {program}")
            support.until(lambda: not cluster.health()[node].good, f"{program} of {node} is missed", 20)  # noqa: B023


@pytest.mark.together
@pytest.mark.parametrize("kind", CASES)
def test_what_is_written_lies_on_the_disks_of_the_servers_and_leaves_them(kind):
    with up(CASES[kind][0]) as (cluster, _):
        composition = cluster.composition
        disks = {node.name: disk for node in composition.nodes if (disk := composition.role(node.role).disk)}

        def used(node: str) -> int:
            return int(out(cluster, node, f"df --output=used --block-size=1 {disks[node]} | tail -n 1"))

        before = {node: used(node) for node in disks}
        layers = shared(cluster)
        out(cluster, "client1", f"mkdir {composition.mount}/pliant-t")
        for number in range(4):
            write(cluster, "client1", f"pliant-t/{number}", 10)
        stored = sum(used(node) - before[node] for node in disks)
        assert stored > 40e6
        # And nothing of it on what all nodes of the machine share.
        assert layers > 0
        assert shared(cluster) - layers < 4e6
        cluster.empty(f"{composition.mount}/pliant-t")
        # Redis keeps a log, which it writes anew when it has doubled.
        if kind != "juicefs":
            support.until(
                lambda: sum(used(node) - before[node] for node in disks) < 8e6, "what was deleted is gone", 20
            )


def shared(cluster) -> int:
    """What all nodes have written to their layers over what the machine has, bytes."""
    state = cluster.deployment.journal.directory
    written = [path for layer in state.rglob("upper*") for path in layer.rglob("*")]
    return sum(path.lstat().st_blocks * 512 for path in written)


@pytest.mark.together
def test_keys_of_gfarm_are_secret_in_the_nodes_and_written_nowhere_else():
    with up(study("gfarm", {"metadata": 1, "storage": 1, "client": 1})) as (cluster, _):
        keys = {i.value for named in cluster.composition.identities.values() for i in named.values() if i.secret}
        assert len(keys) == 2
        for node, users in (("metadata1", 2), ("storage1", 2), ("client1", 1)):
            listed = out(
                cluster, node, "ls -l /root/.gfarm_shared_key /var/lib/gfarmfs/.gfarm_shared_key 2> /dev/null; :"
            )
            assert (
                re.findall(r"^(\S+) \d+ (\S+) ", listed, re.MULTILINE)
                == [
                    ("-rw-------", "root"),
                    ("-rw-------", "_gfarmfs"),
                ][:users]
            )
        state = cluster.deployment.journal.directory
        written = [p for p in state.iterdir() if p.is_file()] + [p for p in (state / "logs").rglob("*") if p.is_file()]
        assert written
        for path in written:
            assert not [key for key in keys if key in path.read_text(errors="replace")], path


@pytest.mark.together
def test_seaweedfs_of_three_masters_goes_on_without_the_one_that_led():
    roles = {"master": 3, "volume": 2, "filer": 1, "client": 2}
    with up(study("seaweedfs", roles, 'replication = "010"')) as (cluster, _):
        healthy(cluster)
        before = write(cluster, "client1", "before", 1)
        led = out(cluster, "volume1", "curl --silent http://master1:9333/cluster/status")
        [leader] = re.findall(r'"Leader":"(master\d)', led)
        crash(cluster, leader)
        assert digest(cluster, "client2", "before") == before
        after = write(cluster, "client2", "after", 1)
        cluster.start(leader)
        healthy(cluster)
        assert digest(cluster, "client1", "after") == after


FOLD = """\
[fold]
ratios = {ratios}
max_loss = "20 %"
[[workload]]
kind = "ior"
block = "4 MiB"
transfer = "512 KiB"
ranks_per_client = {ranks}
"""
MDTEST = """\
[[workload]]
kind = "mdtest"
files_per_rank = 20
directories = false
"""


def whole(
    directory: Path, text: str, ratios: list[int], workflow: str = "dev", ranks: int = 1, **figures: str
) -> Store:
    """A study carried out at some ratios, once each."""
    text = text[: text.index("[fold]")] + FOLD.format(ratios=ratios, ranks=ranks)
    text += MDTEST if workflow == "dev" else ""
    text = text.replace('search = "grid"', f'search = "grid"\nrepetitions = 1\nworkflow = "{workflow}"')
    for key, value in figures.items():
        text = re.sub(rf"^{key} = .*$", f"{key} = {value}", text, flags=re.MULTILINE)
    (directory / "study.toml").write_text(text)
    done = support.pliant("run", directory / "study.toml", "--output", directory / "out")
    assert done.returncode == 0, done.stderr
    return Store.look(directory / "out")


WHOLE = {
    "gfarm": study("gfarm", {"metadata": 1, "storage": 3, "client": 2}, "replicas = 2"),
    "seaweedfs": study("seaweedfs", {"master": 1, "volume": 2, "filer": 1, "client": 2}, 'replication = "001"'),
    "juicefs": juicefs(meta=1, storage=3, client=2),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_study_at_three_ratios(kind, tmp_path, machine):
    with whole(tmp_path, WHOLE[kind], [1, 2, 4]) as store:
        trials = [trial for trial in store.trials() if trial.state == "done"]
        assert len(trials) == 6, [(trial.state, trial.reason) for trial in store.trials()]
        assert {(trial.workload, trial.ratio) for trial in trials} == {
            (workload, ratio) for workload in ("ior", "mdtest") for ratio in (1, 2, 4)
        }
        for trial in trials:
            assert trial.metrics and all(value > 0 for value in trial.metrics.values())
    assert (tmp_path / "out/report.html").exists()
    support.nothing_left(machine)


def test_every_trial_on_a_new_gfarm(tmp_path, machine):
    text = study("gfarm", {"metadata": 1, "storage": 1, "client": 2})
    with whole(tmp_path, text, [1, 4], workflow="verified") as store:
        trials = [trial for trial in store.trials() if trial.state == "done"]
        assert len(trials) == 2 and all(len(trial.proved) == 3 for trial in trials)
    support.nothing_left(machine)


ODD = {
    "gfarm": (study("gfarm", {"metadata": 1, "storage": 1, "client": 3}), [1, 5]),
    "seaweedfs": (study("seaweedfs", {"master": 1, "volume": 1, "filer": 1, "client": 1}), [1, 4]),
    "juicefs": (juicefs(meta=1, storage=1, client=1), [1, 3]),
}


@pytest.mark.paired
@pytest.mark.parametrize("kind", ODD)
def test_few_servers_two_ranks_each_a_tenth_of_a_core_all_on_one_host(kind, tmp_path, machine):
    text, ratios = ODD[kind]
    with whole(tmp_path, text, ratios, ranks=2, cores="0.1") as store:
        trials = [trial for trial in store.trials() if trial.state == "done"]
        assert len(trials) == 4, [(trial.state, trial.reason) for trial in store.trials()]
    support.nothing_left(machine)
