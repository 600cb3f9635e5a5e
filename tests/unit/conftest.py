"""What tests ask for: a machine that has everything, and Nix, apart from the machine's own."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

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


@pytest.fixture(scope="module")
def nix_instantiate(tmp_path_factory):
    base = tmp_path_factory.mktemp("nix")
    own = {f"NIX_{name}_DIR": str(base / name.lower()) for name in ("STORE", "STATE", "LOG", "CONF")}

    def run(*argv: str, cwd: Path | None = None, text: str = "") -> str:
        done = subprocess.run(
            ["nix-instantiate", *argv],
            env=os.environ | own,
            cwd=cwd,
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
