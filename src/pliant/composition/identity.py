"""Identities that follow from a study's seed: the same study gives the same uuids and keys each time. Pure.

They keep one deployment's daemons from being taken for another's. They are no protection against somebody who has the
study file: a cluster that pliant deploys lives in a network of its own.
"""

from __future__ import annotations

import hashlib
import hmac
from uuid import UUID


def derive(seed: int, *purpose: str, size: int = 16) -> bytes:
    """`size` bytes for a purpose, e.g. ("ceph", "osd1", "uuid"): HMAC-SHA256 (RFC 2104) of it under the seed.

    >>> derive(1, "a") == derive(1, "a") != derive(2, "a")
    True
    """
    key, said = str(seed).encode(), "\0".join(purpose).encode()
    blocks = (hmac.new(key, b"%d\0%s" % (number, said), hashlib.sha256).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]


def uuid(seed: int, *purpose: str) -> str:
    """A random (version 4) UUID for a purpose."""
    return str(UUID(bytes=derive(seed, *purpose), version=4))


def token(seed: int, *purpose: str, size: int = 16) -> str:
    """A secret for a purpose: `size` bytes in hexadecimal."""
    return derive(seed, *purpose, size=size).hex()
