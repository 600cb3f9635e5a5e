"""A machine that has everything, and studies prepared for it."""

from __future__ import annotations

from pathlib import Path

from study_files import edited

from pliant import preparation
from pliant.machine import facts
from pliant.study import load, parse

ROOT = Path(__file__).parents[2]
GIB = 2**30
MACHINE = facts.Facts(True, 2, 24 * GIB, 400 * GIB, "hybrid", "", True, True, True, "6.18", "Debian 12", "a CPU")


def prepare(study):
    """That of the only file system."""
    (prepared,) = preparation.prepare(study)
    return prepared


def study(*edits: str):
    return parse(edited(*edits), "a.toml")


def quickstart() -> preparation.Prepared:
    return prepare(load(ROOT / "studies/quickstart.toml"))
