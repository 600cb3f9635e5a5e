"""What hosts move while a trial runs, from the end of what the sampler has written so far."""

from __future__ import annotations

import time
from pathlib import Path

from pliant.telemetry.samples import Samples, read
from pliant.units import format_bit_rate, format_byte_rate

_WINDOW_S = 2.0
_EVERY_S = 1.0
_TAIL_BYTES = 1 << 17


class Traffic:
    """Of one trial, whose telemetry is at `path`; the file may not be there yet, and grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._head = b""
        self._words, self._until = "", 0.0

    @property
    def words(self) -> str:
        """The rates of the last two seconds, all hosts together: "NICs 186 Mbit/s, disks 42 MB/s"; "" if not known.

        Looked up once a second.
        """
        if time.monotonic() >= self._until:
            self._words, self._until = self._rates(), time.monotonic() + _EVERY_S
        return self._words

    def _rates(self) -> str:
        samples = self._read()
        if samples is None or len(samples.time_s) < 2:
            return ""
        first = int((samples.time_s >= samples.time_s[-1] - _WINDOW_S).argmax())
        elapsed_s = float(samples.time_s[-1] - samples.time_s[first])
        if elapsed_s <= 0:
            return ""

        def rate(kind: str, *ends: str) -> float:
            counted = samples.total(*(c for c in samples.columns if c.startswith(f"{kind}/") and c.endswith(ends)))
            return float(counted[-1] - counted[first]) / elapsed_s

        nics, disks = rate("host", "/up_bytes"), rate("node", "/read_bytes", "/written_bytes")
        return f"NICs {format_bit_rate(8 * nics)}, disks {format_byte_rate(disks)}"

    def _read(self) -> Samples | None:
        """The first line, which names the columns, and whole lines from the end."""
        try:
            with self._path.open("rb") as file:
                if not self._head:
                    head = file.readline()
                    self._head = head if head.endswith(b"\n") else b""
                size = file.seek(0, 2)
                begin = max(len(self._head), size - _TAIL_BYTES)
                file.seek(begin)
                tail = file.read()
        except OSError:
            return None
        if begin > len(self._head):
            tail = tail.partition(b"\n")[2]
        return read((self._head + tail).decode()) if self._head else None
