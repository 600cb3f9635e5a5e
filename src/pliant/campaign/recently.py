"""What hosts delivered a moment ago: calibration takes ten seconds, and hosts of this machine that are promised the
same deliver the same as they did some minutes before. What as many or more of them did at once, fewer do as well. Kept
in the user's cache."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pliant.campaign.determinants import MEASURING
from pliant.campaign.places import cache
from pliant.campaign.preparation import Prepared
from pliant.digest import key

RECENT_S = 900.0
"""For how long it is taken to be true. Neighbours that came meanwhile are seen in every trial (`disturbance`)."""
_FILE = "calibrated.json"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Calibrated:
    """What was measured, in sentences: what each host delivered, or how the nodes of a folded one shared it."""

    sentences: tuple[str, ...]
    at_s: float
    """When, of CLOCK_BOOTTIME."""
    of: str
    """What of: the digest of what decides it but for its size."""
    size: tuple[int, ...]
    """How much was asked for at once."""

    @property
    def ago(self) -> str:
        """How long ago, in words."""
        minutes = round((_now_s() - self.at_s) / 60)
        return "less than a minute ago" if minutes < 1 else f"{minutes} min ago"

    @property
    def recent(self) -> bool:
        """Whether it is still taken to be true."""
        return 0 <= _now_s() - self.at_s <= RECENT_S

    def covers(self, other: Calibrated) -> bool:
        """Whether it is of the same hosts, and of no fewer."""
        return self.of == other.of and all(own >= its for own, its in zip(self.size, other.size, strict=True))


def hosts(prepared: Prepared, said: Sequence[str] = ()) -> Calibrated:
    """What hosts deliver, as it was just measured: decided by what they were promised, by how many there are and how
    many of them have disks, and by the machine since it was switched on."""
    study = prepared.study
    deployed, disks = study.placements[study.baseline].hosts, study.composition.disks.keys()
    size = (len(deployed), sum(not disks.isdisjoint(host) for host in deployed))
    return _calibrated(prepared, "hosts", said, size)


def fairness(prepared: Prepared, said: Sequence[str] = ()) -> Calibrated:
    """How the nodes of the fullest host share its CPU, as it was just measured; their daemons take part in it."""
    folded = prepared.study.placements[max(prepared.study.placements)].hosts
    size = (max(len(host) for host in folded),)
    return _calibrated(prepared, f"fairness of {prepared.study.composition.filesystem}", said, size)


def known(wanted: Calibrated) -> Calibrated | None:
    """The last that was measured of it, or of more; None if nothing was, or not recently."""
    return max((each for each in _read() if each.covers(wanted)), key=lambda each: each.at_s, default=None)


def keep(measured: Calibrated) -> None:
    """Keep what was just measured. That it cannot be kept is no harm."""
    kept = [each for each in _read() if not measured.covers(each)]
    with suppress(OSError):
        cache().mkdir(mode=0o700, parents=True, exist_ok=True)
        part = cache() / f"{_FILE}-{os.getpid()}"
        part.write_text(json.dumps([asdict(each) for each in (*kept, measured)]))
        part.replace(cache() / _FILE)


def _read() -> list[Calibrated]:
    """What is recent of what was kept."""
    with suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
        content: list[dict[str, Any]] = json.loads((cache() / _FILE).read_text())
        found = [
            Calibrated(tuple(each["sentences"]), float(each["at_s"]), each["of"], tuple(each["size"]))
            for each in content
        ]
        return [each for each in found if each.recent]
    return []


def _calibrated(prepared: Prepared, what: str, said: Sequence[str], size: tuple[int, ...]) -> Calibrated:
    decides = {
        "measuring": MEASURING,
        "boot": _BOOT.read_text().strip(),
        "machine": asdict(prepared.machine) | {"free_disk_bytes": 0},
        "host": asdict(prepared.figures),
        "disk": prepared.study.platform.disk_size,
        "kernels": dict(prepared.kernels.own),
        "what": what,
    }
    return Calibrated(tuple(said), _now_s(), key(decides), size)


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
