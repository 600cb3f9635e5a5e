"""Programs that start at the same moment: real ones, on this machine, without nodes."""

from __future__ import annotations

import sys
import time

import pytest

from pliant.machine.process import CommandFailed, CommandStopped, environment, marked
from pliant.machine.together import Job, Together, run_together

MARK = "PLIANT_TEST_TOGETHER"


def python(code: str, enter: tuple[str, ...] = ()) -> Job:
    return Job(enter, (sys.executable, "-I", "-S", "-c", code))


def together(jobs: dict[str, Job], *, timeout_s: float = 20.0, stdin: str = "", mark: str = "x") -> Together:
    return run_together(jobs, timeout_s=timeout_s, env=environment(extra={MARK: mark}), stdin=stdin)


def ended(mark: str) -> bool:
    """Whether none is left: one that was killed takes a moment to be gone."""
    until = time.monotonic() + 5
    while marked(MARK, mark) and time.monotonic() < until:
        time.sleep(0.01)
    return marked(MARK, mark) == []


def test_each_has_its_own_output_and_all_have_the_input():
    echo = "import sys; print(sys.stdin.read() + {!r}); print('e', file=sys.stderr)"
    done = together({name: python(echo.format(name)) for name in ("a", "b")}, stdin="line\nand more")
    assert list(done.completed) == ["a", "b"]
    assert {name: (one.stdout, one.stderr) for name, one in done.completed.items()} == {
        "a": ("line\nand morea\n", "e\n"),
        "b": ("line\nand moreb\n", "e\n"),
    }


def test_none_begins_before_all_have_entered():
    """One takes a while to be entered; the times at which the programs begin are within a start of Python."""
    clock = "import time; print(time.clock_gettime(time.CLOCK_MONOTONIC))"
    slowly = ("/bin/sh", "-c", 'sleep 0.5; exec "$@"', "enter")
    before = time.monotonic()
    done = together({"fast": python(clock), "slow": python(clock, slowly)})
    begun = {name: float(one.stdout) for name, one in done.completed.items()}
    assert done.began_s - before >= 0.5
    assert done.began_s <= min(begun.values())
    assert max(begun.values()) <= done.ended_s
    assert begun["fast"] - before >= 0.5


def test_what_watches_them_ends_them_all():
    calls = []
    watch = lambda printed: calls.append(printed) or ("enough" if len(calls) == 3 else "")  # noqa: E731
    jobs = {"done": python("print(1)"), "long": python("import time; time.sleep(30)")}
    began = time.monotonic()
    with pytest.raises(CommandStopped, match="was stopped: enough") as stopped:
        run_together(jobs, timeout_s=20, env=environment(extra={MARK: "w"}), watch=watch)
    assert (stopped.value.where, stopped.value.why, calls) == ("long", "enough", [""] * 3)
    assert time.monotonic() - began < 5
    assert ended("w")


def test_who_is_content_with_them_changes_nothing():
    jobs = {"a": python("import time; time.sleep(0.6); print(1)"), "b": python("print(2)")}
    done = run_together(jobs, timeout_s=20, env=environment(extra={MARK: "w"}), watch=lambda printed: "")
    assert [one.stdout for one in done.completed.values()] == ["1\n", "2\n"]


def test_the_first_that_fails_ends_the_others():
    began = time.monotonic()
    with pytest.raises(CommandFailed) as failed:
        together(
            {"long": python("import time; time.sleep(30)"), "bad": python("raise SystemExit('no good')")}, mark="f"
        )
    assert time.monotonic() - began < 10
    assert (failed.value.where, failed.value.exit_status, failed.value.stderr) == ("bad", 1, "no good\n")
    assert ended("f")


def test_a_deadline_ends_all_of_them():
    with pytest.raises(CommandFailed) as failed:
        together({"a": python("import time; time.sleep(30)"), "b": python("")}, timeout_s=1.0, mark="d")
    assert (failed.value.where, failed.value.exit_status) == ("a", None)
    assert ended("d")


@pytest.mark.parametrize(
    ("enter", "status", "said"),
    [
        (("/bin/sh", "-c", "echo no such node >&2; exit 3"), 3, "no such node\n"),
        (("/nowhere/enter",), 127, "No such file"),
    ],
)
def test_a_place_that_cannot_be_entered(enter, status, said):
    with pytest.raises(CommandFailed) as failed:
        together({"good": python("import time; time.sleep(30)"), "gone": python("", enter)}, mark="e")
    assert (failed.value.where, failed.value.exit_status) == ("gone", status)
    assert said in failed.value.stderr
    assert ended("e")


def test_one_that_never_comes_to_its_gate():
    with pytest.raises(CommandFailed, match="could not be started in time"):
        together({"good": python(""), "late": python("", ("/bin/sh", "-c", "sleep 30"))}, timeout_s=0.5, mark="l")
    assert ended("l")


def test_more_output_than_a_pipe_holds():
    done = together({name: python("print('x' * 1_000_000)") for name in ("a", "b")})
    assert [len(one.stdout) for one in done.completed.values()] == [1_000_001] * 2
