"""What the workloads share: finding numbers in a benchmark's output, and naming its built-in kernel."""

from __future__ import annotations

import math
from pathlib import Path

_KERNELS = Path(__file__).parent / "kernels"
_SHOWN = 200
_UNITS = ((1 << 40, "t"), (1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k"))


def kernel(name: str) -> str:
    """The path of the built-in MPI program of that name."""
    return str(_KERNELS / f"{name}.py")


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
