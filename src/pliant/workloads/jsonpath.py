"""Where a value is in a JSON document: `jobs[0].read.iops`, `["a b"].rate`; with `$.` before it if one likes.

The part of JSONPath (RFC 9535) that names one place: names and indices, no wildcards.
"""

from __future__ import annotations

import json
import re

_STEP = re.compile(r"\.?([A-Za-z_][\w-]*)|\[(-?\d+)\]|\[(\"(?:[^\"\\]|\\.)*\")\]", re.ASCII)


def steps(path: str) -> tuple[str | int, ...]:
    """The names and indices that a path is made of; ValueError if it is none.

    >>> steps('$.jobs[0].read["iops mean"]')
    ('jobs', 0, 'read', 'iops mean')
    """
    rest = path.removeprefix("$")
    found: list[str | int] = []
    at = 0
    while at < len(rest):
        match = _STEP.match(rest, at)
        if match is None:
            break
        name, index, quoted = match.groups()
        found.append(int(index) if index is not None else json.loads(quoted) if quoted is not None else name)
        at = match.end()
    if not found or at < len(rest):
        raise ValueError(f'"{path}" is not a path in JSON; write e.g. "jobs[0].read.iops"')
    return tuple(found)


def pick(document: object, path: str) -> object:
    """What is at a path of a document; None if nothing is."""
    here = document
    for step in steps(path):
        if isinstance(step, str):
            here = here.get(step) if isinstance(here, dict) else None
        else:
            here = here[step] if isinstance(here, list) and -len(here) <= step < len(here) else None
    return here
