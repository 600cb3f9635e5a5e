"""A deployment that somebody on another machine made goes when nobody has reached it for longer than its lease.

The agent writes down when it was reached last; a program of its own, which outlives the agent, looks at that. It is no
part of the deployment, whose removal it has to survive, and ends when the deployment's directory is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from typing import Any

from . import cgroups, needing, teardown
from .cgroup import CgroupError
from .journal import Journal
from .process import alive, environment, start_time
from .teardown import TeardownError

_REACHED, _GUARD = "reached", "guard.json"
_LOOK_S = 1.0
_AGAIN_S = 30.0
"""When what could not be removed is tried again."""


def begin(journal: Journal, lease_s: float) -> None:
    """Start what removes a deployment that nobody reaches for so many seconds."""
    reached(journal)
    env = {**environment(), "PLIANT_STATE": str(journal.directory.parent)}
    guard = subprocess.Popen(
        [*needing.program("lease"), journal.id, repr(lease_s)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=env,
        start_new_session=True,
    )
    journal.write(_GUARD, {"pid": guard.pid, "started": start_time(guard.pid), "lease_s": lease_s})
    _OUTLIVING.append(guard)


_OUTLIVING: list[subprocess.Popen[bytes]] = []


def reached(journal: Journal) -> None:
    """Somebody has reached it now."""
    with contextlib.suppress(OSError):
        journal.keep(_REACHED, repr(time.monotonic()))


def end(guard: dict[str, Any] | None) -> None:
    """End what looks after a deployment that has been removed; `guard` is what `guard_of` said before."""
    if guard and alive(guard["pid"], guard["started"]):
        with contextlib.suppress(ProcessLookupError):
            os.kill(guard["pid"], signal.SIGKILL)
    for each in list(_OUTLIVING):
        if guard and each.pid == guard["pid"]:
            each.wait()
            _OUTLIVING.remove(each)


def guard_of(journal: Journal) -> dict[str, Any] | None:
    """What looks after a deployment, and its lease in seconds; None if nothing does."""
    guard: dict[str, Any] | None = json.loads(journal.kept(_GUARD) or "null")
    return guard


def main(deployment: str, lease_s: str) -> int:
    """Look after a deployment until it is gone: `python3 -I -S program.py lease ID LEASE_S`."""
    journal = Journal(deployment)
    while journal.directory.exists():
        time.sleep(_LOOK_S)
        try:
            since_s = time.monotonic() - float((journal.directory / _REACHED).read_text())
        except (OSError, ValueError):  # gone, or just being written
            continue
        if since_s > float(lease_s):
            try:
                teardown.remove(journal, cgroups.probe())
            except (TeardownError, CgroupError, OSError):
                time.sleep(_AGAIN_S)
    return 0
