"""A document as Markdown (CommonMark with GitHub's tables)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pliant.report.document import Block, Document, Heading, Items, Paragraph, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$&!])")
_BEGINS = re.compile(r"^([-+]|\d+[.)])(?=\s|$)")


def write(document: Document) -> str:
    """The whole text."""
    parts = [f"# {escape(document.title)}", *(part for block in document.blocks for part in _block(block))]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Text that means itself: on one line, and without anything that Markdown or HTML would take for its own."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = _SPECIAL.sub(r"\\\1", line)
    return _BEGINS.sub(lambda m: f"{m[1][:-1]}\\{m[1][-1]}", line)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Heading(text, level):
            yield f"{'#' * (level + 1)} {escape(text)}"
        case Paragraph(text):
            yield escape(text)
        case Items(items):
            yield "\n".join(f"- {escape(item)}" for item in items)
        case Table():
            yield escape(block.caption)
            yield "\n".join(_table(block))


def _table(table: Table) -> Iterator[str]:
    yield _row(table.columns)
    yield "|" + "|".join(" --- " if at in table.left else " ---: " for at in range(len(table.columns))) + "|"
    links = table.links or ("",) * len(table.rows)
    yield from (_row(row, link) for row, link in zip(table.rows, links, strict=True))


def _row(cells: tuple[str, ...], link: str = "") -> str:
    first, *others = map(escape, cells)
    return "| " + " | ".join([f"[{first}](<{link}>)" if link else first, *others]) + " |"
