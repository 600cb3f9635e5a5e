"""A report as blocks of words and tables, for Markdown, LaTeX, HTML and the terminal to write each in its own way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Heading:
    """Of a section (level 1) or of a part of one (level 2)."""

    text: str
    level: int = 1


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """Rows of texts below their columns' titles; `left` says which columns are words, to be set to the left.

    A row that begins a group is set off from the one before. Where there are `links`, one for each row, its first cell
    leads there, by a path that is seen from where the document lies; "" leads nowhere.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: frozenset[int] = frozenset({0})
    begins: frozenset[int] = frozenset()
    links: tuple[str, ...] = ()


Block = Heading | Paragraph | Items | Table


@dataclass(frozen=True)
class Document:
    """A title and what comes below it."""

    title: str
    blocks: tuple[Block, ...]


def grouped(rows: Sequence[tuple[str, ...]]) -> tuple[tuple[tuple[str, ...], ...], frozenset[int]]:
    """The same rows with a first cell that repeats the one above left empty, and where another one begins."""
    shown: list[tuple[str, ...]] = []
    begins: set[int] = set()
    for number, row in enumerate(rows):
        again = number > 0 and rows[number - 1][0] == row[0]
        shown.append(("", *row[1:]) if again else row)
        if not again and number:
            begins.add(number)
    return tuple(shown), frozenset(begins)
