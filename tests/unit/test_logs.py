"""Log files of nodes: their ends, and what is added to them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pliant.cluster import logs


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Two nodes with log files, and what was heard of them."""
    monkeypatch.setattr(logs, "POLL_S", 0.0)
    for node in ("server1", "server2"):
        (tmp_path / node).mkdir()
    heard: list[tuple[str, str, str]] = []
    cluster = SimpleNamespace(log_files=lambda node: sorted((tmp_path / node).iterdir()))

    def made(lines):
        return logs.Logs(cluster, ["server1", "server2"], lines, lambda *what: heard.append(what))

    return tmp_path, made, heard


def rounds(*actions):
    """As often again as there is something to do before."""
    left = list(actions)

    def again():
        if left:
            left.pop(0)()
            return True
        return False

    return again


def test_the_last_lines_of_each_file(files):
    directory, made, heard = files
    (directory / "server1/a.log").write_text("one\ntwo\nthree\n")
    (directory / "server2/b.log").write_bytes(b"only \xff")
    made(2).show()
    assert heard == [("server1", "a.log", "two"), ("server1", "a.log", "three"), ("server2", "b.log", "only \ufffd")]


def test_what_is_added_by_whole_lines_and_in_new_files(files):
    directory, made, heard = files
    file, new = directory / "server1/a.log", directory / "server2/new.log"
    file.write_text("before\n")
    found = made(0)
    found.show()
    assert heard == []
    with file.open("a") as out:

        def write(text):
            out.write(text)
            out.flush()

        found.follow(rounds(lambda: write("half"), lambda: write(" a line\nand"), lambda: new.write_text("x\ny\n")))
    assert heard == [("server1", "a.log", "half a line"), ("server2", "new.log", "x"), ("server2", "new.log", "y")]


def test_a_file_that_begins_anew_is_read_anew(files):
    directory, made, heard = files
    file = directory / "server1/a.log"
    file.write_text("a long line before\n")
    found = made(0)
    found.show()
    found.follow(rounds(lambda: file.write_text("anew\n")))
    assert heard == [("server1", "a.log", "anew")]
