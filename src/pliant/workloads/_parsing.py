"""What the workloads share: finding numbers in a benchmark's output, and naming its built-in kernel."""

from __future__ import annotations

import math
import re
from pathlib import Path

_SHOWN = 200
_UNITS = ((1 << 40, "t"), (1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k"))


def positive(workload: str, metric: str, text: str | None, output: str) -> float:
    """The number `text` stands for; ValueError, with the end of the output, if there is none or none above zero."""
    try:
        value = math.nan if text is None else float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and value > 0:
        return value
    problem = "no value" if text is None else f"{text!r}"
    last = output.strip()[-_SHOWN:]
    raise ValueError(f"{workload} gave {problem} for {metric}; its output ends with {last!r}")


_SAID = re.compile(r"(?:\b(?:WARNING|ERROR):|FAILED comparison of buffer|(?i:incorrect data on))[^\n]*")
_FAILURE = re.compile(
    r"ERROR:|FAILED comparison|incorrect data|inconsistent|failed|unable to|cannot|could ?n.t|could not|prematurely|"
    r"Error with|too many retries|overflow in errors|Expected aggregate file size",
    re.IGNORECASE,
)
_HARMLESS = re.compile(
    r"platform name|realpath|environment variable|\.?csv|uname|gpfs_fcntl|BeeGFS tuning|directory layout", re.IGNORECASE
)


def went_wrong(output: str, *, cut_short: bool = False) -> str:
    """What IOR or mdtest says of data that are wrong, of an operation that failed, or of work that was left out; "" if
    it says nothing of the kind.

    Each release says it in its own words, and few end with a status of their own: IOR up to 3.3 "incorrect data on
    read", later "Incorrect data"; mdtest 4 goes on after a failure, with a warning, and counts it as done. So every
    warning counts that says that something failed, but for those that are of no concern to files. With `cut_short` less
    than all was to be written.

    Source: src/ior.c, src/mdtest.c and src/aiori-POSIX.c of https://github.com/hpc/ior, 3.0.1 to 4.0.0.
    """
    for line in (match[0].strip() for match in _SAID.finditer(output)):
        left_out = "aggregate file size" in line
        if _FAILURE.search(line) and not _HARMLESS.search(line) and not (left_out and cut_short):
            return line
    return ""


def program_size(size_bytes: int) -> str:
    """A size as IOR and mdtest write it: a whole number and k, m, g or t for powers of 1024."""
    for factor, suffix in _UNITS:
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{suffix}"
    return str(size_bytes)


def absolute_path(path: str | None) -> str | None:
    """The path, if it is absolute; ValueError if not: a node has no working directory that a user knows."""
    if path is not None and not Path(path).is_absolute():
        raise ValueError(f'"{path}" is not an absolute path; write e.g. "/usr/bin/ior"')
    return path
