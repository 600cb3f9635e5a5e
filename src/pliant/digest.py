"""Digests: of a document, as a key that fits into a file's name; of files, as `sha256sum` checks them. Pure.

A key is SHA-256 cut to 160 bits and written in base 32 as Nix does for its store: folded by exclusive or, so that no
bit of the digest is without influence, without the letters e, o, t and u, and with the last digit first (Nix,
libutil/hash.cc: `compressHash`, `printHash32`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

KEY = re.compile(r"[0-9a-df-np-sv-z]{32}", re.ASCII)
_DIGITS = "0123456789abcdfghijklmnpqrsvwxyz"
_KEY_BYTES = 20
_LINE = re.compile(r"(\\?)([0-9a-f]{64})  (.+)")


def canonical(document: Any) -> bytes:
    """A document of plain JSON values as bytes: the same for the same values, whatever the order of their keys.

    >>> canonical({"b": 1, "a": [0.1]})
    b'{"a":[0.1],"b":1}'
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def key(document: Any) -> str:
    """The key of a document: 32 digits."""
    return base32(folded(hashlib.sha256(canonical(document)).digest(), _KEY_BYTES))


def folded(digest: bytes, size: int) -> bytes:
    """A digest cut to `size` bytes, what is beyond folded in by exclusive or."""
    short = bytearray(size)
    for place, byte in enumerate(digest):
        short[place % size] ^= byte
    return bytes(short)


def base32(digest: bytes) -> str:
    """Bytes, least significant first, as a number in base 32."""
    number = int.from_bytes(digest, "little")
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range((len(digest) * 8 + 4) // 5)))


def sums_text(sums: Mapping[str, str]) -> str:
    """Path -> SHA-256 as `sha256sum --check` reads it, by path; names with a line break or a backslash as it does."""
    lines = []
    for path in sorted(sums):
        escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        mark = "\\" if escaped != path else ""
        lines.append(f"{mark}{sums[path]}  {escaped}\n")
    return "".join(lines)


def read_sums(text: str) -> dict[str, str]:
    """What `sums_text` wrote; ValueError for anything that it did not write, to the letter."""
    sums = {}
    for line in text.split("\n")[:-1]:
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{line[:80]!r} is no digest and path")
        path = re.sub(r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), match[3])
        sums[path if match[1] else match[3]] = match[2]
    if sums_text(sums) != text:
        raise ValueError("its lines are not as they were written")
    return sums
