"""Programs that are run in nodes by their path, and what nodes must see of the machine for that."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pliant
from pliant.machine import witness
from pliant.machine.process import CommandFailed, run
from pliant.machine.view import HIDDEN, to_show

WITNESS = (sys.executable, "-I", "-S", witness.__file__)
"""Writes files with their checksums, or reads them again."""


def visible(programs: Sequence[str] = ()) -> tuple[str, ...]:
    """What nodes must see wherever it lies: programs, the Python that runs pliant, its libraries, and pliant itself."""
    package = str(Path(pliant.__file__).resolve().parent)
    needed = [path for program in programs for path in needs(program)]
    found = (sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parent.parent), package, *needed)
    return tuple(path for path in dict.fromkeys(found) if path not in ("/", "/usr"))


def needs(program: str) -> Iterator[str]:
    """What a program works with as far as it can be told: where it lies, under both of its names if it is a link, what
    is installed with it (PREFIX of PREFIX/bin), its shared libraries, and the interpreter of a script."""
    for path in dict.fromkeys((Path(program), Path(program).resolve())):
        # A program that lies in a hidden directory itself is shown alone, not with all that is in there.
        if str(path.parent) in HIDDEN:
            yield str(path)
        else:
            prefix = path.parent.parent if path.parent.name in ("bin", "sbin") else path.parent
            yield str(path.parent if str(prefix) in ("/", "/usr", *HIDDEN) else prefix)
    for library in libraries(program):
        yield from (str(each.parent) for each in dict.fromkeys((Path(library), Path(library).resolve())))
    if interpreter := _interpreter(program):
        yield from needs(interpreter)


def elsewhere(programs: Sequence[str]) -> tuple[str, ...]:
    """Those of the programs that a node would not have all of if it were not shown to it."""
    mountinfo = Path("/proc/self/mountinfo").read_text()
    return tuple(program for program in programs if to_show(needs(program), mountinfo))


def libraries(program: str) -> tuple[str, ...]:
    """The shared libraries of a program, by their paths; none of one that is no binary (ldd(1))."""
    try:
        said = run(["ldd", program], timeout_s=20).stdout
    except CommandFailed:
        return ()
    return tuple(dict.fromkeys(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE)))


def _interpreter(program: str) -> str:
    """What a script's first line names, which may be a program that env looks for; "" of what is no script."""
    try:
        with Path(program).open("rb") as file:
            first = file.readline(200)
    except OSError:
        return ""
    words = first[2:].decode(errors="replace").split() if first.startswith(b"#!") else []
    return words[0] if words and words[0].startswith("/") and words[0] != program else ""
