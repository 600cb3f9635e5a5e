"""Running programs, and telling what runs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pliant.machine.process import (
    MARK,
    PATH,
    CommandFailed,
    CommandStopped,
    Completed,
    alive,
    environment,
    marked,
    run,
    start_time,
)


def sh(script: str, timeout_s: float = 10, **options) -> Completed:
    return run(["sh", "-c", script], timeout_s=timeout_s, **options)


def gone(pid: int, within_s: float = 5) -> bool:
    until = time.monotonic() + within_s
    while alive(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def number_in(path: Path, within_s: float = 5) -> int:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if path.exists() and path.read_text().endswith("\n"):
            return int(path.read_text())
        time.sleep(0.01)
    raise AssertionError(f"nothing in {path}")


# How it ended


def test_status_output_and_input():
    done = sh("cat; echo oops >&2; exit 3", stdin="hello\n", where="server1")
    assert (done.exit_status, done.stdout, done.stderr, done.where) == (3, "hello\n", "oops\n", "server1")
    with pytest.raises(CommandFailed) as failed:
        done.check()
    error = failed.value
    assert (error.exit_status, error.stdout, error.stderr, error.where) == (3, "hello\n", "oops\n", "server1")
    assert error.argv == done.argv == ("sh", "-c", "cat; echo oops >&2; exit 3")


def test_success_is_returned():
    done = sh("exit 0")
    assert done.check() is done


def test_a_signal_is_a_negative_status():
    assert sh("kill -9 $$").exit_status == -9


def test_arguments_are_no_shells():
    assert run(["echo", "$HOME; `id` *"], timeout_s=5).stdout == "$HOME; `id` *\n"


def test_bytes_that_are_no_text_are_replaced():
    assert sh(r"printf 'a\377b'").stdout == "a\ufffdb"


def test_output_larger_than_a_pipe_does_not_block():
    done = sh(
        "head -c 1000000 /dev/zero | tr '\\0' x; head -c 1000000 /dev/zero | tr '\\0' y >&2; cat", stdin="z" * 10**6
    )
    assert (len(done.stdout), len(done.stderr)) == (2 * 10**6, 10**6)


def test_input_that_nobody_reads_does_no_harm():
    assert sh("exit 4", stdin="x" * 10**6).exit_status == 4


@pytest.mark.parametrize("argv", [["/no/such/program"], ["no-such-program-at-all"], ["/etc"], ["/etc/passwd"]])
def test_a_program_that_cannot_be_started(argv):
    with pytest.raises(CommandFailed) as failed:
        run(argv, timeout_s=5, where="client1")
    assert failed.value.exit_status == 127
    assert str(failed.value).startswith(f"client1: `{argv[0]}` ended with status 127: [Errno")


# The environment


def test_what_the_user_exported_is_not_passed_on(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("LD_PRELOAD_X", "y")
    assert sh("env").stdout.count("=") <= 8
    assert "OMP_NUM_THREADS" not in sh("env").stdout
    assert f"PATH={PATH}" in sh("env").stdout


def test_environment():
    assert MARK not in environment()
    assert environment("ab12")[MARK] == "ab12"
    assert environment("ab12", {"X": "1", "HOME": "/x"}) == environment("ab12") | {"X": "1", "HOME": "/x"}


# Deadlines


def test_the_deadline_ends_a_program_that_ignores_sigterm():
    began = time.monotonic()
    with pytest.raises(CommandFailed) as failed:
        sh("trap '' TERM INT HUP; echo started; echo why >&2; while :; do sleep 0.1; done", timeout_s=0.3)
    assert time.monotonic() - began < 3
    assert failed.value.exit_status is None
    assert (failed.value.stdout, failed.value.stderr) == ("started\n", "why\n")
    assert "did not end in time: why" in str(failed.value)


def test_the_deadline_ends_grandchildren(tmp_path):
    script = f"trap '' TERM; (trap '' TERM; sleep 60 & echo $! > {tmp_path}/pid; wait) & wait"
    with pytest.raises(CommandFailed):
        sh(script, timeout_s=0.5)
    assert gone(number_in(tmp_path / "pid"))


def test_a_daemon_that_left_the_session_and_holds_the_output_cannot_hold_the_deadline(tmp_path):
    daemon = f"import os, time; os.setsid(); open('{tmp_path}/pid', 'w').write(f'{{os.getpid()}}\\n'); time.sleep(30)"
    began = time.monotonic()
    try:
        with pytest.raises(CommandFailed) as failed:
            run(["sh", "-c", 'echo before; "$@" & wait', "sh", sys.executable, "-c", daemon], timeout_s=0.7)
        assert time.monotonic() - began < 5
        assert failed.value.exit_status is None
        assert failed.value.stdout == "before\n"
    finally:
        os.kill(number_in(tmp_path / "pid"), 9)


def test_an_interrupt_ends_what_it_interrupts(tmp_path, monkeypatch):
    def interrupted(self, *args, **kwargs):
        number_in(tmp_path / "pid")
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sh(f"trap '' INT TERM; echo $$ > {tmp_path}/pid; sleep 60; sleep 60")
    monkeypatch.undo()
    assert gone(number_in(tmp_path / "pid"))


# Watched


def test_what_watches_a_program_sees_what_it_has_printed_and_ends_it(tmp_path):
    seen = []

    def watch(printed: str) -> str:
        seen.append(printed)
        return "it has said enough" if printed == "one\ntwo\n" else ""

    script = f"echo one; sleep 0.6; echo two; (sleep 60 & echo $! > {tmp_path}/pid; wait) & wait"
    began = time.monotonic()
    with pytest.raises(CommandStopped) as stopped:
        sh(script, timeout_s=30, where="client1", watch=watch)
    assert time.monotonic() - began < 5
    assert seen[0] == "one\n" and seen[-1] == "one\ntwo\n" and len(seen) >= 3
    error = stopped.value
    assert (error.stdout, error.exit_status, error.why) == ("one\ntwo\n", None, "it has said enough")
    assert str(error).startswith("client1: `sh -c ") and str(error).endswith(" was stopped: it has said enough")
    assert gone(number_in(tmp_path / "pid"))


def test_who_is_content_with_a_program_changes_nothing():
    done = sh("sleep 0.6; head -c 1000000 /dev/zero; echo err >&2; exit 3", watch=lambda printed: "")
    assert (done.exit_status, len(done.stdout), done.stderr) == (3, 1000000, "err\n")
    began = time.monotonic()
    with pytest.raises(CommandFailed, match="did not end in time: why") as failed:
        sh("echo started; echo why >&2; sleep 60", timeout_s=0.6, watch=lambda printed: "")
    assert not isinstance(failed.value, CommandStopped) and failed.value.stdout == "started\n"
    assert time.monotonic() - began < 3


def test_a_program_that_has_closed_its_output_is_watched_on():
    seen = []
    watch = lambda printed: seen.append(printed) or ("enough" if len(seen) > 3 else "")  # noqa: E731
    with pytest.raises(CommandStopped):
        sh("echo one; sleep 0.4; exec >&- 2>&-; sleep 60", watch=watch)
    assert seen[-1] == "one\n"


def test_whatever_goes_wrong_in_what_watches_ends_the_program(tmp_path):
    def watch(printed: str) -> str:
        raise ValueError(f"wrong data in {number_in(tmp_path / 'pid')}")

    with pytest.raises(ValueError, match="wrong data"):
        sh(f"echo $$ > {tmp_path}/pid; sleep 60", watch=watch)
    assert gone(number_in(tmp_path / "pid"))


def test_what_is_watched_has_no_input():
    with pytest.raises(ValueError, match="no input"):
        sh("cat", stdin="x", watch=lambda printed: "")


# What is said of it


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (CommandFailed(["mount", "a b"], 32, "", ""), "`mount 'a b'` ended with status 32"),
        (CommandFailed(["x"], 1, "out\n", ""), "`x` ended with status 1: out"),
        (CommandFailed(["x"], 1, "out\n", " err \n"), "`x` ended with status 1: err"),
        (CommandFailed(["x"], None, "", "", "client1"), "client1: `x` did not end in time"),
        (CommandFailed(["x"], -9, "", "1\n2\n 3\n4\n", "s1"), "s1: `x` ended with status -9: 2 | 3 | 4"),
    ],
)
def test_messages(error, text):
    assert str(error) == text


def test_errors_name_the_command_that_the_user_knows():
    with pytest.raises(CommandFailed, match=r"^server1: `df -h` ended with status 2$"):
        run(["sh", "-c", "exit 2"], timeout_s=5, where="server1", shown=["df", "-h"]).check()
    with pytest.raises(CommandFailed, match=r"^`df -h` did not end in time$"):
        run(["sleep", "60"], timeout_s=0.1, shown=["df", "-h"])
    with pytest.raises(CommandFailed, match=r"^`df -h` ended with status 127: "):
        run(["/no/such"], timeout_s=5, shown=["df", "-h"])


# What runs


def test_a_zombie_is_not_alive():
    process = subprocess.Popen(["sleep", "60"])
    started = start_time(process.pid)
    assert alive(process.pid)
    assert alive(process.pid, started)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{process.pid}").exists()
    assert not alive(process.pid)
    process.wait()
    assert not alive(process.pid)
    assert start_time(process.pid) is None


def test_another_process_with_the_same_number_is_not_it():
    started = start_time(os.getpid())
    assert started is not None
    assert alive(os.getpid(), started)
    assert not alive(os.getpid(), started + 1)


def test_a_process_may_have_any_name(tmp_path):
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    process = subprocess.Popen([program, "60"])
    try:
        until = time.monotonic() + 5
        while Path(f"/proc/{process.pid}/comm").read_text() != "a) Z 1 (b\n":
            assert time.monotonic() < until
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        assert alive(process.pid, int(fields[19]))
    finally:
        process.kill()
        process.wait()


def test_processes_are_found_by_their_mark():
    env = environment("feed")
    first, second = (subprocess.Popen(["sleep", "60"], env=env | {"OTHER": str(n)}) for n in range(2))
    other = subprocess.Popen(["sleep", "60"], env=environment("feed1") | {"X": f"{MARK}=feed"})
    try:
        until = time.monotonic() + 5
        while len(marked(MARK, "feed")) < 2 and time.monotonic() < until:  # until they have become `sleep`
            time.sleep(0.01)
        assert sorted(marked(MARK, "feed")) == sorted([first.pid, second.pid])
        assert marked(MARK, "fee") == []
        second.kill()
        os.waitid(os.P_PID, second.pid, os.WEXITED | os.WNOWAIT)
        assert marked(MARK, "feed") == [first.pid]
    finally:
        for process in (first, second, other):
            process.kill()
            process.wait()
