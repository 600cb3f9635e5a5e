"""fio's job files, as far as what they will do must be known before: sections and their options.

The format is that of fio(1), "Job file format": an option of [global] holds for the sections after it; an option
without a value is true; lines that begin with ; or # are comments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class JobSection:
    """One job: its name, and its options with those of [global] that hold for it, as they are written."""

    name: str
    options: Mapping[str, str]


def sections(text: str) -> tuple[JobSection, ...]:
    """The jobs of a job file, in order. ValueError for a line that is out of place.

    >>> sections("[global]\\nsize=1m\\n[a]\\nrw=read\\n; none\\n[b]\\nstonewall\\n")[1]
    JobSection(name='b', options={'size': '1m', 'stonewall': '1'})
    """
    common: dict[str, str] = {}
    found: list[tuple[str, dict[str, str]]] = []
    here: dict[str, str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line[0] in ";#":
            continue
        if line.startswith("["):
            name = line[1:].partition("]")[0]
            if "]" not in line or not name:
                raise ValueError(f'line {number} of the job file, "{line[:60]}", is no section; write e.g. [job1]')
            if name == "global":
                here = common
            else:
                here = dict(common)
                found.append((name, here))
            continue
        if line.split()[0] == "include":
            raise ValueError(f"line {number} of the job file includes another; write what is in it there")
        if here is None:
            raise ValueError(f'line {number} of the job file, "{line[:60]}", is in no section; put [global] before')
        key, equals, value = line.partition("=")
        here[key.strip()] = value.strip() if equals else "1"
    return tuple(JobSection(name, options) for name, options in found)
