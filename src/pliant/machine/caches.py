"""The machine's page cache, which serves all hosts and all studies on it.

Whoever measures holds a lock shared with others who measure; to empty the cache takes it alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .journal import STATE


def drop(timeout_s: float) -> None:
    """Write back and empty the page cache, when nobody else measures. TimeoutError if somebody does for too long."""
    with _held(fcntl.LOCK_EX, timeout_s):
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")


@contextlib.contextmanager
def undisturbed(timeout_s: float) -> Iterator[None]:
    """A time in which nobody else empties the page cache. TimeoutError if that is not to be had."""
    with _held(fcntl.LOCK_SH, timeout_s):
        yield


@contextlib.contextmanager
def _held(kind: int, timeout_s: float) -> Iterator[None]:
    """The lock, shared or exclusive; it goes with the process that holds it."""
    directory = os.open(STATE, os.O_RDONLY | os.O_DIRECTORY)
    try:
        until = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(directory, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise TimeoutError("another study on this machine was in a phase for too long") from None
                time.sleep(0.05)
        yield
    finally:
        os.close(directory)
