"""Options of a file system's own programs, as a study writes them. Pure.

They go into an argument or a line of a configuration, so they may be anything but control characters: a text, a number,
or true and false, which each file system spells in its own way. A driver has a table of them as

    volume_options: Annotated[dict[Name, Switch], BY_NAME]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

_LONGEST = 1024


def _checked(text: str) -> str:
    """One line of text; ValueError in words."""
    if not text.strip():
        raise ValueError("is empty; write the option's value, or leave it out")
    if len(text) > _LONGEST:
        raise ValueError(f"has {len(text)} characters; write {_LONGEST} or fewer")
    if bad := next((c for c in text if not c.isprintable()), ""):
        raise ValueError(f"has a character that cannot be in a line of text, {bad!r}; remove it")
    return text


def _spelt(true: str, false: str) -> Callable[[object], object]:
    """What turns a value of a study into text."""

    def spell(value: object) -> object:
        if isinstance(value, bool):
            return true if value else false
        if isinstance(value, Mapping | list):
            raise ValueError('is not one value; write a text, a number, true or false, e.g. "64MB"')
        return str(value) if isinstance(value, int | float) else value

    return spell


def _whole(options: object) -> object:
    """Options by their whole names: of one with points that is not in quotes, TOML makes tables in tables."""
    for key, value in options.items() if isinstance(options, Mapping) else ():
        name, inner = str(key), value
        while isinstance(inner, Mapping) and inner:
            part, inner = next(iter(inner.items()))
            name += f".{part}"
        if isinstance(value, Mapping):
            raise ValueError(f'"{key}" is a table there, as names with points need quotes; write "{name}" = ...')
    return options


def _mount_option(text: str) -> str:
    """One of `mount -o`, which are told apart by commas."""
    if "," in text or text.startswith("-"):
        raise ValueError(f'"{text}" is not one option; write a list of them, e.g. ["noatime", "mfswritecachesize=64"]')
    return text


BY_NAME = BeforeValidator(_whole)
"""Marks a table of options."""
_ANY = WithJsonSchema({"type": ["string", "number", "boolean"]}, mode="validation")
Switch = Annotated[str, BeforeValidator(_spelt("on", "off")), AfterValidator(_checked), _ANY]
Truth = Annotated[str, BeforeValidator(_spelt("true", "false")), AfterValidator(_checked), _ANY]
Digit = Annotated[str, BeforeValidator(_spelt("1", "0")), AfterValidator(_checked), _ANY]
Validity = Annotated[str, BeforeValidator(_spelt("enable", "disable")), AfterValidator(_checked), _ANY]
"""Values, by how true and false are spelt."""
MountOption = Annotated[str, AfterValidator(_checked), AfterValidator(_mount_option)]


def named(pattern: str, example: str) -> AfterValidator:
    """What checks the name of an option against a regular expression, and says in words what is wrong."""
    expression = re.compile(pattern, re.ASCII)

    def check(name: str) -> str:
        if not expression.fullmatch(name):
            raise ValueError(f'"{name}" is not the name of an option; they are such as "{example}"')
        return name

    return AfterValidator(check)


def _absolute(text: str) -> str:
    """A path on the machines; "" is none."""
    if text and (not text.startswith("/") or ".." in text.split("/")):
        raise ValueError(f'"{text}" is not an absolute path; write e.g. "/opt/NAME"')
    return text.rstrip("/") or text


OwnPath = Annotated[str, AfterValidator(lambda text: text and _checked(text)), AfterValidator(_absolute)]
"""A directory or a file on the machines that the user names, or ""."""
