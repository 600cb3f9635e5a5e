"""A machine that has everything, and studies prepared for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from study_files import edited

from pliant.campaign import preparation
from pliant.cluster import mpi as mpi_
from pliant.machine import facts
from pliant.platforms.budget import Budget
from pliant.study.reading import load, parse

ROOT = Path(__file__).parents[2]
GIB = 2**30
MACHINE = facts.Facts(True, 2, 24 * GIB, 400 * GIB, "hybrid", "", True, True, True, "6.18", "Debian 12", "a CPU")
MPI = mpi_.Mpi("mpich", "/venv/bin/mpiexec", "MPICH 4.2", {})


class Machine:
    """A machine that has everything; who asks for it takes something away."""

    facts = MACHINE
    absent: tuple[str, ...] = ()
    kernel: tuple[str, ...] = ("fuse",)
    up: tuple[Budget, ...] = ()

    def stand_in(self, put: Callable[[object, str, object], None]) -> None:
        """Be what a study is prepared for, by `setattr` or one that is undone."""
        put(facts, "look", lambda: self.facts)
        put(facts, "missing", lambda programs: [p for p in programs if p in self.absent])
        put(facts, "missing_filesystems", lambda names: sorted(set(names) - set(self.kernel)))
        put(facts, "package_versions", lambda packages: dict.fromkeys(packages, "10.3-5"))
        put(facts, "version", lambda argv: f"{argv[0]} 10.3")
        put(preparation, "promises", lambda: list(self.up))
        put(mpi_, "find", lambda asked, program, machines: replace(MPI, mpiexec=asked or MPI.mpiexec))


def prepare(study):
    """That of the only file system."""
    (prepared,) = preparation.prepare(study)
    return prepared


def study(*edits: str):
    return parse(edited(*edits), "a.toml")


def quickstart() -> preparation.Prepared:
    return prepare(load(ROOT / "studies/quickstart.toml"))
