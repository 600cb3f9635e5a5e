"""The study file's JSON Schema: what it accepts and refuses, and that the one beside the studies is the present one."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from study_files import GOOD

from pliant.study import schema

STUDIES = Path(__file__).parents[2] / "studies"
REFERENCE = (STUDIES.parent / "docs/study-file.md").read_text()
DOCUMENT = schema.document()
FIO = '[[workload]]\nkind = "fio"\nrw = "read"\n'


def problems(text: str) -> list[str]:
    return [error.message for error in Draft202012Validator(DOCUMENT).iter_errors(tomllib.loads(text))]


def test_it_is_one():
    Draft202012Validator.check_schema(DOCUMENT)


def test_the_one_beside_the_studies_is_this_one():
    written = json.loads((STUDIES / "study.schema.json").read_text())
    assert written == json.loads(json.dumps(DOCUMENT)), "pliant schema -o studies/study.schema.json"


@pytest.mark.parametrize("study", sorted(STUDIES.rglob("*.toml")), ids=lambda path: path.stem)
def test_every_study_names_it_and_is_valid(study):
    text = study.read_text()
    above = "../" * (len(study.relative_to(STUDIES).parts) - 1)
    assert text.startswith(f"#:schema {above}study.schema.json\n")
    assert problems(text) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("cores = 0.2", "cores = 0"),
        ("cores = 0.2", ""),
        ('nic = "200 Mbit/s"', "nic = 200"),
        ("server = 4", "sever = 4"),
        ('volume = "distribute"', 'volumes = "distribute"'),
        ("[fold]", "[fold]\nratio = 2"),
        ('kind = "ior"', 'kind = "iot"'),
        ('kind = "ior"', 'kind = "ior"\nblok = "1 MiB"'),
    ],
)
def test_what_check_would_refuse_is_refused_where_a_schema_can_tell(before, after):
    assert before in GOOD and problems(GOOD.replace(before, after, 1))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("cores = 0.2", 'like = "grid5000/dahu"\nscale = "auto"'),
        ('volume = "distribute"', 'volume_options = { "performance.io-cache" = false, "a.b" = 10, "c" = "x" }'),
        ("[study]", '[study]\nbudget = "5 min"'),
        ("[study]", "[study]\nbudget = 30"),
        ("[fold]", '[fold]\nmetrics = ["*_bandwidth"]'),
    ],
)
def test_what_may_be_written_is_accepted(before, after):
    assert before in GOOD and problems(GOOD.replace(before, after, 1)) == []
    assert problems(GOOD + FIO) == []


def test_it_says_what_each_key_of_a_table_is():
    """An editor shows it where the key is written."""
    for name in ("study", "fold", "power"):
        for key, about in DOCUMENT["properties"][name]["properties"].items():
            assert about.get("description"), f"{name}.{key}"
            assert f"| `{key}` |" in REFERENCE
