"""What two machines say to each other over one connection: requests from either side, several at once, line by line.

Lines of JSON. A request is {"id": 1, "do": "look", "with": {...}, "timeout_s": 10}; its answer {"id": 1, "done": ...}
or {"id": 1, "failed": "a sentence"}, and before it anything with the same id: what a program says, as {"id": 1,
"stream": "stdout", "data": BASE64}. Who asked can add {"input": 1, "data": BASE64}, without data at the end of it,
{"signal": 15, "to": 1}, and {"cancel": 1}. One side numbers its requests upwards from 1, the other downwards from -1.
"""

from __future__ import annotations

import io
import itertools
import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import IO, Any, TypeVar

Message = dict[str, Any]
Answer = TypeVar("Answer")


class Lost(Exception):
    """The connection has ended, or ends before there is an answer."""


class Failed(Exception):
    """What the other side says of a request that it could not do; one sentence."""


class Call:
    """A request of the other side, for whoever does it. `inputs` gets messages that were added to it: what is typed
    ("data", None at its end) and signals; one with "cancel" when nobody waits for it any more."""

    def __init__(self, conversation: Conversation, request: Message) -> None:
        self.number, self.what = request.get("id"), request.get("do", "")
        self.given: Mapping[str, Any] = request.get("with", {})
        self.timeout_s: float | None = request.get("timeout_s")
        self.inputs: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.cancelled = threading.Event()
        self._conversation = conversation

    def say(self, **content: Any) -> None:
        """Tell who asked something before the answer; nobody may be listening any more."""
        with suppress(Lost):
            self._conversation.send({"id": self.number, **content})

    def add(self, message: Message) -> None:
        """Take what was added to the request."""
        if "cancel" in message:
            self.cancelled.set()
        self.inputs.put(message)


class Asked:
    """A request of this side that is under way."""

    def __init__(self, conversation: Conversation, number: int) -> None:
        self._conversation, self.number = conversation, number
        self.heard: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def add(self, **message: Any) -> None:
        """Add something to it: `add(input=asked.number, data=...)`; nothing happens if the connection has ended."""
        with suppress(Lost):
            self._conversation.send(message)

    def next(self, until: float | None = None) -> Message:
        """What is said of it next, "done" at its end. Raises Lost, Failed, and queue.Empty at `until`, a moment of
        CLOCK_MONOTONIC."""
        message = self.heard.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
        if "failed" in message:
            raise Failed(message["failed"])
        if "lost" in message:
            raise Lost
        return message

    def end(self, *, cancel: bool) -> None:
        """Wait for it no longer."""
        if cancel:
            self.add(cancel=self.number)
        self._conversation.forget(self.number)


class Conversation:
    """One side. `serve` does what the other asks for and returns the answer; what it raises is told as a failure."""

    def __init__(self, out: IO[bytes] | io.RawIOBase, serve: Callable[[Call], Any], *, step: int) -> None:
        self._out, self._serve = out, serve
        self._numbers = itertools.count(step, step)
        self._asked: dict[int, Asked] = {}
        self._calls: dict[Any, Call] = {}
        self._speaking, self.over = threading.Lock(), threading.Event()

    def ask(self, what: str, timeout_s: float | None, given: Mapping[str, Any]) -> Asked:
        """Begin a request. Raises Lost."""
        asked = Asked(self, next(self._numbers))
        self._asked[asked.number] = asked
        try:
            self.send({"id": asked.number, "do": what, "with": given, "timeout_s": timeout_s})
        except Lost:
            self.forget(asked.number)
            raise
        if self.over.is_set():  # it may have ended before this one was known
            asked.heard.put({"lost": True})
        return asked

    def forget(self, number: int) -> None:
        """Let what is still said of a request go unheard."""
        self._asked.pop(number, None)

    def send(self, message: Mapping[str, Any]) -> None:
        """Say something. Raises Lost."""
        try:
            with self._speaking:
                self._out.write(json.dumps(message).encode() + b"\n")
                self._out.flush()
        except (OSError, ValueError):  # closed: by the other side, or here
            raise Lost from None

    def listen(self, lines: Iterable[bytes], odd: Callable[[str], None]) -> list[threading.Thread]:
        """Take in lines until there are no more, each request in a thread of its own; `odd` gets what is none of this.

        Returns the threads of requests; those whose side is gone are told so.
        """
        threads: list[threading.Thread] = []
        for line in lines:
            try:
                message = json.loads(line)
            except ValueError:
                message = None
            if not isinstance(message, dict):
                odd(line.decode(errors="replace").strip())
            elif "do" in message or ("id" not in message and not {"cancel", "input", "signal"} & set(message)):
                call = Call(self, message)
                self._calls[call.number] = call
                threads = [each for each in threads if each.is_alive()]
                threads.append(threading.Thread(target=self._answer, args=(call,), daemon=True))
                threads[-1].start()
            else:
                self._hear(message)
        self.over.set()
        for call in list(self._calls.values()):
            call.add({"cancel": call.number})
        for asked in list(self._asked.values()):
            asked.heard.put({"lost": True})
        return threads

    def _hear(self, message: Message) -> None:
        """Something of a request that is under way, of either side."""
        if "id" in message:
            asked = self._asked.get(message["id"])
            if asked is not None:
                asked.heard.put(message)
            elif not ({"done", "failed", "stream"} & set(message)):
                with suppress(Lost):
                    self.send({"id": message["id"], "failed": "a request says what to do"})
            return
        number = message.get("to", message.get("cancel", message.get("input")))
        call = self._calls.get(number)
        if call is not None:
            call.add(message)

    def _answer(self, call: Call) -> None:
        try:
            answer: Message = {"done": self._serve(call)}
        except Exception as error:  # whatever it is, who asked is told; the connection is for others too
            answer = {"failed": str(error) or type(error).__name__}
        self._calls.pop(call.number, None)
        call.say(**answer)


def quickest(ask: Callable[[], Answer], times: int) -> tuple[Answer, float, float]:
    """What another machine says of the present, asked so often: the answer that came quickest, the moment of this
    machine's CLOCK_MONOTONIC that it is of, and by how many seconds that may be wrong (Cristian, *Distributed
    Computing* 3, 1989)."""
    found = []
    for number in range(times):
        began_s = time.monotonic()
        answer = ask()
        within_s = (time.monotonic() - began_s) / 2
        found.append((within_s, number, answer, began_s + within_s))
    within_s, _, answer, at_s = min(found)
    return answer, at_s, within_s
