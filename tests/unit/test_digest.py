"""Keys as Nix writes them, and lists of digests as sha256sum reads them."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pliant import digest

DOCUMENT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)


@pytest.mark.parametrize(
    ("content", "written"),
    [
        # `nix-hash --flat --type sha256 --truncate --base32 FILE` of Nix 2.8.0.
        (b"hello", "bhg1c6wywawwa3m3cfsnr45l5kj0ym9k"),
        (b'{"a":[0.1],"b":1}', None),
        (b"", None),
    ],
)
def test_base_32_is_that_of_nix(tmp_path, content, written):
    (tmp_path / "file").write_bytes(content)
    argv = ["nix-hash", "--flat", "--type", "sha256", "--truncate", "--base32", str(tmp_path / "file")]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    assert said == written or written is None
    assert digest.base32(digest.folded(bytes.fromhex(digest.sha256(content)), 20)) == said
    argv.remove("--truncate")
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    assert digest.base32(bytes.fromhex(digest.sha256(content))) == said


def test_a_key_follows_from_the_document_alone():
    assert digest.key({"a": [0.1], "b": 1}) == digest.key({"b": 1, "a": [0.1]})
    assert digest.key({"a": 1}) != digest.key({"a": 1.5}) != digest.key({"a": None})
    with pytest.raises(ValueError):
        digest.key({"a": float("nan")})


@given(DOCUMENT)
def test_a_key_fits_into_a_name(document):
    assert digest.KEY.fullmatch(digest.key(document))


NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(st.dictionaries(NAMES, st.binary(max_size=3).map(digest.sha256), max_size=4))
def test_digests_come_back(sums):
    assert digest.read_sums(digest.sums_text(sums)) == sums


PLACES = (".", "..", "-")
"""Names that are no file's: directories, and what sha256sum takes for its standard input."""


@settings(max_examples=10)
@given(st.dictionaries(NAMES.filter(lambda name: "/" not in name and name not in PLACES), st.binary(max_size=5)))
def test_digests_are_checked_by_sha256sum(tmp_path_factory, files):
    top = tmp_path_factory.mktemp("sums")
    for name, content in files.items():
        (top / name).write_bytes(content)
    sums = digest.sums_text({name: digest.sha256(content) for name, content in files.items()})
    argv = ["sha256sum", "--check", "--strict", "--quiet", "-"]
    done = subprocess.run(argv, input=sums.encode(), capture_output=True, cwd=top, check=False, timeout=20)
    assert done.returncode == (0 if files else 1), done.stderr


@given(st.data())
def test_a_bit_that_flips_in_a_list_of_digests_is_seen(data):
    sums = {"write.out": digest.sha256(b"1"), "logs/server1-a b.log": digest.sha256(b"2")}
    content = bytearray(digest.sums_text(sums).encode())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        assert digest.read_sums(content.decode()) != sums
    except ValueError:
        return
