"""What is looked at of POSIX, against this machine's own file system, and how it is told."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from runs import make_run

from pliant.analysis.conclusions import analyse
from pliant.cluster import two_clients
from pliant.cluster.conformance import Result, _one
from pliant.cluster.posix_checks import CHECKS
from pliant.cluster.two_clients import Client, Hangs, Odd, Pair, Refused
from pliant.machine import conforming
from pliant.machine.cgroup import kill
from pliant.machine.process import Completed, marked, run
from pliant.report.html import render
from pliant.report.summary import document
from pliant.results import conformance_table
from pliant.results.conformance_table import Row, sentence, table
from pliant.results.store import Store


class Deployment:
    """Clients that are processes of this machine."""

    def own(self, node, module):
        return [sys.executable, "-I", "-S", conforming.__file__]

    def start(self, node, argv, extra=None, **streams):
        return subprocess.Popen(argv, env=extra, **streams)

    def end_marked(self, variable, value):
        kill(marked(variable, value))


class OneMachine:
    """A cluster whose clients see a directory of this machine."""

    deployment = Deployment()

    def execute(self, node, argv, *, timeout_s, stdin="") -> Completed:
        return run(argv, timeout_s=timeout_s, stdin=stdin, where=node)


def check(name: str, directory: Path) -> Result:
    promise, look = CHECKS[name]
    return _one(OneMachine(), ("client1", "client2"), str(directory / "check"), name, promise, look)


@pytest.mark.parametrize("name", CHECKS)
def test_a_local_file_system_keeps_it(name, tmp_path):
    found = check(name, tmp_path)
    # Where the tests' directory lies in memory there may be no O_DIRECT, nor attributes of users.
    allowed = ("holds", "not supported") if name in ("O_DIRECT", "extended attributes") else ("holds",)
    assert found.outcome in allowed, found


def pair(directory: Path) -> Pair:
    cluster = OneMachine()
    return Pair(cluster, str(directory), *(Client(cluster, node, str(directory)) for node in ("client1", "client2")))


@pytest.fixture
def two(tmp_path):
    made = pair(tmp_path)
    yield made
    made.a.end()
    made.b.end()


def broken(name, tmp_path, monkeypatch, **operations) -> Result:
    """A check where operations of the clients are others."""
    program = tmp_path / "broken.py"
    replaced = "\n".join(f"c.Files.{name} = {code}" for name, code in operations.items())
    place = Path(conforming.__file__).parents[2]
    program.write_text(
        f"import sys, os\nsys.path.insert(0, {str(place)!r})\nfrom pliant.machine import conforming as c\n{replaced}\n"
        "sys.exit(c.main(*sys.argv[1:]))\n"
    )
    monkeypatch.setattr(Deployment, "own", lambda self, node, module: [sys.executable, str(program)])
    monkeypatch.setattr(two_clients, "PATIENCE_S", 1.0)
    return check(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "operations", "outcome", "said"),
    [
        ("data after close", {"get": "lambda self, name: 'stale'"}, "fails", "get gives 'stale', not 'first'"),
        (
            "O_EXCL",
            {"create": "lambda self, name, count: list(range(count))"},
            "fails",
            "both were first at 100 of 100",
        ),
        ("locks (fcntl)", {"lock": "lambda self, *given: None"}, "fails", "lock is not refused (EAGAIN)"),
        ("locks (flock)", {"flock": "lambda self, *given: os.stat('/none')"}, "fails", "refused: ENOENT"),
        (
            "extended attributes",
            {"setxattr": "lambda self, *given: (_ for _ in ()).throw(OSError(95, 'no'))"},
            "not supported",
            "refused: ENOTSUP",
        ),
        (
            "rename over an open file",
            {"read": "lambda self, *given: 'new'"},
            "fails",
            "what was open is 'new', not 'old'",
        ),
        ("O_APPEND", {"append": "lambda self, name, *given: open(name, 'w').close()"}, "fails", "1200 of 1200 lines"),
        ("data after close", {"put": "lambda self, *given: os._exit(1)"}, "hangs", "client1 is not there any more"),
    ],
)
def test_what_is_broken_is_found(name, operations, outcome, said, tmp_path, monkeypatch):
    found = broken(name, tmp_path, monkeypatch, **operations)
    assert (found.outcome, found.said[: len(said)]) == (outcome, said)


def test_what_is_so_in_a_while_is_late(two, tmp_path):
    two.a.begin("look", "none", 0.9)

    def there() -> bool:
        return not two.a._lines.empty()

    two.soon(there, "it is not")
    assert 0.5 < two.late_s < 30
    with pytest.raises(Odd, match="it is not, also after"):
        two.soon(lambda: False, "it is not", 0.1)


def test_an_operation_that_does_not_end_hangs(two):
    two.a.begin("look", "none", 30.0)
    with pytest.raises(Hangs, match=r"an operation on client1 did not end within 0 s"):
        two.a.answered(0.1)


def test_who_is_killed_lets_go_of_its_locks_and_answers_no_more(two, tmp_path):
    two.a.do("put", "f", "x")
    two.a.do("lock", two.a.do("open", "f", "w"), "exclusive")
    with pytest.raises(Refused, match="EAGAIN"):
        two.b.do("lock", two.b.do("open", "f", "w"), "exclusive")
    two.a.kill()
    two.b.do("lock", two.b.do("open", "f", "w"), "exclusive") if two.a._process.wait(10) else pytest.fail("it lives")
    with pytest.raises(Hangs):
        two.a.do("exists", "f")


# How it is told


def result(name: str, outcome: str, said: str = "") -> dict[str, object]:
    return Result(name, f"what {name} is", outcome, said).to_json()


FOUND = {
    1.0: [result("a", "holds"), result("b", "fails", "because"), result("c", "holds"), result("d", "not supported")],
    2.0: [result("a", "late", "after 1 s"), result("b", "fails"), result("c", "hangs"), result("d", "not supported")],
}


def test_a_sentence_says_what_is_broken_and_what_folding_changes():
    assert sentence(table(FOUND)) == (
        "4 promises of POSIX were looked at from two clients, at ratios 1, 2: at ratio 1 3 are kept or not offered, "
        "and 1 broken (b); folded it is the same but for 1 (c)."
    )
    assert sentence(table({1.0: FOUND[1.0][:1]})) == (
        "1 promise of POSIX was looked at from two clients, at ratio 1: at ratio 1 1 are kept or not offered."
    )
    assert sentence(()) == ""
    assert [row.same for row in table(FOUND)] == [True, True, False, True]


def test_a_run_keeps_it_and_its_report_has_it(tmp_path):
    out = make_run(tmp_path / "run")
    with Store.open(out) as store:
        for ratio, results in FOUND.items():
            conformance_table.keep(store, "glusterfs", ratio, results)
    with Store.look(out) as store:
        found = analyse(store)
    (part,) = found.parts
    assert part.conforms[1] == Row("b", "what b is", {1.0: ("fails", "because"), 2.0: ("fails", "")})
    page = render(found)
    assert "What it keeps of POSIX" in page and "what b is" in page and "because" in page
    assert "what it keeps of POSIX" in str(document(found))
    assert part.to_json()["conformance"][2]["ratios"]["2"] == {"outcome": "hangs", "said": ""}


def test_what_was_looked_at_at_one_ratio_only_stays_under_it(tmp_path):
    out = make_run(tmp_path / "run")
    with Store.open(out) as store:
        conformance_table.keep(store, "glusterfs", 1.0, FOUND[1.0])
        conformance_table.keep(store, "glusterfs", 2.0, FOUND[2.0][2:3])
        conformance_table.keep(store, "glusterfs", 1.0, [result("a", "fails", "now")])
    with Store.look(out) as store:
        found = analyse(store)
    (part,) = found.parts
    assert [row.name for row in part.conforms] == ["a", "b", "c", "d"], "what was not looked at again is kept"
    assert part.conforms[0].outcomes == {1.0: ("fails", "now")}
    (head, *rows) = re.findall(r"<tr>.*?</tr>", render(found).split("What it keeps of POSIX")[1].split("</table>")[0])
    assert head.count("<th") == 3 and [row.count("<td") for row in rows] == [3] * 4
    assert "ratio 1" in head and "ratio 2" in head


def test_a_run_without_it_says_nothing_of_it(tmp_path):
    with Store.look(make_run(tmp_path / "run")) as store:
        found = analyse(store)
    assert "POSIX" not in render(found) and "conformance" not in found.parts[0].to_json()
