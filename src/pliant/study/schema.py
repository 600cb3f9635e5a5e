"""The study file as a JSON Schema, made of the models that check it, by which editors complete and check it. Pure.

https://json-schema.org/draft/2020-12. It says less than `pliant check`, which sees what does not go together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from pliant.composition.model import Filesystem
from pliant.study import registry
from pliant.study.faults import FaultTable
from pliant.study.platform_table import PlatformTable
from pliant.study.tables import (
    FilesystemTable,
    FoldTable,
    HostTable,
    MpiTable,
    NixosComposeTable,
    PowerTable,
    StudyTable,
)

Schema = dict[str, Any]

_TABLES: Mapping[str, type[BaseModel]] = {
    "study": StudyTable,
    "platform": PlatformTable,
    "fold": FoldTable,
    "power": PowerTable,
    "mpi": MpiTable,
    "nixos_compose": NixosComposeTable,
}


def document() -> Schema:
    """The whole schema; of file systems and workloads, those that are installed."""
    tables = {name: _plain(_schema(model)) for name, model in _TABLES.items()}
    tables["platform"]["properties"]["host"] = _host()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of pliant",
        "description": "How far does a file system fold? docs/study-file.md explains every key.",
        "type": "object",
        "required": ["study", "platform", "filesystem", "fold", "workload"],
        "additionalProperties": False,
        "properties": {
            **tables,
            "filesystem": _filesystem(),
            "workload": {"type": "array", "minItems": 1, "items": _workload()},
            "matrix": {
                "type": "object",
                "description": "values for keys, each combination a study: filesystem.roles.server = [1, 2]",
            },
            "fault": {"type": "array", "items": _plain(_schema(FaultTable))},
        },
    }


def _schema(model: type[BaseModel]) -> Schema:
    """A model's schema with everything in its place: keys are written as in the file."""
    return _inlined(GenerateJsonSchema(by_alias=True).generate(model.__pydantic_core_schema__, "validation"))


def _inlined(schema: Schema) -> Schema:
    """The same without definitions apart."""
    definitions = schema.pop("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, dict):
            name = value.get("$ref", "").removeprefix("#/$defs/")
            own = {key: put(each) for key, each in value.items() if key != "$ref"}
            return {**put(definitions[name]), **own} if name else own
        return [put(each) for each in value] if isinstance(value, list) else value

    found: Schema = put(schema)
    return found


def _plain(schema: Schema, of_a_field: bool = False) -> Schema:
    """Without what editors have no use for: titles made of names, and a model's docstring, which is for programmers."""
    found: Schema = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "description" and "properties" in schema and not of_a_field:
            continue
        if key == "default" and (
            value in (None, [], {}) or (isinstance(value, float) and schema.get("type") == "string")
        ):
            continue  # a quantity is written with its unit, and known in SI
        if key == "properties":
            value = {name: _plain(each, True) for name, each in value.items()}
        elif isinstance(value, dict):
            value = _plain(value)
        elif isinstance(value, list):
            value = [_plain(each) if isinstance(each, dict) else each for each in value]
        found[key] = value
    # No file can write that there is nothing.
    some = [each for each in found.get("anyOf", ()) if each != {"type": "null"}]
    if len(some) == 1:
        found = {**some[0], **{key: value for key, value in found.items() if key != "anyOf"}}
    elif some:
        found["anyOf"] = some
    return found


def _host() -> Schema:
    """[platform.host]: with `like` there is nothing that must be there."""
    schema = _plain(_schema(HostTable))
    needed = schema.pop("required")
    return {**schema, "anyOf": [{"required": ["like"]}, {"required": needed}]}


def _filesystem() -> Schema:
    """[filesystem]: one table or a list of them, with the roles and options of its kind."""
    schema = _plain(_schema(FilesystemTable))
    kinds = registry.filesystem_names()
    schema["properties"]["kind"] |= {"enum": list(kinds)}
    schema["allOf"] = [_if_kind(kind, _of_filesystem(registry.filesystem(kind))) for kind in kinds]
    return {"anyOf": [schema, {"type": "array", "minItems": 1, "items": schema}]}


def _of_filesystem(driver: type[Filesystem]) -> Schema:
    options = _plain(_schema(driver.Options))
    properties: Schema = {"options": options}
    if not options.get("required"):  # the names of the roles of one that the study describes are the study's
        counts = {
            role.name: {"type": "integer", "minimum": 0} | ({"description": role.because} if role.because else {})
            for role in driver.roles(driver.Options())
        }
        properties["roles"] = {"properties": counts, "additionalProperties": False}
    return {"properties": properties}


def _workload() -> Schema:
    """[[workload]]: its kind and name, and the keys of its kind."""
    kinds = registry.workload_names()
    own: Schema = {
        "kind": {"enum": list(kinds), "description": "what is run"},
        "name": {"type": "string", "description": "what it is called in results", "examples": ["small-files"]},
    }
    each: list[Schema] = []
    for kind in kinds:
        keys = _plain(_schema(registry.workload(kind).Options))
        keys["properties"] = {**own, **keys["properties"]}
        each.append(_if_kind(kind, keys))
    return {"type": "object", "required": ["kind"], "properties": own, "allOf": each}


def _if_kind(kind: str, then: Schema) -> Schema:
    return {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": then}
