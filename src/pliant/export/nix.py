"""The Nix language, written: values as expressions, laid out as nixfmt does. Nothing in a text can end its string."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_'-]*", re.ASCII)
_KEYWORDS = frozenset(("assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with"))
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True)
class Raw:
    """An expression that pliant itself wrote, as it is: `pkgs.glusterfs`."""

    text: str


@dataclass(frozen=True)
class Lines:
    """A text of several lines, such as a script."""

    text: str
    marks: Mapping[str, str] = field(default_factory=dict)
    """What stands in the text for the value of a name of the expression around it -> that name."""


Key = str | tuple[str, ...]
"""An attribute or an option: its path with dots, or in parts where a part may have a dot in it."""
Value = bool | int | str | Raw | Lines | Sequence["Value"] | Mapping[Key, "Value"] | Mapping[str, "Value"]


def string(text: str) -> str:
    """A string in double quotes.

    >>> print(string('${x} "y"'))
    "\\${x} \\"y\\""
    """
    if "\0" in text:
        raise ValueError("a Nix string cannot hold a null character")
    return '"' + "".join(_ESCAPES.get(each, each) for each in text).replace("${", "\\${") + '"'


def name(text: str) -> str:
    """An attribute name, in quotes where it needs them."""
    return text if _NAME.fullmatch(text) and text not in _KEYWORDS else string(text)


def path(option: Key) -> str:
    """An option's path: its parts are joined by dots."""
    return ".".join(name(part) for part in (option.split(".") if isinstance(option, str) else option))


def lines(text: str, indent: str, marks: Mapping[str, str] | None = None) -> str:
    """An indented string. Where Nix would strip or change something of it, it is one in double quotes instead.

    `marks` are as those of `Lines`.
    """
    inside, marks = indent + "  ", marks or {}
    bare = _replaced(text, dict.fromkeys(marks, "x"))
    # A single quote before an escape would become a part of it.
    plain = not any(f"'{begin}" in text for begin in ("${", *marks))
    plain = plain and all(each == "\n" or each.isprintable() for each in bare)
    rows = bare.split("\n")
    values = {mark: f"${{{each}}}" for mark, each in marks.items()}
    if not plain or rows[-1] or any(row != row.strip() and not row.strip() for row in rows) or rows[0][:1] in ("", " "):
        return _replaced(string(text), values)
    escaped = text[:-1].replace("''", "'''").replace("${", "''${")
    body = "".join(f"{inside}{row}\n" if row else "\n" for row in escaped.split("\n"))
    return _replaced(f"''\n{body}{indent}''", values)


def _replaced(text: str, values: Mapping[str, str]) -> str:
    for old, new in values.items():
        text = text.replace(old, new)
    return text


def expression(value: Value, indent: str = "") -> str:
    """A value as an expression; lines after its first begin with `indent`."""
    inside = indent + "  "
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return string(value)
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, Lines):
        return lines(value.text, indent, value.marks)
    if isinstance(value, Mapping):
        if not value:
            return "{ }"
        rows = [f"{inside}{path(key)} = {expression(each, inside)};\n" for key, each in value.items()]
        return "{\n" + "".join(rows) + indent + "}"
    items = [expression(each, inside) for each in value]
    if not items:
        return "[ ]"
    if len(items) == 1 and "\n" not in items[0]:
        return f"[ {items[0]} ]"
    return "[\n" + "".join(f"{inside}{each}\n" for each in items) + indent + "]"
