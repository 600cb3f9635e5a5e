"""What hosts delivered a moment ago: calibration takes ten seconds, and hosts of this machine that are promised the
same deliver the same as they did some minutes before. Kept in the user's cache."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
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
    """What was measured, in sentences: what each host delivered, and how the nodes of a folded one shared it."""

    delivered: tuple[str, ...]
    fair: tuple[str, ...]
    at_s: float
    """When, of CLOCK_BOOTTIME."""

    @property
    def ago(self) -> str:
        """How long ago, in words."""
        minutes = round((_now_s() - self.at_s) / 60)
        return "less than a minute ago" if minutes < 1 else f"{minutes} min ago"


def known(prepared: Prepared) -> Calibrated | None:
    """What was measured of hosts with the same promise; None if nothing was, or not recently."""
    found = _read().get(_key(prepared))
    if found is None or not 0 <= _now_s() - found.at_s <= RECENT_S:
        return None
    return found


def keep(prepared: Prepared, delivered: Sequence[str], fair: Sequence[str]) -> None:
    """Keep what was just measured. That it cannot be kept is no harm."""
    recent = {name: each for name, each in _read().items() if 0 <= _now_s() - each.at_s <= RECENT_S}
    recent[_key(prepared)] = Calibrated(tuple(delivered), tuple(fair), _now_s())
    with suppress(OSError):
        cache().mkdir(mode=0o700, parents=True, exist_ok=True)
        part = cache() / f"{_FILE}-{os.getpid()}"
        part.write_text(json.dumps({name: asdict(each) for name, each in recent.items()}))
        part.replace(cache() / _FILE)


def _read() -> dict[str, Calibrated]:
    with suppress(OSError, ValueError, TypeError, AttributeError, KeyError):
        content: Mapping[str, Mapping[str, Any]] = json.loads((cache() / _FILE).read_text())
        return {
            name: Calibrated(tuple(each["delivered"]), tuple(each["fair"]), float(each["at_s"]))
            for name, each in content.items()
        }
    return {}


def _key(prepared: Prepared) -> str:
    """What decides what hosts deliver: what they were promised, how many there are and with which disks, how they fold,
    and the machine since it was switched on."""
    study = prepared.study
    disks = [study.composition.role(node.role).disk for node in study.nodes]
    folded = [study.placements[ratio] for ratio in (min(study.placements), max(study.placements))]
    return key(
        {
            "measuring": MEASURING,
            "boot": _BOOT.read_text().strip(),
            "machine": asdict(prepared.machine) | {"free_disk_bytes": 0},
            "host": asdict(prepared.figures),
            "disks": [disks, study.platform.disk_size],
            "kernels": dict(prepared.kernels.own),
            "placements": [[list(host) for host in placement.hosts] for placement in folded],
        }
    )


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
