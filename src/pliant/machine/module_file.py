"""What the file of a kernel module says of itself: which kernel would load it, and which file systems it has.

Sources: elf(5); the section .modinfo, as kernel/module of Linux 6.1 reads it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_HEADER, _SECTION = struct.Struct("<16sHHIQQQIHHHHHH"), struct.Struct("<IIQQQQIIQQ")
_MOST_BYTES = 256 << 20
"""No module is larger; what is read may be any file that a user names."""


@dataclass(frozen=True)
class ModuleFile:
    """A module: its name, the kernel it was built for ("6.1.176 mod_unload", compared as a whole when it is loaded),
    the file systems that it has, and the modules that it needs."""

    name: str
    vermagic: str
    filesystems: tuple[str, ...]
    depends: tuple[str, ...]

    @property
    def release(self) -> str:
        """The kernel's release, as `uname -r` says it."""
        return self.vermagic.partition(" ")[0]


def read(path: str) -> ModuleFile | None:
    """What is known of a module by its file; None if there is no such file, or it is not one for 64 bits."""
    try:
        if not Path(path).is_file() or Path(path).stat().st_size > _MOST_BYTES:
            return None
        section = _modinfo(Path(path).read_bytes())
    except (OSError, struct.error, ValueError):
        return None
    pairs = [text.partition("=")[::2] for text in section.decode(errors="replace").split("\0") if "=" in text]
    first = dict(reversed(pairs))
    if "vermagic" not in first:
        return None
    return ModuleFile(
        name=first.get("name", Path(path).name.partition(".")[0]),
        vermagic=first["vermagic"].strip(),
        filesystems=tuple(value[3:] for key, value in pairs if key == "alias" and value.startswith("fs-")),
        depends=tuple(filter(None, first.get("depends", "").split(","))),
    )


def needed_by(path: str) -> tuple[str, ...]:
    """The modules that one needs which the user names by its file; none for ""."""
    known = read(path) if path else None
    return known.depends if known else ()


def _modinfo(data: bytes) -> bytes:
    """The section of an ELF file that has what a module says of itself. ValueError if there is none."""
    header = _HEADER.unpack_from(data)
    if not header[0].startswith(b"\x7fELF\x02\x01"):
        raise ValueError("no ELF file of 64 bits, little end first")
    offset, size, count, names = header[6], header[11], header[12], header[13]
    sections = [_SECTION.unpack_from(data, offset + index * size) for index in range(count)]
    texts = sections[names]
    for section in sections:
        begin = texts[4] + section[0]
        if data[begin : data.index(b"\0", begin)] == b".modinfo":
            return data[section[4] : section[4] + section[5]]
    raise ValueError("no section .modinfo")
