"""What is brought along to hosts, which may have neither this Python nor an MPI: an interpreter with what the built-in
kernels import, the kernels, and the MPI that pliant comes with, as one archive that is named by its digest.

It is made of what this very process runs on, so that kernels do the same there as here.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import sys
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from importlib import metadata
from pathlib import Path

from pliant.machine.needing import libraries
from pliant.machine.process import run

_IMPORTED = """
import array, codecs, errno, gc, json, math, mmap, os, signal, socket, struct, sys, time, random, encodings.idna
import argparse, hashlib, stat, pickle, atexit, site, collections.abc, encodings.ascii, encodings.latin_1, runpy
import mpi4py
for kernel in sys.argv[1:]:
    sys.path[:0] = [os.path.dirname(kernel)]
    runpy.run_path(kernel)
mpi4py.rc.initialize = False
from mpi4py import MPI
print(json.dumps({name: each.__file__ for name, each in sys.modules.items() if getattr(each, "__file__", None)}))
"""
"""What a kernel and mpi4py import, and a little more, as one sees only what this version does."""
_EVERYWHERE = re.compile(r"/(ld-linux[^/]*|lib(c|m|dl|rt|pthread|util|resolv)\.so[^/]*)$")
"""What every Linux has; the C library cannot be another than the host's."""

_START = """#!/bin/sh
here=${{0%/*}}
LD_LIBRARY_PATH="$here/../lib${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}" exec "$here/{}" "$@"
"""
"""The interpreter, whose own libraries lie elsewhere than where it was installed."""
_UNUSED = re.compile(r"libmpi_abi|\.openmpi\.|/libfabric/|libuct_(ib|rdmacm|cma|xpmem)|_signal")
"""Libraries for networks that nodes have not got: MPI goes by TCP there."""


class Kit:
    """The archive; it is made when it is needed first, and kept where `cache` is."""

    def __init__(self, kernels: Path, cache: Path | None = None) -> None:
        self._kernels, self._cache = kernels, cache

    @cached_property
    def name(self) -> str:
        """The digest by which it goes."""
        return hashlib.sha256(self.packed).hexdigest()[:16]

    @cached_property
    def packed(self) -> bytes:
        """The archive, a compressed tar; the same files give the same bytes."""
        files = dict(sorted(self._files()))
        key = hashlib.sha256()
        for where, path in files.items():
            about = path.stat()
            key.update(f"{where} {path} {about.st_size} {about.st_mtime_ns}\n".encode())
        kept = None if self._cache is None else self._cache / f"kit-{key.hexdigest()[:16]}.tar.gz"
        if kept is not None:
            with suppress(OSError):
                return kept.read_bytes()
        packed = _packed(files)
        if kept is not None:
            with suppress(OSError):
                kept.parent.mkdir(parents=True, exist_ok=True)
                part = kept.with_suffix(f".{os.getpid()}")
                part.write_bytes(packed)
                part.replace(kept)
        return packed

    def _files(self) -> Iterator[tuple[str, Path]]:
        """Where each file is to be, and where it is."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        real = Path(sys.executable).resolve()
        yield f"bin/{version}", real
        for library in libraries(str(real)):
            if not _EVERYWHERE.search(library):
                yield f"lib/{Path(library).name}", Path(library)
        yield from self._python(f"lib/{version}")
        yield from self._mpi(f"lib/{version}/site-packages")
        yield from ((f"kernels/{path.name}", path) for path in sorted(self._kernels.glob("*.py")))

    def _python(self, target: str) -> Iterator[tuple[str, Path]]:
        """The modules of the standard library."""
        argv = [sys.executable, "-I", "-B", "-c", _IMPORTED, *map(str, sorted(self._kernels.glob("*.py")))]
        found: dict[str, str] = json.loads(run(argv, timeout_s=60).check().stdout)
        (top,) = {Path(os.__file__).resolve().parent}
        for path in {Path(each).resolve() for each in found.values()}:
            if path.is_relative_to(top) and "site-packages" not in path.parts:
                yield f"{target}/{path.relative_to(top)}", path

    def _mpi(self, target: str) -> Iterator[tuple[str, Path]]:
        """mpi4py and MPICH, as their wheels have installed them."""
        for package in ("mpi4py", "mpich"):
            for file in metadata.distribution(package).files or ():
                path = Path(str(file.locate()))
                where = os.path.normpath(f"{target}/{file}")
                wanted = (
                    path.suffix == ".py" or ".so" in path.name or where in ("bin/mpiexec", "bin/hydra_pmi_proxy")
                ) and not _UNUSED.search(where)
                if wanted and path.exists():
                    yield where, path


def _packed(files: dict[str, Path]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=5) as archive:
        python = next(where for where in files if where.startswith("bin/python"))
        _add(archive, "bin/python3", _START.format(python.removeprefix("bin/")).encode(), 0o755)
        for where, path in files.items():
            executable = os.access(path, os.X_OK) or ".so" in path.name
            _add(archive, where, path.read_bytes(), 0o755 if executable else 0o644)
    # A gzip's header has the time of day: bytes 4 to 8 (RFC 1952).
    found = packed.getvalue()
    return found[:4] + b"\0\0\0\0" + found[8:]


def _add(archive: tarfile.TarFile, where: str, content: bytes, mode: int) -> None:
    about = tarfile.TarInfo(where)
    about.size, about.mode = len(content), mode
    archive.addfile(about, io.BytesIO(content))
