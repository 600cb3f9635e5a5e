"""Programs that are run in nodes by their path, and what nodes must see of the machine for that."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pliant
from pliant.machine import witness
from pliant.machine.view import HIDDEN

WITNESS = (sys.executable, "-I", "-S", witness.__file__)
"""Writes files with their checksums, or reads them again."""


def visible(programs: Sequence[str] = ()) -> tuple[str, ...]:
    """What nodes must see wherever it lies: programs, the Python that runs pliant, its libraries, and pliant itself."""
    package = str(Path(pliant.__file__).resolve().parent)
    # A program that lies in a hidden directory itself is shown alone, not with all that is in there.
    beside = [path if str(Path(path).parent) in HIDDEN else str(Path(path).parent) for path in programs]
    found = (sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parent.parent), package, *beside)
    return tuple(path for path in dict.fromkeys(found) if path not in ("/", "/usr"))
