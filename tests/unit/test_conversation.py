"""Requests in both directions over one connection, and programs whose input and output are on its other side."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pliant.machine import far
from pliant.machine.carrying import LOST, carry_out, connect
from pliant.machine.conversation import Call, Conversation, Failed, Lost
from pliant.machine.process import alive
from pliant.machine.relay import Relay, Wanted


@contextmanager
def both(serve_one, serve_other) -> Iterator[tuple[Conversation, Conversation, socket.socket]]:
    """Two sides that listen to each other, and the first one's socket."""
    ours, theirs = socket.socketpair()
    sides, threads, files = [], [], []
    for end, serve, step in ((ours, serve_one, 1), (theirs, serve_other, -1)):
        files += [end.makefile("wb"), end.makefile("rb")]
        side = Conversation(files[-2], serve, step=step)
        threads.append(threading.Thread(target=side.listen, args=(files[-1], lambda text: None), daemon=True))
        sides.append(side)
    for thread in threads:
        thread.start()
    try:
        yield sides[0], sides[1], ours
    finally:
        for end in (ours, theirs):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()
        for file in (*files, ours, theirs):
            with suppress(OSError):
                file.close()


def answer(side: Conversation, what: str, **given):
    return side.ask(what, 5, given).next(time.monotonic() + 10)["done"]


def refuse(call: Call):
    raise ValueError(f"no {call.what}")


def test_both_sides_ask_at_the_same_time():
    with both(lambda call: call.given["x"] + 1, lambda call: call.given["x"] * 2) as (one, other, _):
        assert (answer(one, "double", x=5), answer(other, "add", x=5)) == (10, 6)


def test_what_cannot_be_done_is_a_sentence():
    with both(refuse, refuse) as (one, _, _), pytest.raises(Failed, match="no dance"):
        answer(one, "dance")


def test_who_waits_is_told_when_the_connection_ends():
    begun = threading.Event()

    def wait(call: Call):
        begun.set()
        call.cancelled.wait(10)

    with both(refuse, wait) as (one, _, ours):
        asked = one.ask("wait", None, {})
        assert begun.wait(5)
        ours.shutdown(socket.SHUT_RDWR)
        with pytest.raises(Lost):
            asked.next(time.monotonic() + 5)
        with pytest.raises(Lost):
            one.ask("wait", None, {}).next(time.monotonic() + 5)


def test_a_request_is_cancelled():
    ended = threading.Event()

    def wait(call: Call):
        assert call.cancelled.wait(10)
        ended.set()

    with both(refuse, wait) as (one, _, _):
        one.ask("wait", None, {}).end(cancel=True)
        assert ended.wait(5)


# Programs


def run_there(call: Call):
    return carry_out(call, call.given["argv"], dict(os.environ), call.given.get("stdin"))


@contextmanager
def relayed(tmp_path) -> Iterator[str]:
    """Where `far` asks for programs that a side of a conversation runs."""
    with both(refuse, run_there) as (one, _, _):

        def carry(wanted: Wanted) -> int:
            return connect(one.ask("run", None, {"argv": wanted.argv}), *wanted.descriptors, wanted.inputs)

        relay = Relay(str(tmp_path / "socket"), carry)
        try:
            yield relay.path
        finally:
            relay.close()


def far_command(path: str, *argv: str) -> list[str]:
    return [sys.executable, "-I", "-S", far.__file__, path, "node1", *argv]


def test_a_far_program_has_the_input_output_and_end_of_a_near_one(tmp_path):
    code = "cat; echo complaint >&2; exit 7"
    with relayed(tmp_path) as path:
        done = subprocess.run(
            far_command(path, "sh", "-c", code), input=b"\x00\xff many\n" * 50_000, capture_output=True, timeout=30
        )
    assert (done.returncode, done.stderr) == (7, b"complaint\n")
    assert done.stdout == b"\x00\xff many\n" * 50_000


def test_a_far_program_gets_signals_and_ends_with_who_wanted_it(tmp_path):
    mark = tmp_path / "mark"
    trap = f'trap "echo caught > {mark}; exit 9" INT; echo ready; while :; do sleep 0.05; done'
    with relayed(tmp_path) as path:
        with subprocess.Popen(far_command(path, "sh", "-c", trap), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGINT)
            try:
                assert process.wait(10) == 9
            finally:
                process.kill()
        assert mark.read_text() == "caught\n"
        with subprocess.Popen(
            far_command(path, "sh", "-c", "echo $$; exec sleep 60"), stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            process.kill()
        until = time.monotonic() + 10
        while alive(pid) and time.monotonic() < until:
            time.sleep(0.02)
        assert not alive(pid)


def test_a_far_program_that_cannot_be_started_is_a_sentence(tmp_path):
    with relayed(tmp_path) as path:
        done = subprocess.run(far_command(path, "/nonesuch"), capture_output=True, text=True, timeout=30)
    assert done.returncode == LOST and "/nonesuch" in done.stderr
    gone = subprocess.run(far_command(str(tmp_path / "none"), "true"), capture_output=True, text=True, timeout=30)
    assert gone.returncode == LOST and "node1: cannot be reached" in gone.stderr


def test_a_program_that_has_a_deadline_is_ended_at_it():
    with both(refuse, run_there) as (one, _, _):
        asked = one.ask("run", 0.3, {"argv": ["sh", "-c", "echo begun; sleep 60"], "stdin": ""})
        said = asked.next(time.monotonic() + 10)
        assert base64.b64decode(said["data"]) == b"begun\n"
        assert asked.next(time.monotonic() + 10)["done"] is None
