"""What determines a trial, and that a change of pliant's own measuring is noticed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from prepared_studies import MACHINE, prepare, study

import pliant
from pliant.campaign import determinants as determined
from pliant.campaign.determinants import Determined, differences
from pliant.composition.model import File
from pliant.digest import KEY
from pliant.machine import facts
from pliant.statistics.search import Todo

PACKAGE = Path(pliant.__file__).parent
TODO = Todo("ior", 2.0, 1, "glusterfs")


pytestmark = pytest.mark.usefixtures("machine")


def key(*edits: str, todo: Todo = TODO, workflow: str = "dev", fresh: str = "", **changes: object) -> str:
    return Determined(replace(prepare(study(*edits)), **changes), workflow, fresh).key(todo)


def test_the_same_trial_has_the_same_key():
    assert KEY.fullmatch(key())
    assert key() == key()
    assert key() == key("max_loss => max_loss", 'name = "small" => name = "other" \n description = "no matter"')


@pytest.mark.parametrize(
    "edit",
    [
        'max_loss = "10 %" => max_loss = "20 %"',
        "repetitions = 2 => repetitions = 5",
        "ratios = [1, 2, 4] => ratios = [1, 2]",
        "files_per_rank = 20 => files_per_rank = 30",  # of another workload
    ],
)
def test_what_only_decides_which_trials_there_are_is_no_part_of_it(edit):
    assert key(edit) == key()


@pytest.mark.parametrize(
    "edit",
    [
        "cores = 0.2 => cores = 0.25",
        'nic = "200 Mbit/s" => nic = "300 Mbit/s"',
        'memory = "1 GiB" => memory = "2 GiB"',
        'memory = "1 GiB" => memory = "1 GiB" \n disk_size = "2 GiB"',
        "server = 4 => server = 5",
        'volume = "distribute" => volume = "replicate 2"',
        'strategy = "spread" => strategy = "pack"',
        'block = "8 MiB" => block = "16 MiB"',
        "seed = 7 => seed = 8",
        'seed = 7 => seed = 7 \n trial_timeout = "1 min"',
    ],
)
def test_what_a_number_could_depend_on_is_part_of_it(edit):
    assert key(edit) != key()


def test_where_ranks_are_folded_trials_differ_where_ranks_do():
    nodes = 'ratios = [1, 2, 4] => ratios = [1, 2, 4] \\n roles = ["client"]'
    ranks = f'{nodes} \\n of = "ranks"'
    assert key(ranks, todo=TODO._replace(ratio=1.0)) == key(nodes, todo=TODO._replace(ratio=1.0))
    assert key(ranks, todo=TODO._replace(ratio=2.0)) != key(nodes, todo=TODO._replace(ratio=2.0))


def test_what_else_it_depends_on(monkeypatch):
    known = {key()}
    for made in (
        key(todo=TODO._replace(repetition=2)),
        key(todo=TODO._replace(ratio=4.0)),
        key(todo=TODO._replace(workload="mdtest")),
        key(workflow="verified"),
        key(fresh="ab12"),
        key(machine=replace(MACHINE, kernel="6.19")),
        key(machine=replace(MACHINE, cpu="another CPU")),
        key(versions={"glusterfs-server": "11"}),
    ):
        assert made not in known
        known.add(made)
    monkeypatch.setattr(determined, "MEASURING", determined.MEASURING + 1)
    assert key() not in known
    monkeypatch.undo()


def test_a_program_of_the_same_name_that_is_another_is_another_trial(monkeypatch, tmp_path):
    program = tmp_path / "glusterd"
    program.write_text("version 1")
    monkeypatch.setattr(facts, "which", lambda name: str(program) if name == "glusterd" else None)
    before = key()
    determined._digest.cache_clear()
    program.write_text("version 2")
    assert key() != before


def test_the_content_of_secret_files_counts_and_is_not_told():
    prepared = prepare(study())
    node = prepared.study.nodes[0].name
    documents = []
    for secret in ("one", "two"):
        files = {node: (File("/etc/secret", f"it is {secret}", secret=True),)}
        composition = replace(prepared.study.composition, files=files)
        alone = replace(prepared.study.alone, composition=composition)
        changed = replace(prepared, study=replace(prepared.study, filesystems=(alone,)))
        documents.append(Determined(changed, "dev").document(TODO))
    assert "it is" not in json.dumps(documents)
    assert documents[0] != documents[1]


def test_where_documents_differ():
    before = {"a": {"b": 1, "c": [1, 2]}, "d": "x"}
    assert list(differences(before, before)) == []
    assert list(differences(before, {"a": {"b": 2, "c": [1]}, "e": "y"})) == [
        "a.b was 1 and is 2",
        "a.c was [1,2] and is [1]",
        'd was "x" and is not there',
        'e was not there and is "y"',
    ]


# The sources that measure

SOURCES = (
    "cluster/cluster.py",
    "cluster/injection.py",
    "campaign/measuring.py",
    "cluster/mpi.py",
    "telemetry/stalls.py",
    "cluster/steps.py",
    "machine/caches.py",
    "machine/cgroup.py",
    "machine/cgroup_v1.py",
    "machine/cgroup_v2.py",
    "machine/cgroups.py",
    "machine/cpus.py",
    "machine/deployment.py",
    "machine/disks.py",
    "machine/diskshare.py",
    "machine/launch.py",
    "machine/making.py",
    "machine/metronome.py",
    "machine/network.py",
    "machine/process.py",
    "machine/running.py",
    "machine/streaming.py",
    "machine/together.py",
    "machine/view.py",
    "platforms/emulated.py",
    "machine/needing.py",
    "workloads/*.py",
    "workloads/kernels/*.py",
)
DIGEST = "a4639edcca406fab"


def test_measuring_is_raised_when_the_sources_that_measure_change():
    """Comments and blank lines aside. Whoever changes these decides: could the same trial now give other numbers?"""
    found = hashlib.sha256()
    for pattern in SOURCES:
        paths = sorted(PACKAGE.glob(pattern))
        assert paths, pattern
        for path in paths:
            lines = [line.strip() for line in path.read_text().splitlines()]
            found.update("\n".join(line for line in lines if line and not line.startswith("#")).encode())
    assert found.hexdigest()[:16] == DIGEST, (
        f"the sources that measure were changed: if the same trial could now give other numbers, raise "
        f"determined.MEASURING; then write DIGEST = {found.hexdigest()[:16]!r} here"
    )
