"""What is wrong with a study file, in sentences: which file, which key, what is wrong and what would be right. Pure.

`explain` turns pydantic's findings into such sentences; the rest of the study's checks add their own.
"""

from __future__ import annotations

import json
import re
import tomllib
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from pliant.errors import UserError

KeyPath = tuple[str | int, ...]
"""Where a value is in a study file: keys of tables and indices (from 0) of lists."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: in `file`, at `key` (dotted, list elements counted from 1; empty: the file itself).

    >>> str(Problem("a.toml", "platform.host.nic", '"200 Mb" is not a rate; write e.g. "200 Mbit/s"'))
    'a.toml: platform.host.nic: "200 Mb" is not a rate; write e.g. "200 Mbit/s"'
    """

    file: str
    key: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.key, self.message) if part)


class StudyError(UserError):
    """A study file cannot be used; `problems` is all that was found, and the text has one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


def dotted(path: KeyPath) -> str:
    """A path as people read it: ("workload", 1, "block") is "workload[2].block"."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            key = part if re.fullmatch(r"[A-Za-z0-9_-]+", part, re.ASCII) else json.dumps(part, ensure_ascii=False)
            text += f".{key}" if text else key
    return text


def unknown_key(key: str, allowed: Iterable[str]) -> str:
    """The sentence for a key that does not belong where it is; `allowed` are those that do."""
    allowed = list(allowed)
    close = get_close_matches(key, allowed, n=1)
    hint = f'did you mean "{close[0]}"? ' if close else ""
    listed = f"the keys here are {', '.join(allowed)}" if allowed else "there are no keys here; remove it"
    return f"is not a key; {hint}{listed}"


def unknown_name(name: str, what: str, allowed: Iterable[str]) -> str:
    """The sentence for a text that is not one of those allowed; `what` says what it should be ("a strategy")."""
    allowed = list(allowed)
    close = get_close_matches(name.lower(), allowed, n=1)
    hint = f"did you mean {show(close[0])}? " if close else ""
    return f"{show(name)} is not {what}; {hint}write one of {', '.join(show(each) for each in allowed)}"


def show(value: object) -> str:
    """A value of a study file on one line, as it would be written there, cut if it is long."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        line = "".join(c if c.isprintable() else " " for c in value)
        return f'"{line}"' if len(line) <= 60 else f'"{line[:57]}..."'
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def explain(
    error: ValidationError, model: type[BaseModel], table: object, at: KeyPath = (), allowed: Iterable[str] = ()
) -> list[tuple[KeyPath, str]]:
    """Pydantic's findings on `table`, which is at `at` in the file and should be a `model`, as (path, sentence).

    At most one for each path. `allowed` are keys of the table that belong to it but not to the model.
    """
    findings: dict[KeyPath, _Finding] = {}
    for details in error.errors(include_url=False):
        finding = _Finding(details["type"], details["msg"], details.get("ctx", {}), details["input"])
        findings.setdefault(_real_path(details["loc"], table, finding.kind), finding)
    return [
        ((*at, *path), _sentence(finding, at, path, model, [*allowed]))
        for path, finding in findings.items()
        if not _follows(path, finding.kind, findings)
    ]


def near(key: str, others: Iterable[str]) -> bool:
    """Whether one of `others` is most likely `key` misspelt, so that it need not be reported as missing too."""
    return any(get_close_matches(other, [key], n=1) for other in others)


@dataclass(frozen=True)
class _Finding:
    """What pydantic found at one place."""

    kind: str
    message: str
    context: Mapping[str, Any]
    value: object


def _follows(path: KeyPath, kind: str, findings: Mapping[KeyPath, _Finding]) -> bool:
    """Whether a finding is only the consequence of another: one fault, one line."""
    if kind == "missing":
        extra = [other for other, finding in findings.items() if finding.kind == "extra_forbidden"]
        return near(str(path[-1]), (str(other[-1]) for other in extra if other[:-1] == path[:-1]))
    # A list whose elements are refused is also found too short.
    return kind == "too_short" and any(other != path and other[: len(path)] == path for other in findings)


def _real_path(location: KeyPath, table: object, kind: str) -> KeyPath:
    """The part of pydantic's location that is in the file; the rest names its own validators."""
    path: list[str | int] = []
    value: Any = table
    for at, part in enumerate(location):
        absent = kind == "missing" and at == len(location) - 1
        if isinstance(part, int) and isinstance(value, list | tuple) and part < len(value):
            value = value[part]
        elif isinstance(part, str) and isinstance(value, Mapping) and (part in value or absent):
            value = value.get(part)
        else:
            break
        path.append(part)
    return tuple(path)


