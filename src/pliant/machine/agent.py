"""The machine layer as it works on another machine: requests on standard input, answers on standard output.

Lines of JSON in both directions. A request is {"id": 1, "do": "look", "with": {...}, "timeout_s": 10}; several may be
under way. An answer is {"id": 1, "done": ...} or {"id": 1, "failed": "a sentence"}; before it a command that `run` runs
says {"id": 1, "stream": "stdout", "text": "..."} as it comes. {"cancel": 1} ends what request 1 runs; the end of the
input ends all of them, and the agent.

It travels as `bundle` packs it, and is begun by `BOOTSTRAP`; Python 3.9 or newer, the standard library, nothing else.
"""

from __future__ import annotations

import codecs
import dataclasses
import functools
import hashlib
import io
import json
import os
import platform
import selectors
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from . import cgroups, facts, promised, teardown, trying
from .cgroup import CgroupError
from .journal import STATE, Journal
from .process import CommandFailed, close_pipes, end_session, environment
from .teardown import TeardownError

_POLL_S = 0.1
_CHUNK_BYTES = 1 << 16
_LAST_S = 60.0
"""How long what is under way may take to come to its end once nobody listens: a node is removed in a second."""

SIGN = "pliant's agent: "
"""What a line begins with by which an agent that begins says how it is: "ready", "send" or "failed: a sentence"."""

BOOTSTRAP = (
    f"SIGN = {SIGN!r}"
    r"""
import hashlib, io, os, sys, zipfile
def say(what):
    sys.stdout.write(SIGN + what + "\n")
    sys.stdout.flush()
if sys.version_info < (3, 9):
    say("failed: its Python %d.%d is too old; pliant needs 3.9 or newer" % sys.version_info[:2])
    sys.exit(3)
wanted, state = sys.argv[1:]
agents = state + "-agents"
place = os.path.join(agents, wanted)
try:
    os.makedirs(agents, mode=0o700, exist_ok=True)
    found = os.stat(agents)
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OSError("%s may be written by others; remove it" % agents)
    if os.path.isdir(place):
        say("ready")
    else:
        say("send")
        count = int(sys.stdin.buffer.readline())
        packed = sys.stdin.buffer.read(count)
        if hashlib.sha256(packed).hexdigest()[:16] != wanted:
            raise OSError("what arrived is not what was sent")
        part = "%s.%d" % (place, os.getpid())
        zipfile.ZipFile(io.BytesIO(packed)).extractall(part)
        try:
            os.rename(part, place)
        except OSError:  # another one came first
            if not os.path.isdir(place):
                raise
        say("ready")
except OSError as error:
    say("failed: %s" % error)
    sys.exit(3)
sys.path.insert(0, place)
os.environ["PLIANT_STATE"] = state
from machine import agent
agent.main()
"""
)
"""What Python is given on the other machine: it takes the bundle, if it has not got it, and becomes the agent."""


