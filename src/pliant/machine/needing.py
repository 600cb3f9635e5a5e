"""Programs that are run in nodes by their path, what they need to be run, and those that were brought along."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from .journal import STATE
from .process import CommandFailed, run
from .view import HIDDEN, to_show

PACKAGE = Path(__file__).resolve().parent


def own(module: str) -> list[str]:
    """How a program of this package, by the name of its module, is run on this machine, in a node too."""
    return [sys.executable, "-I", "-S", str(PACKAGE / f"{module}.py")]


def program(module: str) -> list[str]:
    """The same of one that is more than one module."""
    return [*own("program"), module]


def visible(programs: Sequence[str] = ()) -> tuple[str, ...]:
    """What nodes must see wherever it lies: programs, the Python that runs this, its libraries, and this package, with
    what it is a part of."""
    package = PACKAGE.parent if "." in __name__.rpartition(".")[0] else PACKAGE
    needed = [path for program in programs for path in needs(program)]
    found = (sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parent.parent), str(package), *needed)
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


# What was brought along


def kits() -> Path:
    """Where what came from other machines is unpacked: agents, and archives of programs."""
    return Path(f"{STATE}-agents")


def unpack(name: str, data: bytes, last: bool) -> bool:
    """Take in a part of an archive (tar, compressed) whose name begins with its digest; with the last one it is
    unpacked, whole or not at all. Whether it is there. ValueError if it is not what was sent; OSError."""
    if not re.fullmatch("[0-9a-f]{16}", name):
        raise ValueError(f"{name} is not a digest")
    place, part = kits() / f"kit-{name}", kits() / f"kit-{name}.{os.getpid()}"
    if place.is_dir():
        return True
    if data:
        with part.open("ab") as file:
            file.write(data)
    if not last or not part.exists():
        return False
    try:
        packed = part.read_bytes()
        if hashlib.sha256(packed).hexdigest()[:16] != name:
            raise ValueError("the programs that arrived are not those that were sent")
        fresh = Path(f"{part}.tree")
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(fresh)
        try:
            fresh.rename(place)
        except OSError:  # another one came first
            shutil.rmtree(fresh)
            if not place.is_dir():
                raise
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
    return True
