"""Texts in Nix expressions: Nix reads them as they were meant."""

from __future__ import annotations

import itertools
import json
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pliant.export import nix

PIECES = st.sampled_from(["$", "{", "${", "''", '"', "\\", "\n", " "])
TEXTS = st.lists(PIECES | st.characters(exclude_characters="\0", exclude_categories=("Cs",))).map("".join)


@given(TEXTS)
@settings(max_examples=300)
def test_nothing_ends_its_string(text):
    """Without Nix: no quote and no antiquotation but behind a backslash."""
    inside = nix.string(text)[1:-1]
    assert re.fullmatch(r'(?s)(?:\\.|(?!\$\{)[^"\\])*', inside)


HOSTILE = [
    '${builtins.abort "x"}',
    "''",
    "''${x}",
    "$${x}",
    "a'''b''",
    "\\${x}",
    '"; x = "',
    "a\n  b\n",
    "  a\nb\n",
    "a\n",
    "$\n{\n",
    "''\n",
    "a''${x}\n",
    "$${x}\n",
    "a'${x}\n",
    "a'\n",
    "''\\n\n",
    "a$''{x}\n",
    "\u00e9\t\r\n",
    "\n\n",
    "x\n \ny\n",
]


@given(st.lists(TEXTS, min_size=1, max_size=40))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nix_reads_any_text_as_it_was(nix_instantiate, texts):
    written = nix.expression([nix.Raw(nix.expression({"a": text, "b": nix.Lines(text + "\n")}, " ")) for text in texts])
    meant = [{"a": text, "b": text + "\n"} for text in texts]
    assert json.loads(nix_instantiate("--eval", "--strict", "--json", "-", text=written)) == meant


def test_nix_reads_what_was_meant(nix_instantiate):
    values = HOSTILE + ["".join(pair) for pair in itertools.pairwise(HOSTILE)]
    meant = [{"a": text, "b": text} for text in values]
    written = nix.expression([nix.Raw(nix.expression({"a": text, "b": nix.Lines(text)}, "  ")) for text in values])
    assert json.loads(nix_instantiate("--eval", "--strict", "--json", "-", text=written)) == meant
    names = {text.replace(".", ""): 1 for text in (*values, "or", "if", "a-b", "1a", "")}
    assert json.loads(nix_instantiate("--eval", "--strict", "--json", "-", text=nix.expression(names))) == names
