"""fio's job files, as far as what they will do must be known before: sections and their options.

The format is that of fio(1), "Job file format", read as fio's own parser does (init.c, parse.c): an option of [global],
or of any section whose name begins so, holds for the sections after it; an option without a value is true; lines that
begin with ; or # are comments, and so is the rest of a line from one of them on.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

_ALIASES = {
    "readwrite": "rw",
    "blocksize": "bs",
    "timeout": "runtime",
    "io_limit": "io_size",
    "nr_files": "nrfiles",
    "fill_fs": "fill_device",
}
_GLOBAL = "global"


@dataclass(frozen=True)
class JobSection:
    """One job: its name, and its options with those of [global] that hold for it, as they are written. Of what has two
    names it is fio's first; `rwmixwrite` is told as `rwmixread`."""

    name: str
    options: Mapping[str, str]


def sections(text: str) -> tuple[JobSection, ...]:
    """The jobs of a job file, in order. ValueError for a line that is out of place.

    >>> sections("[global]\\nsize=1m ; small\\n[a]\\nreadwrite=read\\n; none\\n[b]\\nstonewall\\n")[1]
    JobSection(name='b', options={'size': '1m', 'stonewall': '1'})
    """
    common: dict[str, str] = {}
    found: list[tuple[str, dict[str, str]]] = []
    here: dict[str, str] | None = None
    for number, line in _lines(text):
        if line.startswith("["):
            name = line[1:-1]
            if not line.endswith("]") or not name:
                raise ValueError(f'line {number} of the job file, "{line[:60]}", is no section; write e.g. [job1]')
            # A name that [global] gives is not its jobs'; one of a job is.
            here = common if name.startswith(_GLOBAL) else {k: v for k, v in common.items() if k != "name"}
            if here is not common:
                found.append((name, here))
            continue
        if line.startswith("include"):
            raise ValueError(f"line {number} of the job file includes another; write what is in it there")
        if here is None:
            raise ValueError(f'line {number} of the job file, "{line[:60]}", is in no section; put [global] before')
        key, value = _option(line)
        here[key] = value
    return tuple(JobSection(options.get("name", name), options) for name, options in found)


def without(text: str, keys: Collection[str]) -> tuple[str, tuple[str, ...]]:
    """A job file without the lines that set one of these options, and which of them there were.

    >>> without("[a]\\nrw=read\\ndirectory=/data1\\n", ["directory"])
    ('[a]\\nrw=read\\n', ('directory',))
    """
    gone = {number: key for number, line in _lines(text) if (key := _option(line)[0]) in keys}
    kept = [line for number, line in enumerate(text.splitlines(), 1) if number not in gone]
    return "\n".join([*kept, ""]), tuple(dict.fromkeys(gone.values()))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """What fio sees of each line that says something, with the line's number from 1."""
    for number, line in enumerate(text.splitlines(), 1):
        said = re.split(r"[;#]", line, maxsplit=1)[0].strip()
        if said:
            yield number, said


def _option(line: str) -> tuple[str, str]:
    """An option and its value."""
    key, equals, value = (part.strip() for part in line.partition("="))
    if key == "rwmixwrite" and value.isdecimal():
        return "rwmixread", str(100 - int(value))
    return _ALIASES.get(key, key), value if equals else "1"
