"""A document as LaTeX, with booktabs tables to copy into a paper. pdflatex compiles it as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pliant.report.document import Block, Document, Heading, Items, Paragraph, Table

_PREAMBLE = r"""% Written by pliant. A table needs \usepackage{booktabs}, and \usepackage{amssymb} for its marks.
\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{amssymb}
\usepackage{booktabs}
\usepackage{longtable}
\usepackage[margin=20mm]{geometry}
\setlength{\emergencystretch}{3em}
\setlength{\tabcolsep}{4pt}
"""
_WORDY = 40
"""Letters of a cell from which on its column is one of running text."""
_LONG = 40
"""Rows from which on a table may be longer than a page."""
_SPECIAL = {
    "\\": r"\ensuremath{\backslash}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    '"': "''",
    "`": "{`}",
    "-": "{-}",
    "[": "{[}",
    "]": "{]}",
    "−": r"\ensuremath{-}",
    "–": "--",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"\dots{}",
    "×": r"\ensuremath{\times}",
    "→": r"\ensuremath{\rightarrow}",
    "≈": r"\ensuremath{\approx}",
    "₂": r"\textsubscript{2}",
    "✓": r"\ensuremath{\checkmark}",
    "·": r"\ensuremath{\cdot}",
    "°": r"\ensuremath{^\circ}",
    "±": r"\ensuremath{\pm}",
    "✗": r"\ensuremath{\times}",
    "⊤": r"\ensuremath{\top}",
    "\N{NO-BREAK SPACE}": "~",
    "µ": r"\ensuremath{\mu}",
    "μ": r"\ensuremath{\mu}",
}
_LETTERS = re.compile(r"[ -~À-ÏÑ-ÖØ-Ýß-ïñ-öø-ýÿ]")
"""What every font has, of what inputenc knows: ASCII, and western Europe's letters but for Iceland's."""


def write(document: Document) -> str:
    """The whole text."""
    body = [part for block in document.blocks for part in _block(block)]
    title = rf"\section*{{{escape(document.title)}}}"
    return "\n".join((_PREAMBLE, r"\begin{document}", title, *body, r"\end{document}", ""))


def escape(text: str) -> str:
    """Text that means itself; a letter that pdflatex has no font for becomes its number, "U+4E2D"."""
    return "".join(_letter(c) for c in text)


def _letter(letter: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if _LETTERS.fullmatch(letter):
        return letter
    return rf"\texttt{{U+{ord(letter):04X}}}" if letter.isprintable() else " "


def _block(block: Block) -> Iterator[str]:
    match block:
        case Heading(text, level):
            yield rf"\{'sub' * level}section*{{{escape(text)}}}"
        case Paragraph(text):
            yield f"{escape(text)}\n"
        case Items(items):
            yield "\n".join((r"\begin{itemize}", *(rf"\item {{}}{escape(item)}" for item in items), r"\end{itemize}"))
        case Table():
            yield "\n".join(_table(block))


def _table(table: Table) -> Iterator[str]:
    """Its head and rows between booktabs' rules; one that is longer than a page goes over several."""
    tabular = rf"{{@{{}}{_kinds(table)}@{{}}}}"
    caption, head = rf"\caption{{{escape(table.caption)}}}", (r"\toprule", _row(table.columns), r"\midrule")
    if len(table.rows) > _LONG:
        yield from (r"{\small", rf"\begin{{longtable}}{tabular}", rf"{caption} \\", *head, r"\endhead", *_rows(table))
        yield from (r"\bottomrule", r"\end{longtable}}")
    else:
        yield from (
            r"\begin{table}[htbp]\centering\small",
            caption,
            rf"\begin{{tabular}}{tabular}",
            *head,
            *_rows(table),
        )
        yield from (r"\bottomrule", r"\end{tabular}", r"\end{table}")


def _kinds(table: Table) -> str:
    """Each column's alignment; those of running text share what room there is."""
    wordy = [at for at in sorted(table.left) if any(len(row[at]) > _WORDY for row in table.rows)]
    width = rf"p{{{0.55 / max(len(wordy), 1):.2f}\linewidth}}"
    kinds = (width if at in wordy else "l" if at in table.left else "r" for at in range(len(table.columns)))
    return "".join(kinds)


def _rows(table: Table) -> Iterator[str]:
    for number, row in enumerate(table.rows):
        if number in table.begins:
            yield r"\addlinespace"
        yield _row(row)


def _row(cells: tuple[str, ...]) -> str:
    return " & ".join(escape(cell) for cell in cells) + r" \\"
