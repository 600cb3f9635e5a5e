"""What the real io500 left in result.txt, and when its phases took place: `python -I io500_result.py RESULT.TXT`.

It prints the file, and a line `window PHASE BEGIN END` for each phase, in seconds of CLOCK_MONOTONIC. io500 says in
whole seconds when a phase began, and exactly how long it was: told is what is surely within it, without its first
second and what that may lack at its end. Phases that are too short for that are not told.
"""

from __future__ import annotations

import re
import sys
import time

_PHASE = re.compile(r"^\[([a-z0-9-]+)\]\n((?:(?!\[).*\n)*)", re.MULTILINE)
_START = re.compile(r"^t_start\s*= (\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)$", re.MULTILINE)
_LASTED = re.compile(r"^t_delta\s*= (\d+\.\d+)$", re.MULTILINE)


def windows(text: str, ahead_s: float) -> dict[str, tuple[float, float]]:
    """When each phase took place; `ahead_s` is how far the monotonic clock is ahead of the time of day."""
    found = {}
    for name, body in _PHASE.findall(text):
        start, lasted = _START.search(body), _LASTED.search(body)
        if start and lasted:
            year, month, day, hour, minute, second = map(int, start.groups())
            began_s = time.mktime((year, month, day, hour, minute, second, 0, 0, -1)) + ahead_s
            begin_s, end_s = began_s + 1, began_s + float(lasted[1])
            if end_s > begin_s:
                found[name] = begin_s, end_s
    return found


def main(path: str) -> None:
    """Print both."""
    with open(path) as file:  # noqa: PTH123
        text = file.read()
    sys.stdout.write(text)
    for name, (begin_s, end_s) in windows(text, time.monotonic() - time.time()).items():
        sys.stdout.write(f"window {name} {begin_s:.6f} {end_s:.6f}\n")


if __name__ == "__main__":
    main(sys.argv[1])
