"""Programs of a file system that no package brings: where the user has them, and whether they are what is expected."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pliant.composition.model import Composition
from pliant.errors import UserError
from pliant.platforms.machines import Machines


def packaged(composition: Composition) -> tuple[str, ...]:
    """The programs that packages bring."""
    own = composition.sources if composition.brought else ()
    return tuple(program for program in composition.programs if program not in own)


def programs_brought(composition: Composition, machines: Machines) -> dict[str, str]:
    """Where the others are, of those that lie in the directory that the user names: name -> path. Raises UserError if
    some are not there, or are of another release than is deployed."""
    brought = composition.brought
    if brought is None:
        return {}
    if brought.directory:
        found = machines.located(tuple(composition.sources), brought.directory)
    else:
        found = {program: machines.which(program) for program in composition.sources}
    where = f"in {brought.directory}, its bin or its sbin" if brought.directory else "on PATH"
    if absent := [program for program, path in found.items() if path is None]:
        raise UserError(f"{composition.filesystem}: no {', '.join(absent)} {where}; {composition.sources[absent[0]]}")
    paths = {program: path for program, path in found.items() if path} if brought.directory else {}
    if brought.release and not _release(composition, paths, machines):
        said = " ".join(_said(composition, paths, machines).split())[:200]
        raise UserError(f'{composition.filesystem}: what is {where} says of itself "{said}"; {brought.other}')
    return paths


def version_of(composition: Composition, brought: Mapping[str, str], machines: Machines) -> str:
    """What the file system says of its version; "" where it is not asked."""
    if not composition.version:
        return ""
    if composition.brought and composition.brought.release:
        return _release(composition, brought, machines)
    return machines.version(_asked(composition, brought))


def _release(composition: Composition, brought: Mapping[str, str], machines: Machines) -> str:
    """The release of the programs that the user brings; "" if it is another one than is deployed."""
    found = composition.brought and re.search(composition.brought.release, _said(composition, brought, machines))
    return found[1] if found else ""


def _said(composition: Composition, brought: Mapping[str, str], machines: Machines) -> str:
    return machines.said(_asked(composition, brought))


def _asked(composition: Composition, brought: Mapping[str, str]) -> tuple[str, ...]:
    program, *rest = composition.version
    return (brought.get(program, program), *rest)
