"""Programs whose input and output are on another machine: run here and told there, or asked for here and run there."""

from __future__ import annotations

import base64
import os
import queue
import select
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from .conversation import Asked, Call, Failed, Lost
from .process import close_pipes, end_session

_POLL_S = 0.1
_CHUNK_BYTES = 1 << 16
LOST = 255
"""Exit status that stands for a program of which nothing is known any more; ssh(1) has the same."""


def carry_out(call: Call, argv: Sequence[str], env: Mapping[str, str], stdin: str | None = "") -> int | None:
    """Run a program for a request, and tell what it says as it comes; its exit status, None at the deadline.

    Without `stdin` its input is what is added to the request. Raises OSError if it cannot be started, InterruptedError
    if nobody waits for it any more.
    """
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        start_new_session=True,
    )
    try:
        threading.Thread(target=_feed, args=(process, call, stdin), daemon=True).start()
        until = None if call.timeout_s is None else time.monotonic() + call.timeout_s
        status = _heard(call, process, until)
        if call.cancelled.is_set():
            raise InterruptedError(f"{argv[0]} was ended: nobody waits for it any more")
        return status
    finally:
        end_session(process)
        call.inputs.put({"cancel": call.number})  # so that nothing feeds it any more
        close_pipes(process)


def _feed(process: subprocess.Popen[bytes], call: Call, stdin: str | None) -> None:
    """Give a program its input, and the signals that are meant for it, until nobody waits for it."""
    assert process.stdin is not None
    if stdin is not None:
        _type(process, stdin.encode())
        _type(process, None)
    while "cancel" not in (message := call.inputs.get()):
        if "signal" in message:
            with suppress(OSError):
                os.killpg(process.pid, message["signal"])
        else:
            data = message.get("data")
            _type(process, None if data is None else base64.b64decode(data))
    if call.cancelled.is_set() and process.poll() is None:
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)


def _type(process: subprocess.Popen[bytes], data: bytes | None) -> None:
    """Write to a program's input; None is the end of it."""
    assert process.stdin is not None
    with suppress(OSError, ValueError):
        if data is None:
            process.stdin.close()
        else:
            process.stdin.write(data)
            process.stdin.flush()


def _heard(call: Call, process: subprocess.Popen[bytes], until: float | None) -> int | None:
    """Tell what a program says until it has ended; None if it has not by then."""
    assert process.stdout is not None and process.stderr is not None
    with selectors.DefaultSelector() as listening:
        listening.register(process.stdout, selectors.EVENT_READ, "stdout")
        listening.register(process.stderr, selectors.EVENT_READ, "stderr")
        while listening.get_map():
            if until is not None and time.monotonic() > until:
                return None
            for key, _ in listening.select(_POLL_S):
                said = os.read(key.fd, _CHUNK_BYTES)
                if said:
                    call.say(stream=key.data, data=base64.b64encode(said).decode())
                else:
                    listening.unregister(key.fileobj)
            if process.poll() is not None and not listening.select(0):
                break  # what it left in the background may hold its output open
    try:
        return process.wait(None if until is None else max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None


def connect(asked: Asked, stdin: int, stdout: int, stderr: int, inputs: queue.SimpleQueue[int | None]) -> int:
    """Let a program that runs on the other side have these as its input and output; its exit status, LOST if that is
    not known.

    `inputs` gets signals for it, and None when it is to be ended.
    """
    over = threading.Event()
    threading.Thread(target=_pump, args=(asked, os.dup(stdin), over), daemon=True).start()
    threading.Thread(target=_signal, args=(asked, inputs), daemon=True).start()
    cancel = True
    try:
        while True:
            message = asked.next()
            if "done" in message:
                cancel = False
                return LOST if message["done"] is None else int(message["done"])
            _write(stdout if message.get("stream") == "stdout" else stderr, base64.b64decode(message["data"]))
    except Failed as error:
        cancel = False
        _write(stderr, f"{error}\n".encode())
        return LOST
    except Lost:
        _write(stderr, b"the connection was lost\n")
        return LOST
    finally:
        over.set()
        inputs.put(None)
        asked.end(cancel=cancel)


def _pump(asked: Asked, stdin: int, over: threading.Event) -> None:
    """Send on what is read, until its end or that of the program. The descriptor is this thread's own."""
    try:
        while not over.is_set():
            if select.select([stdin], [], [], _POLL_S)[0]:
                data = os.read(stdin, _CHUNK_BYTES)
                if not data:
                    break
                asked.add(input=asked.number, data=base64.b64encode(data).decode())
    except OSError:
        pass
    finally:
        os.close(stdin)
    if not over.is_set():
        asked.add(input=asked.number)


def _signal(asked: Asked, inputs: queue.SimpleQueue[int | None]) -> None:
    while (number := inputs.get()) is not None:
        asked.add(signal=number, to=asked.number)
    asked.add(cancel=asked.number)


def _write(descriptor: int, data: bytes) -> None:
    """All of it, unless nobody reads it any more."""
    with suppress(OSError):
        while data:
            data = data[os.write(descriptor, data) :]
