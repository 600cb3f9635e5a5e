"""The drivers there are: file systems and workloads, found by name through entry points.

A package adds its own under the entry point groups `pliant.filesystems` and `pliant.workloads`; pliant's are found in
the same way.
"""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pliant.composition.model import Filesystem
from pliant.errors import UserError
from pliant.study.problems import show
from pliant.workloads.model import Workload

_FILESYSTEMS = "pliant.filesystems"
_WORKLOADS = "pliant.workloads"
_PARTS = {_FILESYSTEMS: ("Options", "roles", "compose"), _WORKLOADS: ("Options", "metrics", "phases", "parse")}


def filesystem(name: str) -> type[Filesystem]:
    """The file system driver of that name; UserError if there is none, or if it cannot be loaded."""
    driver: type[Filesystem] = _load(_FILESYSTEMS, "file system", name)
    return driver


def workload(name: str) -> type[Workload]:
    """The workload of that name; UserError if there is none, or if it cannot be loaded."""
    driver: type[Workload] = _load(_WORKLOADS, "workload", name)
    return driver


def filesystem_names() -> tuple[str, ...]:
    """The names of the file systems that a study can ask for, sorted."""
    return tuple(sorted(_found(_FILESYSTEMS)))


def workload_names() -> tuple[str, ...]:
    """The names of the workloads that a study can ask for, sorted."""
    return tuple(sorted(_found(_WORKLOADS)))


def _found(group: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=group)}


def _load(group: str, word: str, name: str) -> Any:
    """The object that the entry point `name` of `group` stands for, checked to look like a driver."""
    found = _found(group)
    if not found:
        raise UserError(f"no {word} is registered; install pliant with pip, so that its entry points are found")
    if name not in found:
        close = get_close_matches(name, found, n=1)
        hint = f'did you mean "{close[0]}"? ' if close else ""
        raise UserError(f"{show(name)} is not a {word}; {hint}write one of {', '.join(sorted(found))}")
    point = found[name]
    try:
        driver = point.load()
    except Exception as error:  # a driver is foreign code: whatever its import raises is a reason not to use it
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f'the {word} "{name}" ({point.value}) cannot be loaded: {reason}; {_advice(point)}') from error
    lacking = [part for part in _PARTS[group] if not hasattr(driver, part)]
    if lacking:
        raise UserError(f'the {word} "{name}" ({point.value}) has no {", ".join(lacking)}; {_advice(point)}')
    return driver


def _advice(point: EntryPoint) -> str:
    return f"repair or remove the package {point.dist.name if point.dist else 'that provides it'}"
