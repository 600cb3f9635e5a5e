"""What the file of a kernel module says of itself."""

from __future__ import annotations

import struct

import pytest

from pliant.machine import facts, module_file

INFO = b"license=GPL v2\0alias=fs-beegfs\0depends=sunrpc,lockd\0name=beegfs\0vermagic=6.1.176 mod_unload \0"


def elf(info: bytes = INFO, section: bytes = b".modinfo", kind: int = 2) -> bytes:
    """An ELF file with one section and the names of sections."""
    names = b"\0" + section + b"\0.shstrtab\0"
    at = 64 + len(info)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF" + bytes((kind, 1, 1)), 1, 62, 1, 0, 0, at + len(names), 0, 64, 0, 0, 64, 3, 2
    )
    entries = [(0, 0, 0), (1, 64, len(info)), (2 + len(section), at, len(names))]
    table = b"".join(
        struct.pack("<IIQQQQIIQQ", name, 1, 0, 0, offset, size, 0, 0, 1, 0) for name, offset, size in entries
    )
    return header + info + names + table


def test_what_a_module_is_for(tmp_path):
    file = tmp_path / "beegfs.ko"
    file.write_bytes(elf())
    found = module_file.read(str(file))
    assert found == module_file.ModuleFile("beegfs", "6.1.176 mod_unload", ("beegfs",), ("sunrpc", "lockd"))
    assert found.release == "6.1.176"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x7fELF",
        b"no module",
        elf()[:-40],
        elf(section=b".comment"),
        elf(kind=1),
        elf(info=b"name=x\0"),
        elf()[:64],
    ],
)
def test_what_is_no_module(tmp_path, data):
    file = tmp_path / "x.ko"
    file.write_bytes(data)
    assert module_file.read(str(file)) is None
    assert module_file.read(str(tmp_path)) is None
    assert module_file.read(str(tmp_path / "none")) is None


def test_programs_in_a_directory_or_below_it(tmp_path):
    for name in ("one", "bin/two", "sbin/three", "lib/four"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    found = facts.located(("one", "two", "three", "four", "sh"), str(tmp_path))
    expected = {"one": f"{tmp_path}/one", "two": f"{tmp_path}/bin/two", "three": f"{tmp_path}/sbin/three"}
    assert found == {**expected, "four": None, "sh": None}
