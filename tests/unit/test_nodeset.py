"""Node sets: expanding, folding, selecting, and what a faulty one is answered with."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pliant.composition.nodeset import expand, fold, natural_key, select
from pliant.composition.placement import nodes_for

NODES = nodes_for({"server": 12, "client": 3})


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("server1", ("server1",)),
        ("server[1-3,6],client1", ("client1", "server1", "server2", "server3", "server6")),
        ("server[2-2]", ("server2",)),
        ("node[08-10]", ("node08", "node09", "node10")),
        ("r[1-2]n[1-2]", ("r1n1", "r1n2", "r2n1", "r2n2")),
        (" a , b ", ("a", "b")),
        ("a,a,a", ("a",)),
        ("n10,n9", ("n9", "n10")),
    ],
)
def test_expand(pattern, names):
    assert expand(pattern) == names


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "empty part"),
        ("a,,b", "empty part"),
        ("server[1-4", 'a "[" that is not closed'),
        ("server]", '"server]" is not a set of nodes'),
        ("server[]", '"" in "server[]" is not a range'),
        ("server[a-b]", '"a-b" in "server[a-b]" is not a range'),
        ("server[4-1]", 'runs backwards; write "1-4"'),
        ("server[1-100001]", "more than 100000 names"),
        ("a[1-1000]b[1-1000]", "more than 100000 names"),
        ("a[1-60000],b[1-60000]", "more than 100000 names"),
        ("a[1-9999999999999999]", "is not a range"),
        ("a b", "is not a set of nodes"),
        ("é", "is not a set of nodes"),
    ],
)
def test_expand_refuses_with_the_faulty_part(pattern, message):
    with pytest.raises(ValueError) as refused:
        expand(pattern)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_fold():
    assert fold(["client2", "client1", "client3", "server7", "a", "node08"]) == "a,client[1-3],node08,server7"
    assert fold(["n1", "n3", "n4", "n5", "n10"]) == "n[1,3-5,10]"
    assert fold([]) == ""


@given(st.sets(st.from_regex(r"[a-z]{1,3}(-[0-9]{1,2})?[a-z]?[0-9]{0,3}", fullmatch=True), min_size=1, max_size=60))
def test_folding_loses_nothing(names):
    assert list(expand(fold(names))) == sorted(names, key=natural_key)


@given(st.text(max_size=60))
def test_any_pattern_expands_or_is_refused_in_one_line(pattern):
    try:
        assert expand(pattern)
    except ValueError as refused:
        assert "\n" not in str(refused)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("client", "client[1-3]"),
        ("all", "client[1-3],server[1-12]"),
        ("*", "client[1-3],server[1-12]"),
        ("server[10-12],client2", "client2,server[10-12]"),
        ("client,client1,server3", "client[1-3],server3"),
    ],
)
def test_select(pattern, names):
    chosen = select(pattern, NODES)
    assert fold(node.name for node in chosen) == names
    assert list(chosen) == [node for node in NODES if node in chosen]


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("sever1", ['"sever1"', 'did you mean "server1"?', "client[1-3],server[1-12]"]),
        ("servers", ['did you mean "server"?']),
        ("server[11-14]", ['"server[13-14]"', '(in "server[11-14]")']),
        ("zzz", ["the nodes are client[1-3],server[1-12]"]),
    ],
)
def test_select_names_what_is_unknown_and_what_exists(pattern, parts):
    with pytest.raises(ValueError) as refused:
        select(pattern, NODES)
    assert all(part in str(refused.value) for part in parts)