def _sentence(finding: _Finding, at: KeyPath, path: KeyPath, model: type[BaseModel], allowed: Sequence[str]) -> str:
    """What is wrong at `path` of a table that should be a `model`, and what would be right."""
    field, owner = _field_at(model, path)
    if finding.kind == "extra_forbidden" and path:
        keys = [info.alias or name for name, info in owner.model_fields.items()] if owner else []
        return unknown_key(str(path[-1]), [*(allowed if len(path) == 1 else ()), *keys])
    if finding.kind == "missing" and path:
        return f"is missing; {finding.context.get('remedy') or _addition((*at, *path), field)}"
    if finding.kind in ("value_error", "assertion_error"):
        return " ".join(str(finding.context.get("error", finding.message)).split())
    if finding.kind in ("literal_error", "enum"):
        choices = re.findall(r"'([^']*)'", str(finding.context.get("expected", "")))
        if isinstance(finding.value, str) and choices:
            return unknown_name(finding.value, "one of those allowed", choices)
        if choices:
            return f"{show(finding.value)} is not a text; write one of {', '.join(show(each) for each in choices)}"
    rule = _RULES.get(finding.kind)
    if rule:
        example = _example(field)
        if isinstance(example, list | tuple) and path and isinstance(path[-1], int):
            example = example[-1] if example else None
        return rule(show(finding.value), finding.context, example)
    return f"{show(finding.value)} is refused: {finding.message[:1].lower()}{finding.message[1:]}{_such_as(field)}"


def _field_at(model: type[BaseModel], path: KeyPath) -> tuple[FieldInfo | None, type[BaseModel] | None]:
    """The field that `path` leads to, if any, and the model whose table its last key is in, if any."""
    owner: type[BaseModel] | None = model
    field: FieldInfo | None = None
    for at, part in enumerate(path):
        if isinstance(part, int):
            continue
        if owner is None:
            return None, None
        field = next((info for name, info in owner.model_fields.items() if part in (name, info.alias)), None)
        if at < len(path) - 1:
            owner = _model_in(field.annotation) if field else None
    return field, owner


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation such as `Host | None` or `tuple[Host, ...]` is about."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for each in typing.get_args(annotation) if (model := _model_in(each))), None)


def _addition(path: KeyPath, field: FieldInfo | None) -> str:
    """How to add the key at `path`, which is missing."""
    key = path[-1]
    if field and _model_in(field.annotation):
        return f"add a [{dotted(path)}] table"
    example = _example(field)
    if example is not None:
        return f"add e.g. {key} = {json.dumps(example, ensure_ascii=False)}"
    about = f" ({field.description.rstrip('.')})" if field and field.description else ""
    return f"add {key} = ...{about}"


def _example(field: FieldInfo | None) -> object:
    """A right value for a field, if it says one."""
    if field is None:
        return None
    if field.examples:
        return field.examples[0]
    return field.default if isinstance(field.default, bool | int | float | str | list | tuple) else None


def _such_as(field: FieldInfo | None) -> str:
    example = _example(field)
    return "" if example is None else f"; write e.g. {json.dumps(example, ensure_ascii=False)}"


_Rule = Callable[[str, Mapping[str, Any], object], str]


def _kind(what: str, default: object) -> _Rule:
    """The rule for a value that is of the wrong kind."""

    def rule(shown: str, context: Mapping[str, Any], example: object) -> str:
        right = json.dumps(default if example is None else example, ensure_ascii=False)
        return f"{shown} is not {what}; write e.g. {right}"

    return rule


