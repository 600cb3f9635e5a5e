"""`[matrix]`: values for keys of a study, every combination of which is a study of its own, a cell. Pure.

    [matrix]
    filesystem.roles.server = [1, 2, 4]
    workload.block = ["8 MiB", "32 MiB"]

A cell is written as the same file whose matrix has one value for each key, so that it can be run, archived and repeated
by itself; `reading.parse` puts such values where they belong.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from pliant.study.problems import Problem, StudyError, read_toml

MOST_CELLS = 256
_HEADER = re.compile(r"^\s*\[\[?\s*([A-Za-z0-9_-]+)")
_OURS = re.compile(r"^\s*\[\s*matrix\s*[\].]")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NOT_IN_NAMES = re.compile(r"[^0-9A-Za-z.+-]+")
_KEYS = ("platform", "filesystem", "fold", "workload", "mpi")
"""What a trial depends on: of all else, as a seed or a budget, there is one for all cells."""


@dataclass(frozen=True)
class Cell:
    """One combination: its name as a directory, key -> value, and the text of its study."""

    name: str
    values: Mapping[str, Any]
    text: str


def cells(text: str, file: str) -> tuple[Cell, ...]:
    """The cells of a study file, in the order of its keys and values; none where it has no matrix.

    Raises:
        StudyError: the text is no TOML, or its matrix is none.
    """
    raw = read_toml(text, file)
    if "matrix" not in raw:
        return ()
    lists = {key: values for _, key, values in keyed(raw["matrix"], file)}
    count = 1
    for each in lists.values():
        count *= len(each)
    if count > MOST_CELLS:
        raise _wrong(file, "matrix", f"has {count} combinations; write {MOST_CELLS} at most")
    rest = _without(text)
    known = read_toml(rest, file)
    if known != {key: value for key, value in raw.items() if key != "matrix"}:
        raise _wrong(file, "matrix", "is to be a table of its own; write [matrix], and its keys below that")
    found = []
    for number, combination in enumerate(itertools.product(*lists.values()), 1):
        values = dict(zip(lists, combination, strict=True))
        lines = "".join(f"{key} = [{json.dumps(value)}]\n" for key, value in values.items())
        found.append(Cell(_name(number, values), values, f"{rest.rstrip()}\n\n[matrix]\n{lines}"))
    return tuple(found)


def keyed(matrix: object, file: str) -> Iterator[tuple[tuple[str, ...], str, Sequence[Any]]]:
    """The names on the way to each key of a matrix, the key as TOML writes it, and its values. StudyError for what is
    not one."""
    if not isinstance(matrix, dict) or not matrix:
        raise _wrong(file, "matrix", "has no key; write e.g. filesystem.roles.server = [1, 2, 4] below [matrix]")
    for path, values in _leaves(matrix):
        key = ".".join(part if _BARE.fullmatch(part) else json.dumps(part) for part in path)
        if path[0] not in _KEYS or len(path) < 2:
            begin = _listed(_KEYS)
            raise _wrong(file, f"matrix.{key}", f"is no key that cells can differ in; these begin with {begin}")
        if not isinstance(values, list) or not values:
            raise _wrong(file, f"matrix.{key}", f"is no list of values; write e.g. {key} = [1, 2]")
        if any(values.count(value) > 1 for value in values):
            raise _wrong(file, f"matrix.{key}", "has a value twice; write each once")
        if any(isinstance(value, dict) for value in values):
            raise _wrong(file, f"matrix.{key}", "has a table among its values; write numbers, texts or lists")
        yield path, key, values


def put(raw: Mapping[str, Any], file: str) -> dict[str, Any]:
    """A study file of one cell with its values where they belong, and without its matrix.

    A key of a list of tables, as `workload.block`, is that of each of them that has it, of all if none has. Raises
    StudyError for several cells.
    """
    found = deepcopy({key: value for key, value in raw.items() if key != "matrix"})
    for path, key, values in keyed(raw["matrix"], file):
        if len(values) > 1:
            raise _wrong(file, "matrix", "has several cells: `pliant run` runs them, and `pliant check` looks at each")
        _put(found, path, values[0], f"matrix.{key}", file)
    return found


def _put(table: dict[str, Any], path: Sequence[str], value: Any, key: str, file: str) -> None:
    first, *rest = path
    if not rest:
        table[first] = value
        return
    inner = table.setdefault(first, {})
    if isinstance(inner, dict):
        _put(inner, rest, value, key, file)
        return
    tables = [each for each in inner if isinstance(each, dict)] if isinstance(inner, list) else []
    if not tables:
        raise _wrong(file, key, f"{first} is no table")
    for each in [each for each in tables if rest[0] in each] or tables:
        _put(each, rest, value, key, file)


def _leaves(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in table.items():
        path = (*above, name)
        if isinstance(value, dict):
            yield from _leaves(value, path)
        else:
            yield path, value


def _without(text: str) -> str:
    """The text without the table of the matrix, and those below it."""
    kept, ours = [], False
    for line in text.splitlines(keepends=True):
        if _HEADER.match(line):
            ours = bool(_OURS.match(line))
        if not ours:
            kept.append(line)
    return "".join(kept)


def _name(number: int, values: Mapping[str, Any]) -> str:
    """A directory's name that says what it is of: "3-server-2-block-8-MiB"."""
    parts = [f"{key.rpartition('.')[2]}-{value}" for key, value in values.items()]
    return f"{number}-{_NOT_IN_NAMES.sub('-', '-'.join(parts)).strip('-')}"[:100]


def _listed(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"


def _wrong(file: str, key: str, message: str) -> StudyError:
    return StudyError([Problem(file, key, message)])
