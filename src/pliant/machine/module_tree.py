"""The modules of a kernel that is not the machine's, in a directory as depmod(8) leaves it, and their file systems.

Sources: modules.dep(5); modules.alias, modules.builtin (Documentation/kbuild/kbuild.rst).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import module_file
from .facts import UNNAMED

_BESIDE = {"nfs4": ("nfsv4",), "nfs": ("nfsv3",)}
"""Modules that a file system asks for by itself, which takes a program in the instance and its time."""


def of(directory: Path | None, names: Sequence[str]) -> tuple[str, ...]:
    """The modules that have these file systems, in the order in which they are to be loaded."""
    lines = (directory / "modules.alias").read_text().splitlines() if directory else []
    alias = {words[1]: words[2] for words in map(str.split, lines) if len(words) == 3}
    named = {name: alias.get(f"fs-{name}", UNNAMED.get(name, name)) for name in names}
    return tuple(each for name in names for each in (named[name], *_BESIDE.get(name, ())))


def lacking(directory: Path | None, names: Sequence[str]) -> list[str]:
    """Those of the file systems that the kernel neither has nor has a module for; all of them without a directory."""
    if directory is None:
        return list(names)
    known = (directory / "modules.alias").read_text().split()
    built = (directory / "modules.builtin").read_text().split()
    unnamed = [name for name in names if f"fs-{name}" not in known and not _built(name, built)]
    there = {path.stem for path in directory.glob("kernel/fs/**/*.ko")} if unnamed else set()
    return [name for name in unnamed if UNNAMED.get(name) not in there]


def vermagic(directory: Path | None) -> str:
    """What a module must be built for, to be loaded by the kernel; "" if its modules are not there."""
    some = next(directory.glob("kernel/**/overlay.ko"), None) if directory else None
    known = module_file.read(str(some)) if some else None
    return known.vermagic if known else ""


def paths(directory: Path, names: Sequence[str]) -> list[Path]:
    """The files of modules and of those that they need, in the order in which they are to be loaded; what is built into
    the kernel has none."""
    lines = (directory / "modules.dep").read_text().splitlines()
    needs = {path: rest.split() for path, _, rest in (line.partition(":") for line in lines)}
    own = {Path(path).name.partition(".")[0].replace("-", "_"): path for path in needs}
    found: dict[str, None] = {}
    for path in (own[name] for name in names if name in own):
        found |= dict.fromkeys([*reversed(needs[path]), path])
    return [directory / path for path in found]


def _built(name: str, built: Sequence[str]) -> bool:
    return any(each.endswith(f"/{name}.ko") for each in built)