@functools.cache
def bundle() -> tuple[str, bytes]:
    """This package as one file, and the name of its content: the same sources give the same bytes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for path in sorted(Path(__file__).parent.glob("*.py")):
            file.writestr(zipfile.ZipInfo(f"machine/{path.name}"), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return hashlib.sha256(packed.getvalue()).hexdigest()[:16], packed.getvalue()


def main() -> None:
    """Serve requests until the input ends."""
    Agent(sys.stdin.buffer, sys.stdout.buffer).serve()


class Agent:
    """What answers requests. Each has a thread of its own."""

    def __init__(self, asked: IO[bytes], answers: IO[bytes]) -> None:
        self._asked, self._answers = asked, answers
        self._speaking = threading.Lock()
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._cancelled: set[int] = set()

    def serve(self) -> None:
        """Read requests and see to each, until there are no more; then end what still runs."""
        threads: list[threading.Thread] = []
        for line in iter(self._asked.readline, b""):
            try:
                request = dict(json.loads(line))
            except (ValueError, TypeError):
                self._say({"id": None, "failed": "a request is one line of JSON, an object"})
                continue
            if "cancel" in request:
                self._cancel(request["cancel"])
                continue
            thread = threading.Thread(target=self._answer, args=(request,), daemon=True)
            thread.start()
            threads.append(thread)
        for number in list(self._running):
            self._cancel(number)
        until = time.monotonic() + _LAST_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _say(self, what: Mapping[str, Any]) -> None:
        with self._speaking, suppress(OSError):  # nobody may be listening any more
            self._answers.write(json.dumps(what).encode() + b"\n")
            self._answers.flush()

    def _answer(self, request: Mapping[str, Any]) -> None:
        number, what = request.get("id"), request.get("do", "")
        try:
            if what == "run":
                done = self._run(int(request["id"]), float(request["timeout_s"]), **request.get("with", {}))
            elif what in KNOWN:
                done = KNOWN[what](**request.get("with", {}))
            else:
                raise ValueError(f"this agent does not know how to {what!r}")
        except (CgroupError, CommandFailed, TeardownError, OSError, ValueError, TypeError, KeyError) as error:
            self._say({"id": number, "failed": str(error) or type(error).__name__})
        else:
            self._say({"id": number, "done": done})

    def _run(self, number: int, timeout_s: float, argv: list[str], stdin: str = "") -> int | None:
        """Run a program, and tell what it says as it comes; its exit status, None at the deadline."""
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            start_new_session=True,
        )
        self._running[number] = process
        try:
            threading.Thread(target=_feed, args=(process, stdin.encode()), daemon=True).start()
            status = self._heard(number, process, time.monotonic() + timeout_s)
            if number in self._cancelled:
                raise InterruptedError(f"{argv[0]} was ended: nobody waits for it any more")
            return status
        finally:
            self._running.pop(number, None)
            end_session(process)
            close_pipes(process)

    def _heard(self, number: int, process: subprocess.Popen[bytes], until: float) -> int | None:
        """Tell what a program says until it has ended; None if it has not by then."""
        assert process.stdout is not None and process.stderr is not None
        decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}
        with selectors.DefaultSelector() as listening:
            listening.register(process.stdout, selectors.EVENT_READ, "stdout")
            listening.register(process.stderr, selectors.EVENT_READ, "stderr")
            while listening.get_map():
                if time.monotonic() > until:
                    return None
                for key, _ in listening.select(_POLL_S):
                    said = os.read(key.fd, _CHUNK_BYTES)
                    if text := decoders[key.data].decode(said, final=not said):
                        self._say({"id": number, "stream": key.data, "text": text})
                    if not said:
                        listening.unregister(key.fileobj)
                if process.poll() is not None and not listening.select(0):
                    break  # what it left in the background may hold its output open
        try:
            return process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None

    def _cancel(self, number: int) -> None:
        process = self._running.get(number)
        if process is not None:
            self._cancelled.add(number)
            end_session(process)


def _hello() -> dict[str, Any]:
    """Who answers, and what time it is here: seconds since the epoch."""
    return {"pid": os.getpid(), "python": platform.python_version(), "time_s": time.time(), "state": str(STATE)}


def _remove(deployment: str) -> None:
    """Remove all of a deployment, from its journal and its id alone."""
    teardown.remove(Journal(deployment), cgroups.probe())


def _feed(process: subprocess.Popen[bytes], text: bytes) -> None:
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.write(text)
        process.stdin.close()


KNOWN: Mapping[str, Callable[..., Any]] = {
    "hello": _hello,
    "look": lambda: dataclasses.asdict(facts.look()),
    "which": lambda programs: {program: facts.which(program) for program in programs},
    "missing_filesystems": lambda names: facts.missing_filesystems(tuple(names)),
    "having": lambda modules: facts.having(*modules),
    "version": lambda argv: facts.version(tuple(argv)),
    "try": lambda visible=(): dataclasses.asdict(trying.try_a_node(visible)),
    "deployments": promised.listed,
    "remove": _remove,
}
"""What can be asked for besides `run`, and what it is given by keyword."""
