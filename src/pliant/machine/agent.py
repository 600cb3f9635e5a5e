"""The machine layer as it works on another machine: requests on standard input, answers on standard output.

What is said is a `conversation`: lines of JSON in both directions, several requests at once. `answers` has what can be
asked of the machine, `serving` what can be done with deployments on it. The end of the input ends the agent, and what
runs for somebody who waits for it; deployments stay.

It travels as `bundle` packs it, and is begun by `BOOTSTRAP`; Python 3.9 or newer, the standard library, nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import io
import sys
import time
import zipfile
from pathlib import Path
from typing import IO, Any

from .answers import ANSWERS
from .conversation import Call, Conversation
from .serving import Serving

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
wanted, state, reached = sys.argv[1:]
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
agent.main(place, reached)
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


def main(place: str, reached: str) -> None:
    """Serve requests until the input ends. `place` is where the bundle was unpacked, `reached` what SSH_CONNECTION says
    of how this machine was reached (ssh(1)); "" if it says nothing."""
    Agent(sys.stdin.buffer, sys.stdout.buffer, place, reached).serve()


class Agent:
    """What answers requests. Each has a thread of its own."""

    def __init__(self, asked: IO[bytes], answers: IO[bytes], place: str = "", reached: str = "") -> None:
        self._asked = asked
        self._conversation = Conversation(answers, self._answer, step=-1)
        self._serving = Serving(self._conversation, place, reached)

    def serve(self) -> None:
        """Read requests and see to each, until there are no more; then end what still runs."""
        lines = iter(self._asked.readline, b"")
        threads = self._conversation.listen(lines, lambda text: self._refuse())
        until = time.monotonic() + _LAST_S
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._serving.close()

    def _refuse(self) -> None:
        self._conversation.send({"id": None, "failed": "a request is one line of JSON, an object"})

    def _answer(self, call: Call) -> Any:
        what: Any | None = ANSWERS.get(call.what)
        if what is not None:
            return what(**call.given)
        return self._serving.do(call)
