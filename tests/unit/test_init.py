"""`pliant init`: studies to begin with, which are good and leave the machine slack."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from prepared_studies import MACHINE

from pliant.cli import cli
from pliant.cli.init_ import _examples
from pliant.machine import facts
from pliant.platforms.budget import overdrawn
from pliant.platforms.interface import HostFigures
from pliant.study import starting
from pliant.study.reading import load

GIB = 2**30


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(facts, "look", lambda: MACHINE)


def call(*arguments: object, status: int = 0, input: str | None = None) -> str:
    result = CliRunner().invoke(cli, ["init", *map(str, arguments)], input=input)
    error = f"{type(result.exception).__name__}: {result.exception}" if result.exception else ""
    assert result.exit_code == status or (status and result.exception), error
    return f"{result.output}{error}"


@pytest.mark.parametrize("kind", _examples())
def test_every_file_system_has_one_that_is_good(tmp_path, kind):
    file = tmp_path / "My study.toml"
    said = call(file, "--filesystem", kind, *(f"--workload={each}" for each in starting.workload_kinds()))
    study = load(file)
    assert (study.name, study.filesystem.kind, study.labels) == ("my-study", kind, starting.workload_kinds())
    assert f"next: pliant check {file}" in said
    assert dict(study.filesystem.roles) == dict(_examples()[kind])
    assert study.ratios[-1] == len(study.nodes)


def test_what_is_not_said_is_a_sensible_default(tmp_path):
    file = tmp_path / "study.toml"
    call(file, "--nodes", "server=2")
    study = load(file)
    assert (study.filesystem.kind, dict(study.filesystem.roles)) == ("glusterfs", {"server": 2, "client": 4})
    assert study.labels == ("ior", "mdtest")


def test_a_file_that_is_there_is_left_alone(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text("mine")
    assert "is there already" in call(file, status=1)
    assert file.read_text() == "mine"
    call(file, "--force")
    assert load(file)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--filesystem", "gluster"], 'did you mean "glusterfs"?'),
        (["--nodes", "sever=3"], 'did you mean "server"?'),
        (["--nodes", "server"], "write e.g. server=4"),
        (["--nodes", "server=many"], "write e.g. server=4"),
        (["--nodes", "server=0"], "0 is too small"),
        (["--workload", "iot"], 'did you mean "ior"?'),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(tmp_path, arguments, sentence):
    file = tmp_path / "study.toml"
    assert sentence in call(file, *arguments, status=1)
    assert not file.exists()


def test_there_is_a_list():
    said = call("--list")
    assert all(kind in said for kind in (*_examples(), *starting.workload_kinds()))


@given(st.integers(1, 200), st.integers(1, 128), st.integers(2, 2048), st.integers(10, 10_000))
def test_hosts_leave_the_machine_slack(nodes, cores, memory_gib, disk_gib):
    host = starting.host_of(nodes, nodes, cores, memory_gib * GIB, disk_gib * GIB)
    there = replace(MACHINE, cores=cores, memory_bytes=memory_gib * GIB, free_disk_bytes=disk_gib * GIB)
    figures = HostFigures(host.cores, 200e6, 60e6, host.memory_bytes)
    least = host.cores == starting.MIN_CORES or starting.MIN_BYTES in (host.memory_bytes, host.disk_bytes)
    assert least or overdrawn(figures, nodes, nodes, host.disk_bytes, there) == []
    assert least or host.cores * nodes <= starting.SLACK * cores * (1 + 1e-9)