def _bound(bound: object) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _least(shown: str, context: Mapping[str, Any], example: object) -> str:
    return f"{shown} is too small; write {_bound(context['ge'])} or more"


def _most(shown: str, context: Mapping[str, Any], example: object) -> str:
    return f"{shown} is too large; write {_bound(context['le'])} or less"


def _above(shown: str, context: Mapping[str, Any], example: object) -> str:
    return f"{shown} is too small; write more than {_bound(context['gt'])}"


def _below(shown: str, context: Mapping[str, Any], example: object) -> str:
    return f"{shown} is too large; write less than {_bound(context['lt'])}"


def _too_few(shown: str, context: Mapping[str, Any], example: object) -> str:
    return f"has {context['actual_length']} elements; write {context['min_length']} or more"


def _too_many(shown: str, context: Mapping[str, Any], example: object) -> str:
    return f"has {context['actual_length']} elements; write {context['max_length']} or fewer"


def _pattern(shown: str, context: Mapping[str, Any], example: object) -> str:
    right = f"; write e.g. {json.dumps(example)}" if example is not None else ""
    return f"{shown} does not have the form {context['pattern']}{right}"


def _shorter(shown: str, context: Mapping[str, Any], example: object) -> str:
    return f"{shown} is too long; write {context['max_length']} characters or fewer"


def _longer(shown: str, context: Mapping[str, Any], example: object) -> str:
    return f"{shown} is too short; write {context['min_length']} characters or more"


def _table(shown: str, context: Mapping[str, Any], example: object) -> str:
    return f"{shown} is not a table; write its keys below a line with its name in brackets"


_WHOLE = _kind("a whole number", 1)
_NUMBER = _kind("a number", 1.0)
_TEXT = _kind("a text", "text")
_TRUTH = _kind("true or false", True)
_LIST = _kind("a list", ["..."])

_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing"), _NUMBER),
    "finite_number": _kind("a finite number", 1.0),
    **dict.fromkeys(("string_type", "string_sub_type"), _TEXT),
    **dict.fromkeys(("bool_type", "bool_parsing"), _TRUTH),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), _LIST),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "mapping_type", "dataclass_type"), _table),
    "greater_than_equal": _least,
    "less_than_equal": _most,
    "greater_than": _above,
    "less_than": _below,
    "too_short": _too_few,
    "too_long": _too_many,
    "string_pattern_mismatch": _pattern,
    "string_too_long": _shorter,
    "string_too_short": _longer,
}


_SYNTAX_HINTS = (
    ("Invalid value", 'write a text in double quotes, e.g. name = "value"'),
    ("Expected '='", "write key = value"),
    ("Expected newline", "write one key = value on a line"),
    ("Cannot", "write each key and each [table] once"),
    ("Unclosed array", 'close the list with "]"'),
    ("Expected ']'", 'close the name of the table with "]"'),
    ("Illegal character", 'close the text with "\\""'),
    ("Unterminated", 'close the text with "\\""'),
)


def read_toml(text: str, file: str) -> dict[str, Any]:
    """The tables of a TOML text; StudyError with line and column if it is none."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = re.fullmatch(r"(?s)(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error))
        what, line, column = match.groups() if match else (str(error), None, None)
        if line is None:
            lines = text.split("\n")
            line, column = len(lines), len(lines[-1]) + 1
        hint = next((hint for start, hint in _SYNTAX_HINTS if what.startswith(start)), "see https://toml.io")
        message = f"line {line}, column {column}: {what[:1].lower()}{what[1:]}; {hint}"
        raise StudyError([Problem(file, "", " ".join(message.split()))]) from None
    except RecursionError:
        raise StudyError([Problem(file, "", "lists or tables are nested too deeply; see docs/study-file.md")]) from None
    if not raw:
        raise StudyError([Problem(file, "", "is empty; start from a copy of studies/quickstart.toml")])
    return raw
