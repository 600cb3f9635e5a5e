"""The machine that studies are prepared for where a test asks for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prepared_studies import MACHINE

from pliant import engine, preparation
from pliant import mpi as mpi_
from pliant.platforms.emulated import Budget


@pytest.fixture
def machine(monkeypatch):
    """A machine that has everything; the tests take something away."""

    class Machine:
        facts = MACHINE
        absent: tuple[str, ...] = ()
        kernel: tuple[str, ...] = ("fuse",)
        up: tuple[Budget, ...] = ()

    here = Machine()
    mpi = mpi_.Mpi("mpich", "/venv/bin/mpiexec", "MPICH 4.2", {})
    monkeypatch.setattr(engine.facts, "look", lambda: here.facts)
    monkeypatch.setattr(engine.facts, "missing", lambda programs: [p for p in programs if p in here.absent])
    monkeypatch.setattr(engine.facts, "missing_filesystems", lambda names: sorted(set(names) - set(here.kernel)))
    monkeypatch.setattr(engine.facts, "package_versions", lambda packages: dict.fromkeys(packages, "10.3-5"))
    monkeypatch.setattr(engine.facts, "version", lambda argv: f"{argv[0]} 10.3")
    monkeypatch.setattr(preparation, "promises", lambda: list(here.up))
    monkeypatch.setattr(preparation.mpi_, "find", lambda asked, program: replace(mpi, mpiexec=asked or mpi.mpiexec))
    monkeypatch.setenv("PATH", "/nowhere")
    return here
