"""Log files of other machines, brought here piece by piece."""

from __future__ import annotations

import base64

from pliant.platforms.mirror import Mirror

LOGS = "/state/ab12-1/logs/server1"


def told(path: str, inode: int, begin: int, text: str) -> list[object]:
    return ["server1", path, inode, begin, 1000.0, base64.b64encode(text.encode()).decode()]


def take(mirror: Mirror, *pieces: list[object]) -> dict[str, list[int]]:
    with mirror.of("server1"):
        mirror.take("server1", LOGS, pieces)
    with mirror.of("server1") as known:
        return known


def test_what_a_file_gained_is_added(tmp_path):
    mirror = Mirror(tmp_path)
    known = take(mirror, told(f"{LOGS}/glusterd.log", 5, 0, "one\n"))
    assert known == {f"{LOGS}/glusterd.log": [4, 5]}
    take(mirror, told(f"{LOGS}/glusterd.log", 5, 4, "two\n"))
    assert [path.read_text() for path in mirror.files("server1")] == ["one\ntwo\n"]
    assert mirror.files("server1") == [tmp_path / "server1/glusterd.log"]  # where `log` says that it will be


def test_one_that_began_anew_is_begun_anew(tmp_path):
    mirror = Mirror(tmp_path)
    take(mirror, told(f"{LOGS}/a.log", 5, 0, "old old old\n"))
    take(mirror, told(f"{LOGS}/a.log", 6, 0, "new\n"))
    assert [path.read_text() for path in mirror.files("server1")] == ["new\n"]
    take(mirror, told(f"{LOGS}/a.log", 6, 0, "cut\n"))
    assert [path.read_text() for path in mirror.files("server1")] == ["cut\n"]


def test_files_of_the_same_name_are_kept_apart(tmp_path):
    mirror = Mirror(tmp_path)
    take(mirror, told("/state/x/var/log/a/a.log", 1, 0, "first"), told("/state/x/var/log/b/a.log", 2, 0, "second"))
    assert {path.read_text() for path in mirror.files("server1")} == {"first", "second"}
    assert {path.name for path in mirror.files("server1")} == {"a.log"}
    mirror.forget()
    assert mirror.files("server1") == []
